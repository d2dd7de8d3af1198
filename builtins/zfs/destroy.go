package zfs

import (
	"context"
	"errors"
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

func (l *listed) identity(reason string) SnapshotIdentity {
	_, ours := l.mark()
	return SnapshotIdentity{l.snapshot, builtin.Now(l.guidText()), time.Unix(l.created, 0).UTC(), ours, reason}
}

func (l *listed) guidText() GUID { return GUID(strconv.FormatUint(l.guid, 10)) }

// DestroyArgs are the arguments of destroy.
type DestroyArgs struct {
	Snapshots []Snapshot `name:"snapshots" scope:"dataset" doc:"the snapshots, by their whole names"`
	Unmarked  bool       `name:"unmarked" default:"false" doc:"also those that nixmox did not take"`
}

// DestroyDecision is what exactly goes.
type DestroyDecision struct {
	Remove  []SnapshotIdentity `name:"remove" doc:"what goes, by identity"`
	Reclaim int64              `name:"reclaim" volatile:"true" doc:"bytes that this sets free, as ZFS reckons"`
}

// DestroyResult is what went.
type DestroyResult struct {
	Destroyed []SnapshotIdentity `name:"destroyed" doc:"what is gone"`
}

func (a DestroyArgs) keys() []string { return poolKeys(datasetsOf(a.Snapshots)) }

func (a DestroyArgs) what() string {
	return "destroying the snapshots" + strings.TrimPrefix(of(a.Snapshots), " of")
}

func datasetsOf(snapshots []Snapshot) []Dataset {
	out := make([]Dataset, len(snapshots))
	for i, s := range snapshots {
		out[i] = s.Dataset()
	}
	return out
}

func (c client) decideDestroy(ctx context.Context, a DestroyArgs) (DestroyDecision, error) {
	if len(a.Snapshots) == 0 {
		return DestroyDecision{}, builtin.Faultf(builtin.Invalid, "destroying snapshots: none is named").Hinting("name them: DATASET@NAME")
	}
	there, err := c.existing(ctx, a.Snapshots)
	if err != nil {
		return DestroyDecision{}, err
	}
	d := DestroyDecision{Remove: []SnapshotIdentity{}}
	byName := map[Snapshot]*listed{}
	for i := range there {
		byName[there[i].snapshot] = &there[i]
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(a.Snapshots))) {
		l := byName[name]
		if l == nil {
			return d, builtin.Faultf(builtin.NotFound, "%s", a.what()).Saying(string(name) + " does not exist; nothing was destroyed").Hinting("zfs.snapshots() lists what there is")
		}
		if _, ours := l.mark(); !ours && !a.Unmarked {
			return d, builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(string(name) + " was not taken by nixmox; nothing was destroyed").
				Hinting("to destroy what others took, say unmarked = True")
		}
		d.Remove = append(d.Remove, l.identity(""))
	}
	if err := c.free(ctx, a.what(), there); err != nil {
		return d, err
	}
	d.Reclaim, err = c.reclaim(ctx, a.what(), a.Snapshots)
	return d, err
}

// free answers with a fault where holds or clones keep one of the snapshots.
// ZFS's own preview is silent about both.
func (c client) free(ctx context.Context, what string, list []listed) error {
	held := slices.DeleteFunc(slices.Clone(list), func(l listed) bool { return l.holds == 0 })
	if len(held) > 0 {
		holds, err := c.holdsOf(ctx, names(held), false)
		if err != nil {
			return err
		}
		var tags []string
		for _, h := range holds {
			tags = append(tags, fmt.Sprintf("%s (%s)", h.Tag, h.Snapshot))
		}
		return builtin.Faultf(builtin.Busy, "%s", what).Saying(fmt.Sprintf("%d are held: %s; nothing was destroyed", len(held), some(tags))).
			Hinting("zfs.release() releases a hold, once whoever took it needs it no more")
	}
	clones, err := c.clonesOf(ctx, names(list))
	if err != nil {
		return err
	}
	if len(clones) > 0 {
		return builtin.Faultf(builtin.Busy, "%s", what).Saying(fmt.Sprintf("they have clones: %s; nothing was destroyed", some(clones))).
			Hinting("promote the clones, or destroy them first")
	}
	return nil
}

func names(list []listed) []Snapshot {
	out := make([]Snapshot, len(list))
	for i := range list {
		out[i] = list[i].snapshot
	}
	return out
}

// some is a list for a message, shortened.
func some(words []string) string {
	const few = 5
	if len(words) <= few {
		return strings.Join(words, ", ")
	}
	return strings.Join(words[:few], ", ") + fmt.Sprintf(" and %d more", len(words)-few)
}

// clonesOf are the clones of snapshots, each as CLONE of SNAPSHOT.
func (c client) clonesOf(ctx context.Context, snapshots []Snapshot) ([]string, error) {
	var out []string
	for chunk := range slices.Chunk(snapshots, 2000) {
		argv := append([]string{"zfs", "get", "-Hp", "-o", "name,value", "clones"}, texts(chunk)...)
		err := c.rows(ctx, "looking for clones"+of(chunk), 2, func(row [][]byte) error {
			if value := text(row[1]); value != "" {
				for clone := range strings.SplitSeq(value, ",") {
					out = append(out, clone+" of "+string(row[0]))
				}
			}
			return nil
		}, argv...)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxArgument is MAX_ARG_STRLEN of Linux without its NUL, and with room to
// spare: one argument, such as a list with commas, is at most 128 KiB.
const maxArgument = 127 << 10

// destroyArguments are the arguments DATASET@A,B,C that name snapshots, which
// are in the order in which they are to go. Each is one command's.
func destroyArguments(snapshots []Snapshot) []string {
	var out []string
	var b strings.Builder
	var dataset Dataset
	flush := func() {
		if b.Len() > 0 {
			out = append(out, b.String())
			b.Reset()
		}
	}
	for _, s := range snapshots {
		if s.Dataset() != dataset || b.Len()+1+len(s.Name()) > maxArgument {
			flush()
			dataset = s.Dataset()
			b.WriteString(string(s))
			continue
		}
		b.WriteByte(',')
		b.WriteString(s.Name())
	}
	flush()
	return out
}

// reclaim is what ZFS reckons that destroying the snapshots sets free, in
// bytes. It looks at each dataset's by themselves.
func (c client) reclaim(ctx context.Context, what string, snapshots []Snapshot) (int64, error) {
	var sum int64
	for _, argument := range destroyArguments(byDataset(snapshots)) {
		out, err := c.output(ctx, what+" (a preview)", "zfs", "destroy", "-nvp", argument)
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(out)) {
			if size, ok := strings.CutPrefix(strings.TrimSpace(line), "reclaim\t"); ok {
				n, err := readInt([]byte(size), "reclaim")
				if err != nil {
					return 0, err
				}
				sum += n
			}
		}
	}
	return sum, nil
}

func byDataset(snapshots []Snapshot) []Snapshot {
	out := slices.Clone(snapshots)
	slices.SortStableFunc(out, func(a, b Snapshot) int { return compareNames(a.Dataset(), b.Dataset()) })
	return out
}

func (c client) previewDestroy(ctx context.Context, _ DestroyArgs, d DestroyDecision) (DestroyResult, error) {
	planGone(ctx, d.Remove)
	return DestroyResult{Destroyed: d.Remove}, nil
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
	left, err := c.stillDecided(ctx, a.what(), d.Remove)
	if err != nil {
		return DestroyResult{}, err
	}
	if err := c.free(ctx, a.what(), left); err != nil {
		return DestroyResult{}, err
	}
	return c.remove(ctx, a.what(), d.Remove, left)
}

// stillDecided are those of the decided snapshots that are there. One that has
// another identity is another one, and nothing is touched then; one that is
// gone went in an earlier try of this call, or by another hand.
func (c client) stillDecided(ctx context.Context, what string, decided []SnapshotIdentity) ([]listed, error) {
	var out []listed
	guids := map[Snapshot]GUID{}
	ids := make([]Snapshot, len(decided))
	for i, s := range decided {
		guids[s.Snapshot], ids[i] = s.GUID.Value, s.Snapshot
	}
	for chunk := range slices.Chunk(ids, 5000) {
		there, err := c.existing(ctx, chunk)
		if err != nil {
			return nil, err
		}
		for _, l := range there {
			if l.guidText() != guids[l.snapshot] {
				return nil, builtin.Faultf(builtin.Conflict, "%s", what).Saying(fmt.Sprintf("%s is another snapshot than the one that was decided on; nothing was destroyed", l.snapshot)).
					Hinting("decide anew: call it again")
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// remove destroys snapshots that were decided on and just looked at, in the
// decision's order, and reads back what went.
func (c client) remove(ctx context.Context, what string, decided []SnapshotIdentity, there []listed) (DestroyResult, error) {
	present := map[Snapshot]bool{}
	for i := range there {
		present[there[i].snapshot] = true
	}
	var order []Snapshot
	for _, d := range decided {
		if present[d.Snapshot] {
			order = append(order, d.Snapshot)
		}
	}
	var failure error
	done := 0
	for _, argument := range destroyArguments(order) {
		done += strings.Count(argument, ",") + 1
		builtin.Report(ctx, builtin.Progress{Step: fmt.Sprintf("destroying %d of %d snapshots", done, len(order)), Percent: 100 * float64(done) / float64(len(order))})
		if _, failure = c.output(ctx, what, "zfs", "destroy", argument); failure != nil {
			break
		}
	}
	if failure != nil && builtin.AsFault(failure) == nil {
		return DestroyResult{}, failure // the run ends: resume looks what went
	}
	left, err := c.stillDecided(ctx, what, decided)
	if err != nil {
		return DestroyResult{}, errors.Join(failure, err)
	}
	out := DestroyResult{Destroyed: gone(decided, left)}
	if len(left) == 0 {
		return out, nil
	}
	f := builtin.Faultf(builtin.Failed, "%s", what).Saying("ZFS said that it was done").Hinting("zfs.holds() and zpool status may say more; call it again: it is decided anew")
	if cause := builtin.AsFault(failure); cause != nil {
		f = cause
	}
	f.What += fmt.Sprintf(": %d of %d are gone", len(out.Destroyed), len(decided))
	f.Partial = out
	return out, f
}

// gone are those decided that are not there any more.
func gone(decided []SnapshotIdentity, left []listed) []SnapshotIdentity {
	still := map[Snapshot]bool{}
	for i := range left {
		still[left[i].snapshot] = true
	}
	return slices.DeleteFunc(slices.Clone(decided), func(s SnapshotIdentity) bool { return still[s.Snapshot] })
}

// settleRemoval: the list says what went. What is still there goes when it is
// done again, by the same decision.
func (c client) settleRemoval(ctx context.Context, what string, decided []SnapshotIdentity) (builtin.Settlement[DestroyResult], error) {
	left, err := c.stillDecided(ctx, what, decided)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.Conflict {
		return builtin.Settlement[DestroyResult]{State: builtin.NotDone}, nil // and Do says so
	}
	if err != nil {
		return builtin.Settlement[DestroyResult]{}, err
	}
	if len(left) > 0 {
		return builtin.Settlement[DestroyResult]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[DestroyResult]{State: builtin.Done, Result: DestroyResult{Destroyed: decided}}, nil
}

func (c client) settleDestroy(ctx context.Context, a DestroyArgs, _ string) (builtin.Settlement[DestroyResult], error) {
	d, ok := builtin.CallFrom(ctx).Decision.(DestroyDecision)
	if !ok {
		return builtin.Settlement[DestroyResult]{Why: "what was to go is not recorded"}, nil
	}
	return c.settleRemoval(ctx, a.what(), d.Remove)
}
