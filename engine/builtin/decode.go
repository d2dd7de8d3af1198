package builtin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
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
	r, err := readJSON(text)
	if err != nil {
		return nil, f.badArgs(err.Error())
	}
	var named []Named
	switch g := (givens{r, plan}); g.peek() {
	case 'n': // of a function without arguments
	case '{':
		err = g.object(func(name []byte) error {
			i := f.Args.fieldIndex(string(name))
			if i < 0 {
				return fmt.Errorf("has no argument %q", name)
			}
			v, leftOut, err := g.field(&f.Args.Fields[i])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !leftOut {
				named = append(named, Named{f.Args.Fields[i].Name, v})
			}
			return nil
		})
	default:
		err = errors.New("want an object")
	}
	if err != nil {
		return nil, f.badArgs(err.Error())
	}
	return f.Bind(nil, named)
}

// givens reads a text as neutral values, as a language would give them.
type givens struct {
	*jsonReader
	plan bool
}

// field reads the value of a field. It is left out where it is the zero value
// that stands for a default which has no text.
func (g givens) field(f *Field) (v any, leftOut bool, err error) {
	zero := false
	switch g.peek() {
	case 'n':
		zero = true
	case '"', '0':
		zero = f.Type.text
	}
	v, err = g.given(f.Type)
	return v, zero && f.HasDefault && f.Default == "" && (v == nil || v == "" || v == int64(0)), err
}

func (g givens) given(t *Type) (any, error) {
	next := g.peek()
	if t.Later && next == '{' {
		if o, ok := opaqueIn(g.left[:valueEnd(g.left)]); ok {
			if !g.plan {
				return nil, errors.New("only in a plan may it be unknown")
			}
			g.value()
			return o, nil
		}
	}
	switch {
	case t.Kind == KindList && next == '[':
		out := []any{}
		err := g.list(func() error {
			v, err := g.given(t.Elem)
			if err != nil {
				return fmt.Errorf("item %d: %w", len(out), err)
			}
			out = append(out, v)
			return nil
		})
		return out, err
	case (t.Kind == KindMap || t.Kind == KindRecord) && next == '{':
		return g.parts(t)
	}
	raw := g.any()
	switch raw := raw.(type) {
	case string:
		if t.Kind == KindTime {
			return time.Parse(time.RFC3339Nano, raw)
		}
	case map[string]any:
		if name, ok := raw["secret"].(string); ok && len(raw) == 1 && (t.Kind == KindSecret || t.Kind == KindValue) {
			return NamedSecret(name), nil
		}
	}
	return untyped(raw)
}

// parts reads a dict, or a record as one.
func (g givens) parts(t *Type) (any, error) {
	out := map[string]any{}
	err := g.object(func(name []byte) error {
		var v any
		var leftOut bool
		var err error
		if t.Kind == KindMap {
			v, err = g.given(t.Elem)
		} else if i := t.fieldIndex(string(name)); i >= 0 {
			v, leftOut, err = g.field(&t.Fields[i])
		} else {
			return fmt.Errorf("%s has no field %q", article(t.Name), name)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if !leftOut {
			out[string(name)] = v
		}
		return nil
	})
	return out, err
}
