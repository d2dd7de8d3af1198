package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

// callText is the call as a playbook would write it, without what is as the
// definition has it anyway.
func callText(e event.Event) string {
	typed, _ := e.Args.(builtin.Typed)
	return callOf(e.Call, typed)
}

func callOf(name string, args builtin.Typed) string {
	if args.Type == nil {
		return name + "()"
	}
	record, ok := args.Type.Neutral(args.Value).(*builtin.Record)
	if !ok {
		return name + "()"
	}
	return name + "(" + strings.Join(notDefault(record), ", ") + ")"
}

// notDefault are the fields of a record that are not as the definition has
// them anyway.
func notDefault(record *builtin.Record) []string {
	var out []string
	for i := range record.Type.Fields {
		if text := notDefaultField(record, i); text != "" {
			out = append(out, text)
		}
	}
	return out
}

func notDefaultField(record *builtin.Record, i int) string {
	f := &record.Type.Fields[i]
	text := valueText(record.Values[i])
	if f.HasDefault && (text == f.Default || text == quoted(f.Default) || text == "[]") {
		return ""
	}
	return f.Name + " = " + text
}

// recordText gives up on a record as soon as it is too long to be shown.
func recordText(r *builtin.Record) string {
	text, sep := r.Type.Name+"(", ""
	for i := range r.Type.Fields {
		if field := notDefaultField(r, i); field != "" {
			text += sep + field
			sep = ", "
		}
		if len(text) > 80 {
			return r.Type.Name + "(…)"
		}
	}
	return text + ")"
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// valueText is a value on a line with others: records that were results of
// other calls are long, and their names say enough.
func valueText(v any) string {
	switch v := v.(type) {
	case builtin.Opaque:
		return v.String()
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case time.Duration:
		return v.String()
	case *builtin.Record:
		return recordText(v)
	}
	text, err := builtin.MarshalNeutral(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// resultText is the result of a planned change, without what is empty and
// what only the run will know: on one line, or with a line for each item of
// its lists.
func resultText(typed builtin.Typed, indent string) string {
	if typed.Type == nil {
		return ""
	}
	record, ok := typed.Type.Neutral(typed.Value).(*builtin.Record)
	if !ok {
		return ""
	}
	if !slices.ContainsFunc(record.Values, isList) {
		if text := itemText(record); text != "" {
			return "\n" + indent + text
		}
		return ""
	}
	var b strings.Builder
	for i, f := range record.Type.Fields {
		if list, isList := record.Values[i].([]any); isList {
			for _, e := range list {
				fmt.Fprintf(&b, "\n%s%s: %s", indent, f.Name, itemText(e))
			}
		} else if !isEmpty(record.Values[i]) {
			fmt.Fprintf(&b, "\n%s%s: %s", indent, f.Name, valueText(record.Values[i]))
		}
	}
	return b.String()
}

func isList(v any) bool { _, ok := v.([]any); return ok }

func itemText(v any) string {
	record, ok := v.(*builtin.Record)
	if !ok {
		return valueText(v)
	}
	var parts []string
	for i, f := range record.Type.Fields {
		if !isEmpty(record.Values[i]) {
			parts = append(parts, f.Name+" "+valueText(record.Values[i]))
		}
	}
	return strings.Join(parts, "  ")
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil, builtin.Opaque:
		return true
	case string:
		return v == ""
	case int64:
		return v == 0
	case bool:
		return !v
	case []any:
		return len(v) == 0
	}
	return false
}

func faultText(f *event.Fault) string {
	if f.Said == "" {
		return f.What
	}
	return f.What + ": " + f.Said
}
