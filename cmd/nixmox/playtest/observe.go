package playtest

import (
	"slices"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

// Observed is a run or a plan of a playbook, as it was seen from outside: by
// its events.
type Observed struct {
	Playbook string
	Number   int
	Plan     bool
	Report   engine.Report
	Logs     []Line
	Calls    []*Call // in the order of the call tree, however parallel branches took turns
}

// Line is what a playbook logged.
type Line struct {
	Level, Text string
	At          builtin.Position
}

// Call is one call that the playbook made.
type Call struct {
	Place  builtin.Place
	Name   string // MODULE.FUNCTION
	Effect string
	At     builtin.Position
	Args   builtin.Typed
	Result builtin.Typed // of changes; of a plan, what was previewed
	Fault  *event.Fault
	Ended  bool
}

// Alters reports whether the call changed the world, or would.
func (c *Call) Alters() bool {
	return c.Effect == builtin.Change.String() || c.Effect == builtin.Irreversible.String()
}

// observer takes the events of one run. The engine hands them over one at a
// time.
type observer struct {
	*Observed
	at      map[builtin.Place]*Call
	after   map[string]func() error
	hookErr error
}

func newObserver(playbook string, number int, how Play) *observer {
	o := &observer{Observed: &Observed{Playbook: playbook, Number: number, Plan: how.Plan}, at: map[builtin.Place]*Call{}, after: map[string]func() error{}}
	for name, fn := range how.After {
		o.after[name] = fn
	}
	return o
}

func (o *observer) event(e event.Event) {
	switch e.Type {
	case event.Logged:
		line := Line{Level: e.Level, Text: e.Text}
		if e.At != nil {
			line.At = *e.At
		}
		o.Logs = append(o.Logs, line)
	case event.CallBegan:
		c := &Call{Place: e.Place, Name: e.Call, Effect: e.Effect}
		if e.At != nil {
			c.At = *e.At
		}
		c.Args, _ = e.Args.(builtin.Typed)
		o.at[e.Place] = c
		o.Calls = append(o.Calls, c)
	case event.CallEnded:
		c := o.at[e.Place]
		if c == nil {
			return
		}
		c.Ended, c.Fault = true, e.Fault
		c.Result, _ = e.Result.(builtin.Typed)
		o.hook(e.Call)
	}
}

// hook lets the other hand act. It is called on the goroutine that made the
// call, while the run waits for it.
func (o *observer) hook(call string) {
	fn, ok := o.after[call]
	if !ok {
		return
	}
	delete(o.after, call)
	if err := fn(); err != nil && o.hookErr == nil {
		o.hookErr = err
	}
}

// settle puts the calls in the order of the call tree.
func (o *observer) settle() {
	slices.SortStableFunc(o.Calls, func(a, b *Call) int { return a.Place.Compare(b.Place) })
}
