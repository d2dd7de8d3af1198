package zfs

import "nixmox/engine/builtin"

func (c client) snapshotFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewPure("snapshot_name", "A name for snapshots of a time, in UTC with seconds, which both ZFS and Proxmox take.", snapshotName).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"auto\", now())",
		}),
		builtin.NewChange("snapshot", "Snapshot datasets of one pool in one transaction, and see that each snapshot is there. They carry nixmox's mark.",
			builtin.Op[SnapshotArgs, SnapshotResult]{Preview: c.previewSnapshot, Do: c.snapshot, Settle: c.settleSnapshot, Keys: SnapshotArgs.keys},
		).With(builtin.Reference{
			Example: "zfs.snapshot([\"rpool\"], zfs.snapshot_name(\"before-upgrade\", now()), recursive = True, guests = \"skip\")",
			Source:  "zfs-snapshot(8)",
			Errors:  []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Conflict, builtin.Forbidden, builtin.Busy, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewRead("snapshots", "List snapshots: by dataset, each dataset's oldest first, in the order of creation.", c.snapshots).With(builtin.Reference{
			Example: "for s in zfs.snapshots([\"rpool/data\"], recursive = True, newest = 1):\n    log(\"%s of %s\" % (s.snapshot, s.created))",
			Source:  "zfs-list(8)",
			Errors:  []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewRead("holds", "List the holds of snapshots.", c.holds).With(builtin.Reference{
			Example: "for s in zfs.snapshots([\"rpool/share\"]):\n    for h in zfs.holds([s.snapshot]):\n        log(\"%s is held by %s\" % (h.snapshot, h.tag))",
			Source:  "zfs-hold(8)",
			Errors:  []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewChange("hold", "Keep snapshots from being destroyed, and see that each is held.",
			builtin.Op[HoldArgs, HoldResult]{Preview: c.previewHold, Do: c.hold, Settle: c.settleHold, Keys: HoldArgs.keys},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"keep\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.hold([\"rpool/share@\" + name], \"offsite\")",
			Source:  "zfs-hold(8)",
			Errors:  []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Conflict, builtin.Forbidden, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewChange("release", "Release holds of snapshots, and see that they are gone. Whose hold it is, its name says: release none that is not yours.",
			builtin.Op[HoldArgs, HoldResult]{Preview: c.previewRelease, Do: c.release, Settle: c.settleRelease, Keys: HoldArgs.keys},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"keep\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.hold([\"rpool/share@\" + name])\nzfs.release([\"rpool/share@\" + name])",
			Source:  "zfs-release(8)",
			Errors:  []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Unreachable, builtin.Failed},
		}),
	}
}
