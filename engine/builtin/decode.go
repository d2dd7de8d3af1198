package builtin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// fromJSON turns decoded JSON into a neutral value, as the type wants it:
// a value without parts, or one of any type.
func (t *Type) fromJSON(raw any) (any, error) {
	if raw == nil {
		return t.zeroNeutral(), nil
	}
	if t.text && (raw == "" || raw == json.Number("0")) {
		return unset{}, nil // a result may be empty where an argument may not
	}
	switch t.Kind {
	case KindValue:
		return untyped(raw)
	case KindTime:
		if s, ok := raw.(string); ok {
			return time.Parse(time.RFC3339Nano, s)
		}
	case KindSecret:
		if m, ok := raw.(map[string]any); ok {
			name, _ := m["secret"].(string)
			return NamedSecret(name), nil
		}
	case KindFloat:
		if n, ok := raw.(json.Number); ok {
			return n.Float64()
		}
	default:
		return untyped(raw)
	}
	return nil, fmt.Errorf("want %s, got %T", article(t.Name), raw)
}

// unset is a zero value of a named type whose grammar does not know it.
type unset struct{}

// zeroNeutral stands for null: nothing, or an empty list or dict.
func (t *Type) zeroNeutral() any {
	switch {
	case t.optional:
		return nil
	case t.Kind == KindList:
		return []any{}
	case t.Kind == KindMap:
		return map[string]any{}
	}
	return nil
}

func untyped(raw any) (any, error) {
	switch v := raw.(type) {
	case json.Number:
		if strings.ContainsAny(string(v), ".eE") {
			return v.Float64()
		}
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		n, ok := new(big.Int).SetString(string(v), 10)
		if !ok {
			return nil, fmt.Errorf("%q is no number", v)
		}
		return n, nil
	case []any:
		for i := range v {
			e, err := untyped(v[i])
			if err != nil {
				return nil, err
			}
			v[i] = e
		}
	case map[string]any:
		for k := range v {
			e, err := untyped(v[k])
			if err != nil {
				return nil, err
			}
			v[k] = e
		}
	}
	return raw, nil
}

// DecodeArgs makes the typed arguments of a call from what Typed encoded of
// them, as Bind would of a language's values: every check of the border is
// made again, because whoever sent the text may not have made it. Only in a
// plan may a value be one that is not known yet.
func (f *Func) DecodeArgs(text []byte, plan bool) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var raw map[string]any
	if err := decoder.Decode(&raw); err != nil {
		return nil, f.badArgs(err.Error())
	}
	var named []Named
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		i := f.Args.fieldIndex(name)
		if i < 0 {
			return nil, f.badArgs(fmt.Sprintf("has no argument %q", name))
		}
		if field := &f.Args.Fields[i]; !field.leftOut(raw[name]) {
			v, err := field.Type.given(raw[name], plan)
			if err != nil {
				return nil, f.badArgs(fmt.Sprintf("%s: %v", name, err))
			}
			named = append(named, Named{name, v})
		}
	}
	return f.Bind(nil, named)
}

// leftOut reports whether a value is the zero one that stands for a default
// which has no text.
func (f *Field) leftOut(raw any) bool {
	return f.HasDefault && f.Default == "" && (raw == nil || f.Type.text && (raw == "" || raw == json.Number("0")))
}

// given makes a neutral value of decoded JSON, as a language would give it.
func (t *Type) given(raw any, plan bool) (any, error) {
	if o, ok := OpaqueIn(raw); ok && t.Later {
		if !plan {
			return nil, errors.New("only in a plan may it be unknown")
		}
		return o, nil
	}
	switch raw := raw.(type) {
	case nil:
		return nil, nil
	case string:
		if t.Kind == KindTime {
			return time.Parse(time.RFC3339Nano, raw)
		}
	case []any:
		if t.Kind == KindList {
			out := make([]any, len(raw))
			for i, e := range raw {
				v, err := t.Elem.given(e, plan)
				if err != nil {
					return nil, fmt.Errorf("item %d: %w", i, err)
				}
				out[i] = v
			}
			return out, nil
		}
	case map[string]any:
		switch t.Kind {
		case KindSecret, KindValue:
			if name, ok := raw["secret"].(string); ok && len(raw) == 1 {
				return NamedSecret(name), nil
			}
		case KindMap, KindRecord:
			out := make(map[string]any, len(raw))
			for name, e := range raw {
				inner := t.Elem
				if t.Kind == KindRecord {
					i := t.fieldIndex(name)
					if i < 0 {
						return nil, fmt.Errorf("%s has no field %q", article(t.Name), name)
					}
					if t.Fields[i].leftOut(e) {
						continue
					}
					inner = t.Fields[i].Type
				}
				v, err := inner.given(e, plan)
				if err != nil {
					return nil, fmt.Errorf("%q: %w", name, err)
				}
				out[name] = v
			}
			return out, nil
		}
	}
	return untyped(raw)
}
