package vzdump

import (
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Module is the module vzdump, on a Proxmox host and its cluster.
func Module(c *pve.Client) builtin.Module {
	v := &vzdump{c}
	return builtin.NewModule("vzdump", "Backups of guests: make them, list them, verify them, mark them, prune them.",
		builtin.NewChange("backup", "Back up guests of one node, in one task, and see that each archive is there. "+
			"If only some guests fail, the error's value holds the archives of the others.",
			builtin.Op[BackupArgs, BackupResult]{Preview: v.previewBackup, Do: v.backup, Settle: v.settleBackup, Keys: BackupArgs.keys},
		).With(builtin.Reference{
			Example:    "made = vzdump.backup(\"pve2\", [101, 105], \"backup\", note = \"before the upgrade\")\nfor a in made.archives:\n    log(\"%s: %s\" % (a.guest, a.consistency))",
			Source:     "POST /nodes/{node}/vzdump, vzdump(1)",
			Privileges: append([]builtin.Privilege{{Name: "VM.Audit", Path: "/vms/{guest}"}}, archivePrivileges...),
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Timeout, builtin.Failed},
		}),
		builtin.NewRead("backups", "List the archives of a storage, oldest first.", v.backups).With(builtin.Reference{
			Example:    "for a in vzdump.backups(\"backup\", guests = [101], ours = True):\n    log(\"%s: %s bytes\" % (a.volid, a.size))",
			Source:     "GET /nodes/{node}/storage/{storage}/content",
			Privileges: archivePrivileges,
			Errors:     []builtin.Kind{builtin.NotFound, builtin.Forbidden, builtin.Unreachable},
		}),
		builtin.NewRead("verify", "Read an archive to its end and check that it is whole. "+
			"The file must be readable on the machine that runs nixmox.", v.verify).With(builtin.Reference{
			Example:    "newest = vzdump.backups(\"backup\", guests = [101])[-1]\nlog(vzdump.verify(newest.volid).proof)",
			Source:     "package builtins/vzdump/archive",
			Privileges: archivePrivileges,
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewChange("mark", "Write into the notes of an archive of nixmox's own that it was verified, when, and its checksum. "+
			"The newest one marked so is never pruned.",
			builtin.Op[MarkArgs, Archive]{Preview: v.previewMark, Do: v.markVerified, Settle: v.settleMark, Keys: MarkArgs.keys},
		).With(builtin.Reference{
			Example:    "newest = vzdump.backups(\"backup\", guests = [101], ours = True)[-1]\nvzdump.mark(newest.volid, vzdump.verify(newest.volid))",
			Source:     "PUT /nodes/{node}/storage/{storage}/content/{volume}",
			Privileges: archivePrivileges,
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewIrreversible("prune", "Remove the archives of guests that nixmox made and no rule keeps. "+
			"What others made, what is protected, the newest and the newest verified always stay.",
			builtin.IrreversibleOp[PruneArgs, PruneDecision, PruneResult]{
				Decide: v.decidePrune, Preview: v.previewPrune, Do: v.prune, Settle: v.settlePrune, Keys: PruneArgs.keys,
			},
		).With(builtin.Reference{
			Example:    "for x in vzdump.prune(\"backup\", [101], keep(daily = 7, weekly = 4)).removed:\n    log(\"%s: %s\" % (x.volid, x.reason))",
			Source:     "DELETE /nodes/{node}/storage/{storage}/content/{volume}",
			Privileges: archivePrivileges,
			Errors:     []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Forbidden, builtin.Conflict, builtin.Unreachable, builtin.Failed},
		}),
	)
}

// archivePrivileges are what making, seeing, marking and removing the archives
// of a guest takes (PVE::Storage::check_volume_access).
var archivePrivileges = []builtin.Privilege{
	{Name: "VM.Backup", Path: "/vms/{guest}"},
	{Name: "Datastore.AllocateSpace", Path: "/storage/{storage}"},
}
