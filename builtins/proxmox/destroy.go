package proxmox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// DestroyArgs are the arguments of destroy().
type DestroyArgs struct {
	Guest        builtin.VMID     `name:"guest" scope:"guest" doc:"the guest; it must be stopped"`
	Purge        bool             `name:"purge" default:"false" doc:"take it out of backup jobs, replication, HA and access control, too"`
	Unreferenced bool             `name:"unreferenced" default:"false" doc:"volumes that carry its id and stand in no configuration go, too"`
	Wait         builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

func (a DestroyArgs) what() string { return fmt.Sprintf("destroying the guest %d", a.Guest) }

var destroyTypes = []string{"qmdestroy", "vzdestroy"}

// DestroyDecision is what will go.
type DestroyDecision struct {
	Guest     builtin.VMID       `name:"guest" doc:"the guest"`
	Name      string             `name:"name" doc:"its name"`
	Node      builtin.Node       `name:"node" doc:"where it is"`
	Kind      string             `name:"kind" doc:"vm or container"`
	Digest    string             `name:"digest" volatile:"" doc:"of its configuration"`
	Disks     []Disk             `name:"disks" doc:"its volumes, those of its snapshots too"`
	Snapshots []SnapshotIdentity `name:"snapshots" doc:"its snapshots"`
}

// DestroyResult is what went.
type DestroyResult struct {
	Guest builtin.VMID `name:"guest" doc:"the guest"`
	Name  string       `name:"name" doc:"its name"`
	Disks []Disk       `name:"disks" doc:"the volumes that went with it"`
	taskPart
}

// volumeOwner is whose a volume is by its name. That of a linked clone begins
// with its base's, which is another guest's: base-9000-disk-0/vm-112-disk-0.
var volumeOwner = pattern.Of(`(?:^|/)(?:vm|base|subvol|basevol)-([0-9]+)-[^/]*$`)

func (c client) decideDestroy(ctx context.Context, a DestroyArgs) (DestroyDecision, error) {
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return DestroyDecision{}, err
	}
	return c.lookForDestroy(ctx, a, g)
}

func (c client) lookForDestroy(ctx context.Context, a DestroyArgs, g foundGuest) (DestroyDecision, error) {
	none := func(err error) (DestroyDecision, error) { return DestroyDecision{}, err }
	if g.home == "" {
		return none(endsPlan(ctx, a.Guest, "which volumes it will have"))
	}
	s, err := c.statusOf(ctx, g)
	if err != nil {
		return none(err)
	}
	config, err := c.configOf(ctx, g, "", true)
	if err != nil {
		return none(err)
	}
	refuse := func(said, hint string, args ...any) error {
		return builtin.Faultf(builtin.Conflict, "%s (%s)", a.what(), s.Name).Saying(said).Hinting(hint, args...)
	}
	switch {
	case s.Status != stopped:
		return none(refuse("it is "+s.Status, "stop it first: proxmox.shutdown(%d)", a.Guest))
	case settingText(config["protection"]) == "1":
		return none(refuse("it is protected", "if it shall go: proxmox.set(%d, protection = False)", a.Guest))
	case s.HA && !a.Purge:
		return none(refuse("the HA manager has it", "purge = True takes it out of HA, backup jobs and replication"))
	}
	snapshots, err := c.snapshotsOf(ctx, g)
	if err != nil {
		return none(err)
	}
	d := DestroyDecision{Guest: a.Guest, Name: s.Name, Node: builtin.Node(g.Node), Kind: g.noun(), Digest: settingText(config["digest"]), Snapshots: []SnapshotIdentity{}}
	configs := []map[string]any{config}
	for _, snap := range snapshots {
		d.Snapshots = append(d.Snapshots, snap.identity(""))
		if snap.config != nil {
			continue // it is only planned, and has the disks of now
		}
		then, err := c.configOf(ctx, g, SnapshotName(snap.Name), true)
		if err != nil {
			return none(err)
		}
		configs = append(configs, then)
	}
	d.Disks = []Disk{}
	for _, config := range configs {
		for _, disk := range disksOf(config) {
			// Proxmox leaves alone what carries another guest's id.
			m := volumeOwner().FindStringSubmatch(disk.VolID.Name())
			known := slices.ContainsFunc(d.Disks, func(o Disk) bool { return o.VolID == disk.VolID })
			if !known && (m == nil || m[1] == a.Guest.String()) {
				d.Disks = append(d.Disks, disk)
			}
		}
	}
	return d, nil
}

func (c client) previewDestroy(ctx context.Context, a DestroyArgs, d DestroyDecision) (DestroyResult, error) {
	plan(ctx, a.Guest, func(v *view) { v.guest = nil })
	return DestroyResult{Guest: a.Guest, Name: d.Name, Disks: d.Disks, taskPart: plannedTask(ctx)}, nil
}

func (c client) destroy(ctx context.Context, a DestroyArgs, d DestroyDecision) (DestroyResult, error) {
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return DestroyResult{}, err
	}
	now, err := c.lookForDestroy(ctx, a, g)
	if err != nil {
		return DestroyResult{}, err
	}
	sameSnapshots := slices.EqualFunc(d.Snapshots, now.Snapshots, func(x, y SnapshotIdentity) bool { return x.Name == y.Name && x.Time.Equal(y.Time) })
	if d.Name != now.Name || d.Kind != now.Kind || d.Node != now.Node || d.Digest != now.Digest || !slices.Equal(d.Disks, now.Disks) || !sameSnapshots {
		return DestroyResult{}, builtin.Faultf(builtin.Conflict, "%s: it is not the one that this was decided on", a.what()).
			Saying(fmt.Sprintf("%s on %s with %d disks was to go; now it is %s on %s with %d, or its configuration has changed", d.Name, d.Node, len(d.Disks), now.Name, now.Node, len(now.Disks))).
			Hinting("nothing was destroyed; look at it again")
	}
	params := map[string]any{}
	if a.Purge {
		params["purge"] = true
	}
	// Proxmox's own default changed once: it is always said.
	params["destroy-unreferenced-disks"] = a.Unreferenced
	end, err := c.make(ctx, guestChange{what: a.what(), guest: g, types: destroyTypes, wait: time.Duration(a.Wait),
		send: func(ctx context.Context, out *json.RawMessage) error {
			return c.pve.Delete(ctx, g.path(""), params, out)
		}})
	if err != nil {
		return DestroyResult{}, err
	}
	return c.destroyed(ctx, a, d, end)
}

// destroyed reads back that the guest is gone, and its volumes with it: that
// one could not be removed is only a line in the task's log.
func (c client) destroyed(ctx context.Context, a DestroyArgs, d DestroyDecision, end pve.TaskEnd) (DestroyResult, error) {
	r := DestroyResult{Guest: a.Guest, Name: d.Name, Disks: d.Disks, taskPart: taskOf(end)}
	_, err := c.find(ctx, a.Guest)
	if f := builtin.AsFault(err); f == nil || f.Kind != builtin.NotFound {
		if err == nil {
			err = builtin.Faultf(builtin.Failed, "%s: the task ended with %q, but it is still there", a.what(), end.ExitStatus).
				Hinting("the whole log: pvenode task log %s on %s", end.UPID, end.UPID.Node)
		}
		return DestroyResult{}, err
	}
	lists := map[builtin.StorageID][]pve.Volume{}
	var left []string
	for _, disk := range d.Disks {
		storage := disk.VolID.Storage()
		if _, seen := lists[storage]; !seen {
			list, err := c.pve.Content(ctx, string(d.Node), string(storage), pve.ContentFilter{})
			if err != nil {
				r.Warnings.Value = append(r.Warnings.Value, fmt.Sprintf("whether its volumes on %s are gone could not be seen: %v", storage, err))
			}
			lists[storage] = list
		}
		if slices.ContainsFunc(lists[storage], func(v pve.Volume) bool { return v.VolID == string(disk.VolID) }) {
			left = append(left, string(disk.VolID))
		}
	}
	if len(left) > 0 {
		f := builtin.Faultf(builtin.Failed, "%s: it is gone, but its volumes are not: %s", a.what(), strings.Join(left, ", ")).
			Saying(end.ExitStatus).Hinting("remove them by hand: pvesm free %s", left[0])
		f.Partial = r
		return r, f
	}
	return r, nil
}

func (c client) settleDestroy(ctx context.Context, a DestroyArgs, text string) (builtin.Settlement[DestroyResult], error) {
	d, _ := builtin.CallFrom(ctx).Decision.(DestroyDecision)
	request := pve.TaskRequest{What: a.what(), Guest: a.Guest, Types: destroyTypes}
	return settleChange(ctx, c, request, text, func(end pve.TaskEnd, _ handle) (DestroyResult, error) { return c.destroyed(ctx, a, d, end) })
}
