package vzdump

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// readBack says what an ended task really made. Three witnesses must agree for
// each guest: the task's log, the storage's list, and the mark in the notes.
func (v *vzdump) readBack(ctx context.Context, j *job, end pve.TaskEnd, log *taskLog) (BackupResult, error) {
	result := BackupResult{Task: builtin.Now(end.UPID.String()), Status: builtin.Now(end.ExitStatus), Expected: j.expected, Failed: slices.Clone(j.refused)}
	listed, err := v.listOn(ctx, j.Storage, j.Node, j.Guests...)
	if f := builtin.AsFault(err); f != nil {
		f.What = fmt.Sprintf("%s: the task ended with %q, but whether the archives are there could not be seen: %s", j.what(), end.ExitStatus, f.What)
		return BackupResult{}, f.Hinting("look again later: vzdump.backups(%q); task %s", j.Storage, end.UPID)
	}
	if err != nil {
		return BackupResult{}, err
	}
	warnings := append(slices.Clone(j.warnings), log.Warnings...)
	for _, id := range j.Guests {
		g := log.find(id)
		a, why := witness(j, end, g, id, listed)
		if g == nil && why != "" && log.Skipped != "" {
			why += "; " + log.Skipped // it was migrated meanwhile
		}
		if g != nil && g.mayBeFrozen() {
			warnings = append(warnings, v.frozenWarnings(ctx, j.Node, id)...)
		}
		if why != "" {
			result.Failed = append(result.Failed, FailedGuest{Guest: id, Said: why})
			continue
		}
		made := Made{Archive: a, Mode: builtin.Now(""), LeftOut: builtin.Now([]string{})}
		made.Consistency = builtin.Now(consistencyUnknown)
		if g != nil {
			made.Mode, made.Consistency, made.LeftOut = builtin.Now(g.Mode), builtin.Now(g.Consistency()), builtin.Now(g.LeftOut)
			warnings = append(warnings, v.askTheGuest(ctx, j.Node, &made)...)
		}
		if !a.Ours {
			if marked, err := v.markAnew(ctx, j, made.Archive); err == nil {
				made.Archive = marked
			} else {
				warnings = append(warnings, fmt.Sprintf("guest %d: %s carries no mark (%v), so nixmox will not take it for its own and never remove it", id, a.VolID.Value, err))
			}
		}
		result.Archives = append(result.Archives, made)
	}
	warnings = append(warnings, v.recordConsistency(ctx, j, result.Archives)...)
	for _, made := range result.Archives {
		v.seen.add(j.mark.Run, made.Archive)
	}
	result.Warnings = builtin.Now(warnings)
	j.logWarnings(builtin.CallFrom(ctx), warnings)
	if len(result.Failed) == 0 && end.OK {
		return result, nil
	}
	return result, j.fault(end, result)
}

// markAnew writes the mark that vzdump could not write. The log of our own
// task names the archive, so it is ours beyond doubt. Notes that are there all
// the same are somebody's, and stay. The names of guest and cluster are not at
// hand here: the guest's number and nothing stand for them.
func (v *vzdump) markAnew(ctx context.Context, j *job, a Archive) (Archive, error) {
	if there, err := v.notes(ctx, a); err != nil || strings.TrimSpace(there) != "" {
		return a, cmp.Or(err, fmt.Errorf("its notes are %q", there))
	}
	m := j.mark
	m.Consistency = a.Consistency.Value
	notes := strings.NewReplacer("{{guestname}}", a.Guest.String(), "{{vmid}}", a.Guest.String(), "{{node}}", string(j.Node), "{{cluster}}", "").
		Replace(notesText(j.Note, m))
	if err := v.putNotes(ctx, a, notes); err != nil {
		return a, err
	}
	written, err := v.notes(ctx, a)
	if err != nil {
		return a, err
	}
	if strings.TrimRight(written, "\n") != strings.TrimRight(notes, "\n") {
		return a, fmt.Errorf("its notes are %q after they were written", written)
	}
	marked := archiveOf(pve.Volume{Notes: notes}, a.Storage, a.Node)
	a.Notes, a.mark, a.Ours, a.Run, a.Playbook = marked.Notes, marked.mark, marked.Ours, marked.Run, marked.Playbook
	return a, nil
}

// witness is the archive of a guest, or why there is none.
func witness(j *job, end pve.TaskEnd, g *guestLog, id builtin.VMID, listed []Archive) (Archive, string) {
	logMissing := len(end.Log) == 0 // even an empty task's ends with a line
	switch {
	case g == nil && !logMissing:
		return Archive{}, "not begun: " + endWords(end)
	case g != nil && g.Failed != "":
		return Archive{}, g.words()
	case g != nil && !g.Finished:
		return Archive{}, strings.Join(append(g.Errors, "not finished: "+endWords(end)), "; ")
	}
	ours := func(a Archive) bool { return a.mark.Run == j.mark.Run && a.mark.Place == j.mark.Place }
	var want builtin.VolID
	i := slices.IndexFunc(listed, func(a Archive) bool { return a.Guest == id && ours(a) })
	if g != nil && g.Target != "" {
		want = volidOf(j.Storage, g.Target)
		i = slices.IndexFunc(listed, func(a Archive) bool { return a.VolID.Value == want })
	}
	if i < 0 {
		name := "an archive of it"
		if want != "" {
			name = string(want)
		}
		return Archive{}, fmt.Sprintf("the task ended with %q, but %s is not in the list of the storage", end.ExitStatus, name)
	}
	a := listed[i]
	switch {
	case a.Guest != id:
		return Archive{}, fmt.Sprintf("%s is listed as one of guest %d", a.VolID.Value, a.Guest)
	case a.Size <= 0:
		return Archive{}, fmt.Sprintf("%s is empty", a.VolID.Value)
	case g != nil && g.Size != "" && g.Size != roundedSize(a.Size):
		return Archive{}, fmt.Sprintf("%s has %d bytes in the list, and the log says %s", a.VolID.Value, a.Size, g.Size)
	// Archives are dated by local time, whose hour comes twice in autumn.
	case a.Time.Before(end.UPID.Start.Add(-time.Hour)):
		return Archive{}, fmt.Sprintf("%s is of %s, older than the task", a.VolID.Value, a.Time.Format(time.RFC3339))
	case !ours(a) && (g == nil || !g.Unmarked):
		return Archive{}, fmt.Sprintf("%s has not the mark of this call in its notes: %q", a.VolID.Value, a.Notes)
	}
	return a, ""
}

// words are all that the log says against a guest: what the tools said, and
// what vzdump made of it.
func (g *guestLog) words() string {
	words := append(slices.Clone(g.Complaints), g.Failed)
	for _, e := range g.Errors {
		if !slices.Contains(words, e) {
			words = append(words, e)
		}
	}
	return strings.Join(words, "; ")
}

func endWords(end pve.TaskEnd) string {
	return "the task ended with \"" + end.ExitStatus + "\""
}

// find is what the log says of a guest, or nil.
func (l *taskLog) find(id builtin.VMID) *guestLog {
	for _, g := range l.Guests {
		if g.ID == id {
			return g
		}
	}
	return nil
}

// volidOf is the volume of an archive that the log names: by its path, or by
// its name on a backup server (vm/101/2026-11-23T12:06:59Z).
func volidOf(storage builtin.StorageID, target string) builtin.VolID {
	if strings.HasPrefix(target, "/") {
		target = path.Base(target)
	}
	return builtin.VolID(string(storage) + ":backup/" + target)
}

// fault is the failure of a task, with what was made all the same.
func (j *job) fault(end pve.TaskEnd, result BackupResult) *builtin.Fault {
	failed, made := len(result.Failed), len(result.Archives)
	var ids []builtin.VMID
	var said []string
	forbidden := failed > 0 && made == 0
	for _, g := range result.Failed {
		ids = append(ids, g.Guest)
		said = append(said, fmt.Sprintf("%d: %s", g.Guest, g.Said))
		forbidden = forbidden && (strings.Contains(g.Said, "403 Permission check failed") || strings.Contains(g.Said, "lacks VM.Backup"))
	}
	f := builtin.Faultf(builtin.Failed, "%s: ", j.what())
	f.Partial = result
	f.Said = strings.Join(said, "; ")
	f.Hint = fmt.Sprintf("the whole log: pvenode task log %s on %s", end.UPID, j.Node)
	switch {
	case failed == 0:
		f.What += "every archive is there, but the task failed"
		f.Said = end.ExitStatus
	case made == 0:
		f.What += "none was backed up"
	default:
		f.What += fmt.Sprintf("%d of %d failed: %s", failed, failed+made, idList(ids))
		f.Hint += "; the archives that were made are in the error's value"
	}
	if forbidden {
		f.Kind = builtin.Forbidden
		f.Hint = "the token needs VM.Backup on every guest of the task, and so does its user (pveum acl modify /vms/ID …): one that it lacks ends the task for all"
	}
	return f
}
