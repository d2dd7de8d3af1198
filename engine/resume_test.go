package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/journal"
	"nixmox/engine/source"
)

// tank is a module whose changes can be interrupted: the call that is named
// in stopAt ends the run's context and gives up, done or not.
type tank struct {
	mu      sync.Mutex
	did     []string
	stopAt  string // what to be interrupted at
	halfway bool   // whether the interrupted change is made all the same
	cancel  context.CancelCauseFunc
	answer  func() builtin.Settlement[int64] // of Settle
	looks   int
}

type pourArgs struct {
	What string `name:"what" scope:"tank" doc:"what"`
}

func (k *tank) pour(ctx context.Context, a pourArgs) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.What == k.stopAt {
		k.stopAt = ""
		if err := builtin.Hold(ctx, "handle-of-"+a.What); err != nil {
			return 0, err
		}
		if k.halfway {
			k.did = append(k.did, a.What)
		}
		k.cancel(builtin.Stopf(builtin.Cancelled, "interrupted"))
		return 0, ctx.Err()
	}
	k.did = append(k.did, a.What)
	if a.What == "bad" {
		return 0, &builtin.Fault{Kind: builtin.Conflict, What: "pour bad", Said: "no", Partial: int64(7)}
	}
	return int64(len(k.did)), nil
}

func (k *tank) module() builtin.Module {
	preview := func(context.Context, pourArgs) (int64, error) { return 0, nil }
	keys := func(a pourArgs) []string { return []string{"tank:" + a.What} }
	return builtin.NewModule("tank", "Tanks.",
		builtin.NewChange("pour", "Pour.", builtin.Op[pourArgs, int64]{Preview: preview, Do: k.pour, Keys: keys,
			Settle: func(_ context.Context, a pourArgs, handle string) (builtin.Settlement[int64], error) {
				if handle != "handle-of-"+a.What {
					return builtin.Settlement[int64]{}, fmt.Errorf("handle %q", handle)
				}
				k.looks++
				return k.answer(), nil
			}}),
		builtin.NewChange("spill", "Spill.", builtin.Op[pourArgs, int64]{Preview: preview, Do: k.pour, Keys: keys, NoSettle: "water leaves no trace"}),
		builtin.NewRead("level", "Level.", func(context.Context, struct{}) (int64, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.did = append(k.did, "level")
			return 42, nil
		}))
}

// rig runs a playbook, interrupts it, and resumes it.
type rig struct {
	t    *testing.T
	tank *tank
	dir  string
	logs []string
	text string
}

func newRig(t *testing.T, text string) *rig {
	return &rig{t: t, tank: &tank{}, dir: t.TempDir(), text: "needs(tank = [\"change\"])\n" + text}
}

func (g *rig) engine() (*engine.Engine, *journal.DB) {
	g.t.Helper()
	db, err := journal.Open(g.dir)
	if err != nil {
		g.t.Fatal(err)
	}
	var mu sync.Mutex
	return &engine.Engine{Modules: []builtin.Module{g.tank.module()}, Limits: engine.DefaultLimits, LockDir: g.t.TempDir(), LockWait: time.Minute,
		Clock: fakeClock(), Journal: func() (*journal.DB, error) { return db, nil },
		Sink: func(e event.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Type == event.Logged {
				g.logs = append(g.logs, e.Text)
			}
		}}, db
}

func (g *rig) roots(text string) source.Roots {
	return source.Roots{Playbook: fstest.MapFS{"p.star": &fstest.MapFile{Data: []byte(text)}}}
}

func (g *rig) run() engine.Report {
	g.t.Helper()
	e, db := g.engine()
	p, err := e.Load(g.t.Context(), g.roots(g.text), "p.star")
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(g.t.Context())
	g.tank.cancel = cancel
	report := e.Run(ctx, p, engine.Options{Params: map[string]any{}})
	if err := db.Close(); err != nil {
		g.t.Fatal(err)
	}
	return report
}

func (g *rig) resume(id string, o engine.ResumeOptions) engine.Report {
	g.t.Helper()
	e, db := g.engine()
	j, err := db.Resume(id)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(g.t.Context())
	g.tank.cancel = cancel
	report, err := e.Resume(ctx, j, o)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		g.t.Fatal(err)
	}
	return report
}

const threePours = `
def main():
    defer(lambda: log("deferred"))
    tank.level()
    a = tank.pour("one")
    b = tank.pour("two")
    c = tank.pour("three")
    log("%d %d %d" % (a, b, c))
`

func settled(s builtin.SettleState, result int64) func() builtin.Settlement[int64] {
	return func() builtin.Settlement[int64] { return builtin.Settlement[int64]{State: s, Result: result} }
}

func TestInterruptedRunGoesOn(t *testing.T) {
	running := 0
	tests := []struct {
		name   string
		answer func() builtin.Settlement[int64]
		done   bool // the world has it
		exit   int
		did    string
		logs   string
	}{
		{"not done", settled(builtin.NotDone, 0), false, 0, "level one two three", "2 3 4|deferred"},
		{"done", settled(builtin.Done, 77), true, 0, "level one two three", "2 77 4|deferred"},
		{"failed while nobody looked", func() builtin.Settlement[int64] {
			return builtin.Settlement[int64]{State: builtin.Done, Fault: builtin.Faultf(builtin.Failed, "pour two").Saying("it broke")}
		}, false, 1, "level one", "deferred"},
		{"still running, then done", func() builtin.Settlement[int64] {
			if running++; running < 4 {
				return builtin.Settlement[int64]{State: builtin.Running, Handle: "handle-of-two"}
			}
			return builtin.Settlement[int64]{State: builtin.Done, Result: 5}
		}, true, 0, "level one two three", "2 5 4|deferred"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, threePours)
			g.tank.stopAt, g.tank.halfway, g.tank.answer = "two", tt.done, tt.answer
			first := g.run()
			if first.End != engine.Suspended || first.Exit != engine.ExitInterrupted || !first.Resumable || len(g.logs) > 0 {
				t.Fatalf("%+v, logs %v", first, g.logs)
			}
			second := g.resume(first.ID, engine.ResumeOptions{})
			if second.Exit != tt.exit || strings.Join(g.tank.did, " ") != tt.did || strings.Join(g.logs, "|") != tt.logs {
				t.Errorf("exit %d (%v), did %v, logs %v", second.Exit, second.Err, g.tank.did, g.logs)
			}
		})
	}
}

func TestInDoubt(t *testing.T) {
	for _, answer := range []string{"done", "undone"} {
		g := newRig(t, strings.ReplaceAll(threePours, `tank.pour("two")`, `tank.spill("two")`))
		g.tank.stopAt = "two"
		first := g.run()
		for range 2 { // as often as it is tried without an answer
			r := g.resume(first.ID, engine.ResumeOptions{})
			if r.Exit != engine.ExitInDoubt || !r.Resumable || !strings.Contains(r.Err.Error(), "tank.spill at 4 was begun") || !strings.Contains(r.Err.Error(), "water leaves no trace") || len(g.logs) > 0 {
				t.Fatalf("%+v, logs %v", r, g.logs)
			}
		}
		r := g.resume(first.ID, engine.ResumeOptions{Settled: map[builtin.Place]string{"4": answer}})
		want := "level one three"
		if answer == "undone" {
			want = "level one two three"
		}
		if answer == "done" {
			// its result is not known: the playbook gets None, and fails to print it
			if r.Exit != engine.ExitFailed || strings.Join(g.tank.did, " ") != want {
				t.Errorf("%s: exit %d (%v), did %v, logs %v", answer, r.Exit, r.Err, g.tank.did, g.logs)
			}
			continue
		}
		if r.Exit != 0 || strings.Join(g.tank.did, " ") != want {
			t.Errorf("%s: exit %d (%v), did %v", answer, r.Exit, r.Err, g.tank.did)
		}
	}
}

// A recorded fault takes the playbook the same way again, partial result and all.
func TestFaultsReplay(t *testing.T) {
	g := newRig(t, `
def main():
    r = attempt(lambda: tank.pour("bad"))
    log("%s %s %s %s" % (r.ok, r.error.kind, r.error.said, r.value))
    tank.pour("two")
`)
	g.tank.stopAt, g.tank.answer = "two", settled(builtin.NotDone, 0)
	first := g.run()
	r := g.resume(first.ID, engine.ResumeOptions{})
	if r.Exit != 0 || strings.Join(g.logs, "|") != "False conflict no 7|False conflict no 7" || strings.Join(g.tank.did, " ") != "bad two" {
		t.Errorf("exit %d (%v), logs %v, did %v", r.Exit, r.Err, g.logs, g.tank.did)
	}
}

func TestParallelBranchesReplay(t *testing.T) {
	g := newRig(t, `
def branch(n):
    t = now()
    sleep("%dms" % (n * 10))
    return tank.pour("b%d" % n)

def main():
    parallel([1, 2, 3, 4], branch, limit = 0)
    tank.pour("last")
`)
	g.tank.stopAt, g.tank.answer = "last", settled(builtin.NotDone, 0)
	first := g.run()
	if first.End != engine.Suspended {
		t.Fatalf("%+v", first)
	}
	r := g.resume(first.ID, engine.ResumeOptions{})
	if r.Exit != 0 || len(g.tank.did) != 5 || g.tank.did[4] != "last" {
		t.Errorf("exit %d (%v), did %v", r.Exit, r.Err, g.tank.did)
	}
}

func TestDivergenceShowsBothCalls(t *testing.T) {
	g := newRig(t, threePours)
	g.tank.stopAt, g.tank.answer = "three", settled(builtin.NotDone, 0)
	first := g.run()
	roots := g.roots(strings.ReplaceAll(g.text, `"one"`, `"uno"`))
	r := g.resume(first.ID, engine.ResumeOptions{Current: &roots})
	if r.Exit != engine.ExitFailed || r.End != engine.Suspended || !strings.Contains(r.Err.Error(), `{"what":"one"}`) || !strings.Contains(r.Err.Error(), `{"what":"uno"}`) {
		t.Errorf("%+v", r)
	}
	// an edit after what is recorded changes nothing
	roots = g.roots(strings.ReplaceAll(g.text, `%d %d %d`, `edited %d %d %d`))
	if r := g.resume(first.ID, engine.ResumeOptions{Current: &roots}); r.Exit != 0 || g.logs[0] != "edited 2 3 4" {
		t.Errorf("%+v %v", r, g.logs)
	}
}

func TestCancelRunsTheDefers(t *testing.T) {
	g := newRig(t, `
def main():
    defer(lambda: tank.pour("clean up"))
    tank.pour("one")
    tank.pour("two")
    tank.pour("three")
`)
	g.tank.stopAt, g.tank.answer = "two", settled(builtin.NotDone, 0)
	first := g.run()
	r := g.resume(first.ID, engine.ResumeOptions{Cancel: true})
	if r.Exit != 0 || r.End != engine.Canceled || strings.Join(g.tank.did, " ") != "one clean up" {
		t.Errorf("%+v, did %v", r, g.tank.did)
	}
}

// A crash while defers run: they go on where they were.
func TestDefersAreJournaled(t *testing.T) {
	g := newRig(t, `
def main():
    defer(lambda: tank.pour("outer"))
    defer(lambda: tank.pour("inner"))
    fail("no")
`)
	g.tank.stopAt, g.tank.halfway, g.tank.answer = "outer", true, settled(builtin.Done, 1)
	first := g.run()
	if first.End != engine.Suspended {
		t.Fatalf("%+v", first)
	}
	r := g.resume(first.ID, engine.ResumeOptions{})
	if r.Exit != 1 || r.End != engine.Failed || strings.Join(g.tank.did, " ") != "inner outer" {
		t.Errorf("%+v, did %v", r, g.tank.did)
	}
}

// Success is recorded although the run is being cancelled.
func TestOutcomeIsRecordedUnderCancellation(t *testing.T) {
	g := newRig(t, threePours)
	g.tank.answer = func() builtin.Settlement[int64] {
		t.Error("it was settled, so its outcome was not recorded")
		return builtin.Settlement[int64]{}
	}
	e, db := g.engine()
	p, err := e.Load(t.Context(), g.roots(g.text), "p.star")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	e.Probe = func(at string, call *builtin.Call) {
		if at == "acted" && call.Place == "3" {
			cancel(builtin.Stopf(builtin.Cancelled, "interrupted"))
		}
	}
	first := e.Run(ctx, p, engine.Options{Params: map[string]any{}})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if first.End != engine.Suspended {
		t.Fatalf("%+v", first)
	}
	if r := g.resume(first.ID, engine.ResumeOptions{}); r.Exit != 0 || strings.Join(g.tank.did, " ") != "level one two three" {
		t.Errorf("%+v, did %v", r, g.tank.did)
	}
}
