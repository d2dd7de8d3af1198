package builtin

import (
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Maker makes values of one kind, a language's or neutral ones, of what Go has.
type Maker[V any] interface {
	Bool(bool) V
	Int(int64) V
	Text(string) V
	List([]V) V
	Dict(map[string]V) V
	Record(*Type, []V) V
	// Other makes one of any other neutral value, or of what passes through.
	Other(any) (V, error)
}

// Make makes a value of a Go value of the type.
func Make[V any](t *Type, v any, m Maker[V]) (V, error) { return makeValue(t, reflect.ValueOf(v), m) }

func makeValue[V any](t *Type, v reflect.Value, m Maker[V]) (V, error) {
	if !v.IsValid() {
		return m.Other(nil)
	}
	if t.Later {
		if o, unknown := v.Interface().(interface{ opaque() (Opaque, bool) }).opaque(); unknown {
			return m.Other(o)
		}
		v = v.FieldByName("Value")
	}
	if t.optional {
		if v.IsNil() {
			return m.Other(nil)
		}
		v = v.Elem()
	}
	switch t.Kind {
	case KindBool:
		return m.Bool(v.Bool()), nil
	case KindInt:
		if v.CanInt() {
			return m.Int(v.Int()), nil
		}
		if u := v.Uint(); u > 1<<63-1 {
			return m.Other(new(big.Int).SetUint64(u))
		}
		return m.Int(int64(v.Uint())), nil
	case KindFloat:
		return m.Other(v.Float())
	case KindString:
		return m.Text(v.String()), nil
	case KindDuration:
		return m.Other(time.Duration(v.Int()))
	case KindTime:
		return m.Other(v.Interface().(time.Time).UTC())
	case KindList:
		list := make([]V, v.Len())
		for i := range list {
			var err error
			if list[i], err = makeValue(t.Elem, v.Index(i), m); err != nil {
				return list[i], err
			}
		}
		return m.List(list), nil
	case KindMap:
		dict := make(map[string]V, v.Len())
		for it := v.MapRange(); it.Next(); {
			e, err := makeValue(t.Elem, it.Value(), m)
			if err != nil {
				return e, err
			}
			dict[it.Key().String()] = e
		}
		return m.Dict(dict), nil
	case KindRecord:
		if len(t.Fields) == 0 {
			return m.Other(nil)
		}
		values := make([]V, len(t.Fields))
		for i := range t.Fields {
			var err error
			if values[i], err = makeValue(t.Fields[i].Type, v.FieldByIndex(t.Fields[i].index), m); err != nil {
				return values[i], err
			}
		}
		return m.Record(t, values), nil
	}
	return m.Other(v.Interface())
}

// neutral makes neutral values, which cannot fail.
type neutral struct{}

func (neutral) Bool(v bool) any             { return v }
func (neutral) Int(v int64) any             { return v }
func (neutral) Text(v string) any           { return v }
func (neutral) List(v []any) any            { return v }
func (neutral) Dict(v map[string]any) any   { return v }
func (neutral) Record(t *Type, v []any) any { return &Record{Type: t, Values: v} }
func (neutral) Other(v any) (any, error)    { return v, nil }

// Neutral turns a Go value of the type into a neutral one.
func (t *Type) Neutral(v any) any { return t.get(reflect.ValueOf(v)) }

func (t *Type) get(v reflect.Value) any {
	out, _ := makeValue[any](t, v, neutral{})
	return out
}

// NeutralName is what a neutral value is called in a message.
func NeutralName(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64, *big.Int:
		return fmt.Sprintf("the int %v", v)
	case float64:
		return "a float"
	case string:
		if len(v) > 60 {
			cut := 60
			for cut > 0 && !utf8.RuneStart(v[cut]) {
				cut--
			}
			v = v[:cut] + "…"
		}
		return fmt.Sprintf("the string %q", v)
	case time.Time:
		return "a time"
	case time.Duration:
		return "the duration " + v.String()
	case []any:
		return "a list"
	case map[string]any:
		return "a dict"
	case *Record:
		return article(v.Type.Name)
	case Callback:
		return "a function"
	case Secret:
		return "a secret"
	case Opaque:
		return "a value that only the run will know"
	}
	return fmt.Sprintf("a %T", v)
}

func article(name string) string {
	if strings.ContainsAny(name[:1], "aeioAEIO") {
		return "an " + name
	}
	return "a " + name
}

// NeutralOf turns a value of any describable Go type into a neutral one. It
// describes the type each time; results of calls have theirs described once.
func NeutralOf(v any) any { return TypeOf(reflect.TypeOf(v)).Neutral(v) }
