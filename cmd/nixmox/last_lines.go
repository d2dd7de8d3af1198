package main

import (
	"fmt"
	"io"
	"time"

	"nixmox/engine"
)

// lastLines say what was done, what was not, and how to go on.
func (a *app) lastLines(w io.Writer, s style, playbook string, plan bool, r engine.Report) {
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
