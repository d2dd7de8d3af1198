package retention

import (
	"fmt"
	"time"
)

// period is a kind of stretch of time of which a rule keeps one item each.
type period struct {
	// coveredReason is why an item goes, of whose period another stays.
	coveredReason string

	// id names the period that holds a moment: equal for two moments exactly when they share the period. The moment comes
	// in the location of the rules.
	id func(time.Time) int64

	// label names the same period for a person.
	label func(time.Time) string
}

var (
	// An hour is known by the moment at which it began, not by what the clock on the wall showed. When the clocks go back,
	// 02:00 to 03:00 comes twice; Proxmox takes the two for one and removes what was made in the first.
	hour = period{
		coveredReason: notKept + ": another of the same hour stays",
		id: func(t time.Time) int64 {
			_, offset := t.Zone()
			return floorTo(secondsOnTheWall(t), 3600) - int64(offset)
		},
		label: func(t time.Time) string { return t.Format("2006-01-02 15:00 Z07:00") },
	}

	day = period{
		coveredReason: notKept + ": another of the same day stays",
		id:            dayNumber,
		label:         func(t time.Time) string { return t.Format(time.DateOnly) },
	}

	// A week is known by its Monday. 1970-01-01 was a Thursday, three days after one. ISO's rules about which year a week
	// belongs to are then needed for the label only, and 2026-12-31 and 2027-01-01 share week 53 without further ado.
	week = period{
		coveredReason: notKept + ": another of the same week stays",
		id:            func(t time.Time) int64 { return floorTo(dayNumber(t)+3, 7) },
		label: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		},
	}

	month = period{
		coveredReason: notKept + ": another of the same month stays",
		id: func(t time.Time) int64 {
			year, month, _ := t.Date()
			return int64(year)*12 + int64(month) - 1
		},
		label: func(t time.Time) string { return t.Format("2006-01") },
	}

	year = period{
		coveredReason: notKept + ": another of the same year stays",
		id:            func(t time.Time) int64 { return int64(t.Year()) },
		label:         func(t time.Time) string { return t.Format("2006") },
	}
)

// dayNumber counts the days of the calendar since 1970-01-01, whatever the length of each.
func dayNumber(t time.Time) int64 {
	return floorTo(secondsOnTheWall(t), 86400) / 86400
}

// secondsOnTheWall is what a Unix clock would show that was set to local time.
func secondsOnTheWall(t time.Time) int64 {
	_, offset := t.Zone()
	return t.Unix() + int64(offset)
}

// floorTo rounds down to a multiple of step, before 1970 too.
func floorTo(n, step int64) int64 {
	return n - ((n%step)+step)%step
}
