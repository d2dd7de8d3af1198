package builtin

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure a Fault is; playbooks branch on it.
type Kind string

// The kinds of the design. A playbook may catch all of them.
const (
	NotFound    Kind = "not_found"   // the thing named does not exist
	Invalid     Kind = "invalid"     // a value that cannot be right, whoever looks
	Forbidden   Kind = "forbidden"   // the host said no (Proxmox's 401 and 403)
	Busy        Kind = "busy"        // locked or in use; may be free later
	Timeout     Kind = "timeout"     // it took longer than it was given
	Unreachable Kind = "unreachable" // no answer, or none that makes sense
	Conflict    Kind = "conflict"    // the world is not as it was when this was decided
	Failed      Kind = "failed"      // it was tried and did not succeed
)

// Fault is the failure of a call: an error for Go, a value for playbooks.
type Fault struct {
	Kind Kind   `name:"kind" doc:"not_found, invalid, forbidden, busy, timeout, unreachable, conflict or failed"`
	What string `name:"what" doc:"what was tried, and on what"`
	Said string `name:"said" doc:"what the host said, in its own words"`
	Hint string `name:"hint" doc:"what to do now"`

	// Partial is what was done all the same, of the function's result type,
	// or nil: the archives of the guests that a failed backup task did save.
	// attempt() hands it to the playbook as value.
	Partial any
	// Transient: trying the same read again may help, and nobody below has tried.
	Transient bool
	// Cause is the Go error behind it, if any; for errors.Is and errors.As.
	Cause error
	// Stack is where in the playbook it happened, outermost call first; the
	// language fills it in.
	Stack []Position
}

// Faultf makes a fault of a kind; format says what was tried, and on what.
func Faultf(kind Kind, format string, args ...any) *Fault {
	return &Fault{Kind: kind, What: fmt.Sprintf(format, args...)}
}

// Saying adds the host's own words.
func (f *Fault) Saying(said string) *Fault { f.Said = strings.TrimSpace(said); return f }

// Hinting adds what to do now.
func (f *Fault) Hinting(format string, args ...any) *Fault {
	f.Hint = fmt.Sprintf(format, args...)
	return f
}

// Because adds the Go error behind it, whose text is what was said unless
// the host's own words are known.
func (f *Fault) Because(err error) *Fault {
	f.Cause = err
	if f.Said == "" && err != nil {
		f.Said = err.Error()
	}
	return f
}

// Error is one line without the hint, which whoever prints sets apart.
func (f *Fault) Error() string {
	if f.Said == "" {
		return f.What
	}
	return f.What + ": " + f.Said
}

func (f *Fault) Unwrap() error { return f.Cause }

// AsFault makes a fault of any error. A context that ran out is a timeout;
// stop conditions are no faults and come back as nil.
func AsFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	if _, ok := errors.AsType[*Stop](err); ok || err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	kind := Failed
	if errors.Is(err, context.DeadlineExceeded) {
		kind = Timeout
	}
	return &Fault{Kind: kind, What: err.Error(), Cause: err}
}

// StopKind says why a run may not go on.
type StopKind string

// The stop conditions. No playbook can catch one: after it the engine refuses
// every further call.
const (
	Denied    StopKind = "denied"    // policy: the playbook's needs do not cover the call
	InDoubt   StopKind = "in_doubt"  // a change was begun and nobody can tell whether it ended
	Cancelled StopKind = "cancelled" // the operator, or whoever started the run, ended it
	Limit     StopKind = "limit"     // steps, memory, calls: more than a run may use
	Diverged  StopKind = "diverged"  // a replay made another call than the record has
	TimedOut  StopKind = "timeout"   // the run's own deadline (--timeout)
	PlanEnds  StopKind = "plan_ends" // a plan cannot know what would happen from here
	Moved     StopKind = "moved"     // the world is not as it was when the plan being applied was made
	Died      StopKind = "died"      // the process that evaluated the playbook is gone
	Unwritten StopKind = "unwritten" // the journal cannot be written, so nothing more is done
)

// Stop is a stop condition.
type Stop struct {
	Kind StopKind
	What string
	Hint string
	At   Position
}

// Stopf makes a stop condition; format says what stopped the run.
func Stopf(kind StopKind, format string, args ...any) *Stop {
	return &Stop{Kind: kind, What: fmt.Sprintf(format, args...)}
}

func (s *Stop) Error() string { return s.What }
