package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// A guestChange is a change of a guest that Proxmox makes in a task.
type guestChange struct {
	what  string // "starting the guest 101"
	guest foundGuest
	types []string // of the task, see pve.TaskRequest
	send  func(ctx context.Context, out *json.RawMessage) error
	wait  time.Duration // for Proxmox's lock on the guest
	limit time.Duration // for the task; 0: none
	free  string        // a lock under which it works all the same
	note  string        // what Settle must know beside the task: the new id of a clone
}

// handle is what is kept of a change. It is made durable before the request is
// sent, so that without a handle nothing was sent: node and newest task tell
// where to look for the one that may have begun.
type handle struct{ node, after, task, note string }

func (h handle) String() string {
	text := "node=" + h.node + " after=" + h.after
	if h.task != "" {
		text += " task=" + h.task
	}
	if h.note != "" {
		text += " note=" + h.note
	}
	return text
}

func parseHandle(text string) handle {
	var h handle
	for part := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "node":
			h.node = value
		case "after":
			h.after = value
		case "task":
			h.task = value
		case "note":
			h.note = value
		}
	}
	return h
}

// make waits until Proxmox has no lock on the guest, makes the change, and
// follows its task to the end. A task that found the guest locked has done
// nothing, and is begun again once the lock is gone.
func (c client) make(ctx context.Context, g guestChange) (pve.TaskEnd, error) {
	deadline := builtin.CallFrom(ctx).Run.Now().Add(g.wait)
	for {
		if err := c.unlocked(ctx, g, deadline); err != nil {
			return pve.TaskEnd{}, err
		}
		end, err := c.makeOnce(ctx, g)
		if !isLocked(err) || !builtin.CallFrom(ctx).Run.Now().Before(deadline) {
			return end, err
		}
		builtin.Report(ctx, builtin.Progress{Step: "waiting: " + builtin.AsFault(err).Said})
		if err := builtin.Sleep(ctx, 2*time.Second); err != nil {
			return pve.TaskEnd{}, err
		}
	}
}

func (c client) makeOnce(ctx context.Context, g guestChange) (pve.TaskEnd, error) {
	after, err := c.pve.NewestTask(ctx, g.guest.home, g.guest.VMID)
	if err != nil {
		return pve.TaskEnd{}, err
	}
	h := handle{node: g.guest.home, after: after, note: g.note}
	if err := builtin.Hold(ctx, h.String()); err != nil {
		return pve.TaskEnd{}, err
	}
	upid, err := c.pve.BeginTask(ctx, g.request(after), g.send)
	if err != nil {
		return pve.TaskEnd{}, about(g.what, err)
	}
	h.task = upid.String()
	if err := builtin.Hold(ctx, h.String()); err != nil {
		return pve.TaskEnd{}, fmt.Errorf("%s: the task %s has begun and goes on, but could not be recorded: %w", g.what, upid, err)
	}
	end, err := c.pve.WaitAtMost(ctx, upid, g.limit, func(_ int, line string) {
		builtin.Report(ctx, builtin.Progress{Step: line})
	})
	if err != nil && end.ExitStatus == "" || errors.Is(err, context.Canceled) {
		return end, err
	}
	if !end.OK { // its status was seen; a log that could not be read is no loss here
		return end, c.leftLocked(ctx, g, taskFault(g.what, end))
	}
	return end, nil
}

// leftLocked says of a failed task that the guest is locked ever since:
// Proxmox leaves it so where a snapshot is half removed or rolled back to, and
// a guest half destroyed.
func (c client) leftLocked(ctx context.Context, g guestChange, f *builtin.Fault) *builtin.Fault {
	var raw struct{ Lock pve.Text }
	if f.Kind == builtin.Busy || c.pve.Get(ctx, g.guest.path("/status/current"), nil, &raw) != nil {
		return f // what is known is said
	}
	if lock := string(raw.Lock); slices.Contains([]string{"snapshot-delete", "rollback", "destroyed", "snapshot"}, lock) {
		f.Hint += fmt.Sprintf("; Proxmox left the guest locked (%s) and half done: mend what failed, then: %s", lock, g.guest.unlockCommand())
	}
	return f
}

// unlockCommand is what a person may do, and nixmox never does.
func (g foundGuest) unlockCommand() string {
	tool := "pct"
	if g.isVM() {
		tool = "qm"
	}
	return fmt.Sprintf("%s unlock %d on %s", tool, g.VMID, g.home)
}

func (g guestChange) request(after string) pve.TaskRequest {
	return pve.TaskRequest{What: g.what, Node: g.guest.home, Guest: g.guest.VMID, Types: g.types, After: after}
}

// about says of a failed request what it was for.
func about(what string, err error) error {
	cause := builtin.AsFault(err)
	if cause == nil {
		return err
	}
	f := *cause
	f.Cause = err
	if !strings.HasPrefix(f.What, what) {
		f.What = what + ": " + f.What
	}
	return &f
}

// isLocked knows a failure on account of a lock, of a request or of its task:
// "VM is locked (backup)", "can't lock file '…' - got timeout".
func isLocked(err error) bool {
	f := builtin.AsFault(err)
	return f != nil && f.Kind == builtin.Busy
}

// taskWords are what the ends of tasks mean, in the order in which they count.
var taskWords = []struct {
	text string
	kind builtin.Kind
	hint string
}{
	{"is locked (", builtin.Busy, "something else works on it: proxmox.tasks(guest = …) shows what"},
	{"can't lock file", builtin.Busy, "something else works on it: proxmox.tasks(guest = …) shows what"},
	{"Permission check failed", builtin.Forbidden, "grant the token what is missing: pveum acl modify"},
	{"checksum mismatch", builtin.Conflict, "somebody changed its configuration meanwhile: read it again"},
	{"already used", builtin.Conflict, "proxmox.snapshots(…) lists the names that are taken"},
	{"already exists", builtin.Conflict, "choose another id"},
	{"is not most recent snapshot", builtin.Conflict, ""},
	{"does not exist", builtin.NotFound, "was it removed meanwhile?"},
	{"got timeout", builtin.Timeout, "give it longer, or stop it: proxmox.stop"},
}

// taskFault is the failure of a task, in Proxmox's own words.
func taskFault(what string, end pve.TaskEnd) *builtin.Fault {
	said := end.ExitStatus
	if last := slices.IndexFunc(end.Log, func(line string) bool {
		return strings.Contains(line, "ERROR: ") && !strings.Contains(line, "TASK ERROR")
	}); last >= 0 {
		_, detail, _ := strings.Cut(end.Log[last], "ERROR: ")
		said += ": " + detail // a migration's status says no more than that it was aborted
	}
	f := builtin.Faultf(builtin.Failed, "%s", what).Saying(said)
	for _, w := range taskWords {
		if strings.Contains(said, w.text) {
			f.Kind, f.Hint = w.kind, w.hint
			break
		}
	}
	if f.Hint == "" {
		f.Hint = fmt.Sprintf("the whole log: pvenode task log %s on %s", end.UPID, end.UPID.Node)
	}
	return f
}

// unlocked waits until Proxmox has no lock on the guest. It is never broken:
// whoever has it may be in the middle of something.
func (c client) unlocked(ctx context.Context, g guestChange, deadline time.Time) error {
	var lock, owner string
	run := builtin.CallFrom(ctx).Run
	err := until(ctx, deadline.Sub(run.Now()), func() (bool, error) {
		var raw struct{ Lock pve.Text }
		if err := c.pve.Get(ctx, g.guest.path("/status/current"), nil, &raw); err != nil {
			return false, err
		}
		if lock = string(raw.Lock); lock == "" || lock == g.free {
			return true, nil
		}
		owner = c.lockOwner(ctx, g.guest)
		builtin.Report(ctx, builtin.Progress{Step: "waiting: the " + g.guest.noun() + " is locked (" + lock + ")" + owner})
		return false, nil
	})
	if errors.Is(err, errTooLong) {
		return builtin.Faultf(builtin.Busy, "%s: waited %s for Proxmox's lock", g.what, g.wait).
			Saying(fmt.Sprintf("the %s is locked (%s)%s", g.guest.noun(), lock, owner)).
			Hinting("wait longer: wait = …; or, if nothing works on it any more, and only then: %s", g.guest.unlockCommand())
	}
	return err
}

// lockOwner names the tasks that run on the guest, as far as the cluster's
// list tells: a backup of several guests has none of them in its name.
func (c client) lockOwner(ctx context.Context, g foundGuest) string {
	tasks, err := c.pve.Tasks(ctx, "", pve.TaskFilter{})
	if err != nil {
		return "" // it is only for people
	}
	for _, t := range tasks {
		if t.Running && (t.UPID.ID == g.VMID.String() || t.UPID.ID == "" && t.UPID.Type == "vzdump" && t.UPID.Node == g.Node) {
			return " by the task " + t.UPID.String()
		}
	}
	return ""
}

// settleChange finds out what became of a change: without a handle nothing was
// sent; else the task tells, and then result looks at the world.
func settleChange[R any](ctx context.Context, c client, r pve.TaskRequest, text string,
	result func(end pve.TaskEnd, h handle) (R, error)) (builtin.Settlement[R], error) {
	var none builtin.Settlement[R]
	if text == "" {
		none.State = builtin.NotDone
		return none, nil
	}
	h := parseHandle(text)
	r.Node, r.After = h.node, h.after
	upid, err := pve.ParseUPID(h.task)
	if err != nil {
		var found pve.TaskSearch
		if upid, found, err = c.pve.FindTask(ctx, r); err != nil {
			return none, err
		}
		switch found {
		case pve.TaskNone:
			none.State = builtin.NotDone
			return none, nil
		case pve.TaskUnknown:
			none.Why = fmt.Sprintf("%s may have begun; the task list of %s that this token sees does not reach back far enough to tell", r.What, h.node)
			return none, nil
		}
		h.task = upid.String()
	}
	info, err := c.pve.Task(ctx, upid)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		none.Why = fmt.Sprintf("%s: the task %s had begun, and %s has forgotten it", r.What, upid, upid.Node)
		return none, nil
	}
	if err != nil {
		return none, err
	}
	if info.Running {
		none.State, none.Handle = builtin.Running, h.String()
		return none, nil
	}
	log, err := c.pve.TaskLog(ctx, upid)
	if err != nil {
		return none, err
	}
	end := pve.TaskEnd{UPID: upid, ExitStatus: info.ExitStatus, Log: log}
	end.OK, end.Warnings = pve.Succeeded(info.ExitStatus)
	if !end.OK {
		fault := taskFault(r.What, end)
		if fault.Kind == builtin.Busy { // it found the guest locked and did nothing
			none.State = builtin.NotDone
			return none, nil
		}
		return builtin.Settlement[R]{State: builtin.Done, Fault: fault, Handle: h.String()}, nil
	}
	out, err := result(end, h)
	s := builtin.Settlement[R]{State: builtin.Done, Result: out, Handle: h.String()}
	if f := builtin.AsFault(err); f != nil && f.Kind != builtin.Unreachable {
		s.Fault, err = f, nil
	}
	return s, err
}

// warnings are the lines of a task's log that complain though it ended well.
func warnings(end pve.TaskEnd) []string {
	out := []string{}
	for _, line := range end.Log {
		if strings.HasPrefix(line, "WARN") || strings.Contains(line, " problems - ") {
			out = append(out, line)
		}
	}
	return out
}

func guestKey(id builtin.VMID) []string { return []string{"guest:" + id.String()} }

// taskPart is the part of a result that tells of the task.
type taskPart struct {
	Task     builtin.Later[string]   `name:"task" volatile:"" doc:"the UPID of Proxmox's task; empty if nothing had to be done"`
	Warnings builtin.Later[[]string] `name:"warnings" volatile:"" doc:"what its log complains about though it ended well"`
}

func taskOf(end pve.TaskEnd) taskPart {
	upid := end.UPID.String()
	return taskPart{builtin.Now(upid), builtin.Now(warnings(end))}
}

func plannedTask(ctx context.Context) taskPart {
	call := builtin.CallFrom(ctx)
	return taskPart{builtin.PlannedBy[string](call), builtin.PlannedBy[[]string](call)}
}
