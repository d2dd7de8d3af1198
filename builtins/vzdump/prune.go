package vzdump

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"nixmox/builtins/internal/prune"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

// PruneArgs are the arguments of prune.
type PruneArgs struct {
	Storage  builtin.StorageID `name:"storage" scope:"storage" doc:"the storage to prune"`
	Guests   []builtin.VMID    `name:"guests" doc:"the guests whose archives may go"`
	Keep     builtin.Keep      `name:"keep" doc:"how many of each guest's archives stay; days and weeks are those of UTC"`
	Node     builtin.Node      `name:"node" default:"" doc:"only archives of this node; empty: of every node that has the storage"`
	Unmarked prune.Names       `name:"unmarked" default:"" doc:"archives whose files have such names go by the rules, too, although nixmox did not make them: vzdump-lxc-*"`
}

func (a PruneArgs) keys() []string { return []string{"storage:" + string(a.Storage)} }
func (a PruneArgs) what() string {
	return "pruning the archives of " + idList(a.Guests) + " on the storage " + string(a.Storage)
}

// PruneDecision is what will go and what will stay.
type PruneDecision struct {
	Remove []Verdict `name:"remove" doc:"in the order in which they go: of each guest the oldest first"`
	Stay   []Verdict `name:"stay" doc:"everything else of these guests, whoever made it"`
}

// Verdict is one archive, by its identity, and why it goes or stays.
type Verdict struct {
	VolID  builtin.Later[builtin.VolID] `name:"volid" doc:"the archive"`
	Guest  builtin.VMID                 `name:"guest" doc:"its guest"`
	Node   builtin.Node                 `name:"node" volatile:"" doc:"the node that lists it; any may, where the storage is shared"`
	Time   time.Time                    `name:"time" volatile:"planned" doc:"when its backup began, UTC"`
	Size   int64                        `name:"size" volatile:"planned" doc:"bytes"`
	Reason string                       `name:"reason" doc:"why it goes or stays"`
}

// PruneResult is what went and what stayed.
type PruneResult struct {
	Removed []Verdict `name:"removed" doc:"what is gone"`
	Kept    []Verdict `name:"kept" doc:"what stayed of these guests, and why"`
}

// identity is what makes an archive the one that was decided on: name, time
// and size. One that was made anew under an old name is another one.
type identity struct {
	volid builtin.VolID
	node  builtin.Node
	time  int64 // Unix seconds, all that Proxmox keeps
	size  int64
}

func (d Verdict) identity() identity { return identity{d.VolID.Value, d.Node, d.Time.Unix(), d.Size} }
func (a Archive) identity() identity { return identity{a.VolID.Value, a.Node, a.Time.Unix(), a.Size} }

// identities are those of a list; lists are of many thousands.
func identities[T any](list []T, of func(T) identity) map[identity]bool {
	out := make(map[identity]bool, len(list))
	for _, x := range list {
		out[of(x)] = true
	}
	return out
}

// listAgain lists as was listed for a decision: a shared storage on the same
// node, so that it is the same list, and one cache of its server less.
func (v *vzdump) listAgain(ctx context.Context, a PruneArgs, d PruneDecision) ([]Archive, error) {
	s, err := v.storage(ctx, a.Storage)
	if err != nil {
		return nil, err
	}
	node := a.Node
	if decided := slices.Concat(d.Stay, d.Remove); node == "" && s.IsShared() && len(decided) > 0 {
		node = decided[0].Node
	}
	return v.list(ctx, a.Storage, node)
}

func (v *vzdump) decidePrune(ctx context.Context, a PruneArgs) (PruneDecision, error) {
	if len(a.Guests) == 0 {
		return PruneDecision{}, builtin.Faultf(builtin.Invalid, "pruning the storage %s: no guest is named", a.Storage).
			Hinting("name the guests whose archives may go")
	}
	all, err := v.list(ctx, a.Storage, a.Node)
	if err != nil {
		return PruneDecision{}, err
	}
	all = overlaid(ctx, a.Storage, a.Node, all)
	if err := a.oneFileTwice(all); err != nil {
		return PruneDecision{}, err
	}
	d, err := a.decide(ctx, a.mine(all))
	if err != nil {
		return d, err
	}
	return d, v.keepAsProxmox(ctx, a, &d)
}

// oneFileTwice refuses a storage that several nodes mount from one place and
// that is not marked as shared: each archive is then listed once by each node,
// and to remove the one too many would remove the only one.
func (a PruneArgs) oneFileTwice(all []Archive) error {
	type file struct {
		volid builtin.VolID
		size  int64
	}
	lists := map[file]builtin.Node{}
	for i := range all {
		x := &all[i]
		f := file{x.VolID.Value, x.Size}
		if other, twice := lists[f]; twice && other != x.Node && x.VolID.Known() {
			return builtin.Faultf(builtin.Conflict, "%s", a.what()).
				Saying(fmt.Sprintf("%s and %s both list %s with %d bytes, which may be one file", other, x.Node, x.VolID.Value, x.Size)).
				Hinting("if both see the same folder: pvesm set %s --shared 1; if those are copies: node = %q", a.Storage, x.Node)
		}
		lists[f] = x.Node
	}
	return nil
}

// mine are the archives of the guests of this prune.
func (a PruneArgs) mine(all []Archive) []Archive {
	meant := map[builtin.VMID]bool{}
	for _, id := range a.Guests {
		meant[id] = true
	}
	var out []Archive
	for i := range all {
		if meant[all[i].Guest] {
			out = append(out, all[i])
		}
	}
	return out
}

// decide asks the engine's retention, which every prune of nixmox asks.
func (a PruneArgs) decide(ctx context.Context, archives []Archive) (PruneDecision, error) {
	items := make([]retention.Item, len(archives))
	byID := map[string]Archive{}
	for i, x := range archives {
		item := retention.Item{
			ID: fmt.Sprintf("%s on %s", x.VolID.Value, x.Node), Group: x.Kind + "/" + x.Guest.String(),
			Time: x.Time, Ours: x.Ours || x.VolID.Known() && a.Unmarked.Match(fileOf(x.VolID.Value)), Verified: x.Verified != nil,
		}
		if !x.VolID.Known() {
			item.ID = fmt.Sprintf("planned by call %s, %d", x.VolID.From, i)
		}
		if x.Protected {
			item.Protected = "protected in Proxmox"
		}
		items[i], byID[item.ID] = item, x
	}
	decided, err := prune.Decide(ctx, prune.Ask{What: a.what(), Function: "vzdump.prune", Items: items, Keep: a.Keep})
	if err != nil {
		return PruneDecision{}, err
	}
	d := PruneDecision{Remove: []Verdict{}, Stay: []Verdict{}}
	reasons := map[string]string{}
	for _, verdict := range decided.Verdicts {
		reasons[verdict.Item.ID] = verdict.Reason
		if verdict.Keep {
			d.Stay = append(d.Stay, verdictOn(byID[verdict.Item.ID], verdict.Reason))
		}
	}
	for _, item := range decided.Removed() {
		x := byID[item.ID]
		if !x.VolID.Known() { // it cannot be that the rules outlive what a plan adds, but never remove it
			d.Stay = append(d.Stay, verdictOn(x, "it is only planned"))
			continue
		}
		d.Remove = append(d.Remove, verdictOn(x, reasons[item.ID]))
	}
	return d, nil
}

func verdictOn(x Archive, reason string) Verdict {
	return Verdict{VolID: x.VolID, Guest: x.Guest, Node: x.Node, Time: x.Time, Size: x.Size, Reason: reason}
}

// Calendar is what a plan shows of it.
func (d PruneDecision) Calendar() []builtin.Dated {
	out := make([]builtin.Dated, 0, len(d.Stay)+len(d.Remove))
	add := func(list []Verdict, stays bool) {
		for _, x := range list {
			y := builtin.Dated{Group: "guest " + x.Guest.String(), Time: x.Time, Stays: stays, Why: x.Reason}
			if x.VolID.Known() {
				y.Name = fileOf(x.VolID.Value)
			}
			out = append(out, y)
		}
	}
	add(d.Stay, true)
	add(d.Remove, false)
	return out
}

// fileOf is the name of an archive's file, without its folder.
func fileOf(volid builtin.VolID) string { return path.Base(volid.Name()) }

func (v *vzdump) previewPrune(ctx context.Context, _ PruneArgs, d PruneDecision) (PruneResult, error) {
	if plan := builtin.CallFrom(ctx).Run.Planned; plan != nil {
		for _, gone := range d.Remove {
			plan.Add(plannedRemovals, gone.VolID.Value)
		}
	}
	return PruneResult{Removed: d.Remove, Kept: d.Stay}, nil
}

func (v *vzdump) prune(ctx context.Context, a PruneArgs, d PruneDecision) (PruneResult, error) {
	all, err := v.listAgain(ctx, a, d)
	if err != nil {
		return PruneResult{}, err
	}
	now := a.mine(all)
	if err := a.unchanged(ctx, d, now); err != nil {
		return PruneResult{}, err
	}
	done := gone(d, now)
	for i := done; i < len(d.Remove); i++ {
		x := d.Remove[i]
		builtin.Report(ctx, builtin.Progress{Step: fmt.Sprintf("removing %s (%d of %d): %s", x.VolID.Value, i+1, len(d.Remove), x.Reason)})
		if err := v.remove(ctx, a, x); err != nil {
			return PruneResult{}, v.stoppedAt(ctx, a, d, x, err)
		}
	}
	return v.pruned(ctx, a, d)
}

// gone counts how many of the removals have been made: those are the first
// ones, because they are made in order, one by one. -1: it is not like that.
func gone(d PruneDecision, now []Archive) int {
	listed := identities(now, Archive.identity)
	there := func(x Verdict) bool { return listed[x.identity()] }
	n := slices.IndexFunc(d.Remove, there)
	if n < 0 {
		return len(d.Remove)
	}
	if !slices.ContainsFunc(d.Remove[n:], func(x Verdict) bool { return !there(x) }) {
		return n
	}
	return -1
}

// unchanged answers with a conflict where the world is not the one that was
// decided on. One difference is none: that the first removals have been made,
// as they are when a run was killed in the middle of this very call and is
// resumed. To go on then removes nothing but what was decided, and what stays
// is all still there.
func (a PruneArgs) unchanged(ctx context.Context, d PruneDecision, now []Archive) error {
	conflict := func(format string, args ...any) error {
		return builtin.Faultf(builtin.Conflict, "%s: the list has changed since it was decided what goes", a.what()).
			Saying(fmt.Sprintf(format, args...)).Hinting("nothing was removed; prune again, and it is decided anew")
	}
	decided, listed := identities(slices.Concat(d.Remove, d.Stay), Verdict.identity), identities(now, Archive.identity)
	for _, x := range now {
		if !decided[x.identity()] {
			return conflict("%s (%s, %d bytes) is new or another one", x.VolID.Value, x.Time.Format(time.RFC3339), x.Size)
		}
	}
	for _, y := range d.Stay {
		if !listed[y.identity()] {
			return conflict("%s, which was to stay, is gone", laterText(y.VolID))
		}
	}
	if gone(d, now) < 0 {
		for _, y := range d.Remove {
			if !listed[y.identity()] {
				return conflict("%s is gone, and nixmox would have removed another one first", y.VolID.Value)
			}
		}
	}
	// Marks, protection and the clock may have changed since, too. What is gone
	// by now was to go, and nothing of that speaks for or against another.
	anew, err := a.decide(ctx, now)
	if err != nil {
		return err
	}
	stays := map[identity]string{}
	for _, x := range anew.Stay {
		stays[x.identity()] = x.Reason
	}
	for _, y := range d.Remove {
		if reason, ok := stays[y.identity()]; ok {
			return conflict("%s was to go, and would stay now: %s", y.VolID.Value, reason)
		}
	}
	return nil
}

// remove deletes one archive and waits until Proxmox has done it. Whether it
// is gone, the list says in the end: to delete what is not there ends OK too.
func (v *vzdump) remove(ctx context.Context, a PruneArgs, x Verdict) error {
	var raw json.RawMessage
	if err := v.c.Delete(ctx, volumePath(Archive{VolID: x.VolID, Node: x.Node, Storage: a.Storage}), nil, &raw); err != nil {
		return err
	}
	var upid pve.UPID
	if string(raw) == "null" { // it was done at once
		return nil
	}
	if err := json.Unmarshal(raw, &upid); err != nil {
		return builtin.Faultf(builtin.Failed, "removing %s", x.VolID.Value).Saying("Proxmox answered "+string(raw)+" in place of a task").
			Hinting("is %s Proxmox VE's API?", v.c.Host())
	}
	end, err := v.c.Wait(ctx, upid, nil)
	if err != nil {
		return err
	}
	if !end.OK {
		return builtin.Faultf(builtin.Failed, "removing %s", x.VolID.Value).Saying(end.ExitStatus)
	}
	return nil
}

// pruned reads back that what was to go is gone, and what was to stay is there.
func (v *vzdump) pruned(ctx context.Context, a PruneArgs, d PruneDecision) (PruneResult, error) {
	all, err := v.listAgain(ctx, a, d)
	if err != nil {
		return PruneResult{}, err
	}
	result := a.outcome(d, all)
	if len(result.Removed) == len(d.Remove) && len(result.Kept) == len(d.Stay) {
		return result, nil
	}
	f := builtin.Faultf(builtin.Failed, "%s: %d of %d are gone, and %d of %d that were to stay are there", a.what(),
		len(result.Removed), len(d.Remove), len(result.Kept), len(d.Stay)).Hinting("see what else removes archives there: vzdump.backups(%q)", a.Storage)
	f.Partial = result
	return result, f
}

// outcome is what of a decision has come true.
func (a PruneArgs) outcome(d PruneDecision, all []Archive) PruneResult {
	listed := identities(all, Archive.identity)
	there := func(x Verdict) bool { return listed[x.identity()] }
	return PruneResult{
		Removed: slices.DeleteFunc(slices.Clone(d.Remove), there),
		Kept:    slices.DeleteFunc(slices.Clone(d.Stay), func(x Verdict) bool { return !there(x) }),
	}
}

// stoppedAt is a failure in the middle, with what went and what did not.
func (v *vzdump) stoppedAt(ctx context.Context, a PruneArgs, d PruneDecision, x Verdict, err error) error {
	cause := builtin.AsFault(err)
	if cause == nil {
		return err
	}
	f := *cause
	f.Cause = err
	f.What = fmt.Sprintf("%s: stopped at %s: %s", a.what(), x.VolID.Value, cause.What)
	all, listErr := v.listAgain(ctx, a, d)
	if listErr != nil {
		f.Hint = "what is gone could not be seen (" + listErr.Error() + "); prune again: it is decided anew"
		return &f
	}
	result := a.outcome(d, all)
	f.Partial = result
	f.What += fmt.Sprintf("; %d of %d are gone", len(result.Removed), len(d.Remove))
	if f.Hint == "" {
		f.Hint = "prune again when that is mended: it is decided anew"
	}
	return &f
}

// settlePrune: the list says it. When only the first removals were made it is
// safe to do the rest: see unchanged.
func (v *vzdump) settlePrune(ctx context.Context, a PruneArgs, _ string) (builtin.Settlement[PruneResult], error) {
	d, ok := builtin.CallFrom(ctx).Decision.(PruneDecision)
	if !ok {
		return unknown[PruneResult]("what was to go is not recorded"), nil
	}
	all, err := v.listAgain(ctx, a, d)
	if err != nil {
		return builtin.Settlement[PruneResult]{}, err
	}
	switch n := gone(d, all); {
	case n < 0:
		return unknown[PruneResult]("of %d archives that were to go some are gone, and not the ones that nixmox removes first: see vzdump.backups(%q)", len(d.Remove), a.Storage), nil
	case n < len(d.Remove):
		return builtin.Settlement[PruneResult]{State: builtin.NotDone}, nil
	}
	result, err := v.pruned(ctx, a, d)
	s := builtin.Settlement[PruneResult]{State: builtin.Done, Result: result}
	if f, ok := errors.AsType[*builtin.Fault](err); ok && f.Partial != nil {
		s.Fault, err = f, nil
	}
	return s, err
}
