package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A calendar is to be read at a glance, of three things and of a hundred
// thousand: what follows bounds its lines. With -v nothing is left out.
const (
	crowdedDay  = 6  // more things on the latest day, and each hour has a line
	goneRun     = 3  // so many lines on which all goes become one
	alikeRun    = 8  // so many lines that say the same become three
	maxRows     = 40 // of one part
	maxParts    = 8  // with a calendar
	maxHeads    = 20 // with a line each
	widest      = 120
	narrow      = 60
	longestName = 36 // a longer one, an archive's, says guest and date once more
)

// segment is what stays, or goes, by one rule on one line.
type segment struct {
	stays     bool
	cause     cause // nth is the first one's
	last      int   // the last one's nth
	n         int
	from, to  time.Time
	firstName string
	planned   bool
}

// calendarRow is a line: a day, an hour of the latest day, or many of them.
type calendarRow struct {
	day      int64
	sameDay  bool // as the row before: an hour of it
	merged   bool
	segments []segment
}

func (r *calendarRow) add(x *calendarThing) {
	c := causeOf(x.why)
	r.join(segment{stays: x.stays, cause: c, last: c.nth, n: 1, from: x.from, to: x.to, firstName: x.name, planned: x.planned})
}

// join adds things to those that stay or go for the same reason; what stays
// stands before what goes.
func (r *calendarRow) join(more segment) {
	at := len(r.segments)
	for i := range r.segments {
		s := &r.segments[i]
		if s.stays == more.stays && s.cause.text == more.cause.text && s.cause.of == more.cause.of && s.planned == more.planned {
			s.n += more.n
			s.last = more.last
			if more.from.Before(s.from) {
				s.from = more.from
			}
			if more.to.After(s.to) {
				s.to = more.to
			}
			return
		}
		if more.stays && !s.stays {
			at = min(at, i)
		}
	}
	r.segments = slices.Insert(r.segments, at, more)
}

func (r *calendarRow) allGoes() bool { return !r.segments[0].stays }

// alike reports whether two rows say the same of different days.
func (r *calendarRow) alike(o *calendarRow) bool {
	return slices.EqualFunc(r.segments, o.segments, func(a, b segment) bool {
		return a.stays == b.stays && a.cause.text == b.cause.text && a.cause.of == b.cause.of && a.planned == b.planned
	})
}

// rows are the lines of a part.
func (p *calendarPart) rows(each bool) []calendarRow {
	var rows []calendarRow
	for from := 0; from < len(p.things); {
		till := from + 1
		for till < len(p.things) && p.things[till].day == p.things[from].day {
			till++
		}
		byHour := from == 0 && till > crowdedDay
		for i := from; i < till; i++ {
			x := &p.things[i]
			if i == from || each || byHour && x.from.Hour() != p.things[i-1].from.Hour() {
				rows = append(rows, calendarRow{day: x.day, sameDay: i > from})
			}
			rows[len(rows)-1].add(x)
		}
		from = till
	}
	if each {
		return rows
	}
	return shortRows(rows)
}

func shortRows(rows []calendarRow) []calendarRow {
	var out []calendarRow
	for i := 0; i < len(rows); {
		j := i + 1
		if rows[i].allGoes() {
			for j < len(rows) && rows[j].allGoes() {
				j++
			}
			if j-i >= goneRun {
				out = append(out, mergedRow(rows[i:j]))
				i = j
				continue
			}
		} else {
			for j < len(rows) && rows[j].alike(&rows[i]) {
				j++
			}
			if j-i >= alikeRun {
				out = append(out, rows[i], mergedRow(rows[i+1:j-1]), rows[j-1])
				i = j
				continue
			}
		}
		out = append(out, rows[i:j]...)
		i = j
	}
	if len(out) > maxRows {
		out = append(out[:maxRows-1], mergedRow(out[maxRows-1:]))
	}
	return out
}

func mergedRow(rows []calendarRow) calendarRow {
	m := calendarRow{day: rows[0].day, merged: true}
	for i := range rows {
		for _, s := range rows[i].segments {
			m.join(s)
		}
	}
	return m
}

// text is a segment in words, without its mark.
func (s *segment) text(merged, named bool) string {
	var b strings.Builder
	counted := ""
	if s.cause.of > 0 {
		counted = fmt.Sprintf(" %d of %d", s.cause.nth, s.cause.of)
		if s.last != s.cause.nth {
			counted = fmt.Sprintf(" %d–%d of %d", s.cause.nth, s.last, s.cause.of)
		}
	}
	switch {
	case s.n == 1 && !merged:
		if !s.from.IsZero() {
			b.WriteString(hours(s.from, s.to) + " ")
		}
		if named && s.firstName != "" {
			b.WriteString(s.firstName)
			if s.stays {
				b.WriteString(", ")
			} else {
				b.WriteString(" ")
			}
		}
		if !s.stays {
			b.WriteString("goes: ")
		}
	default:
		verb := "go"
		if s.stays {
			verb = "stay"
		}
		if s.n == 1 {
			verb += "s"
			if !s.stays {
				verb = "goes"
			}
		}
		fmt.Fprintf(&b, "%d %s", s.n, verb)
		if !s.from.IsZero() {
			b.WriteString(", " + span(s.from, s.to, merged))
		}
		b.WriteString(": ")
	}
	b.WriteString(s.cause.text + counted)
	if s.planned {
		b.WriteString(", yet to be made")
	}
	return oneLine(b.String())
}

func hours(from, to time.Time) string {
	one, other := from.UTC().Format("15:04"), to.UTC().Format("15:04")
	if one == other {
		return one
	}
	return one + "–" + other
}

// span is from when to when things are, on a line of one day or of many.
func span(from, to time.Time, days bool) string {
	if dayOf(from) == dayOf(to) {
		if days {
			return from.UTC().Format(time.DateOnly) + " " + hours(from, to)
		}
		return hours(from, to)
	}
	return from.UTC().Format(time.DateOnly) + " to " + to.UTC().Format(time.DateOnly)
}
