package retention

import (
	"slices"
	"time"
)

// Verdict says of one item whether it stays and why, in words for a person: "daily 3 of 7 (2026-11-20)", "newest verified",
// "not made by nixmox", "no rule keeps it: another of the same day stays".
type Verdict struct {
	Item   Item
	Keep   bool
	Reason string
}

// Decision has a verdict on every item: by group, in each the newest first.
type Decision struct {
	Verdicts []Verdict
}

// Kept are the items that stay, in the order of the verdicts.
func (d Decision) Kept() []Item {
	return d.withKeep(true)
}

// Removed are the items that go, the oldest of a group first: if removing stops half way, what is left is the newer part.
// The groups come in reverse too.
func (d Decision) Removed() []Item {
	items := d.withKeep(false)
	slices.Reverse(items)
	return items
}

func (d Decision) withKeep(keep bool) []Item {
	var items []Item
	for i := range d.Verdicts {
		if d.Verdicts[i].Keep == keep {
			items = append(items, d.Verdicts[i].Item)
		}
	}
	return items
}

// Decide says which of the items stay under the rules and why.
//
// now is only held against the dates of the items, to see whether the clock can be believed; the age of things plays no part.
// If it cannot, the error is a *ClockError. Other errors are about the input: a negative count, an ID that comes twice or is
// empty, an order of creation that is known of some items of a group only. With an error there is no decision on anything.
func Decide(items []Item, rules Rules, now time.Time) (Decision, error) {
	if err := rules.Validate(); err != nil {
		return Decision{}, err
	}
	if err := checkClock(items, now); err != nil {
		return Decision{}, err
	}
	groups, err := intoGroups(items)
	if err != nil {
		return Decision{}, err
	}
	verdicts := make([]Verdict, 0, len(items))
	d := decider{rules: rules, clock: clock{location: rules.location()}, held: map[int64]holder{}, reasons: map[kept]string{}}
	for _, g := range groups {
		d.decide(g)
		for i := range g.entries {
			e := &g.entries[i]
			verdicts = append(verdicts, Verdict{Item: *e.item, Keep: e.keep, Reason: e.reason})
		}
	}
	return Decision{Verdicts: verdicts}, nil
}

// decider decides on one group after the other, in memory that they share.
type decider struct {
	rules      Rules
	clock      clock
	candidates []*entry         // those of a group that may go if no rule keeps them, newest first
	held       map[int64]holder // the periods of one rule
	reasons    map[kept]string
}

// decide fills in the group's entries. What may not go anyhow is settled first and takes no part in the counting; the rules
// choose from the rest; the guards then take back what the rules would let go but must not.
func (d *decider) decide(g group) {
	d.candidates = d.candidates[:0]
	keepAll := d.rules.KeepsAll()
	for i := range g.entries {
		e := &g.entries[i]
		if reason := untouchable(e.item); reason != "" {
			e.keep, e.reason = true, reason
		} else if keepAll {
			e.keep, e.reason = true, "the rules keep all"
		} else {
			e.at = d.clock.moment(e.item.Time)
			d.candidates = append(d.candidates, e)
		}
	}
	if len(d.candidates) > 0 {
		d.markByRules(d.candidates)
		keepNewestVerified(d.candidates)
		keepMinimum(d.candidates, d.rules.minimum())
	}
}

// untouchable says why an item stays without being counted, or "" if the rules are to decide.
func untouchable(item *Item) string {
	switch {
	case !item.Ours:
		return "not made by nixmox"
	case item.Protected != "":
		return "protected: " + item.Protected
	case item.Time.IsZero():
		return "its date is not known, so neither is its age; remove it by hand if it is not needed"
	case dateIsWrong(item.Time):
		return "its date (" + item.Time.UTC().Format(time.DateOnly) + ") cannot be right, so its age is not known; remove it by hand if it is not needed"
	}
	return ""
}
