package zfs

import "nixmox/engine/builtin"

func (c client) removalFuncs() []builtin.Func {
	removal := []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Conflict, builtin.Busy, builtin.Forbidden, builtin.Unreachable, builtin.Failed}
	return []builtin.Func{
		builtin.NewIrreversible("destroy", "Destroy snapshots that are named one by one, and see that they are gone. None that is held or has clones, and never a dataset.",
			builtin.IrreversibleOp[DestroyArgs, DestroyDecision, DestroyResult]{
				Decide: c.decideDestroy, Preview: c.previewDestroy, Do: c.destroy, Settle: c.settleDestroy, Keys: DestroyArgs.keys,
			},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"try\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.destroy([\"rpool/share@\" + name])",
			Source:  "zfs-destroy(8)",
			Errors:  removal,
		}),
		builtin.NewIrreversible("prune", "Destroy the snapshots that rules do not keep, of each dataset by itself, and see that they are gone. "+
			"Only those that nixmox took and that have no holds and no clones; never the newest, and nothing at all while the clock looks wrong.",
			builtin.IrreversibleOp[PruneArgs, PruneDecision, PruneResult]{
				Decide: c.decidePrune, Preview: c.previewPrune, Do: c.prune, Settle: c.settlePrune, Keys: PruneArgs.keys,
			},
		).With(builtin.Reference{
			Example: "zfs.prune([\"rpool/share\"], keep(\"last=3,hourly=24,daily=7,weekly=4\"))",
			Source:  "zfs-destroy(8), package engine/retention",
			Errors:  removal,
		}),
		builtin.NewRead("in_the_way", "Look what a rollback to a snapshot would lose and what it would meet, whose that is, and what could be done instead.", c.inTheWay).With(builtin.Reference{
			Example: "for s in zfs.snapshots([\"rpool/share\"], newest = 1):\n    w = zfs.in_the_way(s.snapshot)\n    log(\"%d bytes written since; in the way: %s\" % (w.written, w.why))",
			Source:  "zfs-rollback(8)",
			Errors:  []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewIrreversible("rollback", "Roll a file system or a volume back to a snapshot, and see that it is. What was written since is lost. "+
			"Where later snapshots or bookmarks exist, whoever made them, it is refused, or exactly those are destroyed that were there when it was decided. What is below the dataset stays as it is.",
			builtin.IrreversibleOp[RollbackArgs, RollbackDecision, RollbackResult]{
				Decide: c.decideRollback, Preview: c.previewRollback, Do: c.rollback, Settle: c.settleRollback, Keys: RollbackArgs.keys,
			},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"before\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.rollback(\"rpool/share@\" + name)",
			Source:  "zfs-rollback(8)",
			Errors:  removal,
		}),
		builtin.NewRead("diff", "List what changed in a mounted file system between two snapshots of it, or since one.", c.diff).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"before\", now())\nzfs.snapshot([\"rpool/share\"], name)\nlog(\"%d changes\" % zfs.diff(\"rpool/share@\" + name).total)",
			Source:  "zfs-diff(8)",
			Errors:  []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Conflict, builtin.Unreachable, builtin.Failed},
		}),
	}
}
