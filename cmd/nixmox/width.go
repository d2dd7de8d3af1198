package main

import (
	"sort"
	"strings"
	"unicode"
)

// wide are the characters that take two columns: those of width W and F in
// https://www.unicode.org/reports/tr11/, and for emoji whole blocks, since
// terminals do not agree on each. Who counts too many columns leaves a gap;
// who counts too few breaks the line. Sorted, both ends belong to a range.
var wide = [...][2]rune{
	{0x1100, 0x115F}, {0x231A, 0x231B}, {0x2329, 0x232A}, {0x23E9, 0x23F3}, {0x25FD, 0x25FE}, {0x2600, 0x27BF},
	{0x2B1B, 0x2B1C}, {0x2B50, 0x2B55}, {0x2E80, 0x303E}, {0x3041, 0xA4CF}, {0xA960, 0xA97C}, {0xAC00, 0xD7A3},
	{0xF900, 0xFAFF}, {0xFE10, 0xFE19}, {0xFE30, 0xFE6F}, {0xFF01, 0xFF60}, {0xFFE0, 0xFFE6}, {0x16FE0, 0x18DFF},
	{0x1AFF0, 0x1B2FF}, {0x1D300, 0x1D376}, {0x1F000, 0x1FAFF}, {0x20000, 0x3FFFD},
}

// columnsOf is how many columns of a terminal a character takes.
func columnsOf(r rune) int {
	switch {
	case r == '\t':
		return 8 // at most
	case r < ' ':
		return 0
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), r >= 0x1160 && r <= 0x11FF:
		return 0
	}
	i := sort.Search(len(wide), func(i int) bool { return wide[i][1] >= r })
	if i < len(wide) && wide[i][0] <= r {
		return 2
	}
	return 1
}

// textWidth is how many columns a text takes; colours take none.
func textWidth(text string) int {
	n, colour := 0, false
	for _, r := range text {
		switch {
		case colour:
			colour = r != 'm'
		case r == '\x1b':
			colour = true
		default:
			n += columnsOf(r)
		}
	}
	return n
}

// shorten cuts a text without colours to a width, if there is one.
func shorten(text string, width int) string {
	if width <= 0 || len(text) <= width || textWidth(text) <= width {
		return text
	}
	n := 0
	for i, r := range text {
		c := columnsOf(r)
		if n+c > width-1 {
			return text[:i] + "…"
		}
		n += c
	}
	return text
}

// pad makes a text exactly as wide as asked for.
func pad(text string, width int) string {
	text = shorten(text, width)
	return text + strings.Repeat(" ", max(0, width-textWidth(text)))
}

// padLeft is pad for numbers.
func padLeft(text string, width int) string {
	text = shorten(text, width)
	return strings.Repeat(" ", max(0, width-textWidth(text))) + text
}

// oneLine makes of a text what can stand in a row: no line ends or tabs, and
// without what asks for another picture of the character before it, of which
// nobody knows the width.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r >= 0xFE00 && r <= 0xFE0F:
			return -1
		}
		return r
	}, clean(text))
}
