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
	Storage  builtin.StorageID `name:"storage" scope:"storage" doc:"the storage that keeps the archives"`
	Verified []Verification    `name:"verified" doc:"what verify returned as whole; the archives must be nixmox's own"`
	Node     builtin.Node      `name:"node" default:"" doc:"the node that has them; needed only where several have one of that name"`
}

// MarkResult is what mark has written.
type MarkResult struct {
	Archives []Archive       `name:"archives" doc:"the archives that are marked, in the order asked for"`
	Failed   []FailedArchive `name:"failed" doc:"those that could not be marked; only beside an error, where archives holds the others"`
}

func (a MarkArgs) volids() []builtin.Later[builtin.VolID] {
	out := make([]builtin.Later[builtin.VolID], 0, len(a.Verified))
	for _, v := range a.Verified {
		out = append(out, v.VolID)
	}
	return out
}

func (a MarkArgs) what() string {
	return "marking archives of the storage " + string(a.Storage) + " as verified"
}

func (a MarkArgs) keys() []string { return volumeKeys(a.volids()...) }

// check refuses a verification that is none.
func (a MarkArgs) check() error {
	if err := inStorage(a.what(), a.Storage, a.volids()); err != nil {
		return err
	}
	for _, v := range a.Verified {
		if v.VolID.Known() && (v.Assumed || !v.Whole || !v.Read.Known() || v.Read.Value.SHA256 == "") {
			return builtin.Faultf(builtin.Invalid, "%s", v.marking()).Saying("nobody has looked at it: the verification is assumed").
				Hinting("verify the archive in this run, and pass what that returned")
		}
	}
	return nil
}

// marking is what is being done, for errors.
func (v Verification) marking() string {
	return "marking the archive " + laterText(v.VolID) + " as verified"
}

func laterText(l builtin.Later[builtin.VolID]) string {
	if l.Known() {
		return string(l.Value)
	}
	return builtin.Opaque{From: l.From, Of: l.Of}.String()
}

// markable is an archive to be marked, as it is now, with its whole notes; in a
// plan one that is to come has none.
type markable struct {
	Archive
	notes  string
	proved Verification
}

// marked is the archive with the verification in its notes.
func (m markable) marked() Archive {
	out := m.Archive
	if !m.VolID.Known() {
		out.Verified = &m.proved.Time
		return out
	}
	now := archiveOf(pve.Volume{Notes: m.wanted()}, m.Storage, m.Node)
	out.Notes, out.mark, out.Ours, out.Run, out.Playbook, out.Verified = now.Notes, now.mark, now.Ours, now.Run, now.Playbook, now.Verified
	return out
}

// wanted are the notes with the verification.
func (m markable) wanted() string {
	return marks.WithVerification(m.notes, m.proved.Time, m.proved.Read.Value.SHA256)
}

// isMarked reports whether the list shows the archive with the verification.
func (v Verification) isMarked(listed Archive) bool {
	m := listed.mark
	return m.SHA256 == v.Read.Value.SHA256 && m.Verified.Equal(v.Time) && !m.Verified.IsZero()
}

// markables looks at the archives to be marked. One that may not be does not
// keep the others from it.
func (v *vzdump) markables(ctx context.Context, a MarkArgs, not *failures) ([]markable, error) {
	var ready []markable
	var listed map[builtin.VolID][]Archive
	for _, proved := range a.Verified {
		if !proved.VolID.Known() {
			ready = append(ready, markable{Archive: plannedArchive(builtin.CallFrom(ctx).Run.Planned, proved.VolID), proved: proved})
			continue
		}
		if listed == nil {
			var err error
			if listed, err = v.listed(ctx, a.Storage, a.Node, a.volids()); err != nil {
				return nil, err
			}
		}
		m := markable{proved: proved}
		var err error
		if m.Archive, m.notes, err = v.look(ctx, listed, proved); err == nil {
			ready = append(ready, m)
		} else if err := not.add(ctx, proved.VolID.Value, err); err != nil {
			return nil, err
		}
	}
	return ready, nil
}

func (v *vzdump) look(ctx context.Context, listed map[builtin.VolID][]Archive, proved Verification) (Archive, string, error) {
	a, err := findIn(listed, proved.VolID.Value)
	if err != nil {
		return Archive{}, "", err
	}
	if a.Size != proved.Read.Value.Bytes {
		return Archive{}, "", builtin.Faultf(builtin.Conflict, "%s", proved.marking()).
			Saying(fmt.Sprintf("%d bytes were verified, and now it has %d", proved.Read.Value.Bytes, a.Size)).Hinting("verify it again")
	}
	notes, err := v.notes(ctx, a)
	if err != nil {
		return Archive{}, "", err
	}
	if _, ours := marks.Parse(notes); !ours {
		return Archive{}, "", builtin.Faultf(builtin.Conflict, "%s", proved.marking()).Saying("it is not nixmox's own: its notes carry no mark").
			Hinting("nixmox writes to what it made and to nothing else")
	}
	return a, notes, nil
}

// notes are the whole notes of an archive, of which lists show one line.
func (v *vzdump) notes(ctx context.Context, a Archive) (string, error) {
	var volume struct {
		Notes string `json:"notes"`
	}
	err := v.c.Get(ctx, volumePath(a), nil, &volume)
	return volume.Notes, err
}

// putNotes writes the notes of an archive. What may or may not have been
// written is looked at, and written once more if not. Who calls reads back.
func (v *vzdump) putNotes(ctx context.Context, a Archive, notes string) error {
	wanted := map[string]any{"notes": notes}
	err := v.c.PutSame(ctx, volumePath(a), wanted, nil)
	if err == nil || !pve.InDoubt(err) {
		return err
	}
	if written, err := v.notes(ctx, a); err != nil || written == notes {
		return err
	}
	return v.c.Put(ctx, volumePath(a), wanted, nil)
}

func volumePath(a Archive) string {
	return pve.Path("/nodes/%s/storage/%s/content/%s", string(a.Node), string(a.Storage), string(a.VolID.Value))
}

func (v *vzdump) previewMark(ctx context.Context, a MarkArgs) (MarkResult, error) {
	if err := a.check(); err != nil {
		return MarkResult{}, err
	}
	var not failures
	ready, err := v.markables(ctx, a, &not)
	if err != nil {
		return MarkResult{}, err
	}
	var result MarkResult
	plan := builtin.CallFrom(ctx).Run.Planned
	for _, m := range ready {
		result.Archives = append(result.Archives, m.marked())
		if plan != nil {
			plan.Add(plannedMarks, plannedMark{VolID: m.proved.VolID, At: m.proved.Time})
		}
	}
	result.Failed = not.list
	return result, not.fault(a.what(), len(a.Verified), result)
}

// markVerified writes the marks and then reads them back, in one list.
func (v *vzdump) markVerified(ctx context.Context, a MarkArgs) (MarkResult, error) {
	if err := a.check(); err != nil {
		return MarkResult{}, err
	}
	var not failures
	ready, err := v.markables(ctx, a, &not)
	if err != nil {
		return MarkResult{}, err
	}
	var written []markable
	for _, m := range ready {
		if err := v.putNotes(ctx, m.Archive, m.wanted()); err == nil {
			written = append(written, m)
		} else if err := not.add(ctx, m.VolID.Value, err); err != nil {
			return MarkResult{}, err
		}
	}
	var result MarkResult
	var listed map[builtin.VolID][]Archive
	if len(written) > 0 {
		if listed, err = v.listed(ctx, a.Storage, a.Node, a.volids()); err != nil {
			return MarkResult{}, err
		}
	}
	for _, m := range written {
		now, err := findIn(listed, m.VolID.Value)
		if err == nil && !m.proved.isMarked(now) {
			err = builtin.Faultf(builtin.Failed, "%s: its notes were written, and read otherwise", m.proved.marking()).Saying(now.Notes).
				Hinting("does something else write to them?")
		}
		if err == nil {
			result.Archives = append(result.Archives, m.marked())
		} else if err := not.add(ctx, m.VolID.Value, err); err != nil {
			return MarkResult{}, err
		}
	}
	result.Failed = not.list
	return result, not.fault(a.what(), len(a.Verified), result)
}

// settleMark: the notes say whether it was made, and writing them again writes
// the same. What keeps one from being marked is found by doing it again.
func (v *vzdump) settleMark(ctx context.Context, a MarkArgs, _ string) (builtin.Settlement[MarkResult], error) {
	listed, err := v.listed(ctx, a.Storage, a.Node, a.volids())
	if err != nil {
		return builtin.Settlement[MarkResult]{}, err
	}
	var result MarkResult
	for _, proved := range a.Verified {
		found, err := findIn(listed, proved.VolID.Value)
		if err != nil || !proved.isMarked(found) {
			return builtin.Settlement[MarkResult]{State: builtin.NotDone}, nil //nolint:nilerr // doing it again says so
		}
		result.Archives = append(result.Archives, found)
	}
	return builtin.Settlement[MarkResult]{State: builtin.Done, Result: result}, nil
}
