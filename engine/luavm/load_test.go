package luavm_test

import (
	"errors"
	"strings"
	"testing"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

func TestProblems(t *testing.T) {
	main := "\nfunction main() end\n"
	tests := []struct {
		name string
		f    files
		want string
	}{
		{"syntax", files{"p.lua": "function main("}, "p.lua:1: "},
		{"in a line", files{"p.lua": "x = 1\ny = = 2\n"}, "p.lua:2:"},
		{"no main", files{"p.lua": "x = 1"}, "there is no main"},
		{"a main that is none", files{"p.lua": "main = log"}, "there is no main"},
		{"an unknown name", files{"p.lua": "function main()\n  nothing()\nend"}, "p.lua:2: undefined: nothing"},
		{"a local out of its scope", files{"p.lua": "do local x = 1 end\nfunction main() return x end"}, "p.lua:2: undefined: x"},
		{"a call at the top level", files{"p.lua": "m.item('a')" + main}, "p.lua:1: m.item: may only be called from main"},
		{"an error at the top level", files{"p.lua": "\nlocal x = nil + 1" + main}, "p.lua:2: cannot perform add"},
		{"an endless top level", files{"p.lua": "while true do end" + main}, "p.lua:1: the playbook took more than"},
		{"a function with a state", files{"p.lua": "local n = 0\nfunction next_id() n = n + 1 return n end" + main}, "the function at p.lua:2 sets n"},
		{"needs twice", files{"p.lua": "needs{m = {'read'}}\nneeds{m = {'read'}}" + main}, "p.lua:2: needs is declared twice"},
		{"needs that are computed", files{"p.lua": "local l = {'read'}\nneeds{m = l}" + main}, "p.lua:2: the needs of m are no literal list"},
		{"a need that is computed", files{"p.lua": "needs{m = {'re' .. 'ad'}}" + main}, "a need is a literal string"},
		{"needs in a function", files{"p.lua": "function main() needs{m = {'read'}} end"}, "p.lua:1: needs cannot be used here"},
		{"needs passed on", files{"p.lua": "local n = needs" + main}, "needs cannot be used here"},
		{"needs without names", files{"p.lua": "needs{'read'}" + main}, "needs takes MODULE = {...}"},
		{"needs of a variable", files{"p.lua": "local n = {}\nneeds(n)" + main}, "needs takes one literal table"},
		{"needs in a required file", files{"p.lua": "require 'lib'" + main, "lib.lua": "needs{m = {'read'}}"}, "lib.lua:1: a required file cannot declare needs"},
		{"an unknown module", files{"p.lua": "needs{x = {'read'}}" + main}, `there is no module "x"`},
		{"params that are computed", files{"p.lua": "params{{name = 'a', default = 1 + 1}}" + main}, "parameter a: its default is a literal"},
		{"params without a name", files{"p.lua": "params{{default = 1}}" + main}, "its name is letters"},
		{"params twice the same", files{"p.lua": "params{{name = 'a'}, {name = 'a'}}" + main}, "there are two of that name"},
		{"params with another key", files{"p.lua": "params{{name = 'a', typ = 'int'}}" + main}, `not "typ"`},
		{"params of an unknown type", files{"p.lua": "params{{name = 'a', type = 'number'}}" + main}, `its type in params is "number"`},
		{"params without a type", files{"p.lua": "params{{name = 'a', default = {}}}" + main}, "needs a type in params"},
		{"params of another type", files{"p.lua": "params{{name = 'a', default = 1, type = 'list'}}" + main}, "its default: want"},
		{"a parameter of nixmox itself", files{"p.lua": "params{{name = 'no_x', default = 1}}" + main}, "is a flag of nixmox itself"},
		{"a required file that is not there", files{"p.lua": "require 'lib'" + main}, "lib.lua: no such file"},
		{"one outside", files{"p.lua": "require '../lib'" + main}, "it leaves the playbook's folder"},
		{"an absolute one", files{"p.lua": "require '/etc/passwd'" + main}, "not a file beside the playbook"},
		{"a computed one", files{"p.lua": "local n = 'lib'\nrequire(n)" + main}, "p.lua:2: require takes one literal string"},
		{"a circle", files{"p.lua": "require 'lib'" + main, "lib.lua": "require 'p'"}, "load cycle"},
		{"one of the other language", files{"p.lua": "require 'lib.star'" + main, "lib.star": "x = 1"}, "lib.star.lua: no such file"},
		{"deep brackets", files{"p.lua": "x = " + strings.Repeat("(", 100000)}, "p.lua:1: "},
		{"deep blocks", files{"p.lua": strings.Repeat("do ", 100000)}, "p.lua:1: "},
		{"deep functions", files{"p.lua": strings.Repeat("function f() ", 60000)}, "p.lua:1: "},
		{"many operators", files{"p.lua": "x = " + strings.Repeat("- ", 100000) + "1"}, "p.lua:1: "},
		{"many nots", files{"p.lua": "x = " + strings.Repeat("not ", 20000) + "1"}, "there is no main"},
		{"many locals", files{"p.lua": strings.Repeat("local x = 1\n", 300) + main}, "p.lua"},
		{"nothing", files{"p.lua": ""}, "p.lua: there is no main"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t.Context(), (&ran{}).engine(), tt.f)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			mustBeProblems(t, err)
		})
	}
}

// mustBeProblems: an error of Load says what is wrong with the playbook, and
// where.
func mustBeProblems(t *testing.T, err error) {
	t.Helper()
	var list source.Problems
	if p, ok := errors.AsType[*source.Problem](err); ok {
		list = source.Problems{p}
	} else if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("%T is no problem: %v", err, err)
	}
	for _, p := range list {
		if p.What == "" || p.At.File == "" {
			t.Errorf("a problem without text or place: %+v", p)
		}
	}
}

func TestParamsAndHelp(t *testing.T) {
	p, err := load(t.Context(), (&ran{}).engine(), files{"p.lua": `-- Back up.
--
-- More of it.

needs{ m = {"read", "item"} }
params{
  {name = "storage", env = "STORAGE", doc = "where archives go"},
  {name = "guests", default = {"all"}},
  {name = "days", default = 7},
  {name = "ids", default = {1, 2}},
  {name = "verify", default = true},
  {name = "wait", default = nil, type = "duration"},
  {name = "ratio", default = -0.5},
}
function main(p) end
`})
	if err != nil {
		t.Fatal(err)
	}
	if p.Doc != "Back up.\n\nMore of it." || len(p.Needs) != 2 || p.Needs[1].What != "item" || p.Needs[1].At.Line != 5 {
		t.Errorf("%q %v", p.Doc, p.Needs)
	}
	want := []struct {
		name, typ string
		required  bool
		def       any
	}{{"storage", "string", true, nil}, {"guests", "list of string", false, `["all"]`}, {"days", "int", false, "7"}, {"ids", "list of int", false, "[1,2]"},
		{"verify", "bool", false, "true"}, {"wait", "duration", false, "null"}, {"ratio", "float", false, "-0.5"}}
	if len(p.Params) != len(want) {
		t.Fatalf("%d parameters", len(p.Params))
	}
	for i, w := range want {
		g := p.Params[i]
		text, err := builtin.MarshalNeutral(g.Default)
		if err != nil || g.Name != w.name || g.Type.Name != w.typ || g.Required != w.required || w.def != nil && string(text) != w.def || g.At.Line != 7+i {
			t.Errorf("%+v of type %s, default %s (%v); want %+v", g, g.Type.Name, text, err, w)
		}
	}
	long, err := load(t.Context(), (&ran{}).engine(), files{"p.lua": "#!/usr/bin/env nixmox\n--[==[\nLong ]] help.\n]==]\nfunction main() end"})
	if err != nil || long.Doc != "Long ]] help." {
		t.Errorf("%v %v", long, err)
	}
}

func TestRequire(t *testing.T) {
	r := playFiles(t, files{
		"p.lua":     "local a, b = require 'sub/a', require('b.lua')\nlocal std = require '@std//lib'\nfunction main()\n  log(a.name .. b.name .. std.word .. tostring(a.b == require 'sub/c'))\n  b.name = 1\nend",
		"sub/a.lua": "local b = require 'c'\nreturn {name = 'a' .. b.name, b = b}",
		"sub/c.lua": "name = 'global of c'\nreturn {name = 'c'}",
		"b.lua":     "name = 'b'\nreturn {name = name}\n",
	})
	if strings.Join(r.logs, "") != "acbstdtrue" {
		t.Errorf("logs %v", r.logs)
	}
	if r.Err == nil || !strings.Contains(r.Err.Error(), "table is frozen: name cannot be set") {
		t.Errorf("error %v", r.Err)
	}
}

// TestUses: what check knows of a playbook's calls.
func TestUses(t *testing.T) {
	e := (&ran{}).engine()
	p, err := load(t.Context(), e, files{"p.lua": `needs{ m = {"fail"} }
function main()
  m.item("a")
  m.nope()
  m.fail("x")
  local m = {hidden = 1}
  return m.hidden
end`})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, problem := range e.Check(p) {
		got = append(got, problem.Error())
	}
	want := "p.lua:3: m.item is not among the needs of this playbook|p.lua:4: m has no function \"nope\""
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}

// FuzzLoad: whatever a file holds, it loads, or says what is wrong, and where.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"function main() end", "needs{m={'read','x:$y'}} params{{name='y',default=1}} function main(p) m.item(p.y) end", "local t = {} t.t = t function main() return t end",
		"require 'p'", "require '@std//lib'", "params{{name='a',default={1,'x'}}}", "x = {} for i = 1, 10 do x[i] = i end log(json.encode(x))", "goto a ::a::", "local s = ('x'):rep(10):gsub('x', '%1')",
		"--[[", "--[==[ x ]==]", "x = [[\n]]", "return function(...) return ... end", "m.item{name = 'a', n = 1e400}", "keep{daily = 2^60}", "a.b.c:d 'x' {y}", "\ufeffx=1", "x = 0x7fffffffffffffff", "#!\nfunction main()end"} {
		f.Add(seed)
	}
	e := (&ran{}).engine()
	e.Limits = language.Limits{Steps: 1e5, Memory: 1 << 30}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := load(t.Context(), e, files{"p.lua": text})
		if err != nil {
			mustBeProblems(t, err)
			return
		}
		for _, param := range p.Params {
			if param.Type == nil || param.At.Line == 0 {
				t.Errorf("a parameter without type or place: %+v", param)
			}
		}
		e.Check(p)
	})
}

// FuzzBind: whatever is handed to a built-in, the call is made, or the error
// is one that a playbook may have.
func FuzzBind(f *testing.F) {
	for _, seed := range []string{"'a', 1", "{name = 'a', n = 2}", "'a', {n = 1}", "{}", "{1, n = 2}", "nil, nil", "{{{}}}", "print", "0/0", "1e400", "-2^63", "tonumber('18446744073709551615')",
		"setmetatable({}, {})", "json.decode('[null]')", "struct{name = 'x'}", "keep{}", "secret('x')", "unpack({1, 2, 3})", "{name = {}, n = {}}", "('x'):rep(100)", "now()", "{[1.5] = 1}", "{[true] = 1}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, args string) {
		r := &ran{}
		e := r.engine()
		e.Limits = language.Limits{Steps: 1e5, Memory: 1 << 30}
		p, err := load(t.Context(), e, files{"p.lua": "needs{m = {'read'}}\nfunction main()\nm.item(" + args + ")\nkeep(" + args + ")\nend"})
		if err != nil {
			mustBeProblems(t, err)
			return
		}
		switch err := e.Run(t.Context(), p, engine.Options{}).Err.(type) { //nolint:errorlint // these are the errors of a run
		case nil, *builtin.Stop:
		case *builtin.Fault:
			if err.What == "" || strings.Contains(err.What, "interpreter cannot") {
				t.Errorf("%q: %v", args, err)
			}
		default:
			t.Errorf("%q: a %T: %v", args, err, err)
		}
	})
}
