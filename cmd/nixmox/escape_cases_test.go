package main

import "strings"

// hostile is a playbook that tries to get at something it was not given. A
// text without a main is main's body.
type hostile struct {
	name      string
	star, lua string // "" where the language has no such thing
	ends      []int  // the exit codes that are right
	shows     string // what must be in its output
	memory    bool   // it is about memory: not for the race detector
}

const (
	done, failed, unsound, denied, late, limit = 0, 1, 3, 4, 7, 8
)

// A run that is too slow or too large may meet either limit first.
var (
	runaway  = []int{late, limit}
	stopped  = []int{failed, late, limit}
	refusing = []int{failed, unsound, late, limit}
)

// times is a text of so many times the same.
func times(n int, text string) string { return strings.Repeat(text, n) }

const mib = 1 << 20

func hostiles() []hostile {
	return []hostile{
		// Memory.
		{name: "memory by doubling a text", star: "s = 'x' * 1000\nfor i in range(60):\n    s = s + s", lua: "local s = 'x' for i = 1, 60 do s = s .. s end", ends: stopped, memory: true},
		{name: "memory by repeating a text", star: "s = 'x' * 10000000000", lua: "local s = ('x'):rep(10000000000)", ends: stopped, memory: true},
		{name: "memory by repeating within bounds", star: "l = []\nfor i in range(10000):\n    l.append('x' * 1000000)", lua: "local l = {} for i = 1, 10000 do l[i] = ('x'):rep(1000000) end", ends: stopped, memory: true},
		{name: "memory by a list", star: "l = []\nfor i in range(1000000000):\n    l.append(i)", lua: "local l = {} for i = 1, 1e9 do l[i] = i end", ends: runaway, memory: true},
		{name: "memory by repeating a list", star: "l = [0] * 1000000000", lua: "local l = {} for i = 1, 1e9 do table.insert(l, 1) end", ends: stopped, memory: true},
		{name: "memory by a dict", star: "d = {}\nfor i in range(1000000000):\n    d[str(i)] = i", lua: "local d = {} for i = 1, 1e9 do d['k' .. i] = i end", ends: runaway, memory: true},
		{name: "memory by closures", star: "l = []\nfor i in range(1000000000):\n    l.append(lambda: i)", lua: "local l = {} for i = 1, 1e9 do l[i] = function() return i end end", ends: runaway, memory: true},
		{name: "memory by nested lists", star: "l = []\nfor i in range(1000000000):\n    l = [l, l, [l]]", lua: "local l = {} for i = 1, 1e9 do l = {l, l, {l}} end", ends: runaway, memory: true},
		{name: "memory by a huge whole number", star: "n = 10\nfor i in range(100):\n    n = n * n", lua: "local n = 10 for i = 1, 1e10 do n = n * n end", ends: stopped, memory: true},
		{name: "memory by shifting", star: "n = 1 << 500\nfor i in range(1000000):\n    n = n * n", ends: stopped, memory: true},
		{name: "memory by formatting", star: "s = '%s' * 100000\nl = []\nfor i in range(100000):\n    l.append(s % tuple(['x'] * 100000))", lua: "local l = {} for i = 1, 1e6 do l[i] = ('%099d'):format(i):rep(10000) end", ends: stopped, memory: true},
		{name: "memory by joining", star: "l = ['x' * 1000000] * 100000\ns = ''.join(l)", lua: "local l = {} local s = ('x'):rep(1000000) for i = 1, 100000 do l[i] = s end local t = table.concat(l)", ends: stopped, memory: true},
		{name: "memory by replacing", star: "s = ('x' * 100000).replace('x', 'y' * 100000)", lua: "local s = ('x'):rep(100000):gsub('x', ('y'):rep(100000))", ends: stopped, memory: true},
		{name: "memory by splitting", star: "l = []\nfor i in range(1000):\n    l.append(('x,' * 1000000).split(','))", lua: "local l = {} for i = 1, 1000 do l[i] = {} for w in (('x,'):rep(1000000)):gmatch('x') do table.insert(l[i], w) end end", ends: stopped, memory: true},
		{name: "memory by JSON", star: "v = json.decode('[' + '[],' * 10000000 + '1]')\nl = [v]", lua: "local v = json.decode('[' .. ('[],'):rep(10000000) .. '1]')", ends: stopped, memory: true},
		{name: "memory by indenting JSON", star: "v = json.indent('[' * 5000 + ']' * 5000, indent = ' ' * 100000)", lua: "local v = json.indent(('['):rep(5000) .. (']'):rep(5000), '', (' '):rep(100000))", ends: stopped, memory: true},
		{name: "memory in branches", star: "def eat(i):\n    l = []\n    for n in range(1000000000):\n        l.append('x' * 1000 + str(n))\nparallel(range(8), eat)", lua: "parallel({1, 2, 3, 4}, function() local l = {} for i = 1, 1e9 do l[i] = 'x' .. i end end)", ends: runaway, memory: true},
		{name: "memory while loading", star: "l = ['x' * 1000000 + str(i) for i in range(1000000)]\ndef main():\n    pass\n", lua: "local l = {} for i = 1, 1e9 do l[i] = 'x' .. i end\nfunction main() end\n", ends: []int{unsound, late, limit}, memory: true},
		{name: "memory by log", star: "for i in range(1000000):\n    log('x' * 100000)", lua: "for i = 1, 1e6 do log(('x'):rep(100000)) end", ends: runaway},

		// Time.
		{name: "an endless loop", star: "for i in range(1 << 60):\n    pass", lua: "while true do end", ends: runaway},
		{name: "an endless loop that is caught", star: "attempt(lambda: [None for i in range(1 << 60)])\nlog('ON')", lua: "while true do pcall(function() while true do end end) end", ends: runaway},
		{name: "an endless loop while loading", star: "l = [1 for i in range(1 << 60) if i < 0]\ndef main():\n    pass\n", lua: "while true do end\nfunction main() end\n", ends: []int{unsound, late, limit}},
		{name: "time in one function: a range", star: "n = len([x for x in range(1 << 60)])", lua: "for i = 1, 1e18 do end", ends: runaway},
		{name: "time in one function: sorting", star: "l = sorted(range(30000000), key = lambda x: -x)", lua: "local t = {} for i = 1, 1000000 do t[i] = (i * 7919) % 1000003 end while true do table.sort(t, function(a, b) return a < b end) end", ends: stopped, memory: true},
		{name: "time in one function: searching", star: "for i in range(1000000):\n    ('a' * 1000000).find('a' * 500000 + 'b')", lua: "for i = 1, 1e6 do local s = ('a'):rep(1000000):find(('a'):rep(500000) .. 'b', 1, true) end", ends: stopped},
		{name: "time in one function: a sum of strings", star: "for i in range(1 << 40):\n    ''.join(['a'] * 100000)", lua: "local t = {} for i = 1, 100000 do t[i] = 'a' end while true do local s = table.concat(t) end", ends: runaway},
		{name: "time in one function: big powers", star: "n = 3\nfor i in range(1 << 40):\n    n = (n * n) % (1 << 100000)", lua: "local n = 3 while true do n = (n * n) % 1e300 end", ends: stopped},
		{name: "time in one function: digits", star: "n = 1 << 4000000\ns = str(n)\nn = int(s)", lua: "while true do local s = tostring(1e300) end", ends: append([]int{done}, stopped...)},
		{name: "a catastrophic pattern", lua: "local x = ('a'):rep(1000):find(('a*'):rep(50) .. 'b')", ends: stopped},
		{name: "a catastrophic pattern that is caught", lua: "while true do pcall(function() return ('a'):rep(1000):find(('a-'):rep(50) .. 'b') end) end", ends: runaway},
		{name: "a catastrophic gsub", lua: "local x = ('a'):rep(100000):gsub(('.-'):rep(30) .. 'b', '')", ends: stopped},
		{name: "a pattern that nests", lua: "local x = ('x'):find(('('):rep(100000))", ends: stopped},
		{name: "sleeping for ever", star: "sleep('1000h')", lua: "sleep('1000h')", ends: []int{late}},
		{name: "sleeping for ever, caught", star: "for i in range(1000000):\n    attempt(lambda: sleep('1000h'))\n    log('ON')", lua: "while true do pcall(sleep, '1000h') end", ends: []int{late}},
		{name: "waiting for ever", star: "wait_until(lambda: False, timeout = '1000h', every = '1ms')", lua: "wait_until(function() return false end, '1000h', '1ms')", ends: runaway},
		{name: "trying for ever", star: "retry(lambda: fail('x'), times = 1000000000, wait = '1ns')", lua: "retry(function() fail('x') end, 1000000000, '1ns')", ends: stopped},

		// Depth.
		{name: "recursion", star: "def f(n):\n    return f(n + 1)\ndef main():\n    f(0)\n", lua: "local function f(n) return 1 + f(n + 1) end f(0)", ends: refusing},
		{name: "recursion by tail calls", lua: "local function f(n) return f(n + 1) end f(0)", ends: stopped},
		{name: "recursion by values of functions", star: "def f(g):\n    g(g)\ndef main():\n    f(f)\n", lua: "(function(g) g(g) end)(function(g) g(g) end)", ends: refusing},
		{name: "recursion through attempt", star: "def f():\n    attempt(f)\ndef main():\n    f()\n", lua: "local function f() attempt(f) end f()", ends: []int{done, failed, unsound, late, limit}},
		{name: "recursion through parallel", star: "def f(i):\n    parallel([1, 2], f)\ndef main():\n    f(0)\n", lua: "local function f() parallel({1, 2}, f) end f()", ends: refusing},
		{name: "recursion through pcall", lua: "local function f() pcall(f) end f()", ends: []int{done, failed, late, limit}},
		{name: "a list in itself", star: "l = []\nl.append(l)\nlog(str(l))\njson.encode(l)", lua: "local t = {} t[1] = t json.encode(t)", ends: stopped},
		{name: "a deep value", star: "l = []\nfor i in range(1000000):\n    l = [l]\nlog(json.encode(l))", lua: "local t = {} for i = 1, 1e6 do t = {t} end log(json.encode(t))", ends: stopped},
		{name: "a deep value shown", star: "l = []\nfor i in range(1000000):\n    l = [l]\nlog(str(l))", lua: "local t = {} for i = 1, 1e6 do t = {t} end log(json.encode({t}))", ends: append([]int{done}, stopped...)},
		{name: "deep values compared", star: "a, b = [], []\nfor i in range(100000):\n    a, b = [a], [b]\nlog(str(a == b))", lua: "local a, b = {}, {} for i = 1, 1e6 do a, b = {a}, {b} end log(tostring(a == b))", ends: append([]int{done}, stopped...)},
		{name: "deep JSON", star: "json.decode('[' * 1000000 + ']' * 1000000)", lua: "json.decode(('['):rep(1000000) .. (']'):rep(1000000))", ends: stopped},

		// Hostile files.
		{name: "a file of minus", star: "x = " + times(mib-100, "-") + "1\ndef main():\n    pass\n", lua: "local x = " + times((mib-100)/2, "- ") + "1\nfunction main() end\n", ends: refusing},
		{name: "a file of parentheses", star: "x = " + times(mib-100, "(") + "\ndef main():\n    pass\n", lua: "local x = " + times(mib-100, "(") + "\nfunction main() end\n", ends: refusing},
		{name: "a file of brackets", star: "x = " + times(mib-100, "[") + "\ndef main():\n    pass\n", lua: "local x = " + times(mib-100, "{") + "\nfunction main() end\n", ends: refusing},
		{name: "a file of closed brackets", star: "x = " + times(mib/2-50, "[") + times(mib/2-50, "]") + "\ndef main():\n    pass\n", lua: "local x = " + times(mib/2-50, "{") + times(mib/2-50, "}") + "\nfunction main() end\n", ends: refusing},
		{name: "a file of not", star: "x = " + times(mib/4-50, "not ") + "1\ndef main():\n    pass\n", lua: "local x = " + times(mib/4-50, "not ") + "1\nfunction main() end\n", ends: refusing},
		{name: "a file of lambdas", star: "x = " + times(mib/8-50, "lambda: ") + "1\ndef main():\n    pass\n", lua: "local x = " + times(mib/32, "function() return ") + "1" + times(mib/32, " end") + "\nfunction main() end\n", ends: refusing},
		{name: "a file of sums", star: "x = 1" + times(mib/2-50, "+1") + "\ndef main():\n    pass\n", lua: "local x = 1" + times(mib/2-50, "+1") + "\nfunction main() end\n", ends: append([]int{done}, refusing...)},
		{name: "a file of powers", lua: "local x = 1" + times(mib/2-50, "^1") + "\nfunction main() end\n", ends: append([]int{done}, refusing...)},
		{name: "a file of joined texts", lua: "local x = ''" + times(mib/4-50, "..''") + "\nfunction main() end\n", ends: append([]int{done}, refusing...)},
		{name: "a file of conditions", star: "x = " + times(mib/16, "1 if 1 else ") + "1\ndef main():\n    pass\n", lua: times(mib/32, "if true then ") + times(mib/32, " end") + "\nfunction main() end\n", ends: append([]int{done}, refusing...)},
		{name: "a file of calls", star: "x = f" + times(mib/2-50, "()") + "\ndef main():\n    pass\n", lua: "local x = f" + times(mib/2-50, "()") + "\nfunction main() end\n", ends: refusing},
		{name: "a file of dots", star: "x = json" + times(mib/2-50, ".a") + "\ndef main():\n    pass\n", lua: "local x = json" + times(mib/2-50, ".a") + "\nfunction main() end\n", ends: refusing},
		{name: "a file of one number", star: "x = 1" + times(mib-100, "0") + "\ndef main():\n    pass\n", lua: "local x = 1" + times(mib-100, "0") + "\nfunction main() end\n", ends: append([]int{done}, refusing...)},
		{name: "a number of huge power", star: "x = 1e999999999\ndef main():\n    pass\n", lua: "local x = 1e999999999\nfunction main() end\n", ends: append([]int{done}, refusing...)},
		{name: "a file of zeros", star: times(mib-100, "\x00"), lua: times(mib-100, "\x00"), ends: []int{unsound}},
		{name: "a file that is no text", star: "\xff\xfe\xfd\ndef main():\n    pass\n", lua: "\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00", ends: []int{unsound}},
		{name: "a file that is too large", star: "#" + times(mib, "x") + "\ndef main():\n    pass\n", lua: "--" + times(mib, "x") + "\nfunction main() end\n", ends: []int{unsound}},
		{name: "a file of quotes", star: "x = " + times(mib-100, `"`) + "\ndef main():\n    pass\n", lua: "local x = [" + times(mib-200, "=") + "[\nfunction main() end\n", ends: refusing},

		// Files that are not the playbook's.
		{name: "load above", star: "load('../secret.star', 'x')\ndef main():\n    log(x)\n", lua: "local x = require('../secret')\nfunction main() log(x) end\n", ends: []int{unsound}},
		{name: "load absolute", star: "load('/etc/passwd', 'x')\ndef main():\n    log(x)\n", lua: "local x = require('/etc/passwd')\nfunction main() log(x) end\n", ends: []int{unsound}},
		{name: "load through a link", star: "load('link.star', 'x')\ndef main():\n    log(x)\n", lua: "local x = require('link')\nfunction main() log(x) end\n", ends: []int{unsound}},
		{name: "load through a linked folder", star: "load('linked/secret.star', 'x')\ndef main():\n    log(x)\n", lua: "local x = require('linked/secret')\nfunction main() log(x) end\n", ends: []int{unsound}},
		{name: "load from the process", star: "load('../../../../proc/self/environ', 'x')\ndef main():\n    log(x)\n", lua: "local x = require('../../../../proc/self/environ')\nfunction main() log(x) end\n", ends: []int{unsound}},
		{name: "load a library's neighbour", star: "load('@std//../../secret.star', 'x')\ndef main():\n    log(x)\n", lua: "local x = require('@std/../../secret')\nfunction main() log(x) end\n", ends: []int{unsound}},
		{name: "load what is no playbook", star: "load('notes.txt', 'x')\ndef main():\n    log(x)\n", lua: "local x = require('notes.txt')\nfunction main() log(x) end\n", ends: []int{unsound}},
		{name: "load itself", star: "load('play.star', 'main')\n", lua: "require('play')\nfunction main() end\n", ends: []int{unsound}},

		// What is no part of the languages here.
		{name: "the environment", star: "log(os.environ['PLANTED'])", lua: "log(os.getenv('PLANTED'))", ends: []int{failed, unsound}},
		{name: "opening a file", star: "log(open('/etc/passwd').read())", lua: "log(io.open('/etc/passwd'):read('*a'))", ends: []int{failed, unsound}},
		{name: "running a program", star: "exec('id')", lua: "os.execute('id')", ends: []int{failed, unsound}},
		{name: "evaluating a text", star: "eval('1')", lua: "loadstring('return 1')()", ends: []int{failed, unsound}},
		{name: "importing", star: "import os\ndef main():\n    pass\n", lua: "local m = require('os')\nfunction main() m.exit() end\n", ends: []int{failed, unsound}},
		{name: "the debug library", lua: "log(debug.getregistry())", ends: []int{failed, unsound}},
		{name: "the package library", lua: "package.loadlib('libc.so.6', 'system')", ends: []int{failed, unsound}},
		{name: "all globals", star: "log(str(globals()))", lua: "for k in pairs(_G) do log(k) end", ends: []int{failed, unsound}},
		{name: "functions' insides", star: "log(str(dir(main.__globals__)))", lua: "setfenv(1, {})", ends: []int{failed, unsound}},
		{name: "binary code", lua: "string.dump(function() end)", ends: []int{failed, unsound}},
		{name: "a coroutine", lua: "coroutine.wrap(function() end)()", ends: []int{failed, unsound}},

		// Values that are not the playbook's to change.
		{name: "a module", star: "json.encode = None", lua: "json.encode = nil", ends: []int{failed, unsound}},
		{name: "a module's new name", star: "proxmox.extra = 1", lua: "proxmox.extra = 1", ends: []int{failed, unsound}},
		{name: "a name that is always at hand", star: "def change():\n    log = None\nlog = None\ndef main():\n    pass\n", lua: "rawset(_ENV or {}, 'log', nil) string.rep = nil", ends: []int{done, failed, unsound}},
		{name: "the metatable of texts", lua: "getmetatable('').__index = function() end", ends: []int{failed, unsound}},
		{name: "the metatable of a result", lua: "setmetatable(keep(), {})", ends: []int{failed, unsound}},
		{name: "a field of a result", star: "k = keep(daily = 1)\nk.daily = 2", lua: "local k = keep() k.daily = 2", ends: []int{failed, unsound}},
		{name: "a global from main", star: "l = []\ndef main():\n    l.append(1)\n", lua: "l = {}\nfunction main() l[1] = 1 end\n", ends: []int{failed, unsound}},
		{name: "a shared value from a branch", star: "l = []\ndef grow(i):\n    l.append(i)\nparallel([1, 2], grow)", lua: "local l = {} parallel({1, 2}, function(i) l[i] = i end)", ends: []int{failed}},
		{name: "an item of parallel", star: "def grow(l):\n    l.append(1)\nparallel([[]], grow)", lua: "parallel({{}}, function(l) l[1] = 1 end)", ends: []int{failed}},
		{name: "a list that is gone through", star: "l = [1]\nfor x in l:\n    l.append(x)", lua: "local t = {1} for k in pairs(t) do t[#t + 1] = k end", ends: append([]int{done}, stopped...)},

		// Denials and limits cannot be caught.
		{name: "a denial", star: "proxmox.guests()", lua: "proxmox.guests()", ends: []int{denied}, shows: "not among the needs"},
		{name: "a denial in attempt", star: "attempt(lambda: proxmox.guests())\nlog('WENT ON')", lua: "attempt(function() proxmox.guests() end) log('WENT ON')", ends: []int{denied}, shows: "not among the needs"},
		{name: "a denial in retry", star: "retry(lambda: proxmox.guests(), times = 5)\nlog('WENT ON')", lua: "retry(function() proxmox.guests() end, 5) log('WENT ON')", ends: []int{denied}},
		{name: "a denial in parallel", star: "attempt(lambda: parallel([1, 2], lambda i: proxmox.guests()))\nlog('WENT ON')", lua: "pcall(function() parallel({1, 2}, function() proxmox.guests() end) end) log('WENT ON')", ends: []int{denied}},
		{name: "a denial in pcall", lua: "pcall(function() proxmox.guests() end) log('WENT ON')", ends: []int{denied}, shows: "not among the needs"},
		{name: "a denial in xpcall", lua: "xpcall(function() proxmox.guests() end, function() return 1 end) log('WENT ON')", ends: []int{denied}},
		{name: "a denial deferred", star: "defer(lambda: proxmox.guests())", lua: "defer(function() proxmox.guests() end)", ends: []int{denied}},
		{name: "a limit in attempt", star: "attempt(lambda: [1 for i in range(1 << 60) if i < 0])\nlog('WENT ON')", lua: "pcall(function() while true do end end) log('WENT ON')", ends: runaway},

		// More than a run may do.
		{name: "10^6 calls", star: "for i in range(1000000):\n    now()", lua: "for i = 1, 1e6 do now() end", ends: append([]int{failed}, runaway...)},
		{name: "10^6 calls side by side", star: "for i in range(1000):\n    parallel(range(1000), lambda i: now(), limit = 0)", lua: "local t = {} for i = 1, 1000 do t[i] = i end for i = 1, 1000 do parallel(t, function() return now() end, 0) end", ends: append([]int{failed}, runaway...)},
		{name: "a flood of lines", star: "for i in range(10000000):\n    log('x')", lua: "for i = 1, 1e7 do log('x') end", ends: runaway},
		{name: "a flood by print", star: "for i in range(10000000):\n    print('x' * 1000)", lua: "for i = 1, 1e7 do print(('x'):rep(1000)) end", ends: runaway},
		{name: "a flood of deferred functions", star: "for i in range(10000000):\n    defer(lambda: None)", lua: "for i = 1, 1e7 do defer(function() end) end", ends: runaway},
		{name: "deferring for ever", star: "def again():\n    defer(again)\ndef main():\n    defer(again)\n", lua: "local function again() defer(again) end defer(again)", ends: append([]int{failed, unsound}, runaway...)},
		{name: "branches without number", star: "parallel(range(1000000000), lambda i: i, limit = 0)", lua: "local t = {} for i = 1, 1e6 do t[i] = i end parallel(t, function(i) return i end, 0)", ends: append([]int{done}, stopped...)},
		{name: "a huge argument", star: "log('x' * 100000000)", lua: "log(('x'):rep(100000000))", ends: append([]int{done}, stopped...), memory: true},
		{name: "a huge list as argument", star: "with_lock([str(i) for i in range(1000000)], lambda: None)", lua: "local t = {} for i = 1, 1e6 do t[i] = 'k' .. i end with_lock(t, function() end)", ends: stopped, memory: true},
		{name: "many locks", star: "with_lock([str(i) for i in range(2000)], lambda: log('WENT ON'))", lua: "local t = {} for i = 1, 2000 do t[i] = 'k' .. i end with_lock(t, function() log('WENT ON') end)", ends: []int{limit}},
		{name: "a range as argument", star: "with_lock(range(1 << 60), lambda: None)", ends: stopped},

		// Secrets.
		{name: "a secret printed", star: "s = secret('nas')\nprint(s)\nlog(str(s))\nlog(repr(s))", lua: "local s = secret('nas') print(s) log(tostring(s))", ends: []int{done}, shows: "secret"},
		{name: "a secret in JSON", star: "log(json.encode({'s': secret('nas')}))", lua: "log(json.encode({s = secret('nas')}))", ends: []int{done}, shows: "nas"},
		{name: "a secret in an error", star: "fail('it is %s' % secret('nas'))", lua: "fail('it is ' .. tostring(secret('nas')))", ends: []int{failed}, shows: "it is"},
		{name: "a secret as a Lua error", lua: "error(secret('nas'))", ends: []int{failed}},
		{name: "a secret as text", star: "log('' + secret('nas'))", lua: "log('' .. secret('nas'))", ends: []int{failed}},
		{name: "a secret's parts", star: "log(str(dir(secret('nas'))))\nlog(secret('nas').text)", lua: "log(secret('nas').text)", ends: []int{failed}},
		{name: "a secret as argument", star: "attempt(lambda: sleep(secret('nas')))\nlog('x', level = 'info')", lua: "attempt(function() sleep(secret('nas')) end)", ends: []int{done}},

		// Words that would steer a terminal, or be taken for nixmox's own.
		{name: "escapes in a log", star: "log('a\\x1b[2Jb\\x1b]0;owned\\x07\\u202e')", lua: "log('a\\27[2Jb\\27]0;owned\\7')", ends: []int{done}},
		{name: "escapes in an error", star: "fail('a\\x1b[2Jb', hint = '\\x1b[31mred')", lua: "error('a\\27[2Jb')", ends: []int{failed}},
		{name: "escapes in a key", star: "with_lock(['\\x1b[2J\\nnixmox: done'], lambda: log('in'))", lua: "with_lock({'\\27[2J\\nnixmox: done'}, function() log('in') end)", ends: []int{done}},
		{name: "escapes in what is not there", star: "proxmox['\\x1b[2J']", lua: "local x = proxmox['\\27[2J']", ends: []int{failed, unsound}},
		{name: "escapes in help", star: "'''Help \x1b[2J'''\ndef main(x):\n    pass\n", lua: "--[[ Help \x1b[2J ]]\nparams{{name = 'x', type = 'string', doc = '\\27[2J'}}\nfunction main() end\n", ends: []int{2, unsound}},
		{name: "escapes in the source", star: "x = \x1b[2J\ndef main():\n    pass\n", lua: "local x = \x1b[2J\nfunction main() end\n", ends: []int{unsound}},
		{name: "line breaks in a log", star: "log('x\\nplay: done in 1ms: 3 changes')", lua: "log('x\\nplay: done in 1ms: 3 changes')", ends: []int{done}},
	}
}
