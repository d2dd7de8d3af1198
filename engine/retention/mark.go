package retention

import (
	"fmt"
	"time"
)

// candidate is an entry that may go if no rule keeps it.
type candidate struct {
	*entry
	local     time.Time // its date in the location of the rules
	discarded bool      // a rule has decided against it, and no later one may take it up again
}

// notKept begins the reason of everything that goes; what follows tells the two causes apart.
const notKept = "no rule keeps it"

// markByRules applies the rules, one after the other, to candidates of one group, newest first.
//
// This is prune_mark_backup_group in Proxmox's PVE::Storage, step by step. Two things in it are easily missed. An item in a
// period that an earlier rule holds is passed over but stays open to later rules; an item in a period that this very rule holds
// is discarded for good. Since a week can lie in two months, this makes a difference: with keep-weekly=1,keep-monthly=2 a
// Sunday the 1st discards the Saturday before, which keep-monthly=2 alone would have kept as the last of its month. So one
// more rule can keep less. Proxmox does the same, and two prunes of one storage that disagree would be worse.
//
// Three things differ, none of which touches archives with dates of their own outside the hour that comes twice: keep-last counts
// things, where Proxmox counts the seconds in which any was made, because two snapshots can be taken in one second; an hour is
// told apart from its repetition (period.go); and a rule goes on when its count is used up (below).
func markByRules(candidates []candidate, rules Rules) {
	held := map[int64]holder{}
	for _, rule := range rulesInOrder {
		count := rule.count(rules)
		switch {
		case count == 0:
		case rule.period == nil:
			keepLast(candidates, count)
		default:
			rule.keepPeriods(candidates, count, held)
			clear(held)
		}
	}
	for i := range candidates {
		if c := &candidates[i]; c.reason == "" {
			c.reason = notKept + ": older than the rules reach"
		}
	}
}

func keepLast(candidates []candidate, count int) {
	for i := range candidates[:min(count, len(candidates))] {
		candidates[i].keep = true
		candidates[i].reason = fmt.Sprintf("last %d of %d", i+1, count)
	}
}

// holder says by which rule a period has something that stays.
type holder int

const (
	nobody holder = iota
	earlierRule
	thisRule
)

// keepPeriods keeps the newest candidate of each of the first count periods that no earlier rule holds. held is empty.
func (r *rule) keepPeriods(candidates []candidate, count int, held map[int64]holder) {
	for i := range candidates {
		if c := &candidates[i]; c.keep {
			held[r.period.id(c.local)] = earlierRule
		}
	}
	kept := 0
	for i := range candidates {
		c := &candidates[i]
		if c.keep || c.discarded {
			continue
		}
		id := r.period.id(c.local)
		switch held[id] {
		case earlierRule:
			c.coveredBy(r.period)
		case thisRule:
			c.coveredBy(r.period)
			c.discarded = true
		case nobody:
			if kept == count {
				// Proxmox stops here, which is the same where dates fall: all that follows is older, so in no
				// period of this rule. Where the order of creation contradicts the dates it is not, and to stop
				// at something that goes would let a second prune, without it, decide otherwise than the first.
				continue
			}
			kept++
			held[id] = thisRule
			c.keep = true
			c.reason = fmt.Sprintf("%s %d of %d (%s)", r.name, kept, count, r.period.label(c.local))
		}
	}
}

// coveredBy notes why the candidate goes, should no later rule keep it. The first, shortest period says it best.
func (c *candidate) coveredBy(p *period) {
	if c.reason == "" {
		c.reason = p.coveredReason
	}
}
