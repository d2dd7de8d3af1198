package vzdump

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	marks "nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/pattern"
)

// mark is the one that stands in the notes of an archive.
type mark = marks.Mark

// templateLimit is how long Proxmox lets a notes-template be, in characters.
const templateLimit = 1024

var (
	// templateVariables are those that Proxmox fills in (vzdump(1)).
	templateVariables = pattern.Of(`\{\{(cluster|guestname|node|vmid)\}\}`)
	templateUnknown   = pattern.Of(`\{\{\S+\}\}`)
)

// notesTemplate makes the notes-template of a backup: the guest's name and the
// note's first line, the mark, then the other lines of the note. A template is
// one line in which \n and \\ stand for a line feed and a backslash; {{…}} can
// not be escaped, and one that Proxmox does not know is refused by it.
func notesTemplate(note string, m mark) (string, error) {
	if !utf8.ValidString(note) {
		return "", fmt.Errorf("the note is no valid UTF-8")
	}
	if i := strings.IndexFunc(note, func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }); i >= 0 {
		return "", fmt.Errorf("the note has the control character %q", note[i])
	}
	text := notesText(note, m)
	template := strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(text)
	// Proxmox looks for unknown variables before it unescapes (9.x) and after (7.x).
	for _, form := range []string{template, text} {
		if found := templateUnknown().FindString(templateVariables().ReplaceAllString(form, "0")); found != "" {
			return "", fmt.Errorf("the note has %q, and Proxmox would take that for a variable; it knows {{guestname}}, {{vmid}}, {{node}} and {{cluster}}", found)
		}
	}
	if n := utf8.RuneCountInString(template); n > templateLimit {
		return "", fmt.Errorf("the note is too long: with the mark it has %d characters, and Proxmox takes %d", n, templateLimit)
	}
	return template, nil
}

// notesText is what the template stands for, its variables not filled in.
func notesText(note string, m mark) string {
	first, rest, more := strings.Cut(note, "\n")
	text := "{{guestname}}"
	if first != "" {
		text += ": " + first
	}
	text += " | " + m.String()
	if more {
		text += "\n" + rest
	}
	return text
}
