package starvm

import (
	"errors"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

// TestRecords: each line logs one value; the second column is it.
func TestRecords(t *testing.T) {
	tests := []struct{ expr, want string }{
		{"t.guest", "100"},
		{"t.serial", "18446744073709551615"},
		{"t.seen", "None"},
		{"t.keep.daily", "7"},
		{"t.volume", "nas:x"},
		{"t.tags[0]", "b"},
		{"type(t)", "thing"},
		{"type(t.keep)", "Keep"},
		{"bool(t)", "True"},
		{"dir(t.keep)[0]", "daily"},
		{`getattr(t, "nope", "none")`, "none"},
		{`hasattr(t, "name")`, "True"},
		{`m.flat("a", 1)`, `flat(name = "a", n = 1)`},
		{`m.flat("a", 1) == m.flat("a", 1)`, "True"},
		{`m.flat("a", 1) == m.flat("a", 2)`, "False"},
		{`m.flat("a", 1) != m.flat("a", 2)`, "True"},
		{`m.flat("a", 1) == m.flats("a", 1)[0]`, "True"}, // of another function, the same type
		{`m.flat("a", 1) in m.flats("a", 1)`, "True"},
		{`m.flat("a", 1) == m.other("a", 1)`, "False"}, // another type with the same fields
		{`m.flat("a", 1) == 1`, "False"},
		{`m.flat("a", 1) == struct(name = "a", n = 1)`, "False"},
		{`{m.flat("a", 1): "x"}[m.flats("a", 1)[0]]`, "x"},
		{`len(set([m.flat("a", 1), m.flat("a", 1), m.flat("a", 2)]))`, "2"},
		{`json.encode(m.flat("a\"", 1))`, `{"n":1,"name":"a\""}`},
		{`json.encode(t.keep)`, `{"daily":7,"hourly":0,"last":0,"minimum":0,"monthly":0,"weekly":0,"yearly":0}`},
		{`json.encode([m.flat("a", 1)])`, `[{"n":1,"name":"a"}]`},
		{`t.key`, `secret("nas")`},
		{"json.encode(t.key)", `{"secret":"nas"}`},
		{`json.encode({"at": t.at, "took": [t.took]})`, `{"at":"2026-11-23T12:00:00Z","took":["1m30s"]}`},
		{`json.encode(struct(a = (1, 2.0), b = None))`, `{"a":[1,2.0],"b":null}`},
		{`json.decode(json.encode(t))["serial"] == t.serial`, "True"},
		{`json.decode(json.encode(t))["keep"]["daily"]`, "7"},
		{`t.key == m.thing().key`, "True"},
		{`"%s %r" % (t.key, t.key)`, `secret("nas") secret("nas")`},
		{`m.flat(**{"name": "a", "n": 1}).n`, "1"},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			p, err := run(t.Context(), "t = m.thing()\nlog(str("+tt.expr+"))")
			if err != nil || strings.Join(p.logs, "") != tt.want {
				t.Errorf("%v, %v; want %s", p.logs, err, tt.want)
			}
		})
	}
}

func TestRecordsRefuse(t *testing.T) {
	tests := []struct{ expr, want string }{
		{"t.nope", "thing has no .nope"},
		{"t < t", "thing < thing not implemented"},
		{"{t: 1}", "unhashable: thing"},
		{"t.tags.append(1)", "frozen"},
		{"{t.key: 1}", "unhashable: secret"},
		{"t.key.text", "no .text"},
		{"json.encode(len)", "json.encode: a function cannot be written as JSON"},
		{"json.encode({1: 2})", "json.encode: a dict's key is 1, want a string"},
		{`json.encode(float("nan"))`, "json.encode: JSON has no NaN"},
		{`m.flat("a")`, "n is missing"},
		{`m.flat("a", "b")`, `n: want an int, got the string "b"`},
		{`m.flat("a", 1, 2)`, "takes 2 arguments, got 3"},
		{`m.flat("a", n = 1, name = "b")`, "got name twice"},
		{`m.flat("a", n = 1, x = 2)`, `has no argument "x"`},
		{`m.flat("a", n = b"")`, "n: a bytes cannot be passed"},
		{`m.nope()`, "no .nope"},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			_, err := run(t.Context(), "t = m.thing()\nx = "+tt.expr)
			f, ok := errors.AsType[*builtin.Fault](err)
			if !ok || !strings.Contains(f.Error(), tt.want) || len(f.Stack) == 0 || f.Stack[0].Line != 3 {
				t.Errorf("error %#v, want %q in line 3", err, tt.want)
			}
		})
	}
}

// TestResultsAsArguments: what one call returned, another takes.
func TestResultsAsArguments(t *testing.T) {
	p, err := run(t.Context(), `
t = m.thing()
m.take(**{n: getattr(t, n) for n in dir(t)})
`)
	if err != nil || len(p.got) != 1 {
		t.Fatalf("%v %v", p.got, err)
	}
	rec := p.got[0].(*builtin.Record)
	for _, name := range []string{"guest", "serial", "at", "took", "key", "volume", "seen"} {
		got, _ := rec.Get(name)
		want, _ := builtin.NeutralOf(theThing).(*builtin.Record).Get(name)
		if gotText, wantText := mustJSON(t, got), mustJSON(t, want); gotText != wantText {
			t.Errorf("%s is %s, want %s", name, gotText, wantText)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := builtin.MarshalNeutral(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestOpaque: what only the run will know may be passed on and shown.
// Anything else ends the plan, and nothing is done on a guess.
func TestOpaque(t *testing.T) {
	tests := []struct {
		body string
		ends string // part of why; "" if it goes on
	}{
		{"log(str(v))", ""},
		{`log("archive %s" % v)`, ""},
		{"m.take(**{n: getattr(t, n) for n in dir(t)})", ""},
		{"l = [v]\nd = {\"v\": v}", ""},
		{"v < v", "is compared"},
		{"v == v", "is compared"},
		{"v in [v]", "is compared"},
		{"{v: 1}", "is used as a key"},
		{"v.name", "is looked into"},
		{"m.flat(v, 1)", "is needed to go on"},
		{"m.flat(\"a\", v)", "is needed to go on"},
		{"x = v + \"x\"", "is needed: unknown binary op"},
		{"x = len(v)", "is needed: len"},
		{"x = v[0]", "is needed: unhandled index"},
		{"json.encode(v)", "is written as JSON"},
		{"json.encode([t])", "is written as JSON"},
		{"if v:\n    m.look(1)", "is used as a condition"},
		{"m.look(1 if v else 2)", "is used as a condition"},
		{"x = not v", "is used as a condition"},
		{"x = v or 1", "is used as a condition"},
		{"x = any([v])", "is used as a condition"},
		{"log(\"x\" if bool(v) else \"y\")", "is used as a condition"},
		{"do(lambda: 1 if v else 2)\nm.look(1)", "is used as a condition"},
		{"parallel(lambda _: 1 if v else 2, [1, 2])\nm.look(1)", "is used as a condition"},
	}
	for _, tt := range tests {
		t.Run(tt.body, func(t *testing.T) {
			p, err := plan(t.Context(), "t = m.planned()\nv = t.volume\n"+tt.body)
			if tt.ends == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			stop, ok := errors.AsType[*builtin.Stop](err)
			if !ok || stop.Kind != builtin.PlanEnds || !strings.Contains(stop.What, tt.ends) {
				t.Errorf("error %v, want the plan's end: %s", err, tt.ends)
			}
			if len(p.places) > 0 || len(p.logs) > 0 {
				t.Errorf("it went on: calls %v, logs %v", p.places, p.logs)
			}
		})
	}
}
