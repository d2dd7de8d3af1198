package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/journal"
	"nixmox/engine/policy"
)

// End is how a run ended.
type End string

// The ends of the design. A suspended run has not run its defers.
const (
	Done      End = "done"
	Failed    End = "failed"
	Canceled  End = "cancelled"
	Suspended End = "suspended"
)

// Options of one run.
type Options struct {
	ID      string         // "" for a new one
	Params  map[string]any // neutral values, by name; every parameter of the playbook
	Plan    bool           // preview changes, make none
	Timeout time.Duration  // 0 for none
	// Kept is kept with the record for whoever resumes the run: how to reach
	// the estate again.
	Kept json.RawMessage
	// Apply is a plan that the run is held to; see Applicable.
	Apply *Plan
}

// Report is what became of a run.
type Report struct {
	ID        string
	End       End
	Err       error // *builtin.Fault or *builtin.Stop; nil when done
	Exit      int
	Changes   map[string]int // changes that were made, or in a plan would be, by function
	Warnings  int
	Assumed   []string // what a plan took for granted
	PlanEnds  string   // why a plan could not be followed to the playbook's end
	Took      time.Duration
	Resumable bool // the record is there to go on from
	Plan      *Plan
}

// run is one execution of a playbook.
type run struct {
	engine   *Engine
	playbook *Playbook
	plan     bool
	builtin  *builtin.Run
	policy   *policy.Policy
	began    time.Time

	// journal is the run's record, nil if none is kept. A new one is begun
	// beside the playbook's first steps; whoever needs it waits for it.
	journal    func() (*journal.Run, error)
	resumed    bool
	cancelling bool                     // replay, abort at the first call that is not recorded, run the defers
	settled    map[builtin.Place]string // the operator's answers: done or undone

	stop     atomic.Pointer[builtin.Stop]
	calls    atomic.Uint64
	emitting sync.Mutex // one event at a time
	mu       sync.Mutex // of what follows
	defers   []builtin.Callback
	changes  map[string]int
	warnings int
	planned  []noted

	expected *expected // the plan that the run is held to, or nil
}

func (e *Engine) newRun(p *Playbook, id string, o Options) *run {
	r := &run{engine: e, playbook: p, plan: o.Plan, changes: map[string]int{}, began: e.Clock.Now(), policy: policy.New(p.Needs, o.Params).Under(e.Policy.For(p.Name))}
	if id == "" {
		id = newID(r.began)
	}
	r.builtin = &builtin.Run{
		ID: id, Playbook: p.Name, Now: e.Clock.Now, Secret: e.Secret, Sleep: e.Clock.Sleep,
		Log: r.log, Progress: r.progress, Defer: r.deferred, Lock: r.acquire, Handle: r.hold,
	}
	if o.Plan {
		r.builtin.Planned = &builtin.Overlay{}
	}
	if o.Apply != nil {
		r.expected = newExpected(o.Apply)
	}
	return r
}

// Run executes a playbook, or, with Options.Plan, finds out what executing
// it would do. It returns when the run has ended, however that was.
func (e *Engine) Run(ctx context.Context, p *Playbook, o Options) Report {
	r := e.newRun(p, o.ID, o)
	if e.Journal != nil && !o.Plan {
		r.journal = sync.OnceValues(func() (*journal.Run, error) { return r.beginRecord(o) })
		go func() { _, _ = r.journal() }() // whoever needs it gets the error
	}
	return r.execute(ctx, o)
}

// execute runs main, ends the run, and closes its record.
func (r *run) execute(ctx context.Context, o Options) Report {
	r.builtin.Perform = r.performer()
	given := "--timeout"
	if limit := r.engine.policyLimits().Timeout; limit > 0 && (o.Timeout == 0 || o.Timeout > limit) {
		given, o.Timeout = "the policy's timeout of", limit
	}
	if o.Timeout > 0 {
		stop := builtin.Stopf(builtin.TimedOut, "the run took longer than %s %s", given, o.Timeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.Timeout, stop)
		defer cancel()
	}
	name := r.playbook.Name
	r.emit(event.Event{Type: event.RunBegan, Time: r.began, Playbook: name, Plan: r.plan, May: r.policy.May(), Exposed: r.playbook.Exposed})
	for _, p := range r.engine.forbidden(r.playbook) {
		r.log(builtin.Call{At: p.At}, "warning", p.What)
	}
	err := r.playbook.Main(builtin.WithBranch(ctx, builtin.NewBranch()), r.builtin, o.Params)
	report := r.finish(ctx, err)
	r.closeRecord(&report)
	if r.plan {
		r.finishPlan(o, &report)
	}
	r.emit(event.Event{Type: event.RunEnded, Time: r.engine.Clock.Now(), Playbook: name, Plan: r.plan, End: string(report.End), Exit: &report.Exit, Fault: faultView(report.Err)})
	return report
}

// finish says how the run ended and, where that end allows it, runs what was
// deferred, newest first.
func (r *run) finish(ctx context.Context, err error) Report {
	if stop := r.stop.Load(); stop != nil {
		err = stop // whatever the playbook made of it
	}
	report := Report{ID: r.builtin.ID, Err: err}
	report.End = endOf(err)
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		switch {
		case stop.Kind == builtin.PlanEnds:
			report.PlanEnds, report.Err = stop.What, nil
			if stop.At.File != "" {
				report.PlanEnds = stop.At.String() + ": " + stop.What
			}
			report.End = Done
		case stop.Kind == builtin.Cancelled && r.cancelling:
			report.End, report.Err = Canceled, nil
		}
	}
	if report.End != Suspended {
		r.stop.Store(nil)
		r.cancelling = false
		deferErr := r.runDefers(ctx)
		if deferErr != nil && (report.Err == nil || endOf(deferErr) == Suspended) {
			report.End, report.Err = endOf(deferErr), deferErr
		}
	}
	report.Exit = ExitCode(report.Err)
	r.mu.Lock()
	defer r.mu.Unlock()
	report.Changes, report.Warnings = r.changes, r.warnings
	if r.plan {
		report.Assumed = r.builtin.Planned.Assumed()
	}
	report.Took = r.engine.Clock.Now().Sub(r.began)
	return report
}

func endOf(err error) End {
	stop, isStop := errors.AsType[*builtin.Stop](err)
	switch {
	case err == nil:
		return Done
	case isStop && stop.Kind != builtin.Denied && stop.Kind != builtin.PlanEnds && stop.Kind != builtin.Moved:
		return Suspended
	}
	return Failed
}

func (r *run) runDefers(ctx context.Context) error {
	var first error
	branch := builtin.NewBranch().Fork("defer", 1)
	for {
		r.mu.Lock()
		n := len(r.defers)
		if n == 0 {
			r.mu.Unlock()
			return first
		}
		fn := r.defers[n-1]
		r.defers = r.defers[:n-1]
		r.mu.Unlock()
		if _, err := fn.Call(builtin.WithBranch(ctx, branch)); err != nil {
			r.log(builtin.Call{}, "error", "a deferred function failed: "+err.Error())
			if first == nil {
				first = err
			}
		}
	}
}

func (r *run) deferred(_ builtin.Call, fn builtin.Callback) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.defers = append(r.defers, fn)
}

func (r *run) setStop(stop *builtin.Stop) *builtin.Stop {
	r.stop.CompareAndSwap(nil, stop)
	return r.stop.Load()
}

func (r *run) count(call *builtin.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes[call.Func.QualifiedName()]++
}

func (r *run) log(call builtin.Call, level, text string) {
	e := event.Event{Type: event.Logged, Time: r.engine.Clock.Now(), Level: level, Text: text}
	if call.At.File != "" {
		e.At = &call.At
	}
	if level == "warning" {
		r.mu.Lock()
		r.warnings++
		r.mu.Unlock()
	}
	r.emit(e)
}

func (r *run) progress(call builtin.Call, p builtin.Progress) {
	e := r.callEvent(event.CallProgress, &call)
	e.Progress = &p
	r.emit(e)
}

func (r *run) callEvent(t event.Type, call *builtin.Call) event.Event {
	return event.Event{Type: t, Time: r.engine.Clock.Now(), Place: call.Place, Call: call.Func.QualifiedName(), Effect: call.Func.Effect.String(), At: &call.At}
}

// emit hands an event on. Branches of a parallel share the sink, which takes
// one event at a time.
func (r *run) emit(e event.Event) {
	if r.engine.Sink == nil {
		return
	}
	e.Run = r.builtin.ID
	r.emitting.Lock()
	defer r.emitting.Unlock()
	r.engine.Sink(e)
}

func faultView(err error) *event.Fault {
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		v := &event.Fault{Kind: string(stop.Kind), What: stop.What, Hint: stop.Hint}
		if stop.At.File != "" {
			v.Stack = []string{stop.At.String()}
		}
		return v
	}
	f := builtin.AsFault(err)
	if f == nil {
		return nil
	}
	v := &event.Fault{Kind: string(f.Kind), What: f.What, Said: f.Said, Hint: f.Hint}
	for _, p := range f.Stack {
		v.Stack = append(v.Stack, p.String())
	}
	return v
}

// Summary is one line: what was done, and how often.
func (r Report) Summary() string {
	if len(r.Changes) == 0 {
		return "no changes"
	}
	names := make([]string, 0, len(r.Changes))
	for name := range r.Changes {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		if n := r.Changes[name]; n > 1 {
			names[i] = fmt.Sprintf("%s ×%d", name, n)
		}
	}
	return strings.Join(names, ", ")
}
