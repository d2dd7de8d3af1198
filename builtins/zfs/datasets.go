package zfs

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// DatasetInfo is a file system or a volume.
type DatasetInfo struct {
	Name        Dataset               `name:"name" doc:"its whole name"`
	GUID        builtin.Later[GUID]   `name:"guid" doc:"its identity, which outlives renames"`
	Type        string                `name:"type" doc:"filesystem or volume"`
	Txg         builtin.Later[uint64] `name:"createtxg" doc:"the transaction that created it: the order of creation"`
	Created     time.Time             `name:"created" volatile:"planned" doc:"when, by the machine's clock of then; UTC"`
	Used        int64                 `name:"used" volatile:"true" doc:"bytes that it, its snapshots and all below it take"`
	Available   int64                 `name:"available" volatile:"true" doc:"bytes that may still be written to it"`
	Referenced  int64                 `name:"referenced" volatile:"true" doc:"bytes of its data as it is now"`
	BySnapshots int64                 `name:"used_by_snapshots" volatile:"true" doc:"bytes that only its snapshots hold"`
	Size        int64                 `name:"size" doc:"bytes of a volume as its user sees it; 0 for a file system"`
	Mountpoint  string                `name:"mountpoint" doc:"where it is to be mounted; none, legacy, or empty for a volume"`
	Mounted     bool                  `name:"mounted" volatile:"true" doc:"whether it is"`
	ReadOnly    bool                  `name:"readonly" doc:"whether it is read-only"`
	Origin      string                `name:"origin" doc:"the snapshot that it is a clone of; empty if it is none"`
	Encryption  string                `name:"encryption" doc:"the cipher; empty if it is not encrypted"`
	Locked      bool                  `name:"locked" volatile:"true" doc:"its key is not loaded"`
	Quota       int64                 `name:"quota" doc:"bytes that it and all below it may take; 0 for no limit"`
	Reserved    int64                 `name:"reserved" doc:"bytes that are set aside for it and all below it"`
	Token       string                `name:"receive_resume_token" volatile:"true" doc:"by what an interrupted receive goes on; empty if there is none"`
	Ours        bool                  `name:"ours" doc:"whether nixmox made it"`
	Run         string                `name:"run" volatile:"planned" doc:"the run that made it; empty if it is not ours"`
	Playbook    string                `name:"playbook" doc:"the playbook that made it; empty if it is not ours"`

	mark mark.Mark // as it stands there, of whatever name
}

var datasetColumns = []string{"name", "guid", "type", "createtxg", "creation", "used", "available", "referenced", "usedbysnapshots", "volsize",
	"mountpoint", "mounted", "readonly", "origin", "encryption", "keystatus", "quota", "reservation", "receive_resume_token", datasetMark}

// DatasetsArgs are the arguments of datasets.
type DatasetsArgs struct {
	Under []Dataset `name:"under" scope:"dataset" default:"" doc:"these, and all below them; none for those of all pools"`
	Depth int       `name:"depth" default:"-1" doc:"how far below: 0 is the datasets themselves, -1 all"`
	Type  string    `name:"type" enum:"any,filesystem,volume" default:"any" doc:"which sort"`
}

func (c client) datasets(ctx context.Context, a DatasetsArgs) ([]DatasetInfo, error) {
	if changes := plannedDatasets(ctx); len(changes) > 0 {
		return c.datasetsThen(ctx, a, changes)
	}
	return c.datasetsNow(ctx, a)
}

// datasetsNow asks ZFS.
func (c client) datasetsNow(ctx context.Context, a DatasetsArgs) ([]DatasetInfo, error) {
	argv := []string{"zfs", "list", "-Hp", "-t", "filesystem,volume", "-o", strings.Join(datasetColumns, ",")}
	argv = append(argv, below(a.Depth, len(a.Under) == 0)...)
	out := []DatasetInfo{}
	err := c.rows(ctx, "listing datasets"+of(a.Under), len(datasetColumns), func(row [][]byte) error {
		d, err := readDataset(row)
		if a.Type == "any" || a.Type == d.Type { // ZFS refuses one that is named and of another type
			out = append(out, d)
		}
		return err
	}, append(argv, texts(a.Under)...)...)
	if err != nil {
		return nil, err
	}
	return asTree(out), nil
}

// asTree orders datasets, each before what is below it, and has each once: one
// that is below another of those asked for is listed twice.
func asTree(list []DatasetInfo) []DatasetInfo {
	slices.SortStableFunc(list, func(a, b DatasetInfo) int { return compareNames(a.Name, b.Name) })
	return slices.CompactFunc(list, func(a, b DatasetInfo) bool { return a.Name == b.Name })
}

// below are the options of zfs list for how far below. Without a dataset to
// start from it lists everything.
func below(depth int, everything bool) []string {
	switch {
	case depth >= 0:
		return []string{"-d", number(depth)}
	case everything:
		return nil
	}
	return []string{"-r"}
}

// DatasetArgs names one dataset.
type DatasetArgs struct {
	Dataset Dataset `name:"dataset" scope:"dataset" doc:"its name"`
}

// datasetKeys are the locks of changes that name one dataset.
func datasetKeys(a DatasetArgs) []string { return poolKeys([]Dataset{a.Dataset}) }

func (c client) dataset(ctx context.Context, a DatasetArgs) (DatasetInfo, error) {
	list, err := c.datasets(ctx, DatasetsArgs{Under: []Dataset{a.Dataset}, Type: "any"})
	if err != nil {
		return DatasetInfo{}, err
	}
	if len(list) != 1 {
		return DatasetInfo{}, builtin.Faultf(builtin.NotFound, "looking at the dataset %s", a.Dataset).Hinting("zfs.datasets() lists what there is")
	}
	return list[0], nil
}

// existingDatasets looks at datasets by name. Those that are not there are left out.
func (c client) existingDatasets(ctx context.Context, names []Dataset) ([]DatasetInfo, error) {
	if changes := plannedDatasets(ctx); len(changes) > 0 {
		all, err := c.datasetsThen(ctx, DatasetsArgs{Depth: -1, Type: "any"}, changes)
		return slices.DeleteFunc(all, func(d DatasetInfo) bool { return !slices.Contains(names, d.Name) }), err
	}
	if len(names) == 0 {
		return nil, nil // ZFS would list all there are
	}
	var out []DatasetInfo
	argv := append([]string{"zfs", "list", "-Hp", "-t", "filesystem,volume", "-o", strings.Join(datasetColumns, ",")}, texts(names)...)
	err := c.runner.Stream(ctx, run.Command{Argv: argv}, func(stdout io.Reader) error {
		return eachRow(stdout, len(datasetColumns), func(row [][]byte) error {
			d, err := readDataset(row)
			out = append(out, d)
			return err
		})
	})
	if ended, ok := errors.AsType[*run.Error](err); ok && onlyMissing(ended.Stderr) {
		err = nil
	}
	if err != nil {
		return nil, fault("looking at datasets"+of(names), err)
	}
	return out, nil
}

func readDataset(row [][]byte) (DatasetInfo, error) {
	d := DatasetInfo{
		Name: Dataset(row[0]), GUID: builtin.Now(GUID(row[1])), Type: string(row[2]), Mountpoint: text(row[10]), Mounted: string(row[11]) == "yes",
		ReadOnly: string(row[12]) == "on", Origin: text(row[13]), Encryption: text(row[14]), Locked: string(row[15]) == "unavailable", Token: text(row[18]),
	}
	if d.Encryption == "off" {
		d.Encryption = ""
	}
	m, isMark := mark.Parse(text(row[19]))
	d.mark = m
	if isMark && m.Of == string(d.Name) {
		d.Ours, d.Run, d.Playbook = true, m.Run, m.Playbook
	}
	txg, err := readTxg(row[3])
	if err != nil {
		return d, err
	}
	d.Txg = builtin.Now(txg)
	if d.Created, err = readTime(row[4], "creation"); err != nil {
		return d, err
	}
	for _, n := range []struct {
		to     *int64
		column int
	}{{&d.Used, 5}, {&d.Available, 6}, {&d.Referenced, 7}, {&d.BySnapshots, 8}, {&d.Size, 9}, {&d.Quota, 16}, {&d.Reserved, 17}} {
		if *n.to, err = readInt(row[n.column], datasetColumns[n.column]); err != nil {
			return d, err
		}
	}
	return d, nil
}
