package starvm

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	stdtime "time"

	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// inbound turns the arguments of one call into neutral values.
type inbound struct {
	strand *strand
	items  int
	deep   int
	data   bool // down to plain data: no functions, nothing opaque, records as dicts
}

func (s *strand) inbound() *inbound { return &inbound{strand: s} }

// neutral turns a Starlark value into a neutral one. The type wanted, which
// may be nil, says where functions and untouched values are meant.
func (in *inbound) neutral(v starlark.Value, want *builtin.Type) (any, error) {
	if in.items++; in.items > language.MaxItems {
		return nil, fmt.Errorf("it holds more than %d values", language.MaxItems)
	}
	if want != nil && want.Kind == builtin.KindValue {
		return v, nil
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.Int:
		if n, ok := v.Int64(); ok {
			return n, nil
		}
		return v.BigInt(), nil
	case starlark.Float:
		return float64(v), nil
	case starlark.String:
		return string(v), nil
	case time.Time:
		return stdtime.Time(v), nil
	case time.Duration:
		return stdtime.Duration(v), nil
	case secret:
		return v.Secret, nil
	case *opaque:
		if in.data {
			return nil, v.Ends("is written as JSON")
		}
		return v.Opaque, nil
	case *record:
		if !in.data {
			return in.handedOn(v)
		}
	case starlark.Callable:
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
	case *record:
		return in.record(v)
	case *starlarkstruct.Struct:
		return in.fields(v)
	case starlark.IterableMapping:
		return in.dict(v, language.Elem(want))
	case starlark.Iterable:
		return in.list(v, language.Elem(want))
	}
	return nil, fmt.Errorf("a %s cannot be passed to a built-in", v.Type())
}

func (in *inbound) fields(v *starlarkstruct.Struct) (any, error) {
	fields := starlark.StringDict{}
	v.ToStringDict(fields)
	out := make(map[string]any, len(fields))
	for _, name := range fields.Keys() {
		n, err := in.neutral(fields[name], nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = n
	}
	return out, nil
}

// handedOn is the record that a built-in returned, for one that takes it. It
// may hold as much as it was returned with.
func (in *inbound) handedOn(v *record) (any, error) {
	items := in.items
	out := &builtin.Record{Type: v.typ, Values: make([]any, len(v.fields))}
	for i, f := range v.fields {
		var err error
		if out.Values[i], err = in.neutral(f, nil); err != nil {
			return nil, fmt.Errorf("%s: %w", v.typ.Fields[i].Name, err)
		}
	}
	in.items = items
	return out, nil
}

func (in *inbound) record(v *record) (any, error) {
	out := make(map[string]any, len(v.fields))
	for i, f := range v.fields {
		name := v.typ.Fields[i].Name
		n, err := in.neutral(f, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = n
	}
	return out, nil
}

func (in *inbound) dict(v starlark.IterableMapping, want *builtin.Type) (any, error) {
	out := map[string]any{}
	for _, item := range v.Items() {
		key, ok := starlark.AsString(item[0])
		if !ok {
			return nil, fmt.Errorf("a dict's key is %s, want a string", item[0])
		}
		n, err := in.neutral(item[1], want)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		out[key] = n
	}
	return out, nil
}

func (in *inbound) list(v starlark.Iterable, want *builtin.Type) (any, error) {
	out := []any{}
	add := func(e starlark.Value) error {
		n, err := in.neutral(e, want)
		if err != nil {
			return fmt.Errorf("item %d: %w", len(out), err)
		}
		out = append(out, n)
		return nil
	}
	if list, ok := v.(*starlark.List); ok { // nearly always, and no iterator to make
		out = make([]any, 0, list.Len())
		for i := range list.Len() {
			if err := add(list.Index(i)); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	it := v.Iterate()
	defer it.Done()
	var e starlark.Value
	for it.Next(&e) {
		if err := add(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// value turns a neutral value into a Starlark one. Starlark's own values pass
// through.
func (m *machine) value(v any) (starlark.Value, error) {
	switch v := v.(type) {
	case nil:
		return starlark.None, nil
	case starlark.Value:
		return v, nil
	case bool:
		return starlark.Bool(v), nil
	case int64:
		return starlark.MakeInt64(v), nil
	case int:
		return starlark.MakeInt(v), nil
	case *big.Int:
		return starlark.MakeBigInt(v), nil
	case float64:
		return starlark.Float(v), nil
	case string:
		return starlark.String(v), nil
	case stdtime.Time:
		return time.Time(v), nil
	case stdtime.Duration:
		return time.Duration(v), nil
	case builtin.Secret:
		return secret{v}, nil
	case builtin.Opaque:
		return &opaque{Opaque: v, machine: m}, nil
	case *callback:
		return v.fn, nil
	case []any:
		list, err := m.values(v)
		return starlark.NewList(list), err
	case map[string]any:
		dict := make(map[string]starlark.Value, len(v))
		for k, e := range v {
			x, err := m.value(e)
			if err != nil {
				return nil, err
			}
			dict[k] = x
		}
		return maker{m}.Dict(dict), nil
	case *builtin.Record:
		fields, err := m.values(v.Values)
		return &record{v.Type, fields}, err
	}
	return nil, fmt.Errorf("a %T cannot be held by Starlark", v)
}

func (m *machine) values(v []any) ([]starlark.Value, error) {
	out := make([]starlark.Value, len(v))
	for i, e := range v {
		x, err := m.value(e)
		if err != nil {
			return nil, err
		}
		out[i] = x
	}
	return out, nil
}

// maker makes Starlark's values of results.
type maker struct{ machine *machine }

func (maker) Bool(v bool) starlark.Value             { return starlark.Bool(v) }
func (maker) Int(v int64) starlark.Value             { return starlark.MakeInt64(v) }
func (maker) Text(v string) starlark.Value           { return starlark.String(v) }
func (maker) List(v []starlark.Value) starlark.Value { return starlark.NewList(v) }
func (maker) Record(t *builtin.Type, fields []starlark.Value) starlark.Value {
	return &record{t, fields}
}
func (m maker) Other(v any) (starlark.Value, error) { return m.machine.value(v) }

// Dict puts the names in order: Go's is random, a playbook's must not be.
func (maker) Dict(v map[string]starlark.Value) starlark.Value {
	dict := starlark.NewDict(len(v))
	for _, k := range slices.Sorted(maps.Keys(v)) {
		_ = dict.SetKey(starlark.String(k), v[k]) // cannot fail: the dict is new, and text has a hash
	}
	return dict
}
