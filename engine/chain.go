package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

// A layer wraps a performer. The chain of a run, from the outside in:
//
//	halt > replay > tell > allow > expect > lock > decide > record > retry > perform
//
// and of a plan:
//
//	halt > tell > allow > decide > note > preview
//
// Replay stands before tell, because what was done before is not told again
// as if it were done now; it has an event of its own.
type layer func(next builtin.Performer) builtin.Performer

func chain(innermost builtin.Performer, layers ...layer) builtin.Performer {
	for i := len(layers) - 1; i >= 0; i-- {
		innermost = layers[i](innermost)
	}
	return innermost
}

func (r *run) performer() builtin.Performer {
	switch {
	case r.plan:
		return chain(r.preview, r.halt, r.tell, r.allow, r.decide, r.note)
	case r.journal == nil:
		return chain(perform, r.halt, r.tell, r.allow, r.expect, r.lock, r.decide, r.retry)
	}
	return chain(perform, r.halt, r.replay, r.tell, r.allow, r.expect, r.lock, r.decide, r.record, r.retry)
}

// perform is the innermost performer: it does it, here.
func perform(ctx context.Context, call builtin.Call) (any, error) {
	return call.Func.Do(ctx, &call)
}

// tell announces each call and its end. What is always at hand is not
// announced: it shows by what it does.
func (r *run) tell(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		if call.Func.Module == "" || r.engine.Sink == nil {
			return next(ctx, call)
		}
		began := r.engine.Clock.Now()
		e := r.callEvent(event.CallBegan, &call)
		e.Args = builtin.Typed{Type: call.Func.Args, Value: call.Args}
		r.emit(e)
		result, err := next(ctx, call)
		err = r.stopped(ctx, &call, err)
		end := r.callEvent(event.CallEnded, &call)
		end.Took = end.Time.Sub(began).Seconds()
		end.Fault = faultView(err)
		if err == nil && call.Func.Effect.Alters() {
			end.Result = builtin.Typed{Type: call.Func.Result, Value: result}
		}
		r.emit(end)
		if err == nil && call.Func.Effect.Alters() && !r.plan {
			r.count(&call)
		}
		return result, err
	}
}

// stopped makes the run's stop condition of an error that came because the
// run's context ended, keeping what the function had to say about it.
func (r *run) stopped(ctx context.Context, call *builtin.Call, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		return stop
	}
	if cause, ok := errors.AsType[*builtin.Stop](context.Cause(ctx)); ok {
		stop := *cause
		stop.What += " during " + call.Func.QualifiedName()
		stop.At = call.At
		if !call.Func.Effect.Alters() {
			return r.setStop(&stop)
		}
		if f, ok := errors.AsType[*builtin.Fault](err); ok {
			stop.What += ": " + f.Error()
			stop.Hint = f.Hint
		} else if said, more := strings.CutSuffix(err.Error(), ": "+ctx.Err().Error()); more {
			stop.What += ": " + said
		}
		return r.setStop(&stop)
	}
	return err
}

// halt refuses every call after a stop condition, whatever the playbook tries.
func (r *run) halt(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		if stop := r.stop.Load(); stop != nil {
			return nil, stop
		}
		if err := ctx.Err(); err != nil {
			return nil, r.stopped(ctx, &call, err)
		}
		if limit := r.engine.policyLimits().Calls; limit > 0 && r.calls.Add(1) > limit {
			stop := builtin.Stopf(builtin.Limit, "the playbook makes more than %d calls, which the policy allows", limit)
			stop.At = call.At
			return nil, r.setStop(stop)
		}
		result, err := next(ctx, call)
		err = r.stopped(ctx, &call, err)
		if stop, ok := errors.AsType[*builtin.Stop](err); ok {
			return nil, r.setStop(stop)
		}
		return result, err
	}
}

// allow asks policy, and holds that wait_until only reads.
func (r *run) allow(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		if stop := r.policy.Allow(&call); stop != nil {
			return nil, stop
		}
		if call.Branch != nil && call.Branch.ReadOnly && call.Func.Effect.Alters() {
			return nil, builtin.Faultf(builtin.Invalid, "%s inside wait_until", call.Func.QualifiedName()).
				Saying("a condition that is waited for may only read").Hinting("make the change before or after wait_until")
		}
		return next(ctx, call)
	}
}

// decide resolves, before anything is done, what exactly an irreversible
// call destroys.
func (r *run) decide(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		if call.Func.Effect == builtin.Irreversible && call.Decision == nil { // a resumed call has its own
			decision, err := call.Func.Decide(ctx, &call)
			if err != nil {
				return nil, err
			}
			call.Decision = decision
			if err := r.asDecided(&call); err != nil {
				return nil, err
			}
		}
		return next(ctx, call)
	}
}

// retryWaits are the pauses before the second and third try of a read.
var retryWaits = []time.Duration{500 * time.Millisecond, 2 * time.Second}

// retry tries a read again whose failure says that this may help.
func (r *run) retry(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		result, err := next(ctx, call)
		if call.Func.Effect.Alters() || err == nil {
			return result, err
		}
		for _, wait := range retryWaits {
			f, ok := errors.AsType[*builtin.Fault](err)
			if !ok || !f.Transient {
				break
			}
			e := r.callEvent(event.CallRetried, &call)
			e.Fault = faultView(err)
			r.emit(e)
			if sleepErr := r.engine.Clock.Sleep(ctx, wait); sleepErr != nil {
				return nil, err
			}
			if result, err = next(ctx, call); err == nil {
				break
			}
		}
		return result, err
	}
}
