package vzdump

import (
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Module is the module vzdump, on a Proxmox host and its cluster.
func Module(c *pve.Client) builtin.Module {
	v := &vzdump{c: c}
	return builtin.NewModule("vzdump", "Backups of guests: make them, list them, verify them, mark them, prune them, and bring guests back from them.",
		builtin.NewChange("backup", "Back up guests of one node, in one task, and see that each archive is there. "+
			"If only some guests fail, the error's value holds the archives of the others.",
			builtin.Op[BackupArgs, BackupResult]{Preview: v.previewBackup, Do: v.backup, Settle: v.settleBackup, Keys: BackupArgs.keys},
		).With(builtin.Reference{
			Example:    "made = vzdump.backup(\"pve2\", [101, 105], \"backup\", note = \"before the upgrade\")\nfor a in made.archives:\n    log(\"%s: %s\" % (a.guest, a.consistency))",
			Source:     "POST /nodes/{node}/vzdump, vzdump(1)",
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Timeout, builtin.Failed},
			Privileges: on("VM.Audit", "/vms/{guests}", "VM.Backup", "/vms/{guests}", "Datastore.AllocateSpace", "/storage/{storage}"),
		}),
		builtin.NewRead("backups", "List the archives of a storage, oldest first.", v.backups).With(builtin.Reference{
			Example:    "for a in vzdump.backups(\"backup\", guests = [101], ours = True):\n    log(\"%s: %s bytes\" % (a.volid, a.size))",
			Source:     "GET /nodes/{node}/storage/{storage}/content",
			Errors:     []builtin.Kind{builtin.NotFound, builtin.Forbidden, builtin.Unreachable},
			Privileges: on("VM.Backup", "/vms/{guests}", "Datastore.AllocateSpace", "/storage/{storage}"),
		}),
		builtin.NewRead("verify", "Read archives to their end and check that they are whole. "+
			"The files must be readable on the machine that runs nixmox. If only some are not whole, the error's value holds the others. Of one on a backup server nobody but the server can tell; see verification in backups.",
			v.verify).With(builtin.Reference{
			Example:    "newest = vzdump.backups(\"backup\", guests = [101])[-1]\nlog(vzdump.verify(\"backup\", [newest.volid]).whole[0].read.proof)",
			Source:     "package builtins/vzdump/archive",
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Failed},
			Privileges: onStorage,
		}),
		builtin.NewChange("mark", "Write into the notes of archives of nixmox's own that they were verified, when, and their checksum. "+
			"The newest one of a guest marked so is never pruned. If only some could be marked, the error's value holds those.",
			builtin.Op[MarkArgs, MarkResult]{Preview: v.previewMark, Do: v.markVerified, Settle: v.settleMark, Keys: MarkArgs.keys},
		).With(builtin.Reference{
			Example:    "newest = vzdump.backups(\"backup\", guests = [101], ours = True)[-1]\nvzdump.mark(\"backup\", vzdump.verify(\"backup\", [newest.volid]).whole)",
			Source:     "PUT /nodes/{node}/storage/{storage}/content/{volume}",
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Failed},
			Privileges: onStorage,
		}),
		builtin.NewChange("protect", "Have Proxmox keep an archive from being removed, or no longer. "+
			"Any archive may be protected; the protection is only taken from nixmox's own.",
			builtin.Op[ProtectArgs, Archive]{Preview: v.previewProtect, Do: v.protect, Settle: v.settleProtect, Keys: ProtectArgs.keys},
		).With(builtin.Reference{
			Example:    "newest = vzdump.backups(\"backup\", guests = [101], ours = True)[-1]\nvzdump.protect(newest.volid)\nvzdump.protect(newest.volid, on = False)",
			Source:     "PUT /nodes/{node}/storage/{storage}/content/{volume}",
			Errors:     []builtin.Kind{builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Failed},
			Privileges: onArchives,
		}),
		builtin.NewRead("extract_config", "Read a guest's configuration out of an archive, and what of that guest the archive does not hold.",
			v.extractConfig).With(builtin.Reference{
			Example:    "newest = vzdump.backups(\"backup\", guests = [100])[-1]\nsaved = vzdump.extract_config(newest.volid)\nlog(\"%s MiB, without %s\" % (saved.config[\"memory\"], saved.left_out))",
			Source:     "GET /nodes/{node}/vzdump/extractconfig",
			Errors:     []builtin.Kind{builtin.NotFound, builtin.Forbidden, builtin.Unreachable, builtin.Failed},
			Privileges: onArchives,
		}),
		builtin.NewChange("restore", "Make a new guest of an archive, and see that it is there with all its disks. Never over a guest. "+
			"Bind and device mounts of a container are not restored, since only root may; they are in left_out.",
			builtin.Op[RestoreArgs, Restored]{Preview: v.previewRestore, Do: v.restore, Settle: v.settleRestoreNew, Keys: RestoreArgs.keys},
		).With(builtin.Reference{
			Example:    "newest = vzdump.backups(\"backup\", guests = [100])[-1]\ncopy = vzdump.restore(newest.volid)\nlog(\"guest %d on %s\" % (copy.guest, copy.node))",
			Source:     "POST /nodes/{node}/qemu and /nodes/{node}/lxc, qmrestore(1), pct(1)",
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Timeout, builtin.Failed},
			Privileges: append(on("VM.Allocate", "/vms/{guest}", "VM.Audit", "/vms/{guest}", "Datastore.AllocateSpace", "/storage/{storage}"), onArchives...),
		}),
		builtin.NewIrreversible("restore_over", "Replace a stopped guest by what an archive holds: its disks, snapshots and configuration go. "+
			"Only from an archive that is marked as verified, unless said.",
			builtin.IrreversibleOp[RestoreOverArgs, Overwritten, Restored]{
				Decide: v.decideRestoreOver, Preview: v.previewRestoreOver, Do: v.restoreOver, Settle: v.settleRestoreOver, Keys: RestoreOverArgs.keys,
			},
		).With(builtin.Reference{
			Example:    "made = vzdump.backup(\"pve3\", [108], \"backup\").archives[0]\nvzdump.mark(\"backup\", vzdump.verify(\"backup\", [made.volid]).whole)\nvzdump.restore_over(made.volid, 108)",
			Source:     "POST /nodes/{node}/qemu and /nodes/{node}/lxc with force, qmrestore(1), pct(1)",
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Busy, builtin.Conflict, builtin.Unreachable, builtin.Timeout, builtin.Failed},
			Privileges: append(on("VM.Allocate|VM.Backup", "/vms/{guest}", "VM.Audit", "/vms/{guest}", "Datastore.AllocateSpace", "/storage/{storage}"), onArchives...),
		}),
		builtin.NewIrreversible("prune", "Remove the archives of guests that nixmox made and no rule keeps. "+
			"What is protected, the newest and the newest verified always stay, and what Proxmox's own preview with the same rules keeps; what others made stays, unless unmarked names it.",
			builtin.IrreversibleOp[PruneArgs, PruneDecision, PruneResult]{
				Decide: v.decidePrune, Preview: v.previewPrune, Do: v.prune, Settle: v.settlePrune, Keys: PruneArgs.keys,
			},
		).With(builtin.Reference{
			Example:    "for x in vzdump.prune(\"backup\", [101], keep(daily = 7, weekly = 4)).removed:\n    log(\"%s: %s\" % (x.volid, x.reason))",
			Source:     "GET /nodes/{node}/storage/{storage}/prunebackups, DELETE /nodes/{node}/storage/{storage}/content/{volume}",
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Failed},
			Privileges: on("VM.Backup", "/vms/{guests}", "Datastore.AllocateSpace", "/storage/{storage}"),
		}),
	)
}

// onArchives are what seeing and handling an archive takes, whose storage its
// volume id names: the guest's own is VM.Backup, as for making it.
var onArchives = on("VM.Backup", "/vms", "Datastore.AllocateSpace", "/storage/{volid}")

// onStorage is the same for archives whose storage is named.
var onStorage = on("VM.Backup", "/vms", "Datastore.AllocateSpace", "/storage/{storage}")

func on(nameThenPath ...string) []builtin.Privilege {
	var out []builtin.Privilege
	for i := 0; i < len(nameThenPath); i += 2 {
		out = append(out, builtin.Privilege{Name: nameThenPath[i], Path: nameThenPath[i+1]})
	}
	return out
}
