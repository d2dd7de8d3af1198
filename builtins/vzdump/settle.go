package vzdump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// clockMargin is how far the clocks of this machine and of a node may differ
// without a task being overlooked. The mark says which task is ours; the time
// only keeps the number of logs to read small.
const clockMargin = time.Hour

// foundTask is what a look for the task of a call found.
type foundTask struct {
	ours    bool // upid is the task
	waiting bool // upid waits for the node's lock and may be the task
	more    bool // there are older ones that were not looked at
	upid    pve.UPID
}

// tasksToRead bounds how many logs are read in search of a task.
var tasksToRead = 500

// findTask looks for the task of a call: its log begins with the command, and
// in that stands the mark. While it waits for the lock the log has no command
// yet; a task that ended like that has touched no guest. The newest task counts
// that is not one of those that are over.
func (v *vzdump) findTask(ctx context.Context, j *job, since time.Time) (foundTask, error) {
	filter := pve.TaskFilter{Type: "vzdump", Source: "all", Since: since.Add(-clockMargin), Limit: tasksToRead}
	tasks, err := v.c.Tasks(ctx, string(j.Node), filter)
	if err != nil {
		return foundTask{}, err
	}
	waiting := foundTask{more: len(tasks) == tasksToRead}
	for _, t := range tasks {
		if slices.Contains(j.over, t.UPID) {
			continue
		}
		// Without Sys.Audit a token may read its own tasks only, which ours is.
		lines, err := v.c.TaskLog(ctx, t.UPID)
		if f := builtin.AsFault(err); f != nil && f.Kind == builtin.Forbidden {
			continue
		}
		if err != nil {
			return foundTask{}, err
		}
		log := &taskLog{}
		for _, line := range lines {
			log.Line(line)
		}
		if isIn(log.Command, j.mark) {
			return foundTask{ours: true, upid: t.UPID}, nil
		}
		if log.Command == "" && t.Running {
			waiting.waiting, waiting.upid = true, t.UPID
		}
	}
	return waiting, nil
}

// isIn reports that a vzdump command has this very mark in its template.
func isIn(command string, m mark) bool {
	_, after, found := strings.Cut(command, m.String())
	// place=4 is not place=4.2.
	return found && (after == "" || strings.ContainsRune(` '\`, rune(after[0])))
}

func (v *vzdump) settleBackup(ctx context.Context, a BackupArgs, handle string) (builtin.Settlement[BackupResult], error) {
	j, err := identify(ctx, a)
	if err != nil && handle != "" {
		// The version that began it took what this one refuses.
		return unknown[BackupResult]("the task %s had begun; this version of nixmox cannot look after it: %v", handle, err), nil
	}
	if err != nil { // Do refuses these arguments before it does anything
		return builtin.Settlement[BackupResult]{State: builtin.Done, Fault: builtin.AsFault(err)}, nil
	}
	for text := range strings.FieldsSeq(handle) {
		upid, err := pve.ParseUPID(text)
		if err != nil {
			continue
		}
		settled, err := v.settleTask(ctx, j, upid)
		if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
			continue // the node has forgotten the task; its archives may still tell
		}
		if err != nil || settled.State != builtin.NotDone {
			return settled, err
		}
	}
	began, known := runBegan(builtin.CallFrom(ctx).Run.ID)
	if !known {
		began = builtin.CallFrom(ctx).Run.Now().Add(-7 * 24 * time.Hour)
	}
	for {
		found, err := v.findTask(ctx, j, began)
		switch {
		case err != nil:
			return builtin.Settlement[BackupResult]{}, err
		case found.ours:
			settled, err := v.settleTask(ctx, j, found.upid)
			if err != nil || settled.State != builtin.NotDone {
				return settled, err
			}
			continue // with a guest less
		case found.waiting:
			return unknown[BackupResult]("the task %s waits for another backup of %s and may be this one; resume when that has ended", found.upid, j.Node), nil
		case found.more:
			return unknown[BackupResult]("%s has begun more than %d backups since, and among the newest is none of this call", j.Node, tasksToRead), nil
		case len(j.over) > 0: // all that was begun is over, and made nothing
			return builtin.Settlement[BackupResult]{State: builtin.NotDone}, nil
		}
		return v.settleByArchives(ctx, j, handle, began, known)
	}
}

// settleTask: the task is there, so it is the answer; but for one that ended on
// account of a guest that the token may not back up. Nothing was done by that,
// and if there is another without the guest, that one is the answer.
func (v *vzdump) settleTask(ctx context.Context, j *job, upid pve.UPID) (builtin.Settlement[BackupResult], error) {
	info, err := v.c.Task(ctx, upid)
	if err != nil {
		return builtin.Settlement[BackupResult]{}, err
	}
	if info.Running {
		return builtin.Settlement[BackupResult]{State: builtin.Running, Handle: j.handle(upid)}, nil
	}
	result, err := v.follow(ctx, j, upid)
	s := builtin.Settlement[BackupResult]{State: builtin.Done, Result: result, Handle: j.handle(upid)}
	if j.refuse(upid, err) {
		return builtin.Settlement[BackupResult]{State: builtin.NotDone}, nil
	}
	if f, ok := errors.AsType[*builtin.Fault](err); ok && f.Partial != nil {
		s.Fault = f
		return s, nil
	}
	if err != nil { // it could not be looked at: then nothing is settled
		return builtin.Settlement[BackupResult]{}, err
	}
	return s, nil
}

// settleByArchives: no task is found. Archives with the mark prove that there
// was one; that there was none, only a list that reaches back far enough does.
func (v *vzdump) settleByArchives(ctx context.Context, j *job, handle string, began time.Time, known bool) (builtin.Settlement[BackupResult], error) {
	listed, err := v.listOn(ctx, j.Storage, j.Node, j.Guests...)
	if err != nil {
		return builtin.Settlement[BackupResult]{}, err
	}
	var result BackupResult
	for _, id := range j.Guests {
		for _, a := range listed {
			if a.Guest == id && a.mark.Run == j.mark.Run && a.mark.Place == j.mark.Place && a.Size > 0 {
				a.Consistency = builtin.Now(cmp.Or(a.mark.Consistency, consistencyUnknown))
				result.Archives = append(result.Archives, Made{Archive: a, Mode: builtin.Now(""), LeftOut: builtin.Now([]string{})})
				break
			}
		}
	}
	switch n := len(result.Archives); {
	case n == len(j.Guests): // vzdump writes the notes once the archive is whole
		result.Task, result.Status = builtin.Now(handle[strings.LastIndexByte(handle, ' ')+1:]), builtin.Now("")
		result.Warnings = builtin.Now([]string{"the log of the task is gone: how consistent the archives are, nobody can tell"})
		return builtin.Settlement[BackupResult]{State: builtin.Done, Result: result}, nil
	case n > 0:
		return unknown[BackupResult]("%d of %d guests have an archive of this call, but its task is not in the list of %s", n, len(j.Guests), j.Node), nil
	case handle != "":
		return unknown[BackupResult]("the task %s had begun; %s has forgotten it, and no archive of it is there", handle, j.Node), nil
	case !known:
		return unknown[BackupResult]("no task and no archive of this call is on %s; but when run %s began is not known, nor whether the list of tasks reaches back to it", j.Node, j.mark.Run), nil
	}
	// A task from before the run shows that none since has been forgotten.
	older, err := v.c.Tasks(ctx, string(j.Node), pve.TaskFilter{Source: "all", Until: began.Add(-clockMargin), Limit: 1})
	if err != nil {
		return builtin.Settlement[BackupResult]{}, err
	}
	if len(older) == 0 {
		return unknown[BackupResult]("no task and no archive of this call is on %s; but the list of tasks that this token sees begins after the run did", j.Node), nil
	}
	return builtin.Settlement[BackupResult]{State: builtin.NotDone}, nil
}

func unknown[R any](format string, args ...any) builtin.Settlement[R] {
	return builtin.Settlement[R]{State: builtin.Unknown, Why: fmt.Sprintf(format, args...)}
}

// runBegan is the time in a run's id, if that is a ULID: ten digits of
// Crockford's base 32 with milliseconds since 1970.
func runBegan(id string) (time.Time, bool) {
	if len(id) != 26 {
		return time.Time{}, false
	}
	var ms int64
	for _, c := range strings.ToUpper(id[:10]) {
		digit := strings.IndexRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c)
		if digit < 0 {
			return time.Time{}, false
		}
		ms = ms<<5 | int64(digit)
	}
	return time.UnixMilli(ms).UTC(), ms < 1<<48
}
