package proxmox

import (
	"context"
	"maps"
	"slices"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// plannedChanges is the key of a plan's overlay. Its entries are plannedChange.
const plannedChanges = "proxmox.guests"

// view is what is known of one guest. A read fills in what it read, and a
// plan's changes alter what is there.
type view struct {
	guest     *pve.Guest // nil: there is none
	status    *GuestStatus
	config    map[string]any
	snapshots *[]Snapshot
}

// plannedChange is one change that a plan would have made.
type plannedChange struct {
	guest builtin.VMID
	make  func(*view)
}

// plan notes a change of a guest, in a plan.
func plan(ctx context.Context, guest builtin.VMID, change func(*view)) {
	if planned := builtin.CallFrom(ctx).Run.Planned; planned != nil {
		planned.Add(plannedChanges, plannedChange{guest, change})
	}
}

// overlay makes a view as a plan's changes would have left it. In a real run
// it leaves it alone.
func overlay(ctx context.Context, guest builtin.VMID, v *view) {
	for _, entry := range builtin.CallFrom(ctx).Run.Planned.Entries(plannedChanges) {
		if change := entry.(plannedChange); change.guest == guest {
			change.make(v)
		}
	}
}

// endsPlan is the end of a plan that wants to know what only the run can tell.
func endsPlan(ctx context.Context, guest builtin.VMID, what string) error {
	stop := builtin.Stopf(builtin.PlanEnds, "the guest %d is only planned, and %s is not known before", guest, what)
	stop.At = builtin.CallFrom(ctx).At
	return stop
}

// plannedGuests is the list of guests as a plan's changes would have left it.
func plannedGuests(ctx context.Context, all []pve.Guest) []pve.Guest {
	touched := map[builtin.VMID]bool{}
	for _, entry := range builtin.CallFrom(ctx).Run.Planned.Entries(plannedChanges) {
		touched[entry.(plannedChange).guest] = true
	}
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		v := view{}
		i := slices.IndexFunc(all, func(g pve.Guest) bool { return g.VMID == id })
		if i >= 0 {
			g := all[i]
			v.guest, all = &g, slices.Delete(slices.Clone(all), i, i+1)
		}
		overlay(ctx, id, &v)
		if v.guest != nil {
			all = append(all, *v.guest)
		}
	}
	slices.SortFunc(all, func(a, b pve.Guest) int { return int(a.VMID) - int(b.VMID) })
	return all
}
