package proxmox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// WaitTaskArgs are the arguments of wait_task().
type WaitTaskArgs struct {
	UPID    UPID             `name:"upid" scope:"node" doc:"the task's id; the need's glob is for its node"`
	Timeout builtin.Duration `name:"timeout" default:"1h" doc:"how long to wait; the task itself goes on after that"`
}

func (c client) waitTask(ctx context.Context, args WaitTaskArgs) (TaskDetail, error) {
	if plan := builtin.CallFrom(ctx).Run.Planned; plan != nil {
		now, err := c.task(ctx, TaskArgs{UPID: args.UPID})
		if err == nil && now.Running {
			return TaskDetail{}, builtin.Stopf(builtin.PlanEnds, "the task %s runs still, and a plan waits for nothing", args.UPID)
		}
		if err != nil {
			return TaskDetail{}, err
		}
	}
	upid, err := pve.ParseUPID(string(args.UPID))
	if err != nil {
		return TaskDetail{}, builtin.Faultf(builtin.Invalid, "waiting for a task").Because(err)
	}
	end, err := c.follow(ctx, upid, time.Duration(args.Timeout))
	if err != nil {
		return TaskDetail{}, err
	}
	out := endedTask(end)
	if !end.OK {
		f := failedTask(end, "the task "+upid.String())
		f.Partial = out
		return TaskDetail{}, f
	}
	return out, nil
}

// follow waits for a task's end and shows each line of its log. limit 0 is none.
func (c client) follow(ctx context.Context, upid pve.UPID, limit time.Duration) (pve.TaskEnd, error) {
	until := time.Time{}
	if limit > 0 {
		until = c.pve.Now().Add(limit)
	}
	return c.pve.WaitUntil(ctx, upid, until, func(_ int, line string) { builtin.Report(ctx, builtin.Progress{Step: line}) })
}

// endedTask is a task that has ended, as playbooks see it.
func endedTask(end pve.TaskEnd) TaskDetail {
	return TaskDetail{Task: taskRow(pve.TaskInfo{UPID: end.UPID, ExitStatus: end.ExitStatus}), Warnings: end.Warnings, Log: append([]string{}, end.Log...)}
}

// lastLines is how much of a failed task's log its error shows.
const lastLines = 6

// failedTask is the Fault of a task that did not end well.
func failedTask(end pve.TaskEnd, what string) *builtin.Fault {
	kind := builtin.Failed
	if strings.HasPrefix(end.ExitStatus, "403 ") {
		kind = builtin.Forbidden
	}
	said := end.ExitStatus
	tail := end.Log[max(0, len(end.Log)-lastLines):]
	if len(tail) > 0 && strings.HasPrefix(tail[len(tail)-1], "TASK ") {
		tail = tail[:len(tail)-1] // the exit status once more
	}
	for _, line := range tail {
		said += "\n  " + line
	}
	return builtin.Faultf(kind, "%s", what).Saying(said).Hinting("its whole log: proxmox.task(%q).log", end.UPID)
}

// hold makes the task that an answer names durable, so that a later run finds
// it again.
func (c client) hold(ctx context.Context, answer string) (pve.UPID, error) {
	upid, err := pve.ParseUPID(answer)
	if err != nil {
		return upid, builtin.Faultf(builtin.Failed, "starting a task on %s", c.pve.Host()).Because(err)
	}
	if err := builtin.Hold(ctx, upid.String()); err != nil {
		return upid, fmt.Errorf("the task %s has begun and goes on, but could not be recorded: %w", upid, err)
	}
	return upid, nil
}

// settleTask settles a change by its task: what follow makes of its end. Where
// none is known, otherwise is the answer.
func settleTask[R any](ctx context.Context, c client, handle string, follow func(pve.UPID) (R, error), otherwise builtin.Settlement[R]) (builtin.Settlement[R], error) {
	upid, err := pve.ParseUPID(handle)
	if err != nil {
		return otherwise, nil //nolint:nilerr // no handle: no task is known
	}
	info, err := c.pve.Task(ctx, upid)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return builtin.Settlement[R]{State: builtin.Unknown, Why: fmt.Sprintf("the task %s had begun; %s has forgotten it", upid, upid.Node)}, nil
	}
	if err != nil {
		return builtin.Settlement[R]{}, err
	}
	if info.Running {
		return builtin.Settlement[R]{State: builtin.Running, Handle: handle}, nil
	}
	result, err := follow(upid)
	out := builtin.Settlement[R]{State: builtin.Done, Result: result, Handle: handle}
	if f, ok := errors.AsType[*builtin.Fault](err); ok && f.Partial != nil { // it failed, and that is known
		out.Fault = f
		return out, nil
	}
	return out, err
}

// StopTaskArgs are the arguments of stop_task().
type StopTaskArgs struct {
	UPID UPID `name:"upid" scope:"node" doc:"the task's id; the need's glob is for its node"`
}

func (a StopTaskArgs) keys() []string { return []string{"task:" + string(a.UPID)} }

// stopLimit is how long a task may take to end after it was told to.
const stopLimit = 5 * time.Minute

func (c client) previewStop(ctx context.Context, args StopTaskArgs) (StoppedTask, error) {
	now, err := c.task(ctx, TaskArgs(args))
	if err != nil {
		return StoppedTask{}, err
	}
	out := StoppedTask{UPID: args.UPID, Stopped: now.Running, Status: builtin.Now(now.Status)}
	if now.Running {
		out.Status = builtin.PlannedBy[string](builtin.CallFrom(ctx))
	}
	return out, nil
}

// StoppedTask is what stop_task() returns.
type StoppedTask struct {
	UPID    UPID                  `name:"upid" doc:"the task"`
	Stopped bool                  `name:"stopped" doc:"it ran, and was told to end; false if it had ended before"`
	Status  builtin.Later[string] `name:"status" doc:"how it ended; OK if it was quicker"`
}

func (c client) stopTask(ctx context.Context, args StopTaskArgs) (StoppedTask, error) {
	before, err := c.previewStop(ctx, args)
	if err != nil || !before.Stopped {
		return before, err
	}
	upid, err := pve.ParseUPID(string(args.UPID))
	if err != nil {
		return StoppedTask{}, builtin.Faultf(builtin.Invalid, "stopping a task").Because(err)
	}
	// After a lost answer the task's own state tells.
	if err := c.pve.Delete(ctx, pve.Path("/nodes/%s/tasks/%s", upid.Node, upid.String()), nil, nil); err != nil && !pve.InDoubt(err) {
		return StoppedTask{}, err
	}
	end, err := c.pve.WaitUntil(ctx, upid, c.pve.Now().Add(stopLimit), nil)
	if err != nil {
		return StoppedTask{}, err
	}
	return StoppedTask{UPID: args.UPID, Stopped: true, Status: builtin.Now(end.ExitStatus)}, nil
}

// settleStop: a task that runs can be told once more.
func (c client) settleStop(ctx context.Context, args StopTaskArgs, _ string) (builtin.Settlement[StoppedTask], error) {
	now, err := c.task(ctx, TaskArgs(args))
	if err != nil {
		return builtin.Settlement[StoppedTask]{}, err
	}
	if now.Running {
		return builtin.Settlement[StoppedTask]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[StoppedTask]{State: builtin.Done, Result: StoppedTask{UPID: args.UPID, Stopped: true, Status: builtin.Now(now.Status)}}, nil
}
