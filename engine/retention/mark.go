package retention

import (
	"strconv"
)

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
func (d *decider) markByRules(candidates []*entry) {
	for _, rule := range rulesInOrder {
		count := rule.count(&d.rules)
		switch {
		case count == 0:
		case rule.period == nil:
			for i, c := range candidates[:min(count, len(candidates))] {
				c.keep, c.reason = true, d.keptBy(rule, i+1, count, c)
			}
		default:
			d.keepPeriods(rule, count, candidates)
		}
	}
	for _, c := range candidates {
		if c.reason == "" {
			c.reason = notKept + ": older than the rules reach"
		}
	}
}

// holder says by which rule a period has something that stays.
type holder int

const (
	nobody holder = iota
	earlierRule
	thisRule
)

// keepPeriods keeps the newest candidate of each of the first count periods that no earlier rule holds.
func (d *decider) keepPeriods(r *rule, count int, candidates []*entry) {
	clear(d.held)
	for _, c := range candidates {
		if c.keep {
			d.held[r.period.id(c.at)] = earlierRule
		}
	}
	kept := 0
	last, by, looked := int64(0), nobody, false // those of one period follow one another, in general
	for _, c := range candidates {
		if c.keep || c.discarded {
			continue
		}
		id := r.period.id(c.at)
		if !looked || id != last {
			last, by, looked = id, d.held[id], true
		}
		switch by {
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
			d.held[id], by = thisRule, thisRule
			c.keep, c.reason = true, d.keptBy(r, kept, count, c)
		}
	}
}

// coveredBy notes why the candidate goes, should no later rule keep it. The first, shortest period says it best.
func (c *entry) coveredBy(p *period) {
	if c.reason == "" {
		c.reason = p.coveredReason
	}
}

// kept is by which rule, as which of how many, something stays.
type kept struct {
	rule       *rule
	nth, count int
	period     int64
	offset     int32
}

// keptBy is the reason why a rule keeps the candidate. Datasets that were snapshotted together share theirs.
func (d *decider) keptBy(r *rule, nth, count int, c *entry) string {
	k := kept{rule: r, nth: nth, count: count}
	if r.period != nil {
		k.period, k.offset = r.period.id(c.at), c.at.offset
	}
	reason, ok := d.reasons[k]
	if !ok {
		reason = r.name + " " + strconv.Itoa(nth) + " of " + strconv.Itoa(count)
		if r.period != nil {
			reason += " (" + r.period.label(c.item.Time.In(d.clock.location)) + ")"
		}
		d.reasons[k] = reason
	}
	return reason
}
