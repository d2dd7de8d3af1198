package proxmox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// RollbackArgs are the arguments of rollback().
type RollbackArgs struct {
	Guest    builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Snapshot SnapshotName     `name:"snapshot" doc:"the snapshot to go back to"`
	Start    bool             `name:"start" default:"false" doc:"start the guest afterwards; one that was snapshotted with its memory goes on anyhow"`
	Wait     builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

func (a RollbackArgs) what() string {
	return fmt.Sprintf("rolling the guest %d back to %s", a.Guest, a.Snapshot)
}

var rollbackTypes = []string{"qmrollback", "vzrollback"}

// SnapshotIdentity is what makes a snapshot the one that was decided on.
type SnapshotIdentity struct {
	Guest  builtin.VMID `name:"guest" doc:"the guest"`
	Name   string       `name:"name" doc:"its name"`
	Parent string       `name:"parent" doc:"the snapshot it was made after"`
	Time   time.Time    `name:"time" volatile:"" doc:"when it was made, UTC"`
	Owner  string       `name:"owner" doc:"who made it"`
	RAM    bool         `name:"ram" doc:"a VM's memory is in it"`
	Reason string       `name:"reason" doc:"why it goes or stays; empty where it was named"`
}

func (s Snapshot) identity(reason string) SnapshotIdentity {
	return SnapshotIdentity{s.Guest, s.Name, s.Parent, s.Time, s.Owner, s.RAM, reason}
}

// same compares by what does not change while a snapshot is one and the same.
// Its parent does, when that is deleted.
func (i SnapshotIdentity) same(s Snapshot) bool {
	return i.Guest == s.Guest && i.Name == s.Name && i.Time.Equal(s.Time) && i.RAM == s.RAM
}

// RollbackDecision is what a rollback will lose.
type RollbackDecision struct {
	To      SnapshotIdentity   `name:"to" doc:"the snapshot to go back to"`
	Since   string             `name:"since" doc:"the snapshot that the present state comes from: what has changed since is lost"`
	Running bool               `name:"running" doc:"the guest runs, and will be stopped"`
	Digest  string             `name:"digest" volatile:"" doc:"of the configuration that will be lost"`
	Later   []SnapshotIdentity `name:"later" doc:"snapshots made after it; they stay, where the storage can roll back to one that is not the newest"`
}

// RollbackResult is where a rollback came to.
type RollbackResult struct {
	Guest    builtin.VMID `name:"guest" doc:"the guest"`
	Node     builtin.Node `name:"node" doc:"where it is"`
	Snapshot string       `name:"snapshot" doc:"the snapshot that it went back to"`
	Status   string       `name:"status" doc:"running or stopped"`
	taskPart
}

func (c client) decideRollback(ctx context.Context, a RollbackArgs) (RollbackDecision, error) {
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return RollbackDecision{}, err
	}
	d, err := c.lookForRollback(ctx, a, g)
	if err != nil || len(d.Later) == 0 {
		return d, err
	}
	// ZFS rolls back to the newest snapshot only.
	onZFS, err := c.zfsVolumes(ctx, g)
	if err != nil || len(onZFS) == 0 {
		return d, err
	}
	return RollbackDecision{}, a.inTheWay(d, "its volume "+onZFS[0]+" is on ZFS, which goes back to the newest snapshot only")
}

// inTheWay names who made what stands in the way.
func (a RollbackArgs) inTheWay(d RollbackDecision, said string) *builtin.Fault {
	f := builtin.Faultf(builtin.Conflict, "%s", a.what())
	if len(d.Later) == 0 {
		return f.Saying(said).Hinting("a snapshot that Proxmox does not know stands in the way, of another tool (autosnap_… is sanoid's, __replicate_… replication's) or made by hand: zfs list -t snapshot -s createtxg on the node shows it")
	}
	var names []string
	for _, s := range d.Later {
		names = append(names, fmt.Sprintf("%s (made by %s)", s.Name, s.Owner))
	}
	return f.Saying(said+"; in the way: "+strings.Join(names, ", ")).
		Hinting("delete those first, each of them for itself: proxmox.delete_snapshot(%d, %q)", a.Guest, d.Later[len(d.Later)-1].Name)
}

func (c client) lookForRollback(ctx context.Context, a RollbackArgs, g foundGuest) (RollbackDecision, error) {
	list, err := c.snapshotsOf(ctx, g)
	if err != nil {
		return RollbackDecision{}, err
	}
	to, ok := findSnapshot(list, string(a.Snapshot))
	switch {
	case !ok:
		return RollbackDecision{}, noSnapshot(a.what(), a.Guest, string(a.Snapshot))
	case to.State != "":
		return RollbackDecision{}, builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying("the snapshot is not whole ("+to.State+")").
			Hinting("it can only be removed: proxmox.delete_snapshot(%d, %q, force = True)", a.Guest, to.Name)
	}
	s, err := c.statusOf(ctx, g)
	if err != nil {
		return RollbackDecision{}, err
	}
	config, err := c.configOf(ctx, g, "", true)
	if err != nil {
		return RollbackDecision{}, err
	}
	d := RollbackDecision{To: to.identity(""), Running: s.Status != stopped, Later: []SnapshotIdentity{}}
	d.Digest, _ = config["digest"].(string)
	for _, o := range list {
		if o.Current {
			d.Since = o.Name
		}
		if o.Name != to.Name && (o.Time.After(to.Time) || o.Time.Equal(to.Time) && descends(list, o, to.Name)) {
			d.Later = append(d.Later, o.identity(""))
		}
	}
	slices.SortStableFunc(d.Later, func(x, y SnapshotIdentity) int { return x.Time.Compare(y.Time) })
	return d, nil
}

// descends reports that a snapshot has another above it.
func descends(list []Snapshot, s Snapshot, ancestor string) bool {
	for range list { // a broken configuration may have a ring
		if s.Parent == ancestor {
			return true
		}
		var ok bool
		if s, ok = findSnapshot(list, s.Parent); !ok {
			return false
		}
	}
	return false
}

func noSnapshot(what string, guest builtin.VMID, name string) *builtin.Fault {
	return builtin.Faultf(builtin.NotFound, "%s", what).Saying("there is no snapshot "+name).Hinting("proxmox.snapshots(%d) lists them", guest)
}

// zfsVolumes are the volumes of the snapshot's configuration that are on ZFS.
func (c client) zfsVolumes(ctx context.Context, g foundGuest) ([]string, error) {
	if g.home == "" {
		return nil, nil
	}
	config, err := c.configOf(ctx, g, "", false)
	if err != nil {
		return nil, err
	}
	storages, err := c.pve.Storages(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range disksOf(config) {
		i := slices.IndexFunc(storages, func(s pve.Storage) bool { return s.Storage == string(d.VolID.Storage()) })
		if i >= 0 && (storages[i].Type == "zfspool" || storages[i].Type == "zfs") {
			out = append(out, string(d.VolID))
		}
	}
	return out, nil
}

func (c client) previewRollback(ctx context.Context, a RollbackArgs, d RollbackDecision) (RollbackResult, error) {
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return RollbackResult{}, err
	}
	status := stopped
	if d.To.RAM || a.Start {
		status = running
	}
	list, err := c.snapshotsOf(ctx, g)
	if err != nil {
		return RollbackResult{}, err
	}
	to, _ := findSnapshot(list, string(a.Snapshot))
	then := to.config
	if then == nil {
		if then, err = c.configOf(ctx, g, a.Snapshot, true); err != nil {
			return RollbackResult{}, err
		}
	}
	plan(ctx, a.Guest, func(v *view) {
		if v.guest != nil {
			v.guest.Status = status
		}
		if v.status != nil {
			v.status.Status = status
			if v.status.Kind == "vm" {
				v.status.QMP = status
			}
		}
		if v.config != nil {
			clear(v.config)
			maps.Copy(v.config, then)
			v.config["parent"] = string(a.Snapshot)
		}
		if v.snapshots != nil {
			for i, s := range *v.snapshots {
				(*v.snapshots)[i].Current = s.Name == string(a.Snapshot)
			}
		}
	})
	return RollbackResult{Guest: a.Guest, Node: builtin.Node(g.Node), Snapshot: string(a.Snapshot), Status: status, taskPart: plannedTask(ctx)}, nil
}

func (c client) rollback(ctx context.Context, a RollbackArgs, d RollbackDecision) (RollbackResult, error) {
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return RollbackResult{}, err
	}
	now, err := c.lookForRollback(ctx, a, g)
	if err != nil {
		return RollbackResult{}, err
	}
	if said := d.differs(now); said != "" {
		return RollbackResult{}, builtin.Faultf(builtin.Conflict, "%s: it is not as it was when this was decided", a.what()).Saying(said).
			Hinting("nothing was done; look at proxmox.snapshots(%d), and call it again", a.Guest)
	}
	var params map[string]any
	if a.Start {
		params = map[string]any{"start": true}
	}
	path := pve.Path("/snapshot/%s/rollback", string(a.Snapshot))
	end, err := c.make(ctx, guestChange{what: a.what(), guest: g, types: rollbackTypes, wait: time.Duration(a.Wait),
		send: func(ctx context.Context, out *json.RawMessage) error {
			return c.pve.Post(ctx, g.path(path), params, out)
		}})
	if err != nil {
		f := builtin.AsFault(err)
		if f != nil && strings.Contains(f.Said, "is not most recent snapshot") {
			return RollbackResult{}, a.inTheWay(d, f.Said)
		}
		return RollbackResult{}, err
	}
	return c.rolledBack(ctx, a, d, end)
}

// differs says what is not as it was when it was decided what is lost. That
// the guest was stopped since loses nothing more.
func (d RollbackDecision) differs(now RollbackDecision) string {
	same := func(x, y SnapshotIdentity) bool { return x.Name == y.Name && x.Time.Equal(y.Time) }
	switch {
	case !same(d.To, now.To):
		return "the snapshot is another one, of " + now.To.Time.Format(time.RFC3339)
	case d.Since != now.Since:
		return "the present state comes from " + now.Since + " now, not from " + d.Since
	case !slices.EqualFunc(d.Later, now.Later, same):
		return "the snapshots after it are others"
	case d.Digest != "" && d.Digest != now.Digest:
		return "its configuration has been changed"
	}
	return ""
}

func (c client) rolledBack(ctx context.Context, a RollbackArgs, d RollbackDecision, end pve.TaskEnd) (RollbackResult, error) {
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return RollbackResult{}, err
	}
	now, err := c.lookForRollback(ctx, a, g)
	if err != nil {
		return RollbackResult{}, err
	}
	wantRunning := d.To.RAM || a.Start
	if now.Since != string(a.Snapshot) || wantRunning != now.Running {
		return RollbackResult{}, builtin.Faultf(builtin.Failed, "%s: the task ended with %q, but the guest stands on %q, running: %v", a.what(), end.ExitStatus, now.Since, now.Running).
			Hinting("the whole log: pvenode task log %s on %s", end.UPID, end.UPID.Node)
	}
	status := stopped
	if now.Running {
		status = running
	}
	return RollbackResult{Guest: a.Guest, Node: builtin.Node(g.Node), Snapshot: string(a.Snapshot), Status: status, taskPart: taskOf(end)}, nil
}

func (c client) settleRollback(ctx context.Context, a RollbackArgs, text string) (builtin.Settlement[RollbackResult], error) {
	d, _ := builtin.CallFrom(ctx).Decision.(RollbackDecision)
	request := pve.TaskRequest{What: a.what(), Guest: a.Guest, Types: rollbackTypes}
	return settleChange(ctx, c, request, text, func(end pve.TaskEnd, _ handle) (RollbackResult, error) { return c.rolledBack(ctx, a, d, end) })
}
