package zfs

import (
	"slices"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// Module is the module zfs, by the commands that the runner finds.
func Module(r *run.Runner) builtin.Module {
	c := client{runner: r}
	return builtin.NewModule("zfs", "The pools, datasets and snapshots of this machine's OpenZFS.", slices.Concat(c.poolFuncs(), c.datasetFuncs(), c.snapshotFuncs(), c.removalFuncs())...)
}
