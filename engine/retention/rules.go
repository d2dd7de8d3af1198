package retention

import (
	"fmt"
	"time"
)

// Rules say how much stays in each group. All counts zero keeps everything, as in Proxmox: to forget the rules must not mean
// to delete all.
type Rules struct {
	Last    int // so many of the newest
	Hourly  int // the newest of each of so many hours
	Daily   int // … days
	Weekly  int // … weeks, Monday to Sunday, as ISO 8601 counts them
	Monthly int // … months
	Yearly  int // … years

	// Minimum is how many stay in a group whatever the rules say; 0 means 1. It cannot be turned off.
	Minimum int

	// Location is where an hour, a day and a week begin; nil means UTC. Proxmox uses the host's local time, so a prune of
	// its archives that should agree with Proxmox's own gives that.
	Location *time.Location
}

// KeepsAll reports whether the rules name nothing to count, which keeps everything.
func (r Rules) KeepsAll() bool {
	for _, rule := range rulesInOrder {
		if rule.count(&r) > 0 {
			return false
		}
	}
	return true
}

// Validate reports a count that makes no sense.
func (r Rules) Validate() error {
	for _, rule := range rulesInOrder {
		if n := rule.count(&r); n < 0 {
			return fmt.Errorf("retention rules: %s is %d; give how many to keep, or 0 for none by this rule", rule.name, n)
		}
	}
	if r.Minimum < 0 {
		return fmt.Errorf("retention rules: the minimum is %d; give how many always stay in a group, or 0 for 1", r.Minimum)
	}
	return nil
}

// minimum is what Minimum says, and never 0, although the rules alone keep one: what must not happen is held twice.
func (r Rules) minimum() int {
	return max(r.Minimum, 1)
}

func (r Rules) location() *time.Location {
	if r.Location == nil {
		return time.UTC
	}
	return r.Location
}

// rule is one of the counts in Rules.
type rule struct {
	name   string // as it stands in a reason; Proxmox puts "keep-" before it
	field  func(*Rules) *int
	period *period // nil: each item counts by itself
}

func (r *rule) count(rules *Rules) int { return *r.field(rules) }

// rulesInOrder is the order in which Proxmox applies them, from the shortest period to the longest. It matters: each leaves
// alone what an earlier one has covered.
var rulesInOrder = [...]*rule{
	{"last", func(r *Rules) *int { return &r.Last }, nil},
	{"hourly", func(r *Rules) *int { return &r.Hourly }, &hour},
	{"daily", func(r *Rules) *int { return &r.Daily }, &day},
	{"weekly", func(r *Rules) *int { return &r.Weekly }, &week},
	{"monthly", func(r *Rules) *int { return &r.Monthly }, &month},
	{"yearly", func(r *Rules) *int { return &r.Yearly }, &year},
}
