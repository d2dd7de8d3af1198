package retention

import (
	"strings"
	"testing"
)

func TestReasons(t *testing.T) {
	now := at("2036-11-22")
	for _, test := range []struct {
		name  string
		items []Item
		rules Rules
		want  []string
	}{
		{"nothing there", nil, Rules{Last: 1}, nil},
		{"no rules keep all", ours("2026-11-20", "2026-11-19"), Rules{}, []string{
			"2026-11-20: the rules keep all",
			"2026-11-19: the rules keep all",
		}},
		{"one of each rule",
			ours("2026-11-20 12:40", "2026-11-20 12:20", "2026-11-20 11:00", "2026-11-19", "2026-11-18", "2026-11-12", "2026-10-02", "2026-09-30", "2025-06-01", "2024-06-01"),
			Rules{Last: 1, Hourly: 1, Daily: 1, Weekly: 1, Monthly: 1, Yearly: 1}, []string{
				"2026-11-20 12:40: last 1 of 1",
				"-2026-11-20 12:20: no rule keeps it: another of the same hour stays",
				"2026-11-20 11:00: hourly 1 of 1 (2026-11-20 11:00 Z)",
				"2026-11-19: daily 1 of 1 (2026-11-19)",
				"-2026-11-18: no rule keeps it: another of the same week stays",
				"2026-11-12: weekly 1 of 1 (2026-W46)",
				"2026-10-02: monthly 1 of 1 (2026-10)",
				"-2026-09-30: no rule keeps it: another of the same year stays",
				"2025-06-01: yearly 1 of 1 (2025)",
				"-2024-06-01: no rule keeps it: older than the rules reach",
			}},
		{"an hour with one that stays uses up no count", ours("2026-11-20 12:40", "2026-11-20 12:20", "2026-11-20 11:00"), Rules{Last: 1, Daily: 1}, []string{
			"2026-11-20 12:40: last 1 of 1",
			"-2026-11-20 12:20: no rule keeps it: another of the same day stays",
			"-2026-11-20 11:00: no rule keeps it: another of the same day stays",
		}},
		{"the newest of a day stands for it", ours("2026-11-20 01:00", "2026-11-20 23:00", "2026-11-19 05:00"), Rules{Daily: 2}, []string{
			"2026-11-20 23:00: daily 1 of 2 (2026-11-20)",
			"-2026-11-20 01:00: no rule keeps it: another of the same day stays",
			"2026-11-19 05:00: daily 2 of 2 (2026-11-19)",
		}},
		{"the minimum is filled with the newest", ours("2026-11-20 23:00", "2026-11-20 12:00", "2026-11-20 01:00", "2026-11-20 00:00"), Rules{Daily: 7, Minimum: 3}, []string{
			"2026-11-20 23:00: daily 1 of 7 (2026-11-20)",
			"2026-11-20 12:00: minimum, 2 of 3",
			"2026-11-20 01:00: minimum, 3 of 3",
			"-2026-11-20 00:00: no rule keeps it: another of the same day stays",
		}},
		{"the 24431st day is not the 24431st month", ours("2036-11-21", "2035-12-01"), Rules{Daily: 1, Monthly: 1}, []string{
			"2036-11-21: daily 1 of 1 (2036-11-21)",
			"2035-12-01: monthly 1 of 1 (2035-12)",
		}},
		{"a count beyond what is there", ours("2026-11-20", "2026-11-19"), Rules{Last: 1 << 62}, []string{
			"2026-11-20: last 1 of 4611686018427387904",
			"2026-11-19: last 2 of 4611686018427387904",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantReasons(t, decide(t, test.items, test.rules, now), test.want...)
		})
	}
}

// A snapshot taken while the clock was slow is the newest all the same.
func TestOrderOfCreationBeatsTheDate(t *testing.T) {
	items := ours("2026-11-18", "2026-11-19", "2026-11-10")
	for i := range items {
		items[i].Order = uint64(100 + i)
	}
	wantReasons(t, decide(t, items, Rules{Last: 2}, at("2026-11-21")),
		"2026-11-10: last 1 of 2",
		"2026-11-19: last 2 of 2",
		"-2026-11-18: no rule keeps it: older than the rules reach",
	)
}

// Two can be taken in one second; both count, and which is newer is always told alike.
func TestTwoInOneSecond(t *testing.T) {
	moment := at("2026-11-20 12:00:00")
	items := []Item{
		{ID: "b", Time: moment, Ours: true},
		{ID: "c", Time: moment, Ours: true},
		{ID: "a", Time: moment, Ours: true},
	}
	wantReasons(t, decide(t, items, Rules{Last: 2}, moment),
		"c: last 1 of 2",
		"b: last 2 of 2",
		"-a: no rule keeps it: older than the rules reach",
	)
}

func TestFractionsOfASecondCount(t *testing.T) {
	moment := at("2026-11-20 12:00:00")
	items := []Item{{ID: "b", Time: moment, Ours: true}, {ID: "a", Time: moment.Add(1), Ours: true}}
	wantReasons(t, decide(t, items, Rules{Last: 1}, moment),
		"a: last 1 of 1",
		"-b: no rule keeps it: older than the rules reach",
	)
}

func TestRemovedIsOldestFirst(t *testing.T) {
	gone := decide(t, ours("2026-11-20", "2026-11-17", "2026-11-19", "2026-11-18"), Rules{Last: 1}, at("2026-11-21")).Removed()
	if len(gone) != 3 || gone[0].ID != "2026-11-17" || gone[2].ID != "2026-11-19" {
		t.Errorf("got %v", gone)
	}
}

func TestInputThatContradictsItself(t *testing.T) {
	two := ours("2026-11-19", "2026-11-20")
	mixed := change(ours("2026-11-19", "2026-11-20"), "2026-11-19", func(i *Item) { i.Order = 7 })
	for _, test := range []struct {
		name  string
		items []Item
		rules Rules
		want  string
	}{
		{"a negative count", two, Rules{Last: 1, Weekly: -2}, "weekly is -2"},
		{"a negative minimum", two, Rules{Last: 1, Minimum: -1}, "minimum is -1"},
		{"an ID twice", append(two, two[0]), Rules{Last: 1}, `"2026-11-19" is in the list twice`},
		{"an ID twice, in two groups", append(two, Item{ID: "2026-11-19", Group: "other"}), Rules{Last: 1}, "twice"},
		{"no ID", append(two, Item{Group: "lxc/200"}), Rules{Last: 1}, `group "lxc/200" has no ID`},
		{"order known of some", mixed, Rules{Last: 1}, "known of 1 things and not of 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			decision, err := Decide(test.items, test.rules, at("2026-11-21"))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
			if len(decision.Verdicts) != 0 {
				t.Errorf("decided all the same")
			}
		})
	}
}

// Found by rapid: where dates contradict the order of creation, something that goes (b) came between two of one week (a, c), and
// decided by its mere presence whether c stayed. A second prune then removed what the first had kept.
func TestWhatGoesDecidesNothing(t *testing.T) {
	items := []Item{
		{ID: "a", Time: at("2026-11-01"), Order: 4, Ours: true}, // week 44 of the year, November
		{ID: "b", Time: at("2026-11-03"), Order: 3, Ours: true}, // week 45, November
		{ID: "c", Time: at("2026-10-31"), Order: 2, Ours: true}, // week 44, October
		{ID: "d", Time: at("2026-10-20"), Order: 1, Ours: true},
	}
	rules := Rules{Weekly: 1, Monthly: 1}
	wantReasons(t, decide(t, items, rules, at("2026-11-05")),
		"a: weekly 1 of 1 (2026-W44)",
		"-b: no rule keeps it: another of the same month stays",
		"-c: no rule keeps it: another of the same week stays",
		"d: monthly 1 of 1 (2026-10)",
	)
}

// The day on which the clocks change is one day, and beside it each hour is one: in spring 02:00 does not exist, in autumn it
// comes twice.
func TestBothClockChanges(t *testing.T) {
	for _, test := range []struct {
		name, zone string
		items      []Item
		rules      Rules
		want       []string
	}{
		{"spring, hours", "Europe/Berlin", ours("2026-03-29T01:59:00+01:00", "2026-03-29T03:01:00+02:00", "2026-03-29T03:59:00+02:00"), Rules{Hourly: 2}, []string{
			"2026-03-29T03:59:00+02:00: hourly 1 of 2 (2026-03-29 03:00 +02:00)",
			"-2026-03-29T03:01:00+02:00: no rule keeps it: another of the same hour stays",
			"2026-03-29T01:59:00+01:00: hourly 2 of 2 (2026-03-29 01:00 +01:00)",
		}},
		{"spring, a day of 23 hours", "America/New_York", ours("2026-03-07T23:59:00-05:00", "2026-03-08T00:00:00-05:00", "2026-03-08T23:59:00-04:00", "2026-03-09T00:00:00-04:00"), Rules{Daily: 2}, []string{
			"2026-03-09T00:00:00-04:00: daily 1 of 2 (2026-03-09)",
			"2026-03-08T23:59:00-04:00: daily 2 of 2 (2026-03-08)",
			"-2026-03-08T00:00:00-05:00: no rule keeps it: another of the same day stays",
			"-2026-03-07T23:59:00-05:00: no rule keeps it: older than the rules reach",
		}},
		{"autumn, a day of 25 hours", "Europe/Berlin", ours("2026-10-24T23:59:00+02:00", "2026-10-25T00:00:00+02:00", "2026-10-25T23:59:00+01:00"), Rules{Daily: 2}, []string{
			"2026-10-25T23:59:00+01:00: daily 1 of 2 (2026-10-25)",
			"-2026-10-25T00:00:00+02:00: no rule keeps it: another of the same day stays",
			"2026-10-24T23:59:00+02:00: daily 2 of 2 (2026-10-24)",
		}},
		{"autumn, hours of UTC do not come twice", "UTC", ours("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"), Rules{Hourly: 2}, []string{
			"2026-10-25T02:30:00+01:00: hourly 1 of 2 (2026-10-25 01:00 Z)",
			"2026-10-25T02:30:00+02:00: hourly 2 of 2 (2026-10-25 00:00 Z)",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.rules.Location = zone(test.zone)
			wantReasons(t, decide(t, test.items, test.rules, at("2026-12-01")), test.want...)
		})
	}
}

// The newest stays if it is the only one and nobody has read it, whatever rule there is and whatever came of older ones.
func TestTheOnlyOneStays(t *testing.T) {
	for _, rule := range rulesInOrder {
		var rules Rules
		*rule.field(&rules) = 1
		only := ours("2026-11-20")
		if gone := decide(t, only, rules, at("2036-11-21")).Removed(); len(gone) != 0 {
			t.Errorf("%s removes the only one", rules)
		}
		if gone := decide(t, change(ours("2020-01-01", "2026-11-20"), "2020-01-01", func(i *Item) { i.Verified = true }), rules, at("2036-11-21")).Removed(); len(gone) != 0 {
			t.Errorf("%s removes %v: the newest stays, and so does the newest verified", rules, gone)
		}
	}
}
