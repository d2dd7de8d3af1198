package main

import (
	"fmt"
	"html"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// docs/live.svg is a screen of the live view as it really was. Times, rates
// and the order in which nodes answer differ from run to run; the rest does not.
func TestLivePicture(t *testing.T) {
	t.Parallel()
	args := []string{"run", "backup", "--guests", "100-105,108"}
	s := startSession(t, 104, 24, []string{"vzdump:103=fail", "vzdump:105=hang"}, nil, args...)
	s.until(`^100 \(nixos-vm\) +started`, `^101 \(nixos-ct\) +started`, `^104 \(web1\) +started`)
	s.lab.Advance(10 * time.Second)
	s.lab.Advance(10 * time.Second)
	s.until(`^103 \(router\) +started`, `^108 \(stopped-vm\) +started`)
	s.lab.Advance(20 * time.Second)
	s.until(`^100 \(nixos-vm\) +█+░+ +\d\d% `, `x 2.2.2 103 \(router\): failed: `, `^105 \(web2\) +started`, `^108 \(stopped-vm\) +█+░+ +\d\d% `)
	s.mu.Lock()
	picture := s.screen.svg("nixmox run backup --guests 100-105,108")
	s.mu.Unlock()
	const path = "../../docs/live.svg"
	if *update {
		if err := os.WriteFile(path, []byte(picture), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want, got := wordsOf(string(kept)), wordsOf(picture); !slices.Equal(want, got) {
		t.Errorf("docs/live.svg is not what is seen (go test ./cmd/nixmox -run LivePicture -update):\n%s\nseen:\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
}

var (
	svgTags  = regexp.MustCompile(`<[^>]*>`)
	numbers  = regexp.MustCompile(`\d+`)
	runIDs   = regexp.MustCompile(`run 01[0-9A-Z]{24}`)
	barParts = regexp.MustCompile(`[█░]+`)
)

// wordsOf is what a picture says, without numbers, in an order of its own.
func wordsOf(svg string) []string {
	text := runIDs.ReplaceAllString(html.UnescapeString(svgTags.ReplaceAllString(svg, "")), "run")
	text = barParts.ReplaceAllString(numbers.ReplaceAllString(text, "0"), "█")
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	slices.Sort(lines)
	return lines
}

// svg draws what is seen, below the command that was typed.
func (m *terminal) svg(command string) string {
	const column, row, left, first = 7.83, 17, 20, 30
	colors := map[string]string{"": "#c9d1d9", faint: "#7d8590", red: "#f87171", green: "#4ade80", yellow: "#facc15"}
	lines := m.lines[m.top:]
	for len(lines) > 0 && len(lines[len(lines)-1].cells) == 0 {
		lines = lines[:len(lines)-1]
	}
	width, height := int(2*left+column*float64(m.width)), first+row*(len(lines)+1)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="13"><rect width="100%%" height="100%%" rx="8" fill="#0d1117"/>`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<text x="%d" y="%d" xml:space="preserve"><tspan fill="#ffffff">$ %s</tspan></text>`+"\n", left, first, html.EscapeString(command))
	for i, l := range lines {
		fmt.Fprintf(&b, `<text x="%d" y="%d" xml:space="preserve">`, left, first+row*(i+1))
		for from := 0; from < len(l.cells); {
			to, text := from, ""
			for ; to < len(l.cells) && l.cells[to].color == l.cells[from].color; to++ {
				text += l.cells[to].text
			}
			fmt.Fprintf(&b, `<tspan fill="%s">%s</tspan>`, colors[l.cells[from].color], html.EscapeString(text))
			from = to
		}
		b.WriteString("</text>\n")
	}
	return b.String() + "</svg>\n"
}
