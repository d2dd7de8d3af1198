package proxmox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// DeleteSnapshotArgs are the arguments of delete_snapshot().
type DeleteSnapshotArgs struct {
	Guest builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Name  SnapshotName     `name:"name" doc:"the snapshot"`
	Force bool             `name:"force" default:"false" doc:"take it out of the configuration even where its volumes' snapshots cannot be removed, which then stay"`
	Wait  builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

func (a DeleteSnapshotArgs) what() string {
	return fmt.Sprintf("deleting the snapshot %s of the guest %d", a.Name, a.Guest)
}

var deleteSnapshotTypes = []string{"qmdelsnapshot", "vzdelsnapshot"}

// DeleteSnapshotResult is what delete_snapshot() removed.
type DeleteSnapshotResult struct {
	Removed SnapshotIdentity `name:"removed" doc:"what is gone"`
	taskPart
}

func (c client) decideDeleteSnapshot(ctx context.Context, a DeleteSnapshotArgs) (SnapshotIdentity, error) {
	list, err := c.snapshots(ctx, GuestArgs{a.Guest})
	if err != nil {
		return SnapshotIdentity{}, err
	}
	s, ok := findSnapshot(list, string(a.Name))
	if !ok {
		return SnapshotIdentity{}, noSnapshot(a.what(), a.Guest, string(a.Name))
	}
	return s.identity(""), nil
}

func (c client) previewDeleteSnapshot(ctx context.Context, a DeleteSnapshotArgs, d SnapshotIdentity) (DeleteSnapshotResult, error) {
	planSnapshotGone(ctx, d)
	return DeleteSnapshotResult{d, plannedTask(ctx)}, nil
}

// planSnapshotGone takes a snapshot out of the tree, as Proxmox does: its
// children become its parent's.
func planSnapshotGone(ctx context.Context, gone SnapshotIdentity) {
	plan(ctx, gone.Guest, func(v *view) {
		if v.snapshots == nil {
			return
		}
		var left []Snapshot
		removed, _ := findSnapshot(*v.snapshots, gone.Name)
		for _, s := range *v.snapshots {
			if s.Parent == gone.Name {
				s.Parent = removed.Parent
			}
			if removed.Current && s.Name == removed.Parent {
				s.Current = true
			}
			if s.Name != gone.Name {
				left = append(left, s)
			}
		}
		*v.snapshots = left
	})
}

func (c client) deleteSnapshot(ctx context.Context, a DeleteSnapshotArgs, d SnapshotIdentity) (DeleteSnapshotResult, error) {
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return DeleteSnapshotResult{}, err
	}
	list, err := c.snapshotsOf(ctx, g)
	if err != nil {
		return DeleteSnapshotResult{}, err
	}
	s, ok := findSnapshot(list, string(a.Name))
	switch {
	case !ok:
		return DeleteSnapshotResult{}, noSnapshot(a.what(), a.Guest, string(a.Name))
	case !d.same(s):
		return DeleteSnapshotResult{}, builtin.Faultf(builtin.Conflict, "%s: it is another one than when this was decided", a.what()).
			Saying(fmt.Sprintf("it is of %s, and was of %s", s.Time.Format(time.RFC3339), d.Time.Format(time.RFC3339))).Hinting("nothing was removed; look at proxmox.snapshots(%d)", a.Guest)
	}
	end, err := c.removeSnapshot(ctx, g, a)
	if err != nil {
		return DeleteSnapshotResult{}, err
	}
	return c.snapshotGone(ctx, a, d, end)
}

func (c client) removeSnapshot(ctx context.Context, g foundGuest, a DeleteSnapshotArgs) (pve.TaskEnd, error) {
	var params map[string]any
	if a.Force {
		params = map[string]any{"force": true}
	}
	path := pve.Path("/snapshot/%s", string(a.Name))
	return c.make(ctx, guestChange{what: a.what(), guest: g, types: deleteSnapshotTypes, wait: time.Duration(a.Wait),
		send: func(ctx context.Context, out *json.RawMessage) error {
			return c.pve.Delete(ctx, g.path(path), params, out)
		}})
}

// snapshotGone reads back that it is.
func (c client) snapshotGone(ctx context.Context, a DeleteSnapshotArgs, d SnapshotIdentity, end pve.TaskEnd) (DeleteSnapshotResult, error) {
	list, err := c.snapshots(ctx, GuestArgs{a.Guest})
	if err != nil {
		return DeleteSnapshotResult{}, err
	}
	if s, ok := findSnapshot(list, string(a.Name)); ok && d.same(s) {
		return DeleteSnapshotResult{}, builtin.Faultf(builtin.Failed, "%s: the task ended with %q, but it is still there", a.what(), end.ExitStatus).
			Hinting("the whole log: pvenode task log %s on %s", end.UPID, end.UPID.Node)
	}
	return DeleteSnapshotResult{d, taskOf(end)}, nil
}

func (c client) settleDeleteSnapshot(ctx context.Context, a DeleteSnapshotArgs, text string) (builtin.Settlement[DeleteSnapshotResult], error) {
	d, _ := builtin.CallFrom(ctx).Decision.(SnapshotIdentity)
	request := pve.TaskRequest{What: a.what(), Guest: a.Guest, Types: deleteSnapshotTypes}
	return settleChange(ctx, c, request, text, func(end pve.TaskEnd, _ handle) (DeleteSnapshotResult, error) { return c.snapshotGone(ctx, a, d, end) })
}
