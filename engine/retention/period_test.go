package retention

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPeriods(t *testing.T) {
	const berlin, kolkata, lordHowe = "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"
	for _, test := range []struct {
		name   string
		period period
		zone   string
		a, b   string
		same   bool
		label  string // of a
	}{
		{"one hour", hour, "UTC", "2026-11-20T13:00:00Z", "2026-11-20T13:59:59Z", true, "2026-11-20 13:00 Z"},
		{"two hours", hour, "UTC", "2026-11-20T13:59:59Z", "2026-11-20T14:00:00Z", false, "2026-11-20 13:00 Z"},
		{"an hour begins at the half in India", hour, kolkata, "2026-11-20T07:30:00Z", "2026-11-20T08:29:59Z", true, "2026-11-20 13:00 +05:30"},
		{"the clocks go back: the second time is another hour", hour, berlin, "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", false, "2026-10-25 02:00 +02:00"},
		{"the clocks go back: the first time is one hour", hour, berlin, "2026-10-25T00:00:00Z", "2026-10-25T00:59:59Z", true, "2026-10-25 02:00 +02:00"},
		{"the clocks go forward: 01:59 and 03:00", hour, berlin, "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", false, "2026-03-29 01:00 +01:00"},
		{"the clocks go back by half an hour", hour, lordHowe, "2026-04-04T14:59:00Z", "2026-04-04T15:01:00Z", false, "2026-04-05 01:00 +11:00"},
		{"a day by its own midnight", day, berlin, "2026-11-19T23:00:00Z", "2026-11-20T22:59:59Z", true, "2026-11-20"},
		{"two days at midnight", day, berlin, "2026-11-20T22:59:59Z", "2026-11-20T23:00:00Z", false, "2026-11-20"},
		{"a day of 25 hours", day, berlin, "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", true, "2026-10-25"},
		{"after a day of 25 hours", day, berlin, "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z", false, "2026-10-25"},
		{"a day of 23 hours", day, berlin, "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", true, "2026-03-29"},
		{"Monday to Sunday", week, "UTC", "2026-11-16T00:00:00Z", "2026-11-22T23:59:59Z", true, "2026-W47"},
		{"Sunday and Monday", week, "UTC", "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", false, "2026-W47"},
		{"week 53 goes over the new year", week, "UTC", "2026-12-31T12:00:00Z", "2027-01-03T12:00:00Z", true, "2026-W53"},
		{"week 53 is over on Monday", week, "UTC", "2027-01-03T12:00:00Z", "2027-01-04T12:00:00Z", false, "2026-W53"},
		{"week 1 begins in the old year", week, "UTC", "2029-12-31T12:00:00Z", "2030-01-06T12:00:00Z", true, "2030-W01"},
		{"week 1 of two years", week, "UTC", "2029-01-01T12:00:00Z", "2029-12-31T12:00:00Z", false, "2029-W01"},
		{"one month", month, "UTC", "2026-11-01T00:00:00Z", "2026-11-30T23:59:59Z", true, "2026-11"},
		{"one month of two years", month, "UTC", "2026-11-01T00:00:00Z", "2027-11-01T00:00:00Z", false, "2026-11"},
		{"December and January", month, "UTC", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", false, "2026-12"},
		{"the month of the place", month, berlin, "2026-11-30T23:30:00Z", "2026-12-31T22:59:00Z", true, "2026-12"},
		{"one year", year, "UTC", "2026-01-01T00:00:00Z", "2026-12-31T23:59:59Z", true, "2026"},
		{"two years", year, "UTC", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", false, "2026"},
	} {
		t.Run(test.name, func(t *testing.T) {
			location := zone(test.zone)
			a, b := at(test.a).In(location), at(test.b).In(location)
			c := clock{location: location}
			if same := test.period.id(c.moment(a)) == test.period.id(c.moment(b)); same != test.same {
				t.Errorf("%s and %s in the same period: %v, want %v", a, b, same, test.same)
			}
			if label := test.period.label(a); label != test.label {
				t.Errorf("label is %q, want %q", label, test.label)
			}
		})
	}
}

// Two moments share a period exactly when they share its label, before 1970 too: the arithmetic against the calendar of
// the standard library.
func TestPeriodsAreTheirLabels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		location := zone(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"}).Draw(t, "zone"))
		a := time.Unix(rapid.Int64Range(-3e9, 6e9).Draw(t, "a"), 0).In(location)
		reach := rapid.SampledFrom([]int64{3600, 86400, 8 * 86400, 40 * 86400, 400 * 86400}).Draw(t, "reach")
		b := a.Add(time.Duration(rapid.Int64Range(0, reach).Draw(t, "apart")) * time.Second)
		c := clock{location: location}
		one, other := c.moment(a), c.moment(b)
		if again := c.moment(a); again != one {
			t.Fatalf("%s is %v, and %v after %s", a, one, again, b)
		}
		for _, rule := range rulesInOrder[1:] {
			p := rule.period
			if (p.id(one) == p.id(other)) != (p.label(a) == p.label(b)) {
				t.Fatalf("%s: %s and %s are %s and %s, ids %d and %d", rule.name, a, b, p.label(a), p.label(b), p.id(one), p.id(other))
			}
		}
	})
}

// What is remembered of where an offset holds ends at the very second at which the clocks change, from whichever side one comes.
func TestTheOffsetOfEachSecond(t *testing.T) {
	for _, location := range []*time.Location{time.UTC, berlin, newYork, zone("Australia/Lord_Howe"), time.FixedZone("", 19800)} {
		for _, change := range append(clockChanges, at("2026-04-04T15:00:00Z"), at("2026-10-03T15:30:00Z")) {
			c := clock{location: location}
			for _, apart := range []int{-3600, 0, -1, 0, 1, -1, 3600, 0, 1, 0, -3600} {
				at := change.Add(time.Duration(apart) * time.Second)
				_, offset := at.In(location).Zone()
				if got, want := c.moment(at), (moment{at.Unix() + int64(offset), int32(offset)}); got != want {
					t.Errorf("%s at %s: %v, want %v", location, at, got, want)
				}
			}
		}
	}
}
