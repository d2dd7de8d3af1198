package main

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// calendarPart is the calendar of groups that have the same one: on the same
// days the same things stay and go for the same reasons. A thousand datasets
// that were always snapshotted together have one; so have guests whose backups
// begin one after the other, though at different times of the day.
type calendarPart struct {
	groups     []string
	things     []calendarThing // of each group, the newest first
	stay, gone int             // how many of each group stay and go
}

// calendarThing is one thing of each group of a part.
type calendarThing struct {
	day      int64 // since 1970, UTC; noDay if the date is not known
	from, to time.Time
	name     string // if it is the same in all groups
	planned  bool
	stays    bool
	why      string
}

const noDay = -1 << 62

func dayOf(t time.Time) int64 {
	if t.IsZero() {
		return noDay
	}
	return (t.Unix() - ((t.Unix()%86400)+86400)%86400) / 86400
}

// newCalendar finds the groups that have the same calendar. Where each thing is
// to be named, only those of the same names have.
func newCalendar(list []builtin.Dated, named bool) []calendarPart {
	byGroup := map[string][]builtin.Dated{}
	var groups []string
	for from := 0; from < len(list); {
		till := from + 1
		for till < len(list) && list[till].Group == list[from].Group {
			till++
		}
		group := list[from].Group
		if byGroup[group] == nil {
			groups = append(groups, group)
		}
		byGroup[group] = append(byGroup[group], list[from:till]...)
		from = till
	}
	slices.SortFunc(groups, func(a, b string) int { return cmp.Or(natural(a, b), cmp.Compare(a, b)) })

	var parts []calendarPart
	alike, seed := map[uint64][]int{}, maphash.MakeSeed()
	for _, group := range groups {
		things := byGroup[group]
		slices.SortStableFunc(things, func(a, b builtin.Dated) int { return b.Time.Compare(a.Time) })
		hash := hashOf(seed, things)
		at := slices.IndexFunc(alike[hash], func(i int) bool { return parts[i].is(things, named) })
		if at >= 0 {
			parts[alike[hash][at]].add(group, things)
			continue
		}
		alike[hash] = append(alike[hash], len(parts))
		parts = append(parts, newPart(group, things))
	}
	// What goes is what one looks for.
	slices.SortStableFunc(parts, func(a, b calendarPart) int { return cmp.Compare(min(b.gone, 1), min(a.gone, 1)) })
	return parts
}

func hashOf(seed maphash.Seed, things []builtin.Dated) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for i := range things {
		x := &things[i]
		maphash.WriteComparable(&h, dayOf(x.Time))
		maphash.WriteComparable(&h, x.Stays)
		_, _ = h.WriteString(x.Why) // it cannot fail
	}
	return h.Sum64()
}

func newPart(group string, things []builtin.Dated) calendarPart {
	p := calendarPart{groups: []string{group}, things: make([]calendarThing, len(things))}
	for i := range things {
		x := &things[i]
		p.things[i] = calendarThing{day: dayOf(x.Time), from: x.Time, to: x.Time, name: x.Name, planned: x.Name == "", stays: x.Stays, why: x.Why}
		if x.Stays {
			p.stay++
		} else {
			p.gone++
		}
	}
	return p
}

// is reports whether a group has the part's calendar.
func (p *calendarPart) is(things []builtin.Dated, named bool) bool {
	if len(things) != len(p.things) {
		return false
	}
	for i := range things {
		x, y := &things[i], &p.things[i]
		if dayOf(x.Time) != y.day || x.Stays != y.stays || x.Why != y.why || (x.Name == "") != y.planned || named && x.Name != y.name {
			return false
		}
	}
	return true
}

func (p *calendarPart) add(group string, things []builtin.Dated) {
	p.groups = append(p.groups, group)
	for i := range things {
		x, y := &things[i], &p.things[i]
		if x.Time.Before(y.from) {
			y.from = x.Time
		}
		if x.Time.After(y.to) {
			y.to = x.Time
		}
		if x.Name != y.name {
			y.name = ""
		}
	}
}

// cause is a reason without what is particular to one thing: by which rule as
// which of how many it stays, or why it goes.
type cause struct {
	text    string
	nth, of int // 0 where nothing is counted
}

// causeOf reads a reason of retention: "daily 3 of 7 (2026-11-20)", "minimum,
// 2 of 3", "no rule keeps it: another of the same day stays", and anything
// else as it stands.
func causeOf(why string) cause {
	text := strings.TrimPrefix(why, "no rule keeps it: ")
	counted := text
	if i := strings.LastIndex(counted, " ("); i > 0 && strings.HasSuffix(counted, ")") {
		counted = counted[:i] // the period, which the line's date says
	}
	i := strings.LastIndex(counted, " of ")
	if i < 0 {
		return cause{text: text}
	}
	head, of := counted[:i], counted[i+len(" of "):]
	j := strings.LastIndexByte(head, ' ')
	if j < 0 || digits(of) != len(of) || digits(head[j+1:]) != len(head)-j-1 { // most that go end here: another of the same day
		return cause{text: text}
	}
	most, err := strconv.Atoi(of)
	nth, errNth := strconv.Atoi(head[j+1:])
	if err != nil || errNth != nil {
		return cause{text: text}
	}
	return cause{strings.TrimSuffix(head[:j], ","), nth, most}
}

// natural compares names as people order them: guest 99 before guest 100.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x > 0 && y > 0 {
			m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
			if c := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); c != 0 {
				return c
			}
			a, b = a[x:], b[y:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}
