package retention

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestClockThatLooksWrong(t *testing.T) {
	for _, test := range []struct {
		name  string
		items []Item
		now   string
		want  []string // in the error; none: it is believed
	}{
		{"just taken", ours("2026-11-20 12:00:00"), "2026-11-20 12:00:00", nil},
		{"a little ahead", ours("2026-11-20 12:05:00"), "2026-11-20 12:00:00", nil},
		{"too far ahead", ours("2026-11-20 12:05:01"), "2026-11-20 12:00:00",
			[]string{"1 thing is dated in the future", `"2026-11-20 12:05:01"`, "2026-11-20T12:05:01Z (5m1s ahead)", "timedatectl", "remove it by hand"}},
		{"years ahead", ours("2026-11-19", "2036-11-20", "2037-11-20", "2026-11-18"), "2026-11-20",
			[]string{"it shows 2026-11-20T00:00:00Z", "2 things are dated", `the furthest is "2037-11-20"`, "(4018 days ahead)"}},
		{"centuries ahead", ours("9999-12-31"), "2026-11-20", []string{"(2912119 days ahead)"}},
		{"not quite two days ahead", ours("2026-11-21 23:59:59"), "2026-11-20", []string{"(47h59m59s ahead)"}},
		{"no battery", ours("2026-11-19"), "1970-01-01 00:03", []string{"it shows 1970-01-01T00:03:00Z", "before nixmox was made (2026-01-01)", "timedatectl"}},
		{"no battery, and nothing there", nil, "1970-01-01", []string{"1970-01-01"}},
		{"off for years", ours("2026-11-19"), "2036-01-01", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			decision, err := Decide(test.items, Rules{Last: 1}, at(test.now))
			if test.want == nil {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var clock *ClockError
			if !errors.As(err, &clock) {
				t.Fatalf("error is %v, want a ClockError", err)
			}
			if len(decision.Verdicts) != 0 {
				t.Errorf("decided all the same: %v", decision)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %s", part, err)
				}
			}
		})
	}
}

// One wrong date stops the prune of all groups: a clock is wrong for all of them or for none.
func TestOneWrongDateStopsAllGroups(t *testing.T) {
	items := ours("2026-11-18", "2026-11-19")
	items = append(items, Item{ID: "ahead", Group: "lxc/200", Time: at("2027-01-01"), Ours: true, Protected: "held: send"})
	var clock *ClockError
	if _, err := Decide(items, Rules{Last: 1}, at("2026-11-20")); !errors.As(err, &clock) || clock.Furthest.ID != "ahead" {
		t.Errorf("got %v", err)
	}
}

// What others made says nothing about our clocks, and they could stop our prune for ever.
func TestOthersMayLiveInTheFuture(t *testing.T) {
	items := append(ours("2026-11-18", "2026-11-19"), Item{ID: "theirs", Group: "qemu/101", Time: at("2099-01-01")})
	wantReasons(t, decide(t, items, Rules{Last: 1}, at("2026-11-20")),
		"theirs: not made by nixmox",
		"2026-11-19: last 1 of 1",
		"-2026-11-18: no rule keeps it: older than the rules reach",
	)
}

// Of two that are dated alike, the same one is named however the list came.
func TestTheErrorIsTheSameInAnyOrder(t *testing.T) {
	a := Item{ID: "a", Time: at("2030-01-01"), Ours: true}
	b := Item{ID: "b", Time: at("2030-01-01"), Ours: true}
	_, one := Decide([]Item{a, b}, Rules{}, at("2026-11-20"))
	_, two := Decide([]Item{b, a}, Rules{}, at("2026-11-20"))
	if one == nil || two == nil || one.Error() != two.Error() {
		t.Errorf("%v\n%v", one, two)
	}
}

// A time from time.Now carries a monotonic reading, which must not take part.
func TestMonotonicClockIsNotUsed(t *testing.T) {
	now := time.Now()
	item := Item{ID: "a", Time: now.Add(time.Minute), Ours: true}
	if _, err := Decide([]Item{item}, Rules{Last: 1}, now); err != nil {
		t.Error(err)
	}
}
