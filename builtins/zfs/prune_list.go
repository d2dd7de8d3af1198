package zfs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/mark"
	"nixmox/engine/builtin"
)

// candidate is a snapshot as a prune looks at it, of which there are 100,000.
type candidate struct {
	snapshot Snapshot
	dataset  Dataset // the part before the @
	guid     uint64
	txg      uint64
	created  int64
	planned  *SnapshotInfo // one that a call of the plan will have taken
	marked   bool          // nixmox took it
	ours     bool          // and the prune takes it for such
	held     bool
	cloned   bool
}

func (c *candidate) identity(reason string) SnapshotIdentity {
	if c.planned != nil {
		return SnapshotIdentity{c.snapshot, c.planned.GUID, c.planned.Created, c.planned.Ours, reason}
	}
	return SnapshotIdentity{c.snapshot, builtin.Now(guidText(c.guid)), time.Unix(c.created, 0).UTC(), c.marked, reason}
}

// listForPrune is every snapshot of the datasets once, planned ones too, by
// dataset and of each the newest first: the order of the retention's verdicts.
func (c client) listForPrune(ctx context.Context, a PruneArgs) ([]candidate, error) {
	var list []candidate
	var last string // the property of the one before, and its mark
	var m mark.Mark
	err := c.eachSnapshot(ctx, a.Datasets, a.Recursive, false, func(l listed) error {
		if l.property != last {
			last = l.property
			m, _ = mark.Parse(last)
		}
		marked := last != "" && m.Of == l.snapshot.Name()
		list = append(list, candidate{
			snapshot: l.snapshot, dataset: l.snapshot.Dataset(), guid: l.guid, txg: l.txg, created: l.created,
			marked: marked, ours: marked || a.names(l.snapshot), held: l.holds > 0, cloned: l.clones > 0,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if builtin.CallFrom(ctx).Run.Planned != nil {
		list = a.withPlanned(ctx, list)
	}
	return newestFirst(list), nil
}

// newestFirst sorts a list into the order of the retention's verdicts: datasets
// by their names as text, and of each the newest first. ZFS lists in the order
// of creation, so that most of it is done.
func newestFirst(list []candidate) []candidate {
	places := map[Dataset]int{} // which dataset, by number
	place := make([]int, len(list))
	var names []Dataset
	for i := range list {
		n, known := places[list[i].dataset]
		if !known {
			n = len(names)
			places[list[i].dataset], names = n, append(names, list[i].dataset)
		}
		place[i] = n
	}
	ends := make([]int, len(names)) // where what is next of each dataset goes, from its end
	for _, n := range place {
		ends[n]++
	}
	slices.Sort(names)
	end := 0
	for _, name := range names {
		n := places[name]
		end += ends[n]
		ends[n] = end
	}
	out := make([]candidate, len(list))
	for i := range list {
		ends[place[i]]--
		out[ends[place[i]]] = list[i]
	}
	newer := func(a, b candidate) int {
		return cmp.Or(strings.Compare(string(a.dataset), string(b.dataset)),
			cmp.Compare(b.txg, a.txg), cmp.Compare(b.created, a.created), strings.Compare(string(b.snapshot), string(a.snapshot)))
	}
	if !slices.IsSortedFunc(out, newer) {
		slices.SortFunc(out, newer)
	}
	// Of datasets that are below one another ZFS lists them twice.
	return slices.CompactFunc(out, func(a, b candidate) bool { return a.snapshot == b.snapshot })
}

// names reports that the glob for what others took matches. That it is one,
// decidePrune has seen.
func (a PruneArgs) names(s Snapshot) bool {
	if a.Unmarked == "" {
		return false
	}
	ok, _ := path.Match(a.Unmarked, s.Name())
	return ok
}

// withPlanned is the list as a plan's calls would have left it. What they take
// is the newest.
func (a PruneArgs) withPlanned(ctx context.Context, list []candidate) []candidate {
	there := make(map[Snapshot]candidate, len(list))
	infos := make([]SnapshotInfo, len(list))
	var top uint64
	for i := range list {
		there[list[i].snapshot], infos[i] = list[i], list[i].info()
		top = max(top, list[i].txg)
	}
	out := make([]candidate, 0, len(list))
	for _, s := range sorted(plannedSnapshots(ctx, infos, SnapshotsArgs{Datasets: a.Datasets, Recursive: a.Recursive})) {
		p, known := there[s.Snapshot]
		if !known {
			top++
			p = candidate{snapshot: s.Snapshot, dataset: s.Dataset, txg: top, created: s.Created.Unix(), marked: s.Ours, ours: s.Ours || a.names(s.Snapshot), planned: &s}
		}
		p.held = s.Holds > 0
		out = append(out, p)
	}
	return out
}

// everyCandidate are names and identities of a list.
func everyCandidate(list []candidate) iter.Seq2[Snapshot, uint64] {
	return func(yield func(Snapshot, uint64) bool) {
		for i := range list {
			if list[i].planned == nil && !yield(list[i].snapshot, list[i].guid) {
				return
			}
		}
	}
}

// info is what a plan's calls need to see of it.
func (c *candidate) info() SnapshotInfo {
	s := SnapshotInfo{
		Snapshot: c.snapshot, Dataset: c.dataset, Name: Name(c.snapshot.Name()), GUID: builtin.Now(guidText(c.guid)), Txg: builtin.Now(c.txg),
		Created: time.Unix(c.created, 0).UTC(), Ours: c.marked,
	}
	if c.held {
		s.Holds = 1
	}
	return s
}

// seal is a digest of the identities of those in a list that stay. Those that
// are planned have none yet.
func seal(list []candidate, stays func(int) bool) string {
	sum := sha256.New()
	var dataset Dataset
	buffer := make([]byte, 0, 512)
	for i := range list {
		if list[i].planned != nil || !stays(i) {
			continue
		}
		buffer = buffer[:0]
		if d := list[i].dataset; d != dataset {
			dataset = d
			buffer = append(append(buffer, d...), 0) // no name has a NUL
		}
		_, _ = sum.Write(binary.BigEndian.AppendUint64(buffer, list[i].guid)) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))
}
