package main

import (
	"fmt"
	"io"
	"strings"
)

// screen is the lower end of a terminal: lines that stay, and under them rows
// that are drawn anew each time. The cursor always rests at the beginning of
// the line below the rows, visible, with no mode changed: whatever ends the
// process leaves a terminal in order. For that, each drawing is one write.
type screen struct {
	w    io.Writer
	rows []string // what is drawn under the lines
	// kept are the lines above, as far up as they can be seen, and width is
	// that of the terminal when it was last drawn: both for narrowing it.
	kept          []string
	width, height int
}

const (
	eraseBelow  = "\x1b[J"
	autowrapOff = "\x1b[?7l"
	autowrapOn  = "\x1b[?7h"
)

// draw writes lines that stay above new rows.
func (s *screen) draw(width, height int, lines, rows []string) {
	var b strings.Builder
	up := len(s.rows)
	narrowed := width < s.width
	if narrowed {
		// Some terminals have broken what is now too long, some have cut it.
		// What is surely ours is as high as it was, and is drawn anew.
		for _, line := range s.kept {
			up += rowsOf(line, s.width)
		}
	}
	if up > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", up)
	}
	b.WriteString("\r" + eraseBelow)
	if narrowed {
		for _, line := range s.kept {
			b.WriteString(line + "\n")
		}
	}
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	for _, row := range rows {
		// A terminal that takes a character for wider than we do cuts the row.
		b.WriteString(autowrapOff + row + autowrapOn + "\n")
	}
	_, _ = io.WriteString(s.w, b.String()) // the writer remembers its errors
	s.width, s.height, s.rows = width, height, rows
	s.keep(lines)
}

// keep remembers the last lines, as many as the terminal shows.
func (s *screen) keep(lines []string) {
	s.kept = append(s.kept, lines...)
	n := 0
	for i := len(s.kept) - 1; i >= 0; i-- {
		if n += rowsOf(s.kept[i], s.width); n >= s.height {
			s.kept = append([]string(nil), s.kept[i:]...)
			return
		}
	}
}

// forget leaves the rows where they are: somebody else has written below.
func (s *screen) forget() { s.rows, s.kept = nil, nil }

// rowsOf is how many rows of a terminal a line takes.
func rowsOf(line string, width int) int {
	return max(1, (textWidth(line)+width-1)/width)
}
