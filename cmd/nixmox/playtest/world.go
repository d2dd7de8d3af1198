package playtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nixmox/builtins"
	"nixmox/builtins/lab"
	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// Begin is when every fresh lab begins: the same moment for all, so that what
// a playbook does on some days of a month only, it does in each run of a test.
// It is a Wednesday in the middle of a month.
var Begin = time.Date(2026, time.June, 17, 12, 0, 0, 0, time.UTC)

// World is a fresh lab and the playbooks that were run in it.
type World struct {
	Lab *lab.Lab
	Dir string // all that is in it goes with Close

	endpoint lab.Endpoint
	number   int // of runs
	runs     []*Observed
}

// NewWorld makes one, in a folder of its own.
func NewWorld() (_ *World, err error) {
	dir, err := os.MkdirTemp(tempDir(), "nixmox-test-")
	if err != nil {
		return nil, err
	}
	w := &World{Dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if w.Lab, err = lab.Open(lab.Options{Dir: w.LabDir(), Clock: lab.ClockAuto, Begin: Begin, Brief: true}); err != nil {
		return nil, err
	}
	w.endpoint, err = w.Lab.Start()
	return w, err
}

// tempDir is in memory where there is plenty: a lab is many small files that
// nobody needs afterwards, and a test takes an eighth of the time. Who sets
// TMPDIR has chosen.
func tempDir() string {
	const memory = "/dev/shm"
	var fs unix.Statfs_t
	if os.Getenv("TMPDIR") != "" || unix.Statfs(memory, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < 1<<30 || unix.Access(memory, unix.W_OK) != nil {
		return ""
	}
	return memory
}

// LabDir is where the lab has its files.
func (w *World) LabDir() string { return filepath.Join(w.Dir, "lab") }

// Close ends the lab and removes everything.
func (w *World) Close() error {
	var err error
	if w.Lab != nil {
		err = w.Lab.Close()
	}
	return errors.Join(err, os.RemoveAll(w.Dir))
}

// Play says how a playbook is run.
type Play struct {
	Params  map[string]any // neutral; those that are not named have their defaults
	Plan    bool
	Timeout time.Duration // of the lab's time; 0 for none
	// After is called when a call of that name has ended, the first time each:
	// what another hand does meanwhile.
	After map[string]func() error
}

// Play runs a playbook, or plans it. A playbook that does not load is a run
// that ended so; an error is a mistake of who asked.
func (w *World) Play(ctx context.Context, roots source.Roots, file string, how Play) (*Observed, error) {
	w.number++
	name, _ := engine.NameOf(file)
	seen := newObserver(name, w.number, how)
	defer func() { w.runs = append(w.runs, seen.Observed) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clock := w.clock(how.Timeout, cancel)
	modules, closeAll, err := builtins.All(builtins.Config{Proxmox: w.proxmox(clock), Commands: w.Lab.CommandDir()})
	if err != nil {
		return nil, err
	}
	e := &engine.Engine{Modules: modules, Std: roots.Std, Sink: seen.event, Clock: clock, Limits: engine.DefaultLimits,
		LockDir: filepath.Join(w.Dir, "locks"), LockWait: time.Second}
	err = w.play(ctx, e, roots, file, how, seen)
	return seen.Observed, errors.Join(err, seen.hookErr, closeAll())
}

func (w *World) play(ctx context.Context, e *engine.Engine, roots source.Roots, file string, how Play, seen *observer) error {
	p, err := e.Load(ctx, roots, file)
	if err != nil {
		seen.Report = engine.Report{End: engine.Failed, Err: err, Exit: engine.ExitCode(err)}
		if seen.Report.Exit == engine.ExitCheck {
			return nil
		}
		return err
	}
	values, err := paramsOf(p, how.Params)
	if err != nil {
		return err
	}
	seen.Report = e.Run(ctx, p, engine.Options{Params: values, Plan: how.Plan})
	seen.settle()
	return nil
}

// paramsOf checks the parameters, and gives the others their defaults.
func paramsOf(p *engine.Playbook, given map[string]any) (map[string]any, error) {
	values := map[string]any{}
	var names []string
	for i := range p.Params {
		param := &p.Params[i]
		names = append(names, param.Name)
		v, ok := given[param.Name]
		switch {
		case !ok && param.Required:
			return nil, builtin.Faultf(builtin.Invalid, "running %s: its parameter %s is missing", p.Name, param.Name)
		case !ok:
			values[param.Name] = param.Default
		default:
			var err error
			if values[param.Name], err = param.Neutral(v); err != nil {
				return nil, builtin.Faultf(builtin.Invalid, "running %s", p.Name).Because(err)
			}
		}
	}
	for name := range given {
		if _, ok := values[name]; !ok {
			return nil, builtin.Faultf(builtin.Invalid, "running %s: it has no parameter %q", p.Name, name).
				Hinting("it has %s", strings.Join(names, ", "))
		}
	}
	return values, nil
}

// clock is the lab's: whatever waits, waits in the lab's time, so no test ever
// sleeps. The deadline of a run is of that time, too.
func (w *World) clock(timeout time.Duration, cancel context.CancelCauseFunc) engine.Clock {
	deadline := w.Lab.Now().Add(timeout)
	var once sync.Once
	now := func() time.Time {
		t := w.Lab.Now()
		if timeout > 0 && t.After(deadline) {
			once.Do(func() { cancel(builtin.Stopf(builtin.TimedOut, "the run took longer than --timeout %s", timeout)) })
		}
		return t
	}
	return engine.Clock{Now: now, Sleep: func(ctx context.Context, d time.Duration) error {
		w.Lab.Advance(d)
		now()
		return ctx.Err()
	}}
}

// proxmox leads to the lab.
func (w *World) proxmox(clock engine.Clock) *builtins.Proxmox {
	return &builtins.Proxmox{
		URL: w.endpoint.URL, TokenID: w.endpoint.TokenID, Token: builtins.NewSecret(w.endpoint.TokenSecret),
		Fingerprint: w.endpoint.Fingerprint, Mounts: w.endpoint.Mounts, Now: clock.Now, Sleep: clock.Sleep,
	}
}

// run is a run of this world, by its number.
func (w *World) run(number int) (*Observed, error) {
	for _, r := range w.runs {
		if r.Number == number {
			return r, nil
		}
	}
	return nil, fmt.Errorf("this test has made no run %d", number)
}
