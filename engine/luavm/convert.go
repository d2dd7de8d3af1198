package luavm

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// exact is the largest whole number that a number of Lua holds without
// standing for its neighbours, too.
const exact = 1<<53 - 1

// inbound turns the arguments of one call into neutral values.
type inbound struct {
	strand *strand
	items  int
	deep   int
	data   bool // down to plain data: no functions, nothing opaque, records as dicts
}

func (s *strand) inbound() *inbound { return &inbound{strand: s} }

// neutral turns a Lua value into a neutral one. The type wanted, which may be
// nil, says where untouched values are meant, and what an empty table is.
func (in *inbound) neutral(v lua.LValue, want *builtin.Type) (any, error) {
	if in.items++; in.items > language.MaxItems {
		return nil, fmt.Errorf("it holds more than %d values", language.MaxItems)
	}
	if want != nil && want.Kind == builtin.KindValue {
		return v, nil
	}
	switch v := v.(type) {
	case *lua.LNilType:
		return nil, nil
	case lua.LBool:
		return bool(v), nil
	case lua.LNumber:
		if n := float64(v); n == math.Trunc(n) && math.Abs(n) <= exact {
			return int64(n), nil
		}
		return float64(v), nil
	case lua.LString:
		return string(v), nil
	case *lua.LFunction:
		if in.data {
			return nil, fmt.Errorf("a function cannot be written as JSON")
		}
		return &callback{strand: in.strand, fn: v}, nil
	}
	if in.deep++; in.deep > language.MaxDeep {
		return nil, fmt.Errorf("it is nested more than %d deep, or contains itself", language.MaxDeep)
	}
	defer func() { in.deep-- }()
	switch v := v.(type) {
	case *lua.LTable:
		return in.table(contents(v), want)
	case *lua.LUserData:
		return in.held(v.Value, want)
	}
	return nil, fmt.Errorf("a %s cannot be passed to a built-in", typeName(v))
}

// held turns a value that came out of a built-in, or is like one, back.
func (in *inbound) held(v any, want *builtin.Type) (any, error) {
	switch v := v.(type) {
	case *sequence:
		out := make([]any, len(v.values))
		for i := range out {
			n, err := in.neutral(v.values[i], language.Elem(want))
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i, err)
			}
			out[i] = n
		}
		return out, nil
	case *object:
		if v.typ != nil && !in.data {
			return in.handedOn(v)
		}
		out := make(map[string]any, len(v.names))
		for i, name := range v.names {
			n, err := in.neutral(v.values[i], language.Elem(want))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out[name] = n
		}
		return out, nil
	case builtin.Opaque:
		if in.data {
			return nil, v.Ends("is written as JSON")
		}
		return v, nil
	case *big.Int:
		if v.IsInt64() {
			return v.Int64(), nil
		}
		return v, nil
	case time.Time, time.Duration, builtin.Secret:
		return v, nil
	}
	return nil, fmt.Errorf("a userdata cannot be passed to a built-in")
}

// handedOn is the record that a built-in returned, for one that takes it. It
// may hold as much as it was returned with.
func (in *inbound) handedOn(v *object) (any, error) {
	items := in.items
	out := &builtin.Record{Type: v.typ, Values: make([]any, len(v.values))}
	for i, f := range v.values {
		x, err := in.neutral(f, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.names[i], err)
		}
		if n, ok := x.(int64); ok && v.typ.Fields[i].Type.Kind == builtin.KindFloat {
			x = float64(n)
		}
		out.Values[i] = x
	}
	in.items = items
	return out, nil
}

func (in *inbound) table(t *lua.LTable, want *builtin.Type) (any, error) {
	n := t.MaxN()
	key, value := t.Next(lastItem(t))
	if key == lua.LNil && (n > 0 || want == nil || want.Kind != builtin.KindMap && want.Kind != builtin.KindRecord) {
		out := make([]any, n)
		for i := range out {
			item := t.RawGetInt(i + 1)
			if item == lua.LNil {
				return nil, fmt.Errorf("item %d is nil", i)
			}
			x, err := in.neutral(item, language.Elem(want))
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i, err)
			}
			out[i] = x
		}
		return out, nil
	}
	if n > 0 {
		return nil, fmt.Errorf("a table has both items and names: it is neither a list nor a dict")
	}
	out := map[string]any{}
	for ; key != lua.LNil; key, value = t.Next(key) {
		name, ok := key.(lua.LString)
		if !ok {
			return nil, fmt.Errorf("a dict's key is %s, want a string", show(key))
		}
		x, err := in.neutral(value, language.Elem(want))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", string(name), err)
		}
		out[string(name)] = x
	}
	return out, nil
}

// value turns a neutral value into a Lua one. Lua's own values pass through.
func value(v any) lua.LValue {
	switch v := v.(type) {
	case nil:
		return lua.LNil
	case lua.LValue:
		return v
	case bool:
		return lua.LBool(v)
	case int:
		return whole(int64(v))
	case int64:
		return whole(v)
	case *big.Int:
		return integer(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case *callback:
		return v.fn
	case []any:
		return maker{}.List(values(v))
	case map[string]any:
		dict := make(map[string]lua.LValue, len(v))
		for k, e := range v {
			dict[k] = value(e)
		}
		return maker{}.Dict(dict)
	case *builtin.Record:
		return maker{}.Record(v.Type, values(v.Values))
	case time.Time, time.Duration, builtin.Secret, builtin.Opaque:
		return hold(v)
	}
	panic(fmt.Sprintf("a %T cannot be held by Lua", v))
}

func whole(n int64) lua.LValue {
	if n > exact || n < -exact {
		return hold(big.NewInt(n))
	}
	return lua.LNumber(n)
}

func integer(n *big.Int) lua.LValue {
	if n.IsInt64() {
		return whole(n.Int64())
	}
	return hold(n)
}

// maker makes Lua's values of results.
type maker struct{}

func (maker) Bool(v bool) lua.LValue          { return lua.LBool(v) }
func (maker) Int(v int64) lua.LValue          { return whole(v) }
func (maker) Text(v string) lua.LValue        { return lua.LString(v) }
func (maker) List(v []lua.LValue) lua.LValue  { return hold(&sequence{v}) }
func (maker) Other(v any) (lua.LValue, error) { return value(v), nil }
func (maker) Record(t *builtin.Type, fields []lua.LValue) lua.LValue {
	return hold(&object{values: fields, names: t.Names(), typ: t, kind: t.Name})
}

func (maker) Dict(v map[string]lua.LValue) lua.LValue { return hold(named(v)) }

// named puts the names in order: Go's is random, a playbook's must not be.
func named(v map[string]lua.LValue) *object {
	o := &object{names: slices.Sorted(maps.Keys(v))}
	for _, name := range o.names {
		o.values = append(o.values, v[name])
	}
	return o
}
