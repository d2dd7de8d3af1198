package playtest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// text is a run or a plan as golden files hold it: what would be changed and
// what comes of it, what was said, how it ended. Reads are left out, and what
// is volatile; so is what is as its definition has it anyway.
func (o *Observed) text() string {
	var b strings.Builder
	what := "run"
	if o.Plan {
		what = "plan"
	}
	fmt.Fprintf(&b, "%s of %s\n", what, o.Playbook)
	for _, line := range inOrder(o.Logs) {
		fmt.Fprintf(&b, "%s: %s\n", line.Level, line.Text)
	}
	for _, c := range o.Calls {
		if !c.Alters() {
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", c.Place, c.Name)
		writeFields(&b, "", c.Args)
		writeFields(&b, "-> ", c.Result)
		if c.Fault != nil {
			fmt.Fprintf(&b, "  failed: %s: %s\n", c.Fault.Kind, strings.TrimSuffix(c.Fault.What+": "+c.Fault.Said, ": "))
		}
	}
	for _, a := range slices.Sorted(slices.Values(o.Report.Assumed)) {
		fmt.Fprintf(&b, "assumed: %s\n", a)
	}
	if o.Report.PlanEnds != "" {
		fmt.Fprintf(&b, "the plan ends: %s\n", o.Report.PlanEnds)
	}
	if o.Report.Err != nil {
		fmt.Fprintf(&b, "error: %s\n", explain(o.Report.Err).what)
	}
	fmt.Fprintf(&b, "%s, exit %d\n", o.Report.End, o.Report.Exit)
	return b.String()
}

// inOrder puts lines in the order of the playbook's text: branches of a
// parallel log in any order.
func inOrder(logs []Line) []Line {
	logs = slices.Clone(logs)
	slices.SortStableFunc(logs, func(a, b Line) int {
		return cmp.Or(strings.Compare(a.At.File, b.At.File), cmp.Compare(a.At.Line, b.At.Line), strings.Compare(a.Text, b.Text))
	})
	return logs
}

// writeFields writes the fields of a record, items of lists a line each.
func writeFields(b *strings.Builder, prefix string, t builtin.Typed) {
	if t.Type == nil || t.Value == nil {
		return
	}
	r, ok := t.Type.Neutral(t.Value).(*builtin.Record)
	if !ok {
		return
	}
	for _, i := range worthSaying(r) {
		f := &r.Type.Fields[i]
		list, isList := r.Values[i].([]any)
		switch {
		case isList && f.Type.Elem.Kind == builtin.KindRecord:
			for _, e := range list {
				fmt.Fprintf(b, "  %s%s: %s\n", prefix, f.Name, goldenValue(e))
			}
		default:
			fmt.Fprintf(b, "  %s%s = %s\n", prefix, f.Name, goldenValue(r.Values[i]))
		}
	}
}

// goldenValue is a value on one line.
func goldenValue(v any) string {
	switch v := v.(type) {
	case *builtin.Record:
		var parts []string
		for _, i := range worthSaying(v) {
			parts = append(parts, v.Type.Fields[i].Name+" "+goldenValue(v.Values[i]))
		}
		return strings.Join(parts, ", ")
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = goldenValue(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case builtin.Opaque:
		return v.String()
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	}
	text, err := builtin.MarshalNeutral(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// worthSaying are the fields of a record that are not volatile and not as
// they are mostly; of those that only the run will know, the first.
func worthSaying(r *builtin.Record) []int {
	var out []int
	opaque := false
	for i := range r.Type.Fields {
		f := &r.Type.Fields[i]
		if f.Volatile || f.VolatilePlanned || isUsual(f, r.Values[i]) || opaque && isOpaque(r.Values[i]) {
			continue
		}
		opaque = opaque || isOpaque(r.Values[i])
		out = append(out, i)
	}
	return out
}

// isUsual: empty, or the default.
func isUsual(f *builtin.Field, v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == "" || f.HasDefault && v == f.Default
	case bool:
		return !v && !f.HasDefault || f.HasDefault && fmt.Sprint(v) == f.Default
	case int64:
		return v == 0
	case []any:
		return len(v) == 0
	}
	return false
}

var (
	runID    = regexp.MustCompile(`\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b`)
	upid     = regexp.MustCompile(`UPID:[A-Za-z0-9.-]+:[0-9A-F:]+:[a-z]+:[^\s":]*:[^\s":]+:`)
	stampOf  = regexp.MustCompile(`\b\d{4}([-_])\d\d[-_]\d\d[-T_ ]\d\d[:_]\d\d[:_]\d\d(?:\.\d+)?Z?`)
	checksum = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
)

// neutralized replaces what no two runs have in common. Times before the test
// began are those of the lab's history, the same in each; they stay.
func neutralized(text string) string {
	text = runID.ReplaceAllString(text, "RUN")
	text = upid.ReplaceAllString(text, "UPID")
	text = checksum.ReplaceAllString(text, "SHA256")
	return stampOf.ReplaceAllStringFunc(text, func(stamp string) string {
		digits := strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, stamp)
		if t, err := time.Parse("20060102150405", digits[:14]); err != nil || t.Before(Begin) {
			return stamp
		}
		return "TIME"
	})
}
