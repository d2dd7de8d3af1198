package zfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

// PruneArgs are the arguments of prune.
type PruneArgs struct {
	Datasets  []Dataset    `name:"datasets" scope:"dataset" doc:"whose snapshots may go"`
	Keep      builtin.Keep `name:"keep" doc:"how many of each dataset's snapshots stay; days and weeks are those of UTC"`
	Recursive bool         `name:"recursive" default:"false" deep:"true" doc:"and those of all datasets below"`
	Unmarked  string       `name:"unmarked" default:"" doc:"a glob: snapshots with such names go by the rules, too, although nixmox did not take them: autosnap_*; none if empty"`
}

// PruneDecision is what exactly goes, and by what one sees that what stays is
// as it was. Of 100,000 snapshots that stay, nobody wants a list in the journal.
type PruneDecision struct {
	Remove []SnapshotIdentity `name:"remove" doc:"what goes, of each dataset the oldest first"`
	Stay   []SnapshotIdentity `name:"stay" doc:"what stays, and why: of each dataset the newest first, the first thousand"`
	Counts []DatasetCount     `name:"counts" doc:"how many go and stay of each dataset"`
	Seal   string             `name:"seal" volatile:"true" doc:"SHA-256 of the identities of all that stays"`
}

// DatasetCount is how many of a dataset's snapshots go and stay.
type DatasetCount struct {
	Dataset Dataset `name:"dataset" doc:"its name"`
	Removed int     `name:"removed" doc:"how many go"`
	Kept    int     `name:"kept" doc:"how many stay"`
}

// PruneResult is what went.
type PruneResult struct {
	Removed []SnapshotIdentity `name:"removed" doc:"what is gone"`
	Counts  []DatasetCount     `name:"counts" doc:"how many went and stayed of each dataset"`
	Reclaim int64              `name:"reclaim" volatile:"true" doc:"bytes that this sets free, as ZFS reckons beforehand; 0 where an earlier try did it"`
}

// fewStay is how many of those that stay a decision lists.
const fewStay = 1000

func (a PruneArgs) keys() []string { return poolKeys(a.Datasets) }

func (a PruneArgs) what() string {
	return "pruning the snapshots" + of(a.Datasets)
}

func (c client) decidePrune(ctx context.Context, a PruneArgs) (PruneDecision, error) {
	if len(a.Datasets) == 0 {
		return PruneDecision{}, builtin.Faultf(builtin.Invalid, "pruning snapshots: no dataset is named").Hinting("name the datasets whose snapshots may go")
	}
	if _, err := path.Match(a.Unmarked, ""); err != nil {
		return PruneDecision{}, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(fmt.Sprintf("unmarked: %q is no glob", a.Unmarked)).Hinting("autosnap_*, daily-?")
	}
	list, err := c.listForPrune(ctx, a)
	if err != nil {
		return PruneDecision{}, err
	}
	verdicts, err := c.verdicts(ctx, a, list)
	if err != nil {
		return PruneDecision{}, err
	}
	return decided(list, verdicts), nil
}

// verdicts asks the engine's retention, which every prune of nixmox asks. They
// come in the order of the list.
func (c client) verdicts(ctx context.Context, a PruneArgs, list []candidate) ([]retention.Verdict, error) {
	var held, cloned []Snapshot
	for i := range list {
		if list[i].held && list[i].planned == nil {
			held = append(held, list[i].snapshot)
		}
		if list[i].cloned {
			cloned = append(cloned, list[i].snapshot)
		}
	}
	uses, err := c.uses(ctx, held, cloned)
	if err != nil {
		return nil, err
	}
	items := make([]retention.Item, len(list))
	for i := range list {
		l := &list[i]
		items[i] = retention.Item{ID: string(l.snapshot), Group: string(l.dataset), Time: time.Unix(l.created, 0).UTC(), Order: l.txg, Ours: l.ours}
		if u, ok := uses[l.snapshot]; ok {
			items[i].Protected = u.String()
		} else if l.held {
			items[i].Protected = "held" // it will be: a plan's call
		}
	}
	k := a.Keep
	rules := retention.Rules{Last: k.Last, Hourly: k.Hourly, Daily: k.Daily, Weekly: k.Weekly, Monthly: k.Monthly, Yearly: k.Yearly, Minimum: k.Minimum}
	d, err := retention.Decide(items, rules, builtin.CallFrom(ctx).Run.Now())
	if clock, ok := errors.AsType[*retention.ClockError](err); ok {
		return nil, builtin.Faultf(builtin.Conflict, "%s", a.what()).Because(clock).Hinting("set the clock right; nothing was destroyed")
	}
	if err != nil {
		return nil, builtin.Faultf(builtin.Invalid, "%s", a.what()).Because(err).Hinting("nixmox doc zfs.prune")
	}
	// What goes is told by its place in the list, so this must hold.
	for i := range list {
		if len(d.Verdicts) != len(list) || d.Verdicts[i].Item.ID != string(list[i].snapshot) {
			return nil, builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("the retention's order is not that of the list").Hinting("this is a defect of nixmox; nothing was destroyed")
		}
	}
	return d.Verdicts, nil
}

func decided(list []candidate, verdicts []retention.Verdict) PruneDecision {
	d := PruneDecision{Remove: []SnapshotIdentity{}, Stay: []SnapshotIdentity{}, Counts: []DatasetCount{}}
	goes := 0
	for i := range verdicts {
		d.count(list[i].dataset, verdicts[i].Keep)
		if !verdicts[i].Keep {
			goes++
		} else if len(d.Stay) < fewStay {
			d.Stay = append(d.Stay, list[i].identity(verdicts[i].Reason))
		}
	}
	d.Remove = make([]SnapshotIdentity, 0, goes)
	for i := range slices.Backward(verdicts) {
		if !verdicts[i].Keep {
			d.Remove = append(d.Remove, list[i].identity(verdicts[i].Reason))
		}
	}
	d.Seal = seal(list, func(i int) bool { return verdicts[i].Keep })
	return d
}

// count counts one more of a dataset, whose verdicts come together.
func (d *PruneDecision) count(dataset Dataset, kept bool) {
	if n := len(d.Counts); n == 0 || d.Counts[n-1].Dataset != dataset {
		d.Counts = append(d.Counts, DatasetCount{Dataset: dataset})
	}
	c := &d.Counts[len(d.Counts)-1]
	if kept {
		c.Kept++
	} else {
		c.Removed++
	}
}

func (c client) previewPrune(ctx context.Context, a PruneArgs, d PruneDecision) (PruneResult, error) {
	reclaim, err := c.reclaim(ctx, a.what(), d.Remove)
	if err != nil {
		return PruneResult{}, err
	}
	planGone(ctx, d.Remove)
	return PruneResult{Removed: d.Remove, Counts: d.Counts, Reclaim: reclaim}, nil
}

func (c client) prune(ctx context.Context, a PruneArgs, d PruneDecision) (PruneResult, error) {
	list, err := c.listForPrune(ctx, a)
	if err != nil {
		return PruneResult{}, err
	}
	left, other := stillThere(d.Remove, everyCandidate(list))
	if other != "" {
		return PruneResult{}, another(a.what(), other)
	}
	if err := c.unchanged(ctx, a, d, list, left); err != nil {
		return PruneResult{}, err
	}
	reclaim, failure := c.remove(ctx, a.what(), namesOf(left))
	if runEnds(ctx, failure) {
		return PruneResult{}, failure // the run ends: resume looks what went
	}
	list, err = c.listForPrune(ctx, a)
	if err != nil {
		return PruneResult{}, unread(failure, err)
	}
	left, _ = stillThere(d.Remove, everyCandidate(list))
	gone := without(d.Remove, left)
	out := PruneResult{Removed: gone, Counts: d.countsOf(gone), Reclaim: reclaim}
	if len(left) > 0 {
		return out, stopped(a.what(), failure, len(gone), len(d.Remove), out)
	}
	return out, nil
}

// unchanged answers with a conflict where the world is not the one that was
// decided on: where anything is there or not there that stays, and where one
// that is to go would stay by now, because it is held or has a clone, or since
// the clock jumped. That some of what was to go has gone is none: so a prune
// that was killed in the middle goes on, and destroys nothing else.
func (c client) unchanged(ctx context.Context, a PruneArgs, d PruneDecision, list []candidate, left []SnapshotIdentity) error {
	conflict := func(said string) error {
		return builtin.Faultf(builtin.Conflict, "%s: they have changed since it was decided what goes", a.what()).
			Saying(said + "; nothing was destroyed").Hinting("prune again, and it is decided anew")
	}
	goes := make(map[Snapshot]bool, len(left))
	for i := range left {
		goes[left[i].Snapshot] = true
	}
	if seal(list, func(i int) bool { return !goes[list[i].snapshot] }) != d.Seal {
		return conflict(d.difference(list, goes))
	}
	verdicts, err := c.verdicts(ctx, a, list)
	if err != nil {
		return err
	}
	for i := range verdicts {
		if verdicts[i].Keep && goes[list[i].snapshot] {
			return conflict(fmt.Sprintf("%s was to go, and would stay now: %s", list[i].snapshot, verdicts[i].Reason))
		}
	}
	return nil
}

// difference says where what stays is not what was to stay.
func (d *PruneDecision) difference(list []candidate, goes map[Snapshot]bool) string {
	stays := map[Dataset]int{}
	for i := range list {
		if !goes[list[i].snapshot] {
			stays[list[i].dataset]++
		}
	}
	for _, n := range d.Counts {
		if now := stays[n.Dataset]; now != n.Kept {
			return fmt.Sprintf("%s had %d that were to stay, and now has %d", n.Dataset, n.Kept, now)
		}
		delete(stays, n.Dataset)
	}
	for dataset, now := range stays {
		if now > 0 {
			return fmt.Sprintf("%s had none that were to stay, and now has %d", dataset, now)
		}
	}
	return "one that was to stay is another snapshot now"
}

// countsOf are the counts of what really went.
func (d *PruneDecision) countsOf(gone []SnapshotIdentity) []DatasetCount {
	went := map[Dataset]int{}
	for _, s := range gone {
		went[s.Snapshot.Dataset()]++
	}
	out := slices.Clone(d.Counts)
	for i := range out {
		out[i].Kept += out[i].Removed - went[out[i].Dataset]
		out[i].Removed = went[out[i].Dataset]
	}
	return out
}

func (c client) settlePrune(ctx context.Context, a PruneArgs, _ string) (builtin.Settlement[PruneResult], error) {
	d, ok := builtin.CallFrom(ctx).Decision.(PruneDecision)
	if !ok {
		return builtin.Settlement[PruneResult]{Why: "what was to go is not recorded"}, nil
	}
	there, err := c.present(ctx, namesOf(d.Remove))
	if err != nil {
		return builtin.Settlement[PruneResult]{}, err
	}
	if left, _ := stillThere(d.Remove, byName(there)); len(left) > 0 {
		return builtin.Settlement[PruneResult]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[PruneResult]{State: builtin.Done, Result: PruneResult{Removed: d.Remove, Counts: d.Counts}}, nil
}

// Calendar is what a plan shows of it.
func (d PruneDecision) Calendar() []builtin.Dated {
	out := make([]builtin.Dated, 0, len(d.Stay)+len(d.Remove))
	add := func(list []SnapshotIdentity, stays bool) {
		for _, s := range list {
			out = append(out, builtin.Dated{Group: string(s.Snapshot.Dataset()), Name: s.Snapshot.Name(), Time: s.Created, Stays: stays, Why: s.Reason})
		}
	}
	add(d.Stay, true)
	add(d.Remove, false)
	return out
}
