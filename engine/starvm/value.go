package starvm

import (
	"fmt"
	"math/big"
	"sort"
	"strings"
	stdtime "time"

	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"nixmox/engine/builtin"
)

// neutral turns a Starlark value into a neutral one. The type wanted, which
// may be nil, says where functions and untouched values are meant.
func (s *strand) neutral(v starlark.Value, want *builtin.Type) (any, error) {
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
		return v.Opaque, nil
	case *record:
		return v.rec, nil
	case starlark.Callable:
		return &callback{strand: s, fn: v}, nil
	case *starlarkstruct.Struct:
		fields := starlark.StringDict{}
		v.ToStringDict(fields)
		out := make(map[string]any, len(fields))
		for name, e := range fields {
			n, err := s.neutral(e, nil)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out[name] = n
		}
		return out, nil
	case starlark.IterableMapping:
		return s.neutralDict(v, want)
	case starlark.Iterable:
		return s.neutralList(v, want)
	}
	return nil, fmt.Errorf("a %s cannot be passed to a built-in", v.Type())
}

func (s *strand) neutralDict(v starlark.IterableMapping, want *builtin.Type) (any, error) {
	out := map[string]any{}
	for _, item := range v.Items() {
		key, ok := starlark.AsString(item[0])
		if !ok {
			return nil, fmt.Errorf("a dict's key is %s, want a string", item[0])
		}
		n, err := s.neutral(item[1], elem(want))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		out[key] = n
	}
	return out, nil
}

func (s *strand) neutralList(v starlark.Iterable, want *builtin.Type) (any, error) {
	out := []any{}
	it := v.Iterate()
	defer it.Done()
	var e starlark.Value
	for it.Next(&e) {
		n, err := s.neutral(e, elem(want))
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", len(out), err)
		}
		out = append(out, n)
	}
	return out, nil
}

func elem(t *builtin.Type) *builtin.Type {
	if t == nil {
		return nil
	}
	return t.Elem
}

// toStarlark turns a neutral value into a Starlark one. Starlark's own values
// pass through.
func toStarlark(v any) (starlark.Value, error) {
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
		return &opaque{v}, nil
	case *callback:
		return v.fn, nil
	case []any:
		list := make([]starlark.Value, len(v))
		for i, e := range v {
			x, err := toStarlark(e)
			if err != nil {
				return nil, err
			}
			list[i] = x
		}
		return starlark.NewList(list), nil
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys) // Go's order is random, a playbook's must not be
		dict := starlark.NewDict(len(v))
		for _, k := range keys {
			x, err := toStarlark(v[k])
			if err != nil {
				return nil, err
			}
			if err := dict.SetKey(starlark.String(k), x); err != nil {
				return nil, err
			}
		}
		return dict, nil
	case *builtin.Record:
		return newRecord(v)
	}
	return nil, fmt.Errorf("Starlark cannot hold a %T", v)
}

// record is the result of a built-in: fields by name, in the definition's
// order, never changed.
type record struct {
	rec    *builtin.Record
	fields []starlark.Value
}

func newRecord(r *builtin.Record) (*record, error) {
	out := &record{rec: r, fields: make([]starlark.Value, len(r.Values))}
	for i, v := range r.Values {
		x, err := toStarlark(v)
		if err != nil {
			return nil, err
		}
		out.fields[i] = x
	}
	return out, nil
}

func (r *record) Type() string         { return r.rec.Type.Name }
func (r *record) Truth() starlark.Bool { return true }

func (r *record) Freeze() {
	for _, f := range r.fields {
		f.Freeze()
	}
}

func (r *record) String() string {
	var b strings.Builder
	b.WriteString(r.Type())
	b.WriteByte('(')
	for i, f := range r.fields {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s = %s", r.rec.Type.Fields[i].Name, f)
	}
	b.WriteByte(')')
	return b.String()
}

func (r *record) Hash() (uint32, error) {
	var h uint32 = 17
	for _, f := range r.fields {
		n, err := f.Hash()
		if err != nil {
			return 0, fmt.Errorf("unhashable: %s", r.Type())
		}
		h = h*31 + n
	}
	return h, nil
}

func (r *record) Attr(name string) (starlark.Value, error) {
	for i := range r.rec.Type.Fields {
		if r.rec.Type.Fields[i].Name == name {
			return r.fields[i], nil
		}
	}
	return nil, nil
}

func (r *record) AttrNames() []string {
	names := make([]string, len(r.rec.Type.Fields))
	for i := range names {
		names[i] = r.rec.Type.Fields[i].Name
	}
	sort.Strings(names)
	return names
}

func (r *record) CompareSameType(op syntax.Token, y starlark.Value, depth int) (bool, error) {
	o := y.(*record)
	if op != syntax.EQL && op != syntax.NEQ {
		return false, fmt.Errorf("%s %s %s not implemented", r.Type(), op, o.Type())
	}
	equal := r.rec.Type == o.rec.Type
	for i := 0; equal && i < len(r.fields); i++ {
		var err error
		if equal, err = starlark.EqualDepth(r.fields[i], o.fields[i], depth-1); err != nil {
			return false, err
		}
	}
	return equal == (op == syntax.EQL), nil
}

// secret is a handle: it can be passed on, and shows its name only.
type secret struct{ builtin.Secret }

func (secret) Type() string            { return "secret" }
func (secret) Freeze()                 {}
func (secret) Truth() starlark.Bool    { return true }
func (s secret) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: secret") }

// opaque stands for what only the run will know. It may be passed on and
// shown. Comparing, hashing and branching on it fail; Starlark gives a value
// no say in `==` with another type, so that one is false (see the decision
// record on plans).
type opaque struct{ builtin.Opaque }

func (*opaque) Type() string { return "unknown" }
func (*opaque) Freeze()      {}
func (o *opaque) Truth() starlark.Bool {
	return true
}
func (o *opaque) Hash() (uint32, error) { return 0, o.Ends("is used as a key") }
func (o *opaque) CompareSameType(syntax.Token, starlark.Value, int) (bool, error) {
	return false, o.Ends("is compared")
}
func (o *opaque) Attr(string) (starlark.Value, error) { return nil, o.Ends("is looked into") }
func (o *opaque) AttrNames() []string                 { return nil }
