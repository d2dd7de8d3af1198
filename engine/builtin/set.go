package builtin

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parse makes a neutral value of a text, as on a command line: lists take
// commas, durations and sizes their units.
func (t *Type) Parse(text string) (any, error) {
	switch t.Kind {
	case KindBool:
		switch text {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return nil, fmt.Errorf("want true or false, got %q", text)
	case KindInt:
		if t.text {
			return text, nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("want a whole number, got %q", text)
		}
		return n, nil
	case KindFloat:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("want a number, got %q", text)
		}
		return n, nil
	case KindString, KindDuration:
		return text, nil
	case KindList:
		list := []any{}
		for _, part := range strings.Split(text, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			v, err := t.Elem.Parse(part)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	return nil, fmt.Errorf("a %s cannot be given as text", t.Name)
}

// Convert checks a neutral value against the type and gives it back in the
// type's own form.
func (t *Type) Convert(v any) (any, error) {
	dst := reflect.New(t.goType).Elem()
	if err := t.set(dst, v); err != nil {
		return nil, err
	}
	return t.get(dst), nil
}

// set stores a neutral value in a Go one, checking it on the way.
func (t *Type) set(dst reflect.Value, v any) error {
	if _, ok := v.(unset); ok {
		dst.SetZero()
		return nil
	}
	if t.Later {
		if o, ok := v.(Opaque); ok {
			dst.Addr().Interface().(later).setOpaque(o)
			return nil
		}
		dst = dst.FieldByName("Value")
	}
	if t.optional {
		if v == nil {
			dst.SetZero()
			return nil
		}
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	if o, ok := v.(Opaque); ok && t.Kind != KindValue {
		return o.Ends("is needed to go on")
	}
	if t.text {
		return t.setText(dst, v)
	}
	switch t.Kind {
	case KindValue:
		if v != nil {
			dst.Set(reflect.ValueOf(v))
		}
		return nil
	case KindBool:
		if b, ok := v.(bool); ok {
			dst.SetBool(b)
			return nil
		}
	case KindInt:
		return t.setInt(dst, v)
	case KindFloat:
		switch n := v.(type) {
		case float64:
			if math.IsNaN(n) || math.IsInf(n, 0) {
				return fmt.Errorf("%v is no number", n) // and nothing that JSON could hold
			}
			dst.SetFloat(n)
			return nil
		case int64:
			dst.SetFloat(float64(n))
			return nil
		}
	case KindString:
		if s, ok := v.(string); ok {
			dst.SetString(s)
			return nil
		}
	case KindTime, KindSecret, KindCallback:
		if v != nil && reflect.TypeOf(v).AssignableTo(dst.Type()) {
			dst.Set(reflect.ValueOf(v))
			return nil
		}
	case KindList:
		if list, ok := v.([]any); ok {
			if len(list) == 0 {
				dst.Set(reflect.MakeSlice(dst.Type(), 0, 0)) // empty, not nil
				return nil
			}
			dst.SetZero()
			dst.Grow(len(list))
			dst.SetLen(len(list))
			dst.SetCap(len(list)) // what is appended to it lands elsewhere
			for i, e := range list {
				if err := t.Elem.set(dst.Index(i), e); err != nil {
					return fmt.Errorf("item %d: %w", i, err)
				}
			}
			return nil
		}
	case KindMap:
		if m, ok := v.(map[string]any); ok {
			out := reflect.MakeMapWithSize(dst.Type(), len(m))
			for _, k := range slices.Sorted(maps.Keys(m)) { // of two errors always the same is told
				ev, e := reflect.New(dst.Type().Elem()).Elem(), m[k]
				if err := t.Elem.set(ev, e); err != nil {
					return fmt.Errorf("%q: %w", k, err)
				}
				out.SetMapIndex(reflect.ValueOf(k).Convert(dst.Type().Key()), ev)
			}
			dst.Set(out)
			return nil
		}
	case KindRecord:
		return t.setRecord(dst, v)
	}
	return t.mismatch(v)
}

func (t *Type) mismatch(v any) error {
	return fmt.Errorf("want %s, got %s", article(t.Name), NeutralName(v))
}

// anyScalar is implemented by named types that also take truth values, as 1 and
// 0, and numbers with a fraction.
type anyScalar interface{ TakesAnyScalar() }

func (t *Type) setText(dst reflect.Value, v any) error {
	var text string
	switch n := v.(type) {
	case string:
		text = n
	case int64:
		text = strconv.FormatInt(n, 10)
	case *big.Int:
		text = n.String()
	case float64:
		if _, any := dst.Addr().Interface().(anyScalar); t.Kind != KindDuration && !any { // of seconds
			return t.mismatch(v)
		}
		text = strconv.FormatFloat(n, 'f', -1, 64)
	case bool:
		if _, any := dst.Addr().Interface().(anyScalar); !any {
			return t.mismatch(v)
		}
		text = "0"
		if n {
			text = "1"
		}
	case time.Duration:
		text = n.String()
	default:
		return t.mismatch(v)
	}
	return dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
}

func (t *Type) setInt(dst reflect.Value, v any) error {
	switch n := v.(type) {
	case int64:
		if dst.CanInt() && !dst.OverflowInt(n) {
			dst.SetInt(n)
			return nil
		}
		if dst.CanUint() && n >= 0 && !dst.OverflowUint(uint64(n)) {
			dst.SetUint(uint64(n))
			return nil
		}
		return fmt.Errorf("%d is out of range", n)
	case *big.Int:
		if dst.CanUint() && n.IsUint64() && !dst.OverflowUint(n.Uint64()) {
			dst.SetUint(n.Uint64())
			return nil
		}
		return fmt.Errorf("%s is out of range", n)
	}
	return t.mismatch(v)
}

func (t *Type) setRecord(dst reflect.Value, v any) error {
	if r, ok := v.(*Record); ok && r.Type.Same(t) { // a result that is handed on
		for i := range t.Fields {
			if err := t.Fields[i].set(dst, r.Values[i], true); err != nil {
				return err
			}
		}
		return nil
	}
	values := map[string]any{}
	switch r := v.(type) {
	case map[string]any:
		values = r
	case *Record:
		for i, f := range r.Type.Fields {
			values[f.Name] = r.Values[i]
		}
	default:
		return t.mismatch(v)
	}
	seen := 0
	for i := range t.Fields {
		f := &t.Fields[i]
		e, ok := values[f.Name]
		if ok {
			seen++
		}
		if err := f.set(dst, e, ok); err != nil {
			return err
		}
	}
	if seen < len(values) {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if t.fieldIndex(name) < 0 {
				return fmt.Errorf("%s has no field %q", article(t.Name), name)
			}
		}
	}
	return nil
}

// set fills the field of a struct from a neutral value or from its default.
func (f *Field) set(structure reflect.Value, v any, given bool) error {
	dst := structure.FieldByIndex(f.index)
	empty := v == nil && f.Type.Kind != KindValue
	if f.Type.text && f.Default == "" {
		empty = empty || v == "" // as it stands in results, where a name is not known
	}
	if !given || empty && f.HasDefault {
		if !f.HasDefault {
			return fmt.Errorf("%s is missing", f.Name)
		}
		f.setDefault(dst)
		return nil
	}
	if err := f.Type.set(dst, v); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	if _, ok := v.(unset); ok {
		return nil
	}
	if err := f.checkEnum(dst); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}
