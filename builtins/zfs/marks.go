package zfs

import (
	"context"

	"nixmox/builtins/internal/mark"
	"nixmox/engine/builtin"
)

// What nixmox makes carries its mark in a user property. Snapshots and datasets
// have one each: ZFS hands a dataset's properties down to all below it, its
// snapshots too, and one that somebody else took of a dataset of ours is not
// ours. For the same reason a mark names what it stands on: a snapshot that was
// renamed, or has the property from a dataset on which somebody set it, is not
// ours, and never goes.
const (
	snapshotMark = "nixmox:snapshot"
	datasetMark  = "nixmox:dataset"
)

// newMark is the mark of what the call of this context makes, to stand on a
// name: a snapshot's after the @, a dataset's whole one.
func newMark(ctx context.Context, of string) (mark.Mark, error) {
	call := builtin.CallFrom(ctx)
	if call.Run.ID == "" {
		return mark.Mark{}, builtin.Faultf(builtin.Invalid, "marking %s as made by nixmox: outside a run, so it could not be told from others", of).
			Hinting("ZFS is changed in runs: nixmox run …")
	}
	return mark.Mark{Run: call.Run.ID, Place: string(call.Place), Playbook: call.Run.Playbook, Of: of}, nil
}

// marked is the mark that a property holds, if it is of that name.
func marked(property, of string) (mark.Mark, bool) {
	m, ok := mark.Parse(property)
	return m, ok && m.Of == of
}
