package main

import (
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// style is how text looks where it goes.
type style struct {
	color bool // the terminal takes colours and nobody said no
	width int  // columns; 0 for no limit
	dates bool // a date before each line, for files
	each  bool // nothing is left out of a calendar
}

// styleFor looks at where the text goes. https://no-color.org/
func styleFor(w io.Writer) style {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return style{}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = 0
	}
	return style{color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", width: width}
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (s style) paint(color, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// clean takes from a text what would steer a terminal: hosts and guests
// choose many of the words that are shown.
func clean(text string) string {
	if isPrintable(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			return '\uFFFD'
		}
		return r
	}, text)
}

func isPrintable(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < ' ' || c > '~') && c != '\n' {
			return false
		}
	}
	return true
}
