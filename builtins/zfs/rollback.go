package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// RollbackArgs are the arguments of rollback.
type RollbackArgs struct {
	Snapshot     Snapshot `name:"snapshot" scope:"dataset" doc:"the snapshot to go back to"`
	DestroyLater bool     `name:"destroy_later" default:"false" doc:"destroy the later snapshots and bookmarks that are in the way, whoever made them, as they were when it was decided; else it is refused where there are any"`
	Guests       string   `name:"guests" default:"refuse" enum:"refuse,include" doc:"a volume of a Proxmox guest: refuse, or roll it back though the guest's configuration and other volumes stay as they are; the guest must not run"`
}

// RollbackDecision is what a rollback loses.
type RollbackDecision struct {
	To        SnapshotIdentity   `name:"to" doc:"the snapshot to go back to"`
	Remove    []SnapshotIdentity `name:"remove" doc:"later snapshots, which go, the newest first"`
	Bookmarks []LaterBookmark    `name:"bookmarks" doc:"bookmarks of later snapshots, which go"`
	Written   int64              `name:"written" volatile:"true" doc:"bytes that were written since, and go"`
}

// RollbackResult is where a rollback came to.
type RollbackResult struct {
	Dataset   Dataset            `name:"dataset" doc:"what was rolled back"`
	To        SnapshotIdentity   `name:"to" doc:"the snapshot whose state it has"`
	Destroyed []SnapshotIdentity `name:"destroyed" doc:"later snapshots that are gone"`
	Bookmarks []LaterBookmark    `name:"bookmarks" doc:"bookmarks that are gone"`
	Lost      int64              `name:"lost" volatile:"true" doc:"bytes that had been written since, when it was decided, and are lost"`
	Written   int64              `name:"written" volatile:"true" doc:"bytes that differ from the snapshot: what was written after the rollback, until it was looked at"`
}

func (a RollbackArgs) keys() []string { return poolKeys([]Dataset{a.Snapshot.Dataset()}) }

func (a RollbackArgs) what() string {
	return fmt.Sprintf("rolling %s back to %s", a.Snapshot.Dataset(), a.Snapshot.Name())
}

func (c client) decideRollback(ctx context.Context, a RollbackArgs) (RollbackDecision, error) {
	w, err := c.inTheWay(ctx, InTheWayArgs{a.Snapshot})
	if err != nil {
		return RollbackDecision{}, err
	}
	d := RollbackDecision{To: w.Snapshot, Remove: []SnapshotIdentity{}, Bookmarks: w.Bookmarks, Written: w.Written}
	for _, s := range slices.Backward(w.Later) {
		d.Remove = append(d.Remove, SnapshotIdentity{Snapshot: s.Snapshot, GUID: s.GUID, Created: s.Created, Ours: s.Ours, Reason: "later: " + s.Owner})
	}
	return d, a.refuse(&w)
}

// refuse says what is in the way, whose it is, and what could be done instead.
func (a RollbackArgs) refuse(w *InTheWay) error {
	conflict := builtin.Faultf(builtin.Conflict, "%s", a.what())
	kept := append(w.held(), w.cloned()...)
	switch {
	case w.Guest != 0 && a.Guests == "refuse":
		return conflict.Saying(w.guestSays()).Hinting("proxmox.rollback(%d, …) rolls the whole guest back; to roll back this volume alone, say guests = \"include\"", w.Guest)
	case len(w.Later)+len(w.Bookmarks) > 0 && !a.DestroyLater:
		return conflict.Saying(fmt.Sprintf("%d later snapshots and %d bookmarks are in the way: %s; nothing was changed", len(w.Later), len(w.Bookmarks), strings.Join(w.owners(), "; "))).
			Hinting("look at the old state in a clone (zfs.clone), or roll forward, so that all later ones survive (nixmox run rollback --way forward); destroy_later = True destroys them")
	case len(kept) > 0:
		return builtin.Faultf(builtin.Busy, "%s", a.what()).Saying(some(kept) + "; nothing was changed").
			Hinting("release the holds (zfs.release), promote or destroy the clones; or roll forward, so that all of it survives: nixmox run rollback --way forward")
	}
	return nil
}

func (c client) previewRollback(ctx context.Context, a RollbackArgs, d RollbackDecision) (RollbackResult, error) {
	planGone(ctx, d.Remove)
	if planned := builtin.CallFrom(ctx).Run.Planned; planned != nil {
		for _, b := range d.Bookmarks {
			planned.Add(plannedBookmarksGone, b.Bookmark)
		}
	}
	return RollbackResult{Dataset: a.Snapshot.Dataset(), To: d.To, Destroyed: d.Remove, Bookmarks: d.Bookmarks, Lost: d.Written}, nil
}

// rollback destroys what was decided, by name, and then rolls back without -r:
// what came meanwhile makes ZFS refuse. Itself -r would destroy it, and it
// destroys one by one, so that a hold stops it half way.
//
// The snapshot to go back to is held meanwhile: once the later ones are gone it
// is all there is, and somebody else's prune must not take it. The hold also
// tells, after a crash, what became of it: the pool's history has the hold, and
// after it the rollback, or not.
func (c client) rollback(ctx context.Context, a RollbackArgs, d RollbackDecision) (RollbackResult, error) {
	tag, err := rollbackTag(ctx)
	if err != nil {
		return RollbackResult{}, err
	}
	out, err := c.rollbackHeld(ctx, a, d, tag)
	if runEnds(ctx, err) {
		return out, err // the run ends: resume looks what became of it, and needs the hold for that
	}
	release := c.letGo(ctx, a, tag)
	if err != nil {
		f := builtin.AsFault(err)
		if release != nil {
			f.Hint += "; the hold " + string(tag) + " is still on " + string(a.Snapshot) + ": zfs.release() releases it"
		}
		return out, f
	}
	if release != nil {
		f := builtin.AsFault(release)
		if f == nil {
			return out, release
		}
		f.What, f.Partial = a.what()+": it is done, but the hold that kept the snapshot meanwhile is still there", out
		return out, f
	}
	return out, nil
}

// rollbackTag names the hold of a call.
func rollbackTag(ctx context.Context) (Tag, error) {
	call := builtin.CallFrom(ctx)
	text := fmt.Sprintf("nixmox-rollback:%s:%s", call.Run.ID, call.Place)
	var tag Tag
	if err := tag.UnmarshalText([]byte(text)); err != nil || strings.ContainsRune(text, '\t') {
		return "", builtin.Faultf(builtin.Invalid, "holding the snapshot to go back to").Saying(fmt.Sprintf("%q is no name of a hold", text)).Hinting("give the run a shorter id")
	}
	return tag, nil
}

func (c client) rollbackHeld(ctx context.Context, a RollbackArgs, d RollbackDecision, tag Tag) (RollbackResult, error) {
	w, err := c.inTheWay(ctx, InTheWayArgs{a.Snapshot})
	if err != nil {
		return RollbackResult{}, err
	}
	if w.Snapshot.GUID != d.To.GUID {
		return RollbackResult{}, another(a.what(), a.Snapshot)
	}
	if builtin.CallFrom(ctx).Handle != "" { // an earlier try began
		done, err := c.rolledBack(ctx, a.Snapshot, tag)
		if err != nil {
			return RollbackResult{}, err
		}
		if done {
			return c.rollbackSeen(ctx, a, d, nil)
		}
	}
	if err := d.unchanged(a, &w); err != nil {
		return RollbackResult{}, err
	}
	if err := c.holdForRollback(ctx, a, tag); err != nil {
		return RollbackResult{}, err
	}
	if err := builtin.Hold(ctx, string(tag)); err != nil {
		return RollbackResult{}, err
	}
	if err := c.clearTheWay(ctx, a, &w); err != nil {
		return c.halfWay(ctx, a, d, err)
	}
	builtin.Report(ctx, builtin.Progress{Step: a.what()})
	if _, err := c.output(ctx, a.what(), "zfs", "rollback", string(a.Snapshot)); err != nil {
		return c.halfWay(ctx, a, d, err)
	}
	return c.rollbackSeen(ctx, a, d, &w)
}

// unchanged answers with a conflict where there is something that was not
// decided on. That some of it has gone is none.
func (d *RollbackDecision) unchanged(a RollbackArgs, w *InTheWay) error {
	for _, s := range w.Later {
		if !slices.ContainsFunc(d.Remove, func(i SnapshotIdentity) bool { return i.Snapshot == s.Snapshot && i.GUID == s.GUID }) {
			return builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(fmt.Sprintf("%s (%s) was not there when it was decided what goes; nothing was changed", s.Snapshot, s.Owner)).
				Hinting("call it again: it is decided anew")
		}
	}
	for _, b := range w.Bookmarks {
		if !slices.ContainsFunc(d.Bookmarks, func(i LaterBookmark) bool { return i.Bookmark == b.Bookmark && i.GUID == b.GUID }) {
			return builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(fmt.Sprintf("%s was not there when it was decided what goes; nothing was changed", b.Bookmark)).
				Hinting("call it again: it is decided anew")
		}
	}
	return a.refuse(w)
}

// holdForRollback holds the snapshot, if an earlier try does not.
func (c client) holdForRollback(ctx context.Context, a RollbackArgs, tag Tag) error {
	_, err := c.output(ctx, "holding "+string(a.Snapshot)+", so that nobody destroys it meanwhile", "zfs", "hold", string(tag), string(a.Snapshot))
	if f := builtin.AsFault(err); f != nil && strings.Contains(f.Said, "tag already exists") {
		return nil
	}
	return err
}

// letGo releases the hold, if it is there.
func (c client) letGo(ctx context.Context, a RollbackArgs, tag Tag) error {
	_, err := c.output(ctx, "releasing the hold "+string(tag)+" of "+string(a.Snapshot), "zfs", "release", string(tag), string(a.Snapshot))
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return nil
	}
	return err
}

// clearTheWay destroys the later snapshots and bookmarks. One that went
// meanwhile is in nobody's way; and where any is left, ZFS refuses to roll back.
func (c client) clearTheWay(ctx context.Context, a RollbackArgs, w *InTheWay) error {
	var later []Snapshot
	for _, s := range slices.Backward(w.Later) {
		later = append(later, s.Snapshot)
	}
	if _, err := c.remove(ctx, a.what(), later); err != nil && !isMissing(err) {
		return err
	}
	for _, b := range w.Bookmarks {
		if !strings.Contains(string(b.Bookmark), "#") {
			return builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(string(b.Bookmark) + " names no bookmark").Hinting("this is a defect of nixmox")
		}
		if _, err := c.output(ctx, a.what()+": destroying the bookmark "+string(b.Bookmark), "zfs", "destroy", string(b.Bookmark)); err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}

// halfWay is the answer where it failed after it began: with what is gone.
func (c client) halfWay(ctx context.Context, a RollbackArgs, d RollbackDecision, failure error) (RollbackResult, error) {
	if runEnds(ctx, failure) {
		return RollbackResult{}, failure // resume looks what became of it
	}
	f := builtin.AsFault(failure)
	w, err := c.inTheWay(ctx, InTheWayArgs{a.Snapshot})
	if err != nil {
		return RollbackResult{}, unread(f, err)
	}
	out := a.result(d, &w)
	if len(out.Destroyed)+len(out.Bookmarks) > 0 {
		f.What += fmt.Sprintf(" (not rolled back; %d of %d later snapshots and %d of %d bookmarks are gone)", len(out.Destroyed), len(d.Remove), len(out.Bookmarks), len(d.Bookmarks))
		f.Partial = out
	}
	return out, f
}

// result is what went, by what is there.
func (a RollbackArgs) result(d RollbackDecision, w *InTheWay) RollbackResult {
	out := RollbackResult{Dataset: a.Snapshot.Dataset(), To: d.To, Destroyed: []SnapshotIdentity{}, Bookmarks: []LaterBookmark{}, Lost: d.Written, Written: w.Written}
	for _, s := range d.Remove {
		if !slices.ContainsFunc(w.Later, func(l LaterSnapshot) bool { return l.Snapshot == s.Snapshot && l.GUID == s.GUID }) {
			out.Destroyed = append(out.Destroyed, s)
		}
	}
	for _, b := range d.Bookmarks {
		if !slices.ContainsFunc(w.Bookmarks, func(l LaterBookmark) bool { return l.Bookmark == b.Bookmark && l.GUID == b.GUID }) {
			out.Bookmarks = append(out.Bookmarks, b)
		}
	}
	return out
}

// rollbackSeen reads back a rollback. before is what was there when it began,
// nil where the pool's history said that an earlier try had done it.
func (c client) rollbackSeen(ctx context.Context, a RollbackArgs, d RollbackDecision, before *InTheWay) (RollbackResult, error) {
	w, err := c.inTheWay(ctx, InTheWayArgs{a.Snapshot})
	if err != nil {
		return RollbackResult{}, err
	}
	out := a.result(d, &w)
	failed := builtin.Faultf(builtin.Failed, "%s", a.what())
	failed.Partial = out
	switch {
	case w.Snapshot.GUID != d.To.GUID:
		return out, failed.Saying("ZFS said that it was done, and " + string(a.Snapshot) + " is another snapshot now").Hinting("see what was done: zpool history -i")
	case len(out.Destroyed) != len(d.Remove) || len(out.Bookmarks) != len(d.Bookmarks):
		return out, failed.Saying("ZFS said that it was done, and later snapshots or bookmarks are still there").Hinting("see what was done: zpool history -i")
	case before != nil && before.Written > 0 && w.Written == before.Written:
		return out, failed.Saying(fmt.Sprintf("ZFS said that it was done, and %d bytes differ from the snapshot as before", w.Written)).Hinting("see what was done: zpool history -i")
	case before != nil && before.Mounted && !w.Mounted:
		return out, failed.Saying("it is done, but the file system was mounted and is not any more").Hinting("zfs mount %s; see the machine's log: journalctl -k", a.Snapshot.Dataset())
	}
	return out, nil
}
