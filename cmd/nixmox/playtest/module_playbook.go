package playtest

import (
	"context"
	"io/fs"
	"time"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

func playbookModule() builtin.Module {
	return builtin.NewModule("playbook", "Run and plan playbooks in the lab of the test.",
		newChange("run", "Run a playbook in the lab. How it ends is in the result, not an error.",
			"r = playbook.run(\"backup.star\", guests = [\"101\"])\ncheck.eq(r.exit, 0)\ncheck.eq(len(r.changes), 3)", (*session).runPlaybook),
		newRead("plan", "Plan a playbook in the lab.",
			"p = playbook.plan(\"backup.star\", guests = [\"101\"])\ncheck.eq(p.plan_ends, \"\")", (*session).planPlaybook),
	)
}

// PlaybookArgs are the arguments of run and plan.
type PlaybookArgs struct {
	Playbook string                      `name:"playbook" doc:"its file, in the folder of the test or below"`
	Timeout  builtin.Duration            `name:"timeout" default:"" doc:"as the flag --timeout, in the lab's time"`
	After    map[string]builtin.Callback `name:"after" default:"" doc:"functions to call when a call of that name has ended, once each: what another hand does meanwhile"`
	Params   map[string]builtin.Value    `name:"params" default:"" rest:"" doc:"the playbook's parameters; as arguments of their own names, too"`
}

// Ran is how a run or a plan went.
type Ran struct {
	Number   int      `name:"number" doc:"which run of the test this was, from 1"`
	Exit     int      `name:"exit" doc:"the exit code that nixmox would have"`
	End      string   `name:"ended" doc:"done, failed, cancelled or suspended"`
	Error    string   `name:"error" doc:"what went wrong, or empty"`
	Kind     string   `name:"kind" doc:"the error's kind, or empty"`
	Hint     string   `name:"hint" doc:"what nixmox says to do now, or empty"`
	At       string   `name:"at" doc:"the line of the playbook where the error arose, or empty"`
	Logs     []Logged `name:"logs" doc:"what the playbook logged"`
	Calls    []Made   `name:"calls" doc:"every call of a module, in the order of the call tree"`
	Changes  []Made   `name:"changes" doc:"those that alter the world; of a plan, would"`
	Warnings int      `name:"warnings" doc:"how many warnings the playbook logged"`
	PlanEnds string   `name:"plan_ends" doc:"why a plan could not be followed to the playbook's end, or empty"`
	Assumed  []string `name:"assumed" doc:"what a plan took for granted"`
}

// Logged is a line of a playbook's log.
type Logged struct {
	Level string `name:"level" doc:"debug, info, warning or error"`
	Text  string `name:"text" doc:"the line"`
	At    string `name:"at" doc:"the line of the playbook"`
}

// Made is one call. Values are plain: times and durations are text, records
// are dicts, and what a plan does not know says of which call it comes.
type Made struct {
	Place  string        `name:"place" doc:"where it stands in the call tree"`
	Call   string        `name:"call" doc:"MODULE.FUNCTION"`
	Args   builtin.Value `name:"args" doc:"a dict, those that were left out too"`
	Effect string        `name:"effect" doc:"pure, read, change or irreversible"`
	OK     bool          `name:"ok" doc:"whether it did not fail"`
	Fault  string        `name:"fault" doc:"the fault's kind, or empty"`
	Said   string        `name:"said" doc:"what the fault says, or empty"`
	Result builtin.Value `name:"result" doc:"of a change: a dict; of a plan: what it would return"`
	At     string        `name:"at" doc:"the line of the playbook"`
}

func (s *session) runPlaybook(ctx context.Context, a PlaybookArgs) (Ran, error) {
	return s.play(ctx, a, false)
}

func (s *session) planPlaybook(ctx context.Context, a PlaybookArgs) (Ran, error) {
	return s.play(ctx, a, true)
}

func (s *session) play(ctx context.Context, a PlaybookArgs, plan bool) (Ran, error) {
	if _, ok := engine.NameOf(a.Playbook); !ok || !fs.ValidPath(a.Playbook) {
		return Ran{}, builtin.Faultf(builtin.Invalid, "running %q", a.Playbook).Saying("it is no playbook in the folder of the test").
			Hinting(`name it by its path from there: "backup.star"`)
	}
	how := Play{Params: map[string]any{}, Plan: plan, Timeout: time.Duration(a.Timeout), After: map[string]func() error{}}
	for name, v := range a.Params {
		neutral, err := engine.Inspect(v).Neutral()
		if err != nil {
			return Ran{}, err
		}
		how.Params[name] = neutral
	}
	for name, fn := range a.After {
		how.After[name] = func() error {
			_, err := fn.Call(ctx)
			return err
		}
	}
	seen, err := s.world.Play(ctx, s.roots, a.Playbook, how)
	if err != nil {
		return Ran{}, err
	}
	if err := ctx.Err(); err != nil {
		return Ran{}, context.Cause(ctx) // the tests were interrupted
	}
	return seen.ran(), nil
}

// ran is what a test sees of it.
func (o *Observed) ran() Ran {
	r := Ran{Number: o.Number, Exit: o.Report.Exit, End: string(o.Report.End), Logs: []Logged{}, Calls: []Made{}, Changes: []Made{},
		Warnings: o.Report.Warnings, PlanEnds: o.Report.PlanEnds, Assumed: append([]string{}, o.Report.Assumed...)}
	if o.Report.Err != nil {
		why := explain(o.Report.Err)
		r.Error, r.Kind, r.Hint, r.At = why.what, why.kind, why.hint, why.at
	}
	for _, line := range o.Logs {
		r.Logs = append(r.Logs, Logged{Level: line.Level, Text: line.Text, At: line.At.String()})
	}
	for _, c := range o.Calls {
		m := Made{Place: string(c.Place), Call: c.Name, Args: plain(c.Args), Effect: c.Effect, OK: c.Ended && c.Fault == nil, Result: plain(c.Result), At: c.At.String()}
		if c.Fault != nil {
			m.Fault, m.Said = c.Fault.Kind, c.Fault.What
			if c.Fault.Said != "" {
				m.Said += ": " + c.Fault.Said
			}
		}
		r.Calls = append(r.Calls, m)
		if c.Alters() {
			r.Changes = append(r.Changes, m)
		}
	}
	return r
}

// plain makes a typed value one that a test can write down: see Made.
func plain(t builtin.Typed) any {
	if t.Type == nil || t.Value == nil {
		return nil
	}
	return plainOf(t.Type.Neutral(t.Value))
}

func plainOf(v any) any {
	switch v := v.(type) {
	case *builtin.Record:
		out := make(map[string]any, len(v.Values))
		for i := range v.Values {
			out[v.Type.Fields[i].Name] = plainOf(v.Values[i])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plainOf(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = plainOf(v[k])
		}
		return out
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case time.Duration:
		return v.String()
	case builtin.Opaque:
		return v.String()
	case builtin.Secret, builtin.Callback:
		return "(" + builtin.NeutralName(v) + ")"
	}
	return v
}

type explained struct{ what, kind, hint, at string }

// explain takes the error of a run apart, as the command line does.
func explain(err error) explained {
	switch err := err.(type) { //nolint:errorlint // these are the errors of a run, not what is behind them
	case *builtin.Stop:
		return explained{err.What, string(err.Kind), err.Hint, err.At.String()}
	case *builtin.Fault:
		e := explained{what: err.Error(), kind: string(err.Kind), hint: err.Hint}
		if n := len(err.Stack); n > 0 {
			e.at = err.Stack[n-1].String()
		}
		return e
	case *source.Problem:
		return explained{err.Error(), "check", err.Hint, err.At.String()}
	case source.Problems:
		return explained{err.Error(), "check", err[0].Hint, err[0].At.String()}
	}
	return explained{what: err.Error()}
}
