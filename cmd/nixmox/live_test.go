package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

// The rows of one moment, at every width.
func TestRows(t *testing.T) {
	began := time.Date(2026, 6, 17, 2, 0, 0, 0, time.UTC)
	l := live{}
	l.text = textSink{w: &l.lines, style: style{dates: true}}
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	send := func(typ event.Type, place, call, effect string, seconds int, p *builtin.Progress) {
		l.event(event.Event{Type: typ, Time: at(seconds), Place: builtin.Place(place), Call: call, Effect: effect, Progress: p, Text: "storage/backup"})
	}
	const gib = 1 << 30
	send(event.CallBegan, "2.1.2", "vzdump.backup", "change", 0, nil)
	send(event.CallBegan, "2.2.2", "vzdump.backup", "change", 0, nil)
	send(event.CallBegan, "2.3.2", "vzdump.backup", "change", 0, nil)
	send(event.CallBegan, "2.4.1", "vzdump.verify", "read", 5, nil)
	send(event.CallBegan, "2.5.1", "vzdump.prune", "irreversible", 70, nil)
	send(event.CallBegan, "2.6.1", "proxmox.guests", "read", 79, nil)
	send(event.CallProgress, "2.1.2", "vzdump.backup", "change", 1, &builtin.Progress{Subject: "100", Name: "nixos-vm", Step: "guest 100 (1 of 1): started"})
	send(event.CallProgress, "2.1.2", "vzdump.backup", "change", 61, &builtin.Progress{Subject: "100", Name: "nixos-vm", Done: 12 * gib, Total: 32 * gib, Percent: 37, Rate: 210 << 20, Step: "guest 100 (1 of 1): 37% (…"})
	send(event.CallProgress, "2.2.2", "vzdump.backup", "change", 2, &builtin.Progress{Subject: "120", Name: "🦀 東京-データベース", Step: "guest 120: started"})
	send(event.CallProgress, "2.2.2", "vzdump.backup", "change", 60, &builtin.Progress{Subject: "120", Name: "🦀 東京-データベース", Done: 1 << 40, Total: 3 << 40, Percent: 33})
	send(event.CallProgress, "2.3.2", "vzdump.backup", "change", 2, &builtin.Progress{Subject: "101", Name: "ct\x1b[2J\n❤️", Step: "guest 101 (1 of 2): started"})
	send(event.CallProgress, "2.4.1", "vzdump.verify", "read", 10, &builtin.Progress{Done: 5 * gib, Total: 8 * gib, Step: "reading backup:backup/vzdump-qemu-105.vma.zst"})
	send(event.CallWaits, "2.5.1", "vzdump.prune", "irreversible", 71, nil)
	var b strings.Builder
	for _, width := range []int{20, 30, 40, 60, 80, 120, 200} {
		fmt.Fprintf(&b, "-- %d --\n", width)
		for _, row := range rowTexts(l.rows, style{}, width, 24, at(80)) {
			if textWidth(row) >= width {
				t.Errorf("a row of %d in %d columns: %s", textWidth(row), width, row)
			}
			b.WriteString(strings.TrimRight(row, " ") + "\n")
		}
	}
	b.WriteString("-- 60 in a low terminal --\n")
	for _, row := range rowTexts(l.rows, style{}, 60, 6, at(80)) {
		b.WriteString(strings.TrimRight(row, " ") + "\n")
	}
	b.WriteString("-- the lines --\n" + l.lines.String())
	path := filepath.Join("testdata", "rows.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != b.String() {
		t.Errorf("%v: it is not as in %s (-update):\n%s", err, path, b.String())
	}
}

// Ended subjects and calls leave a line and no row.
func TestRowsEnd(t *testing.T) {
	l := live{}
	l.text = textSink{w: &l.lines, style: style{dates: true, width: 60}, live: true}
	at := time.Date(2026, 6, 17, 2, 0, 0, 0, time.UTC)
	send := func(e event.Event) {
		e.Time, e.Place, e.Call, e.Effect = at, "1", "vzdump.backup", "change"
		l.event(e)
	}
	send(event.Event{Type: event.CallBegan})
	send(event.Event{Type: event.CallProgress, Progress: &builtin.Progress{Subject: "100", Step: "guest 100: started"}})
	send(event.Event{Type: event.CallProgress, Progress: &builtin.Progress{Subject: "100", Name: "web", Step: "guest 100: finished", Ended: builtin.SubjectDone, Elapsed: time.Minute}})
	send(event.Event{Type: event.CallProgress, Progress: &builtin.Progress{Subject: "101", Step: "guest 101: failed: no space\x1b[2J", Ended: builtin.SubjectFailed}})
	send(event.Event{Type: event.CallEnded, Took: 61, Fault: &event.Fault{What: "1 of 2 failed"}})
	want := `2026-06-17T02:00:00Z < 1 100 (web): finished (1m0s)
2026-06-17T02:00:00Z x 1 101: failed: no space�[2J
2026-06-17T02:00:00Z x 1 vzdump.backup (1m1s): 1 of 2 failed
`
	if got := l.lines.String(); got != want || len(l.rows) != 0 {
		t.Errorf("%d rows, and\n%s", len(l.rows), got)
	}
}

// Whatever is said, and however the terminal is dragged about: no line that
// stays is lost or altered, the rows stand below them, whole and unwrapped, and the
// terminal is in order after each drawing.
func TestScreen(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("abc 東🦀é\u0301█…")), 0, 70, -1)
	rapid.Check(t, func(r *rapid.T) {
		reflows := rapid.Bool().Draw(r, "reflows")
		m := newTerminal(t, rapid.IntRange(20, 100).Draw(r, "width"), rapid.IntRange(5, 20).Draw(r, "height"))
		m.reflows = reflows
		lineEnds := strings.NewReplacer("\n", "\r\n") // as the terminal's driver does
		said := []string{"what stood there before"}
		_, _ = m.Write([]byte(said[0] + "\r\n"))
		var out strings.Builder
		s := screen{w: &out}
		for i := range rapid.IntRange(1, 12).Draw(r, "frames") {
			if rapid.Bool().Draw(r, "resize") {
				m.resize(rapid.IntRange(20, 100).Draw(r, "width"), m.height)
			}
			var lines, rows []string
			for range rapid.IntRange(0, 3).Draw(r, "lines") {
				lines = append(lines, fmt.Sprintf("%d:%s.", i, word.Draw(r, "line")))
			}
			for range rapid.IntRange(0, min(4, m.height-3)).Draw(r, "rows") {
				rows = append(rows, shorten("# "+word.Draw(r, "row"), m.width-1))
			}
			out.Reset()
			s.draw(m.width, m.height, lines, rows)
			_, _ = m.Write([]byte(lineEnds.Replace(out.String())))
			said = append(said, lines...)
			if m.cut > 0 || m.nowrap || m.col != 0 || len(m.line().cells) > 0 {
				r.Fatalf("cut %d, no wrap %v, column %d", m.cut, m.nowrap, m.col)
			}
			seen := strings.Split(m.seen(), "\n")
			for _, want := range rows {
				if !slices.Contains(seen, strings.TrimRight(visible(want), " ")) {
					r.Fatalf("row %q is not on the screen:\n%s", want, m.seen())
				}
			}
		}
		all := strings.Split(m.text(), "\n")
		for _, want := range said {
			cutAt := len(want)
			if !slices.ContainsFunc(all, func(line string) bool { return line == visible(want[:cutAt]) }) && reflows {
				r.Fatalf("the line %q is lost:\n%s", want, m.text())
			}
			if first := want[:min(len(want), 2)]; !slices.ContainsFunc(all, func(line string) bool { return strings.HasPrefix(line, first) }) {
				r.Fatalf("the line %q is lost:\n%s", want, m.text())
			}
		}
	})
}

// visible is a text as the test's terminal has it, which keeps no accents.
func visible(text string) string { return strings.ReplaceAll(text, "\u0301", "") }

func TestWidths(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "東京": 4, "ｱ": 1, "Ａ": 2, "🦀": 2, "👩‍💻": 4, "한글": 4, "\x1b[31mred\x1b[0m": 3, "█░…": 3, "\u200b": 0,
	} {
		if got := textWidth(text); got != want {
			t.Errorf("%q takes %d columns, not %d", text, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		text, width := rapid.String().Draw(r, "text"), rapid.IntRange(1, 40).Draw(r, "width")
		text = oneLine(text)
		if got := textWidth(shorten(text, width)); got > width {
			r.Errorf("%q is %d wide, not %d", text, got, width)
		}
		if got := textWidth(pad(text, width)); got != width {
			r.Errorf("%q is padded to %d, not %d", text, got, width)
		}
		if strings.ContainsAny(text, "\x1b\r\n\t\u202e") {
			r.Errorf("%q", text)
		}
	})
}
