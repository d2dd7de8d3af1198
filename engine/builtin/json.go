package builtin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Typed is a Go value with its description, encoded as JSON by the names that
// playbooks use: times as RFC 3339, durations as text, secrets by name.
type Typed struct {
	Type  *Type
	Value any
}

// MarshalJSON encodes the neutral form.
func (t Typed) MarshalJSON() ([]byte, error) {
	if t.Value == nil {
		return []byte("null"), nil
	}
	return MarshalNeutral(t.Type.Neutral(t.Value))
}

// MarshalNeutral encodes a neutral value. Values of a language are encoded
// as it encodes them.
func MarshalNeutral(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return []byte("null"), nil
	case bool:
		return strconv.AppendBool(nil, v), nil
	case int64:
		return strconv.AppendInt(nil, v, 10), nil
	case string:
		if isPlain(v) {
			return append(append(append(make([]byte, 0, len(v)+2), '"'), v...), '"'), nil
		}
	case *Record:
		var b bytes.Buffer
		b.WriteByte('{')
		for i := range v.Values {
			if i > 0 {
				b.WriteByte(',')
			}
			name, _ := json.Marshal(v.Type.Fields[i].Name) // a string always encodes
			b.Write(name)
			b.WriteByte(':')
			text, err := MarshalNeutral(v.Values[i])
			if err != nil {
				return nil, err
			}
			b.Write(text)
		}
		b.WriteByte('}')
		return b.Bytes(), nil
	case []any:
		return marshalList(v)
	case map[string]any:
		raw := make(map[string]json.RawMessage, len(v))
		for k, e := range v {
			text, err := MarshalNeutral(e)
			if err != nil {
				return nil, err
			}
			raw[k] = text
		}
		return json.Marshal(raw)
	case time.Time:
		return json.Marshal(v.UTC().Format(time.RFC3339Nano))
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".eIN") {
			text += ".0" // so that it comes back as a float
		}
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("JSON has no %s", text)
		}
		return []byte(text), nil
	case time.Duration:
		return json.Marshal(v.String())
	case Opaque:
		return json.Marshal(v)
	case Callback:
		return []byte(`"(function)"`), nil
	case *big.Int:
		return v.MarshalJSON()
	}
	text, err := json.Marshal(v)
	if err != nil {
		return []byte(`"(a value of the language)"`), nil //nolint:nilerr // such values are shown, never read back
	}
	return text, nil
}

// isPlain reports that a text stands in JSON as it is, which most do.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

func marshalList(list []any) ([]byte, error) {
	raw := make([]json.RawMessage, len(list))
	for i, e := range list {
		text, err := MarshalNeutral(e)
		if err != nil {
			return nil, err
		}
		raw[i] = text
	}
	return json.Marshal(raw)
}
