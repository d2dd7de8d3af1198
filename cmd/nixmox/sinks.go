package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

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
	live           bool // rows show what goes on: a line says only how it ended
	plan           bool // the run that is shown is a plan
}

func (t *textSink) event(e event.Event) {
	change := altersWorld(e)
	switch e.Type {
	case event.RunBegan:
		t.plan = e.Plan
		if !t.quiet {
			what := "run"
			if e.Plan {
				what = "plan"
			}
			t.line(e, faint, fmt.Sprintf("%s %s of %s", what, e.Run, e.Playbook))
			if len(e.May) > 0 {
				t.line(e, faint, "may: "+strings.Join(e.May, "; "))
			}
		}
		if len(e.Exposed) > 0 {
			t.line(e, yellow, "warning: the playbook's process is not locked down wholly; this kernel does not have "+strings.Join(e.Exposed, ", "))
		}
	case event.CallBegan:
		if (change && !t.plan || t.verbose) && !t.quiet && !t.live {
			t.line(e, "", fmt.Sprintf("> %s %s", e.Place, callText(e)))
		}
	case event.CallProgress:
		t.subjectEnded(e)
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

func altersWorld(e event.Event) bool {
	return e.Effect == builtin.Change.String() || e.Effect == builtin.Irreversible.String()
}

// subjectEnded is how it ended for one of a call's things.
func (t *textSink) subjectEnded(e event.Event) {
	p := e.Progress
	switch {
	case t.quiet || p.Ended == "":
	case p.Ended == builtin.SubjectFailed:
		t.line(e, red, fmt.Sprintf("x %s %s: %s", e.Place, subjectText(*p), stepText(*p)))
	default:
		text := fmt.Sprintf("< %s %s: %s", e.Place, subjectText(*p), stepText(*p))
		if p.Elapsed > 0 {
			text += " (" + p.Elapsed.String() + ")"
		}
		t.line(e, green, text)
	}
}

func subjectText(p builtin.Progress) string {
	if p.Name == "" {
		return p.Subject
	}
	return p.Subject + " (" + p.Name + ")"
}

// stepText is the step beside the subject, which it need not say again.
func stepText(p builtin.Progress) string {
	if strings.HasPrefix(p.Step, "guest "+p.Subject) && p.Subject != "" {
		if _, after, ok := strings.Cut(p.Step, ": "); ok {
			return after
		}
	}
	return p.Step
}

func (t *textSink) ended(e event.Event, change bool) {
	took := time.Duration(e.Took * float64(time.Second)).Round(time.Millisecond)
	switch {
	case e.Fault != nil && (change || t.verbose) && !t.quiet:
		// what becomes of it is the playbook's affair: it may be caught
		t.line(e, red, fmt.Sprintf("x %s %s (%s): %s", e.Place, e.Call, took, faultText(e.Fault)))
	case (change && !t.plan || t.verbose) && e.Fault == nil && !t.quiet:
		what, after := e.Call, fmt.Sprintf(" (%s)", took)
		if e.Args != nil {
			what = callText(e)
		}
		before := fmt.Sprintf("< %s ", e.Place)
		if room := t.room(e); room > 0 {
			what = shorten(oneLine(what), max(1, room-len(before)-len(after)))
		}
		t.line(e, green, before+what+after)
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
	text = clean(text)
	if color == "" && strings.HasPrefix(text, "> ") {
		text = shorten(text, t.room(e))
	}
	if color != "" {
		text = t.style.paint(color, text)
	}
	// What comes after a line break must not look like a line of nixmox's own.
	stamp := t.stamp(e)
	text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len(stamp)+1))
	// The writer remembers its errors.
	_, _ = fmt.Fprintf(t.w, "%s %s\n", t.style.paint(faint, stamp), text)
}

func (t *textSink) stamp(e event.Event) string {
	if t.style.dates {
		return e.Time.UTC().Format(time.RFC3339)
	}
	return e.Time.Local().Format("15:04:05")
}

// room is how wide a text after the time can be; 0 is as wide as it is.
func (t *textSink) room(e event.Event) int {
	if t.style.width == 0 {
		return 0
	}
	return max(1, t.style.width-len(t.stamp(e))-1)
}
