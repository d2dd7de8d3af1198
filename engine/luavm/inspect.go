package luavm

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// asList is a list's items: those of a table without names, or of a result.
func asList(v lua.LValue) ([]lua.LValue, bool) {
	switch v := v.(type) {
	case *lua.LTable:
		t := contents(v)
		if key, _ := t.Next(lastItem(t)); key != lua.LNil {
			return nil, false
		}
		list := make([]lua.LValue, t.MaxN())
		for i := range list {
			list[i] = t.RawGetInt(i + 1)
		}
		return list, true
	case *lua.LUserData:
		if q, ok := v.Value.(*sequence); ok {
			list := make([]lua.LValue, len(q.values))
			for i := range list {
				list[i] = q.values[i]
			}
			return list, true
		}
	}
	return nil, false
}

// asDict is what a table or a record has by name, or by any other key.
func asDict(v lua.LValue) (map[lua.LValue]lua.LValue, bool) {
	switch v := v.(type) {
	case *lua.LTable:
		t, out := contents(v), map[lua.LValue]lua.LValue{}
		for k, x := t.Next(lua.LNil); k != lua.LNil; k, x = t.Next(k) {
			out[k] = x
		}
		return out, true
	case *lua.LUserData:
		if o, ok := v.Value.(*object); ok {
			out := make(map[lua.LValue]lua.LValue, len(o.names))
			for i, name := range o.names {
				if x := o.values[i]; x != lua.LNil { // as a table, which holds no nil
					out[lua.LString(name)] = x
				}
			}
			return out, true
		}
	}
	return nil, false
}

// sameKind holds that records are of one type; a table is a dict.
func sameKind(a, b lua.LValue) bool {
	kind := func(v lua.LValue) *builtin.Type {
		if u, ok := v.(*lua.LUserData); ok {
			return u.Value.(*object).typ
		}
		return nil
	}
	x, y := kind(a), kind(b)
	if x == nil || y == nil {
		return x == y
	}
	return x.Same(y)
}

func sameHeld(a, b any) bool {
	switch a := a.(type) {
	case *big.Int:
		y, ok := b.(*big.Int)
		return ok && a.Cmp(y) == 0
	case time.Time:
		y, ok := b.(time.Time)
		return ok && a.Equal(y)
	case time.Duration, builtin.Secret, builtin.Opaque:
		return a == b
	}
	return false
}

// Inspect makes a value of Lua one that can be looked at; ok is false for any
// other.
func Inspect(v builtin.Value) (language.Value, bool) {
	x, ok := v.(lua.LValue)
	return inspected{x}, ok
}

type inspected struct{ lua.LValue }

// Equal compares by what is in the values, tables too.
func (v inspected) Equal(other builtin.Value) (bool, error) {
	y, ok := other.(lua.LValue)
	if !ok {
		return false, fmt.Errorf("no value of Lua: %T", other)
	}
	return deepEqual(v.LValue, y, 0)
}

func (v inspected) Has(part builtin.Value) (bool, error) {
	x, ok := part.(lua.LValue)
	if !ok {
		return false, fmt.Errorf("no value of Lua: %T", part)
	}
	if text, ok := v.LValue.(lua.LString); ok {
		s, ok := x.(lua.LString)
		if !ok {
			return false, fmt.Errorf("a text has texts in it, not a %s", typeName(x))
		}
		return strings.Contains(string(text), string(s)), nil
	}
	if list, ok := asList(v.LValue); ok {
		for _, item := range list {
			if equal, err := deepEqual(item, x, 0); err != nil || equal {
				return equal, err
			}
		}
		return false, nil
	}
	if dict, ok := asDict(v.LValue); ok {
		_, has := dict[x]
		return has, nil
	}
	return false, fmt.Errorf("a %s has no parts", typeName(v.LValue))
}

func (v inspected) True() bool { return lua.LVAsBool(v.LValue) }

func (v inspected) Show() (text string, lines []string) {
	if s, ok := v.LValue.(lua.LString); ok {
		if strings.Contains(string(s), "\n") {
			lines = strings.Split(string(s), "\n")
		}
		return quoted(s), lines
	}
	if list, ok := asList(v.LValue); ok {
		for _, item := range list {
			lines = append(lines, literal(item, 0))
		}
	} else if dict, ok := asDict(v.LValue); ok {
		for k, x := range dict {
			lines = append(lines, key(k)+" = "+literal(x, 0))
		}
		slices.Sort(lines)
	}
	return literal(v.LValue, 0), lines
}

// literal writes a value with what is in it, as Lua would read it.
func literal(v lua.LValue, deep int) string {
	if deep > language.MaxDeep {
		return "…"
	}
	if list, ok := asList(v); ok {
		parts := make([]string, len(list))
		for i := range list {
			parts[i] = literal(list[i], deep+1)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	dict, ok := asDict(v)
	if _, isTable := v.(*lua.LTable); !ok || !isTable {
		return quoted(v)
	}
	parts := make([]string, 0, len(dict))
	for k, x := range dict {
		parts = append(parts, key(k)+" = "+literal(x, deep+1))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

func key(k lua.LValue) string {
	if s, ok := k.(lua.LString); ok {
		return string(s)
	}
	return "[" + show(k) + "]"
}

func (v inspected) Neutral() (any, error) { return (&strand{}).inbound().neutral(v.LValue, nil) }
