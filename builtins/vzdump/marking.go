package vzdump

import (
	"context"
	"fmt"

	marks "nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// MarkArgs are the arguments of mark.
type MarkArgs struct {
	VolID    builtin.Later[builtin.VolID] `name:"volid" scope:"storage" doc:"the archive, one of nixmox's own"`
	Verified Verification                 `name:"verified" doc:"what verify returned for this very archive"`
	Node     builtin.Node                 `name:"node" default:"" doc:"the node that has it; needed only where several have one of that name"`
}

func (a MarkArgs) keys() []string {
	if !a.VolID.Known() {
		return nil // in a plan, which locks nothing
	}
	return []string{"volume:" + string(a.VolID.Value)}
}

func (a MarkArgs) what() string {
	return "marking the archive " + string(a.VolID.Value) + " as verified"
}

// check refuses a verification that does not belong to the archive.
func (a MarkArgs) check() error {
	v := a.Verified
	switch {
	case a.VolID != v.VolID:
		return builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying("the verification is of " + laterText(v.VolID)).
			Hinting("pass what vzdump.verify returned for the same archive")
	case a.VolID.Known() && (v.Assumed || !v.Whole || !v.Bytes.Known() || !v.SHA256.Known() || v.SHA256.Value == ""):
		return builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying("nobody has looked at it: the verification is assumed").
			Hinting("verify the archive in this run, and pass what that returned")
	}
	return nil
}

func laterText(l builtin.Later[builtin.VolID]) string {
	if l.Known() {
		return string(l.Value)
	}
	return builtin.Opaque{From: l.From}.String()
}

// markable is the archive to be marked, as it is now, with its whole notes.
func (v *vzdump) markable(ctx context.Context, a MarkArgs) (Archive, string, error) {
	listed, err := v.find(ctx, a.VolID.Value, a.Node)
	if err != nil {
		return Archive{}, "", err
	}
	if listed.Size != a.Verified.Bytes.Value {
		return Archive{}, "", builtin.Faultf(builtin.Conflict, "%s", a.what()).
			Saying(fmt.Sprintf("%d bytes were verified, and now it has %d", a.Verified.Bytes.Value, listed.Size)).Hinting("verify it again")
	}
	notes, err := v.notes(ctx, listed)
	if err != nil {
		return Archive{}, "", err
	}
	if _, ours := marks.Parse(notes); !ours {
		return Archive{}, "", builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying("it is not nixmox's own: its notes carry no mark").
			Hinting("nixmox writes to what it made and to nothing else")
	}
	return listed, notes, nil
}

// notes are the whole notes of an archive, of which lists show one line.
func (v *vzdump) notes(ctx context.Context, a Archive) (string, error) {
	var volume struct {
		Notes string `json:"notes"`
	}
	err := v.c.Get(ctx, volumePath(a), nil, &volume)
	return volume.Notes, err
}

// writeNotes writes the notes of an archive and says what they are then. What
// may or may not have been written is looked at, and written once more if not.
func (v *vzdump) writeNotes(ctx context.Context, a Archive, notes string) (written string, err error) {
	for _, put := range []func(context.Context, string, map[string]any, any) error{v.c.PutSame, v.c.Put} {
		putErr := put(ctx, volumePath(a), map[string]any{"notes": notes}, nil)
		if putErr != nil && !pve.InDoubt(putErr) {
			return "", putErr
		}
		written, err = v.notes(ctx, a)
		if err != nil || putErr == nil || written == notes {
			return written, err
		}
		err = putErr
	}
	return "", err
}

func volumePath(a Archive) string {
	return pve.Path("/nodes/%s/storage/%s/content/%s", string(a.Node), string(a.Storage), string(a.VolID.Value))
}

func (v *vzdump) previewMark(ctx context.Context, a MarkArgs) (Archive, error) {
	if err := a.check(); err != nil {
		return Archive{}, err
	}
	plan := builtin.CallFrom(ctx).Run.Planned
	out := nextPlanned(plan, a.VolID)
	out.Verified = &a.Verified.Time
	if a.VolID.Known() {
		listed, notes, err := v.markable(ctx, a)
		if err != nil {
			return Archive{}, err
		}
		out = a.marked(listed, notes)
	}
	if plan != nil {
		plan.Add(plannedMarks, plannedMark{VolID: a.VolID, At: a.Verified.Time})
		plan.Add(plannedBy(plannedMarks, a.VolID), a.Verified.Time)
	}
	return out, nil
}

// nextPlanned is the archive that a mark is meant for. Those of one planned
// backup have one name, the place of the call that will make them; playbooks
// mark them one after the other, so each mark counts for the next (overlaid
// counts alike).
func nextPlanned(plan *builtin.Overlay, volid builtin.Later[builtin.VolID]) Archive {
	if a, ok := plan.At(plannedBy(plannedArchives, volid), plan.Count(plannedBy(plannedMarks, volid))).(Archive); ok {
		return a
	}
	return Archive{VolID: volid, Ours: true}
}

// plannedBy is the key of what one planned backup makes, beside that of all.
func plannedBy(key string, volid builtin.Later[builtin.VolID]) string {
	return key + " of " + string(volid.From) + string(volid.Value)
}

// marked is the archive with the verification in its notes.
func (a MarkArgs) marked(listed Archive, notes string) Archive {
	volume := pve.Volume{Notes: marks.WithVerification(notes, a.Verified.Time, a.Verified.SHA256.Value)}
	out, now := listed, archiveOf(volume, listed.Storage, listed.Node)
	out.Notes, out.mark, out.Ours, out.Run, out.Playbook, out.Verified = now.Notes, now.mark, now.Ours, now.Run, now.Playbook, now.Verified
	return out
}

func (v *vzdump) markVerified(ctx context.Context, a MarkArgs) (Archive, error) {
	if err := a.check(); err != nil {
		return Archive{}, err
	}
	listed, notes, err := v.markable(ctx, a)
	if err != nil {
		return Archive{}, err
	}
	wanted := marks.WithVerification(notes, a.Verified.Time, a.Verified.SHA256.Value)
	written, err := v.writeNotes(ctx, listed, wanted)
	if err != nil {
		return Archive{}, err
	}
	if written != wanted {
		return Archive{}, builtin.Faultf(builtin.Failed, "%s: its notes were written, and read otherwise", a.what()).Saying(written).
			Hinting("does something else write to them?")
	}
	return a.marked(listed, notes), nil
}

// settleMark: the notes say whether it was made, and writing them again writes
// the same.
func (v *vzdump) settleMark(ctx context.Context, a MarkArgs, _ string) (builtin.Settlement[Archive], error) {
	listed, err := v.find(ctx, a.VolID.Value, a.Node)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return builtin.Settlement[Archive]{State: builtin.Done, Fault: f}, nil
	}
	if err != nil {
		return builtin.Settlement[Archive]{}, err
	}
	if m := listed.mark; m.SHA256 == a.Verified.SHA256.Value && m.Verified.Equal(a.Verified.Time) && !m.Verified.IsZero() {
		return builtin.Settlement[Archive]{State: builtin.Done, Result: listed}, nil
	}
	return builtin.Settlement[Archive]{State: builtin.NotDone}, nil
}
