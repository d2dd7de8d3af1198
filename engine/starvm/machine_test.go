package starvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

const endless = `
def turn(n):
    for i in range(1000000000):
        for j in range(1000000000):
            pass
`

// TestCancelled: an endless loop ends soon after its context, alone and in
// branches, and says why.
func TestCancelled(t *testing.T) {
	for name, main := range map[string]string{"alone": "turn(0)", "in branches": "parallel(turn, [1, 2, 3])", "in a callback": "do(turn, [1])"} {
		t.Run(name, func(t *testing.T) {
			p := &probe{}
			l := p.definitions()
			l.Limits = language.Limits{}
			playbook, err := load(t.Context(), l, endless+"def main():\n    m.look(1)\n    "+main+"\n")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			r := p.run()
			r.Perform = func(context.Context, builtin.Call) (any, error) {
				cancel(builtin.Stopf(builtin.Cancelled, "enough")) // from here on it never calls again
				return struct{}{}, nil
			}
			done := make(chan error, 1)
			go func() { done <- playbook.Main(builtin.WithBranch(ctx, builtin.NewBranch()), r, nil) }()
			select {
			case err := <-done:
				if stop, ok := errors.AsType[*builtin.Stop](err); !ok || stop.Kind != builtin.Cancelled || stop.What != "enough" {
					t.Errorf("error %v", err)
				}
			case <-time.After(20 * time.Second): // it takes some milliseconds
				t.Fatal("it goes on")
			}
		})
	}
}

func TestCancelledWhileLoading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := (&probe{}).definitions()
	l.Limits = language.Limits{}
	_, err := load(ctx, l, "x = [i for i in range(1000000000000)]\ndef main():\n    pass\n")
	if err == nil {
		t.Error("it loads")
	}
}

// TestBranches: many, of shared frozen values, with calls, callbacks and
// branches of their own; for the race detector. Places are the same each time.
func TestBranches(t *testing.T) {
	body := `
shared = {"a": [1, 2, 3], "t": m.thing()}
def inner(n):
    m.look(n)
    return n + len(shared["a"]) + shared["t"].guest
def outer(n):
    m.look(n)
    log("%d %s" % (n, shared["t"]))
    return do(lambda: parallel(inner, [n, n + 1]))
log(str(parallel(outer, range(20))[19]))
`
	var first []builtin.Place
	for range 3 {
		p, err := run(t.Context(), body)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.logs[len(p.logs)-1]; len(p.logs) != 21 || got != "[122, 123]" {
			t.Errorf("%d logs, the last %s", len(p.logs), got)
		}
		slices.Sort(p.places)
		if len(p.places) != 60 || len(slices.Compact(slices.Clone(p.places))) != 60 {
			t.Fatalf("%d places: %v", len(p.places), p.places)
		}
		if first == nil {
			first = p.places
		}
		if !slices.Equal(p.places, first) {
			t.Errorf("places %v, then %v", first, p.places)
		}
	}
}

func TestBranchesAreFrozen(t *testing.T) {
	for _, body := range []string{
		"parallel(lambda l: l.append(1), [[]])",
		"l = []\nparallel(lambda n: l.append(n), [1])",
		"r = parallel(lambda n: [n], [1])\nr[0].append(2)",
	} {
		if _, err := run(t.Context(), body); err == nil || !strings.Contains(err.Error(), "frozen") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// TestBuiltinAsCallback: a built-in may itself be what another calls, on a
// thread of its own where no line of the playbook calls it.
func TestBuiltinAsCallback(t *testing.T) {
	p, err := run(t.Context(), `
parallel(log, ["branch"])
parallel(m.look, [1])
parallel(print, ["printed"])
do(log, ["here"])
`)
	if err != nil || strings.Join(p.logs, " ") != "branch printed here" {
		t.Fatalf("%v %v", p.logs, err)
	}
	if got := fmt.Sprint(p.at); got != "[   p.star:5:7]" {
		t.Errorf("called at %s", got)
	}
}

// TestFaultsHaveTheirPlace, in the playbook's own lines, outermost first.
func TestFaultsHaveTheirPlace(t *testing.T) {
	tests := []struct{ name, body, what, stack string }{
		{"of the language", "x = [][0]", "index 0 out of range", "[p.star:2:11]"},
		{"of a call", `m.flat("a")`, "m.flat: n is missing", "[p.star:2:11]"},
		{"in a function", "def f():\n    m.flat(\"a\")\nf()", "m.flat: n is missing", "[p.star:4:6 p.star:3:15]"},
		{"in a callback", "do(lambda: [][0])", "index 0 out of range", "[p.star:2:7 p.star:2:18]"},
		{"recursion", "def f():\n    f()\nf()", "function f called recursively", "[p.star:4:6 p.star:3:10 p.star:3:9]"},
		{"recursion by way of a callback", "def f():\n    do(f)\ndo(f)", "function f called recursively", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := run(t.Context(), tt.body)
			f, ok := errors.AsType[*builtin.Fault](err)
			if !ok || !strings.Contains(f.Error(), tt.what) {
				t.Fatalf("error %v, want %q", err, tt.what)
			}
			if got := fmt.Sprint(f.Stack); tt.stack != "" && got != tt.stack {
				t.Errorf("stack %s, want %s", got, tt.stack)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	p := &probe{}
	l := p.definitions()
	l.Limits.Steps = 1e6
	playbook, err := load(t.Context(), l, endless+"def main():\n    parallel(turn, [1, 2])\n")
	if err != nil {
		t.Fatal(err)
	}
	err = playbook.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), p.run(), nil)
	if stop, ok := errors.AsType[*builtin.Stop](err); !ok || stop.Kind != builtin.Limit || stop.At.Line == 0 {
		t.Errorf("error %#v", err)
	}
}

// TestTruth is what wait_until asks.
func TestTruth(t *testing.T) {
	m := newMachine(t.Context(), nil, language.Limits{})
	fn := &callback{}
	for name, want := range map[string]struct {
		neutral any
		truth   bool
	}{"None": {nil, false}, "zero": {int64(0), false}, "a list": {[]any{int64(1)}, true}, "an empty list": {[]any{}, false},
		"a record": {builtin.NeutralOf(builtin.Keep{}), true}, "a secret": {builtin.NamedSecret("x"), true}} {
		v, err := m.value(want.neutral)
		if err != nil || fn.True(v) != want.truth {
			t.Errorf("%s: %v %v", name, fn.True(v), err)
		}
	}
	if fn.True(7) {
		t.Error("what is no value of the language is true")
	}
}
