package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

// calendarNow is when the prunes of these tests are made, a Tuesday.
var calendarNow = time.Date(2026, time.November, 24, 3, 0, 0, 0, time.UTC)

// decided is what retention says of items, as the modules hand it on.
func decided(t testing.TB, rules string, items []retention.Item) []builtin.Dated {
	t.Helper()
	r, err := retention.ParseRules(rules)
	if err != nil {
		t.Fatal(err)
	}
	d, err := retention.Decide(items, r, calendarNow)
	if err != nil {
		t.Fatal(err)
	}
	var out []builtin.Dated
	for _, keep := range []bool{true, false} {
		for _, v := range d.Verdicts {
			if v.Keep == keep {
				_, name, _ := strings.Cut(v.Item.ID, "@")
				out = append(out, builtin.Dated{Group: v.Item.Group, Name: name, Time: v.Item.Time, Stays: v.Keep, Why: v.Reason})
			}
		}
	}
	return out
}

// every makes a thing of each group at each step back from a time.
func every(groups, things int, from time.Time, step time.Duration) []retention.Item {
	var items []retention.Item
	for g := range groups {
		for i := range things {
			at := from.Add(-time.Duration(i) * step)
			group := fmt.Sprintf("rpool/data/vm-%d-disk-0", 100+g)
			items = append(items, retention.Item{ID: group + "@" + at.Format("auto-20060102T1504"), Group: group, Time: at, Order: uint64(things - i), Ours: true})
		}
	}
	return items
}

const allRules = "last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=2"

// guestsAtNight are backups of three guests, one after the other, and what
// else lies beside them.
func guestsAtNight() []retention.Item {
	var items []retention.Item
	for g := range 3 {
		for day := range 12 {
			at := calendarNow.AddDate(0, 0, -day).Add(time.Duration(g*20-70) * time.Minute)
			group := "guest " + strconv.Itoa(99+g)
			items = append(items, retention.Item{ID: group + "@" + fmt.Sprintf("vzdump-qemu-%d-%s.vma.zst", 99+g, at.Format("2006_01_02-15_04_05")), Group: group, Time: at, Ours: day != 4, Verified: day == 10})
		}
	}
	items[0].Protected = "protected in Proxmox"
	return append(items,
		retention.Item{ID: "guest 7@from 1970", Group: "guest 7", Time: time.Unix(0, 0), Ours: true},
		retention.Item{ID: "guest 7@of no date", Group: "guest 7", Ours: true},
		retention.Item{ID: "guest 7@\x1b[2Jevil\nname", Group: "guest 7", Time: calendarNow.AddDate(-1, 0, 0)},
	)
}

// unlike are groups none of which has the calendar of another.
func unlike(groups int) []retention.Item {
	var items []retention.Item
	for g := range groups {
		for i := range 2 + g%3 {
			at := calendarNow.AddDate(0, 0, -g-i*(g+1))
			group := fmt.Sprintf("tank/%d", g)
			items = append(items, retention.Item{ID: fmt.Sprintf("%s@%d", group, i), Group: group, Time: at, Ours: true})
		}
	}
	return items
}

func TestCalendar(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		name  string
		list  []builtin.Dated
		style style
	}{
		{"three snapshots", decided(t, "last=1,daily=1", every(1, 3, calendarNow, 20*time.Hour)), style{}},
		{"three snapshots, 30 columns", decided(t, "last=1,daily=1", every(1, 3, calendarNow, 20*time.Hour)), style{width: 30}},
		{"one each hour, for three days", decided(t, "last=3,hourly=12,daily=7", every(1, 72, calendarNow, time.Hour)), style{width: 100}},
		{"one each 15 minutes, for 14 months, of one dataset", decided(t, allRules, every(1, 40_000, calendarNow, 15*time.Minute)), style{width: 80}},
		{"100,000, of 1,000 datasets", decided(t, allRules, every(1000, 100, calendarNow, 5*time.Hour)), style{}},
		{"the same, in 50 columns", decided(t, allRules, every(1000, 100, calendarNow, 5*time.Hour)), style{width: 50}},
		{"guests at night, and what else lies there", decided(t, "last=2,daily=5", guestsAtNight()), style{width: 100}},
		{"in colour", decided(t, "last=1", every(2, 2, calendarNow, time.Hour)), style{width: 100, color: true}},
		{"each named", decided(t, "daily=3", slices.Concat(every(2, 4, calendarNow, 6*time.Hour), guestsAtNight()[:4])), style{each: true}},
		{"forty groups that differ", decided(t, "daily=2", unlike(40)), style{width: 70}},
		{"nothing goes", decided(t, "", every(2, 12, calendarNow, 24*time.Hour)), style{}},
	} {
		text := string(appendCalendar(nil, c.list, c.style))
		fmt.Fprintf(&b, "-- %s --%s\n", c.name, strings.ReplaceAll(text, "\x1b", "ESC"))
		for line := range strings.Lines(text) {
			if w := textWidth(strings.TrimSuffix(line, "\n")); c.style.width > 0 && w > c.style.width {
				t.Errorf("%s: %d columns: %q", c.name, w, line)
			}
		}
	}
	path := filepath.Join("testdata", "calendar.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != b.String() {
		t.Errorf("%v: it is not as in %s (-update):\n%s", err, path, b.String())
	}
}

// Whatever is decided, each thing is counted on one line of its part, the lines
// are few, and none is wider than the terminal.
func TestCalendarCountsEachThingOnce(t *testing.T) {
	reasons := []string{"last 1 of 3", "daily 3 of 7 (2026-11-20)", "minimum, 2 of 3", "protected: held: 3 of 5 (x)", "not made by nixmox", "no rule keeps it: older than the rules reach",
		"", " of ", "1 of 2", "a of 2", "a 1 of b", "(", " ()", "x 99999999999999999999 of 2", "\x1b[2J\n"}
	rapid.Check(t, func(t *rapid.T) {
		var list []builtin.Dated
		for range rapid.IntRange(1, 200).Draw(t, "things") {
			x := builtin.Dated{
				Group: rapid.SampledFrom([]string{"a", "b", "guest 9", "guest 10"}).Draw(t, "group"), Name: rapid.SampledFrom([]string{"", "n", "a longer name"}).Draw(t, "name"),
				Stays: rapid.Bool().Draw(t, "stays"), Why: rapid.SampledFrom(reasons).Draw(t, "why"),
			}
			if !rapid.Bool().Draw(t, "undated") {
				x.Time = calendarNow.Add(-time.Duration(rapid.IntRange(0, 100).Draw(t, "hours")) * 7 * time.Hour)
			}
			list = append(list, x)
		}
		each, shown := rapid.Bool().Draw(t, "each"), 0
		for _, p := range newCalendar(list, each) {
			rows, stay, gone := p.rows(each), 0, 0
			for i := range rows {
				for _, s := range rows[i].segments {
					if s.stays {
						stay += s.n
					} else {
						gone += s.n
					}
				}
			}
			if stay != p.stay || gone != p.gone || !each && len(rows) > maxRows {
				t.Fatalf("%d rows have %d that stay and %d that go, want %d and %d", len(rows), stay, gone, p.stay, p.gone)
			}
			shown += (stay + gone) * len(p.groups)
		}
		if shown != len(list) {
			t.Fatalf("%d of %d things are shown", shown, len(list))
		}
		s := style{each: each, width: rapid.IntRange(30, 130).Draw(t, "width"), color: rapid.Bool().Draw(t, "colour")}
		for line := range strings.Lines(string(appendCalendar(nil, list, s))) {
			if line = strings.TrimSuffix(line, "\n"); textWidth(line) > s.width {
				t.Fatalf("%d columns of %d: %q", textWidth(line), s.width, line)
			} else if !s.color && strings.ContainsRune(line, '\x1b') {
				t.Fatalf("it steers the terminal: %q", line)
			}
		}
	})
}

func TestNatural(t *testing.T) {
	want := []string{"guest", "guest 7", "guest 99", "guest 100", "guest 100a", "rpool/data/vm-100-disk-2", "rpool/data/vm-100-disk-10"}
	got := slices.Clone(want)
	slices.Sort(got)
	if slices.Equal(got, want) {
		t.Fatal("they are in order as they are")
	}
	if slices.SortFunc(got, natural); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func BenchmarkCalendar100000(b *testing.B) {
	for _, groups := range []int{1, 1000} {
		list := decided(b, allRules, every(groups, 100_000/groups, calendarNow, 15*time.Minute))
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				appendCalendar(nil, list, style{})
			}
		})
	}
}
