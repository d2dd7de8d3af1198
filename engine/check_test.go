package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

type failer interface {
	Helper()
	Fatal(args ...any)
}

// checks are the problems of a playbook, a line each.
func checks(t failer, files map[string]string) []string {
	t.Helper()
	roots := source.Roots{Playbook: fstest.MapFS{}}
	main := ""
	for name, text := range files {
		roots.Playbook.(fstest.MapFS)[name] = &fstest.MapFile{Data: []byte(text)}
		if strings.HasPrefix(name, "p.") {
			main = name
		}
	}
	e := parityEngine(nil)
	p, err := e.Load(context.Background(), roots, main)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, problem := range e.Check(p) {
		out = append(out, problem.Error())
	}
	return out
}

// TestCheckCalls: what check says of one call, in both languages.
func TestCheckCalls(t *testing.T) {
	tests := []struct{ name, star, lua, want string }{
		{"all is right", `m.pair("a", n = 2)`, `m.pair("a", {n = 2})`, ""},
		{"what is not known is not judged", `m.pair(str(1), n = len("x"))`, `m.pair(tostring(1), {n = #"x"})`, ""},
		{"an argument there is not", `m.pair("a", m = 2)`, `m.pair("a", {m = 2})`, `m.pair: has no argument "m"`},
		{"an argument missing", `m.pair(n = 2)`, `m.pair{n = 2}`, "m.pair: name is missing"},
		{"none at all", `m.pair()`, `m.pair()`, "m.pair: name is missing"},
		{"too many", `m.pair("a", 1, 2)`, `m.pair("a", 1, 2)`, "m.pair: takes 2 arguments, got 3"},
		{"given twice", `m.pair("a", name = "b")`, `m.pair("a", {name = "b"})`, "m.pair: got name twice"},
		{"a text for a number", `m.pair("a", "b")`, `m.pair("a", "b")`, `m.pair: n: want an int, got the string "b"`},
		{"a number for a text", `m.pair(name = 1)`, `m.pair{name = 1}`, `m.pair: name: want a string, got the int 1`},
		{"a negative number", `m.pair(-1)`, `m.pair(-1)`, `m.pair: name: want a string, got the int -1`},
		{"a fraction", `m.pair("a", 0.5)`, `m.pair("a", 0.5)`, `m.pair: n: want an int, got a float`},
		{"a list", `m.pair(["a"])`, `m.pair({"a"})`, `m.pair: name: want a string, got a list`},
		{"a list of the wrong", `m.pairs(["a", 1])`, `m.pairs({"a", 1})`, `m.pairs: names: item 1: want a string, got the int 1`},
		{"a list that holds what is not known", `m.pairs([str(1), 1])`, `m.pairs({tostring(1), 1})`, ""},
		{"a named type's grammar", `m.take(guests = [99])`, `m.take{guests = {99}}`, "m.take: guests: item 0: "},
		{"a duration", `m.take(wait = "soon")`, `m.take{wait = "soon"}`, `m.take: wait: `},
		{"a record's fields", `m.take(keep = {"dayly": 7})`, `m.take{keep = {dayly = 7}}`, `has no field "dayly"`},
		{"a record", `m.take(keep = {"daily": 7})`, `m.take{keep = {daily = 7}}`, ""},
		{"a text for a secret", `m.take(key = "abc")`, `m.take{key = "abc"}`, "m.take: key: want a secret"},
		{"the rest", `m.take(more = "x")`, `m.take(nil, {more = "x"})`, ""},
		{"the rest, of the wrong type", `m.take(more = 1)`, `m.take(nil, {more = 1})`, "m.take: more: want a string, got the int 1"},
		{"empty lists and dicts", `m.take(guests = [], limits = {})`, `m.take{guests = {}, limits = {}}`, ""},
		{"nothing", `keep(daily = None)`, `keep{daily = nil}`, ""},
		{"always at hand", `log("x", levle = "info")`, `log("x", {levle = "info"})`, `log: has no argument "levle"`},
		{"a word there is not", `log("x", level = "loud")`, `log("x", {level = "loud"})`, `log: level: "loud" is none of debug, info, warning, error`},
		{"no function", `attempt("x")`, `attempt("x")`, `attempt: fn: want a function, got the string "x"`},
		{"keep as text", `keep("dayly=7")`, `keep("dayly=7")`, `there is no "dayly"; known are last, hourly`},
		{"keep as text", `keep("keep-daily=7,last=1")`, `keep("keep-daily=7,last=1")`, ""},
		{"keep", `keep(daily = "many")`, `keep{daily = "many"}`, `keep: daily: want `},
		{"a function there is not", `m.nope(1)`, `m.nope(1)`, `m has no function "nope"`},
		{"a need that is missing", `m.fill("a")`, `m.fill("a")`, "m.fill is not among the needs of this playbook"},
		{"inside a function", `attempt(lambda: m.pair())`, `attempt(function() m.pair() end)`, "m.pair: name is missing"},
		{"arguments nobody sees", `m.pair(*["a"], **{"n": 2})`, `m.pair(unpack({"a"}))`, ""},
		{"a name of its own", `f = [log for log in [m.pair]]`, `local log = m.pair; log("a")`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			star := checks(t, map[string]string{"p.star": "needs(m = [\"read\"])\ndef main():\n    m.thing()\n    " + tt.star + "\n"})
			lua := checks(t, map[string]string{"p.lua": "needs{m = {\"read\"}}\nfunction main()\n  m.thing()\n  " + tt.lua + "\nend\n"})
			for language, got := range map[string][]string{"p.star": star, "p.lua": lua} {
				switch {
				case tt.want == "" && len(got) == 0:
				case tt.want != "" && len(got) == 1 && strings.Contains(got[0], tt.want) && strings.HasPrefix(got[0], language+":4:"):
				default:
					t.Errorf("%s: %q, want %q on line 4", language, got, tt.want)
				}
			}
		})
	}
}

// TestCheckPositions: an argument is shown where it stands, in libraries, too.
func TestCheckPositions(t *testing.T) {
	got := checks(t, map[string]string{
		"p.star":   "load(\"lib.star\", \"f\")\nneeds(m = [\"thing\", \"pair\"])\ndef main():\n    f(\n        m.pair(\"a\",\n            n = \"b\"))\n",
		"lib.star": "def f(x):\n    return m.pair(x, 1, 2) or m.thing()\n",
	})
	want := "lib.star:2:25: m.pair: takes 2 arguments, got 3|p.star:6:13: m.pair: n: want an int, got the string \"b\""
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
	got = checks(t, map[string]string{
		"p.lua":   "local f = require 'lib'\nneeds{m = {'thing', 'pair'}}\nfunction main()\n  f(m.pair{\n    name = 'a',\n    n = 'b'})\nend",
		"lib.lua": "return function(x)\n  return m.pair(x, 1, 2) or m.thing()\nend",
	})
	want = "lib.lua:2: m.pair: takes 2 arguments, got 3|p.lua:6: m.pair: n: want an int, got the string \"b\""
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}

// TestCheckNeeds: a need that nothing can use is told, at its place; where
// nobody can tell, it is not.
func TestCheckNeeds(t *testing.T) {
	tests := []struct{ name, star, lua, want string }{
		{"used", "m.thing()\n    m.fill(\"a\")", "m.thing() m.fill('a')", ""},
		{"one is not", "m.thing()", "m.thing()", `needs: m = "fill" is never used`},
		{"handed on", "f = m.fill\n    m.thing()", "local f = m.fill m.thing()", ""},
		{"the module is handed on", "x = [m]", "local x = {m}", ""},
		{"the module has another name", "x = m\n    x.fill(\"a\")", "local x = m x.fill('a')", ""},
		{"by a name that is computed", "getattr(m, \"fi\" + \"ll\")(\"a\")", "m['fi' .. 'll']('a')", ""},
		{"an argument of that name", "m.thing()\n    struct(m = 1)", "m.thing() struct{m = 1}", `needs: m = "fill" is never used`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			star := checks(t, map[string]string{"p.star": "needs(m = [\"read\", \"fill\"])\ndef main():\n    " + tt.star + "\n"})
			lua := checks(t, map[string]string{"p.lua": "needs{m = {\"read\", \"fill\"}}\nfunction main()\n  " + tt.lua + "\nend\n"})
			wantStar, wantLua := "", ""
			if tt.want != "" {
				wantStar, wantLua = "p.star:1:20: "+tt.want, "p.lua:1: "+tt.want
			}
			if strings.Join(star, "|") != wantStar {
				t.Errorf("Starlark: %q", star)
			}
			if strings.Join(lua, "|") != wantLua {
				t.Errorf("Lua: %q", lua)
			}
		})
	}
	// A name that a file uses for something else, and a library's use.
	for _, files := range []map[string]string{
		{"p.star": "needs(m = [\"fill\"])\ndef f(m):\n    return m.name\ndef main():\n    f(struct(name = 1))\n"},
		{"p.star": "load(\"l.star\", \"f\")\nneeds(m = [\"fill\"])\nmain = f\n", "l.star": "def f():\n    m.fill(\"a\")\n"},
		{"p.lua": "needs{m = {'fill'}}\nfunction main() m = {} end"},
		{"p.lua": "local f = require 'l'\nneeds{m = {'fill'}}\nfunction main() f() end", "l.lua": "return function() m.fill('a') end"},
	} {
		if got := checks(t, files); got != nil {
			t.Errorf("%v: %q", files, got)
		}
	}
}

// TestCheckIsWhatTheRunSays: of a call whose arguments are all literals, check
// says that it will not do exactly if the run refuses it.
func TestCheckIsWhatTheRunSays(t *testing.T) {
	type arg struct{ star, lua string }
	values := []arg{{`"a"`, `"a"`}, {`""`, `""`}, {"1", "1"}, {"-1", "-1"}, {"100", "100"}, {"0.5", "0.5"}, {"True", "true"}, {"[]", "{}"}, {`["a"]`, `{"a"}`}, {"[100, 101]", "{100, 101}"},
		{"[[1]]", "{{1}}"}, {`{"daily": 3}`, `{daily = 3}`}, {`{"a": "b"}`, `{a = "b"}`}, {`{"a": 1}`, `{a = 1}`}, {`"10m"`, `"10m"`}, {"None", "nil"}, {"9007199254740993", "9007199254740993"}}
	names := []string{"name", "n", "thing", "guests", "keep", "limits", "text", "number", "serial", "flag", "wait", "size", "key", "rest", "other", "level", "daily", "last", "kind"}
	functions := []string{"m.pair", "m.pairs", "m.take", "m.thing", "m.twice", "keep", "log"}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(functions).Draw(t, "function")
		var star, lua, named []string
		for range rapid.IntRange(0, 3).Draw(t, "by position") {
			v := rapid.SampledFrom(values).Draw(t, "value")
			star, lua = append(star, v.star), append(lua, v.lua)
		}
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(t, "by name") {
			v := rapid.SampledFrom(values).Draw(t, "value")
			star, named = append(star, n+" = "+v.star), append(named, n+" = "+v.lua)
		}
		if named != nil {
			lua = append(lua, "{"+strings.Join(named, ", ")+"}")
		}
		for file, text := range map[string]string{
			"p.star": fmt.Sprintf("needs(m = [\"read\"])\ndef main():\n    x = m\n    %s(%s)\n", name, strings.Join(star, ", ")),
			"p.lua":  fmt.Sprintf("needs{m = {\"read\"}}\nfunction main()\n  local x = m\n  %s(%s)\nend\n", name, strings.Join(lua, ", ")),
		} {
			found := checks(t, map[string]string{file: text})
			e := parityEngine(nil)
			p, err := e.Load(context.Background(), source.Roots{Playbook: fstest.MapFS{file: &fstest.MapFile{Data: []byte(text)}}}, file)
			if err != nil {
				t.Fatal(err)
			}
			end := e.Run(context.Background(), p, engine.Options{}).Err
			if (end != nil) != (found != nil) {
				// A table that nobody can read without running it is not judged.
				if file == "p.lua" && found == nil && strings.Contains(end.Error(), "a table has both") {
					continue
				}
				t.Fatalf("check says %q and the run %v of:\n%s", found, end, text)
			}
			if f, ok := end.(*builtin.Fault); end != nil && (!ok || f.Kind != builtin.Invalid) { //nolint:errorlint // these are the errors of a run
				t.Fatalf("the run ends with %v of:\n%s", end, text)
			}
		}
	})
}
