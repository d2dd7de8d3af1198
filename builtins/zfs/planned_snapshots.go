package zfs

import (
	"context"
	"slices"

	"nixmox/engine/builtin"
)

// plannedChanges is the key of a plan's overlay; its entries are functions
// func([]SnapshotInfo, covers) []SnapshotInfo: what a change that was planned
// makes of a list of snapshots.
const plannedChanges = "zfs.snapshots"

// plannedChange alters a list of snapshots as a planned call would have altered
// what is listed. covers says whether the list is one of that dataset's, too.
type plannedChange func(list []SnapshotInfo, covers func(Dataset) bool) []SnapshotInfo

// plan notes a change, in a plan.
func plan(ctx context.Context, change plannedChange) {
	if planned := builtin.CallFrom(ctx).Run.Planned; planned != nil {
		planned.Add(plannedChanges, change)
	}
}

// plannedSnapshots is a list of snapshots as a plan's changes would have left
// it. In a real run it is the list.
func plannedSnapshots(ctx context.Context, list []SnapshotInfo, a SnapshotsArgs) []SnapshotInfo {
	covers := func(d Dataset) bool {
		return len(a.Datasets) == 0 || slices.Contains(a.Datasets, d) ||
			a.Recursive && slices.ContainsFunc(a.Datasets, func(above Dataset) bool { return d.In(above) })
	}
	for _, entry := range builtin.CallFrom(ctx).Run.Planned.Entries(plannedChanges) {
		list = entry.(plannedChange)(list, covers)
	}
	return list
}
