package zfs

import "nixmox/engine/builtin"

func (c client) datasetFuncs() []builtin.Func {
	reads := []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed}
	changes := []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Conflict, builtin.Busy, builtin.Forbidden, builtin.Unreachable, builtin.Failed}
	return []builtin.Func{
		builtin.NewRead("datasets", "List file systems and volumes, each before what is below it.", c.datasets).With(builtin.Reference{
			Example: "for d in zfs.datasets(under = [\"rpool/data\"], type = \"volume\"):\n    log(\"%s: %d bytes\" % (d.name, d.used))",
			Source:  "zfs-list(8)",
			Errors:  reads,
		}),
		builtin.NewRead("dataset", "Look at one file system or volume.", c.dataset).With(builtin.Reference{
			Example: "log(\"%d bytes\" % zfs.dataset(\"rpool/data\").available)",
			Source:  "zfs-list(8)",
			Errors:  reads,
		}),
		builtin.NewRead("properties", "Read properties of a dataset, a snapshot or a bookmark, each with where it comes from.", c.properties).With(builtin.Reference{
			Example: "for name, p in zfs.properties(\"rpool/share\").items():\n    if p.source == \"local\":\n        log(\"%s = %s\" % (name, p.value))",
			Source:  "zfs-get(8), zfsprops(7)",
			Errors:  reads,
		}),
		builtin.NewChange("create", "Make a file system or, with a size, a volume, and see that it is there. It carries nixmox's mark.",
			builtin.Op[CreateArgs, Made]{Preview: c.previewCreate, Do: c.create, Settle: c.settleCreate, Keys: CreateArgs.keys},
		).With(builtin.Reference{
			Example: "zfs.create(\"rpool/share/projects\", properties = {\"compression\": \"zstd\", \"quota\": \"10G\"})",
			Source:  "zfs-create(8)",
			Errors:  changes,
		}),
		builtin.NewChange("set", "Set properties of a dataset, and read them back. A volume is never made smaller.",
			builtin.Op[SetArgs, SetResult]{Preview: c.previewSet, Do: c.set, Settle: c.settleSet, Keys: SetArgs.keys},
		).With(builtin.Reference{
			Example: "zfs.set(\"rpool/share\", compression = \"lz4\", properties = {\"com.example:owner\": \"sales\"})",
			Source:  "zfs-set(8), zfsprops(7)",
			Errors:  changes,
		}),
		builtin.NewChange("inherit", "Take away the value that a dataset has of its own for a property, so that it has that from above, or the default.",
			builtin.Op[InheritArgs, InheritResult]{Preview: c.previewInherit, Do: c.inherit, Settle: c.settleInherit, Keys: InheritArgs.keys},
		).With(builtin.Reference{
			Example: "zfs.inherit(\"rpool/share\", \"compression\", recursive = True)",
			Source:  "zfs-inherit(8)",
			Errors:  changes,
		}),
		builtin.NewChange("clone", "Make a dataset that begins as a snapshot was, and see that it is there. It carries nixmox's mark; the snapshot stays as long as it does.",
			builtin.Op[CloneArgs, Made]{Preview: c.previewClone, Do: c.clone, Settle: c.settleClone, Keys: CloneArgs.keys},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"look\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.clone(\"rpool/share@\" + name, \"rpool/share-\" + name, properties = {\"readonly\": \"on\"})",
			Source:  "zfs-clone(8)",
			Errors:  changes,
		}),
		builtin.NewChange("promote", "Have a clone and what it is a clone of change roles: the snapshot between them, and those before it, become the clone's own.",
			builtin.Op[DatasetArgs, PromoteResult]{Preview: c.previewPromote, Do: c.promote, Settle: c.settlePromote, Keys: datasetKeys},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"look\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.clone(\"rpool/share@\" + name, \"rpool/share-new\")\nzfs.promote(\"rpool/share-new\")",
			Source:  "zfs-promote(8)",
			Errors:  changes,
		}),
		builtin.NewChange("rename", "Give a dataset, and with it all below it, another name in its pool. What nixmox made of it keeps nixmox's mark.",
			builtin.Op[RenameArgs, RenameResult]{Preview: c.previewRename, Do: c.rename, Settle: c.settleRename, Keys: RenameArgs.keys},
		).With(builtin.Reference{
			Example: "zfs.create(\"rpool/share/new\")\nzfs.rename(\"rpool/share/new\", \"rpool/share/archive/2026\", parents = True)",
			Source:  "zfs-rename(8)",
			Errors:  changes,
		}),
		builtin.NewChange("rename_snapshot", "Give a snapshot another name. One that nixmox took keeps nixmox's mark.",
			builtin.Op[RenameSnapshotArgs, SnapshotInfo]{Preview: c.previewRenameSnapshot, Do: c.renameSnapshot, Settle: c.settleRenameSnapshot, Keys: RenameSnapshotArgs.keys},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"try\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.rename_snapshot(\"rpool/share@\" + name, \"good-\" + name)",
			Source:  "zfs-rename(8)",
			Errors:  changes,
		}),
		builtin.NewChange("mount", "Mount a file system where its mountpoint says. One that is mounted stays so.",
			builtin.Op[DatasetArgs, MountResult]{Preview: c.previewMount, Do: c.mount, Settle: c.settleMount, Keys: datasetKeys},
		).With(builtin.Reference{
			Example: "zfs.unmount(\"rpool/share\")\nzfs.mount(\"rpool/share\")",
			Source:  "zfs-mount(8)",
			Errors:  changes,
		}),
		builtin.NewChange("unmount", "Unmount a file system, and with it what is mounted below it; never one that is in use.",
			builtin.Op[DatasetArgs, MountResult]{Preview: c.previewUnmount, Do: c.unmount, Settle: c.settleUnmount, Keys: datasetKeys},
		).With(builtin.Reference{
			Example: "zfs.unmount(\"rpool/share\")",
			Source:  "zfs-unmount(8)",
			Errors:  changes,
		}),
		builtin.NewChange("load_key", "Load the key of an encrypted dataset, so that it can be read and mounted. The key goes to ZFS's standard input, and nowhere else.",
			builtin.Op[LoadKeyArgs, KeyResult]{Preview: c.previewLoadKey, Do: c.loadKey, Settle: c.settleLoadKey, Keys: LoadKeyArgs.keys},
		).With(builtin.Reference{
			Example: "if zfs.dataset(\"rpool/share\").locked:\n    zfs.load_key(\"rpool/share\", key = secret(\"share\"))\n    zfs.mount(\"rpool/share\")",
			Source:  "zfs-load-key(8)",
			Errors:  changes,
		}),
		builtin.NewChange("unload_key", "Unload the key of an encrypted dataset that is not mounted.",
			builtin.Op[UnloadKeyArgs, KeyResult]{Preview: c.previewUnloadKey, Do: c.unloadKey, Settle: c.settleUnloadKey, Keys: UnloadKeyArgs.keys},
		).With(builtin.Reference{
			Example: "if zfs.dataset(\"rpool/share\").encryption != \"\":\n    zfs.unmount(\"rpool/share\")\n    zfs.unload_key(\"rpool/share\")",
			Source:  "zfs-unload-key(8)",
			Errors:  changes,
		}),
		builtin.NewIrreversible("destroy_dataset", "Destroy a file system or volume, and see that it is gone. With recursive all that is in it goes, too; nothing that is held, has a clone elsewhere or is in use, and never a pool.",
			builtin.IrreversibleOp[DestroyDatasetArgs, DestroyDatasetDecision, DestroyDatasetResult]{
				Decide: c.decideDestroyDataset, Preview: c.previewDestroyDataset, Do: c.destroyDataset, Settle: c.settleDestroyDataset, Keys: DestroyDatasetArgs.keys,
			},
		).With(builtin.Reference{
			Example: "zfs.create(\"rpool/share/try\")\nzfs.destroy_dataset(\"rpool/share/try\")",
			Source:  "zfs-destroy(8)",
			Errors:  changes,
		}),
	}
}
