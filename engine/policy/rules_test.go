package policy_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
	"nixmox/engine/policy"
)

func rules(allow, deny string) []policy.Narrowing {
	n := policy.Narrowing{Allowing: "f: [allow]", Denying: "f: [deny]", Bounded: allow != "-", Deny: needs(strings.Fields(deny)...)}
	if n.Bounded {
		n.Allow = needs(strings.Fields(allow)...)
	}
	return []policy.Narrowing{n}
}

// TestRules: all is declared; "-" is a policy without a table allow.
func TestRules(t *testing.T) {
	tests := []struct{ name, allow, deny, call, why string }{
		{"no rules", "-", "", "sell 100", ""},
		{"allow has nothing", "", "", "look 100", `f: [allow] does not have yard = ["read"]`},
		{"allow read", "read", "", "look 100", ""},
		{"allow read, a change", "read", "", "move 100", `f: [allow] does not have yard = ["move"]`},
		{"allow change", "change", "", "move 100", ""},
		{"allow change, irreversible", "change", "", "sell 100", `f: [allow] does not have yard = ["sell"]`},
		{"allow by name", "sell:1*", "", "sell 100", ""},
		{"allow others by name", "sell:1*", "", "sell 100 200", `does not have yard = ["sell"]`},
		{"allow some, call of all", "change:1*", "", "move", `does not have yard = ["move"]`},
		{"pure needs nothing", "", "read change count", "count 100", ""},
		{"deny by name", "-", "sell", "sell 100", `f: [deny] has yard = ["sell"]`},
		{"deny another", "-", "sell", "raze north", ""},
		{"deny beats allow", "sell", "sell:100", "sell 100", `f: [deny] has yard = ["sell:100"]`},
		{"deny change, irreversible", "-", "change", "sell 100", `f: [deny] has yard = ["change"]`},
		{"deny change, a read", "-", "change", "look 100", ""},
		{"deny read", "-", "read", "look 100", `has yard = ["read"]`},
		{"deny read, a change", "-", "read", "move 100", ""},
		{"deny one of several", "-", "move:200", "move 100 200", `has yard = ["move:200"]`},
		{"deny some, others", "-", "move:200", "move 100", ""},
		{"deny some, a call of all", "-", "move:200", "move", `has yard = ["move:200"]`},
		{"deny some, no things", "-", "change:200", "sweep", `has yard = ["change:200"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			words := strings.Fields(tt.call)
			c := call(words[0], words[1:]...)
			stop := policy.New(needs("change", "sell", "raze"), nil).Under(rules(tt.allow, tt.deny)).Allow(c)
			if tt.why == "" {
				if stop != nil {
					t.Error(stop)
				}
				return
			}
			if stop == nil || stop.Kind != builtin.Denied || stop.At != c.At || !strings.Contains(stop.What, tt.why) || !strings.Contains(stop.What, "yard."+words[0]) {
				t.Errorf("%+v, want %s", stop, tt.why)
			}
		})
	}
}

// TestRulesOnlyNarrow: under whatever rules, nothing may be done that may not
// be without; and what is said beforehand to be impossible never may.
func TestRulesOnlyNarrow(t *testing.T) {
	entry := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"read", "change", "look", "move", "sell", "sweep"}).Draw(t, "what") +
			rapid.SampledFrom([]string{"", ":*", ":100", ":1*", ":[12]00", ":1*/**"}).Draw(t, "glob")
	})
	entries := rapid.Map(rapid.SliceOfN(entry, 0, 3), func(s []string) string { return strings.Join(s, " ") })
	rapid.Check(t, func(t *rapid.T) {
		declared := needs(strings.Fields(entries.Draw(t, "needs"))...)
		allow := entries.Draw(t, "allow")
		if rapid.Bool().Draw(t, "no allow") {
			allow = "-"
		}
		narrowed := rules(allow, entries.Draw(t, "deny"))
		name := rapid.SampledFrom([]string{"look", "move", "sell", "sweep", "time"}).Draw(t, "function")
		c := call(name, rapid.SliceOf(rapid.SampledFrom([]string{"100", "101", "200", "300"})).Draw(t, "guests")...)
		without := policy.New(declared, nil).Allow(c)
		with := policy.New(declared, nil).Under(narrowed).Allow(c)
		if without != nil && with == nil {
			t.Fatalf("rules allow what is not declared: %v", without)
		}
		if with != nil {
			return
		}
		if why := policy.ExcludesFunc(narrowed, c.Func); why != "" {
			t.Fatalf("it is allowed, and was said to be impossible: %s", why)
		}
		for _, n := range declared {
			single := policy.New([]policy.Need{n}, nil).Under(narrowed).Allow(c) == nil
			if why := policy.ExcludesNeed(narrowed, n, modules); single && why != "" {
				t.Fatalf("%s allows it, and was said to be impossible: %s", n, why)
			}
		}
	})
}

func TestRulesAreChecked(t *testing.T) {
	for text, want := range map[string]string{"read": "", "sell:1*/**": "", "sel": `f: [deny] yard = ["sel"]: yard has no function "sel"`, "sell:$site": "a policy knows no parameters",
		"sell:[": "is no glob", "sell:**/x": "is no glob"} {
		err := rules("-", text)[0].Check(modules)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

type shipArgs struct {
	Site builtin.Later[string] `name:"site" scope:"site"`
}

// TestPlanOfWhatIsToCome: where a rule depends on what only the run will know,
// a plan ends; it claims neither that it may nor that it may not.
func TestPlanOfWhatIsToCome(t *testing.T) {
	dock := builtin.NewModule("yard", "D.", change[shipArgs]("ship"))
	f, _ := dock.Func("ship")
	c := func(site builtin.Later[string]) *builtin.Call {
		return &builtin.Call{Func: f, Args: shipArgs{site}, At: builtin.Position{File: "p.star", Line: 4}}
	}
	planned := c(builtin.PlannedBy[string](&builtin.Call{Place: "3"}))
	known := c(builtin.Now("north"))
	for _, tt := range []struct{ needs, allow, deny, planned, known string }{
		{"ship", "-", "", "", ""},
		{"ship", "-", "ship", "denied", "denied"},
		{"ship", "-", "ship:south", "plan_ends", ""},
		{"ship", "ship:north", "", "plan_ends", ""},
		{"ship:north", "-", "", "plan_ends", ""},
		{"ship:north", "read", "", "denied", "denied"},
		{"read", "-", "", "denied", "denied"},
	} {
		p := policy.New(needs(strings.Fields(tt.needs)...), nil).Under(rules(tt.allow, tt.deny))
		for _, got := range []struct {
			call *builtin.Call
			want string
		}{{planned, tt.planned}, {known, tt.known}} {
			kind := ""
			if stop := p.Allow(got.call); stop != nil {
				kind = string(stop.Kind)
			}
			if kind != got.want {
				t.Errorf("%+v: %q, want %q", tt, kind, got.want)
			}
		}
	}
}

func TestMay(t *testing.T) {
	p := policy.New(append(needs("read", "sell:$more", "raze:n*", "move:$empty"), policy.Need{Module: "barn", What: "look", Glob: "$site"}),
		map[string]any{"more": []any{int64(100), int64(200)}, "empty": []any{}, "site": "north"})
	if got, want := strings.Join(p.May(), "; "), "yard read, sell of 100 and 200, raze of n*, move of nothing; barn look of north"; got != want {
		t.Errorf("%s", got)
	}
}
