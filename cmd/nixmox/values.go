package main

import (
	"fmt"
	"slices"
	"strconv"
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

func callOf(name string, args builtin.Typed) string { return string(appendCall(nil, name, args)) }

// appendCall and what it calls append, because a plan has thousands of lines.
func appendCall(b []byte, name string, args builtin.Typed) []byte {
	b = append(append(b, name...), '(')
	if args.Type != nil {
		if record, ok := args.Type.Neutral(args.Value).(*builtin.Record); ok {
			sep := ""
			for i := range record.Type.Fields {
				if f := &record.Type.Fields[i]; !isDefault(f, record.Values[i]) {
					b = appendField(append(b, sep...), f, record.Values[i])
					sep = ", "
				}
			}
		}
	}
	return append(b, ')')
}

// isDefault reports that a field is as the definition has it anyway.
func isDefault(f *builtin.Field, v any) bool {
	if !f.HasDefault {
		return false
	}
	switch v := v.(type) {
	case nil:
		return f.Default == ""
	case string:
		return v == f.Default
	case []any:
		if len(v) == 0 {
			return true
		}
	}
	return string(appendValue(nil, v)) == f.Default
}

func appendField(b []byte, f *builtin.Field, v any) []byte {
	return appendValue(append(append(b, f.Name...), " = "...), v)
}

// appendRecord gives up on a record as soon as it is too long to be shown.
func appendRecord(b []byte, r *builtin.Record) []byte {
	start, sep := len(b), ""
	b = append(append(b, r.Type.Name...), '(')
	for i := range r.Type.Fields {
		if f := &r.Type.Fields[i]; !isDefault(f, r.Values[i]) {
			b = appendField(append(b, sep...), f, r.Values[i])
			sep = ", "
		}
		if len(b)-start > 80 {
			return append(append(b[:start], r.Type.Name...), "(…)"...)
		}
	}
	return append(b, ')')
}

// appendValue writes a value on a line with others: records that were results of
// other calls are long, and their names say enough.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		return strconv.AppendInt(b, v, 10)
	case builtin.Opaque:
		return append(b, v.String()...)
	case time.Time:
		return v.UTC().AppendFormat(b, time.RFC3339)
	case time.Duration:
		return append(b, v.String()...)
	case *builtin.Record:
		return appendRecord(b, v)
	case []any: // of records there may be thousands
		if len(v) > 0 {
			if first, ok := v[0].(*builtin.Record); ok {
				return fmt.Appendf(b, "[%d × %s]", len(v), first.Type.Name)
			}
		}
	}
	text, err := builtin.MarshalNeutral(v)
	if err != nil {
		return fmt.Append(b, v)
	}
	return append(b, text...)
}

// appendResult appends the result of a planned change, without what is empty
// and what only the run will know: on one line, or with a line for each item
// of its lists.
func appendResult(b []byte, typed builtin.Typed, indent string) []byte {
	if typed.Type == nil {
		return b
	}
	record, ok := typed.Type.Neutral(typed.Value).(*builtin.Record)
	if !ok {
		return b
	}
	if !slices.ContainsFunc(record.Values, isList) {
		return appendItem(b, record, "\n"+indent)
	}
	for i, f := range record.Type.Fields {
		if list, isList := record.Values[i].([]any); isList {
			for _, e := range list {
				b = appendItem(b, e, "\n"+indent+f.Name+": ")
			}
		} else if !isEmpty(record.Values[i]) {
			b = appendValue(append(b, "\n"+indent+f.Name+": "...), record.Values[i])
		}
	}
	return b
}

// appendFacts appends what of a result is no list.
func appendFacts(b []byte, typed builtin.Typed, lead string) []byte {
	if typed.Type == nil {
		return b
	}
	record, ok := typed.Type.Neutral(typed.Value).(*builtin.Record)
	if !ok {
		return b
	}
	for i, f := range record.Type.Fields {
		if v := record.Values[i]; !isList(v) && !isEmpty(v) {
			b = appendValue(append(b, lead+f.Name+": "...), v)
		}
	}
	return b
}

func isList(v any) bool { _, ok := v.([]any); return ok }

// appendItem appends what of a record is not empty, behind a lead.
func appendItem(b []byte, v any, lead string) []byte {
	record, ok := v.(*builtin.Record)
	if !ok {
		return appendValue(append(b, lead...), v)
	}
	sep := lead
	for i := range record.Type.Fields {
		if !isEmpty(record.Values[i]) {
			b = append(append(append(b, sep...), record.Type.Fields[i].Name...), ' ')
			b = appendValue(b, record.Values[i])
			sep = "  "
		}
	}
	return b
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
