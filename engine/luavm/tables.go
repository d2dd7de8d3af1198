package luavm

import (
	"sort"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// writable is a table argument that may be written into.
func writable(l *lua.LState, i int) *lua.LTable {
	length(l, i)
	t, ok := l.Get(i).(*lua.LTable)
	if !ok || isFrozen(t) {
		l.RaiseError("table is frozen: copy it into a new one first")
	}
	return t
}

var tableFuncs = map[string]lua.LGFunction{
	"concat": func(l *lua.LState) int {
		sep := l.OptString(2, "")
		i, j := l.OptInt(3, 1), l.OptInt(4, length(l, 1))
		var out strings.Builder
		for n := i; n <= j; n++ {
			v := item(l.Get(1), n)
			u, isHeld := v.(*lua.LUserData)
			if isHeld && typeName(u) == "known_after_the_plan" {
				v = lua.LString(show(u))
			}
			if !lua.LVCanConvToString(v) {
				l.RaiseError("invalid value (%s) at index %d in table for 'concat'", typeName(v), n)
			}
			out.WriteString(v.String())
			if n < j {
				out.WriteString(sep)
			}
			if out.Len() > maxText {
				grow(l, out.Len())
			}
			strandOf(l).spend(l, 1)
		}
		l.Push(lua.LString(out.String()))
		return 1
	},
	"insert": func(l *lua.LState) int {
		t := writable(l, 1)
		size := t.Len()
		switch l.GetTop() {
		case 2:
			t.RawSetInt(size+1, l.Get(2))
		case 3:
			at := l.CheckInt(2)
			if at < 1 || at > size+1 {
				l.ArgError(2, "position out of bounds")
			}
			strandOf(l).spend(l, (size-at)/16)
			for n := size; n >= at; n-- {
				t.RawSetInt(n+1, t.RawGetInt(n))
			}
			t.RawSetInt(at, l.Get(3))
		default:
			l.RaiseError("wrong number of arguments to 'insert'")
		}
		return 0
	},
	"maxn": func(l *lua.LState) int { l.Push(lua.LNumber(length(l, 1))); return 1 },
	"remove": func(l *lua.LState) int {
		t := writable(l, 1)
		size := t.Len()
		at := l.OptInt(2, size)
		if at < 1 || at > size {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(t.RawGetInt(at))
		strandOf(l).spend(l, (size-at)/16)
		t.Remove(at)
		return 1
	},
	"sort": func(l *lua.LState) int {
		t := writable(l, 1)
		by := l.OptFunction(2, nil)
		list := make([]lua.LValue, t.Len())
		for i := range list {
			list[i] = t.RawGetInt(i + 1)
		}
		sort.SliceStable(list, func(i, j int) bool {
			strandOf(l).spend(l, 1)
			if by == nil {
				return l.LessThan(list[i], list[j])
			}
			l.Push(by)
			l.Push(list[i])
			l.Push(list[j])
			l.Call(2, 1)
			before := l.ToBool(-1)
			l.Pop(1)
			return before
		})
		if isFrozen(t) { // by the comparison
			l.RaiseError("table is frozen: copy it into a new one first")
		}
		for i, v := range list {
			t.RawSetInt(i+1, v)
		}
		return 0
	},
}
