package retention

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
)

// entry is an item while it is being decided on.
type entry struct {
	item      *Item
	reason    string
	at        moment
	keep      bool
	discarded bool // a rule has decided against it, and no later one may take it up again
}

// group is the entries that share a name, newest first.
type group struct {
	name    string
	entries []entry
}

// intoGroups sorts the items into groups, by name, so that the order in which they came does not matter from here on. It fails
// where the items contradict one another.
func intoGroups(items []Item) ([]group, error) {
	if err := checkIDs(items); err != nil {
		return nil, err
	}
	sizes := map[string]int{}
	for from := 0; from < len(items); {
		till := sameGroup(items, from)
		sizes[items[from].Group] += till - from
		from = till
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
	for from := 0; from < len(items); {
		till := sameGroup(items, from)
		g := &groups[places[items[from].Group]]
		for ; from < till; from++ {
			g.entries = append(g.entries, entry{item: &items[from]})
		}
	}
	for _, g := range groups {
		if err := g.sortNewestFirst(); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// sameGroup is where those end that follow one another in a list and share a group, which most lists are made of.
func sameGroup(items []Item, from int) int {
	till := from + 1
	for till < len(items) && items[till].Group == items[from].Group {
		till++
	}
	return till
}

// checkIDs finds an ID that is missing or comes twice. It is an open hash table of the places in the list, because a map of a
// hundred thousand names takes longer than all decisions on them.
func checkIDs(items []Item) error {
	size := 8
	for size < 2*len(items) {
		size *= 2
	}
	type slot struct{ hash, place uint32 } // place counts from 1
	table := make([]slot, size)
	seed := maphash.MakeSeed()
	for i := range items {
		item := &items[i]
		if item.ID == "" {
			return fmt.Errorf("retention: a thing in group %q has no ID, so it could not be told which one is to go", item.Group)
		}
		hash := maphash.String(seed, item.ID)
		mine := slot{uint32(hash >> 32), uint32(i) + 1}
		at := hash & uint64(size-1)
		for ; table[at].place != 0; at = (at + 1) & uint64(size-1) {
			if table[at].hash == mine.hash && items[table[at].place-1].ID == item.ID {
				return fmt.Errorf("retention: %q is in the list twice, so it could both stay and go", item.ID)
			}
		}
		table[at] = mine
	}
	return nil
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
	oldestFirst := func(a, b entry) int { return newestFirst(b, a) }
	if slices.IsSortedFunc(g.entries, oldestFirst) { // as ZFS and Proxmox list them
		slices.Reverse(g.entries)
		return nil
	}
	slices.SortFunc(g.entries, newestFirst)
	return nil
}

func newestFirst(a, b entry) int {
	if byOrder := cmp.Compare(b.item.Order, a.item.Order); byOrder != 0 {
		return byOrder
	}
	if byTime := compareDates(b.item, a.item); byTime != 0 {
		return byTime
	}
	return cmp.Compare(b.item.ID, a.item.ID)
}

// compareDates compares the wall clocks. time.Time.Compare would use the monotonic one where both have it, and that one stands
// still while a machine sleeps.
func compareDates(a, b *Item) int {
	if bySecond := cmp.Compare(a.Time.Unix(), b.Time.Unix()); bySecond != 0 {
		return bySecond
	}
	return cmp.Compare(a.Time.Nanosecond(), b.Time.Nanosecond())
}
