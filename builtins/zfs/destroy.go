package zfs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// SnapshotIdentity is what makes a snapshot the one that was decided on.
type SnapshotIdentity struct {
	Snapshot Snapshot            `name:"snapshot" doc:"its whole name"`
	GUID     builtin.Later[GUID] `name:"guid" doc:"its identity"`
	Created  time.Time           `name:"created" volatile:"planned" doc:"when it was taken, UTC"`
	Ours     bool                `name:"ours" doc:"whether nixmox took it"`
	Reason   string              `name:"reason" doc:"why it goes or stays; empty where it was named"`
}

func guidText(guid uint64) GUID { return GUID(strconv.FormatUint(guid, 10)) }

func (s *SnapshotInfo) identity() SnapshotIdentity {
	return SnapshotIdentity{Snapshot: s.Snapshot, GUID: s.GUID, Created: s.Created, Ours: s.Ours}
}

// DestroyArgs are the arguments of destroy.
type DestroyArgs struct {
	Snapshots []Snapshot `name:"snapshots" scope:"dataset" doc:"the snapshots, by their whole names"`
	Unmarked  bool       `name:"unmarked" default:"false" doc:"also those that nixmox did not take"`
}

// DestroyDecision is what exactly goes.
type DestroyDecision struct {
	Remove []SnapshotIdentity `name:"remove" doc:"what goes, by identity"`
}

// DestroyResult is what went.
type DestroyResult struct {
	Destroyed []SnapshotIdentity `name:"destroyed" doc:"what is gone"`
	Reclaim   int64              `name:"reclaim" volatile:"true" doc:"bytes that this sets free, as ZFS reckons beforehand; 0 where an earlier try did it"`
}

func (a DestroyArgs) keys() []string { return poolKeys(datasetsOf(a.Snapshots)) }

func (a DestroyArgs) what() string {
	return "destroying the snapshots" + strings.TrimPrefix(of(a.Snapshots), " of")
}

// datasetsOf are the datasets of snapshots, each once.
func datasetsOf(snapshots []Snapshot) []Dataset {
	var out []Dataset
	seen := map[Dataset]bool{}
	for _, s := range snapshots {
		if d := s.Dataset(); !seen[d] {
			seen[d], out = true, append(out, d)
		}
	}
	return out
}

func (c client) decideDestroy(ctx context.Context, a DestroyArgs) (DestroyDecision, error) {
	d := DestroyDecision{Remove: []SnapshotIdentity{}}
	if len(a.Snapshots) == 0 {
		return d, builtin.Faultf(builtin.Invalid, "destroying snapshots: none is named").Hinting("name them: DATASET@NAME")
	}
	names := slices.Compact(slices.Sorted(slices.Values(a.Snapshots)))
	there, err := c.present(ctx, names)
	if err != nil {
		return d, err
	}
	infos := make([]SnapshotInfo, len(there))
	for i := range there {
		infos[i] = there[i].info()
	}
	byName := map[Snapshot]*SnapshotInfo{}
	infos = plannedSnapshots(ctx, infos, SnapshotsArgs{Datasets: datasetsOf(names)})
	for i := range infos {
		byName[infos[i].Snapshot] = &infos[i]
	}
	for _, name := range names {
		s := byName[name]
		if s == nil {
			return d, builtin.Faultf(builtin.NotFound, "%s", a.what()).Saying(string(name) + " does not exist; nothing was destroyed").Hinting("zfs.snapshots() lists what there is")
		}
		if !s.Ours && !a.Unmarked {
			return d, builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(string(name) + " was not taken by nixmox; nothing was destroyed").
				Hinting("to destroy what others took, say unmarked = True")
		}
		d.Remove = append(d.Remove, s.identity())
	}
	return d, c.free(ctx, a.what(), infos, there)
}

func (c client) previewDestroy(ctx context.Context, a DestroyArgs, d DestroyDecision) (DestroyResult, error) {
	reclaim, err := c.reclaim(ctx, a.what(), d.Remove)
	if err != nil {
		return DestroyResult{}, err
	}
	planGone(ctx, d.Remove)
	return DestroyResult{Destroyed: d.Remove, Reclaim: reclaim}, nil
}

// planGone takes snapshots out of later lists of a plan.
func planGone(ctx context.Context, gone []SnapshotIdentity) {
	names := map[Snapshot]bool{}
	for _, g := range gone {
		names[g.Snapshot] = true
	}
	plan(ctx, func(list []SnapshotInfo, _ func(Dataset) bool) []SnapshotInfo {
		return slices.DeleteFunc(list, func(s SnapshotInfo) bool { return names[s.Snapshot] })
	})
}

func (c client) destroy(ctx context.Context, a DestroyArgs, d DestroyDecision) (DestroyResult, error) {
	there, err := c.present(ctx, namesOf(d.Remove))
	if err != nil {
		return DestroyResult{}, err
	}
	left, other := stillThere(d.Remove, byName(there))
	if other != "" {
		return DestroyResult{}, another(a.what(), other)
	}
	if err := c.free(ctx, a.what(), nil, there); err != nil {
		return DestroyResult{}, err
	}
	reclaim, failure := c.remove(ctx, a.what(), namesOf(left))
	if runEnds(ctx, failure) {
		return DestroyResult{}, failure // the run ends: resume looks what went
	}
	there, err = c.present(ctx, namesOf(d.Remove))
	if err != nil {
		return DestroyResult{}, unread(failure, err)
	}
	left, _ = stillThere(d.Remove, byName(there))
	out := DestroyResult{Destroyed: without(d.Remove, left), Reclaim: reclaim}
	if len(left) > 0 {
		return out, stopped(a.what(), failure, len(out.Destroyed), len(d.Remove), out)
	}
	return out, nil
}

// another is the answer where a decided name is another snapshot's by now.
func another(what string, name Snapshot) error {
	return builtin.Faultf(builtin.Conflict, "%s", what).Saying(fmt.Sprintf("%s is another snapshot than the one that was decided on; nothing was destroyed", name)).
		Hinting("decide anew: call it again")
}

// stopped is the answer where not all that was to go has gone, with what has.
func stopped(what string, failure error, gone, of int, partial any) error {
	f := builtin.Faultf(builtin.Failed, "%s", what).Saying("ZFS said that it was done").Hinting("zfs.holds() and zpool status may say more; call it again: it is decided anew")
	if cause := builtin.AsFault(failure); cause != nil {
		f = cause
	}
	f.What += fmt.Sprintf(": %d of %d are gone", gone, of)
	f.Partial = partial
	return f
}

// unread is the answer where it could not be seen what went: what went wrong
// before, if anything did, counts more.
func unread(failure, err error) error {
	cause := builtin.AsFault(failure)
	if cause == nil {
		return err
	}
	cause.Hint = "what is gone could not be seen (" + err.Error() + "); zfs.snapshots() lists what there is"
	return cause
}

// settleDestroy: the list says what went. What is still there goes when it is
// done again, by the same decision.
func (c client) settleDestroy(ctx context.Context, _ DestroyArgs, _ string) (builtin.Settlement[DestroyResult], error) {
	d, ok := builtin.CallFrom(ctx).Decision.(DestroyDecision)
	if !ok {
		return builtin.Settlement[DestroyResult]{Why: "what was to go is not recorded"}, nil
	}
	there, err := c.present(ctx, namesOf(d.Remove))
	if err != nil {
		return builtin.Settlement[DestroyResult]{}, err
	}
	if left, _ := stillThere(d.Remove, byName(there)); len(left) > 0 {
		return builtin.Settlement[DestroyResult]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[DestroyResult]{State: builtin.Done, Result: DestroyResult{Destroyed: d.Remove}}, nil
}
