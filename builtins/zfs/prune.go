package zfs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
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
	Stay   []SnapshotIdentity `name:"stay" doc:"what stays, and why: of each dataset the newest first, as far as there are few"`
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
}

// fewStay is how many of those that stay a decision lists.
const fewStay = 2000

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
	d, err := a.decide(ctx, list)
	if err != nil {
		return d, err
	}
	return d, c.spareClones(ctx, a, list, &d)
}

// listForPrune is every snapshot of the datasets once, planned ones too.
func (c client) listForPrune(ctx context.Context, a PruneArgs) ([]listed, error) {
	var list []listed
	err := c.eachSnapshot(ctx, a.Datasets, a.Recursive, false, func(l listed) error {
		list = append(list, l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Or(cmp.Compare(a.snapshot, b.snapshot), cmp.Compare(a.guid, b.guid)) })
	return slices.CompactFunc(list, func(a, b listed) bool { return a.snapshot == b.snapshot }), nil
}

// decide asks the engine's retention, which every prune of nixmox asks.
func (a PruneArgs) decide(ctx context.Context, list []listed) (PruneDecision, error) {
	call := builtin.CallFrom(ctx)
	items := make([]retention.Item, 0, len(list))
	byName := make(map[string]*listed, len(list))
	for i := range list {
		l := &list[i]
		_, ours := l.mark()
		if !ours && a.Unmarked != "" {
			ours, _ = path.Match(a.Unmarked, l.snapshot.Name()) // it is a glob: decidePrune
		}
		item := retention.Item{ID: string(l.snapshot), Group: string(l.snapshot.Dataset()), Time: time.Unix(l.created, 0).UTC(), Order: l.txg, Ours: ours}
		if l.holds > 0 {
			item.Protected = "held"
		}
		items, byName[item.ID] = append(items, item), l
	}
	planned := map[string]SnapshotInfo{}
	if call.Run.Planned != nil {
		items = a.withPlanned(ctx, items, byName, planned)
	}
	k := a.Keep
	rules := retention.Rules{Last: k.Last, Hourly: k.Hourly, Daily: k.Daily, Weekly: k.Weekly, Monthly: k.Monthly, Yearly: k.Yearly, Minimum: k.Minimum}
	decided, err := retention.Decide(items, rules, call.Run.Now())
	if clock, ok := errors.AsType[*retention.ClockError](err); ok {
		return PruneDecision{}, builtin.Faultf(builtin.Conflict, "%s", a.what()).Because(clock).Hinting("set the clock right; nothing was destroyed")
	}
	if err != nil {
		return PruneDecision{}, builtin.Faultf(builtin.Invalid, "%s", a.what()).Because(err).Hinting("nixmox doc zfs.prune")
	}
	identity := func(id, reason string) SnapshotIdentity {
		if l := byName[id]; l != nil {
			return l.identity(reason)
		}
		s := planned[id]
		return SnapshotIdentity{s.Snapshot, s.GUID, s.Created, s.Ours, reason}
	}
	d := PruneDecision{Remove: []SnapshotIdentity{}, Stay: []SnapshotIdentity{}, Counts: []DatasetCount{}}
	reasons := map[string]string{}
	var guids []string
	for i := range decided.Verdicts {
		v := &decided.Verdicts[i]
		d.count(Dataset(v.Item.Group), v.Keep)
		if !v.Keep {
			reasons[v.Item.ID] = v.Reason
			continue
		}
		if len(d.Stay) < fewStay {
			d.Stay = append(d.Stay, identity(v.Item.ID, v.Reason))
		}
		if l := byName[v.Item.ID]; l != nil {
			guids = append(guids, strconv.FormatUint(l.guid, 10))
		}
	}
	for _, item := range decided.Removed() {
		d.Remove = append(d.Remove, identity(item.ID, reasons[item.ID]))
	}
	d.Seal = seal(guids)
	return d, nil
}

// withPlanned adds what a plan's changes would have left, as the newest.
func (a PruneArgs) withPlanned(ctx context.Context, items []retention.Item, byName map[string]*listed, planned map[string]SnapshotInfo) []retention.Item {
	infos := make([]SnapshotInfo, 0, len(items))
	for i := range items {
		infos = append(infos, byName[items[i].ID].info())
	}
	left := map[string]SnapshotInfo{}
	var top uint64
	for _, s := range plannedSnapshots(ctx, infos, SnapshotsArgs{Datasets: a.Datasets, Recursive: a.Recursive}) {
		left[string(s.Snapshot)] = s
	}
	items = slices.DeleteFunc(items, func(item retention.Item) bool { _, stays := left[item.ID]; return !stays })
	for i := range items {
		top = max(top, items[i].Order)
		if left[items[i].ID].Holds > 0 {
			items[i].Protected = "held"
		}
	}
	for _, s := range infos {
		delete(left, string(s.Snapshot))
	}
	for _, s := range sorted(slices.Collect(mapValues(left))) {
		top++
		item := retention.Item{ID: string(s.Snapshot), Group: string(s.Dataset), Time: s.Created, Order: top, Ours: s.Ours}
		if s.Holds > 0 {
			item.Protected = "held"
		}
		items, planned[item.ID] = append(items, item), s
	}
	return items
}

func mapValues(m map[string]SnapshotInfo) func(func(SnapshotInfo) bool) {
	return func(yield func(SnapshotInfo) bool) {
		for _, s := range m {
			if !yield(s) {
				return
			}
		}
	}
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

// seal is a digest of identities, whatever their order.
func seal(guids []string) string {
	slices.Sort(guids)
	sum := sha256.New()
	for _, g := range guids {
		_, _ = sum.Write([]byte(g + "\n")) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// spareClones keeps what would go and has clones. ZFS would refuse to destroy
// it and everything else in the same command.
func (c client) spareClones(ctx context.Context, a PruneArgs, list []listed, d *PruneDecision) error {
	var known []Snapshot
	for _, s := range d.Remove {
		if s.GUID.Known() {
			known = append(known, s.Snapshot)
		}
	}
	clones, err := c.clonesOf(ctx, known)
	if err != nil || len(clones) == 0 {
		return err
	}
	cloned := map[Snapshot]string{}
	for _, text := range clones {
		clone, snapshot, _ := strings.Cut(text, " of ")
		cloned[Snapshot(snapshot)] = clone
	}
	var stay []SnapshotIdentity
	d.Remove = slices.DeleteFunc(d.Remove, func(s SnapshotIdentity) bool {
		clone, has := cloned[s.Snapshot]
		if has {
			s.Reason = "it has the clone " + clone
			stay = append(stay, s)
		}
		return has
	})
	for _, s := range stay {
		i := slices.IndexFunc(d.Counts, func(n DatasetCount) bool { return n.Dataset == s.Snapshot.Dataset() })
		d.Counts[i].Kept, d.Counts[i].Removed = d.Counts[i].Kept+1, d.Counts[i].Removed-1
	}
	d.Stay = append(d.Stay, stay...)
	d.Seal = sealOfRest(list, d.Remove)
	return nil
}

// sealOfRest is the seal of all in a list that does not go.
func sealOfRest(list []listed, remove []SnapshotIdentity) string {
	goes := make(map[Snapshot]bool, len(remove))
	for _, s := range remove {
		goes[s.Snapshot] = true
	}
	guids := make([]string, 0, len(list))
	for i := range list {
		if !goes[list[i].snapshot] {
			guids = append(guids, strconv.FormatUint(list[i].guid, 10))
		}
	}
	return seal(guids)
}

func (c client) previewPrune(ctx context.Context, _ PruneArgs, d PruneDecision) (PruneResult, error) {
	planGone(ctx, d.Remove)
	return PruneResult{Removed: d.Remove, Counts: d.Counts}, nil
}

func (c client) prune(ctx context.Context, a PruneArgs, d PruneDecision) (PruneResult, error) {
	list, err := c.listForPrune(ctx, a)
	if err != nil {
		return PruneResult{}, err
	}
	// What stays must be what it was: a snapshot more or less, and the rules
	// might have chosen otherwise. That some of what was to go has gone, in an
	// earlier try of this call, changes nothing.
	if sealOfRest(list, d.Remove) != d.Seal {
		return PruneResult{}, builtin.Faultf(builtin.Conflict, "%s: they have changed since it was decided what goes", a.what()).
			Saying("snapshots that were to stay are gone, or there are new ones; nothing was destroyed").Hinting("prune again, and it is decided anew")
	}
	left, err := c.stillDecided(ctx, a.what(), d.Remove)
	if err != nil {
		return PruneResult{}, err
	}
	if err := c.free(ctx, a.what(), left); err != nil {
		return PruneResult{}, err
	}
	removed, err := c.remove(ctx, a.what(), d.Remove, left)
	out := PruneResult{Removed: removed.Destroyed, Counts: d.countsOf(removed.Destroyed)}
	if f := builtin.AsFault(err); f != nil && f.Partial != nil {
		f.Partial = out
	}
	return out, err
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
	s, err := c.settleRemoval(ctx, a.what(), d.Remove)
	out := builtin.Settlement[PruneResult]{State: s.State, Why: s.Why}
	if s.State == builtin.Done {
		out.Result = PruneResult{Removed: d.Remove, Counts: d.Counts}
	}
	return out, err
}
