package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const vzdumpLock = "/var/run/vzdump.lock"

// beginJob is the start of the worker: the storage, then the node's lock.
func (l *Lab) beginJob(t *task, at time.Time) {
	j := t.Job
	if j.Fatal = l.checkTarget(j); j.Fatal != "" {
		t.Due = at.Add(time.Second)
		return
	}
	busy := slices.ContainsFunc(l.st.Tasks, func(o *task) bool {
		return o.Node == t.Node && o.running() && o.Job != nil && o.Job.HoldsLock
	})
	switch {
	case !busy:
		l.startJob(t, at)
	case j.LockWait == 0:
		t.say("ERROR: can't acquire lock '%s' (wait = 0)", vzdumpLock)
		j.Fatal, t.Due = unexpectedStatus, at.Add(time.Second)
	default:
		t.say("INFO: trying to get global lock - waiting...")
		j.Queued, t.Due = true, at.Add(j.LockWait)
	}
}

// checkTarget says what is wrong with the job's storage; the words are those
// of PVE::VZDump's new and storage_info.
func (l *Lab) checkTarget(j *vzdumpJob) string {
	s := l.st.storage(j.Storage)
	cannot := fmt.Sprintf("could not get storage information for '%s': ", j.Storage)
	switch {
	case s == nil:
		missing := fmt.Sprintf("storage '%s' does not exist", j.Storage)
		return fmt.Sprintf("could not activate storage '%s': %s %s%s", j.Storage, missing, cannot, missing)
	case !s.keepsFiles() || !s.holds("backup"):
		return cannot + fmt.Sprintf("can't use storage '%s' for backups - wrong content type", j.Storage)
	case l.offline(s):
		return fmt.Sprintf("could not activate storage '%s': %s", j.Storage, s.offlineError())
	}
	if j.Keep == "" {
		j.Keep = s.Prune
	}
	if keep, _ := parsePrune(j.Keep); len(keep) == 0 {
		j.Remove = false // keep-all, PVE::VZDump's new
	}
	return ""
}

// startJob has the lock.
func (l *Lab) startJob(t *task, at time.Time) {
	j := t.Job
	j.HoldsLock, j.Queued = true, false
	t.say("INFO: starting new backup job: %s", j.Command)
	if len(j.Skipped) > 0 {
		ids := make([]string, len(j.Skipped))
		for i, id := range j.Skipped {
			ids[i] = strconv.Itoa(id)
		}
		t.say("INFO: skip external VMs: %s", strings.Join(ids, ", "))
	}
	// One guest without the privilege ends the job before the first backup,
	// unless the job is about all guests: then it is left out silently.
	for _, id := range slices.Clone(j.VMIDs) {
		path := fmt.Sprintf("/vms/%d", id)
		if l.st.guest(id) == nil || l.may(t.User, path, "VM.Backup") {
			continue
		}
		if !j.All {
			j.Fatal, t.Due = forbidden(path, "VM.Backup").Error(), at.Add(time.Second)
			return
		}
		j.VMIDs = slices.DeleteFunc(j.VMIDs, func(x int) bool { return x == id })
	}
	l.nextGuest(t, at)
}

// nextGuest begins the next backup, or ends the job.
func (l *Lab) nextGuest(t *task, at time.Time) {
	j := t.Job
	for len(j.VMIDs) > 0 {
		id := j.VMIDs[0]
		j.VMIDs = j.VMIDs[1:]
		if l.beginDump(t, id, at) {
			return
		}
	}
	switch {
	case j.Failed > 0:
		t.say("INFO: Backup job finished with errors")
		l.endJob(t, "job errors", at) // of one guest or of many, as recorded
	case j.Warnings > 0:
		t.say("INFO: Backup job finished successfully")
		l.endJob(t, fmt.Sprintf("WARNINGS: %d", j.Warnings), at)
	default:
		t.say("INFO: Backup job finished successfully")
		l.endJob(t, "OK", at)
	}
}

// endJob ends the task and gives the node's lock to the next in line.
func (l *Lab) endJob(t *task, status string, at time.Time) {
	t.end(status, at)
	had := t.Job.HoldsLock
	t.Job.HoldsLock, t.Job.Queued, t.Job.Dump = false, false, nil
	if !had {
		return
	}
	for _, o := range l.st.Tasks {
		if o.Node == t.Node && o.running() && o.Job != nil && o.Job.Queued && !o.Aborted {
			o.say("INFO: got global lock")
			l.startJob(o, at)
			return
		}
	}
}

// runVzdump lets the next event of a job happen.
func (l *Lab) runVzdump(t *task, at time.Time) {
	j := t.Job
	switch {
	case j.Fatal != "":
		l.endJob(t, j.Fatal, at)
	case j.Queued:
		why := "got timeout"
		if t.Aborted {
			why = "interrupted by signal"
		}
		t.say("ERROR: can't acquire lock '%s' - %s", vzdumpLock, why)
		l.endJob(t, unexpectedStatus, at)
	case t.Aborted:
		if j.Dump != nil {
			t.say("ERROR: interrupted by signal")
			l.failDump(t, "interrupted by signal", at)
		}
		t.say("ERROR: Backup job failed - interrupted by signal")
		l.endJob(t, "interrupted by signal", at)
	case j.Dump != nil:
		l.continueDump(t, at)
	default:
		l.nextGuest(t, at)
	}
}
