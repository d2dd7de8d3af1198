package vzdump

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// mark is what nixmox writes into the notes of an archive that it made:
//
//	db: before the upgrade | nixmox: v=1 run=01K… place=4 playbook=backup
//	the other lines of the note
//
// It ends the first line, because a storage's list shows no other line of the
// notes (recorded on 9.2.11; file_read_firstline in PVE::Storage::Plugin), and
// one request a list is all that a prune should cost. It ends it, and the last
// one in it counts, so that a note, which stands before, cannot forge it. Who
// edits the notes and breaks the mark takes the archive out of nixmox's hands:
// it is then never removed.
type mark struct {
	Run      string
	Place    string // empty in marks that others wrote (the lab's history)
	Playbook string
	// Consistency is that of the copy, empty if nobody wrote it down.
	Consistency string
	Verified    time.Time // zero if nobody has verified it
	SHA256      string    // of the file that was verified
}

// markStart begins a mark: at the start of the line or after a space.
const markStart = "nixmox: v=1 "

var markToken = regexp.MustCompile(`^([a-z][a-z0-9]*)=([A-Za-z0-9._:%+-]+)$`)

// String is the mark as it stands in the notes.
func (m mark) String() string {
	s := markStart + "run=" + escapeValue(m.Run)
	if m.Place != "" {
		s += " place=" + escapeValue(m.Place)
	}
	if m.Playbook != "" {
		s += " playbook=" + escapeValue(m.Playbook)
	}
	if m.Consistency != "" {
		s += " consistency=" + escapeValue(m.Consistency)
	}
	return s + m.verification()
}

func (m mark) verification() string {
	if m.Verified.IsZero() {
		return ""
	}
	return " verified=" + m.Verified.UTC().Format(time.RFC3339) + " sha256=" + escapeValue(m.SHA256)
}

// parseMark finds the mark in notes, whole ones or their first line. Keys that
// it does not know are a later version's and no obstacle; anything else that
// is not exactly a mark is none.
func parseMark(notes string) (mark, bool) {
	start, end := markSpan(notes)
	if start < 0 {
		return mark{}, false
	}
	values := map[string]string{}
	for token := range strings.SplitSeq(notes[start+len("nixmox: "):end], " ") {
		found := markToken.FindStringSubmatch(token)
		if found == nil {
			return mark{}, false
		}
		value, err := unescapeValue(found[2])
		if _, twice := values[found[1]]; twice || err != nil {
			return mark{}, false
		}
		values[found[1]] = value
	}
	m := mark{Run: values["run"], Place: values["place"], Playbook: values["playbook"], Consistency: values["consistency"]}
	if m.Run == "" {
		return mark{}, false
	}
	// A verification that cannot be read is none: then nobody relies on it.
	if at, err := time.Parse(time.RFC3339, values["verified"]); err == nil && values["sha256"] != "" {
		m.Verified, m.SHA256 = at.UTC(), values["sha256"]
	}
	return m, true
}

// markSpan is where the last mark of the first line begins and ends, or -1.
func markSpan(notes string) (start, end int) {
	line, _, _ := strings.Cut(notes, "\n")
	line = strings.TrimRight(line, " \t\r")
	start = strings.LastIndex(line, markStart)
	if start < 0 || start > 0 && line[start-1] != ' ' {
		return -1, -1
	}
	return start, len(line)
}

// withVerification is notes with the verification in their mark replaced, or
// added; every other byte stays. The notes must have a mark.
func withVerification(notes string, at time.Time, sha256 string) string {
	return withTokens(notes, mark{Verified: at, SHA256: sha256}.verification(), "verified=", "sha256=")
}

// withConsistency is notes with the consistency in their mark, in the same way.
func withConsistency(notes, consistency string) string {
	return withTokens(notes, " consistency="+escapeValue(consistency), "consistency=")
}

func withTokens(notes, added string, without ...string) string {
	start, end := markSpan(notes)
	var kept []string
	for token := range strings.SplitSeq(notes[start:end], " ") {
		if !slices.ContainsFunc(without, func(key string) bool { return strings.HasPrefix(token, key) }) {
			kept = append(kept, token)
		}
	}
	return notes[:start] + strings.Join(kept, " ") + added + notes[end:]
}

// templateLimit is how long Proxmox lets a notes-template be, in characters.
const templateLimit = 1024

var (
	// templateVariables are those that Proxmox fills in (vzdump(1)).
	templateVariables = regexp.MustCompile(`\{\{(cluster|guestname|node|vmid)\}\}`)
	templateUnknown   = regexp.MustCompile(`\{\{\S+\}\}`)
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
		if found := templateUnknown.FindString(templateVariables.ReplaceAllString(form, "0")); found != "" {
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

// escapeValue writes what a token cannot hold as %XX. Ids of runs are chosen
// by whoever asks for them, and names of playbooks are file names.
func escapeValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._:+-", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

var percentByte = regexp.MustCompile(`%[0-9A-F]{2}`)

func unescapeValue(s string) (string, error) {
	if strings.Count(s, "%") != len(percentByte.FindAllString(s, -1)) {
		return "", fmt.Errorf("%q is not escaped as this package does", s)
	}
	return percentByte.ReplaceAllStringFunc(s, func(x string) string {
		c, _ := strconv.ParseUint(x[1:], 16, 8) // two digits, by the expression
		return string([]byte{byte(c)})
	}), nil
}
