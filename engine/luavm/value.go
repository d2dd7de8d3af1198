package luavm

import (
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
)

// What comes out of built-ins is userdata whose metatables no playbook can
// reach. Lists and records look like tables (#, ipairs, pairs, names), and
// nothing can be written into them.

// sequence is a list; in Lua its first item has the number 1.
type sequence struct{ values []lua.LValue }

// object is a record or a dict: values by name, in a fixed order.
type object struct {
	values []lua.LValue
	names  []string
	typ    *builtin.Type  // nil unless it is a result's record
	kind   string         // what it is called; "" for a dict, whose names are anybody's
	fault  *builtin.Fault // that pcall caught
}

// find is the position of a name, or -1. Names of dicts are sorted.
func (o *object) find(name string) int {
	if o.typ != nil {
		return slices.Index(o.names, name)
	}
	if i, ok := slices.BinarySearch(o.names, name); ok {
		return i
	}
	return -1
}

// asFault is the fault that a record of one stands for: what attempt returned
// can be thrown again.
func (o *object) asFault() *builtin.Fault {
	if o.fault != nil {
		return o.fault
	}
	if o.typ == nil || !o.typ.Same(faultType) {
		return nil
	}
	text := func(name string) string { s, _ := o.values[o.find(name)].(lua.LString); return string(s) }
	return &builtin.Fault{Kind: builtin.Kind(text("kind")), What: text("what"), Said: text("said"), Hint: text("hint")}
}

var faultType = builtin.TypeOf(reflect.TypeFor[builtin.Fault]())

// caught is the value of an error that pcall gives back.
func caught(f *builtin.Fault) lua.LValue {
	v, _ := builtin.Make[lua.LValue](faultType, *f, maker{}) // a maker of Lua fails never
	v.(*lua.LUserData).Value.(*object).fault = f
	return v
}

// hold wraps a value of Go with the metatable of its kind.
func hold(v any) lua.LValue {
	return &lua.LUserData{Value: v, Metatable: metaOf(v)}
}

func metaOf(v any) *lua.LTable {
	switch v.(type) {
	case *sequence:
		return &sequenceMeta
	case *object:
		return &objectMeta
	case *big.Int:
		return &integerMeta
	case time.Time:
		return &timeMeta
	case time.Duration:
		return &durationMeta
	case builtin.Secret:
		return &secretMeta
	case builtin.Opaque:
		return &opaqueMeta
	}
	panic(fmt.Sprintf("a %T has no metatable", v))
}

// The metatables are filled when the first machine is made: their functions
// make values, which have metatables themselves.
var (
	sequenceMeta, objectMeta, integerMeta, timeMeta, durationMeta, secretMeta, opaqueMeta lua.LTable

	fillMetatables = sync.OnceFunc(func() {
		sequenceMeta, objectMeta, integerMeta = *meta(sequenceFuncs), *meta(objectFuncs), *meta(integerFuncs)
		timeMeta, durationMeta, secretMeta, opaqueMeta = *meta(timeFuncs), *meta(durationFuncs), *meta(secretFuncs), *meta(opaqueFuncs)
	})
)

// function makes a Lua function of a Go one.
func function(fn lua.LGFunction) *lua.LFunction {
	return &lua.LFunction{IsG: true, Env: noNames, GFunction: fn}
}

var noNames = &lua.LTable{Metatable: lua.LNil}

func meta(fns map[string]lua.LGFunction) *lua.LTable {
	t := &lua.LTable{Metatable: lua.LNil}
	for name, fn := range fns { // in any order: it is only ever looked up
		t.RawSetString(name, function(fn))
	}
	return t
}

func held[T any](l *lua.LState, i int) T {
	u, _ := l.Get(i).(*lua.LUserData)
	if u != nil {
		if v, ok := u.Value.(T); ok {
			return v
		}
	}
	l.RaiseError("%s has come where it cannot be", typeName(l.Get(i)))
	panic("unreachable")
}

func refuseWrite(l *lua.LState) int {
	l.RaiseError("%s is frozen: %s cannot be set", typeName(l.Get(1)), show(l.Get(2)))
	return 0
}

func same(l *lua.LState) int {
	equal, err := deepEqual(l.Get(1), l.Get(2), 0)
	if err != nil {
		throw(l, err)
	}
	l.Push(lua.LBool(equal))
	return 1
}

var sequenceFuncs = map[string]lua.LGFunction{
	"__index": func(l *lua.LState) int {
		q := held[*sequence](l, 1)
		n, ok := l.Get(2).(lua.LNumber)
		if i := int(n); ok && lua.LNumber(i) == n && i >= 1 && i <= len(q.values) {
			l.Push(q.values[i-1])
			return 1
		}
		if !ok {
			l.RaiseError("a list has no field %s", show(l.Get(2)))
		}
		l.Push(lua.LNil)
		return 1
	},
	"__len":      func(l *lua.LState) int { l.Push(lua.LNumber(len(held[*sequence](l, 1).values))); return 1 },
	"__newindex": refuseWrite,
	"__eq":       same,
}

var objectFuncs = map[string]lua.LGFunction{
	"__index": func(l *lua.LState) int {
		o := held[*object](l, 1)
		name, ok := l.Get(2).(lua.LString)
		if i := o.find(string(name)); ok && i >= 0 {
			l.Push(o.values[i])
			return 1
		}
		if o.kind != "" {
			l.RaiseError("%s has no field %s: it has %s", o.kind, show(l.Get(2)), strings.Join(o.names, ", "))
		}
		l.Push(lua.LNil)
		return 1
	},
	"__len":      func(l *lua.LState) int { l.Push(lua.LNumber(0)); return 1 },
	"__newindex": refuseWrite,
	"__eq":       same,
	"__concat":   concat,
}

// concat joins what can be shown as text.
func concat(l *lua.LState) int {
	part := func(v lua.LValue) string {
		if u, ok := v.(*lua.LUserData); ok {
			o, isObject := u.Value.(*object)
			if _, isSecret := u.Value.(builtin.Secret); isSecret || isObject && o.fault == nil {
				l.RaiseError("a %s cannot be joined with ..; tostring shows it", typeName(v))
			}
			return show(v)
		}
		if !lua.LVCanConvToString(v) {
			l.RaiseError("a %s cannot be joined with ..", typeName(v))
		}
		return v.String()
	}
	l.Push(lua.LString(part(l.Get(1)) + part(l.Get(2))))
	return 1
}

// big numbers: exact, and with one another and with whole numbers of Lua.
func wholeOperand(l *lua.LState, i int) *big.Int {
	switch v := l.Get(i).(type) {
	case *lua.LUserData:
		if n, ok := v.Value.(*big.Int); ok {
			return n
		}
	case lua.LNumber:
		if n, _ := big.NewFloat(float64(v)).Int(nil); lua.LNumber(int64(v)) == v {
			return n
		}
	}
	l.RaiseError("an integer beyond 2^53 goes with whole numbers only, not with %s", show(l.Get(i)))
	return nil
}

func arithmetic(do func(x, y *big.Int) *big.Int) lua.LGFunction {
	return func(l *lua.LState) int {
		x, y := wholeOperand(l, 1), wholeOperand(l, 2)
		if x.BitLen()+y.BitLen() > 1<<16 {
			l.RaiseError("an integer of more than %d bits", 1<<16)
		}
		l.Push(integer(do(x, y)))
		return 1
	}
}

func divisible(do func(x, y *big.Int) *big.Int) func(l *lua.LState) int {
	run := arithmetic(do)
	return func(l *lua.LState) int {
		if wholeOperand(l, 2).Sign() == 0 {
			l.RaiseError("division by zero")
		}
		return run(l)
	}
}

var integerFuncs = map[string]lua.LGFunction{
	"__add": arithmetic(func(x, y *big.Int) *big.Int { return new(big.Int).Add(x, y) }),
	"__sub": arithmetic(func(x, y *big.Int) *big.Int { return new(big.Int).Sub(x, y) }),
	"__mul": arithmetic(func(x, y *big.Int) *big.Int { return new(big.Int).Mul(x, y) }),
	"__div": divisible(floorDiv),
	"__mod": divisible(func(x, y *big.Int) *big.Int {
		return new(big.Int).Sub(x, new(big.Int).Mul(y, floorDiv(x, y)))
	}),
	"__unm":    func(l *lua.LState) int { l.Push(integer(new(big.Int).Neg(wholeOperand(l, 1)))); return 1 },
	"__eq":     same,
	"__lt":     func(l *lua.LState) int { l.Push(lua.LBool(wholeOperand(l, 1).Cmp(wholeOperand(l, 2)) < 0)); return 1 },
	"__le":     func(l *lua.LState) int { l.Push(lua.LBool(wholeOperand(l, 1).Cmp(wholeOperand(l, 2)) <= 0)); return 1 },
	"__concat": concat,
}

// floorDiv rounds down, as // of Starlark.
func floorDiv(x, y *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(x, y, new(big.Int))
	if r.Sign() != 0 && (r.Sign() < 0) != (y.Sign() < 0) {
		q.Sub(q, big.NewInt(1))
	}
	return q
}

// Fields of times and durations are called as in Starlark.
var timeFuncs = map[string]lua.LGFunction{
	"__index": func(l *lua.LState) int {
		t := held[time.Time](l, 1)
		fields := map[string]int64{"year": int64(t.Year()), "month": int64(t.Month()), "day": int64(t.Day()), "hour": int64(t.Hour()),
			"minute": int64(t.Minute()), "second": int64(t.Second()), "nanosecond": int64(t.Nanosecond()), "unix": t.Unix(), "unix_nano": t.UnixNano()}
		name := l.Get(2).String()
		n, ok := fields[name]
		switch {
		case ok:
			l.Push(whole(n))
		case name == "format":
			l.Push(formatTime)
		default:
			l.RaiseError("a time has no field %s", show(l.Get(2)))
		}
		return 1
	},
	"__sub": func(l *lua.LState) int {
		t := held[time.Time](l, 1)
		switch x := l.Get(2).(type) {
		case *lua.LUserData:
			switch x := x.Value.(type) {
			case time.Time:
				l.Push(hold(t.Sub(x)))
				return 1
			case time.Duration:
				l.Push(hold(t.Add(-x)))
				return 1
			}
		}
		l.RaiseError("a time minus %s", show(l.Get(2)))
		return 0
	},
	"__add": func(l *lua.LState) int { l.Push(hold(held[time.Time](l, 1).Add(held[time.Duration](l, 2)))); return 1 },
	"__eq":  same,
	"__lt": func(l *lua.LState) int {
		l.Push(lua.LBool(held[time.Time](l, 1).Before(held[time.Time](l, 2))))
		return 1
	},
	"__le": func(l *lua.LState) int {
		l.Push(lua.LBool(!held[time.Time](l, 2).Before(held[time.Time](l, 1))))
		return 1
	},
	"__concat": concat,
}

var formatTime = function(func(l *lua.LState) int {
	l.Push(lua.LString(held[time.Time](l, 1).Format(l.CheckString(2))))
	return 1
})

var durationFuncs = map[string]lua.LGFunction{
	"__index": func(l *lua.LState) int {
		d := held[time.Duration](l, 1)
		fields := map[string]float64{"hours": d.Hours(), "minutes": d.Minutes(), "seconds": d.Seconds(),
			"milliseconds": float64(d.Milliseconds()), "microseconds": float64(d.Microseconds()), "nanoseconds": float64(d.Nanoseconds())}
		n, ok := fields[l.Get(2).String()]
		if !ok {
			l.RaiseError("a duration has no field %s", show(l.Get(2)))
		}
		l.Push(lua.LNumber(n))
		return 1
	},
	"__add": func(l *lua.LState) int { l.Push(hold(held[time.Duration](l, 1) + held[time.Duration](l, 2))); return 1 },
	"__sub": func(l *lua.LState) int { l.Push(hold(held[time.Duration](l, 1) - held[time.Duration](l, 2))); return 1 },
	"__eq":  same,
	"__lt": func(l *lua.LState) int {
		l.Push(lua.LBool(held[time.Duration](l, 1) < held[time.Duration](l, 2)))
		return 1
	},
	"__le": func(l *lua.LState) int {
		l.Push(lua.LBool(held[time.Duration](l, 1) <= held[time.Duration](l, 2)))
		return 1
	},
	"__concat": concat,
}

// secret is a handle: it can be passed on, and shows its name only.
var secretFuncs = map[string]lua.LGFunction{"__eq": same, "__newindex": refuseWrite}

// opaque stands for what only the run will know. It may be passed on and
// shown. Comparing, counting with it and looking into it end the plan. Lua
// gives a value no say in `==` with another type, so that one is false; as a
// condition it is true, as all of Lua's values are but nil and false, which no
// value to come is.
var opaqueFuncs = func() map[string]lua.LGFunction {
	fns := map[string]lua.LGFunction{"__concat": concat}
	for use, events := range map[string]string{"is compared": "__eq __lt __le", "is looked into": "__index __newindex __len", "is counted with": "__add __sub __mul __div __mod __pow __unm", "is called": "__call"} {
		for _, event := range strings.Fields(events) {
			fns[event] = func(l *lua.LState) int { endPlan(l, use); return 0 }
		}
	}
	return fns
}()

// endPlan ends the plan if one of the values on the stack is not known yet.
func endPlan(l *lua.LState, use string) {
	for i := 1; i <= l.GetTop(); i++ {
		if u, ok := l.Get(i).(*lua.LUserData); ok {
			if o, ok := u.Value.(builtin.Opaque); ok {
				throw(l, strandOf(l).Halt(o.Ends(use)))
			}
		}
	}
}

// typeName is what a playbook knows a value's type by.
func typeName(v lua.LValue) string {
	if u, ok := v.(*lua.LUserData); ok {
		switch u.Value.(type) {
		case *sequence, *object:
			return "table"
		case *big.Int:
			return "integer"
		case time.Time:
			return "time"
		case time.Duration:
			return "duration"
		case builtin.Secret:
			return "secret"
		case builtin.Opaque:
			return "known_after_the_plan"
		}
	}
	return v.Type().String()
}

// show is a value as text. It has no addresses, which differ from run to run.
// A table is shown by that word only: it may hold itself.
func show(v lua.LValue) string {
	switch v := v.(type) {
	case *lua.LTable, *lua.LFunction:
		return v.Type().String()
	case *lua.LUserData:
		switch x := v.Value.(type) {
		case *object:
			if x.fault != nil {
				return x.fault.Error()
			}
			parts := make([]string, len(x.names))
			for i, name := range x.names {
				parts[i] = name + " = " + quoted(x.values[i])
			}
			return x.kind + "{" + strings.Join(parts, ", ") + "}"
		case *sequence:
			parts := make([]string, len(x.values))
			for i := range parts {
				parts[i] = quoted(x.values[i])
			}
			return "{" + strings.Join(parts, ", ") + "}"
		case fmt.Stringer:
			return x.String()
		}
		return "userdata"
	}
	return v.String()
}

func quoted(v lua.LValue) string {
	if s, ok := v.(lua.LString); ok {
		return strconv.Quote(string(s))
	}
	return show(v)
}
