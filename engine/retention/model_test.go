package retention

import (
	"cmp"
	"slices"
	"time"
)

// What follows says once more what is to stay: slowly, from the package's documentation, sharing nothing with it, with the
// calendar of the standard library and no table of anything.

// modelNewer compares two things by age.
func modelNewer(a, b Item) int {
	if a.Order != b.Order {
		return cmp.Compare(b.Order, a.Order)
	}
	if !a.Time.Equal(b.Time) {
		return b.Time.Compare(a.Time)
	}
	return cmp.Compare(b.ID, a.ID)
}

// modelCounts reports whether rules may decide on a thing.
func modelCounts(item Item) bool {
	return item.Ours && item.Protected == "" && item.Time.Year() > 2005
}

// modelBelieves reports whether the clock looks right.
func modelBelieves(items []Item, now time.Time) bool {
	if now.Year() < 2026 {
		return false
	}
	for _, item := range items {
		if item.Ours && item.Time.Sub(now) > 5*time.Minute {
			return false
		}
	}
	return true
}

// modelPeriods names the hour, day, week, month and year of a moment.
func modelPeriods(t time.Time) (names [5][5]int) {
	year, month, day := t.Date()
	_, offset := t.Zone()
	isoYear, isoWeek := t.ISOWeek()
	return [5][5]int{{year, int(month), day, t.Hour(), offset}, {year, int(month), day}, {isoYear, isoWeek}, {year, int(month)}, {year}}
}

func modelCount(rules Rules, period int) int {
	return [5]int{rules.Hourly, rules.Daily, rules.Weekly, rules.Monthly, rules.Yearly}[period]
}

// modelKept are the IDs that stay of one group.
func modelKept(group []Item, rules Rules) []string {
	var stay []string
	var counting []Item
	for _, item := range group {
		if modelCounts(item) {
			counting = append(counting, item)
		} else {
			stay = append(stay, item.ID)
		}
	}
	slices.SortFunc(counting, modelNewer)
	location := rules.Location
	if location == nil {
		location = time.UTC
	}
	periods := make([][5][5]int, len(counting))
	for i := range counting {
		periods[i] = modelPeriods(counting[i].Time.In(location))
	}
	nothing := rules.Last+rules.Hourly+rules.Daily+rules.Weekly+rules.Monthly+rules.Yearly == 0
	kept, dropped := make([]bool, len(counting)), make([]bool, len(counting))
	for i := range counting {
		kept[i] = nothing || i < rules.Last
	}
	for p := range 5 {
		before := slices.Clone(kept)
		for i, used := 0, 0; i < len(counting) && modelCount(rules, p) > 0; i++ {
			covered, taken := false, false
			for j := range counting {
				if periods[j][p] == periods[i][p] {
					covered = covered || before[j]
					taken = taken || kept[j] && !before[j]
				}
			}
			switch {
			case kept[i] || dropped[i] || covered:
			case taken:
				dropped[i] = true
			case used < modelCount(rules, p):
				used++
				kept[i] = true
			}
		}
	}
	for i := range counting {
		if counting[i].Verified {
			kept[i] = true
			break
		}
	}
	staying := 0
	for i := range kept {
		if kept[i] {
			staying++
		}
	}
	for i := range kept {
		if !kept[i] && staying < max(1, rules.Minimum) {
			kept[i] = true
			staying++
		}
		if kept[i] {
			stay = append(stay, counting[i].ID)
		}
	}
	return stay
}
