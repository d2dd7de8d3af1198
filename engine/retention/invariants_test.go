package retention

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var oneHistory = flag.Uint64("history", 0, "hold only the history of this number to the invariants, as a failure names it")

// TestInvariants holds random histories to what doc.go promises, by its numbers, and to a second writing of it (model_test.go).
func TestInvariants(t *testing.T) {
	n := uint64(100_000)
	if testing.Short() || raceDetector {
		n = 5_000
	}
	for i := range idOf {
		idOf[i] = string(rune('0' + i))
	}
	first := rand.Uint64() >> 1
	if *oneHistory != 0 {
		first, n = *oneHistory, 1
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // what it makes is small, and of no use a moment later
	var next, decided, refused, removed atomic.Uint64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			var c checker
			for !t.Failed() {
				i := next.Add(1) - 1
				if i >= n {
					break
				}
				if broken := c.check(first + i); broken != nil {
					t.Errorf("history %d (go test ./engine/retention -run Invariants -history %[1]d): %v\n%v", first+i, broken, &c)
				}
			}
			decided.Add(c.decided)
			refused.Add(c.refused)
			removed.Add(c.removed)
		})
	}
	workers.Wait()
	t.Logf("%d histories from %d on: %d clocks refused, %d things removed", n, first, refused.Load(), removed.Load())
	// Of a test that draws badly all this would be true of nothing.
	if n > 1000 && !t.Failed() && (refused.Load() < n/100 || decided.Load() < n/2 || removed.Load() < n) {
		t.Errorf("the histories are not of all kinds: %d decided, %d refused, %d things removed", decided.Load(), refused.Load(), removed.Load())
	}
}

// checker holds one history after the other, in memory that they share.
type checker struct {
	history
	random                    *rand.Rand
	source                    rand.PCG
	before, other             []Item
	decided, refused, removed uint64
}

func (c *checker) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "now %s, %s, %v\n", stamp(c.now), c.rules, c.rules.location())
	items := slices.Clone(c.items)
	slices.SortFunc(items, modelNewer)
	for _, item := range items {
		fmt.Fprintf(&b, "  %s %q %s order %d ours %v verified %v protected %q\n", item.Group, item.ID,
			item.Time.In(c.rules.location()).Format("2006-01-02 15:04:05 -07:00"), item.Order, item.Ours, item.Verified, item.Protected)
	}
	return b.String()
}

// verdictSet is who stays, by ID.
type verdictSet [128]struct{ seen, keep bool }

func (s *verdictSet) of(id string) *struct{ seen, keep bool } { return &s[id[0]] }

func (c *checker) check(number uint64) error {
	c.source.Seed(number, 0)
	if c.random == nil {
		c.random = rand.New(&c.source)
	}
	c.history = randomHistory(c.random, c.items)
	c.before = append(c.before[:0], c.items...)

	decision, err := Decide(c.items, c.rules, c.now)
	if believed := modelBelieves(c.items, c.now); believed != (err == nil) {
		return fmt.Errorf("15: the clock is to be believed: %v, and the error is: %v", believed, err) //nolint:errorlint // it may be nil
	}
	if err != nil {
		c.refused++
		if clock, ok := errors.AsType[*ClockError](err); !ok || len(decision.Verdicts) != 0 || clock.Now != c.now {
			return fmt.Errorf("15: refused with %w, and %d verdicts", err, len(decision.Verdicts))
		}
		// Then somebody sets the clock right, or waits.
		c.now = at("2035-01-01")
		if decision, err = Decide(c.items, c.rules, c.now); err != nil {
			return fmt.Errorf("15: refused a clock that is right: %w", err)
		}
	} else {
		c.decided++
	}
	if !slices.Equal(c.items, c.before) {
		return errors.New("1: the list was touched")
	}
	var stays verdictSet
	if err := c.verdicts(decision, &stays); err != nil {
		return err
	}
	for _, group := range groupOf {
		if err := c.group(c.of(group), &stays); err != nil {
			return err
		}
	}
	return c.otherPrunes(decision, &stays)
}

// of are the things of a group, the newest first.
func (c *checker) of(group string) []Item {
	var out []Item
	for i := range c.items {
		if c.items[i].Group == group {
			out = append(out, c.items[i])
		}
	}
	slices.SortFunc(out, modelNewer)
	return out
}

// verdicts checks the form of a decision and reads it.
func (c *checker) verdicts(d Decision, stays *verdictSet) error {
	if len(d.Verdicts) != len(c.items) {
		return fmt.Errorf("1: %d verdicts on %d things", len(d.Verdicts), len(c.items))
	}
	for i := range d.Verdicts {
		v := &d.Verdicts[i]
		s := stays.of(v.Item.ID)
		if s.seen || v.Reason == "" {
			return fmt.Errorf("1: %q twice, or without a reason: %q", v.Item.ID, v.Reason)
		}
		s.seen, s.keep = true, v.Keep
		if !v.Keep {
			c.removed++
		}
		if i > 0 {
			last := &d.Verdicts[i-1].Item
			if last.Group > v.Item.Group || last.Group == v.Item.Group && modelNewer(*last, v.Item) > 0 {
				return fmt.Errorf("1: %q comes before %q", last.ID, v.Item.ID)
			}
		}
		if strings.HasPrefix(v.Reason, notKept) == v.Keep {
			return fmt.Errorf("1: %q, keep %v: %s", v.Item.ID, v.Keep, v.Reason)
		}
	}
	return nil
}

// group checks what becomes of one group's things, newest first.
func (c *checker) group(group []Item, stays *verdictSet) error {
	var counting []Item
	kept := 0
	for _, item := range group {
		keep := stays.of(item.ID).keep
		switch {
		case keep:
		case !item.Ours:
			return fmt.Errorf("2: %q goes", item.ID)
		case item.Protected != "":
			return fmt.Errorf("3: %q goes", item.ID)
		case item.Time.Year() <= 2005:
			return fmt.Errorf("4: %q goes", item.ID)
		case c.rules.KeepsAll():
			return fmt.Errorf("16: %q goes", item.ID)
		}
		if modelCounts(item) {
			counting = append(counting, item)
			if keep {
				kept++
			}
		}
	}
	if len(counting) > 0 && !stays.of(counting[0].ID).keep {
		return fmt.Errorf("6: the newest, %q, goes", counting[0].ID)
	}
	if i := slices.IndexFunc(counting, func(item Item) bool { return item.Verified }); i >= 0 && !stays.of(counting[i].ID).keep {
		return fmt.Errorf("7: the newest that is verified, %q, goes", counting[i].ID)
	}
	if kept < min(len(counting), max(1, c.rules.Minimum)) {
		return fmt.Errorf("8: %d of %d stay", kept, len(counting))
	}
	if err := c.promises(counting, stays); err != nil {
		return err
	}
	want := modelKept(group, c.rules)
	for _, item := range group {
		if keep := stays.of(item.ID).keep; keep != slices.Contains(want, item.ID) {
			return fmt.Errorf("%q stays: %v, and the model says otherwise", item.ID, keep)
		}
	}
	return nil
}

// promises checks what a person reads from the rules: so many of the newest, the newest of so many hours and days.
func (c *checker) promises(counting []Item, stays *verdictSet) error {
	for i := range counting[:min(c.rules.Last, len(counting))] {
		if !stays.of(counting[i].ID).keep {
			return fmt.Errorf("9: %q goes, one of the newest %d", counting[i].ID, c.rules.Last)
		}
	}
	for period := range 5 {
		if !c.inOrder || period > 2 && c.rules.Weekly > 0 {
			continue
		}
		held := 0
		var last [5]int
		for i := range counting {
			name := modelPeriods(counting[i].Time.In(c.rules.location()))[period]
			if i > 0 && name == last {
				continue
			}
			last = name
			if held++; held > modelCount(c.rules, period) {
				break
			}
			if !stays.of(counting[i].ID).keep {
				return fmt.Errorf("9 and 10: %q goes, the newest of %v, which is one of the newest %d", counting[i].ID, name, modelCount(c.rules, period))
			}
		}
	}
	return nil
}

// otherPrunes checks how a decision goes with others that could have been made.
func (c *checker) otherPrunes(d Decision, stays *verdictSet) error {
	same := func(invariant string, items []Item, rules Rules, now time.Time) error {
		other, err := Decide(items, rules, now)
		if err != nil {
			return fmt.Errorf("%s: %w", invariant, err)
		}
		for i := range other.Verdicts {
			if v := &other.Verdicts[i]; v.Keep != stays.of(v.Item.ID).keep {
				return fmt.Errorf("%s: %q stays: %v, and before %v", invariant, v.Item.ID, v.Keep, !v.Keep)
			}
		}
		return nil
	}
	some := func(take func(*Verdict) bool) []Item {
		c.other = c.other[:0]
		for i := range d.Verdicts {
			if take(&d.Verdicts[i]) {
				c.other = append(c.other, d.Verdicts[i].Item)
			}
		}
		return c.other
	}
	// Two at a time, because each costs as much as all that has been checked before.
	r := c.random
	removed, later := r.IntN(3), c.now.AddDate(r.IntN(60), 0, 0)
	left := some(func(v *Verdict) bool { return v.Keep || r.IntN(2) < removed }) // of what goes: nothing, some, all
	r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	if err := same("11 and 12, what an interrupted prune has left, in another order and later", left, c.rules, later); err != nil {
		return err
	}
	one := oneOf(r, groupOf[:])
	alone := some(func(v *Verdict) bool { return v.Item.Group == one && modelCounts(v.Item) })
	if err := same("5 and 13, a group alone, without what does not count", alone, c.rules, c.now); err != nil {
		return err
	}
	return c.moreKeepMore(stays)
}

// moreKeepMore raises the minimum, or the counts. A minimum is filled up with other things than higher counts would keep, and
// weeks lie in two months.
func (c *checker) moreKeepMore(stays *verdictSet) error {
	r, more := c.random, c.rules
	if c.rules.KeepsAll() {
		return nil // which any count turns into less
	}
	if c.rules.Weekly > 0 || c.rules.Minimum > 1 || chance(r, 2) {
		more.Minimum += r.IntN(4)
	} else {
		for _, count := range []*int{&more.Last, &more.Hourly, &more.Daily, &more.Monthly, &more.Yearly} {
			*count += r.IntN(3)
		}
	}
	d, err := Decide(c.items, more, c.now)
	if err != nil {
		return err
	}
	for i := range d.Verdicts {
		if v := &d.Verdicts[i]; !v.Keep && stays.of(v.Item.ID).keep {
			return fmt.Errorf("14: %q goes with the rules %s, and stays with %s", v.Item.ID, more, c.rules)
		}
	}
	return nil
}
