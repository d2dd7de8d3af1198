package luavm

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
)

// baseFuncs are the language's own functions, all that there are: what is not
// listed here, or in the other libraries, no playbook has. There are no
// metatables, no environments, no loading of text, no coroutines: a playbook
// needs none, and each of them is a way around what is frozen.
var baseFuncs = map[string]lua.LGFunction{
	"assert": func(l *lua.LState) int {
		l.CheckAny(1)
		if !l.ToBool(1) {
			if v := l.Get(2); v != lua.LNil {
				if _, isText := v.(lua.LString); !isText {
					l.Error(v, 0)
				}
			}
			l.RaiseError("%s", l.OptString(2, "assertion failed!"))
		}
		return l.GetTop()
	},
	"error": func(l *lua.LState) int {
		v, level := l.Get(1), l.OptInt(2, 1)
		if s, ok := v.(lua.LString); ok && level > 0 {
			if at := linesUp(l, level); at.Line > 0 {
				v = lua.LString(at.String() + ": " + string(s))
			}
		}
		l.Error(v, 0)
		return 0
	},
	"ipairs": func(l *lua.LState) int {
		length(l, 1)
		l.Push(nextItem)
		l.Push(l.Get(1))
		l.Push(lua.LNumber(0))
		return 3
	},
	"next": next,
	"pairs": func(l *lua.LState) int {
		mustIterate(l)
		l.Push(nextEntry)
		l.Push(l.Get(1))
		l.Push(lua.LNil)
		return 3
	},
	"pcall": func(l *lua.LState) int {
		l.CheckAny(1)
		return protected(l, l.Get(1), 2, nil)
	},
	"print": func(l *lua.LState) int {
		parts := make([]string, l.GetTop())
		for i := range parts {
			parts[i] = show(l.Get(i + 1))
		}
		strandOf(l).Print(caller(l), strings.Join(parts, "\t"))
		return 0
	},
	"select": func(l *lua.LState) int {
		top := l.GetTop()
		if s, ok := l.Get(1).(lua.LString); ok && s == "#" {
			l.Push(lua.LNumber(top - 1))
			return 1
		}
		i := l.CheckInt(1)
		if i < 0 {
			i += top
		}
		if i < 1 {
			l.ArgError(1, "index out of range")
		}
		return max(top-i, 0)
	},
	"tonumber": toNumber,
	"tostring": func(l *lua.LState) int { l.CheckAny(1); l.Push(lua.LString(show(l.Get(1)))); return 1 },
	"type":     func(l *lua.LState) int { l.CheckAny(1); l.Push(lua.LString(typeName(l.Get(1)))); return 1 },
	"unpack": func(l *lua.LState) int {
		i, j := l.OptInt(2, 1), l.OptInt(3, length(l, 1))
		if i <= j && uint64(j-i) >= 8000 { // right where the difference overflows, too
			l.RaiseError("too many results to unpack")
		}
		list := l.Get(1)
		for n := i; n <= j; n++ {
			l.Push(item(list, n))
		}
		return max(j-i+1, 0)
	},
	"xpcall": func(l *lua.LState) int {
		l.CheckAny(1)
		return protected(l, l.Get(1), l.GetTop()+1, l.CheckFunction(2))
	},
}

// linesUp is the line of the level'th function of the playbook up the stack,
// as error counts them.
func linesUp(l *lua.LState, level int) builtin.Position {
	at, _, _ := lineAt(l, level)
	return at
}

// protected calls a function with the arguments on the stack from one on and
// pushes how it ended. Stop conditions go through.
func protected(l *lua.LState, fn lua.LValue, from int, handler *lua.LFunction) int {
	s := strandOf(l)
	var args []lua.LValue
	for i := from; i <= l.GetTop(); i++ {
		args = append(args, l.Get(i))
	}
	results, err := s.protect(fn, args...)
	if err == nil {
		l.Push(lua.LTrue)
		for _, v := range results {
			l.Push(v)
		}
		return 1 + len(results)
	}
	fault, ok := err.(*builtin.Fault) //nolint:errorlint // what protect returns is one, or nothing to be caught
	if !ok {
		throw(l, err)
	}
	v := thrownValue(fault)
	if handler != nil {
		results, err := s.protect(handler, v)
		if _, isFault := err.(*builtin.Fault); err != nil && !isFault { //nolint:errorlint // as above
			throw(l, err)
		}
		v = lua.LString("error in error handling")
		if err == nil {
			v = lua.LNil
			if len(results) > 0 {
				v = results[0]
			}
		}
	}
	l.Push(lua.LFalse)
	l.Push(v)
	return 2
}

// thrownValue is what pcall gives back: a playbook's own value as it was, the
// fault of a call as a record.
func thrownValue(f *builtin.Fault) lua.LValue {
	if t, ok := f.Cause.(*thrown); ok { //nolint:errorlint // this very fault was made of it
		return t.value
	}
	return caught(f)
}

// length is how many items an argument has.
func length(l *lua.LState, i int) int {
	switch v := l.Get(i).(type) {
	case *lua.LTable:
		return contents(v).Len()
	case *lua.LUserData:
		switch x := v.Value.(type) {
		case *sequence:
			return len(x.values)
		case *object:
			return 0
		}
	}
	endPlan(l, "is looked into")
	l.ArgError(i, "table expected, got "+typeName(l.Get(i)))
	return 0
}

// item is an item of what length has looked at.
func item(v lua.LValue, n int) lua.LValue {
	switch v := v.(type) {
	case *lua.LTable:
		return contents(v).RawGet(lua.LNumber(n))
	case *lua.LUserData:
		if q, ok := v.Value.(*sequence); ok && n >= 1 && n <= len(q.values) {
			return q.values[n-1]
		}
	}
	return lua.LNil
}

var nextItem = function(func(l *lua.LState) int {
	n := l.CheckInt(2) + 1
	v := item(l.Get(1), n)
	if n > length(l, 1) && v == lua.LNil || v == lua.LNil && l.Get(1).Type() == lua.LTTable {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(lua.LNumber(n))
	l.Push(v)
	return 2
})

var nextEntry = function(next)

func mustIterate(l *lua.LState) { length(l, 1) }

// next goes through tables in the order in which their keys were set, through
// records in the order of their definition, through dicts by name.
func next(l *lua.LState) int {
	mustIterate(l)
	key, value := l.Get(2), lua.LNil
	switch v := l.Get(1).(type) {
	case *lua.LTable:
		key, value = contents(v).Next(key)
	case *lua.LUserData:
		switch x := v.Value.(type) {
		case *sequence:
			n := 0
			if key != lua.LNil {
				n = l.CheckInt(2)
			}
			key = lua.LNil
			if n >= 0 && n < len(x.values) {
				key, value = lua.LNumber(n+1), x.values[n]
			}
		case *object:
			n := 0
			if key != lua.LNil {
				if n = x.find(l.CheckString(2)) + 1; n == 0 {
					l.RaiseError("invalid key to 'next'")
				}
			}
			key = lua.LNil
			for ; n < len(x.values) && key == lua.LNil; n++ {
				if value = x.values[n]; value != lua.LNil { // as a table, which holds no nil
					key = lua.LString(x.names[n])
				}
			}
		}
	}
	if key == lua.LNil {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(key)
	l.Push(value)
	return 2
}

var (
	manyDigits = regexp.MustCompile(`^\s*([+-]?[0-9]{16,})\s*$`)
	floating   = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
)

// toNumber reads numbers as Lua does, whole ones exactly, however large.
func toNumber(l *lua.LState) int {
	l.CheckAny(1)
	base := l.OptInt(2, 10)
	v := lua.LNil
	switch x := l.Get(1).(type) {
	case lua.LNumber:
		v = x
	case *lua.LUserData:
		if _, ok := x.Value.(*big.Int); ok {
			v = x
		}
		endPlan(l, "is counted with")
	case lua.LString:
		v = parseNumber(l, strings.Trim(string(x), " \t\n\r\f\v"), base)
	}
	l.Push(v)
	return 1
}

func parseNumber(l *lua.LState, text string, base int) lua.LValue {
	if base < 2 || base > 36 {
		l.ArgError(2, "base out of range")
	}
	if len(text) > 4096 {
		return lua.LNil
	}
	if base == 10 {
		if m := manyDigits.FindStringSubmatch(text); m != nil {
			if n, ok := new(big.Int).SetString(m[1], 10); ok {
				return integer(n)
			}
		}
		if floating.MatchString(text) {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil && !math.IsInf(n, 0) {
				return lua.LNil
			}
			return lua.LNumber(n)
		}
	}
	lower := strings.ToLower(text)
	if base == 10 || base == 16 {
		sign := ""
		if strings.HasPrefix(lower, "-") {
			sign, lower = "-", lower[1:]
		}
		if rest, ok := strings.CutPrefix(lower, "0x"); ok {
			base, lower = 16, rest
		} else if base == 10 {
			return lua.LNil
		}
		lower = sign + lower
	}
	n, ok := new(big.Int).SetString(lower, base)
	if !ok || strings.ContainsAny(lower, "_+") {
		return lua.LNil
	}
	return integer(n)
}
