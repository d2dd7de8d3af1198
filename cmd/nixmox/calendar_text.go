package main

import (
	"fmt"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// underCall stands before what is said of a call in a plan.
const underCall = "      "

// appendCalendar appends the calendar of a prune.
func appendCalendar(b []byte, list []builtin.Dated, s style) []byte {
	parts := newCalendar(list, s.each)
	stay, gone := 0, 0
	for i := range parts {
		stay += parts[i].stay * len(parts[i].groups)
		gone += parts[i].gone * len(parts[i].groups)
	}
	width := s.width
	if width <= 0 || width > widest {
		width = widest
	}
	title := fmt.Sprintf("%s %d stay, %s %d go; dates are UTC", staysMark, stay, goesMark, gone)
	if !s.each {
		title += "; -v names each"
	}
	for _, line := range wrapped(title, width-len(underCall)) {
		b = append(b, "\n"+underCall+line...)
	}
	for i := range parts {
		if i == maxParts+maxHeads && !s.each {
			return appendRest(b, parts[i:])
		}
		p := &parts[i]
		head := fmt.Sprintf(": %d stay, %d go", p.stay, p.gone)
		if len(p.groups) > 1 {
			head = fmt.Sprintf(": each %d stay, %d go", p.stay, p.gone)
		}
		b = append(b, "\n"+underCall+groupNames(p.groups, width-len(underCall)-len(head))+head...)
		if i < maxParts || s.each {
			b = p.appendRows(b, s, width)
		}
	}
	return b
}

const (
	staysMark = "●"
	goesMark  = "○"
)

func appendRest(b []byte, parts []calendarPart) []byte {
	groups, stay, gone := 0, 0, 0
	for i := range parts {
		groups += len(parts[i].groups)
		stay += parts[i].stay * len(parts[i].groups)
		gone += parts[i].gone * len(parts[i].groups)
	}
	return fmt.Appendf(b, "\n%sand %d more with %d other calendars: %d stay, %d go", underCall, groups, len(parts), stay, gone)
}

// groupNames are as many names as there is room for, and how many more.
func groupNames(groups []string, room int) string {
	text := oneLine(groups[0])
	for i, group := range groups[1:] {
		more := fmt.Sprintf(" and %d more", len(groups)-1-i)
		if next := ", " + oneLine(group); textWidth(text+next+more) <= room || i == len(groups)-2 && textWidth(text+next) <= room {
			text += next
			continue
		}
		return shorten(text, max(8, room-len(more))) + more
	}
	return shorten(text, max(8, room))
}

func (p *calendarPart) appendRows(b []byte, s style, width int) []byte {
	named := s.each
	if !named {
		named = width >= narrow
		for i := range p.things {
			named = named && len(p.things[i].name) <= longestName
		}
	}
	label := len(time.DateOnly)
	if width < narrow {
		label = 0 // it has a line of its own
	}
	margin := "\n" + underCall + "  "
	room := width - len(underCall) - 4 - label
	for _, row := range p.rows(s.each) {
		lead := row.label()
		if label == 0 && lead != "" {
			b = append(b, margin+lead...)
			lead = ""
		}
		used := room // of a line; a full one, so that the first begins one
		for i := range row.segments {
			x := &row.segments[i]
			text := x.text(row.merged, named)
			w := 2 + textWidth(text)
			if label > 0 && used+3+w <= room {
				b, used = append(b, "   "...), used+3+w
			} else {
				b, used = append(b, margin+pad(lead, label)+"  "...), w
				lead = ""
			}
			mark, color := goesMark, red
			if x.stays {
				mark, color = staysMark, green
			}
			for n, line := range wrapped(text, room-2) {
				if n == 0 {
					b = append(b, s.paint(color, mark)+" "...)
				} else {
					b, used = append(b, margin+strings.Repeat(" ", label+4)...), room
				}
				b = append(b, line...)
			}
		}
	}
	return b
}

// wrapped breaks a text into lines of a width, between words where it can.
func wrapped(text string, width int) []string {
	width = max(width, 8)
	var lines []string
	for word := range strings.FieldsSeq(text) {
		if n := len(lines) - 1; n >= 0 && textWidth(lines[n])+1+textWidth(word) <= width {
			lines[n] += " " + word
		} else {
			lines = append(lines, shorten(word, width))
		}
	}
	return lines
}

func (r *calendarRow) label() string {
	switch {
	case r.merged:
		return "…"
	case r.sameDay:
		return ""
	case r.day == noDay:
		return "no date"
	}
	return time.Unix(r.day*86400, 0).UTC().Format(time.DateOnly)
}
