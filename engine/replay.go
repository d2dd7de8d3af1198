package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/journal"
)

// replay answers calls of a resumed run from its record. The first change
// that has an intent and no outcome is settled before it is done again.
func (r *run) replay(next builtin.Performer) builtin.Performer {
	if !r.resumed {
		return next
	}
	return func(ctx context.Context, call builtin.Call) (any, error) {
		j, err := r.journal()
		if err != nil {
			return nil, unwritten(&call, err)
		}
		entry, ok := j.Entry(call.Place)
		if !ok {
			if r.cancelling {
				return nil, cancelledHere(&call)
			}
			return next(ctx, call)
		}
		now, err := entryOf(&call, r.engine.Clock.Now())
		if err != nil {
			return nil, err
		}
		if entry.Digest != now.Digest {
			return nil, diverged(&call, entry, now)
		}
		if !entry.Ended.IsZero() {
			result, err := outcomeOf(&call, entry)
			if _, isStop := errors.AsType[*builtin.Stop](err); !isStop && call.Func.Effect.Alters() {
				r.replayedEvent(&call, entry)
				if err == nil {
					r.count(&call)
				}
			}
			return result, err
		}
		return r.goOn(ctx, next, j, call, entry)
	}
}

// goOn takes up a call that was begun and whose end is not recorded.
func (r *run) goOn(ctx context.Context, next builtin.Performer, j *journal.Run, call builtin.Call, entry journal.Entry) (any, error) {
	call.Handle = entry.Handle
	if !call.Func.Effect.Alters() { // a long read, such as a sleep
		if r.cancelling {
			return nil, cancelledHere(&call)
		}
		return next(ctx, call)
	}
	if entry.Decision != nil {
		decision, err := call.Func.Decision.Decode(entry.Decision)
		if err != nil {
			return nil, unreadable(&call, err)
		}
		call.Decision = decision
	}
	settled, err := r.settle(ctx, &call, entry.Handle)
	if err != nil {
		return nil, err
	}
	switch settled.State {
	case builtin.NotDone:
		if r.cancelling {
			return nil, cancelledHere(&call)
		}
		return next(ctx, call)
	case builtin.Done:
		var outcome error
		if settled.Fault != nil {
			outcome = settled.Fault
		}
		entry.Settled = settled.Why
		if entry.Settled == "" {
			entry.Settled = "found done"
		}
		if err := r.recordEnd(j, entry, &call, settled.Result, outcome); err != nil {
			return nil, err
		}
		r.replayedEvent(&call, entry)
		if outcome == nil {
			r.count(&call)
		}
		return settled.Result, outcome
	}
	stop := builtin.Stopf(builtin.InDoubt, "%s at %s was begun, and what became of it is not known: %s", call.Func.QualifiedName(), call.Place, settled.Why)
	stop.At = call.At
	stop.Hint = fmt.Sprintf("look for yourself, then: nixmox resume %s --settle %s=done (or =undone)", r.builtin.ID, call.Place)
	return nil, stop
}

// settlePause is the pause between two looks at a task that still runs.
const settlePause = 2 * time.Second

// settle asks the function what became of the change, as long as the answer
// is that it still goes on. The operator's answer goes before "nobody knows".
func (r *run) settle(ctx context.Context, call *builtin.Call, handle string) (builtin.Settlement[any], error) {
	release, err := r.acquire(ctx, *call, call.Func.Keys(call.Args))
	if err != nil {
		return builtin.Settlement[any]{}, err
	}
	defer release()
	for {
		s, err := call.Func.Settle(ctx, call, handle)
		switch {
		case err != nil && ctx.Err() != nil:
			return s, ctx.Err()
		case err != nil:
			s = builtin.Settlement[any]{State: builtin.Unknown, Why: "it could not be looked at: " + err.Error()}
		case s.State == builtin.Running:
			if s.Handle != "" {
				handle = s.Handle
			}
			builtin.Report(builtin.WithCall(ctx, call), builtin.Progress{Step: "it still runs: " + handle})
			if err := r.engine.Clock.Sleep(ctx, settlePause); err != nil {
				return s, err
			}
			continue
		}
		if answer, ok := r.settled[call.Place]; ok && s.State == builtin.Unknown {
			s.Why = "the operator said " + answer
			s.State = builtin.NotDone
			if answer == "done" {
				s.State = builtin.Done
			}
		}
		return s, nil
	}
}

func outcomeOf(call *builtin.Call, e journal.Entry) (any, error) {
	if e.Fault != nil {
		f, err := call.Func.DecodeFault(e.Fault)
		if err != nil {
			return nil, unreadable(call, err)
		}
		return nil, f
	}
	result, err := call.Func.Result.Decode(e.Result)
	if err != nil {
		return nil, unreadable(call, err)
	}
	return result, nil
}

func diverged(call *builtin.Call, was, is journal.Entry) *builtin.Stop {
	stop := builtin.Stopf(builtin.Diverged, "at %s the record has another call than the playbook makes now\n  recorded: %s%s (%s)\n  now:      %s%s (%s)",
		call.Place, was.Call, was.Args, was.At, is.Call, is.Args, is.At)
	stop.At = call.At
	stop.Hint = "resume without --use-current goes on with the playbook as it was; nixmox cancel ends the run"
	return stop
}

func cancelledHere(call *builtin.Call) *builtin.Stop {
	stop := builtin.Stopf(builtin.Cancelled, "cancelled before %s", call.Func.QualifiedName())
	stop.At = call.At
	return stop
}

func unreadable(call *builtin.Call, err error) *builtin.Stop {
	stop := builtin.Stopf(builtin.InDoubt, "the record of %s at %s cannot be read: %v", call.Func.QualifiedName(), call.Place, err)
	stop.Hint = "was the run made by a newer nixmox? Its record is left as it is"
	stop.At = call.At
	return stop
}
