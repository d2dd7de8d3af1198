package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// world is the module of these tests: a set of boxes that can be looked at,
// filled and destroyed.
type world struct {
	mu     sync.Mutex
	boxes  map[string]int64
	calls  []string
	broken int // so many reads fail as transient
}

type boxArgs struct {
	Box string `name:"box" scope:"box" doc:"which box"`
}

type fillArgs struct {
	Box    string                `name:"box" scope:"box" doc:"which box"`
	Amount int64                 `name:"amount" default:"1" doc:"how much"`
	After  builtin.Later[string] `name:"after" default:"" doc:"the ticket of an earlier fill"`
}

type filled struct {
	Ticket builtin.Later[string] `name:"ticket" doc:"a ticket"`
	Level  int64                 `name:"level" doc:"how full it is"`
}

func (w *world) note(s string) { w.mu.Lock(); w.calls = append(w.calls, s); w.mu.Unlock() }

func (w *world) look(_ context.Context, a boxArgs) (int64, error) {
	w.note("look " + a.Box)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken > 0 {
		w.broken--
		return 0, &builtin.Fault{Kind: builtin.Unreachable, What: "look " + a.Box, Transient: true}
	}
	n, ok := w.boxes[a.Box]
	if !ok {
		return 0, builtin.Faultf(builtin.NotFound, "box %s", a.Box).Saying("no such box").Hinting("look at the list")
	}
	return n, nil
}

func (w *world) module() builtin.Module {
	settle := func(context.Context, fillArgs, string) (builtin.Settlement[filled], error) {
		return builtin.Settlement[filled]{}, nil
	}
	return builtin.NewModule("box", "Boxes.",
		builtin.NewPure("double", "Twice a number.", func(_ context.Context, a struct {
			N int64 `name:"n"`
		}) (int64, error) {
			return 2 * a.N, nil
		}),
		builtin.NewRead("look", "How full a box is.", w.look),
		builtin.NewChange("fill", "Fill a box.", builtin.Op[fillArgs, filled]{
			Preview: func(ctx context.Context, a fillArgs) (filled, error) {
				return filled{Ticket: builtin.PlannedBy[string](builtin.CallFrom(ctx)), Level: a.Amount}, nil
			},
			Do: func(_ context.Context, a fillArgs) (filled, error) {
				w.note(fmt.Sprintf("fill %s %d %s", a.Box, a.Amount, a.After.Value))
				w.mu.Lock()
				defer w.mu.Unlock()
				if a.Amount < 0 {
					return filled{}, &builtin.Fault{Kind: builtin.Failed, What: "fill " + a.Box, Partial: filled{Ticket: builtin.Now("half"), Level: 5}}
				}
				w.boxes[a.Box] += a.Amount
				return filled{Ticket: builtin.Now("t-" + a.Box), Level: w.boxes[a.Box]}, nil
			},
			Settle: settle,
			Keys:   func(a fillArgs) []string { return []string{"box:" + a.Box} },
		}),
		builtin.NewIrreversible("burn", "Destroy a box.", builtin.IrreversibleOp[boxArgs, int64, struct{}]{
			Decide: func(_ context.Context, a boxArgs) (int64, error) {
				w.note("decide " + a.Box)
				return w.boxes[a.Box], nil
			},
			Preview: func(context.Context, boxArgs, int64) (struct{}, error) { return struct{}{}, nil },
			Do: func(_ context.Context, a boxArgs, n int64) (struct{}, error) {
				w.note(fmt.Sprintf("burn %s %d", a.Box, n))
				return struct{}{}, nil
			},
			NoSettle: "ashes look alike",
			Keys:     func(a boxArgs) []string { return []string{"box:" + a.Box} },
		}),
	)
}

// result of one run of a playbook in a test.
type result struct {
	engine.Report
	logs    []string
	world   *world
	loadErr error
}

type setup struct {
	files  map[string]string
	params map[string]any
	plan   bool
	limits language.Limits
	broken int
	ctx    context.Context
}

func play(t *testing.T, text string, adjust ...func(*setup)) result {
	t.Helper()
	s := setup{files: map[string]string{"play.star": text}, limits: engine.DefaultLimits, ctx: t.Context()}
	for _, a := range adjust {
		a(&s)
	}
	w := &world{boxes: map[string]int64{"a": 1, "b": 2}, broken: s.broken}
	r := result{world: w}
	var mu sync.Mutex
	e := &engine.Engine{Modules: []builtin.Module{w.module()}, Std: stdlib, Reserved: []string{"timeout"}, Limits: s.limits, LockDir: t.TempDir(), LockWait: time.Minute,
		Clock: fakeClock(),
		Sink: func(ev event.Event) {
			mu.Lock()
			defer mu.Unlock()
			if ev.Type == event.Logged {
				r.logs = append(r.logs, ev.Text)
			}
		}}
	root := fstest.MapFS{}
	for name, body := range s.files {
		root[name] = &fstest.MapFile{Data: []byte(body)}
	}
	p, err := e.Load(s.ctx, source.Roots{Playbook: root, Std: stdlib}, "play.star")
	if err != nil {
		r.loadErr, r.Exit = err, engine.ExitCode(err)
		return r
	}
	params := map[string]any{}
	for _, param := range p.Params {
		params[param.Name] = param.Default
	}
	for k, v := range s.params {
		params[k] = v
	}
	r.Report = e.Run(s.ctx, p, engine.Options{Params: params, Plan: s.plan})
	return r
}

var stdlib = fstest.MapFS{"greet.star": &fstest.MapFile{Data: []byte("load(\"sub/name.star\", \"name\")\ndef greet():\n    return \"hello \" + name\n")},
	"sub/name.star": &fstest.MapFile{Data: []byte("name = \"std\"\n")}}

var _ fs.FS = stdlib

// fakeClock moves only when it is slept on.
func fakeClock() engine.Clock {
	var mu sync.Mutex
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return engine.Clock{
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(d)
			return ctx.Err()
		},
	}
}

func planned(s *setup) { s.plan = true }

const needsAll = `needs(box = ["change", "burn"])` + "\n"

func TestRun(t *testing.T) {
	tests := []struct {
		name, text string
		exit       int
		logs       []string
		calls      []string
		errHas     string
		adjust     func(*setup)
	}{
		{name: "reads, changes, results", text: needsAll + `
def main():
    r = box.fill("a", amount = 2)
    log("%d %s" % (r.level, r.ticket))
    box.burn("a")
`, logs: []string{"3 t-a"}, calls: []string{"fill a 2 ", "decide a", "burn a 3"}},
		{name: "an undeclared call is denied, with its line and the missing need", text: `needs(box = ["read"])
def main():
    box.look("a")
    attempt(lambda: box.fill("a"))
    log("not reached")
    box.look("a")
`, exit: engine.ExitDenied, calls: []string{"look a"}, errHas: `box.fill on box a is not among the needs of this playbook`},
		{name: "change does not cover what is irreversible", text: `needs(box = ["change"])
def main():
    box.burn("a")
`, exit: engine.ExitDenied},
		{name: "a glob must match every value", text: `needs(box = ["fill:a*", "look:$which"])
def main(which = "b"):
    box.look("b")
    box.fill("ab")
    box.fill("ba")
`, exit: engine.ExitDenied, calls: []string{"look b", "fill ab 1 "}},
		{name: "attempt catches faults", text: needsAll + `
def main():
    r = attempt(lambda: box.look("nope"))
    log("%s|%s|%s|%s" % (r.ok, r.error.kind, r.error.said, r.error.hint))
    r = attempt(lambda: box.fill("a", -1))
    log("%s|%s" % (r.value.ticket, r.value.level))
    r = attempt(lambda: [][1])
    log(r.error.kind)
    r = attempt(lambda: fail("mine", hint = "do this"))
    log("%s %s" % (r.error.what, r.error.hint))
    r = attempt(lambda: 7)
    log("%s %d %s" % (r.ok, r.value, r.error))
`, logs: []string{"False|not_found|no such box|look at the list", "half|5", "failed", "mine do this", "True 7 None"},
			calls: []string{"look nope", "fill a -1 "}},
		{name: "a fault ends the run as failed, with its place", text: needsAll + `
def helper():
    box.look("nope")

def main():
    helper()
`, exit: 1, errHas: "box nope: no such box", calls: []string{"look nope"}},
		{name: "defers run newest first, also after a failure", text: `
def main():
    defer(lambda: log("first"))
    defer(lambda: log("second"))
    fail("no")
`, exit: 1, logs: []string{"second", "first"}},
		{name: "a failing defer fails a run that was done", text: `
def main():
    defer(lambda: fail("late"))
`, exit: 1, errHas: "late", logs: []string{"a deferred function failed: late"}},
		{name: "parallel: all finish, then the first error in item order", text: needsAll + `
def one(n):
    if n > 1:
        fail("item %d" % n)
    return n
def main():
    r = attempt(lambda: parallel([1, 2, 3], one, limit = 2))
    log(r.error.what)
    log(str(parallel([3, 2, 1], lambda n: n * n)))
    log(str(parallel([], one)))
`, logs: []string{"item 2", "[9, 4, 1]", "[]"}},
		{name: "parallel freezes its items", text: `
def grow(l):
    l.append(1)
def main():
    parallel([[]], grow)
`, exit: 1, errHas: "frozen"},
		{name: "retry", text: needsAll + `
def main():
    a = now()
    r = attempt(lambda: retry(lambda: box.look("nope"), times = 3, wait = "10s"))
    log("%s %s" % (r.error.kind, now() - a))
`, logs: []string{"not_found 30s"}, calls: []string{"look nope", "look nope", "look nope"}},
		{name: "wait_until", text: needsAll + `
def full():
    attempt(lambda: box.fill("a"))
    return box.look("b") == 2
def main():
    log(str(wait_until(full)))
    r = attempt(lambda: wait_until(lambda: False, timeout = "20s"))
    log(r.error.kind)
`, logs: []string{"True", "timeout"}, calls: []string{"look b"}},
		{name: "transient reads are tried again", text: needsAll + `
def main():
    log(str(box.look("a")))
`, logs: []string{"1"}, calls: []string{"look a", "look a", "look a"}, adjust: func(s *setup) { s.broken = 2 }},
		{name: "globals are frozen", text: "l = []\ndef main():\n    l.append(1)\n", exit: 1, errHas: "frozen"},
		{name: "steps are limited, branches included", text: `
def spin(_):
    for i in range(1000000000):
        pass
def main():
    attempt(lambda: parallel([1, 2], spin))
    defer(lambda: log("no"))
`, exit: engine.ExitLimit, errHas: "steps", adjust: func(s *setup) { s.limits.Steps = 1e6 }},
		{name: "memory is limited", text: `
def main():
    l = []
    for i in range(100000000):
        l.append("x" * 1000 + str(i))
`, exit: engine.ExitLimit, errHas: "memory", adjust: func(s *setup) { s.limits.Memory = 200 << 20 }},
		{name: "locks", text: `
def main():
    log(with_lock(["guest:1", "guest:2"], lambda: "held"))
    with_lock(["a"], lambda: with_lock(["b"], lambda: 1))
`, exit: 1, logs: []string{"held"}, errHas: "inside another"},
		{name: "json, struct, keep, secret, random", text: `
def main():
    log(json.encode(struct(a = 1, b = keep(daily = 7).daily)))
    log(str(secret("nas")))
    log(str(random(1)))
    log(str(type(now())))
`, logs: []string{`{"a":1,"b":7}`, `secret("nas")`, "0", "time.time"}},
		{name: "std library", text: "load(\"@std//greet.star\", \"greet\")\ndef main():\n    log(greet())\n", logs: []string{"hello std"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var adjust []func(*setup)
			if tt.adjust != nil {
				adjust = append(adjust, tt.adjust)
			}
			r := play(t, tt.text, adjust...)
			if r.loadErr != nil {
				t.Fatalf("it does not load: %v", r.loadErr)
			}
			if r.Exit != tt.exit {
				t.Errorf("exit %d, want %d; error %v", r.Exit, tt.exit, r.Err)
			}
			if got, want := strings.Join(r.logs, "\n"), strings.Join(tt.logs, "\n"); got != want {
				t.Errorf("logs:\n%s\nwant:\n%s", got, want)
			}
			if got, want := strings.Join(r.world.calls, "\n"), strings.Join(tt.calls, "\n"); got != want {
				t.Errorf("calls:\n%s\nwant:\n%s", got, want)
			}
			if tt.errHas != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), tt.errHas)) {
				t.Errorf("error %v, want one with %q", r.Err, tt.errHas)
			}
		})
	}
}

func TestFaultTellsTheStack(t *testing.T) {
	r := play(t, needsAll+"def helper():\n    box.look(\"nope\")\n\ndef main():\n    helper()\n")
	f, ok := errors.AsType[*builtin.Fault](r.Err)
	if !ok {
		t.Fatalf("error %v", r.Err)
	}
	if got := fmt.Sprint(f.Stack); got != "[play.star:6:11 play.star:3:13]" {
		t.Errorf("stack %s", got)
	}
}

func TestDeniedNamesLineAndNeed(t *testing.T) {
	r := play(t, "def main():\n    box.look(\"a\")\n")
	stop, ok := errors.AsType[*builtin.Stop](r.Err)
	if !ok || stop.At.Line != 2 || !strings.Contains(stop.Hint, `needs(box = ["read"])`) {
		t.Fatalf("stop %+v", r.Err)
	}
}

func TestPlanChangesNothing(t *testing.T) {
	r := play(t, needsAll+`
def main():
    r = box.fill("a", 2)
    log("level %d ticket %s" % (r.level, r.ticket))
    box.fill("b", after = r.ticket)
    box.burn("b")
    sleep("1h")
    log("end")
`, planned)
	if r.Exit != 0 || strings.Join(r.world.calls, ",") != "decide b" {
		t.Errorf("exit %d, calls %v, err %v", r.Exit, r.world.calls, r.Err)
	}
	if got := strings.Join(r.logs, "|"); got != "level 2 ticket (known after call 1)|end" {
		t.Errorf("logs %s", got)
	}
}

func TestPlanEndsWhereAValueIsNeeded(t *testing.T) {
	for _, use := range []string{`box.look(r.ticket)`, `{r.ticket: 1}`, `r.ticket < r.ticket`, `r.ticket.x`, `[t for t in r.ticket]`, `r.ticket + "x"`, `attempt(lambda: r.ticket[0])`} {
		r := play(t, needsAll+"def main():\n    r = box.fill(\"a\")\n    x = "+use+"\n    log(\"past\")\n", planned)
		if r.Exit != 0 || r.PlanEnds == "" || len(r.logs) != 0 {
			t.Errorf("%s: exit %d, ends %q, logs %v, err %v", use, r.Exit, r.PlanEnds, r.logs, r.Err)
		}
	}
}

func TestDoesNotLoad(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"syntax error", "def main(:\n", "play.star:1:11: "},
		{"no main", "x = 1\n", "there is no main"},
		{"undefined name", "def main():\n    lok()\n", "play.star:2:5: undefined: lok"},
		{"varargs", "def main(*args):\n    pass\n", "cannot take *args"},
		{"kwargs", "def main(**kw):\n    pass\n", "cannot take *args"},
		{"parameter like a flag", "def main(timeout = 1):\n    pass\n", "--timeout is a flag of nixmox"},
		{"default without a type", "def main(a = []):\n    pass\n", "needs a type in Args"},
		{"unknown type", "def main(a = None):\n    \"\"\"\n    Args:\n      a (nonsense): x\n    \"\"\"\n", `its type in Args is "nonsense"`},
		{"described but not there", "def main():\n    \"\"\"\n    Args:\n      a: x\n    \"\"\"\n", "no parameter of main"},
		{"needs computed", "needs(box = [\"re\" + \"ad\"])\ndef main():\n    pass\n", "a need is a literal string"},
		{"needs twice", "needs(box = [])\nneeds(box = [])\ndef main():\n    pass\n", "declared twice"},
		{"needs hidden", "n = needs\ndef main():\n    pass\n", "needs cannot be used here"},
		{"needs in a function", "def main():\n    needs(box = [])\n", "needs cannot be used here"},
		{"needs of an unknown module", "needs(bx = [\"read\"])\ndef main():\n    pass\n", `no module "bx"`},
		{"needs of an unknown function", "needs(box = [\"lok\"])\ndef main():\n    pass\n", `no function "lok"`},
		{"needs of an unknown parameter", "needs(box = [\"look:$x\"])\ndef main():\n    pass\n", `no parameter "x"`},
		{"a call at the top level", "needs(box = [\"read\"])\nx = box.look(\"a\")\ndef main():\n    pass\n", "play.star:2:13: box.look: may only be called from main"},
		{"a callback at the top level", "x = attempt(lambda: 1)\ndef main():\n    pass\n", "may only be called from main"},
		{"failing top level", "x = [][0]\ndef main():\n    pass\n", "play.star:1:7: index 0 out of range"},
		{"while", "def main():\n    while True:\n        pass\n", "while"},
		{"load of a missing file", "load(\"no.star\", \"x\")\ndef main():\n    pass\n", "play.star:1:6: no.star: no such file"},
		{"load out of the folder", "load(\"../x.star\", \"x\")\ndef main():\n    pass\n", "leaves the playbook's folder"},
		{"load of an absolute file", "load(\"/etc/passwd\", \"x\")\ndef main():\n    pass\n", "not a file beside the playbook"},
		{"load of a missing library", "load(\"@std//no.star\", \"x\")\ndef main():\n    pass\n", "@std//no.star: no such file"},
		{"load of a missing name", "load(\"@std//greet.star\", \"x\")\ndef main():\n    pass\n", "play.star:1:"},
		{"endless top level", "x = [i for i in range(1000000000000)]\ndef main():\n    pass\n", "steps"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := play(t, tt.text, func(s *setup) { s.limits.Steps = 1e6 })
			if r.loadErr == nil {
				t.Fatalf("it loads")
			}
			if r.Exit != engine.ExitCheck || !strings.Contains(r.loadErr.Error(), tt.want) {
				t.Errorf("exit %d: %v, want %q", r.Exit, r.loadErr, tt.want)
			}
		})
	}
}

func TestLoadCycle(t *testing.T) {
	r := play(t, "load(\"a.star\", \"a\")\ndef main():\n    pass\n", func(s *setup) {
		s.files["a.star"] = "load(\"b.star\", \"b\")\na = 1\n"
		s.files["b.star"] = "load(\"a.star\", \"a\")\nb = 1\n"
	})
	if r.loadErr == nil || !strings.Contains(r.loadErr.Error(), "b.star:1:6: load cycle: a.star loads b.star loads a.star") {
		t.Errorf("error %v", r.loadErr)
	}
}

func TestNeedsOfALoadedFile(t *testing.T) {
	r := play(t, "load(\"a.star\", \"a\")\ndef main():\n    pass\n", func(s *setup) {
		s.files["a.star"] = "needs(box = [\"change\"])\na = 1\n"
	})
	if r.loadErr == nil || !strings.Contains(r.loadErr.Error(), "a.star:1:1: a loaded file cannot declare needs") {
		t.Errorf("error %v", r.loadErr)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(builtin.Stopf(builtin.Cancelled, "interrupted"))
	r := play(t, needsAll+"def main():\n    defer(lambda: log(\"no\"))\n    attempt(lambda: box.look(\"a\"))\n", func(s *setup) { s.ctx = ctx })
	_ = r
	if r.loadErr == nil && (r.Exit != engine.ExitInterrupted || r.End != engine.Suspended || len(r.logs) != 0) {
		t.Errorf("exit %d, end %s, logs %v, err %v", r.Exit, r.End, r.logs, r.Err)
	}
}
