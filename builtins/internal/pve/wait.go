package pve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"nixmox/engine/builtin"
)

// TaskEnd is how a task ended.
type TaskEnd struct {
	UPID       UPID
	ExitStatus string // OK, WARNINGS: n, or why it failed, in Proxmox's words
	Warnings   int
	OK         bool // ended well; with warnings, too
	Log        []string
}

// LostLimit is how long Wait goes on asking after a task of which it hears
// nothing but errors. A node's reboot takes less.
const LostLimit = 5 * time.Minute

// lostLooks are the fewest looks without an answer that Wait gives up after: a
// clock may jump (the lab's does, whenever a task goes on), and such a jump is
// no time in which nobody answered.
const lostLooks = 20

// slowestPoll bounds the pauses between two looks at a task.
const slowestPoll = 2 * time.Second

// Wait looks at a task until it has ended, and reads its log. An ended task is
// no error, however it ended: look at OK. follow, if not nil, gets each line of
// the log once, in order, on the calling goroutine; line numbers start at 1.
//
// A lost connection is no end: the same task is asked after again, until
// nothing but errors came for LostLimit. Where the context ends first, the task
// goes on in Proxmox. When only the log could not be read at the end, the
// TaskEnd is valid beside the error.
func (c *Client) Wait(ctx context.Context, upid UPID, follow func(lineNumber int, line string)) (TaskEnd, error) {
	return c.WaitUntil(ctx, upid, time.Time{}, follow)
}

// WaitUntil is Wait with an end on the client's clock; zero for none.
func (c *Client) WaitUntil(ctx context.Context, upid UPID, until time.Time, follow func(lineNumber int, line string)) (TaskEnd, error) {
	w := waiter{c: c, upid: upid, log: taskLog{c: c, upid: upid, follow: follow}}
	for pause := c.cfg.Poll; ; pause = min(pause*3/2, max(slowestPoll, c.cfg.Poll)) {
		err := w.look(ctx)
		if err == nil && w.ended {
			return w.end(), nil
		}
		if err = w.bear(ctx, err); err != nil {
			return w.end(), err
		}
		if !until.IsZero() && c.cfg.Now().After(until) {
			return w.end(), w.leave(context.DeadlineExceeded)
		}
		if err := c.cfg.Sleep(ctx, pause); err != nil {
			return w.end(), w.leave(err)
		}
	}
}

type waiter struct {
	c     *Client
	upid  UPID
	info  TaskInfo
	ended bool // the task, and its log has been read to its end
	log   taskLog
	heard bool      // Proxmox has answered about this task
	lost  time.Time // since when there were only errors
	looks int       // how many of them there were
}

// look asks once. The log is read after the status, so that once the task has
// stopped the log has all it will ever have.
func (w *waiter) look(ctx context.Context) error {
	stopped := w.heard && !w.info.Running
	if !stopped {
		var raw rawTask
		err := w.c.once(ctx, http.MethodGet, taskPath(w.upid, "status"), nil, nil, &raw)
		if err != nil {
			return err
		}
		if w.info, err = w.c.taskStatus(w.upid, raw); err != nil {
			return err
		}
		w.heard, stopped = true, !w.info.Running
	}
	if !stopped && w.log.follow == nil {
		return nil
	}
	if err := w.log.read(ctx, stopped); err != nil {
		return err
	}
	w.ended = stopped
	return nil
}

// bear decides whether an error is one that may pass.
func (w *waiter) bear(ctx context.Context, err error) error {
	if err == nil {
		w.looks = 0
		return nil
	}
	if ctx.Err() != nil {
		return w.leave(ctx.Err())
	}
	if !w.mayPass(err) {
		return w.about(err)
	}
	now := w.c.cfg.Now()
	if w.looks == 0 {
		w.lost = now
	}
	w.looks++
	if now.Sub(w.lost) < LostLimit || w.looks < lostLooks {
		builtin.Report(ctx, builtin.Progress{Step: "no answer from " + w.c.base.Host + ", asking on: " + err.Error()})
		return nil
	}
	return w.about(err)
}

// about adds to an error what is known of the task.
func (w *waiter) about(err error) error {
	f := *builtin.AsFault(err)
	f.Cause = err
	f.What = fmt.Sprintf("following the task %s: %s", w.upid, f.What)
	switch {
	case w.heard && !w.info.Running:
		f.Hint = fmt.Sprintf("the task ended with %q; only its log is missing", w.info.ExitStatus)
	case f.Kind == builtin.Unreachable:
		f.Hint = fmt.Sprintf("nothing but errors for %v; the task may still go on, or have ended: `pvenode task status %s` on %s", LostLimit, w.upid, w.upid.Node)
	case f.Hint == "":
		f.Hint = fmt.Sprintf("the task may still go on: `pvenode task status %s` on %s", w.upid, w.upid.Node)
	}
	return &f
}

// mayPass: no answer, and what a node says while its daemons restart. That
// includes 401, since tokens live in the cluster file system; but not before
// the token has been good for this task once.
func (w *waiter) mayPass(err error) bool {
	if untrusted(err) {
		return false
	}
	if e, ok := errors.AsType[*APIError](err); ok {
		return e.Status >= 500 && e.Status != http.StatusNotImplemented || e.Status == http.StatusUnauthorized && w.heard
	}
	f := builtin.AsFault(err)
	return f != nil && f.Kind == builtin.Unreachable
}

// leave is the end of the waiting, not of the task.
func (w *waiter) leave(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return builtin.Faultf(builtin.Timeout, "waiting for the task %s", w.upid).Because(err).
			Hinting("the task itself goes on: `pvenode task status %s` on %s", w.upid, w.upid.Node)
	}
	return fmt.Errorf("waiting for the task %s, which itself goes on: %w", w.upid, err)
}

func (w *waiter) end() TaskEnd {
	end := TaskEnd{UPID: w.upid, ExitStatus: w.info.ExitStatus, Log: w.log.lines}
	end.OK, end.Warnings = Succeeded(w.info.ExitStatus)
	return end
}
