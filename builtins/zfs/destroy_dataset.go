package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// DestroyDatasetArgs are the arguments of destroy_dataset.
type DestroyDatasetArgs struct {
	Dataset   Dataset `name:"dataset" scope:"dataset" doc:"the file system or volume; never a pool's own"`
	Recursive bool    `name:"recursive" default:"false" deep:"true" doc:"and all that is in it: datasets, snapshots, bookmarks, an interrupted receive"`
	Unmarked  bool    `name:"unmarked" default:"false" doc:"also what nixmox did not make"`
}

func (a DestroyDatasetArgs) what() string { return "destroying the dataset " + string(a.Dataset) }

func (a DestroyDatasetArgs) keys() []string { return poolKeys([]Dataset{a.Dataset}) }

// DatasetIdentity is what makes a dataset, a snapshot or a bookmark the one that
// was decided on.
type DatasetIdentity struct {
	Name    Target              `name:"name" doc:"its whole name"`
	Type    string              `name:"type" doc:"filesystem, volume, snapshot or bookmark"`
	GUID    builtin.Later[GUID] `name:"guid" doc:"its identity; a bookmark has that of its snapshot"`
	Created time.Time           `name:"created" volatile:"planned" doc:"when, UTC"`
	Ours    bool                `name:"ours" doc:"whether nixmox made it"`
}

// DestroyDatasetDecision is what exactly goes.
type DestroyDatasetDecision struct {
	Remove []DatasetIdentity `name:"remove" doc:"what goes, by identity, in this order; bookmarks with their datasets"`
	Used   int64             `name:"used" volatile:"true" doc:"bytes that it takes"`
}

// DestroyDatasetResult is what went.
type DestroyDatasetResult struct {
	Destroyed []DatasetIdentity `name:"destroyed" doc:"what is gone"`
}

// decideDestroyDataset resolves all that would go, and refuses where something
// of it was not asked for.
func (c client) decideDestroyDataset(ctx context.Context, a DestroyDatasetArgs) (DestroyDatasetDecision, error) {
	d := DestroyDatasetDecision{Remove: []DatasetIdentity{}}
	if !strings.Contains(string(a.Dataset), "/") {
		return d, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying("it is a pool's own dataset, and with it the whole pool would go").Hinting("a pool is destroyed by hand, if at all: zpool destroy")
	}
	in, err := c.contents(ctx, a)
	if err != nil {
		return d, err
	}
	d.Used = in.datasets[0].Used
	if err := a.refuse(in); err != nil {
		return d, err
	}
	if err := c.held(ctx, a.what(), in.snapshots); err != nil {
		return d, err
	}
	order, err := c.order(ctx, a, in)
	d.Remove = append(order, in.bookmarks...)
	return d, err
}

// contents are a dataset and all that is in it.
type contents struct {
	datasets  []DatasetInfo // the dataset first
	snapshots []SnapshotInfo
	bookmarks []DatasetIdentity
}

func (c client) contents(ctx context.Context, a DestroyDatasetArgs) (in contents, err error) {
	below := []Dataset{a.Dataset}
	if in.datasets, err = c.datasets(ctx, DatasetsArgs{Under: below, Depth: -1, Type: "any"}); err != nil {
		return in, err
	}
	if in.snapshots, err = c.snapshots(ctx, SnapshotsArgs{Datasets: below, Recursive: true}); err != nil {
		return in, err
	}
	real, err := c.realName(ctx, a.Dataset)
	if err != nil || real == "" {
		return in, err
	}
	err = c.rows(ctx, "listing the bookmarks of "+string(a.Dataset), 3, func(row [][]byte) error {
		created, err := readTime(row[2], "creation")
		name := Target(string(a.Dataset) + strings.TrimPrefix(string(row[0]), string(real)))
		in.bookmarks = append(in.bookmarks, DatasetIdentity{Name: name, Type: "bookmark", GUID: builtin.Now(GUID(row[1])), Created: created})
		return err
	}, "zfs", "list", "-Hp", "-t", "bookmark", "-r", "-o", "name,guid,creation", string(real))
	return in, err
}

// refuse says what is in the way, by name.
func (a DestroyDatasetArgs) refuse(in contents) error {
	var within, others []string
	for i, d := range in.datasets {
		if i > 0 {
			within = append(within, string(d.Name))
		}
		if d.Token != "" {
			within = append(within, "an interrupted receive of "+string(d.Name))
		}
		if !d.Ours {
			others = append(others, string(d.Name))
		}
	}
	for _, s := range in.snapshots {
		within = append(within, string(s.Snapshot))
		if !s.Ours {
			others = append(others, string(s.Snapshot))
		}
	}
	for _, b := range in.bookmarks {
		within = append(within, string(b.Name)) // and nobody can tell whose they are
	}
	switch f := builtin.Faultf(builtin.Conflict, "%s", a.what()); {
	case len(within) > 0 && !a.Recursive:
		return f.Saying("it holds " + some(within) + "; nothing was destroyed").Hinting("if all that is to go, too: recursive = True")
	case len(others) > 0 && !a.Unmarked:
		return f.Saying("nixmox did not make " + some(others) + "; nothing was destroyed").Hinting("to destroy what others made, say unmarked = True")
	}
	return nil
}

// held answers with a fault where a snapshot is held: ZFS's preview is silent
// about that.
func (c client) held(ctx context.Context, what string, snapshots []SnapshotInfo) error {
	var held, known []Snapshot
	for _, s := range snapshots {
		if s.Holds > 0 {
			held = append(held, s.Snapshot)
		}
		if s.Holds > 0 && s.GUID.Known() {
			known = append(known, s.Snapshot)
		}
	}
	if len(held) == 0 {
		return nil
	}
	words := texts(held)
	if builtin.CallFrom(ctx).Run.Planned.Count(plannedChanges) == 0 { // else some are held, or renamed, by what is planned
		uses, err := c.uses(ctx, known, nil)
		if err != nil {
			return err
		}
		for i, s := range held {
			words[i] = fmt.Sprintf("%s (%s)", s, uses[s])
		}
	}
	return builtin.Faultf(builtin.Busy, "%s", what).Saying(fmt.Sprintf("%d snapshots are held: %s; nothing was destroyed", len(held), some(words))).
		Hinting("zfs.release() releases a hold, once whoever took it needs it no more")
}

// order is what goes in the order in which it can: what is in something before
// it, and a clone before its snapshot. ZFS's dry run gives it, and refuses where
// a clone is elsewhere. Its list must be ours: nothing goes that was not looked at.
func (c client) order(ctx context.Context, a DestroyDatasetArgs, in contents) ([]DatasetIdentity, error) {
	all := map[Target]DatasetIdentity{}
	var backwards []Target
	for _, d := range in.datasets {
		backwards = append(backwards, Target(d.Name))
		all[Target(d.Name)] = DatasetIdentity{Target(d.Name), d.Type, d.GUID, d.Created, d.Ours}
	}
	for _, s := range in.snapshots {
		backwards = append(backwards, Target(s.Snapshot))
		all[Target(s.Snapshot)] = DatasetIdentity{Target(s.Snapshot), "snapshot", s.GUID, s.Created, s.Ours}
	}
	out := []DatasetIdentity{}
	if builtin.CallFrom(ctx).Run.Planned != nil && (len(plannedDatasets(ctx)) > 0 || builtin.CallFrom(ctx).Run.Planned.Count(plannedChanges) > 0) {
		for _, name := range slices.Backward(backwards) { // ZFS knows nothing of what was planned
			out = append(out, all[name])
		}
		return out, nil
	}
	argv := []string{"zfs", "destroy", "-nvp"}
	if a.Recursive {
		argv = append(argv, "-r")
	}
	text, err := c.output(ctx, a.what()+" (a dry run)", append(argv, string(a.Dataset))...)
	if err != nil {
		return nil, err
	}
	listed := map[Target]bool{}
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "destroy\t")
		if !ok || listed[Target(name)] { // a clone is listed before its snapshot, and once more in its place
			continue
		}
		identity, known := all[Target(name)]
		if !known {
			return nil, a.moved(name + " came while it was looked at")
		}
		listed[Target(name)] = true
		out = append(out, identity)
	}
	for _, name := range backwards {
		if !listed[name] {
			return nil, a.moved(string(name) + " went while it was looked at")
		}
	}
	return out, nil
}

func (a DestroyDatasetArgs) moved(said string) error {
	return builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(said + "; nothing was destroyed").Hinting("decide anew: call it again")
}

func (c client) previewDestroyDataset(ctx context.Context, a DestroyDatasetArgs, d DestroyDatasetDecision) (DestroyDatasetResult, error) {
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo {
		return slices.DeleteFunc(list, func(have DatasetInfo) bool { return have.Name.In(a.Dataset) })
	})
	plan(ctx, func(list []SnapshotInfo, _ func(Dataset) bool) []SnapshotInfo {
		return slices.DeleteFunc(list, func(s SnapshotInfo) bool { return s.Dataset.In(a.Dataset) })
	})
	return DestroyDatasetResult{Destroyed: d.Remove}, nil
}

// destroyDataset destroys what was decided on, one name after the other and
// never with -r: what came meanwhile keeps ZFS from destroying what it is in.
func (c client) destroyDataset(ctx context.Context, a DestroyDatasetArgs, d DestroyDatasetDecision) (DestroyDatasetResult, error) {
	now, err := c.decideDestroyDataset(ctx, a)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return DestroyDatasetResult{Destroyed: d.Remove}, nil // in an earlier try of this call, or by another hand
	}
	if err != nil {
		return DestroyDatasetResult{}, err
	}
	for _, have := range now.Remove {
		if !slices.ContainsFunc(d.Remove, have.same) {
			return DestroyDatasetResult{}, a.moved(fmt.Sprintf("the %s %s was not there when it was decided, or is another one", have.Type, have.Name))
		}
	}
	unmounted, err := c.unmountAll(ctx, a, now.Remove)
	if err != nil {
		return DestroyDatasetResult{}, c.mountAgain(ctx, unmounted, err)
	}
	done, failure := 0, error(nil)
	for _, argument := range destroyInOrder(now.Remove) {
		done += strings.Count(argument, ",") + 1
		builtin.Report(ctx, builtin.Progress{Step: fmt.Sprintf("destroying %d of %d", done, len(now.Remove)), Percent: 100 * float64(done) / float64(len(now.Remove))})
		if _, failure = c.output(ctx, a.what(), "zfs", "destroy", argument); failure != nil {
			break
		}
	}
	if runEnds(ctx, failure) {
		return DestroyDatasetResult{}, failure // the run ends: resume looks what went
	}
	return c.readDestroyed(ctx, a, d, unmounted, failure)
}

func (i DatasetIdentity) same(o DatasetIdentity) bool { return i.Name == o.Name && i.GUID == o.GUID }

// unmountAll unmounts what is to go, the deepest first, so that one that is in
// use is met before anything is destroyed.
func (c client) unmountAll(ctx context.Context, a DestroyDatasetArgs, remove []DatasetIdentity) (unmounted []Dataset, err error) {
	list, err := c.datasets(ctx, DatasetsArgs{Under: []Dataset{a.Dataset}, Depth: -1, Type: "filesystem"})
	if err != nil {
		return nil, err
	}
	for _, d := range slices.Backward(list) {
		if !d.Mounted || !slices.ContainsFunc(remove, func(i DatasetIdentity) bool { return i.GUID == d.GUID }) {
			continue
		}
		if _, err := c.output(ctx, a.what()+": unmounting "+string(d.Name)+", before anything is destroyed", "zfs", "unmount", string(d.Name)); err != nil {
			return unmounted, err
		}
		unmounted = append(unmounted, d.Name)
	}
	return unmounted, nil
}

// mountAgain mounts what was unmounted and is still there, after a failure.
func (c client) mountAgain(ctx context.Context, unmounted []Dataset, failure error) error {
	there, err := c.existingDatasets(ctx, unmounted)
	for _, d := range asTree(there) {
		if !d.Mounted {
			_, mountErr := c.output(ctx, "mounting "+string(d.Name)+" again", "zfs", "mount", string(d.Name))
			err = errors.Join(err, mountErr)
		}
	}
	if f := builtin.AsFault(failure); f != nil && err != nil {
		f.Hint = "mount by hand what could not be mounted again: " + err.Error() + "; " + f.Hint
	}
	return failure
}

// destroyInOrder are the arguments that destroy what was decided on, in its
// order, each one command's: a dataset, or snapshots of one. Bookmarks go with
// their datasets.
func destroyInOrder(remove []DatasetIdentity) []string {
	var out []string
	var snapshots []Snapshot
	for _, i := range remove {
		switch i.Type {
		case "bookmark":
		case "snapshot":
			snapshots = append(snapshots, Snapshot(i.Name))
		default:
			out = append(append(out, destroyArguments(snapshots)...), string(i.Name))
			snapshots = nil
		}
	}
	return append(out, destroyArguments(snapshots)...)
}

// readDestroyed reads back what went. What is left of a failure is mounted as it was.
func (c client) readDestroyed(ctx context.Context, a DestroyDatasetArgs, d DestroyDatasetDecision, unmounted []Dataset, failure error) (DestroyDatasetResult, error) {
	left, err := c.leftOf(ctx, a, d)
	if err != nil {
		return DestroyDatasetResult{}, errors.Join(failure, err)
	}
	gone := slices.DeleteFunc(slices.Clone(d.Remove), func(i DatasetIdentity) bool { return slices.ContainsFunc(left, i.same) })
	out := DestroyDatasetResult{Destroyed: gone}
	if len(left) == 0 && failure == nil {
		return out, nil
	}
	f := builtin.AsFault(failure)
	if f == nil {
		f = builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("ZFS said that it was done").Hinting("zpool history -i says what was done; call it again: it is decided anew")
	}
	f.What += fmt.Sprintf(": %d of %d are gone", len(gone), len(d.Remove))
	f.Partial = out
	return out, c.mountAgain(ctx, unmounted, f)
}

// leftOf are those of the decided that are there still.
func (c client) leftOf(ctx context.Context, a DestroyDatasetArgs, d DestroyDatasetDecision) ([]DatasetIdentity, error) {
	in, err := c.contents(ctx, a)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	left := in.bookmarks
	for _, have := range in.datasets {
		left = append(left, DatasetIdentity{Name: Target(have.Name), GUID: have.GUID})
	}
	for _, have := range in.snapshots {
		left = append(left, DatasetIdentity{Name: Target(have.Snapshot), GUID: have.GUID})
	}
	return slices.DeleteFunc(left, func(i DatasetIdentity) bool { return !slices.ContainsFunc(d.Remove, i.same) }), nil
}

// settleDestroyDataset: the lists say what went. What is still there goes when
// it is done again, by the same decision.
func (c client) settleDestroyDataset(ctx context.Context, a DestroyDatasetArgs, _ string) (builtin.Settlement[DestroyDatasetResult], error) {
	d, ok := builtin.CallFrom(ctx).Decision.(DestroyDatasetDecision)
	if !ok {
		return builtin.Settlement[DestroyDatasetResult]{Why: "what was to go is not recorded"}, nil
	}
	left, err := c.leftOf(ctx, a, d)
	if err != nil || len(left) > 0 {
		return builtin.Settlement[DestroyDatasetResult]{State: builtin.NotDone}, err
	}
	return builtin.Settlement[DestroyDatasetResult]{State: builtin.Done, Result: DestroyDatasetResult{Destroyed: d.Remove}}, nil
}
