package retention

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata" // the tests name time zones, and a build sandbox may have none

	"pgregory.net/rapid"
)

// at reads a date; where it names no offset, it is UTC.
func at(text string) time.Time {
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	panic("not a date: " + text)
}

func zone(name string) *time.Location {
	location, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return location
}

// ours makes items of one group, each known by its date.
func ours(dates ...string) []Item {
	var items []Item
	for _, date := range dates {
		items = append(items, Item{ID: date, Group: "qemu/101", Time: at(date), Ours: true})
	}
	return items
}

// change alters the item of that ID.
func change(items []Item, id string, alter func(*Item)) []Item {
	for i := range items {
		if items[i].ID == id {
			alter(&items[i])
			return items
		}
	}
	panic("no such item: " + id)
}

// testing.T and rapid.T have this in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func decide(t failer, items []Item, rules Rules, now time.Time) Decision {
	t.Helper()
	decision, err := Decide(items, rules, now)
	if err != nil {
		t.Fatalf("Decide: %v", err)
	}
	if len(decision.Verdicts) != len(items) {
		t.Fatalf("%d verdicts on %d items", len(decision.Verdicts), len(items))
	}
	for _, v := range decision.Verdicts {
		if v.Reason == "" {
			t.Fatalf("no reason given for %s", v.Item.ID)
		}
	}
	return decision
}

// ids are the identities of items, as a set.
func ids(items []Item) map[string]bool {
	set := map[string]bool{}
	for _, item := range items {
		set[item.ID] = true
	}
	return set
}

// wantReasons compares the verdicts with lines of the form "ID: reason", where "-" begins those that go.
func wantReasons(t *testing.T, decision Decision, want ...string) {
	t.Helper()
	var got []string
	for _, v := range decision.Verdicts {
		line := v.Item.ID + ": " + v.Reason
		if !v.Keep {
			line = "-" + line
		}
		got = append(got, line)
	}
	if len(got) != len(want) {
		t.Fatalf("got %d verdicts, want %d:\n%q", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("verdict %d:\n got %s\nwant %s", i, got[i], want[i])
		}
	}
}

var (
	theFirst = at("2026-09-01")
	theLast  = at("2028-02-01")

	// theNow is later than everything that is drawn.
	theNow = theLast.Add(time.Hour)
)

// drawTime finds two items often in one hour, day or week, or days apart.
func drawTime(t *rapid.T) time.Time {
	day := rapid.IntRange(0, 500).Draw(t, "day")
	if rapid.Bool().Draw(t, "close together") {
		day = 50 + day%20
	}
	return theFirst.AddDate(0, 0, day).Add(time.Duration(rapid.IntRange(0, 86399).Draw(t, "second")) * time.Second)
}

// drawItems makes items of all kinds in a few groups.
func drawItems(t *rapid.T) []Item {
	var items []Item
	for g := range rapid.IntRange(1, 3).Draw(t, "groups") {
		ordered := rapid.Bool().Draw(t, "ordered")
		for i := range rapid.IntRange(0, 25).Draw(t, "items") {
			item := Item{
				ID:       fmt.Sprintf("%d-%d", g, i),
				Group:    fmt.Sprintf("group %d", g),
				Time:     drawTime(t),
				Ours:     rapid.IntRange(0, 5).Draw(t, "ours") > 0,
				Verified: rapid.IntRange(0, 3).Draw(t, "verified") == 0,
			}
			if ordered {
				item.Order = rapid.Uint64Range(1, 1000).Draw(t, "order")
			}
			if rapid.IntRange(0, 7).Draw(t, "protected") == 0 {
				item.Protected = "held: send"
			}
			if rapid.IntRange(0, 30).Draw(t, "misdated") == 0 {
				item.Time = time.Unix(0, 0)
			}
			items = append(items, item)
		}
	}
	return items
}

func drawRules(t *rapid.T) Rules {
	var rules Rules
	for _, rule := range rulesInOrder {
		if rapid.Bool().Draw(t, "has "+rule.name) {
			*rule.field(&rules) = rapid.IntRange(0, 6).Draw(t, rule.name)
		}
	}
	rules.Minimum = rapid.IntRange(0, 4).Draw(t, "minimum")
	rules.Location = zone(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kolkata"}).Draw(t, "zone"))
	return rules
}
