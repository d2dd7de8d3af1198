package zfs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nixmox/engine/builtin"
)

// RenameArgs are the arguments of rename.
type RenameArgs struct {
	Dataset Dataset `name:"dataset" scope:"dataset" doc:"the file system or volume; all below it goes with it"`
	To      Dataset `name:"to" scope:"dataset" doc:"its new whole name, in the same pool"`
	Parents bool    `name:"parents" default:"false" doc:"make what is missing above it, too"`
}

func (a RenameArgs) what() string { return fmt.Sprintf("renaming %s to %s", a.Dataset, a.To) }

func (a RenameArgs) keys() []string { return poolKeys([]Dataset{a.Dataset, a.To}) }

// RenameResult is what rename did.
type RenameResult struct {
	Dataset DatasetInfo `name:"dataset" doc:"as it was read back, under its new name"`
	Was     Dataset     `name:"was" doc:"its name before"`
	Parents []Dataset   `name:"parents" doc:"what was made above it"`
}

func (c client) checkRename(ctx context.Context, a RenameArgs) (DatasetInfo, place, error) {
	wrong := func(said string) error {
		return builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(said).Hinting("zfs.datasets() lists what there is")
	}
	switch {
	case !strings.Contains(string(a.Dataset), "/"):
		return DatasetInfo{}, place{}, wrong("a pool's own dataset has the pool's name: zpool export, and zpool import under another")
	case a.Dataset.Pool() != a.To.Pool():
		return DatasetInfo{}, place{}, wrong("nothing is renamed into another pool: copy it with zfs send and zfs receive")
	case a.To.In(a.Dataset):
		return DatasetInfo{}, place{}, wrong("it cannot be below itself")
	}
	d, err := c.dataset(ctx, DatasetArgs{Dataset: a.Dataset})
	if err != nil {
		return d, place{}, err
	}
	p, err := c.placeFor(ctx, a.what(), a.To, a.Parents)
	return d, p, err
}

func (c client) previewRename(ctx context.Context, a RenameArgs) (RenameResult, error) {
	d, p, err := c.checkRename(ctx, a)
	if err != nil {
		return RenameResult{}, err
	}
	above, made := p.planned(ctx)
	inherited := plannedDataset(ctx, above, a.To, nil).Mountpoint
	move := func(list []DatasetInfo) []DatasetInfo {
		for i := range list {
			list[i].Origin = originIn(list[i].Origin, a.Dataset, a.To)
			if list[i].Name.In(a.Dataset) {
				list[i].Name = a.To + list[i].Name[len(a.Dataset):]
				// One that has its mountpoint from above gets it from there again.
				if rest, ok := strings.CutPrefix(list[i].Mountpoint, d.Mountpoint); ok && strings.HasSuffix(d.Mountpoint, "/"+string(a.Dataset)) {
					list[i].Mountpoint = inherited + rest
				}
			}
		}
		return append(list, made...)
	}
	planDatasets(ctx, move)
	plan(ctx, func(list []SnapshotInfo, _ func(Dataset) bool) []SnapshotInfo {
		for i := range list {
			if s := &list[i]; s.Dataset.In(a.Dataset) {
				s.Dataset = a.To + s.Dataset[len(a.Dataset):]
				s.Snapshot = Snapshot(string(s.Dataset) + "@" + string(s.Name))
			}
		}
		return list
	})
	return RenameResult{Dataset: move([]DatasetInfo{d})[0], Was: a.Dataset, Parents: p.names()}, nil
}

// rename goes on where an earlier try of this call has renamed it and ended
// before its marks had the new names in them.
func (c client) rename(ctx context.Context, a RenameArgs) (RenameResult, error) {
	if renamed, err := c.renamed(ctx, a, GUID(builtin.CallFrom(ctx).Handle)); err != nil || renamed {
		if err != nil {
			return RenameResult{}, err
		}
		return c.readRenamed(ctx, a)
	}
	d, p, err := c.checkRename(ctx, a)
	if err != nil {
		return RenameResult{}, err
	}
	if err := builtin.Hold(ctx, string(d.GUID.Value)); err != nil {
		return RenameResult{}, err
	}
	if err := c.makeParents(ctx, a.what(), p); err != nil {
		return RenameResult{}, err
	}
	if _, err := c.output(ctx, a.what(), "zfs", "rename", string(a.Dataset), string(a.To)); err != nil {
		return RenameResult{}, err
	}
	if renamed, err := c.renamed(ctx, a, d.GUID.Value); err != nil || !renamed {
		if err == nil {
			err = builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("ZFS said that it was done, and it is not there").
				Hinting("does something else destroy or rename datasets there? zpool history -i says what was done")
		}
		return RenameResult{}, err
	}
	return c.readRenamed(ctx, a)
}

// renamed reports whether the dataset of that identity has its new name.
func (c client) renamed(ctx context.Context, a RenameArgs, guid GUID) (bool, error) {
	if guid == "" {
		return false, nil
	}
	there, err := c.existingDatasets(ctx, []Dataset{a.To})
	return len(there) == 1 && there[0].GUID.Value == guid, err
}

// staleMarks are the marks in what was renamed that stand on the names of
// before: those of datasets that nixmox made.
func (c client) staleMarks(ctx context.Context, a RenameArgs) ([]DatasetInfo, error) {
	list, err := c.datasets(ctx, DatasetsArgs{Under: []Dataset{a.To}, Depth: -1, Type: "any"})
	return slices.DeleteFunc(list, func(d DatasetInfo) bool {
		return d.mark.Of != string(a.Dataset+d.Name[len(a.To):])
	}), err
}

// readRenamed gives the marks their new names, and reads back what is there.
func (c client) readRenamed(ctx context.Context, a RenameArgs) (RenameResult, error) {
	stale, err := c.staleMarks(ctx, a)
	if err != nil {
		return RenameResult{}, err
	}
	for _, d := range stale {
		d.mark.Of = string(d.Name)
		if _, err := c.output(ctx, "marking "+string(d.Name)+", which was renamed, as nixmox's again", "zfs", "set", datasetMark+"="+d.mark.String(), string(d.Name)); err != nil {
			return RenameResult{}, err
		}
	}
	made, _, err := c.findMade(ctx, a.To)
	if err != nil {
		return RenameResult{}, err
	}
	d, err := c.dataset(ctx, DatasetArgs{Dataset: a.To})
	return RenameResult{Dataset: d, Was: a.Dataset, Parents: made.Parents}, err
}

// settleRename: the handle is the identity.
func (c client) settleRename(ctx context.Context, a RenameArgs, handle string) (builtin.Settlement[RenameResult], error) {
	none := builtin.Settlement[RenameResult]{State: builtin.NotDone, Handle: handle}
	renamed, err := c.renamed(ctx, a, GUID(handle))
	if err != nil || !renamed {
		return none, err
	}
	stale, err := c.staleMarks(ctx, a)
	if err != nil || len(stale) > 0 {
		return none, err
	}
	out, err := c.readRenamed(ctx, a)
	return builtin.Settlement[RenameResult]{State: builtin.Done, Result: out}, err
}

// RenameSnapshotArgs are the arguments of rename_snapshot.
type RenameSnapshotArgs struct {
	Snapshot Snapshot `name:"snapshot" scope:"dataset" doc:"the snapshot"`
	To       Name     `name:"to" doc:"its new name after the @"`
}

func (a RenameSnapshotArgs) what() string { return fmt.Sprintf("renaming %s to %s", a.Snapshot, a.To) }

func (a RenameSnapshotArgs) keys() []string { return poolKeys([]Dataset{a.Snapshot.Dataset()}) }

func (a RenameSnapshotArgs) target() Snapshot {
	return Snapshot(string(a.Snapshot.Dataset()) + "@" + string(a.To))
}

// find looks for the snapshot under both its names.
func (c client) findRenamed(ctx context.Context, a RenameSnapshotArgs) (before, after *SnapshotInfo, err error) {
	list, err := c.snapshots(ctx, SnapshotsArgs{Datasets: []Dataset{a.Snapshot.Dataset()}})
	for i := range list {
		switch list[i].Snapshot {
		case a.Snapshot:
			before = &list[i]
		case a.target():
			after = &list[i]
		}
	}
	return before, after, err
}

func (c client) checkRenameSnapshot(ctx context.Context, a RenameSnapshotArgs) (SnapshotInfo, error) {
	if err := checkPair(string(a.target()), "@"); err != nil {
		return SnapshotInfo{}, builtin.Faultf(builtin.Invalid, "%s", a.what()).Because(err).Hinting("take a shorter name")
	}
	before, after, err := c.findRenamed(ctx, a)
	switch {
	case err != nil:
		return SnapshotInfo{}, err
	case before == nil:
		return SnapshotInfo{}, builtin.Faultf(builtin.NotFound, "%s", a.what()).Saying("there is no such snapshot").Hinting("zfs.snapshots([%q]) lists what there is", a.Snapshot.Dataset())
	case after != nil:
		return SnapshotInfo{}, builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(string(a.target()) + " is there already").Hinting("take another name")
	}
	return *before, nil
}

func (c client) previewRenameSnapshot(ctx context.Context, a RenameSnapshotArgs) (SnapshotInfo, error) {
	s, err := c.checkRenameSnapshot(ctx, a)
	if err != nil {
		return s, err
	}
	change := renamedSnapshots(map[Snapshot]Snapshot{a.Snapshot: a.target()})
	plan(ctx, change)
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo {
		for i := range list {
			if list[i].Origin == string(a.Snapshot) {
				list[i].Origin = string(a.target())
			}
		}
		return list
	})
	return change([]SnapshotInfo{s}, nil)[0], nil
}

func (c client) renameSnapshot(ctx context.Context, a RenameSnapshotArgs) (SnapshotInfo, error) {
	handle := builtin.CallFrom(ctx).Handle
	before, after, err := c.findRenamed(ctx, a)
	if err != nil {
		return SnapshotInfo{}, err
	}
	if after == nil || string(after.GUID.Value) != handle {
		if _, err := c.checkRenameSnapshot(ctx, a); err != nil {
			return SnapshotInfo{}, err
		}
		handle = string(before.GUID.Value)
		if err := builtin.Hold(ctx, handle); err != nil {
			return SnapshotInfo{}, err
		}
		if _, err := c.output(ctx, a.what(), "zfs", "rename", string(a.Snapshot), string(a.target())); err != nil {
			return SnapshotInfo{}, err
		}
	}
	if err := c.markRenamed(ctx, a); err != nil {
		return SnapshotInfo{}, err
	}
	_, after, err = c.findRenamed(ctx, a)
	if err == nil && (after == nil || string(after.GUID.Value) != handle) {
		err = builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("ZFS said that it was done, and it is not there").
			Hinting("does something else destroy or rename snapshots there? zpool history -i says what was done")
	}
	if err != nil {
		return SnapshotInfo{}, err
	}
	return *after, nil
}

// markRenamed gives the mark of a snapshot that nixmox took its new name.
func (c client) markRenamed(ctx context.Context, a RenameSnapshotArgs) error {
	there, err := c.existing(ctx, []Snapshot{a.target()})
	if err != nil || len(there) == 0 {
		return err
	}
	m, ours := marked(there[0].property, a.Snapshot.Name())
	if !ours {
		return nil
	}
	m.Of = string(a.To)
	_, err = c.output(ctx, "marking "+string(a.target())+", which was renamed, as nixmox's again", "zfs", "set", snapshotMark+"="+m.String(), string(a.target()))
	return err
}

// settleRenameSnapshot: the handle is the identity. A mark that still has the
// name of before is written when the call is made again.
func (c client) settleRenameSnapshot(ctx context.Context, a RenameSnapshotArgs, handle string) (builtin.Settlement[SnapshotInfo], error) {
	there, err := c.existing(ctx, []Snapshot{a.target()})
	if err != nil {
		return builtin.Settlement[SnapshotInfo]{}, err
	}
	if handle == "" || len(there) == 0 || strconv.FormatUint(there[0].guid, 10) != handle {
		return builtin.Settlement[SnapshotInfo]{State: builtin.NotDone}, nil
	}
	if _, stale := marked(there[0].property, a.Snapshot.Name()); stale {
		return builtin.Settlement[SnapshotInfo]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[SnapshotInfo]{State: builtin.Done, Result: there[0].info()}, nil
}
