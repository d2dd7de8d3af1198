package builtin

import (
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Neutral turns a Go value of the type into a neutral one.
func (t *Type) Neutral(v any) any { return t.get(reflect.ValueOf(v)) }

func (t *Type) get(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	if t.Later {
		if o, unknown := v.Interface().(interface{ opaque() (Opaque, bool) }).opaque(); unknown {
			return o
		}
		v = v.FieldByName("Value")
	}
	if t.optional {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch t.Kind {
	case KindBool:
		return v.Bool()
	case KindInt:
		if v.CanInt() {
			return v.Int()
		}
		if u := v.Uint(); u > 1<<63-1 {
			return new(big.Int).SetUint64(u)
		}
		return int64(v.Uint())
	case KindFloat:
		return v.Float()
	case KindString:
		return v.String()
	case KindDuration:
		return time.Duration(v.Int())
	case KindTime:
		return v.Interface().(time.Time).UTC()
	case KindList:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = t.Elem.get(v.Index(i))
		}
		return out
	case KindMap:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			out[it.Key().String()] = t.Elem.get(it.Value())
		}
		return out
	case KindRecord:
		if len(t.Fields) == 0 {
			return nil
		}
		out := &Record{Type: t, Values: make([]any, len(t.Fields))}
		for i := range t.Fields {
			out.Values[i] = t.Fields[i].Type.get(v.FieldByIndex(t.Fields[i].index))
		}
		return out
	}
	return v.Interface()
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
