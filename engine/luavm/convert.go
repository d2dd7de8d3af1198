package luavm

import (
	"fmt"
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
		out := make([]any, v.len())
		for i := range out {
			n, err := in.neutral(v.at(i), language.Elem(want))
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i, err)
			}
			out[i] = n
		}
		return out, nil
	case *object:
		if v.rec != nil && !in.data {
			return v.rec, nil
		}
		out := make(map[string]any, len(v.names))
		for i, name := range v.names {
			n, err := in.neutral(v.at(i), language.Elem(want))
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
// What a list or a record holds is turned when it is looked at.
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
		return hold(&sequence{cells{raw: v}})
	case map[string]any:
		return hold(dict(v))
	case *builtin.Record:
		return hold(record(v))
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

func record(r *builtin.Record) *object {
	names := make([]string, len(r.Values))
	for i := range names {
		names[i] = r.Type.Fields[i].Name
	}
	return &object{cells: cells{raw: r.Values}, names: names, rec: r, kind: r.Type.Name}
}

// dict puts the names in order: Go's is random, a playbook's must not be.
func dict(v map[string]any) *object {
	o := &object{names: make([]string, 0, len(v))}
	for name := range v {
		o.names = append(o.names, name)
	}
	slices.Sort(o.names)
	for _, name := range o.names {
		o.raw = append(o.raw, v[name])
	}
	return o
}
