package retention

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// entry is an item while it is being decided on.
type entry struct {
	item   *Item
	keep   bool
	reason string
}

// group is the entries that share a name, newest first.
type group struct {
	name    string
	entries []entry
}

// intoGroups sorts the items into groups, by name, so that the order in which they came does not matter from here on. It fails
// where the items contradict one another.
func intoGroups(items []Item) ([]group, error) {
	ids := make(map[string]struct{}, len(items))
	sizes := map[string]int{}
	for i := range items {
		item := &items[i]
		if item.ID == "" {
			return nil, fmt.Errorf("retention: a thing in group %q has no ID, so it could not be told which one is to go", item.Group)
		}
		ids[item.ID] = struct{}{}
		if len(ids) == i {
			return nil, fmt.Errorf("retention: %q is in the list twice, so it could both stay and go", item.ID)
		}
		sizes[item.Group]++
	}

	groups := make([]group, 0, len(sizes))
	places := make(map[string]int, len(sizes))
	all := make([]entry, len(items)) // one piece of memory, cut into as many as there are groups
	for i, name := range slices.Sorted(maps.Keys(sizes)) {
		size := sizes[name]
		groups = append(groups, group{name: name, entries: all[:0:size]})
		places[name] = i
		all = all[size:]
	}
	for i := range items {
		g := &groups[places[items[i].Group]]
		g.entries = append(g.entries, entry{item: &items[i]})
	}
	for _, g := range groups {
		if err := g.sortNewestFirst(); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// sortNewestFirst goes by the order of creation where it is known, else by date. The other and the ID break ties, so that there
// is only one possible result.
func (g group) sortNewestFirst() error {
	ordered := 0
	for i := range g.entries {
		if g.entries[i].item.Order != 0 {
			ordered++
		}
	}
	if ordered != 0 && ordered != len(g.entries) {
		return fmt.Errorf("retention: in group %q the order of creation is known of %d things and not of %d others, "+
			"so it cannot be told which is the newest", g.name, ordered, len(g.entries)-ordered)
	}
	slices.SortFunc(g.entries, func(a, b entry) int {
		if byOrder := cmp.Compare(b.item.Order, a.item.Order); byOrder != 0 {
			return byOrder
		}
		if byTime := compareDates(b.item, a.item); byTime != 0 {
			return byTime
		}
		return cmp.Compare(b.item.ID, a.item.ID)
	})
	return nil
}

// compareDates compares the wall clocks. time.Time.Compare would use the monotonic one where both have it, and that one stands
// still while a machine sleeps.
func compareDates(a, b *Item) int {
	if bySecond := cmp.Compare(a.Time.Unix(), b.Time.Unix()); bySecond != 0 {
		return bySecond
	}
	return cmp.Compare(a.Time.Nanosecond(), b.Time.Nanosecond())
}
