package zfs

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// SnapshotInfo is a snapshot.
type SnapshotInfo struct {
	Snapshot Snapshot              `name:"snapshot" doc:"its whole name: DATASET@NAME"`
	Dataset  Dataset               `name:"dataset" doc:"of what"`
	Name     Name                  `name:"name" doc:"its name after the @"`
	GUID     builtin.Later[GUID]   `name:"guid" doc:"its identity, which outlives renames; copies that were sent elsewhere have the same"`
	Txg      builtin.Later[uint64] `name:"createtxg" doc:"the transaction that created it: the order of creation in its pool"`
	Created  time.Time             `name:"created" volatile:"planned" doc:"when, by the machine's clock of then; UTC"`
	Holds    int64                 `name:"holds" doc:"how many holds keep it from being destroyed; zfs.holds() lists them"`
	Ours     bool                  `name:"ours" doc:"whether nixmox took it"`
	Run      string                `name:"run" volatile:"planned" doc:"the run that took it; empty if it is not ours"`
	Playbook string                `name:"playbook" doc:"the playbook that took it; empty if it is not ours"`
	Used     int64                 `name:"used" volatile:"true" doc:"bytes that only it holds; 0 without sizes"`
	Refers   int64                 `name:"referenced" volatile:"true" doc:"bytes of its data; 0 without sizes"`
	Written  int64                 `name:"written" volatile:"true" doc:"bytes written between the one before and it; 0 without sizes"`
}

// SnapshotsArgs are the arguments of snapshots.
type SnapshotsArgs struct {
	Datasets  []Dataset `name:"datasets" scope:"dataset" default:"" doc:"of these datasets; none for those of all pools"`
	Recursive bool      `name:"recursive" default:"false" deep:"true" doc:"and of all below them"`
	Ours      bool      `name:"ours" default:"false" doc:"only those that nixmox took"`
	Newest    int       `name:"newest" default:"0" doc:"only so many of the newest of each dataset; 0 for all"`
	Sizes     bool      `name:"sizes" default:"false" doc:"with what they take, which ZFS has to look up for each"`
}

// listed is a snapshot as a list of 100,000 has it.
type listed struct {
	snapshot Snapshot
	guid     uint64
	txg      uint64
	created  int64  // seconds since 1970
	holds    int64  // user references
	clones   int64  // how many
	property string // the snapshotMark, raw; "" for none
	used     int64  // the sizes, where they were asked for
	refers   int64
	written  int64
}

func (l *listed) mark() (mark.Mark, bool) {
	if l.property == "" {
		return mark.Mark{}, false
	}
	return marked(l.property, l.snapshot.Name())
}

// eachSnapshot hands on the snapshots of datasets, of all pools where none is
// named, in ZFS's order: by dataset, each dataset's oldest first. One process,
// whatever their number. The order within a dataset is by createtxg: names and
// clocks lie.
func (c client) eachSnapshot(ctx context.Context, datasets []Dataset, recursive, sizes bool, each func(listed) error) error {
	columns := listColumns
	if sizes {
		columns = sizeColumns
	}
	argv := []string{"zfs", "list", "-Hp", "-t", "snapshot", "-s", "createtxg", "-o", strings.Join(columns, ",")}
	switch {
	case len(datasets) > 0 && recursive:
		argv = append(argv, "-r")
	case len(datasets) > 0:
		argv = append(argv, "-d", "1")
	}
	err := c.runner.Stream(ctx, run.Command{Argv: append(argv, texts(datasets)...)}, readSnapshots(columns, each))
	if err != nil {
		return fault("listing snapshots"+of(datasets), err)
	}
	return nil
}

var (
	listColumns = []string{"name", "guid", "createtxg", "creation", "userrefs", "numclones", snapshotMark}
	sizeColumns = append(slices.Clip(listColumns), "used", "referenced", "written")
)

// readSnapshots reads a list of snapshots with the columns.
func readSnapshots(columns []string, each func(listed) error) func(io.Reader) error {
	property := "" // of the one before: those of one call have the same
	one := func(row [][]byte) error {
		if property != string(row[6]) {
			property = string(row[6])
		}
		l := listed{snapshot: Snapshot(row[0]), property: property}
		if property == "-" {
			l.property = ""
		}
		var err error
		if l.guid, err = strconv.ParseUint(string(row[1]), 10, 64); err != nil {
			return builtin.Faultf(builtin.Invalid, "listing snapshots").Saying(quoted(row[1]) + " is no GUID").Hinting("zfs version says which OpenZFS this is; nixmox follows 2.1 to 2.3")
		}
		if l.txg, err = readTxg(row[2]); err != nil {
			return err
		}
		if l.created, err = readInt(row[3], columns[3]); err != nil {
			return err
		}
		if l.holds, err = readInt(row[4], columns[4]); err != nil {
			return err
		}
		if l.clones, err = readInt(row[5], columns[5]); err != nil {
			return err
		}
		for i, size := range []*int64{&l.used, &l.refers, &l.written} {
			if len(listColumns)+i >= len(columns) {
				break
			}
			if *size, err = readInt(row[len(listColumns)+i], columns[len(listColumns)+i]); err != nil {
				return err
			}
		}
		return each(l)
	}
	return func(stdout io.Reader) error { return eachRow(stdout, len(columns), one) }
}

// snapshots lists them: by dataset as a tree, each dataset's oldest first.
func (c client) snapshots(ctx context.Context, a SnapshotsArgs) ([]SnapshotInfo, error) {
	out := []SnapshotInfo{}
	each := func(l listed) error {
		out = append(out, l.info())
		return nil
	}
	if len(plannedDatasets(ctx)) > 0 {
		if err := c.snapshotsThen(ctx, a, each); err != nil {
			return nil, err
		}
		out = sorted(within(plannedSnapshots(ctx, out, SnapshotsArgs{}), a))
	} else {
		if err := c.eachSnapshot(ctx, a.Datasets, a.Recursive, a.Sizes, each); err != nil {
			return nil, err
		}
		out = sorted(plannedSnapshots(ctx, out, a))
	}
	if a.Ours {
		out = slices.DeleteFunc(out, func(s SnapshotInfo) bool { return !s.Ours })
	}
	if a.Newest > 0 {
		out = newestOf(out, a.Newest)
	}
	return out, nil
}

func (l *listed) info() SnapshotInfo {
	s := SnapshotInfo{
		Snapshot: l.snapshot, Dataset: l.snapshot.Dataset(), Name: Name(l.snapshot.Name()),
		GUID: builtin.Now(guidText(l.guid)), Txg: builtin.Now(l.txg), Created: time.Unix(l.created, 0).UTC(),
		Holds: l.holds, Used: l.used, Refers: l.refers, Written: l.written,
	}
	if m, ours := l.mark(); ours {
		s.Ours, s.Run, s.Playbook = true, m.Run, m.Playbook
	}
	return s
}

// sorted puts snapshots into the order of the documentation, once each: of
// datasets that are below one another ZFS lists them twice. Those that are
// planned are the newest.
func sorted(list []SnapshotInfo) []SnapshotInfo {
	slices.SortStableFunc(list, func(a, b SnapshotInfo) int {
		if c := compareNames(a.Dataset, b.Dataset); c != 0 {
			return c
		}
		switch {
		case a.Txg.Known() && b.Txg.Known():
			return cmp.Or(cmp.Compare(a.Txg.Value, b.Txg.Value), strings.Compare(string(a.Name), string(b.Name)))
		case a.Txg.Known():
			return -1
		case b.Txg.Known():
			return 1
		}
		return 0
	})
	return slices.CompactFunc(list, func(a, b SnapshotInfo) bool { return a.Snapshot == b.Snapshot })
}

// newestOf is the last few of each dataset, of a sorted list.
func newestOf(list []SnapshotInfo, count int) []SnapshotInfo {
	var out []SnapshotInfo
	for i := 0; i < len(list); {
		end := i
		for end < len(list) && list[end].Dataset == list[i].Dataset {
			end++
		}
		out = append(out, list[max(i, end-count):end]...)
		i = end
	}
	return out
}
