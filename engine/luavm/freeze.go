package luavm

import (
	"fmt"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
)

// A frozen table is emptied: what it held moves into a table behind its
// metatable, where reading finds it and writing cannot go. Playbooks can reach
// no metatables. So what several branches share, none of them can change.

// behind is the key in a metatable of the table that holds the contents.
const behind = "__index"

// contents is the table that holds what a table holds.
func contents(t *lua.LTable) *lua.LTable {
	if m, ok := t.Metatable.(*lua.LTable); ok && m.RawGetString("__newindex") != lua.LNil {
		return m.RawGetString(behind).(*lua.LTable)
	}
	return t
}

func isFrozen(t *lua.LTable) bool { return contents(t) != t }

// freezeTable freezes one table, not what it holds.
func freezeTable(t *lua.LTable) {
	if isFrozen(t) {
		return
	}
	inner := new(lua.LTable)
	*inner = *t
	*t = lua.LTable{Metatable: lua.LNil}
	m := &lua.LTable{Metatable: lua.LNil}
	m.RawSetString(behind, inner)
	m.RawSetString("__newindex", frozenWrite)
	m.RawSetString("__len", frozenLen)
	t.Metatable = m
}

var (
	frozenWrite = function(refuseWrite)
	frozenLen   = function(func(l *lua.LState) int {
		l.Push(lua.LNumber(contents(l.CheckTable(1)).Len()))
		return 1
	})
)

// freeze freezes values with all that can be reached from them: tables, and
// what functions have captured. A function that sets a variable outside of
// itself cannot be frozen, and is the error.
func freeze(list ...lua.LValue) error {
	f := freezer{seen: map[any]bool{}}
	f.addAll(list)
	for len(f.left) > 0 && f.err == nil { // no recursion: a table may be as deep as it likes
		v := f.left[len(f.left)-1]
		f.left = f.left[:len(f.left)-1]
		f.one(v)
	}
	return f.err
}

type freezer struct {
	seen map[any]bool
	left []lua.LValue
	err  error
}

func (f *freezer) add(v lua.LValue) {
	switch v := v.(type) {
	case *lua.LTable, *lua.LFunction, *lua.LUserData:
		if !f.seen[v] {
			f.seen[v] = true
			f.left = append(f.left, v)
		}
	}
}

func (f *freezer) addAll(list []lua.LValue) {
	for _, v := range list {
		f.add(v)
	}
}

func (f *freezer) one(v lua.LValue) {
	switch v := v.(type) {
	case *lua.LTable:
		t := contents(v)
		for k, x := t.Next(lua.LNil); k != lua.LNil; k, x = t.Next(k) {
			f.add(k)
			f.add(x)
		}
		freezeTable(v)
	case *lua.LUserData:
		switch x := v.Value.(type) {
		case *sequence:
			f.addAll(x.values)
		case *object:
			f.addAll(x.values)
		}
	case *lua.LFunction:
		f.function(v)
	}
}

func (f *freezer) function(fn *lua.LFunction) {
	if fn.IsG {
		if len(fn.Upvalues) > 0 {
			f.err = builtin.Faultf(builtin.Invalid, "an iterator of gmatch cannot be frozen").Saying("it goes on each time that it is called").
				Hinting("collect what it finds in a table")
		}
		return
	}
	for i, sets := range setsOutside(fn.Proto) {
		if sets {
			name := fn.Proto.DbgUpvalues[i]
			f.err = builtin.Faultf(builtin.Invalid, "the function at %s:%d sets %s, which is outside of it", fn.Proto.SourceName, fn.Proto.LineDefined, name).
				Saying("what is shared is frozen").Hinting("let the function return what it found out")
			return
		}
	}
	for _, up := range fn.Upvalues {
		if v := up.Value(); v != nil {
			f.add(v)
		}
	}
}

// setsOutside says which variables outside of it a function sets, itself or
// by way of a function that it makes.
func setsOutside(p *lua.FunctionProto) []bool {
	sets := make([]bool, p.NumUpvalues)
	for pc := 0; pc < len(p.Code); pc++ {
		switch inst := p.Code[pc]; int(inst >> 26) {
		case lua.OP_SETUPVAL:
			sets[inst&0x1ff] = true
		case lua.OP_SETLIST:
			if inst>>9&0x1ff == 0 {
				pc++ // its count stands in place of an instruction
			}
		case lua.OP_CLOSURE:
			inner := p.FunctionPrototypes[inst&0x3ffff]
			innerSets := setsOutside(inner)
			for i := range int(inner.NumUpvalues) {
				pc++ // where the function that is made finds its variables
				from := p.Code[pc]
				if innerSets[i] && int(from>>26) == lua.OP_GETUPVAL {
					sets[from&0x1ff] = true
				}
			}
		}
	}
	return sets
}

// deepEqual compares values by what they hold.
func deepEqual(a, b lua.LValue, deep int) (bool, error) {
	if deep > 200 {
		return false, fmt.Errorf("they are nested more than 200 deep, or contain themselves")
	}
	if a == b {
		return true, nil
	}
	if x, ok := asList(a); ok {
		y, ok := asList(b)
		if !ok || len(x) != len(y) {
			return false, nil
		}
		for i := range x {
			if equal, err := deepEqual(x[i], y[i], deep+1); err != nil || !equal {
				return false, err
			}
		}
		return true, nil
	}
	if x, ok := asDict(a); ok {
		y, ok := asDict(b)
		if !ok || len(x) != len(y) || !sameKind(a, b) {
			return false, nil
		}
		for k, v := range x {
			other, ok := y[k]
			if !ok {
				return false, nil
			}
			if equal, err := deepEqual(v, other, deep+1); err != nil || !equal {
				return false, err
			}
		}
		return true, nil
	}
	u, ok := a.(*lua.LUserData)
	w, ok2 := b.(*lua.LUserData)
	if !ok || !ok2 {
		return false, nil
	}
	return sameHeld(u.Value, w.Value), nil
}
