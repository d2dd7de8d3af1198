package engine

import (
	"context"
	"fmt"
	"time"

	"nixmox/engine/builtin"
)

// Applicable refuses a plan that cannot be carried out: too old, one that
// ends before the playbook does, or of another playbook than there is now.
func (e *Engine) Applicable(plan *Plan, p *Playbook) error {
	refuse := func(said, hint string) error {
		return builtin.Faultf(builtin.Conflict, "the plan of %s", plan.Playbook).Saying(said).Hinting("%s", hint)
	}
	again := "make it again: nixmox plan -o FILE " + plan.Playbook
	age := e.Clock.Now().Sub(plan.Made)
	switch {
	case plan.Digest != p.Graph.Digest:
		return refuse("the playbook, or what it loads, is not as it was planned with", again)
	case age > PlanAge:
		return refuse(fmt.Sprintf("it was made %s ago", age.Round(time.Minute)), again)
	case age < -time.Minute:
		return refuse("it was made in the future, at "+plan.Made.Format(time.RFC3339), "look at the clock")
	case plan.Ends != "":
		return refuse("it could not be followed to the playbook's end: "+plan.Ends, "run the playbook instead")
	}
	return nil
}

// expected is a plan that is being carried out.
type expected struct {
	calls   map[builtin.Place]*PlannedCall
	results map[builtin.Place]any // of calls that were made, as raw JSON
}

func newExpected(p *Plan) *expected {
	x := &expected{calls: map[builtin.Place]*PlannedCall{}, results: map[builtin.Place]any{}}
	for i := range p.Calls {
		x.calls[p.Calls[i].Place] = &p.Calls[i]
	}
	return x
}

// expect holds each call against the plan: before it is made, its function
// and arguments; after a read, what came. The first that differs stops the
// run, before anything is done that was not planned.
func (r *run) expect(next builtin.Performer) builtin.Performer {
	if r.expected == nil {
		return next
	}
	return func(ctx context.Context, call builtin.Call) (any, error) {
		planned, err := r.plannedAt(&call)
		if err != nil {
			return nil, err
		}
		if name := call.Func.QualifiedName(); name == "now" || name == "random" { // the plan's own
			if planned.Fault == nil {
				return call.Func.Result.Decode(planned.Result)
			}
		}
		result, err := next(ctx, call)
		came := (&noted{call, result, faultOrNil(err)}).planned()
		if encodeErr := came.encode(); encodeErr != nil {
			return nil, encodeErr
		}
		raw, rawErr := rawJSON(came.Result)
		if rawErr != nil {
			return nil, rawErr
		}
		r.mu.Lock()
		r.expected.results[call.Place] = raw
		r.mu.Unlock()
		if call.Func.Effect.Alters() {
			return result, err
		}
		if (planned.Fault == nil) != (came.Fault == nil) {
			return nil, r.moved(&call, "planned "+text(planned.Result)+text(planned.Fault)+", now "+text(came.Result)+text(came.Fault))
		}
		if d := compare(call.Func.Result, planned.Result, came.Result, anything); d != "" {
			return nil, r.moved(&call, d)
		}
		return result, err
	}
}

func faultOrNil(err error) error {
	if f := builtin.AsFault(err); f != nil {
		return f
	}
	return nil
}

// plannedAt finds the planned call at the place of one that is about to be
// made, if it is the same.
func (r *run) plannedAt(call *builtin.Call) (*PlannedCall, error) {
	planned, ok := r.expected.calls[call.Place]
	if !ok {
		return nil, r.moved(call, "the plan has no call there")
	}
	entry, err := entryOf(call, time.Time{})
	if err != nil {
		return nil, err
	}
	if planned.Call != entry.Call {
		return nil, r.moved(call, "planned was "+planned.Call)
	}
	if d := compare(call.Func.Args, planned.Args, entry.Args, r.knownNow); d != "" {
		return nil, r.moved(call, "its arguments: "+d)
	}
	return planned, nil
}

// asDecided holds what an irreversible call has resolved against the plan.
func (r *run) asDecided(call *builtin.Call) error {
	if r.expected == nil {
		return nil
	}
	planned, ok := r.expected.calls[call.Place]
	if !ok {
		return r.moved(call, "the plan has no call there")
	}
	now, err := builtin.Typed{Type: call.Func.Decision, Value: call.Decision}.MarshalJSON()
	if err != nil {
		return err
	}
	if d := compare(call.Func.Decision, planned.Decision, now, r.knownNow); d != "" {
		return r.moved(call, "what it would destroy: "+d)
	}
	return nil
}

// anything is right for what a read of planned things could not know.
func anything(builtin.Place, any) bool { return true }

// knownNow reports whether a value that the plan could not know came out of a
// call of this run: the one that was to make it, or one that looked at it.
func (r *run) knownNow(_ builtin.Place, value any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if list, isList := value.([]any); value == nil || value == "" || isList && len(list) == 0 {
		return true // nothing came
	}
	for _, result := range r.expected.results {
		if contains(result, value) {
			return true
		}
	}
	return false
}

func (r *run) moved(call *builtin.Call, what string) *builtin.Stop {
	stop := builtin.Stopf(builtin.Moved, "the world is not as it was planned: %s at %s: %s", call.Func.QualifiedName(), call.Place, what)
	stop.Hint = "nothing was done beyond what was equal; look at the difference, then plan again"
	stop.At = call.At
	return stop
}
