package zfs

import "nixmox/engine/builtin"

func (c client) removalFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewIrreversible("destroy", "Destroy snapshots that are named one by one, and see that they are gone. None that is held or has clones, and never a dataset.",
			builtin.IrreversibleOp[DestroyArgs, DestroyDecision, DestroyResult]{
				Decide: c.decideDestroy, Preview: c.previewDestroy, Do: c.destroy, Settle: c.settleDestroy, Keys: DestroyArgs.keys,
			},
		).With(builtin.Reference{
			Example: "name = zfs.snapshot_name(\"try\", now())\nzfs.snapshot([\"rpool/share\"], name)\nzfs.destroy([\"rpool/share@\" + name])",
			Source:  "zfs-destroy(8)",
			Errors:  []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Conflict, builtin.Busy, builtin.Forbidden, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewIrreversible("prune", "Destroy the snapshots that rules do not keep, of each dataset by itself, and see that they are gone. "+
			"Only those that nixmox took and that have no holds and no clones; never the newest, and nothing at all while the clock looks wrong.",
			builtin.IrreversibleOp[PruneArgs, PruneDecision, PruneResult]{
				Decide: c.decidePrune, Preview: c.previewPrune, Do: c.prune, Settle: c.settlePrune, Keys: PruneArgs.keys,
			},
		).With(builtin.Reference{
			Example: "zfs.prune([\"rpool/share\"], keep(\"last=3,hourly=24,daily=7,weekly=4\"))",
			Source:  "zfs-destroy(8), package engine/retention",
			Errors:  []builtin.Kind{builtin.Invalid, builtin.NotFound, builtin.Conflict, builtin.Busy, builtin.Forbidden, builtin.Unreachable, builtin.Failed},
		}),
	}
}
