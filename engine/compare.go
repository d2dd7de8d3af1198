package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"nixmox/engine/builtin"
)

// compare holds a value that was planned against the one that came, both in
// the journal's form, and says where they differ; "" if they agree. Fields
// tagged volatile may differ. Where the plan could not know a value, known says
// whether the one that came will do.
func compare(t *builtin.Type, planned, came json.RawMessage, known func(place builtin.Place, value any) bool) string {
	c := comparison{known: known}
	p, err := rawJSON(planned)
	if err != nil {
		return "the plan cannot be read: " + err.Error()
	}
	a, err := rawJSON(came)
	if err != nil {
		return "what came cannot be read: " + err.Error()
	}
	return c.differ(t, p, a, "")
}

type comparison struct {
	known func(builtin.Place, any) bool
}

func rawJSON(text []byte) (any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	err := decoder.Decode(&v)
	return v, err
}

func (c comparison) differ(t *builtin.Type, planned, came any, path string) string {
	if o, ok := builtin.OpaqueIn(planned); ok {
		if c.known(o.From, came) {
			return ""
		}
		return fmt.Sprintf("%s: %s did not come from call %s", orValue(path), text(came), o.From)
	}
	switch p := planned.(type) {
	case map[string]any:
		a, ok := came.(map[string]any)
		if !ok {
			break
		}
		isPlanned := hasOpaque(p)
		for _, name := range keysOf(p, a) {
			field := fieldOf(t, name)
			if field.Volatile || field.VolatilePlanned && isPlanned {
				continue
			}
			if d := c.differ(field.Type, p[name], a[name], path+"."+name); d != "" {
				return d
			}
		}
		return ""
	case []any:
		a, ok := came.([]any)
		if !ok {
			break
		}
		var elem *builtin.Type
		if t != nil {
			elem = t.Elem
		}
		for i := range min(len(p), len(a)) {
			if d := c.differ(elem, p[i], a[i], fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
		switch {
		case len(a) > len(p):
			return fmt.Sprintf("%s: planned %d, now there is also %s", orValue(path), len(p), text(a[len(p)]))
		case len(a) < len(p):
			return fmt.Sprintf("%s: planned %d, now %d: %s is gone", orValue(path), len(p), len(a), text(p[len(a)]))
		}
		return ""
	default:
		if planned == came {
			return ""
		}
	}
	return fmt.Sprintf("%s: planned %s, now %s", orValue(path), text(planned), text(came))
}

func orValue(path string) string {
	if path == "" {
		return "it"
	}
	return strings.TrimPrefix(path, ".") // of a list's item: [1].node
}

// fieldOf is a record's field, or one that stands for a dict's values.
func fieldOf(t *builtin.Type, name string) builtin.Field {
	if t == nil {
		return builtin.Field{}
	}
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return t.Fields[i]
		}
	}
	return builtin.Field{Type: t.Elem}
}

// hasOpaque reports whether a record is of something that is only planned.
func hasOpaque(record map[string]any) bool {
	for _, v := range record {
		if _, ok := builtin.OpaqueIn(v); ok {
			return true
		}
	}
	return false
}

func keysOf(a, b map[string]any) []string {
	keys := make([]string, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(out) > 300 {
		out = append(out[:300], "…"...)
	}
	return string(out)
}

// contains reports whether a value is somewhere in another.
func contains(all, value any) bool {
	if value == nil {
		return false
	}
	if fmt.Sprint(all) == fmt.Sprint(value) {
		return true
	}
	switch all := all.(type) {
	case map[string]any:
		for _, e := range all {
			if contains(e, value) {
				return true
			}
		}
	case []any:
		for _, e := range all {
			if contains(e, value) {
				return true
			}
		}
	}
	return false
}
