package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// cell is one column of a terminal; the second of a wide character is empty.
type cell struct {
	text  string
	color string // as SGR, "" for none
}

// termLine is a line of a terminal; wrapped ones go on in the next.
type termLine struct {
	cells   []cell
	wrapped bool
}

// terminal is as much of a terminal as nixmox uses; what it does not know is
// an error. Written from ECMA-48 and what xterm does at the last column.
type terminal struct {
	t             *testing.T
	width, height int
	lines         []termLine // with those that were scrolled out
	top           int        // the first line that is seen
	row, col      int        // of the cursor; row from the top of what is seen
	pending       bool       // the last column is written, the next character wraps
	nowrap        bool
	color         string
	rest          string // of a sequence that has begun
	cut           int    // characters that did not fit with autowrap off
	reflows       bool   // it breaks lines anew when it is narrowed
	sgr           int    // colours that were set
}

func newTerminal(t *testing.T, width, height int) *terminal {
	return &terminal{t: t, width: width, height: height, lines: make([]termLine, 1)}
}

func (m *terminal) line() *termLine {
	for len(m.lines) <= m.top+m.row {
		m.lines = append(m.lines, termLine{})
	}
	return &m.lines[m.top+m.row]
}

func (m *terminal) Write(p []byte) (int, error) {
	text := m.rest + string(p)
	m.rest = ""
	for text != "" {
		switch {
		case text[0] == '\r':
			m.col, m.pending, text = 0, false, text[1:]
		case text[0] == '\n':
			m.down()
			text = text[1:]
		case text[0] == '\x1b':
			n := m.escape(text)
			if n == 0 {
				m.rest = text
				return len(p), nil
			}
			text = text[n:]
		case text[0] < ' ' || text[0] == 0x7f:
			m.t.Errorf("a control character %q", text[0])
			text = text[1:]
		default:
			r := []rune(text[:min(len(text), 4)])[0]
			if r == '\uFFFD' && !strings.HasPrefix(text, "\uFFFD") && len(text) < 4 {
				m.rest = text // half a character
				return len(p), nil
			}
			m.put(r)
			text = text[len(string(r)):]
		}
	}
	return len(p), nil
}

func (m *terminal) down() {
	m.pending = false
	m.row++
	if m.row == m.height {
		m.row--
		m.top++
	}
	m.line()
}

func (m *terminal) put(r rune) {
	n := columnsOf(r)
	if n == 0 {
		return
	}
	if m.pending || m.col+n > m.width {
		if m.nowrap {
			m.cut++
			return
		}
		m.line().wrapped = true
		m.down()
		m.col = 0
	}
	l := m.line()
	l.wrapped = false
	for len(l.cells) < m.col+n {
		l.cells = append(l.cells, cell{text: " "})
	}
	l.cells[m.col] = cell{string(r), m.color}
	for i := 1; i < n; i++ {
		l.cells[m.col+i] = cell{}
	}
	m.col += n
	if m.col == m.width {
		m.col, m.pending = m.width-1, true
	}
}

// escape carries a sequence out and says how long it is, 0 if it goes on.
func (m *terminal) escape(text string) int {
	if len(text) < 3 {
		return 0
	}
	end := 2
	for end < len(text) && (text[end] < '@' || text[end] > '~') {
		end++
	}
	if text[1] != '[' {
		m.t.Errorf("an escape sequence %q", text[:2])
		return 2
	}
	if end == len(text) {
		return 0
	}
	n := 0
	_, _ = fmt.Sscan(text[2:end], &n)
	switch what := text[2 : end+1]; {
	case what == "?7l":
		m.nowrap = true
	case what == "?7h":
		m.nowrap = false
	case what == "J":
		m.line().cells = m.line().cells[:min(m.col, len(m.line().cells))]
		m.line().wrapped = false
		m.lines = m.lines[:m.top+m.row+1]
		if at := m.top + m.row; m.col == 0 && at > 0 {
			m.lines[at-1].wrapped = false // it goes on in nothing
		}
	case text[end] == 'A':
		m.row, m.pending = max(0, m.row-max(n, 1)), false
	case text[end] == 'm':
		if m.color = text[2:end]; m.color == "0" {
			m.color = ""
		}
		m.sgr++
	default:
		m.t.Errorf("an escape sequence %q", text[:end+1])
	}
	return end + 1
}

// resize makes the terminal of another size, with the cursor at its line.
func (m *terminal) resize(width, height int) {
	if width < m.width {
		var out []termLine
		cursor := m.top + m.row
		at := 0
		for i, l := range m.lines {
			if i == cursor {
				at = len(out)
			}
			for m.reflows && len(l.cells) > width {
				n := width
				if l.cells[n].text == "" {
					n--
				}
				out = append(out, termLine{cells: l.cells[:n], wrapped: true})
				l.cells = l.cells[n:]
			}
			if !m.reflows && len(l.cells) > width {
				l.cells = l.cells[:width]
			}
			out = append(out, l)
		}
		m.lines = out
		m.top = max(0, at-height+1, min(m.top, at))
		m.row = at - m.top
		m.col = min(m.col, width-1)
	}
	m.width, m.height = width, height
	if m.row >= height {
		m.top += m.row - height + 1
		m.row = height - 1
	}
}

// text is what there is, scrolled out or not, without trailing spaces; what
// the terminal has wrapped is one line.
func (m *terminal) text() string {
	var b strings.Builder
	for _, l := range m.lines {
		for _, c := range l.cells {
			b.WriteString(c.text)
		}
		if !l.wrapped {
			b.WriteByte('\n')
		}
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// seen is what is on the screen now.
func (m *terminal) seen() string {
	seen := *m
	seen.lines = m.lines[min(m.top, len(m.lines)):]
	return seen.text()
}

// openPTY opens a pseudo-terminal: our side, and that of a program.
func openPTY(t *testing.T, width, height int) (ours, its *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	setSize(t, ours, width, height)
	if its, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return ours, its
}

func setSize(t *testing.T, f *os.File, width, height int) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(height), Col: uint16(width)}); err != nil {
		t.Fatal(err)
	}
}
