package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// Hold keeps a snapshot from being destroyed.
type Hold struct {
	Snapshot Snapshot  `name:"snapshot" doc:"what it holds"`
	Tag      string    `name:"tag" doc:"its name"`
	Time     time.Time `name:"time" doc:"when it was taken, to the minute; UTC"`
}

// HoldsArgs are the arguments of holds.
type HoldsArgs struct {
	Snapshots []Snapshot `name:"snapshots" scope:"dataset" doc:"the snapshots"`
	Recursive bool       `name:"recursive" default:"false" deep:"true" doc:"and those of the same name of all datasets below"`
}

func (c client) holds(ctx context.Context, a HoldsArgs) ([]Hold, error) {
	if len(a.Snapshots) == 0 {
		return []Hold{}, nil
	}
	return c.holdsOf(ctx, a.Snapshots, a.Recursive)
}

// holdsOf reads dates as people do, to the minute: -p exists from OpenZFS 2.2 on.
func (c client) holdsOf(ctx context.Context, snapshots []Snapshot, recursive bool) ([]Hold, error) {
	out := []Hold{}
	for chunk := range slices.Chunk(snapshots, 5000) {
		argv := []string{"zfs", "holds", "-H"}
		if recursive {
			argv = append(argv, "-r")
		}
		err := c.rows(ctx, "listing holds"+of(chunk), 3, func(row [][]byte) error {
			at, err := time.Parse("Mon Jan _2 15:04 2006", string(row[2]))
			if err != nil {
				return builtin.Faultf(builtin.Invalid, "listing holds").Because(err).Hinting("zfs version says which OpenZFS this is; nixmox follows 2.1 to 2.3")
			}
			out = append(out, Hold{Snapshot(row[0]), string(row[1]), at.UTC()})
			return nil
		}, append(argv, texts(chunk)...)...)
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Hold) int {
		return strings.Compare(string(a.Snapshot)+"\x00"+a.Tag, string(b.Snapshot)+"\x00"+b.Tag)
	})
	return out, nil
}

// HoldArgs are the arguments of hold and release.
type HoldArgs struct {
	Snapshots []Snapshot `name:"snapshots" scope:"dataset" doc:"the snapshots, all of one pool"`
	Tag       Tag        `name:"tag" default:"nixmox" doc:"the hold's name; several holds of a snapshot have several names"`
	Recursive bool       `name:"recursive" default:"false" deep:"true" doc:"and those of the same name of all datasets below"`
}

func (a HoldArgs) keys() []string { return poolKeys(datasetsOf(a.Snapshots)) }

func (a HoldArgs) argv(verb string) []string {
	argv := []string{"zfs", verb}
	if a.Recursive {
		argv = append(argv, "-r")
	}
	return append(append(argv, string(a.Tag)), texts(a.Snapshots)...)
}

// HoldResult is what is held, or was released.
type HoldResult struct {
	Snapshots []Snapshot `name:"snapshots" doc:"the snapshots, sorted"`
	Tag       string     `name:"tag" doc:"the hold's name"`
}

// concerned are the snapshots that the call is about, and which of them have
// the hold.
func (c client) concerned(ctx context.Context, a HoldArgs) (all, held []Snapshot, err error) {
	if len(a.Snapshots) == 0 {
		return nil, nil, builtin.Faultf(builtin.Invalid, "holds: no snapshot is named").Hinting("name them: DATASET@NAME")
	}
	names := map[string]bool{}
	for _, s := range a.Snapshots {
		names[s.Name()] = true
	}
	if keys := a.keys(); len(keys) > 1 {
		return nil, nil, builtin.Faultf(builtin.Invalid, "holding%s", of(a.Snapshots)).Saying("they are in several pools").Hinting("make a call for each pool")
	}
	there, err := c.snapshots(ctx, SnapshotsArgs{Datasets: datasetsOf(a.Snapshots), Recursive: a.Recursive})
	if err != nil {
		return nil, nil, err
	}
	var known []Snapshot
	for _, s := range there {
		if a.Recursive && names[string(s.Name)] || slices.Contains(a.Snapshots, s.Snapshot) {
			all = append(all, s.Snapshot)
			if s.GUID.Known() && s.Holds > 0 {
				known = append(known, s.Snapshot)
			}
		}
	}
	for _, s := range a.Snapshots {
		if !slices.Contains(all, s) {
			return nil, nil, builtin.Faultf(builtin.NotFound, "holds of %s", s).Saying("there is no such snapshot").Hinting("zfs.snapshots() lists what there is")
		}
	}
	slices.Sort(all)
	if len(known) == 0 {
		return all, nil, nil
	}
	list, err := c.holdsOf(ctx, known, false)
	for _, h := range list {
		if h.Tag == string(a.Tag) {
			held = append(held, h.Snapshot)
		}
	}
	return all, held, err
}

func (c client) previewHold(ctx context.Context, a HoldArgs) (HoldResult, error) {
	all, held, err := c.concerned(ctx, a)
	if err == nil && len(held) > 0 {
		err = a.alreadyHeld(held)
	}
	if err != nil {
		return HoldResult{}, err
	}
	planHolds(ctx, all, 1)
	return HoldResult{Snapshots: all, Tag: string(a.Tag)}, nil
}

func (a HoldArgs) alreadyHeld(held []Snapshot) error {
	return builtin.Faultf(builtin.Conflict, "holding%s as %s", of(a.Snapshots), a.Tag).Saying("there is a hold of that name on " + some(texts(held))).
		Hinting("take another name, or release it first")
}

func planHolds(ctx context.Context, snapshots []Snapshot, more int64) {
	plan(ctx, func(list []SnapshotInfo, _ func(Dataset) bool) []SnapshotInfo {
		for i := range list {
			if slices.Contains(snapshots, list[i].Snapshot) {
				list[i].Holds += more
			}
		}
		return list
	})
}

func (c client) hold(ctx context.Context, a HoldArgs) (HoldResult, error) {
	all, held, err := c.concerned(ctx, a)
	if err != nil {
		return HoldResult{}, err
	}
	if len(held) > 0 {
		return HoldResult{}, a.alreadyHeld(held)
	}
	if _, err := c.output(ctx, "holding"+of(a.Snapshots)+" as "+string(a.Tag), a.argv("hold")...); err != nil {
		return HoldResult{}, err
	}
	return c.readHolds(ctx, a, all, true)
}

// readHolds reads back that the holds are there, or gone.
func (c client) readHolds(ctx context.Context, a HoldArgs, all []Snapshot, want bool) (HoldResult, error) {
	_, held, err := c.concerned(ctx, a)
	if err != nil {
		return HoldResult{}, err
	}
	slices.Sort(held)
	if want && slices.Equal(held, all) || !want && len(held) == 0 {
		return HoldResult{Snapshots: all, Tag: string(a.Tag)}, nil
	}
	return HoldResult{}, builtin.Faultf(builtin.Failed, "the hold %s of%s", a.Tag, strings.TrimPrefix(of(all), " of")).
		Saying(fmt.Sprintf("ZFS said that it was done, and %d of %d snapshots have it", len(held), len(all))).Hinting("does something else hold and release there? zpool history -i says what was done")
}

// settleHold: holding is one transaction, so that all have it, or none.
func (c client) settleHold(ctx context.Context, a HoldArgs, _ string) (builtin.Settlement[HoldResult], error) {
	all, held, err := c.concerned(ctx, a)
	switch {
	case err != nil:
		return builtin.Settlement[HoldResult]{}, err
	case len(held) == len(all):
		return builtin.Settlement[HoldResult]{State: builtin.Done, Result: HoldResult{Snapshots: all, Tag: string(a.Tag)}}, nil
	case len(held) == 0:
		return builtin.Settlement[HoldResult]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[HoldResult]{Why: fmt.Sprintf("%d of %d snapshots have the hold %s", len(held), len(all), a.Tag)}, nil
}

func (c client) previewRelease(ctx context.Context, a HoldArgs) (HoldResult, error) {
	all, held, err := c.concerned(ctx, a)
	if err == nil && builtin.CallFrom(ctx).Run.Planned.Count(plannedChanges) == 0 {
		err = a.notHeld(all, held)
	}
	if err != nil {
		return HoldResult{}, err
	}
	planHolds(ctx, all, -1)
	return HoldResult{Snapshots: all, Tag: string(a.Tag)}, nil
}

func (a HoldArgs) notHeld(all, held []Snapshot) error {
	for _, s := range all {
		if !slices.Contains(held, s) {
			return builtin.Faultf(builtin.NotFound, "releasing the hold %s", a.Tag).Saying(fmt.Sprintf("%s has no such hold; nothing was released", s)).Hinting("zfs.holds() lists the holds")
		}
	}
	return nil
}

func (c client) release(ctx context.Context, a HoldArgs) (HoldResult, error) {
	all, held, err := c.concerned(ctx, a)
	if err == nil {
		err = a.notHeld(all, held)
	}
	if err != nil {
		return HoldResult{}, err
	}
	if _, err := c.output(ctx, "releasing the hold "+string(a.Tag)+of(a.Snapshots), a.argv("release")...); err != nil {
		return HoldResult{}, err
	}
	return c.readHolds(ctx, a, all, false)
}

func (c client) settleRelease(ctx context.Context, a HoldArgs, _ string) (builtin.Settlement[HoldResult], error) {
	all, held, err := c.concerned(ctx, a)
	switch {
	case err != nil:
		return builtin.Settlement[HoldResult]{}, err
	case len(held) == 0:
		return builtin.Settlement[HoldResult]{State: builtin.Done, Result: HoldResult{Snapshots: all, Tag: string(a.Tag)}}, nil
	case len(held) == len(all):
		return builtin.Settlement[HoldResult]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[HoldResult]{Why: fmt.Sprintf("%d of %d snapshots still have the hold %s", len(held), len(all), a.Tag)}, nil
}
