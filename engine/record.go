package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/journal"
)

// record is the journal's layer. A change commits its intent before it acts
// and its outcome after; a read is kept and written with the next commit.
// What the journal cannot write is not done: the run is suspended.
func (r *run) record(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		entry, err := entryOf(&call, r.engine.Clock.Now())
		if err != nil {
			return nil, err
		}
		j, err := r.journal()
		if err != nil {
			return nil, unwritten(&call, err)
		}
		if call.Func.Effect.Alters() {
			r.probe("called", &call)
			if err := j.Begun(entry); err != nil {
				return nil, unwritten(&call, err)
			}
			r.probe("begun", &call)
		}
		result, err := next(ctx, call)
		r.probe("acted", &call)
		if !isOutcome(ctx, err) {
			return result, err
		}
		if err := r.recordEnd(j, entry, &call, result, err); err != nil {
			return nil, err
		}
		return result, err
	}
}

// isOutcome reports whether the world answered. A stop condition is none, and
// neither is an error after the run's context ended: the function may have
// given up on something that goes on. Success always is one.
func isOutcome(ctx context.Context, err error) bool {
	if err == nil {
		return true
	}
	_, isStop := errors.AsType[*builtin.Stop](err)
	return !isStop && ctx.Err() == nil
}

// recordEnd makes the outcome of a call durable.
func (r *run) recordEnd(j *journal.Run, entry journal.Entry, call *builtin.Call, result any, outcome error) error {
	var err error
	if outcome != nil {
		entry.Fault, err = call.Func.EncodeFault(builtin.AsFault(outcome))
	} else {
		entry.Result, err = builtin.Typed{Type: call.Func.Result, Value: result}.MarshalJSON()
	}
	if err != nil {
		return builtin.Faultf(builtin.Failed, "the journal's form of the result of %s", call.Func.QualifiedName()).Because(err)
	}
	entry.Ended = r.engine.Clock.Now()
	// A long read has an intent, too, once it has a handle.
	if _, begun := j.Entry(call.Place); !begun && !call.Func.Effect.Alters() {
		err = j.Read(entry)
	} else {
		err = j.Ended(entry)
		r.probe("ended", call)
	}
	if err != nil {
		return unwritten(call, err)
	}
	return nil
}

func unwritten(call *builtin.Call, err error) *builtin.Stop {
	stop := builtin.Stopf(builtin.Unwritten, "the journal cannot record %s: %v", call.Func.QualifiedName(), err)
	stop.Hint = "nothing more was done; put the state folder right, then resume the run"
	stop.At = call.At
	return stop
}

// hold makes the handle of a long task durable as soon as it is known.
func (r *run) hold(call builtin.Call, handle string) error {
	if r.journal == nil {
		return nil
	}
	j, err := r.journal()
	if err != nil {
		return unwritten(&call, err)
	}
	if !call.Func.Effect.Alters() {
		// A read that takes long (a sleep) has no intent yet.
		entry, err := entryOf(&call, r.engine.Clock.Now())
		if err == nil {
			err = j.Begun(entry)
		}
		if err != nil {
			return unwritten(&call, err)
		}
	}
	if err := j.Handle(call.Place, handle); err != nil {
		return unwritten(&call, err)
	}
	r.probe("held", &call)
	return nil
}

func entryOf(call *builtin.Call, now time.Time) (journal.Entry, error) {
	args, err := builtin.Typed{Type: call.Func.Args, Value: call.Args}.MarshalJSON()
	if err != nil {
		return journal.Entry{}, builtin.Faultf(builtin.Failed, "the journal's form of the arguments of %s", call.Func.QualifiedName()).Because(err)
	}
	e := journal.Entry{Place: call.Place, Call: call.Func.QualifiedName(), Effect: call.Func.Effect.String(), Digest: digest(call, args),
		At: call.At, Args: args, Handle: call.Handle, Begun: now}
	if call.Decision != nil {
		if e.Decision, err = (builtin.Typed{Type: call.Func.Decision, Value: call.Decision}).MarshalJSON(); err != nil {
			return e, builtin.Faultf(builtin.Failed, "the journal's form of what %s decided", call.Func.QualifiedName()).Because(err)
		}
	}
	return e, nil
}

// digest tells calls apart: the function and its arguments. Secrets are in it
// by name.
func digest(call *builtin.Call, args []byte) string {
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%s %s", call.Func.QualifiedName(), args) // a hash takes every write
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// probe lets a test stop the process at a position of the journal's protocol.
func (r *run) probe(at string, call *builtin.Call) {
	if r.engine.Probe != nil {
		r.engine.Probe(at, call)
	}
}

// replayedEvent tells that a call was answered from the journal.
func (r *run) replayedEvent(call *builtin.Call, e journal.Entry) {
	ev := r.callEvent(event.CallReplayed, call)
	ev.Text = e.Settled
	r.emit(ev)
}
