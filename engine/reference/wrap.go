package reference

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// page collects text, wrapped at a width.
type page struct {
	bytes.Buffer
	width int
}

const (
	defaultWidth = 80
	narrowest    = 40 // below, words would stand alone
)

func newPage(width int) *page {
	if width <= 0 {
		width = defaultWidth
	}
	return &page{width: max(width, narrowest)}
}

// para writes a text indented so far, its spaces as they fall. Blank lines in
// it part paragraphs.
func (p *page) para(indent int, text string) {
	for i, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			p.WriteByte('\n')
		}
		p.words(indent, indent, "", part)
	}
}

// item writes a label and, beside it or below, its text.
func (p *page) item(indent int, label, text string) {
	if text == "" {
		p.words(indent, indent, "", label)
		return
	}
	p.words(indent, indent+4, label+"  ", text)
}

// words fills lines. The first is indented by first and begins with label,
// whose spaces stay; the others are indented by rest.
func (p *page) words(first, rest int, label, text string) {
	line := strings.Repeat(" ", first) + label
	begun := false
	for _, word := range strings.Fields(text) {
		if begun && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > p.width {
			p.WriteString(strings.TrimRight(line, " ") + "\n")
			line, begun = strings.Repeat(" ", rest), false
		}
		if begun {
			line += " "
		}
		line, begun = line+word, true
	}
	p.WriteString(strings.TrimRight(line, " ") + "\n")
}

// block writes lines as they are, indented.
func (p *page) block(indent int, text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		p.WriteString(strings.TrimRight(strings.Repeat(" ", indent)+line, " ") + "\n")
	}
}

func (p *page) heading(text string) { p.WriteString("\n" + text + "\n") }
