package builtin

import "time"

// Dated is a dated thing on which a prune has decided, as a plan's calendar
// shows it.
type Dated struct {
	Group string    `json:"group"`          // what the rules count within, for people: "guest 100", a dataset
	Name  string    `json:"name,omitempty"` // in its group; "" where it is only planned
	Time  time.Time `json:"time,omitzero"`  // zero: not known
	Stays bool      `json:"stays"`
	Why   string    `json:"why"` // retention's reason
}

// Pruning is the decision of an irreversible function that removes some of
// many dated things. A plan shows its calendar in place of the two lists.
type Pruning interface{ Calendar() []Dated }
