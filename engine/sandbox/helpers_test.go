package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/policy"
	"nixmox/engine/source"
)

// forging is how many bytes more of memory tell the child of a test that it is
// not to be an evaluator, but to forge what one says. Nothing but the limit
// reaches a child before it is locked down.
const forging = 1

// TestMain makes the binary an evaluator, whose language is below.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == Argument {
		if strings.TrimRight(os.Args[2], "02468") != os.Args[2] {
			Serve(os.Args[2:], definitions(nil), loadFake)
		}
		forge(os.Args[2])
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

type boxArgs struct {
	Box    builtin.StorageID     `name:"box" scope:"box" doc:"which box"`
	Guest  builtin.VMID          `name:"guest" default:"100" doc:"whose"`
	Amount int64                 `name:"amount" default:"1" doc:"how much"`
	After  builtin.Later[string] `name:"after" default:"" doc:"the ticket of an earlier call"`
}

type boxed struct {
	Ticket builtin.Later[string] `name:"ticket" doc:"a ticket"`
	Level  int64                 `name:"level" doc:"how full it is"`
}

// do is what the engine's side of a test does for a call of box.fill.
type do func(ctx context.Context, a boxArgs) (boxed, error)

// definitions are known to both sides; only the engine's does anything.
func definitions(fill do) language.Definitions {
	if fill == nil {
		fill = func(context.Context, boxArgs) (boxed, error) {
			return boxed{}, errors.New("the evaluator performs nothing")
		}
	}
	none := func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil }
	return language.Definitions{
		Modules: []builtin.Module{builtin.NewModule("box", "Boxes.",
			builtin.NewPure("double", "Twice.", func(_ context.Context, a struct {
				N int64 `name:"n" doc:"a number"`
			}) (int64, error) {
				return 2 * a.N, nil
			}),
			builtin.NewChange("fill", "Fill a box.", builtin.Op[boxArgs, boxed]{Do: fill, Preview: fill, NoSettle: "a test", Keys: func(boxArgs) []string { return nil }}))},
		AtHand: []builtin.Func{builtin.NewPure("log", "Log.", none), builtin.NewPure("defer", "Defer.", none), builtin.NewPure("with_lock", "Lock.", none)},
		Limits: language.Limits{Steps: 1e6, Memory: 64 << 20},
	}
}

// loadFake is a language for tests: a file is the name of what main is to do,
// and of what is to happen while it loads.
func loadFake(ctx context.Context, d language.Definitions, roots source.Roots, file string) (*language.Playbook, error) {
	graph, err := roots.Load(file, func(f *source.File) ([]source.Ref, error) {
		var refs []source.Ref
		for line := range strings.Lines(string(f.Text)) {
			if target, ok := strings.CutPrefix(strings.TrimSpace(line), "load "); ok {
				refs = append(refs, source.Ref{Path: target, At: builtin.Position{File: f.Shown, Line: 1}})
			}
		}
		return refs, nil
	})
	if err != nil {
		return nil, err
	}
	words := strings.Fields(string(graph.Main.Text))
	main := mains[words[len(words)-1]]
	switch {
	case words[0] == "wrong":
		return nil, source.Problems{{At: builtin.Position{File: graph.Main.Shown, Line: 3, Col: 7}, What: "it is wrong", Hint: "put it right"}}
	case words[0] == "hang":
		select {}
	case main == nil:
		return nil, fmt.Errorf("there is no main %q", words)
	}
	fill, _ := d.Modules[0].Func("fill")
	return &language.Playbook{
		Doc: "A test.", Needs: []policy.Need{policy.ParseNeed("box", "change", builtin.Position{})}, Graph: graph,
		Params: []builtin.Param{{Name: "n", Type: language.TypeNamed("int"), Default: int64(1)}, {Name: "names", Type: language.TypeNamed("list"), Default: []any{"a"}}},
		Uses:   func() []language.Used { return []language.Used{{Module: "box", Name: "fill"}} },
		Main: func(ctx context.Context, run *builtin.Run, values map[string]any) error {
			return main(script{ctx, run, fill, values, builtin.BranchFrom(ctx), d})
		},
	}, nil
}

// script is what a main of the fake language has.
type script struct {
	ctx    context.Context
	run    *builtin.Run
	fill   *builtin.Func
	values map[string]any
	branch *builtin.Branch
	d      language.Definitions
}

func (s script) call(a boxArgs) (boxed, error) {
	r, err := s.run.Perform(s.ctx, builtin.Call{Place: s.branch.Next(), Func: s.fill, Args: a, Run: s.run, Branch: s.branch})
	out, _ := r.(boxed)
	return out, err
}

func (s script) log(format string, a ...any) {
	s.run.Log(builtin.Call{Run: s.run}, "info", fmt.Sprintf(format, a...))
}

// fn is a function of the fake language.
type fn func(ctx context.Context) error

func (f fn) Call(ctx context.Context, _ ...builtin.Value) (builtin.Value, error) { return nil, f(ctx) }
func (f fn) Fork(*builtin.Branch, ...builtin.Value) func(context.Context) (builtin.Value, error) {
	return nil
}
func (f fn) True(builtin.Value) bool { return false }

// played is the engine's side: what was performed and said.
type played struct {
	mu     sync.Mutex
	calls  []string
	logs   []string
	locks  []string
	defers []builtin.Callback
	run    *builtin.Run
	defs   language.Definitions
}

func (p *played) note(list *[]string, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*list = append(*list, text)
}

// newPlayed makes a run that performs what the needs of the fake playbook
// cover, as the engine would. fill may be nil.
func newPlayed(fill do) *played {
	p := &played{}
	p.defs = definitions(func(ctx context.Context, a boxArgs) (boxed, error) {
		call := builtin.CallFrom(ctx)
		p.note(&p.calls, fmt.Sprintf("%s %s %d", call.Place, a.Box, a.Amount))
		if fill != nil {
			return fill(ctx, a)
		}
		return boxed{Ticket: builtin.Now("t"), Level: a.Amount}, nil
	})
	allowed := policy.New([]policy.Need{policy.ParseNeed("box", "fill:a*", builtin.Position{})}, nil)
	p.run = &builtin.Run{ID: "R", Playbook: "play", Now: time.Now,
		Perform: func(ctx context.Context, call builtin.Call) (any, error) {
			if stop := allowed.Allow(&call); stop != nil {
				return nil, stop
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if call.Run.Planned != nil {
				return call.Func.Preview(ctx, &call)
			}
			return call.Func.Do(ctx, &call)
		},
		Log: func(_ builtin.Call, level, text string) { p.note(&p.logs, text) },
		Lock: func(_ context.Context, _ builtin.Call, keys []string) (func(), error) {
			p.note(&p.locks, "take "+strings.Join(keys, ","))
			if slices.Contains(keys, "taken") {
				return nil, builtin.Faultf(builtin.Busy, "lock taken")
			}
			return func() { p.note(&p.locks, "give "+strings.Join(keys, ",")) }, nil
		},
		Defer: func(_ builtin.Call, fn builtin.Callback) { p.mu.Lock(); p.defers = append(p.defers, fn); p.mu.Unlock() },
	}
	return p
}

const memory = 64 << 20

// load loads files; the playbook is play.fake.
func (p *played) load(t testing.TB, o Options, files map[string]string) (*language.Playbook, error) {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return p.loadFrom(t, o, source.Roots{Playbook: root, Shown: "books/", Std: fstest.MapFS{"std.fake": {Data: []byte("of the library")}}})
}

func (p *played) loadFrom(t testing.TB, o Options, roots source.Roots) (*language.Playbook, error) {
	t.Helper()
	if o.Memory == 0 {
		o.Memory = memory
	}
	playbook, err := Load(t.Context(), o, p.defs, roots, "play.fake")
	if err == nil {
		t.Cleanup(func() {
			if err := playbook.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return playbook, err
}

// main loads a playbook whose main is so called and runs it.
func (p *played) main(t testing.TB, ctx context.Context, name string) error {
	t.Helper()
	playbook, err := p.load(t, Options{}, map[string]string{"play.fake": name})
	if err != nil {
		t.Fatal(err)
	}
	return playbook.Main(builtin.WithBranch(ctx, builtin.NewBranch()), p.run, map[string]any{"n": int64(3), "names": []any{"x", "y"}})
}

// stopKind is the stop condition of an error, "" if it is none.
func stopKind(err error) builtin.StopKind {
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		return stop.Kind
	}
	return ""
}

func mustJSON(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// gated performs as p does, but a call of a negative amount lasts until the
// run ends.
func gated(p *played) builtin.Performer {
	inner := p.run.Perform
	return func(ctx context.Context, call builtin.Call) (any, error) {
		if a, ok := call.Args.(boxArgs); ok && a.Amount < 0 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return inner(ctx, call)
	}
}
