package retention

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What follows is a second, slow writing of Proxmox's algorithm, from its source (pve-storage 9, src/PVE/Storage.pm, $prune_mark
// and prune_mark_backup_group), close to the letter and sharing nothing with the package, so that each checks the other.

type backup struct {
	id    string
	ctime time.Time // local
	mark  string    // "", keep, remove, protected
}

func pruneMark(backups []*backup, keepCount int, idOf func(time.Time) string) {
	if keepCount == 0 {
		return
	}
	alreadyIncluded, newlyIncluded := map[string]bool{}, map[string]bool{}
	for _, b := range backups {
		if b.mark == "keep" {
			alreadyIncluded[idOf(b.ctime)] = true
		}
	}
	for _, b := range backups {
		id := idOf(b.ctime)
		if b.mark != "" || alreadyIncluded[id] {
			continue
		}
		if newlyIncluded[id] {
			b.mark = "remove"
			continue
		}
		if len(newlyIncluded) >= keepCount {
			break
		}
		newlyIncluded[id] = true
		b.mark = "keep"
	}
}

func pruneMarkBackupGroup(backups []*backup, keep map[string]int) {
	positive := 0
	for _, n := range keep {
		if n > 0 {
			positive++
		}
	}
	if positive == 0 {
		for _, b := range backups {
			if b.mark == "" || b.mark == "remove" {
				b.mark = "keep"
			}
		}
		return
	}
	sort.SliceStable(backups, func(i, j int) bool { return backups[i].ctime.After(backups[j].ctime) })
	pruneMark(backups, keep["keep-last"], func(t time.Time) string { return fmt.Sprint(t.Unix()) })
	pruneMark(backups, keep["keep-hourly"], func(t time.Time) string { return t.Format("15/2/1/2006") })
	pruneMark(backups, keep["keep-daily"], func(t time.Time) string { return t.Format("2/1/2006") })
	pruneMark(backups, keep["keep-weekly"], func(t time.Time) string {
		year, week := t.ISOWeek()
		return fmt.Sprintf("%d/%d", week, year)
	})
	pruneMark(backups, keep["keep-monthly"], func(t time.Time) string { return t.Format("1/2006") })
	pruneMark(backups, keep["keep-yearly"], func(t time.Time) string { return t.Format("2006") })
	for _, b := range backups {
		if b.mark == "" {
			b.mark = "remove"
		}
	}
}

func TestAgreesWithProxmox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		rules.Minimum = 0
		if _, dst := map[string]bool{"UTC": true, "Asia/Kolkata": true}[rules.Location.String()]; !dst {
			rules.Hourly = 0 // the hour that comes twice is the known difference
		}
		times := rapid.SliceOfNDistinct(rapid.Custom(drawTime), 0, 60, time.Time.Unix).Draw(t, "times")

		var items []Item
		var backups []*backup
		for i, when := range times {
			item := Item{ID: fmt.Sprint(i), Time: when, Ours: true}
			b := &backup{id: item.ID, ctime: when.In(rules.Location)}
			if rapid.IntRange(0, 5).Draw(t, "protected") == 0 {
				item.Protected = "protected in Proxmox"
				b.mark = "protected"
			}
			items, backups = append(items, item), append(backups, b)
		}

		pruneMarkBackupGroup(backups, map[string]int{
			"keep-last": rules.Last, "keep-hourly": rules.Hourly, "keep-daily": rules.Daily,
			"keep-weekly": rules.Weekly, "keep-monthly": rules.Monthly, "keep-yearly": rules.Yearly,
		})
		want := map[string]bool{}
		for _, b := range backups {
			if b.mark == "remove" {
				want[b.id] = true
			}
		}
		got := ids(decide(t, items, rules, theNow).Removed())
		if !maps.Equal(got, want) {
			t.Fatalf("with %s, %s: removes %v, Proxmox removes %v", rules, rules.Location,
				slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	})
}

// As a real Proxmox VE 9.2 answered keep-last=1: the newest stays, the protected one stays besides.
func TestAgreesWithARecordedPreview(t *testing.T) {
	items := ours("2026-11-23 12:06:59", "2026-11-23 12:07:11", "2026-11-23 12:07:12", "2026-11-23 12:07:18")
	change(items, "2026-11-23 12:07:11", func(i *Item) { i.Protected = "protected in Proxmox" })
	wantReasons(t, decide(t, items, Rules{Last: 1}, at("2026-11-23 12:08")),
		"2026-11-23 12:07:18: last 1 of 1",
		"-2026-11-23 12:07:12: no rule keeps it: older than the rules reach",
		"2026-11-23 12:07:11: protected: protected in Proxmox",
		"-2026-11-23 12:06:59: no rule keeps it: older than the rules reach",
	)
}

// Known and kept, because Proxmox does it: a week that lies in two months can take the last of the earlier month away.
func TestOneMoreRuleCanKeepLessAsInProxmox(t *testing.T) {
	items := ours("2026-11-01", "2026-10-31") // Sunday and Saturday, week 44
	now := at("2026-11-02")
	if gone := decide(t, items, Rules{Monthly: 2}, now).Removed(); len(gone) != 0 {
		t.Errorf("keep-monthly=2 removes %v", gone)
	}
	wantReasons(t, decide(t, items, Rules{Weekly: 1, Monthly: 2}, now),
		"2026-11-01: weekly 1 of 1 (2026-W44)",
		"-2026-10-31: no rule keeps it: another of the same week stays",
	)
}

// An earlier rule only covers, it does not discard: what it passes over is still there for a longer period.
func TestWhatAnEarlierRuleCoversStaysOpenToLaterOnes(t *testing.T) {
	items := ours("2026-11-01", "2026-10-31")
	wantReasons(t, decide(t, items, Rules{Last: 1, Weekly: 1, Monthly: 1}, at("2026-11-02")),
		"2026-11-01: last 1 of 1",
		"2026-10-31: monthly 1 of 1 (2026-10)",
	)
}
