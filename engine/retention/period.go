package retention

import (
	"fmt"
	"math"
	"time"
)

// moment is a time as it is counted: of each thing it is found once, and then asked for up to five periods.
type moment struct {
	wall   int64 // what a Unix clock would show that was set to local time
	offset int32 // of local time to UTC, in seconds
}

// clock turns times into moments of a location. Where an offset holds is looked up once for many times that follow one another,
// since it changes twice a year and looking it up costs more than all the rest.
type clock struct {
	location   *time.Location
	from, till int64 // Unix seconds between which offset holds; nothing if equal
	offset     int32
}

func (c *clock) moment(t time.Time) moment {
	seconds := t.Unix()
	if seconds < c.from || seconds >= c.till {
		local := t.In(c.location)
		_, offset := local.Zone()
		start, end := local.ZoneBounds()
		c.from, c.till, c.offset = start.Unix(), end.Unix(), int32(offset)
		if start.IsZero() {
			c.from = math.MinInt64
		}
		if end.IsZero() {
			c.till = math.MaxInt64
		}
	}
	return moment{seconds + int64(c.offset), c.offset}
}

// period is a kind of stretch of time of which a rule keeps one item each.
type period struct {
	// coveredReason is why an item goes, of whose period another stays.
	coveredReason string

	// id names the period that holds a moment: equal for two moments exactly when they share the period.
	id func(moment) int64

	// label names the same period for a person. The time comes in the location of the rules.
	label func(time.Time) string
}

var (
	// An hour is known by the moment at which it began, not by what the clock on the wall showed. When the clocks go back,
	// 02:00 to 03:00 comes twice; Proxmox takes the two for one and removes what was made in the first.
	hour = period{
		coveredReason: notKept + ": another of the same hour stays",
		id:            func(m moment) int64 { return floorTo(m.wall, 3600) - int64(m.offset) },
		label:         func(t time.Time) string { return t.Format("2006-01-02 15:00 Z07:00") },
	}

	day = period{
		coveredReason: notKept + ": another of the same day stays",
		id:            moment.day,
		label:         func(t time.Time) string { return t.Format(time.DateOnly) },
	}

	// A week is known by its Monday. 1970-01-01 was a Thursday, three days after one. ISO's rules about which year a week
	// belongs to are then needed for the label only, and 2026-12-31 and 2027-01-01 share week 53 without further ado.
	week = period{
		coveredReason: notKept + ": another of the same week stays",
		id:            func(m moment) int64 { return floorTo(m.day()+3, 7) },
		label: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		},
	}

	month = period{
		coveredReason: notKept + ": another of the same month stays",
		id: func(m moment) int64 {
			year, month, _ := m.date()
			return int64(year)*12 + int64(month) - 1
		},
		label: func(t time.Time) string { return t.Format("2006-01") },
	}

	year = period{
		coveredReason: notKept + ": another of the same year stays",
		id: func(m moment) int64 {
			year, _, _ := m.date()
			return int64(year)
		},
		label: func(t time.Time) string { return t.Format("2006") },
	}
)

// day counts the days of the calendar since 1970-01-01, whatever the length of each.
func (m moment) day() int64 { return floorTo(m.wall, 86400) / 86400 }

func (m moment) date() (year int, month time.Month, day int) {
	return time.Unix(m.wall, 0).UTC().Date()
}

// floorTo rounds down to a multiple of step, before 1970 too.
func floorTo(n, step int64) int64 {
	return n - ((n%step)+step)%step
}
