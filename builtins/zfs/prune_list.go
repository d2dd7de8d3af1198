package zfs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// pruned is a snapshot as a prune looks at it.
type pruned struct {
	listed
	ours    bool          // nixmox took it, or the prune takes it for such
	planned *SnapshotInfo // one that a call of the plan will have taken
}

func (p *pruned) identity(reason string) SnapshotIdentity {
	if p.planned != nil {
		return SnapshotIdentity{p.snapshot, p.planned.GUID, p.planned.Created, p.planned.Ours, reason}
	}
	_, ours := p.mark()
	return SnapshotIdentity{p.snapshot, builtin.Now(p.guidText()), time.Unix(p.created, 0).UTC(), ours, reason}
}

func listedOf(list []pruned) []listed {
	out := make([]listed, len(list))
	for i := range list {
		out[i] = list[i].listed
	}
	return out
}

// listForPrune is every snapshot of the datasets once, planned ones too, by
// dataset and of each the newest first: the order of the retention's verdicts.
func (c client) listForPrune(ctx context.Context, a PruneArgs) ([]pruned, error) {
	var list []pruned
	err := c.eachSnapshot(ctx, a.Datasets, a.Recursive, false, func(l listed) error {
		_, ours := l.mark()
		list = append(list, pruned{listed: l, ours: ours || a.names(l.snapshot)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if builtin.CallFrom(ctx).Run.Planned != nil {
		list = a.withPlanned(ctx, list)
	}
	slices.SortFunc(list, func(a, b pruned) int {
		if a.snapshot.Dataset() != b.snapshot.Dataset() {
			return strings.Compare(string(a.snapshot.Dataset()), string(b.snapshot.Dataset()))
		}
		return cmp.Or(cmp.Compare(b.txg, a.txg), cmp.Compare(b.created, a.created), strings.Compare(string(b.snapshot), string(a.snapshot)))
	})
	// Of datasets that are below one another ZFS lists them twice.
	return slices.CompactFunc(list, func(a, b pruned) bool { return a.snapshot == b.snapshot }), nil
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
func (a PruneArgs) withPlanned(ctx context.Context, list []pruned) []pruned {
	there := make(map[Snapshot]pruned, len(list))
	infos := make([]SnapshotInfo, len(list))
	var top uint64
	for i := range list {
		there[list[i].snapshot], infos[i] = list[i], list[i].info()
		top = max(top, list[i].txg)
	}
	out := make([]pruned, 0, len(list))
	for _, s := range sorted(plannedSnapshots(ctx, infos, SnapshotsArgs{Datasets: a.Datasets, Recursive: a.Recursive})) {
		p, known := there[s.Snapshot]
		if !known {
			top++
			p = pruned{listed: listed{snapshot: s.Snapshot, txg: top, created: s.Created.Unix()}, ours: s.Ours || a.names(s.Snapshot), planned: &s}
		}
		p.holds = s.Holds
		out = append(out, p)
	}
	return out
}

// seal is a digest of the identities of those in a list that stay. Those that
// are planned have none yet.
func seal(list []pruned, stays func(int) bool) string {
	sum := sha256.New()
	var dataset Dataset
	buffer := make([]byte, 0, 512)
	for i := range list {
		if list[i].planned != nil || !stays(i) {
			continue
		}
		buffer = buffer[:0]
		if d := list[i].snapshot.Dataset(); d != dataset {
			dataset = d
			buffer = append(append(buffer, d...), 0) // no name has a NUL
		}
		_, _ = sum.Write(binary.BigEndian.AppendUint64(buffer, list[i].guid)) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))
}
