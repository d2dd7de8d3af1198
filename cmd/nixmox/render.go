package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

// style is how text looks where it goes.
type style struct {
	color bool // the terminal takes colours and nobody said no
	width int  // columns; 0 for no limit
	dates bool // a date before each line, for files
}

// styleFor looks at where the text goes. https://no-color.org/
func styleFor(w io.Writer) style {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return style{}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = 0
	}
	return style{color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", width: width}
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (s style) paint(color, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// clean takes from a text what would steer a terminal: hosts and guests
// choose many of the words that are shown.
func clean(text string) string {
	if isPrintable(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			return '\uFFFD'
		}
		return r
	}, text)
}

func isPrintable(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < ' ' || c > '~') && c != '\n' {
			return false
		}
	}
	return true
}

// jsonSink writes events as they are, one a line.
func jsonSink(w io.Writer) event.Sink {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return func(e event.Event) {
		// The writer remembers its errors; what is encoded always can be.
		_ = encoder.Encode(e)
	}
}

// textSink writes events as lines for people.
type textSink struct {
	w              io.Writer
	style          style
	quiet, verbose bool
	plan           bool // the run that is shown is a plan
}

func newTextSink(w io.Writer, s style, quiet, verbose bool) event.Sink {
	return (&textSink{w: w, style: s, quiet: quiet, verbose: verbose}).event
}

func (t *textSink) event(e event.Event) {
	change := e.Effect == builtin.Change.String() || e.Effect == builtin.Irreversible.String()
	switch e.Type {
	case event.RunBegan:
		t.plan = e.Plan
		if !t.quiet {
			what := "run"
			if e.Plan {
				what = "plan"
			}
			t.line(e, faint, fmt.Sprintf("%s %s of %s", what, e.Run, e.Playbook))
		}
	case event.CallBegan:
		if (change && !t.plan || t.verbose) && !t.quiet {
			t.line(e, "", fmt.Sprintf("> %s %s", e.Place, callText(e)))
		}
	case event.CallEnded:
		t.ended(e, change)
	case event.CallReplayed:
		if !t.quiet {
			t.line(e, faint, strings.TrimRight(fmt.Sprintf("= %s %s was done before; %s", e.Place, e.Call, e.Text), "; "))
		}
	case event.CallWaits:
		t.line(e, yellow, fmt.Sprintf("… %s %s waits for the lock %s", e.Place, e.Call, e.Text))
	case event.CallRetried:
		if !t.quiet {
			t.line(e, yellow, fmt.Sprintf("~ %s %s: %s; once more", e.Place, e.Call, e.Fault.What))
		}
	case event.Logged:
		t.logged(e)
	}
}

func (t *textSink) ended(e event.Event, change bool) {
	took := time.Duration(e.Took * float64(time.Second)).Round(time.Millisecond)
	switch {
	case e.Fault != nil && (change || t.verbose) && !t.quiet:
		// what becomes of it is the playbook's affair: it may be caught
		t.line(e, red, fmt.Sprintf("x %s %s (%s): %s", e.Place, e.Call, took, faultText(e.Fault)))
	case (change && !t.plan || t.verbose) && e.Fault == nil && !t.quiet:
		t.line(e, green, fmt.Sprintf("< %s %s (%s)", e.Place, e.Call, took))
	}
}

func (t *textSink) logged(e event.Event) {
	switch e.Level {
	case "warning":
		t.line(e, yellow, "warning: "+e.Text)
	case "error":
		t.line(e, red, "error: "+e.Text)
	case "debug":
		if t.verbose {
			t.line(e, faint, e.Text)
		}
	default:
		if !t.quiet {
			t.line(e, "", e.Text)
		}
	}
}

// line writes one event; what it says may be of several lines.
func (t *textSink) line(e event.Event, color, text string) {
	stamp := e.Time.Local().Format("15:04:05")
	if t.style.dates {
		stamp = e.Time.UTC().Format(time.RFC3339)
	}
	text = clean(text)
	if color == "" && strings.HasPrefix(text, "> ") {
		text = shorten(text, t.style.width-len(stamp)-1)
	}
	if color != "" {
		text = t.style.paint(color, text)
	}
	// The writer remembers its errors.
	_, _ = fmt.Fprintf(t.w, "%s %s\n", t.style.paint(faint, stamp), text)
}

func shorten(text string, width int) string {
	if width <= 1 || len(text) <= width {
		return text
	}
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}

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
	if f.HasDefault && (text == f.Default || text == "[]" || len(text) == len(f.Default)+2 && text[0] == '"' && text[1:len(text)-1] == f.Default) {
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

// valueText is a value on a line with others: records that were results of
// other calls are long, and their names say enough.
func valueText(v any) string {
	switch v := v.(type) {
	case string:
		if isPrintable(v) && !strings.ContainsAny(v, "\"\\\n") { // as JSON would have it, and faster
			return `"` + v + `"`
		}
	case int64:
		return strconv.FormatInt(v, 10)
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

// lastLines say what was done, what was not, and how to go on.
func (a *app) lastLines(w io.Writer, playbook string, plan bool, r engine.Report) {
	s := styleFor(a.stdout)
	took := r.Took.Round(time.Millisecond)
	say := func(color, format string, args ...any) {
		_, _ = fmt.Fprintln(w, s.paint(color, clean(fmt.Sprintf(format, args...)))) // the writer remembers its errors
	}
	warned := ""
	if r.Warnings > 0 {
		warned = fmt.Sprintf(", with %d warnings", r.Warnings)
		if r.Warnings == 1 {
			warned = ", with 1 warning"
		}
	}
	if r.Err != nil {
		done := "nothing was changed before that"
		if len(r.Changes) > 0 {
			done = "done before that: " + r.Summary()
		}
		say(red, "%s: %s after %s; %s", playbook, r.End, took, done)
		a.writeError(playbook, r.Err)
		if r.Resumable {
			say("", "go on with: nixmox resume %s", r.ID)
		}
		return
	}
	if plan {
		_, _ = io.WriteString(w, planText(r.Plan, s)) // the writer remembers its errors
		for _, what := range r.Assumed {
			say(yellow, "assumed: %s", what)
		}
		if r.PlanEnds != "" {
			say(yellow, "the plan ends here: %s", r.PlanEnds)
		}
		say(green, "%s: planned in %s, nothing was changed%s", playbook, took, warned)
		return
	}
	say(green, "%s: done in %s%s: %s", playbook, took, warned, r.Summary())
}

// writeError writes an error to standard error: what, where, and what to do.
func (a *app) writeError(subject string, err error) {
	s := styleFor(a.stderr)
	what, at, hint := describe(err)
	if at != "" {
		what = at + ": " + what
	} else if subject != "" {
		what = subject + ": " + what
	}
	// There is nowhere left to say that standard error cannot be written.
	_, _ = fmt.Fprintln(a.stderr, s.paint(red, clean(what)))
	if hint != "" {
		_, _ = fmt.Fprintln(a.stderr, "  hint: "+clean(hint))
	}
}
