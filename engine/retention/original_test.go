package retention

import (
	"fmt"
	"testing"
	"time"
)

// Each test here is named after something that the scripts before nixmox did wrong, or that users of other tools suffered.

// v1 of the snapshot script destroyed every snapshot at every run, the one just taken included.
func TestOriginalDestroyedTheOneJustTaken(t *testing.T) {
	now := at("2026-11-20 15:30:00")
	justTaken := ours("2026-11-20 15:30:00")
	for _, rule := range rulesInOrder {
		var rules Rules
		*rule.field(&rules) = 1
		if gone := decide(t, justTaken, rules, now).Removed(); len(gone) != 0 {
			t.Errorf("%s removes the one just taken", rules)
		}
		// The second of them may come after the clock was read.
		both := append(ours("2026-11-19 15:30:00"), Item{ID: "new", Group: "qemu/101", Time: now.Add(time.Second), Ours: true})
		if kept := ids(decide(t, both, rules, now).Kept()); !kept["new"] {
			t.Errorf("%s removes the one just taken", rules)
		}
	}
}

// It did so because a date that it could not read became 0, and 0 was older than any limit.
func TestOriginalTookAnUnreadDateForAnOldOne(t *testing.T) {
	items := ours("2026-11-20", "2026-11-19")
	items = append(items,
		Item{ID: "read as 0", Group: "qemu/101", Time: time.Unix(0, 0), Ours: true},
		Item{ID: "not read", Group: "qemu/101", Ours: true},
	)
	wantReasons(t, decide(t, items, Rules{Last: 1}, at("2026-11-21")),
		"2026-11-20: last 1 of 1",
		"-2026-11-19: no rule keeps it: older than the rules reach",
		"read as 0: its date (1970-01-01) cannot be right, so its age is not known; remove it by hand if it is not needed",
		"not read: its date is not known, so neither is its age; remove it by hand if it is not needed",
	)
}

// v2 destroyed whatever had a name that began with "auto-".
func TestOriginalDestroyedTheUsersOwnSnapshots(t *testing.T) {
	var items []Item
	for i, name := range []string{"rpool@auto-precious-manual", "rpool/data/vm-100-disk-0@auto-2020"} {
		items = append(items, Item{ID: name, Group: "rpool", Time: at("2020-01-01").AddDate(0, 0, i)})
	}
	items = append(items,
		Item{ID: "rpool@nixmox-1", Group: "rpool", Time: at("2026-11-19"), Ours: true},
		Item{ID: "rpool@nixmox-2", Group: "rpool", Time: at("2026-11-20"), Ours: true},
	)
	wantReasons(t, decide(t, items, Rules{Last: 1}, at("2026-11-21")),
		"rpool@nixmox-2: last 1 of 1",
		"-rpool@nixmox-1: no rule keeps it: older than the rules reach",
		"rpool/data/vm-100-disk-0@auto-2020: not made by nixmox",
		"rpool@auto-precious-manual: not made by nixmox",
	)
}

// A user's newer snapshots must not push ours out, nor ours be kept for being older than they are.
func TestOthersDoNotUseUpTheCount(t *testing.T) {
	items := ours("2026-11-18", "2026-11-19", "2026-11-20")
	for i := range items[1:] {
		items[1+i].Ours = false
	}
	if gone := decide(t, items, Rules{Last: 1}, at("2026-11-21")).Removed(); len(gone) != 0 {
		t.Errorf("removes %v, the only one of ours", gone)
	}
}

// v1 pruned the pool's root dataset only, and the snapshots of all the others grew for ever.
func TestOriginalPrunedTheRootDatasetOnly(t *testing.T) {
	var items []Item
	for _, dataset := range []string{"rpool", "rpool/data", "rpool/data/vm-100-disk-0"} {
		for day := range 5 {
			items = append(items, Item{ID: fmt.Sprintf("%s@%d", dataset, day), Group: dataset, Time: at("2026-11-10").AddDate(0, 0, day), Ours: true})
		}
	}
	removed := map[string]int{}
	for _, item := range decide(t, items, Rules{Daily: 2}, at("2026-11-21")).Removed() {
		removed[item.Group]++
	}
	for dataset, n := range removed {
		if n != 3 {
			t.Errorf("%s: removes %d of 5, want 3", dataset, n)
		}
	}
	if len(removed) != 3 {
		t.Errorf("prunes %v only", removed)
	}
}

// Limits by age took the last good copies when backups had failed for weeks, or the machine had been off for longer than that.
func TestRetentionByAgeAteTheLastCopies(t *testing.T) {
	items := ours("2026-03-01", "2026-03-02", "2026-03-03")
	for _, now := range []string{"2026-03-04", "2026-09-01", "2031-01-01"} {
		if gone := decide(t, items, Rules{Daily: 3}, at(now)).Removed(); len(gone) != 0 {
			t.Errorf("on %s: removes %v, though there are no others", now, gone)
		}
	}
	// The first new one after the pause takes the place of the oldest, not of all three.
	gone := decide(t, append(items, ours("2026-09-01")...), Rules{Daily: 3}, at("2026-09-01 01:00")).Removed()
	if len(gone) != 1 || gone[0].ID != "2026-03-01" {
		t.Errorf("after the pause: removes %v", gone)
	}
}

// Younger copies that nobody has read pushed out the last one known to be good.
func TestUnreadCopiesDoNotPushOutTheVerifiedOne(t *testing.T) {
	items := ours("2026-11-10", "2026-11-11", "2026-11-18", "2026-11-19", "2026-11-20")
	for _, id := range []string{"2026-11-10", "2026-11-11"} {
		change(items, id, func(i *Item) { i.Verified = true })
	}
	wantReasons(t, decide(t, items, Rules{Last: 2}, at("2026-11-21")),
		"2026-11-20: last 1 of 2",
		"2026-11-19: last 2 of 2",
		"-2026-11-18: no rule keeps it: older than the rules reach",
		"2026-11-11: newest verified",
		"-2026-11-10: no rule keeps it: older than the rules reach",
	)
}

// A held copy that is verified may go once it is released, so it does not stand in for the newest verified one that is free.
func TestAHeldCopyDoesNotStandInForTheVerifiedOne(t *testing.T) {
	items := ours("2026-11-18", "2026-11-19", "2026-11-20")
	change(items, "2026-11-18", func(i *Item) { i.Verified = true })
	change(items, "2026-11-19", func(i *Item) { i.Verified, i.Protected = true, "held: send" })
	wantReasons(t, decide(t, items, Rules{Last: 1}, at("2026-11-21")),
		"2026-11-20: last 1 of 1",
		"2026-11-19: protected: held: send",
		"2026-11-18: newest verified",
	)
}

// Snapshots were named by the minute in local time, so the hour that comes twice had one name for two.
func TestOriginalMergedTheHourThatComesTwice(t *testing.T) {
	items := ours("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00")
	rules := Rules{Hourly: 2, Location: zone("Europe/Berlin")}
	wantReasons(t, decide(t, items, rules, at("2026-10-25 12:00")),
		"2026-10-25T02:30:00+01:00: hourly 1 of 2 (2026-10-25 02:00 +01:00)",
		"2026-10-25T02:30:00+02:00: hourly 2 of 2 (2026-10-25 02:00 +02:00)",
	)
}
