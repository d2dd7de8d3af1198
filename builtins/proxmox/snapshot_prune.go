package proxmox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/prune"
	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

// PruneSnapshotsArgs are the arguments of prune_snapshots().
type PruneSnapshotsArgs struct {
	Guests   []builtin.VMID   `name:"guests" scope:"guest" doc:"the guests whose snapshots may go"`
	Keep     builtin.Keep     `name:"keep" doc:"how many of each guest's snapshots stay; days and weeks are those of UTC"`
	Wait     builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on a guest"`
	Unmarked prune.Names      `name:"unmarked" default:"" doc:"snapshots of such names go by the rules, too, although nixmox did not take them: autodaily*"`
}

func (a PruneSnapshotsArgs) keys() []string {
	var keys []string
	for _, id := range a.Guests {
		if key := "guest:" + id.String(); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (a PruneSnapshotsArgs) what() string {
	var ids []string
	for _, id := range a.Guests {
		ids = append(ids, id.String())
	}
	return "pruning the snapshots of " + strings.Join(ids, ", ")
}

// PruneSnapshotsDecision is what will go and what will stay.
type PruneSnapshotsDecision struct {
	Remove []SnapshotIdentity `name:"remove" doc:"in the order in which they go: of each guest the oldest first"`
	Stay   []SnapshotIdentity `name:"stay" doc:"every other of these guests, whoever made it"`
}

// PruneSnapshotsResult is what went and what stayed.
type PruneSnapshotsResult struct {
	Removed []SnapshotIdentity `name:"removed" doc:"what is gone"`
	Kept    []SnapshotIdentity `name:"kept" doc:"what stayed of these guests, and why"`
}

func (c client) listForPrune(ctx context.Context, a PruneSnapshotsArgs) ([]Snapshot, error) {
	var out []Snapshot
	seen := map[builtin.VMID]bool{}
	for _, id := range a.Guests {
		if seen[id] {
			continue
		}
		seen[id] = true
		list, err := c.snapshots(ctx, GuestArgs{id})
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

func (c client) decidePruneSnapshots(ctx context.Context, a PruneSnapshotsArgs) (PruneSnapshotsDecision, error) {
	if len(a.Guests) == 0 {
		return PruneSnapshotsDecision{}, builtin.Faultf(builtin.Invalid, "pruning snapshots: no guest is named").Hinting("name the guests whose snapshots may go")
	}
	list, err := c.listForPrune(ctx, a)
	if err != nil {
		return PruneSnapshotsDecision{}, err
	}
	return a.decide(ctx, list)
}

// decide asks the engine's retention, which every prune of nixmox asks.
func (a PruneSnapshotsArgs) decide(ctx context.Context, list []Snapshot) (PruneSnapshotsDecision, error) {
	items := make([]retention.Item, len(list))
	byID := map[string]Snapshot{}
	for i, s := range list {
		items[i] = retention.Item{ID: s.Guest.String() + "/" + s.Name, Group: s.Guest.String(), Time: s.Time, Ours: s.Ours || a.Unmarked.Match(s.Name)}
		if s.State != "" {
			items[i].Protected = "not whole (" + s.State + "): delete_snapshot with force removes it"
		}
		byID[items[i].ID] = s
	}
	decided, err := prune.Decide(ctx, prune.Ask{What: a.what(), Function: "proxmox.prune_snapshots", Items: items, Keep: a.Keep})
	if err != nil {
		return PruneSnapshotsDecision{}, err
	}
	d := PruneSnapshotsDecision{Remove: []SnapshotIdentity{}, Stay: []SnapshotIdentity{}}
	reasons := map[string]string{}
	for _, v := range decided.Verdicts {
		reasons[v.Item.ID] = v.Reason
		if v.Keep {
			d.Stay = append(d.Stay, byID[v.Item.ID].identity(v.Reason))
		}
	}
	for _, item := range decided.Removed() {
		d.Remove = append(d.Remove, byID[item.ID].identity(reasons[item.ID]))
	}
	return d, nil
}

// Calendar is what a plan shows of it.
func (d PruneSnapshotsDecision) Calendar() []builtin.Dated {
	out := make([]builtin.Dated, 0, len(d.Stay)+len(d.Remove))
	for _, s := range d.Stay {
		out = append(out, builtin.Dated{Group: "guest " + s.Guest.String(), Name: s.Name, Time: s.Time, Stays: true, Why: s.Reason})
	}
	for _, s := range d.Remove {
		out = append(out, builtin.Dated{Group: "guest " + s.Guest.String(), Name: s.Name, Time: s.Time, Why: s.Reason})
	}
	return out
}

func (c client) previewPruneSnapshots(ctx context.Context, _ PruneSnapshotsArgs, d PruneSnapshotsDecision) (PruneSnapshotsResult, error) {
	for _, gone := range d.Remove {
		planSnapshotGone(ctx, gone)
	}
	return PruneSnapshotsResult{Removed: d.Remove, Kept: d.Stay}, nil
}

func (c client) pruneSnapshots(ctx context.Context, a PruneSnapshotsArgs, d PruneSnapshotsDecision) (PruneSnapshotsResult, error) {
	list, err := c.listForPrune(ctx, a)
	if err != nil {
		return PruneSnapshotsResult{}, err
	}
	if err := a.unchanged(ctx, d, list); err != nil {
		return PruneSnapshotsResult{}, err
	}
	for i, gone := range d.Remove {
		if !there(gone, list) {
			continue // by an earlier try of this very call
		}
		builtin.Report(ctx, builtin.Progress{Step: fmt.Sprintf("deleting %s of %d (%d of %d): %s", gone.Name, gone.Guest, i+1, len(d.Remove), gone.Reason)})
		one := DeleteSnapshotArgs{Guest: gone.Guest, Name: SnapshotName(gone.Name), Wait: a.Wait}
		_, err := c.deleteSnapshot(ctx, one, gone)
		if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
			continue // it went while we waited: an earlier try's task; pruned looks
		}
		if err != nil {
			return PruneSnapshotsResult{}, c.pruneStopped(ctx, a, d, err)
		}
	}
	return c.pruned(ctx, a, d)
}

func there(i SnapshotIdentity, list []Snapshot) bool { return slices.ContainsFunc(list, i.same) }

// unchanged answers with a conflict where the world is not the one that was
// decided on; but that some of what was to go has gone is none: so a run that
// was killed in the middle goes on, and removes nothing else.
func (a PruneSnapshotsArgs) unchanged(ctx context.Context, d PruneSnapshotsDecision, list []Snapshot) error {
	conflict := func(format string, args ...any) error {
		return builtin.Faultf(builtin.Conflict, "%s: they have changed since it was decided what goes", a.what()).
			Saying(fmt.Sprintf(format, args...)).Hinting("nothing was removed; prune again, and it is decided anew")
	}
	decided := slices.Concat(d.Remove, d.Stay)
	for _, s := range list {
		if !slices.ContainsFunc(decided, func(i SnapshotIdentity) bool { return i.same(s) }) {
			return conflict("%s of %d (%s) is new or another one", s.Name, s.Guest, s.Time.Format(time.RFC3339))
		}
	}
	for _, stays := range d.Stay {
		if !there(stays, list) {
			return conflict("%s of %d, which was to stay, is gone", stays.Name, stays.Guest)
		}
	}
	anew, err := a.decide(ctx, list)
	if err != nil {
		return err
	}
	for _, stays := range anew.Stay {
		i := slices.IndexFunc(d.Remove, func(gone SnapshotIdentity) bool { return gone.Guest == stays.Guest && gone.Name == stays.Name })
		if i >= 0 && !beingDeleted(d.Remove[i], list) {
			return conflict("%s of %d was to go, and would stay now: %s", stays.Name, stays.Guest, stays.Reason)
		}
	}
	return nil
}

// beingDeleted: an earlier try of this very call has begun it.
func beingDeleted(i SnapshotIdentity, list []Snapshot) bool {
	return slices.ContainsFunc(list, func(s Snapshot) bool { return i.same(s) && s.State == "delete" })
}

// pruned reads back that what was to go is gone, and what was to stay is there.
func (c client) pruned(ctx context.Context, a PruneSnapshotsArgs, d PruneSnapshotsDecision) (PruneSnapshotsResult, error) {
	list, err := c.listForPrune(ctx, a)
	if err != nil {
		return PruneSnapshotsResult{}, err
	}
	result := d.outcome(list)
	if len(result.Removed) == len(d.Remove) && len(result.Kept) == len(d.Stay) {
		return result, nil
	}
	f := builtin.Faultf(builtin.Failed, "%s: %d of %d are gone, and %d of %d that were to stay are there", a.what(),
		len(result.Removed), len(d.Remove), len(result.Kept), len(d.Stay)).Hinting("see what else removes snapshots there: proxmox.tasks(kind = \"qmdelsnapshot\")")
	f.Partial = result
	return result, f
}

func (d PruneSnapshotsDecision) outcome(list []Snapshot) PruneSnapshotsResult {
	gone := func(i SnapshotIdentity) bool { return !there(i, list) }
	return PruneSnapshotsResult{
		Removed: slices.DeleteFunc(slices.Clone(d.Remove), func(i SnapshotIdentity) bool { return !gone(i) }),
		Kept:    slices.DeleteFunc(slices.Clone(d.Stay), gone),
	}
}

// pruneStopped is a failure in the middle, with what went and what did not.
func (c client) pruneStopped(ctx context.Context, a PruneSnapshotsArgs, d PruneSnapshotsDecision, err error) error {
	cause := builtin.AsFault(err)
	if cause == nil {
		return err
	}
	f := *cause
	f.Cause = err
	f.What = a.what() + ": stopped: " + cause.What
	list, listErr := c.listForPrune(ctx, a)
	if listErr != nil {
		f.Hint = "what is gone could not be seen (" + listErr.Error() + "); prune again: it is decided anew"
		return &f
	}
	result := d.outcome(list)
	f.Partial = result
	f.What += fmt.Sprintf("; %d of %d are gone", len(result.Removed), len(d.Remove))
	if f.Hint == "" {
		f.Hint = "prune again when that is mended: it is decided anew"
	}
	return &f
}

// settlePruneSnapshots: the list says it. A deletion that still goes on has the
// guest locked, so that to do the rest waits for it.
func (c client) settlePruneSnapshots(ctx context.Context, a PruneSnapshotsArgs, _ string) (builtin.Settlement[PruneSnapshotsResult], error) {
	d, ok := builtin.CallFrom(ctx).Decision.(PruneSnapshotsDecision)
	if !ok {
		return builtin.Settlement[PruneSnapshotsResult]{Why: "what was to go is not recorded"}, nil
	}
	list, err := c.listForPrune(ctx, a)
	if err != nil {
		return builtin.Settlement[PruneSnapshotsResult]{}, err
	}
	if slices.ContainsFunc(d.Remove, func(i SnapshotIdentity) bool { return there(i, list) }) {
		return builtin.Settlement[PruneSnapshotsResult]{State: builtin.NotDone}, nil
	}
	result, err := c.pruned(ctx, a, d)
	s := builtin.Settlement[PruneSnapshotsResult]{State: builtin.Done, Result: result}
	if f := builtin.AsFault(err); f != nil && f.Partial != nil {
		s.Fault, err = f, nil
	}
	return s, err
}
