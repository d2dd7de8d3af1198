package playtest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// Options of running tests.
type Options struct {
	Filter   *regexp.Regexp // only tests whose name it matches; nil for all
	Parallel int            // how many at a time
	Update   bool           // write golden files instead of holding against them
}

// Result is what became of one test.
type Result struct {
	File     string           `json:"file"`
	Name     string           `json:"test"`
	At       builtin.Position `json:"at"`
	Passed   bool             `json:"passed"`
	Took     time.Duration    `json:"-"`
	Seconds  float64          `json:"seconds"`
	Problems *Report          `json:"failure,omitempty"`
	Log      []string         `json:"log,omitempty"` // what the test logged
}

// Report is why a test failed, for whoever reads it.
type Report struct {
	At    builtin.Position   `json:"at"`              // the line of the test's file
	Stack []builtin.Position `json:"stack,omitempty"` // the lines that led there, outermost first
	What  string             `json:"what"`
	Got   string             `json:"got,omitempty"`
	Want  string             `json:"want,omitempty"`
	Diff  string             `json:"diff,omitempty"`
	Hint  string             `json:"hint,omitempty"`
	Run   []string           `json:"run,omitempty"` // how the last run of a playbook went
}

// limit is how long one test may take, of real time. It is there so that a
// test which does not end is named.
const limit = 5 * time.Minute

// Run runs the tests of files, and hands over their results in order, each as
// soon as it and those before it are there. The error is that of an
// interruption; a test that was cut short by it has not failed.
func Run(ctx context.Context, files []*File, o Options, tell func(Result)) error {
	type one struct {
		file *File
		test language.Test
		done chan Result
	}
	var all []one
	for _, f := range files {
		for _, t := range f.Tests {
			if o.Filter == nil || o.Filter.MatchString(t.Name) {
				all = append(all, one{f, t, make(chan Result, 1)})
			}
		}
	}
	slots := make(chan struct{}, max(o.Parallel, 1))
	var running sync.WaitGroup
	running.Go(func() {
		for _, x := range all {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				x.done <- x.file.run(ctx, x.test, o)
			})
		}
	})
	for _, x := range all {
		if r := <-x.done; r.Passed || ctx.Err() == nil {
			tell(r)
		}
	}
	running.Wait()
	return context.Cause(ctx)
}

// Count is how many tests Run would run.
func Count(files []*File, o Options) int {
	n := 0
	for _, f := range files {
		n += len(slices.DeleteFunc(slices.Clone(f.Tests), func(t language.Test) bool { return o.Filter != nil && !o.Filter.MatchString(t.Name) }))
	}
	return n
}

// run runs one test in a world of its own.
func (f *File) run(ctx context.Context, test language.Test, o Options) Result {
	began := time.Now()
	s := &session{roots: f.roots, dir: f.dir, update: o.Update}
	err := ctx.Err()
	if err == nil {
		err = f.inWorld(ctx, s, test)
	}
	r := Result{File: f.Path, Name: test.Name, At: test.At, Passed: err == nil, Took: time.Since(began)}
	r.Seconds = r.Took.Seconds()
	for _, line := range s.log {
		r.Log = append(r.Log, line.At.String()+": "+line.Text)
	}
	if err != nil {
		r.Problems = s.report(err, test)
	}
	return r
}

func (f *File) inWorld(ctx context.Context, s *session, test language.Test) (err error) {
	w, err := NewWorld()
	if err != nil {
		return fmt.Errorf("making a lab: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	s.world = w
	stop := builtin.Stopf(builtin.TimedOut, "the test took longer than %s", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, stop)
	defer cancel()
	run := &builtin.Run{ID: "test", Playbook: test.Name, Now: w.Lab.Now,
		Log: func(c builtin.Call, level, text string) { s.log = append(s.log, Line{level, text, c.At}) },
		// A test may do to its lab what it likes, so nothing stands between.
		Perform: func(ctx context.Context, c builtin.Call) (any, error) { return c.Func.Do(ctx, &c) },
	}
	ctx = builtin.WithBranch(context.WithValue(ctx, sessionKey{}, s), builtin.NewBranch())
	return test.Call(ctx, run)
}

// report makes of a test's error what a person needs to see.
func (s *session) report(err error, test language.Test) *Report {
	r := &Report{At: test.At, What: err.Error()}
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		r.What, r.Hint = stop.What, stop.Hint
	}
	if f, ok := errors.AsType[*builtin.Fault](err); ok {
		r.What, r.Hint, r.Stack = f.Error(), f.Hint, f.Stack
		if n := len(f.Stack); n > 0 {
			r.At = f.Stack[n-1]
		}
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		r.What, r.Got, r.Want, r.Diff = f.What, f.Got, f.Want, f.Diff
	}
	if s.world != nil && len(s.world.runs) > 0 {
		r.Run = s.world.runs[len(s.world.runs)-1].lines()
	}
	return r
}

// lines are how a run went, for somebody who looks for why a test failed.
func (o *Observed) lines() []string {
	what := "run"
	if o.Plan {
		what = "plan"
	}
	out := []string{fmt.Sprintf("%s %d, of %s: %s, exit %d", what, o.Number, o.Playbook, o.Report.End, o.Report.Exit)}
	for _, line := range o.Logs {
		out = append(out, fmt.Sprintf("%s: %s: %s", line.At, line.Level, line.Text))
	}
	if o.Report.Err != nil {
		why := explain(o.Report.Err)
		out = append(out, why.at+": "+why.what)
	}
	return out
}
