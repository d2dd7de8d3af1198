package policy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
	"nixmox/engine/policy"
)

type guestArgs struct {
	Guests []builtin.VMID `name:"guests" scope:"guest"`
}

type siteArgs struct {
	Site string `name:"site" scope:"site"`
}

type noArgs struct{}

func do[A, R any](context.Context, A) (R, error) { var r R; return r, nil }

func change[A any](name string) builtin.Func {
	return builtin.NewChange(name, "C.", builtin.Op[A, noArgs]{Preview: do[A, noArgs], Do: do[A, noArgs], NoSettle: "no", Keys: func(A) []string { return nil }})
}

func irreversible[A any](name string) builtin.Func {
	with := func(context.Context, A, int) (noArgs, error) { return noArgs{}, nil }
	return builtin.NewIrreversible(name, "I.", builtin.IrreversibleOp[A, int, noArgs]{Decide: do[A, int], Preview: with, Do: with,
		NoSettle: "no", Keys: func(A) []string { return nil }})
}

var (
	yard = builtin.NewModule("yard", "Y.", builtin.NewPure("count", "P.", do[guestArgs, int64]), builtin.NewRead("look", "R.", do[guestArgs, int64]),
		builtin.NewRead("time", "R.", do[noArgs, int64]), change[guestArgs]("move"), change[noArgs]("sweep"), irreversible[guestArgs]("sell"), irreversible[siteArgs]("raze"))
	barn    = builtin.NewModule("barn", "B.", builtin.NewRead("look", "R.", do[siteArgs, int64]))
	modules = []builtin.Module{yard, barn}
	args    = map[string]func(...string) any{"count": guests, "look": guests, "time": nothing, "move": guests, "sweep": nothing, "sell": guests, "raze": site}
)

func guests(ids ...string) any {
	var a guestArgs
	for _, text := range ids {
		var id builtin.VMID
		if err := id.UnmarshalText([]byte(text)); err != nil {
			panic(err)
		}
		a.Guests = append(a.Guests, id)
	}
	return a
}
func nothing(...string) any { return noArgs{} }
func site(names ...string) any {
	return siteArgs{Site: strings.Join(names, "")}
}

func call(name string, values ...string) *builtin.Call {
	f, ok := yard.Func(name)
	if !ok {
		panic(name)
	}
	return &builtin.Call{Func: f, Args: args[name](values...), At: builtin.Position{File: "p.star", Line: 4}}
}

func needs(texts ...string) []policy.Need {
	var out []policy.Need
	for _, text := range texts {
		out = append(out, policy.ParseNeed("yard", text, builtin.Position{File: "p.star", Line: 1, Col: 8}))
	}
	return out
}

func TestAllow(t *testing.T) {
	params := map[string]any{"one": int64(100), "more": []any{int64(100), int64(200)}, "empty": []any{}, "none": nil, "star": "*", "site": "north"}
	tests := []struct {
		name  string
		needs string // parted by spaces
		call  string // function and what it names
		allow bool
	}{
		{"nothing", "", "look 100", false},
		{"pure needs nothing", "", "count 100", true},
		{"read: a read", "read", "look 100", true},
		{"read: no change", "read", "move 100", false},
		{"read: nothing irreversible", "read", "sell 100", false},
		{"change: a read", "change", "look 100", true},
		{"change: a change", "change", "move 100", true},
		{"change: nothing irreversible", "change", "sell 100", false},
		{"a function", "move", "move 100", true},
		{"a function is no other", "move", "look 100", false},
		{"irreversible by its name", "sell", "sell 100", true},
		{"irreversible by no other's", "sell", "raze north", false},
		{"a glob", "move:1*", "move 100", true},
		{"a glob that does not match", "move:1*", "move 200", false},
		{"a class of characters", "move:[12]00", "move 200", true},
		{"every value must match", "move:1*", "move 100 200", false},
		{"several that match", "move:1*", "move 100 199", true},
		{"values cannot share needs", "move:100 move:200", "move 100 200", false},
		{"one of several needs", "look:900 move:100 move:200", "move 200", true},
		{"a glob with read", "read:1*", "look 100", true},
		{"a glob with read that does not match", "read:1*", "look 200", false},
		{"a glob with change, of a read", "change:1*", "look 100", true},
		{"a glob with change, of what is irreversible", "change:1*", "sell 100", false},
		{"names nothing, without a glob", "move", "move", true},
		{"names nothing, with a glob", "move:[1-9]*", "move", false},
		{"names nothing, with the glob that matches all", "move:*", "move", true},
		{"no scope, with a glob", "change:1*", "sweep", false},
		{"no scope, without", "change", "sweep", true},
		{"an empty name", "raze:n*", "raze", false},
		{"a parameter", "move:$one", "move 100", true},
		{"a parameter, another value", "move:$one", "move 200", false},
		{"a list", "move:$more", "move 100 200", true},
		{"a list, one too many", "move:$more", "move 100 300", false},
		{"an empty list", "move:$empty", "move 100", false},
		{"a list, and a call that names nothing", "move:$more", "move", false},
		{"a parameter that was not given", "move:$none", "move 100", false},
		{"no such parameter", "move:$nope", "move 100", false},
		{"a value is no glob", "move:$star", "move 100", false},
		{"a parameter's text", "raze:$site", "raze north", true},
		{"a glob stops at /", "raze:a*", "raze a/b", false},
		{"a colon with nothing after it", "change:", "move 100", false},
		{"nothing before the colon", ":100", "move 100", false},
		{"a broken glob", "raze:[", "raze [", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			words := strings.Fields(tt.call)
			c := call(words[0], words[1:]...)
			stop := policy.New(needs(strings.Fields(tt.needs)...), params).Allow(c)
			if (stop == nil) != tt.allow {
				t.Fatalf("%v", stop)
			}
			if stop == nil {
				return
			}
			if stop.Kind != builtin.Denied || stop.At != c.At || !strings.Contains(stop.Hint, "needs(yard = [") {
				t.Errorf("stop %+v", stop)
			}
			if want := strings.Join(words[1:], ", "); !strings.Contains(stop.What, "yard."+words[0]) || !strings.Contains(stop.What, want) {
				t.Errorf("stop says %q, without %q", stop.What, want)
			}
		})
	}
}

func TestAllowOfAnotherModule(t *testing.T) {
	f, _ := barn.Func("look")
	if stop := policy.New(needs("read", "look"), nil).Allow(&builtin.Call{Func: f, Args: siteArgs{}}); stop == nil {
		t.Error("a need of yard covers barn")
	}
}

func TestAlwaysAtHandNeedsNothing(t *testing.T) {
	f := builtin.NewRead("now", "N.", do[noArgs, int64])
	if stop := policy.New(nil, nil).Allow(&builtin.Call{Func: &f, Args: noArgs{}}); stop != nil {
		t.Error(stop)
	}
}

func TestCheck(t *testing.T) {
	params := []builtin.Param{{Name: "site"}}
	at := builtin.Position{File: "p.star", Line: 1, Col: 8}
	tests := []struct{ module, need, want string }{
		{"yard", "read", ""},
		{"yard", "change:1*", ""},
		{"yard", "sell:$site", ""},
		{"yard", "time", ""},
		{"yrd", "read", `there is no module "yrd"`},
		{"yard", "sel", `yard has no function "sel"`},
		{"yard", "irreversible", `no function "irreversible"`},
		{"yard", "Read", `no function "Read"`},
		{"yard", "", `no function ""`},
		{"yard", "*", `no function "*"`},
		{"yard", ":1*", `no function ""`},
		{"yard", "change:", `no function "change:"`},
		{"yard", "sell:", `no function "sell:"`},
		{"yard", "time:x", `yard.time names nothing that "x" could match`},
		{"yard", "sell:$nope", `main has no parameter "nope"`},
		{"yard", "sell:$", `main has no parameter ""`},
		{"yard", "sell:[", `"[" is no glob`},
	}
	for _, tt := range tests {
		t.Run(tt.module+"="+tt.need, func(t *testing.T) {
			problems := policy.Check([]policy.Need{policy.ParseNeed(tt.module, tt.need, at)}, modules, params)
			if tt.want == "" {
				if problems != nil {
					t.Errorf("%v", problems)
				}
				return
			}
			if len(problems) != 1 || !strings.Contains(problems[0].What, tt.want) || problems[0].At != at {
				t.Errorf("%+v, want %q", problems, tt.want)
			}
		})
	}
	if problems := policy.Check(needs("read", "a", "b"), modules, nil); len(problems) != 2 {
		t.Errorf("of two problems it tells %v", problems)
	}
}

func TestDeclare(t *testing.T) {
	for name, want := range map[string]string{"look": `needs(yard = ["read"])`, "move": `needs(yard = ["move"])`, "sell": `needs(yard = ["sell"])`} {
		f, _ := yard.Func(name)
		hint := policy.Declare(f)
		if !strings.Contains(hint, want) {
			t.Errorf("%s: %s", name, hint)
		}
		// Whoever does what the hint says is not denied again.
		need := policy.ParseNeed("yard", hint[strings.Index(hint, `["`)+2:strings.Index(hint, `"]`)], builtin.Position{})
		if !policy.Declared([]policy.Need{need}, f) || policy.New([]policy.Need{need}, nil).Allow(call(name, "100")) != nil {
			t.Errorf("%s: its hint does not help: %s", name, hint)
		}
	}
}

func TestNeedPrintsAsItWasWritten(t *testing.T) {
	for _, text := range []string{"read", "sell:1*", "move:$site", "change:"} {
		if got := policy.ParseNeed("yard", text, builtin.Position{}).String(); got != text {
			t.Errorf("%q prints as %q", text, got)
		}
	}
}

// TestIrreversibleOnlyByName: whatever is declared, and whatever the call
// names, something irreversible runs only if its own name is among the needs.
func TestIrreversibleOnlyByName(t *testing.T) {
	globs := rapid.OneOf(rapid.Just(""), rapid.SampledFrom([]string{":*", ":1*", ":$all", ":100", ":?*", ":"}), rapid.Map(rapid.StringMatching(`[*?\[\]0-9a-z$]{0,6}`), func(s string) string { return ":" + s }))
	words := rapid.SampledFrom([]string{"read", "change", "look", "move", "sweep", "raze", "irreversible", "*", "sell*", ""})
	rapid.Check(t, func(t *rapid.T) {
		var list []policy.Need
		for i := range rapid.IntRange(0, 5).Draw(t, "needs") {
			text := words.Draw(t, fmt.Sprint("word ", i)) + globs.Draw(t, fmt.Sprint("glob ", i))
			list = append(list, needs(text)...)
		}
		ids := rapid.SliceOf(rapid.Map(rapid.IntRange(100, 999), func(n int) string { return fmt.Sprint(n) })).Draw(t, "ids")
		params := map[string]any{"all": []any{int64(100), "sell"}}
		if stop := policy.New(list, params).Allow(call("sell", ids...)); stop == nil {
			t.Fatalf("%v allow it", list)
		}
		sell, _ := yard.Func("sell")
		if policy.Declared(list, sell) {
			t.Fatalf("%v declare it", list)
		}
	})
}
