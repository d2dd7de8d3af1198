package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

// PlannedCall is a call of a plan: what would be called, and what came or
// would come of it. Values are in the journal's form.
type PlannedCall struct {
	Place    builtin.Place    `json:"place"`
	Call     string           `json:"call"`
	Effect   string           `json:"effect"`
	At       builtin.Position `json:"at"`
	Target   string           `json:"target,omitempty"` // what of the world it names: "guest 100, 101"
	Args     json.RawMessage  `json:"args"`
	Decision json.RawMessage  `json:"decision,omitempty"`
	Result   json.RawMessage  `json:"result,omitempty"`
	Fault    json.RawMessage  `json:"fault,omitempty"`

	// Called, Outcome and Err are the same, typed; empty if the plan was read
	// from a file.
	Called  builtin.Typed `json:"-"`
	Outcome builtin.Typed `json:"-"`
	Err     error         `json:"-"`
	noted   *noted
}

// Alters reports whether the call would change the world.
func (c *PlannedCall) Alters() bool {
	return c.Effect == builtin.Change.String() || c.Effect == builtin.Irreversible.String()
}

// Calendar is what the call would remove and keep of dated things; nothing if
// it prunes none, or if the plan was read from a file.
func (c *PlannedCall) Calendar() []builtin.Dated {
	if c.noted == nil {
		return nil
	}
	if d, ok := c.noted.call.Decision.(builtin.Pruning); ok {
		return d.Calendar()
	}
	return nil
}

// Plan is what a playbook would do, as it was found out at one time.
type Plan struct {
	Format   int             `json:"format"`
	Playbook string          `json:"playbook"`
	File     string          `json:"file"`
	Digest   string          `json:"digest"`
	Made     time.Time       `json:"made"`
	Params   json.RawMessage `json:"params"`
	Kept     json.RawMessage `json:"options,omitempty"`
	Ends     string          `json:"ends,omitempty"` // why the plan could not be followed to the playbook's end
	Assumed  []string        `json:"assumed,omitempty"`

	Calls []PlannedCall `json:"-"`
}

// PlanFormat is the version of a saved plan's form.
const PlanFormat = 1

// PlanAge is how old a plan may be when it is applied.
const PlanAge = 24 * time.Hour

// preview answers changes with what they would return, and lets reads read.
func (r *run) preview(ctx context.Context, call builtin.Call) (any, error) {
	if !call.Func.Effect.Alters() {
		return call.Func.Do(ctx, &call)
	}
	result, err := call.Func.Preview(ctx, &call)
	if err != nil {
		return nil, err
	}
	e := r.callEvent(event.CallPlanned, &call)
	e.Args = builtin.Typed{Type: call.Func.Args, Value: call.Args}
	e.Result = builtin.Typed{Type: call.Func.Result, Value: result}
	r.emit(e)
	return result, nil
}

// note keeps each call of a plan.
func (r *run) note(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		result, err := next(ctx, call)
		if _, isStop := errors.AsType[*builtin.Stop](err); isStop {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.planned = append(r.planned, noted{call, result, err})
		return result, err
	}
}

// noted is a call of a plan before it is put into the journal's form, which
// only a plan that is saved needs.
type noted struct {
	call    builtin.Call
	result  any
	outcome error
}

func (n *noted) planned() PlannedCall {
	call := &n.call
	c := PlannedCall{Place: call.Place, Call: call.Func.QualifiedName(), Effect: call.Func.Effect.String(), At: call.At, noted: n,
		Called: builtin.Typed{Type: call.Func.Args, Value: call.Args}, Err: n.outcome}
	if n.outcome == nil {
		c.Outcome = builtin.Typed{Type: call.Func.Result, Value: n.result}
	}
	if sort, values, ok := call.Func.Scope(call.Args); ok && len(values) > 0 {
		c.Target = sort + " " + strings.Join(values, ", ")
	} else if from := call.Func.ScopeToCome(call.Args); from != "" {
		c.Target = "what call " + string(from) + " makes"
	}
	return c
}

// encode puts a call into the journal's form.
func (c *PlannedCall) encode() error {
	if c.noted == nil {
		return nil // it was read from a file
	}
	call := &c.noted.call
	entry, err := entryOf(call, time.Time{})
	if err != nil {
		return err
	}
	c.Args, c.Decision = entry.Args, entry.Decision
	if c.Err != nil {
		c.Fault, err = call.Func.EncodeFault(builtin.AsFault(c.Err))
		return err
	}
	c.Result, err = json.Marshal(c.Outcome)
	return err
}

// Encode puts all calls into the form in which a plan is saved.
func (p *Plan) Encode() error {
	for i := range p.Calls {
		if err := p.Calls[i].encode(); err != nil {
			return err
		}
	}
	return nil
}

// finishPlan puts the calls of a plan together, in the order of the call tree.
func (r *run) finishPlan(o Options, report *Report) {
	graph := r.playbook.Graph
	p := &Plan{Format: PlanFormat, Playbook: r.playbook.Name, File: graph.Main.Shown, Digest: graph.Digest, Made: r.began,
		Kept: o.Kept, Ends: report.PlanEnds, Assumed: report.Assumed}
	slices.SortFunc(r.planned, func(a, b noted) int { return a.call.Place.Compare(b.call.Place) })
	p.Calls = make([]PlannedCall, len(r.planned))
	for i := range r.planned {
		p.Calls[i] = r.planned[i].planned()
	}
	var err error
	if p.Params, err = encodeParams(r.playbook.Params, o.Params); err != nil && report.Err == nil {
		report.Err, report.End, report.Exit = err, Failed, ExitFailed
	}
	report.Plan = p
}

// Write saves a plan: lines for people behind #, then the plan and each call,
// a JSON object a line. The lines begin with what is shown of it.
func (p *Plan) Write(w io.Writer, shown string) error {
	if err := p.Encode(); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	_, _ = fmt.Fprintf(out, "# a plan of nixmox for %s, made %s; nixmox apply FILE carries it out within a day\n", p.Playbook, p.Made.Format(time.RFC3339))
	for line := range strings.Lines(shown) {
		_, _ = fmt.Fprintf(out, "# %s\n", strings.TrimSuffix(line, "\n"))
	}
	encoder := json.NewEncoder(out) // bufio keeps the first error for Flush
	if err := encoder.Encode(p); err != nil {
		return err
	}
	for i := range p.Calls {
		if err := encoder.Encode(&p.Calls[i]); err != nil {
			return err
		}
	}
	return out.Flush()
}

// maxPlanLine bounds a line of a saved plan: a read of some ten thousand guests.
const maxPlanLine = 64 << 20

// ReadPlan reads a saved plan.
func ReadPlan(r io.Reader) (*Plan, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxPlanLine)
	var p *Plan
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if p == nil {
			p = &Plan{}
			if err := json.Unmarshal(line, p); err != nil {
				return nil, fmt.Errorf("line %d: it is no plan of nixmox: %w", n, err)
			}
			if p.Format != PlanFormat {
				return nil, fmt.Errorf("line %d: its form is %d, and this nixmox reads %d", n, p.Format, PlanFormat)
			}
			continue
		}
		var c PlannedCall
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("line %d: it is no call of a plan: %w", n, err)
		}
		p.Calls = append(p.Calls, c)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errors.New("it is empty")
	}
	return p, nil
}
