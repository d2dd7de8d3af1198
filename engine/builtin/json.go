package builtin

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
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
func (t Typed) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil) }

// AppendJSON adds the same to a text. json.Marshal would read the text of its
// own MarshalJSON once more, which for long lists is most of the work.
func (t Typed) AppendJSON(text []byte) ([]byte, error) {
	if t.Value == nil {
		return append(text, "null"...), nil
	}
	return appendNeutral(text, t.Type.Neutral(t.Value))
}

// MarshalNeutral encodes a neutral value. Values of a language are encoded
// as it encodes them.
func MarshalNeutral(v any) ([]byte, error) { return appendNeutral(nil, v) }

func appendNeutral(text []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(text, "null"...), nil
	case bool:
		return strconv.AppendBool(text, v), nil
	case int64:
		return strconv.AppendInt(text, v, 10), nil
	case string:
		return appendString(text, v), nil
	case *Record:
		return appendObject(text, len(v.Values), func(i int) (string, any) { return v.Type.Fields[i].Name, v.Values[i] })
	case []any:
		text = append(text, '[')
		for i, e := range v {
			if i > 0 {
				text = append(text, ',')
			}
			var err error
			if text, err = appendNeutral(text, e); err != nil {
				return nil, err
			}
		}
		return append(text, ']'), nil
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		return appendObject(text, len(names), func(i int) (string, any) { return names[i], v[names[i]] })
	case time.Time:
		return appendString(text, v.UTC().Format(time.RFC3339Nano)), nil
	case float64:
		number := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(number, ".eIN") {
			number += ".0" // so that it comes back as a float
		}
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("JSON has no %s", number)
		}
		return append(text, number...), nil
	case time.Duration:
		return appendString(text, v.String()), nil
	case Callback:
		return append(text, `"(function)"`...), nil
	}
	other, err := json.Marshal(v)
	if err != nil {
		return append(text, `"(a value of the language)"`...), nil //nolint:nilerr // such values are shown, never read back
	}
	return append(text, other...), nil
}

func appendObject(text []byte, n int, member func(int) (string, any)) ([]byte, error) {
	text = append(text, '{')
	for i := range n {
		if i > 0 {
			text = append(text, ',')
		}
		name, value := member(i)
		text = append(appendString(text, name), ':')
		var err error
		if text, err = appendNeutral(text, value); err != nil {
			return nil, err
		}
	}
	return append(text, '}'), nil
}

func appendString(text []byte, s string) []byte {
	if isPlain(s) {
		return append(append(append(text, '"'), s...), '"')
	}
	quoted, _ := json.Marshal(s) // a string always encodes
	return append(text, quoted...)
}

// isPlain reports that a text stands in JSON as it is, which most do.
func isPlain[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
