package luavm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type item struct {
	Name string `name:"name" doc:"d"`
	N    int64  `name:"n" default:"1" doc:"d"`
}

// ran is how a playbook of a test went.
type ran struct {
	engine.Report
	mu    sync.Mutex
	logs  []string
	calls []string
}

func (r *ran) module() builtin.Module {
	return builtin.NewModule("m", "M.",
		builtin.NewRead("item", "I.", func(ctx context.Context, a item) (item, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			c := builtin.CallFrom(ctx)
			r.calls = append(r.calls, fmt.Sprintf("%s %s:%d", c.Place, a.Name, c.At.Line))
			return a, nil
		}),
		builtin.NewRead("items", "I.", func(_ context.Context, a item) ([]item, error) { return []item{a, {"b", 2}, {"c", 3}}, nil }),
		builtin.NewRead("fail", "F.", func(_ context.Context, a item) (item, error) {
			return item{}, builtin.Faultf(builtin.Busy, "look at %s", a.Name).Saying("locked").Hinting("wait")
		}),
		builtin.NewChange("secret_change", "S.", builtin.Op[item, item]{
			Do: func(_ context.Context, a item) (item, error) { return a, nil }, Preview: func(_ context.Context, a item) (item, error) { return a, nil },
			NoSettle: "d", Keys: func(item) []string { return nil }}),
	)
}

type files = map[string]string

func (r *ran) engine() *engine.Engine {
	std := fstest.MapFS{"lib.lua": &fstest.MapFile{Data: []byte("return {word = 'std'}")}}
	return &engine.Engine{Modules: []builtin.Module{r.module()}, Std: std, Clock: engine.WallClock(), Limits: language.Limits{Steps: 2e6, Memory: 2 << 30},
		Sink: func(e event.Event) {
			if e.Type == event.Logged {
				r.logs = append(r.logs, e.Text)
			}
		}}
}

func load(ctx context.Context, e *engine.Engine, f files) (*engine.Playbook, error) {
	root := fstest.MapFS{}
	for name, text := range f {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return e.Load(ctx, source.Roots{Playbook: root, Std: e.Std}, "p.lua")
}

func playFiles(t *testing.T, f files, steps ...uint64) *ran {
	t.Helper()
	r := &ran{}
	e := r.engine()
	if len(steps) > 0 {
		e.Limits.Steps = steps[0]
	}
	e.LockDir = t.TempDir()
	p, err := load(t.Context(), e, f)
	if err != nil {
		t.Fatalf("it does not load: %v", err)
	}
	r.Report = e.Run(t.Context(), p, engine.Options{})
	return r
}

// play runs a playbook whose main has the body given, from its third line on.
func play(t *testing.T, body string, steps ...uint64) *ran {
	t.Helper()
	return playFiles(t, files{"p.lua": "needs{ m = {\"read\"} }\nfunction main(p)\n" + body + "\nend\n"}, steps...)
}

// TestValues: each expression is shown with tostring.
func TestValues(t *testing.T) {
	tests := []struct{ expr, want string }{
		{"1", "1"}, {"0.5", "0.5"}, {"2^53", "9007199254740992"}, {"'x'", "x"}, {"nil", "nil"}, {"{}", "table"}, {"print", "function"},
		{"function() end", "function"}, {"type({})", "table"}, {"type(m.item('a'))", "table"}, {"type(now())", "time"}, {"type(nil)", "nil"},
		{"m.item('a')", `item{name = "a", n = 1}`}, {"m.items('a')", `{item{name = "a", n = 1}, item{name = "b", n = 2}, item{name = "c", n = 3}}`},
		{"#m.items('a')", "3"}, {"m.items('a')[3].name", "c"}, {"m.items('a')[4]", "nil"}, {"m.items('a')[0]", "nil"},
		{"m.item('a') == m.item('a')", "true"}, {"m.item('a') == m.item('b')", "false"}, {"m.item('a') ~= m.item('a')", "false"},
		{"m.items('a') == m.items('a')", "true"}, {"m.item('a') == 1", "false"}, {"select('#', unpack(m.items('a')))", "3"},
		{"tonumber('0x10')", "16"}, {"tonumber(' 12 ')", "12"}, {"tonumber('1e3')", "1000"}, {"tonumber('x')", "nil"}, {"tonumber('10', 2)", "2"}, {"tonumber('zz', 36)", "1295"},
		{"tonumber('')", "nil"}, {"tonumber('1_0')", "nil"}, {"tonumber('inf')", "nil"}, {"tonumber('nan')", "nil"}, {"tonumber('-0x10')", "-16"},
		{"tonumber('18446744073709551615')", "18446744073709551615"}, {"type(tonumber('18446744073709551615'))", "integer"},
		{"tonumber('18446744073709551615') - tonumber('18446744073709551614')", "1"}, {"-tonumber('9007199254740993')", "-9007199254740993"},
		{"tonumber('9007199254740993') / 2", "4503599627370496"}, {"tonumber('9007199254740993') % 10", "3"},
		{"tonumber('9007199254740993') == tonumber('9007199254740993')", "true"}, {"'' .. tonumber('9007199254740993')", "9007199254740993"},
		{"string.format('%5d|%-5s|%05.1f|%x|%q|%c|%%|%i', 42, 'x', 1.25, 255, 'a\"b', 65, 7)", `   42|x    |001.2|ff|"a\"b"|A|%|7`},
		{"string.format('%d', tonumber('18446744073709551615'))", "18446744073709551615"}, {"string.format('%s %s', {}, print)", "table function"},
		{"('x'):rep(3)", "xxx"}, {"('abc'):sub(-2)", "bc"}, {"('abc'):sub(2, 2)", "b"}, {"('abc'):sub(0)", "abc"}, {"('abc'):sub(5)", ""}, {"('abc'):byte()", "97"}, {"('Äb'):upper()", "ÄB"},
		{"('a,b'):find(',', 1, true)", "2"}, {"('key = val'):match('(%w+)%s*=%s*(%w+)')", "key"}, {"('abc'):gsub('%w', '%0%0')", "aabbcc"},
		{"('abc'):gsub('b', {b = 'x'})", "axc"}, {"('abc'):gsub('b', function(c) return c .. c end)", "abbc"}, {"('abc'):gsub('', '-')", "-a-b-c-"}, {"('hello'):gsub('l', 'L', 1)", "heLlo"},
		{"table.concat({1, 2, 'x'}, ', ')", "1, 2, x"}, {"(function() local t = {3, 1, 2} table.sort(t) return table.concat(t) end)()", "123"},
		{"(function() local t = {1, 2} table.insert(t, 1, 0) table.insert(t, 3) return table.concat(t) .. table.remove(t) .. table.remove(t, 1) end)()", "012330"},
		{"(function() local s = '' for k, v in pairs({z = 1, a = 2, 10, m = 3}) do s = s .. k .. v end return s end)()", "110z1a2m3"},
		{"(function() local s = '' for k, v in pairs(m.item('a')) do s = s .. k .. v end return s end)()", "namean1"},
		{"(function() local s = '' for w in ('a b c'):gmatch('%w') do s = s .. w end return s end)()", "abc"},
		{"(function() local s = '' for i, v in ipairs(m.items('a')) do s = s .. i .. v.name end return s end)()", "1a2b3c"},
		{"next({})", "nil"}, {"select(-1, 1, 2, 3)", "3"}, {"math.floor(2.5)", "2"}, {"math.max(1, 3, 2)", "3"}, {"struct{a = 1}.a", "1"}, {"struct{b = 2, a = 1}", "struct{a = 1, b = 2}"},
		{"json.encode{a = {1, 2}, b = 'x'}", `{"a":[1,2],"b":"x"}`}, {"json.decode('{\"a\":[1,null,3]}').a[3]", "3"}, {"#json.decode('[1,null,3]')", "3"}, {"_VERSION", "Lua 5.1"},
		{"pcall(error, 'x')", "false"}, {"select(2, pcall(error, 'x'))", "x"}, {"select(2, pcall(function() error('x') end))", "p.lua:3: x"}, {"select(2, pcall(function() error('x', 0) end))", "x"},
		{"select(2, pcall(function() error({code = 7}) end)).code", "7"}, {"select(2, pcall(m.fail, 'a'))", "look at a: locked"}, {"select(2, pcall(m.fail, 'a')).kind", "busy"},
		{"select(2, pcall(m.fail, 'a')).hint", "wait"}, {"select(2, xpcall(function() m.fail('a') end, function(e) return e.what .. '!' end))", "look at a!"},
		{"attempt(function() m.fail('a') end).error.said", "locked"}, {"attempt(function() error('x') end).error.what", "x"}, {"select('#', pcall(function() return 1, 2, 3 end))", "4"},
		{"'' .. select(2, pcall(m.fail, 'a'))", "look at a: locked"},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			r := play(t, "log(tostring(("+tt.expr+")))")
			if r.Err != nil || strings.Join(r.logs, "") != tt.want {
				t.Errorf("%q, %v; want %q", r.logs, r.Err, tt.want)
			}
		})
	}
}

// TestErrors: what is refused, in which words, and on which line.
func TestErrors(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"a result is written into", "m.item('a').name = 'b'", "table is frozen: name cannot be set"},
		{"a list of results", "m.items('a')[1] = 1", "table is frozen: 1 cannot be set"},
		{"a field that there is not", "local x = m.item('a').nope", "item has no field nope: it has name, n"},
		{"a function that there is not", "m.nope()", "m has no nope"},
		{"a parameter that there is not", "local x = p.nope", "params has no field nope"},
		{"a module", "m.item = 1", "table is frozen: item cannot be set"},
		{"a library", "string.rep = 1", "table is frozen: rep cannot be set"},
		{"the metatable of texts", "local s = ('x').nope", "string has no nope"},
		{"a global", "x = 1", "table is frozen: x cannot be set"},
		{"sorting results", "table.sort(m.items('a'))", "table is frozen: copy it"},
		{"nil", "local x x.y = 1", "attempt to index a non-table object(nil) with key 'y'"},
		{"calling nothing", "local x x()", "attempt to call a non-function object"},
		{"no addresses", "local x = nil + {}", "cannot perform add operation between nil and table"},
		{"no addresses in keys", "local t = nil; local x = t[{}]", "with key 'table'"},
		{"comparing numbers with large ones", "local x = 1 < tonumber('9007199254740993')", "attempt to compare number with userdata"},
		{"a division by nothing", "local x = tonumber('9007199254740993') / 0", "division by zero"},
		{"a text that is too long", "local x = ('x'):rep(1e9)", "longer than 64 MiB"},
		{"a format", "string.format('%y', 1)", "invalid option '%y' to 'format'"},
		{"a width", "string.format('%999d', 1)", "width or precision too long"},
		{"a pattern", "('x'):find('[a')", "malformed pattern (missing ']')"},
		{"recursion", "local function f() return 1 + f() end f()", "stack overflow"},
		{"recursion by protected calls", "local function f() local ok, e = pcall(f) if not ok then error(e, 0) end end f()", "stack overflow"},
		{"recursion by attempt", "local function f() local r = attempt(f) if not r.ok then fail(r.error.what) end end f()", "stack overflow"},
		{"unpacking too much", "local t = {} for i = 1, 10000 do t[i] = i end unpack(t)", "too many results"},
		{"unpacking from far below", "unpack({1, 2, 3}, -2^63)", "too many results"},
		{"joining from far below", "table.concat({1, 2, 3}, '', -2^63)", "invalid value (nil)"},
		{"both items and names", "m.item('a', {1, n = 2})", "a table has both named arguments and others"},
		{"named ones that are none", "m.item({'a', n = 2})", "a table has both"},
		{"assert", "assert(false, 'no such')", "no such"},
		{"assert without words", "assert(nil)", "assertion failed!"},
		{"a function that sets what is outside", "local n = 0 parallel({1}, function() n = n + 1 end)", "the function at p.lua:3 sets n, which is outside of it"},
		{"by way of another function", "local n = 0 parallel({1}, function() local f = function() n = n + 1 end f() end)", "sets n, which is outside"},
		{"a captured function that does", "local n = 0 local function inc() n = n + 1 end parallel({1}, function() inc() end)", "sets n, which is outside"},
		{"a captured table", "local t = {} parallel({1}, function() t.x = 1 end)", "table is frozen: x cannot be set"},
		{"a captured table, by insert", "local t = {} parallel({1}, function() table.insert(t, 1) end)", "table is frozen"},
		{"a captured table, afterwards", "local t = {} parallel({1}, function() return #t end) t.x = 1", "table is frozen: x cannot be set"},
		{"an item", "parallel({{}}, function(i) i.x = 1 end)", "table is frozen: x cannot be set"},
		{"what a branch returned", "parallel({1}, function(i) return {i} end)[1].x = 1", "table is frozen: x cannot be set"},
		{"an iterator", "local it = ('ab'):gmatch('.') parallel({1}, function() return it() end)", "an iterator of gmatch cannot be frozen"},
		{"secrets are not joined", "log('x' .. secret('nas'))", "cannot perform concat operation"},
		{"a userdata as text", "('x'):find(m.item('a'))", "string expected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := play(t, tt.body)
			f, ok := errors.AsType[*builtin.Fault](r.Err)
			if !ok || !strings.Contains(f.Error(), tt.want) || strings.Contains(f.Error(), "0x") {
				t.Fatalf("error %v, want %q", r.Err, tt.want)
			}
			if len(f.Stack) == 0 || f.Stack[0] != (builtin.Position{File: "p.lua", Line: 3}) {
				t.Errorf("at %v", f.Stack)
			}
		})
	}
}

// TestStack: the lines that led to an error, outermost first, through
// protected calls and built-ins, too.
func TestStack(t *testing.T) {
	r := play(t, `local function inner()
  m.fail("a")
end
with_lock({"x"}, function()
  local x = 1
  inner()
end)`)
	f, ok := errors.AsType[*builtin.Fault](r.Err)
	if got := fmt.Sprint(f.Stack); !ok || got != "[p.lua:6 p.lua:8 p.lua:4]" {
		t.Errorf("%v at %s", r.Err, got)
	}
	if r := play(t, "\n\nm.item('a')\nparallel({1}, function() m.item('b') end)"); fmt.Sprint(r.calls) != "[1 a:5 2.1.1 b:6]" {
		t.Errorf("calls %v", r.calls)
	}
}

// TestVariablesSurviveErrors: what the interpreter's own protected call gets
// wrong: variables that functions share stay shared after an error.
func TestVariablesSurviveErrors(t *testing.T) {
	for _, call := range []string{"pcall(error, 'x')", "pcall(m.fail, 'a')", "attempt(function() error('x') end)", "xpcall(function() error('x') end, function() end)"} {
		r := play(t, `
local n = 0
local function inc() n = n + 1 end
local made
`+call+`
inc()
log(tostring(n))
pcall(function() local kept = 5 made = function() kept = kept + 1 return kept end error("x") end)
local a, b, c = 1, 2, 3
log(made() .. " " .. made() .. " " .. a + b + c)`)
		if r.Err != nil || strings.Join(r.logs, "|") != "1|6 7 6" {
			t.Errorf("%s: %v %v", call, r.logs, r.Err)
		}
	}
}

// TestNothingElse: these are all the names there are.
func TestNothingElse(t *testing.T) {
	for _, name := range strings.Fields("_G _printregs channel collectgarbage coroutine debug dofile getfenv getmetatable io load loadfile loadstring module newproxy os package " +
		"rawequal rawget rawset setfenv setmetatable string.dump math.random math.randomseed _GOPHER_LUA_VERSION") {
		e := (&ran{}).engine()
		p, err := load(t.Context(), e, files{"p.lua": "function main() local x = " + name + " end"})
		if err == nil {
			err = e.Run(t.Context(), p, engine.Options{}).Err
		}
		if err == nil {
			t.Errorf("there is %s", name)
		}
	}
}

// TestStops: a playbook cannot go on after what ends its run.
func TestStops(t *testing.T) {
	tests := []struct {
		name, body string
		kind       builtin.StopKind
	}{
		{"denied", "m.secret_change('a')", builtin.Denied},
		{"an endless loop", "while true do end", builtin.Limit},
		{"a pattern", "(('a'):rep(40)):find(('a*'):rep(20) .. 'b')", builtin.Limit},
		{"a loop of patterns", "for w in (('a'):rep(100000)):gmatch('a-b') do end", builtin.Limit},
		{"sorting for ever", "local t = {} for i = 1, 100000 do t[i] = -i end while true do table.sort(t) end", builtin.Limit},
		{"a loop of built-ins", "while true do keep() end", builtin.Limit},
	}
	for _, tt := range tests {
		for how, wrap := range map[string]string{"bare": "%s", "pcall": "pcall(function() %s end) log('on')", "xpcall": "xpcall(function() %s end, function() return 1 end) log('on')",
			"attempt": "attempt(function() %s end) log('on')", "handler": "xpcall(error, function() %s end) log('on')", "again": "while true do pcall(function() %s end) end",
			"in a branch": "attempt(function() parallel({1, 2}, function() pcall(function() %s end) end) end) log('on')", "in gsub": "('x'):gsub('x', function() %s end) log('on')",
			"in sort": "table.sort({1, 2}, function() %s end) log('on')"} {
			t.Run(tt.name+" "+how, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				r := play(t, fmt.Sprintf(wrap, tt.body), 1e5)
				stop, ok := errors.AsType[*builtin.Stop](r.Err)
				if !ok || stop.Kind != tt.kind || stop.At.Line != 3 {
					t.Errorf("error %#v", r.Err)
				}
				if len(r.logs) > 0 {
					t.Errorf("it went on: %v", r.logs)
				}
				if took := time.Since(began); took > 60*time.Second { // it takes a second or two
					t.Errorf("it took %s", took)
				}
			})
		}
	}
}

// TestCancelled: an endless loop ends soon after its context.
func TestCancelled(t *testing.T) {
	for name, body := range map[string]string{"alone": "while true do end", "in branches": "parallel({1, 2, 3}, function() while true do end end)", "in pcall": "while true do pcall(function() while true do end end) end"} {
		t.Run(name, func(t *testing.T) {
			r := &ran{}
			e := r.engine()
			e.Limits = language.Limits{}
			ctx, cancel := context.WithCancelCause(t.Context())
			e.Sink = func(ev event.Event) {
				if ev.Type == event.Logged {
					cancel(builtin.Stopf(builtin.Cancelled, "enough"))
				}
			}
			p, err := load(t.Context(), e, files{"p.lua": "function main()\nlog('begun')\n" + body + "\nend"})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan engine.Report, 1)
			go func() { done <- e.Run(ctx, p, engine.Options{}) }()
			select {
			case report := <-done:
				if stop, ok := errors.AsType[*builtin.Stop](report.Err); !ok || stop.Kind != builtin.Cancelled {
					t.Errorf("error %v", report.Err)
				}
			case <-time.After(20 * time.Second): // it takes some milliseconds
				t.Fatal("it goes on")
			}
		})
	}
}

// TestBranches: many, of shared frozen values, with calls, callbacks and
// branches of their own; for the race detector. Places and results are the
// same each time.
func TestBranches(t *testing.T) {
	var firstCalls []string
	for range 3 {
		r := play(t, `
local shared = {a = {1, 2, 3}, t = m.item("t"), l = m.items("l")}
local function inner(n)
  m.item("i", n)
  return n + #shared.a + shared.t.n + #shared.l
end
local function outer(n)
  m.item("o", n)
  local ok, e = pcall(m.fail, "x")
  local r = attempt(function() return parallel({n, n + 1}, inner) end)
  return r.value
end
local items = {}
for i = 1, 20 do items[i] = i end
local out = parallel(items, outer)
log(tostring(out[20]) .. " " .. #out)`)
		if r.Err != nil || strings.Join(r.logs, "") != "{27, 28} 20" {
			t.Fatalf("%v %v", r.logs, r.Err)
		}
		slices.Sort(r.calls)
		if firstCalls == nil {
			firstCalls = r.calls
		}
		if len(r.calls) != 61 || !slices.Equal(r.calls, firstCalls) {
			t.Errorf("calls %v, then %v", firstCalls, r.calls)
		}
	}
}

// TestCallsRunSideBySide: while one branch waits in a call, the others run.
func TestCallsRunSideBySide(t *testing.T) {
	var all sync.WaitGroup
	all.Add(4)
	meet := builtin.NewModule("m", "M.", builtin.NewRead("meet", "M.", func(context.Context, struct{}) (struct{}, error) {
		all.Done()
		all.Wait() // for all four: nobody gets here alone
		return struct{}{}, nil
	}))
	e := &engine.Engine{Modules: []builtin.Module{meet}, Clock: engine.WallClock(), LockDir: t.TempDir()}
	p, err := load(t.Context(), e, files{"p.lua": "needs{m = {'read'}}\nfunction main() parallel({1, 2, 3, 4}, function() m.meet() end) end"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(t.Context(), p, engine.Options{}).Err }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("they wait for one another")
	}
}

// TestBigTables: what one list may hold, and that nothing overflows.
func TestBigTables(t *testing.T) {
	r := play(t, `
local list = {}
for i = 1, 200000 do list[i] = "x" end
log(tostring(#table.concat(list, ",")))
local deep = {}
for i = 1, 100000 do deep = {deep} end
local r = attempt(function() return parallel({deep}, function(d) return 1 end)[1] end)
log(tostring(r.value))`)
	if r.Err != nil || strings.Join(r.logs, " ") != "399999 1" {
		t.Errorf("%v %v", r.logs, r.Err)
	}
}
