package luavm

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

var stringLib = library("string", stringFuncs)

// stringMeta is why ("x"):rep(3) works.
var stringMeta = func() *lua.LTable {
	m := &lua.LTable{Metatable: lua.LNil}
	m.RawSetString("__index", stringLib)
	return m
}()

// library is a frozen table of functions.
func library(name string, fns map[string]lua.LGFunction) *lua.LTable {
	members := map[string]lua.LValue{}
	for k, fn := range fns {
		members[k] = function(fn)
	}
	return module(name, members)
}

// module is a frozen table in which only what there is can be looked up.
func module(name string, members map[string]lua.LValue) *lua.LTable {
	t := &lua.LTable{Metatable: meta(map[string]lua.LGFunction{"__index": func(l *lua.LState) int {
		l.RaiseError("%s has no %s", name, show(l.Get(2)))
		return 0
	}})}
	for _, k := range slices.Sorted(maps.Keys(members)) {
		t.RawSetString(k, members[k])
	}
	freezeTable(t)
	return t
}

// names are all names that every file of a playbook has.
func names(d language.Definitions) map[string]lua.LValue {
	out := map[string]lua.LValue{"_VERSION": lua.LString(lua.LuaVersion), "string": stringLib,
		"table": library("table", tableFuncs), "math": mathLib(), "json": library("json", jsonFuncs), "struct": function(makeStruct)}
	for name, fn := range baseFuncs {
		out[name] = function(fn)
	}
	for i := range d.AtHand {
		out[d.AtHand[i].Name] = bind(&d.AtHand[i])
	}
	for i := range d.Modules {
		m := &d.Modules[i]
		members := map[string]lua.LValue{}
		for j := range m.Funcs {
			members[m.Funcs[j].Name] = bind(&m.Funcs[j])
		}
		out[m.Name] = module(m.Name, members)
	}
	return out
}

// mathLib is the interpreter's own, but for random numbers: those come from
// random(), which is recorded.
func mathLib() *lua.LTable {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	lua.OpenMath(l)
	own := l.CheckTable(-1)
	members := map[string]lua.LValue{}
	for k, v := own.Next(lua.LNil); k != lua.LNil; k, v = own.Next(k) {
		if fn, ok := v.(*lua.LFunction); ok {
			v = function(func(l *lua.LState) int {
				endPlan(l, "is counted with")
				return fn.GFunction(l)
			})
		}
		if name := k.String(); name != "random" && name != "randomseed" && name != "mod" {
			members[name] = v
		}
	}
	return module("math", members)
}

// makeStruct makes a record of a table: it cannot be written into, and has
// the names that it has.
func makeStruct(l *lua.LState) int {
	t := contents(l.CheckTable(1))
	fields := map[string]lua.LValue{}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		name, ok := k.(lua.LString)
		if !ok {
			l.RaiseError("a field of a struct has a name, not %s", show(k))
		}
		fields[string(name)] = v
	}
	o := named(fields)
	o.kind = "struct"
	l.Push(hold(o))
	return 1
}

// jsonFuncs write values as the engine does everywhere: times and durations
// as text, secrets by name.
var jsonFuncs = map[string]lua.LGFunction{
	"encode": func(l *lua.LState) int {
		in := strandOf(l).inbound()
		in.data = true
		v, err := in.neutral(l.CheckAny(1), nil)
		if err != nil {
			if stop, ok := errors.AsType[*builtin.Stop](err); ok {
				throw(l, stop)
			}
			l.RaiseError("json.encode: %v", err)
		}
		encoded, err := builtin.MarshalNeutral(v)
		if err != nil {
			l.RaiseError("json.encode: %v", err)
		}
		l.Push(lua.LString(encoded))
		return 1
	},
	// decode: lists and dicts are as results of built-ins are; null is nil.
	"decode": func(l *lua.LState) int {
		s := text(l, 1)
		grow(l, len(s))
		if !json.Valid([]byte(s)) {
			l.RaiseError("json.decode: %v", json.Unmarshal([]byte(s), new(any)))
		}
		v, err := anyValue.Decode([]byte(s))
		if err != nil {
			l.RaiseError("json.decode: %v", err)
		}
		l.Push(value(v))
		return 1
	},
	"indent": func(l *lua.LState) int {
		var out bytes.Buffer
		if err := json.Indent(&out, []byte(text(l, 1)), l.OptString(2, ""), l.OptString(3, "\t")); err != nil {
			l.RaiseError("json.indent: %v", err)
		}
		grow(l, out.Len())
		l.Push(lua.LString(out.String()))
		return 1
	},
}

var anyValue = builtin.TypeOf(reflect.TypeFor[builtin.Value]())
