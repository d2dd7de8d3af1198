// Package event is what the engine tells while a run goes on: typed events
// for screens, files and, losslessly, the journal. It must not know who
// listens, nor how an event is drawn.
package event

import (
	"time"

	"nixmox/engine/builtin"
)

// Type says what happened.
type Type string

// The events of a run, in the order in which they can come.
const (
	RunBegan     Type = "run_began"
	CallBegan    Type = "call_began"
	CallProgress Type = "call_progress" // may be dropped, unless a subject has ended
	CallRetried  Type = "call_retried"
	CallWaits    Type = "call_waits" // for a lock
	CallEnded    Type = "call_ended"
	CallPlanned  Type = "call_planned"
	CallReplayed Type = "call_replayed" // answered from the record of a resumed run
	Logged       Type = "log"
	RunEnded     Type = "run_ended"
)

// Event is one thing that happened. Fields that do not apply are zero.
type Event struct {
	Type Type      `json:"event"`
	Time time.Time `json:"time"`
	Run  string    `json:"run"`

	Playbook string `json:"playbook,omitempty"` // run_began
	Plan     bool   `json:"plan,omitempty"`
	// May is what the playbook declares that it does: a text for each module.
	May []string `json:"may,omitempty"`
	// Exposed is what the kernel could not give to lock the playbook's process down.
	Exposed []string `json:"exposed,omitempty"`

	Place  builtin.Place     `json:"place,omitempty"` // call_*
	Call   string            `json:"call,omitempty"`  // MODULE.FUNCTION
	Effect string            `json:"effect,omitempty"`
	At     *builtin.Position `json:"at,omitempty"`
	Args   any               `json:"args,omitempty"`   // neutral, encoded by name
	Result any               `json:"result,omitempty"` // of changes
	Fault  *Fault            `json:"fault,omitempty"`
	Took   float64           `json:"took,omitempty"` // seconds

	Progress *builtin.Progress `json:"progress,omitempty"`

	Level string `json:"level,omitempty"` // log: debug, info, warning, error
	Text  string `json:"text,omitempty"`

	End  string `json:"end,omitempty"`  // run_ended: done, failed, cancelled, suspended
	Exit *int   `json:"exit,omitempty"` // run_ended: the exit code
}

// Fault is a fault or a stop condition as events show it.
type Fault struct {
	Kind  string   `json:"kind"`
	What  string   `json:"what"`
	Said  string   `json:"said,omitempty"`
	Hint  string   `json:"hint,omitempty"`
	Stack []string `json:"stack,omitempty"` // positions in the playbook, outermost first
}

// Sink takes events, one at a time, in order. It must not block for long.
type Sink func(Event)

// Tee hands each event to every sink that is not nil.
func Tee(sinks ...Sink) Sink {
	return func(e Event) {
		for _, s := range sinks {
			if s != nil {
				s(e)
			}
		}
	}
}
