package builtin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
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
	g := givens{decoderOf(text), plan}
	var named []Named
	err := g.members(func(name string) error {
		i := f.Args.fieldIndex(name)
		if i < 0 {
			return fmt.Errorf("has no argument %q", name)
		}
		v, leftOut, err := g.field(&f.Args.Fields[i])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !leftOut {
			named = append(named, Named{name, v})
		}
		return nil
	})
	if err != nil {
		return nil, f.badArgs(err.Error())
	}
	return f.Bind(nil, named)
}

// givens reads a text as neutral values, as a language would give them.
type givens struct {
	*jsontext.Decoder
	plan bool
}

// members reads an object; what a member's value is, each reads for itself.
func (g givens) members(each func(name string) error) error {
	if g.PeekKind() != '{' {
		text, err := g.ReadValue()
		return cmp.Or(err, fmt.Errorf("want an object, got %.100s", text))
	}
	if _, err := g.ReadToken(); err != nil {
		return err
	}
	for g.PeekKind() != '}' {
		name, err := g.ReadToken()
		if err != nil {
			return err
		}
		if err := each(name.String()); err != nil {
			return err
		}
	}
	_, err := g.ReadToken()
	return err
}

// field reads the value of a field. It is left out where it is the zero value
// that stands for a default which has no text.
func (g givens) field(f *Field) (v any, leftOut bool, err error) {
	zero := false
	switch g.PeekKind() {
	case 'n':
		zero = true
	case '"', '0':
		zero = f.Type.text
	}
	v, err = g.value(f.Type)
	return v, zero && f.HasDefault && f.Default == "" && (v == nil || v == "" || v == int64(0)), err
}

func (g givens) value(t *Type) (any, error) {
	next := g.PeekKind()
	switch {
	case t.Later && next == '{':
		return g.later(t)
	case t.Kind == KindList && next == '[':
		return g.list(t)
	case (t.Kind == KindMap || t.Kind == KindRecord) && next == '{':
		return g.parts(t)
	}
	raw, err := readAny(g.Decoder)
	if err != nil {
		return nil, err
	}
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

func (g givens) later(t *Type) (any, error) {
	text, err := g.ReadValue()
	if err != nil {
		return nil, err
	}
	if o, ok := opaqueIn(text); ok {
		if !g.plan {
			return nil, errors.New("only in a plan may it be unknown")
		}
		return o, nil
	}
	now := *t
	now.Later = false
	return givens{decoderOf(bytes.Clone(text)), g.plan}.value(&now)
}

func (g givens) list(t *Type) (any, error) {
	if _, err := g.ReadToken(); err != nil {
		return nil, err
	}
	out := []any{}
	for g.PeekKind() != ']' {
		v, err := g.value(t.Elem)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", len(out), err)
		}
		out = append(out, v)
	}
	_, err := g.ReadToken()
	return out, err
}

// parts reads a dict, or a record as one.
func (g givens) parts(t *Type) (any, error) {
	out := map[string]any{}
	err := g.members(func(name string) error {
		var v any
		var leftOut bool
		var err error
		if t.Kind == KindMap {
			v, err = g.value(t.Elem)
		} else if i := t.fieldIndex(name); i >= 0 {
			v, leftOut, err = g.field(&t.Fields[i])
		} else {
			return fmt.Errorf("%s has no field %q", article(t.Name), name)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if !leftOut {
			out[name] = v
		}
		return nil
	})
	return out, err
}
