package pve

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"nixmox/engine/builtin"
)

// A TaskRequest is a change of one guest that Proxmox answers with a task.
type TaskRequest struct {
	What  string // what is done, for errors: "starting the guest 101"
	Node  string
	Guest builtin.VMID
	Types []string // of the task it begins: qmstart, and hastart where the HA manager has the guest
	After string   // the guest's newest task on the node before it was sent (NewestTask); "" if there was none
}

// NewestTask is the UPID of the newest task of a guest on a node that the
// token sees, "" if there is none. A task that is newer began afterwards,
// whatever the clocks say.
func (c *Client) NewestTask(ctx context.Context, node string, guest builtin.VMID) (string, error) {
	tasks, err := c.Tasks(ctx, node, TaskFilter{VMID: guest, Source: "all", Limit: 20})
	if err != nil || len(tasks) == 0 {
		return "", err
	}
	newest := tasks[0].UPID // running ones stand before newer ones that have ended
	for _, t := range tasks[1:] {
		if t.UPID.newerThan(newest) {
			newest = t.UPID
		}
	}
	return newest.String(), nil
}

// newerThan compares tasks of one node: by the second, then by the kernel's
// ticks, which start anew with each boot.
func (u UPID) newerThan(o UPID) bool {
	return u.Start.After(o.Start) || u.Start.Equal(o.Start) && u.PStart > o.PStart
}

// BeginTask sends the request, once, and returns the task that it began. If the
// answer is lost, the task is looked for: what was never begun is unreachable,
// and may be asked for again.
func (c *Client) BeginTask(ctx context.Context, r TaskRequest, send func(context.Context, *json.RawMessage) error) (UPID, error) {
	var raw json.RawMessage
	// Who is cancelled in this moment still learns which task it left.
	err := send(context.WithoutCancel(ctx), &raw)
	switch {
	case InDoubt(err):
		return c.lookAfterLost(ctx, r, err)
	case err != nil:
		return UPID{}, err
	}
	var upid UPID
	if err := json.Unmarshal(raw, &upid); err != nil {
		return UPID{}, builtin.Faultf(builtin.Failed, "%s: Proxmox started no task", r.What).
			Saying("it answered "+excerpt(raw)+" in place of a task").Hinting("is %s Proxmox VE's API?", c.Host())
	}
	return upid, nil
}

// lostPauses are the pauses before each look for a task whose request was
// lost: half a minute in all, which is what pveproxy gives its workers.
var lostPauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

func (c *Client) lookAfterLost(ctx context.Context, r TaskRequest, lost error) (UPID, error) {
	f := builtin.Faultf(builtin.Unreachable, "%s: the connection was lost while asking for it", r.What).Because(lost)
	for _, pause := range lostPauses {
		builtin.Report(ctx, builtin.Progress{Step: "the connection was lost while asking; looking whether it began"})
		if err := c.cfg.Sleep(ctx, pause); err != nil {
			return UPID{}, err
		}
		upid, state, err := c.FindTask(ctx, r)
		switch {
		case err != nil:
			f.Hint = "the task list of " + r.Node + " could not be read either (" + err.Error() + "): look at it before doing this again"
		case state == TaskFound:
			return upid, nil
		case state == TaskNone:
			f.Hint = "no task of it is in the list of " + r.Node + "; look there once more before doing it again"
		}
	}
	return UPID{}, f
}

// TaskSearch is what a look for a task came to.
type TaskSearch int

// The answers of FindTask.
const (
	TaskUnknown TaskSearch = iota // the list does not reach back far enough
	TaskFound
	TaskNone // it never began
)

// searchLimit is how many tasks of one guest are looked at.
const searchLimit = 500

// FindTask looks for the task that a request began, if it did: one of its
// types and of this token or user, newer than the task it names. nixmox keeps others of
// its own from the guest meanwhile, so there is one such task at most.
func (c *Client) FindTask(ctx context.Context, r TaskRequest) (UPID, TaskSearch, error) {
	filter := TaskFilter{VMID: r.Guest, Source: "all", Limit: searchLimit}
	var after UPID
	if r.After != "" {
		var err error
		if after, err = ParseUPID(r.After); err != nil {
			return UPID{}, TaskUnknown, builtin.Faultf(builtin.Invalid, "%s: looking for its task", r.What).Because(err)
		}
		filter.Since = after.Start
	}
	tasks, err := c.Tasks(ctx, r.Node, filter)
	if err != nil {
		return UPID{}, TaskUnknown, err
	}
	me := cmp.Or(c.cfg.TokenID, c.cfg.User)
	reachesBack := r.After == "" && len(tasks) < searchLimit
	for _, t := range tasks {
		reachesBack = reachesBack || t.UPID == after
		if slices.Contains(r.Types, t.UPID.Type) && t.UPID.User == me && t.UPID.newerThan(after) {
			return t.UPID, TaskFound, nil
		}
	}
	if !reachesBack {
		return UPID{}, TaskUnknown, nil
	}
	return UPID{}, TaskNone, nil
}

// WaitAtMost is Wait with a limit on the client's clock; 0 is none. Past it
// the error is a timeout, and the task goes on.
func (c *Client) WaitAtMost(ctx context.Context, upid UPID, limit time.Duration, follow func(lineNumber int, line string)) (TaskEnd, error) {
	if limit <= 0 {
		return c.Wait(ctx, upid, follow)
	}
	w := waiter{c: c, upid: upid, log: taskLog{c: c, upid: upid, follow: follow}}
	for began, pause := c.cfg.Now(), c.cfg.Poll; ; pause = min(pause*3/2, max(slowestPoll, c.cfg.Poll)) {
		err := w.look(ctx)
		if err == nil && w.ended {
			return w.end(), nil
		}
		if err = w.bear(ctx, err); err != nil {
			return w.end(), err
		}
		if c.cfg.Now().Sub(began) > limit {
			return w.end(), w.leave(context.DeadlineExceeded)
		}
		if err := c.cfg.Sleep(ctx, pause); err != nil {
			return w.end(), w.leave(err)
		}
	}
}
