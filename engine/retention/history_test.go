package retention

import (
	"math/rand/v2"
	"time"
)

// history is what a machine has made over a time, by the clock that it had, and how that is to be pruned.
type history struct {
	items []Item
	rules Rules
	now   time.Time // what the clock shows in the end
	// inOrder says that dates and order of creation agree.
	inOrder bool
}

var (
	berlin, newYork = zone("Europe/Berlin"), zone("America/New_York")

	// clockChanges are those of the two places in 2026.
	clockChanges = []time.Time{at("2026-03-29T01:00:00Z"), at("2026-10-25T01:00:00Z"), at("2026-03-08T07:00:00Z"), at("2026-11-01T06:00:00Z")}
	pauses       = []time.Duration{time.Second, time.Minute, 15 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, time.Hour, 3 * time.Hour, 24 * time.Hour, 24 * time.Hour, 100 * time.Hour}
	gaps         = []time.Duration{9 * 24 * time.Hour, 40 * 24 * time.Hour, 400 * 24 * time.Hour}
	jumps        = []time.Duration{10 * time.Minute, time.Hour, 25 * time.Hour, 50 * 24 * time.Hour, 3 * 365 * 24 * time.Hour}
)

func oneOf[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// chance is true once in n.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// maxItems bounds a history: each thing's ID is one byte.
const maxItems = 40

// randomHistory lives around a change of the clocks, in most cases: hours and days there, then weeks, a gap, bursts within a
// second; in some the clock jumps, forwards or back, is set right again or not, or starts in 1970.
func randomHistory(r *rand.Rand, items []Item) history {
	h := history{items: items[:0], rules: randomRules(r), inOrder: true}
	change := oneOf(r, clockChanges)
	real := change.Add(-time.Duration(r.Int64N(int64(50 * time.Hour)))).Truncate(time.Second)
	if chance(r, 8) {
		real = real.Add(-time.Duration(r.Int64N(int64(500 * 24 * time.Hour))))
	}
	groups, ordered, jumpy := 1+r.IntN(2), !chance(r, 3), chance(r, 4)
	wrong, unset := time.Duration(0), false // how wrong the clock is; whether it counts from 1970
	order := uint64(r.IntN(1000)) + 1
	pause := oneOf(r, pauses)
	clock := func() time.Time {
		if unset {
			return time.Unix(real.Unix()%100_000, 0)
		}
		return real.Add(wrong)
	}
	for range 1 + r.IntN(18) {
		switch n := r.IntN(20); {
		case n == 0:
			real = real.Add(oneOf(r, gaps))
		case n < 4:
			pause = oneOf(r, pauses)
		case n < 6 && real.Before(change): // to the very second, or one beside
			real = change.Add(-pause).Add(time.Duration(r.IntN(3)-1) * time.Second)
		case n < 8 && jumpy:
			if wrong != 0 || unset {
				wrong, unset = 0, false
			} else if chance(r, 6) {
				unset = true
			} else if wrong = oneOf(r, jumps); chance(r, 2) {
				wrong = -wrong
			}
		}
		real = real.Add(pause).Truncate(time.Second)
		burst := 1
		if chance(r, 10) {
			burst += r.IntN(4)
		}
		for range burst {
			if chance(r, 2) {
				real = real.Add(time.Duration(r.IntN(3)) * time.Second)
			}
			order += uint64(r.IntN(4))
			for g := range groups {
				if len(h.items) < maxItems && !chance(r, 5) {
					h.add(r, g, clock(), order, ordered)
				}
			}
		}
	}
	h.now = clock()
	r.Shuffle(len(h.items), func(i, j int) { h.items[i], h.items[j] = h.items[j], h.items[i] })
	return h
}

var (
	idOf    = [maxItems]string{}
	groupOf = [2]string{"rpool/a", "rpool/b"}
)

func (h *history) add(r *rand.Rand, group int, made time.Time, order uint64, ordered bool) {
	n := len(h.items)
	if idOf[n] == "" {
		panic("the test fills idOf first")
	}
	item := Item{ID: idOf[n], Group: groupOf[group], Time: made, Ours: !chance(r, 6), Verified: chance(r, 4)}
	if ordered {
		item.Order = order
	}
	switch r.IntN(12) {
	case 0:
		item.Protected = "held: send"
	case 1:
		if chance(r, 8) {
			item.Time = time.Time{} // it could not be read
		}
	}
	for i := range h.items {
		if other := &h.items[i]; ordered && other.Group == item.Group && other.Time.After(item.Time) {
			h.inOrder = false
		}
	}
	h.items = append(h.items, item)
}

func randomRules(r *rand.Rand) Rules {
	var rules Rules
	for _, count := range []*int{&rules.Last, &rules.Hourly, &rules.Daily, &rules.Weekly, &rules.Monthly, &rules.Yearly} {
		if chance(r, 2) {
			*count = r.IntN(5)
		}
	}
	rules.Minimum = max(0, r.IntN(8)-4)
	rules.Location = oneOf(r, []*time.Location{nil, time.UTC, berlin, berlin, newYork, newYork})
	return rules
}
