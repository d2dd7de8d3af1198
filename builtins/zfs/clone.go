package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// CloneArgs are the arguments of clone.
type CloneArgs struct {
	Snapshot   Snapshot           `name:"snapshot" scope:"dataset" doc:"of what"`
	Target     Dataset            `name:"target" scope:"dataset" doc:"the clone's whole name, in the same pool"`
	Properties map[string]Setting `name:"properties" default:"" doc:"what it is to have from the beginning: {\"readonly\": \"on\"}"`
	Parents    bool               `name:"parents" default:"false" doc:"make what is missing above it, too, without the properties"`
}

func (a CloneArgs) what() string { return fmt.Sprintf("cloning %s as %s", a.Snapshot, a.Target) }

func (a CloneArgs) keys() []string { return poolKeys([]Dataset{a.Snapshot.Dataset(), a.Target}) }

func (c client) checkClone(ctx context.Context, a CloneArgs) (of DatasetInfo, p place, err error) {
	if err := checkSettings(a.what(), a.Properties); err != nil {
		return of, p, err
	}
	if a.Snapshot.Dataset().Pool() != a.Target.Pool() {
		return of, p, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying("a clone is in the pool of its snapshot").Hinting("take a name in %s, or copy it: zfs send | zfs receive", a.Snapshot.Dataset().Pool())
	}
	if of, err = c.dataset(ctx, DatasetArgs{Dataset: a.Snapshot.Dataset()}); err != nil {
		return of, p, err
	}
	list, err := c.snapshots(ctx, SnapshotsArgs{Datasets: []Dataset{a.Snapshot.Dataset()}})
	if err != nil {
		return of, p, err
	}
	if !slices.ContainsFunc(list, func(s SnapshotInfo) bool { return s.Snapshot == a.Snapshot }) {
		return of, p, builtin.Faultf(builtin.NotFound, "%s", a.what()).Saying("there is no such snapshot").Hinting("zfs.snapshots([%q]) lists what there is", a.Snapshot.Dataset())
	}
	p, err = c.placeFor(ctx, a.what(), a.Target, a.Parents)
	return of, p, err
}

func (c client) previewClone(ctx context.Context, a CloneArgs) (Made, error) {
	of, p, err := c.checkClone(ctx, a)
	if err != nil {
		return Made{}, err
	}
	above, made := p.planned(ctx)
	d := plannedDataset(ctx, above, a.Target, a.Properties)
	d.Origin, d.Type, d.Size, d.Encryption, d.Locked, d.Referenced = string(a.Snapshot), of.Type, of.Size, of.Encryption, of.Locked, of.Referenced
	if d.Type == "volume" {
		d.Mountpoint = ""
		d.with(a.Properties) // volsize
	}
	made = append(made, d)
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo { return append(list, made...) })
	return Made{Dataset: d, Parents: p.names()}, nil
}

func (c client) clone(ctx context.Context, a CloneArgs) (Made, error) {
	_, p, err := c.checkClone(ctx, a)
	if err != nil {
		return Made{}, err
	}
	m, err := newMark(ctx, string(a.Target))
	if err != nil {
		return Made{}, err
	}
	if err := c.makeParents(ctx, a.what(), p); err != nil {
		return Made{}, err
	}
	argv := append([]string{"zfs", "clone", "-o", datasetMark + "=" + m.String()}, settingArguments("-o", a.Properties)...)
	_, err = c.output(ctx, a.what(), append(argv, string(a.Snapshot), string(a.Target))...)
	return c.readMade(ctx, a.what(), a.Target, err)
}

func (c client) settleClone(ctx context.Context, a CloneArgs, _ string) (builtin.Settlement[Made], error) {
	return c.settleMade(ctx, a.Target)
}

// PromoteResult is what promote did.
type PromoteResult struct {
	Dataset Dataset `name:"dataset" doc:"what was a clone"`
	Was     string  `name:"was" doc:"the snapshot that it was a clone of; it and those before it are the dataset's own now"`
	Origin  string  `name:"origin" doc:"what it is a clone of now: empty, unless that was a clone itself"`
}

func (c client) checkPromote(ctx context.Context, a DatasetArgs) (DatasetInfo, error) {
	d, err := c.dataset(ctx, a)
	if err == nil && d.Origin == "" {
		err = builtin.Faultf(builtin.Invalid, "promoting %s", a.Dataset).Saying("it is no clone").Hinting("zfs.datasets() shows what is: origin")
	}
	return d, err
}

func (c client) previewPromote(ctx context.Context, a DatasetArgs) (PromoteResult, error) {
	d, err := c.checkPromote(ctx, a)
	if err != nil {
		return PromoteResult{}, err
	}
	from := Snapshot(d.Origin)
	// Of the snapshots that change hands, some might be planned, and to tell them
	// from those that stay takes their transactions.
	list, err := c.snapshots(ctx, SnapshotsArgs{Datasets: []Dataset{from.Dataset()}})
	if err != nil {
		return PromoteResult{}, err
	}
	last := slices.IndexFunc(list, func(s SnapshotInfo) bool { return s.Snapshot == from })
	moved := map[Snapshot]Snapshot{}
	for _, s := range list[:last+1] {
		moved[s.Snapshot] = Snapshot(string(a.Dataset) + "@" + string(s.Name))
	}
	out := PromoteResult{Dataset: a.Dataset, Was: d.Origin}
	above, err := c.dataset(ctx, DatasetArgs{Dataset: from.Dataset()})
	if err != nil {
		return PromoteResult{}, err
	}
	out.Origin = above.Origin
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo {
		for i := range list {
			switch to, isMoved := moved[Snapshot(list[i].Origin)]; {
			case list[i].Name == a.Dataset:
				list[i].Origin = out.Origin
			case list[i].Name == from.Dataset():
				list[i].Origin = string(moved[from])
			case isMoved:
				list[i].Origin = string(to)
			}
		}
		return list
	})
	plan(ctx, renamedSnapshots(moved))
	return out, nil
}

// renamedSnapshots is the change of a list of snapshots whose names become others.
func renamedSnapshots(names map[Snapshot]Snapshot) plannedChange {
	return func(list []SnapshotInfo, _ func(Dataset) bool) []SnapshotInfo {
		for i := range list {
			if to, ok := names[list[i].Snapshot]; ok {
				list[i].Snapshot, list[i].Dataset, list[i].Name = to, to.Dataset(), Name(to.Name())
			}
		}
		return list
	}
}

func (c client) promote(ctx context.Context, a DatasetArgs) (PromoteResult, error) {
	d, err := c.checkPromote(ctx, a)
	if err != nil {
		return PromoteResult{}, err
	}
	if err := builtin.Hold(ctx, d.Origin); err != nil {
		return PromoteResult{}, err
	}
	what := "promoting " + string(a.Dataset)
	if _, err := c.output(ctx, what, "zfs", "promote", string(a.Dataset)); err != nil {
		return PromoteResult{}, err
	}
	after, err := c.dataset(ctx, a)
	if err != nil {
		return PromoteResult{}, err
	}
	if after.Origin == d.Origin {
		return PromoteResult{}, builtin.Faultf(builtin.Failed, "%s", what).Saying("ZFS said that it was done, and it is a clone of " + d.Origin + " still").
			Hinting("does something else promote there? zpool history -i says what was done")
	}
	return PromoteResult{a.Dataset, d.Origin, after.Origin}, nil
}

// settlePromote: the handle is the origin of before.
func (c client) settlePromote(ctx context.Context, a DatasetArgs, handle string) (builtin.Settlement[PromoteResult], error) {
	d, err := c.dataset(ctx, a)
	if err != nil {
		return builtin.Settlement[PromoteResult]{}, err
	}
	if handle == "" || d.Origin == handle {
		return builtin.Settlement[PromoteResult]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[PromoteResult]{State: builtin.Done, Result: PromoteResult{a.Dataset, handle, d.Origin}}, nil
}

// originIn is an origin after a dataset, and what is below it, got another name.
func originIn(origin string, from, to Dataset) string {
	if d := Snapshot(origin).Dataset(); origin != "" && d.In(from) {
		return string(to) + strings.TrimPrefix(origin, string(from))
	}
	return origin
}
