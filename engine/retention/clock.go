package retention

import (
	"cmp"
	"fmt"
	"time"
)

// ClockTolerance is how far in the future a thing may be dated. Hosts that are kept in time by NTP differ by less than a second;
// minutes are seen where a guest or a storage keeps its own time.
const ClockTolerance = 5 * time.Minute

var (
	// earliestNow is a time that had passed when this was written. A clock that shows less is wrong: a machine whose clock
	// has no battery starts in 1970, or on the day its firmware was built.
	earliestNow = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

	// earliestItem is when ZFS was first released, before Proxmox VE and Nix on servers. A thing with an older date has
	// that date from a wrong clock, or from a program that read none and wrote 0. The first script that nixmox replaces
	// did the latter, took 0 for "long ago", and destroyed every snapshot it had at each run.
	//
	// It is not earliestNow, because an older archive can be taken over by marking it.
	earliestItem = time.Date(2005, time.November, 1, 0, 0, 0, 0, time.UTC)
)

// ClockError says that the clock looks wrong, and so nothing was decided. It shows what was seen; exactly one of Earliest and
// Future is set.
type ClockError struct {
	// Now is what the clock showed.
	Now time.Time

	// Earliest is set if Now is before it, which cannot be.
	Earliest time.Time

	// Future is how many things of nixmox's own are dated later than Now by more than ClockTolerance.
	Future int

	// Furthest is the one of them that is dated latest.
	Furthest Item
}

// Error says what was seen, what that means and what to do.
func (e *ClockError) Error() string {
	const nothing = "nothing is pruned, because the clock looks wrong: "
	if !e.Earliest.IsZero() {
		return nothing + fmt.Sprintf("it shows %s, and that was over before nixmox was made (%s). "+
			"Check the clock of the machine that runs nixmox (timedatectl), set it right, and prune again.",
			stamp(e.Now), e.Earliest.Format(time.DateOnly))
	}
	count := "1 thing is"
	if e.Future > 1 {
		count = fmt.Sprintf("%d things are", e.Future)
	}
	return nothing + fmt.Sprintf("it shows %s, and %s dated in the future, the furthest is %q with %s (%s ahead). "+
		"Check the clock of the machine that runs nixmox (timedatectl) and of the one where %[3]q was made. "+
		"If both are right by now, it was made while one of them was wrong: "+
		"remove it by hand, or wait until its date has passed, and prune again.",
		stamp(e.Now), count, e.Furthest.ID, stamp(e.Furthest.Time), distance(e.Now, e.Furthest.Time))
}

// checkClock looks for signs that now is wrong or that something was made while it was. A clock that is too far ahead cannot be
// told from a machine that was off, and does no harm here until it is set right: what was made meanwhile is then in the future.
func checkClock(items []Item, now time.Time) error {
	now = now.Round(0) // the dates come from elsewhere, so only the wall clock compares
	if now.Before(earliestNow) {
		return &ClockError{Now: now, Earliest: earliestNow}
	}
	latest := now.Add(ClockTolerance)
	var wrong ClockError
	for i := range items {
		if !items[i].Ours || !items[i].Time.After(latest) {
			continue
		}
		wrong.Future++
		if wrong.Future == 1 || cmp.Or(items[i].Time.Compare(wrong.Furthest.Time), cmp.Compare(wrong.Furthest.ID, items[i].ID)) > 0 {
			wrong.Furthest = items[i]
		}
	}
	if wrong.Future == 0 {
		return nil
	}
	wrong.Now = now
	return &wrong
}

// dateIsWrong reports whether the date of something cannot be true, so that its age is not known.
func dateIsWrong(t time.Time) bool {
	return t.Before(earliestItem)
}

func stamp(t time.Time) string {
	return t.Format(time.RFC3339)
}

// distance is how far apart two times are, as one says it; hours mean little beyond two days. It counts the days itself, because
// a time.Duration ends at 292 years, and wrong clocks do not.
func distance(from, to time.Time) string {
	if days := (to.Unix() - from.Unix()) / 86400; days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return to.Sub(from).Round(time.Second).String()
}
