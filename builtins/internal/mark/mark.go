// Package mark is the sign by which nixmox knows again what it made in Proxmox:
// the same in the notes of an archive and in the description of a snapshot.
// It must not know what it stands on, nor how that is written.
package mark

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Mark is what nixmox writes into the notes of an archive, or the description of
// a snapshot, that it made:
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
type Mark struct {
	Run      string
	Place    string // empty in marks that others wrote (the lab's history)
	Playbook string
	// Consistency is that of a backup's copy, empty if nobody wrote it down.
	Consistency string
	Verified    time.Time // zero if nobody has verified it
	SHA256      string    // of the file that was verified
}

// markStart begins a mark: at the start of the line or after a space.
const markStart = "nixmox: v=1 "

var markToken = regexp.MustCompile(`^([a-z][a-z0-9]*)=([A-Za-z0-9._:%+-]+)$`)

// String is the mark as it stands in the notes.
func (m Mark) String() string {
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

func (m Mark) verification() string {
	if m.Verified.IsZero() {
		return ""
	}
	return " verified=" + m.Verified.UTC().Format(time.RFC3339) + " sha256=" + escapeValue(m.SHA256)
}

// Parse finds the mark in notes, whole ones or their first line. Keys that
// it does not know are a later version's and no obstacle; anything else that
// is not exactly a mark is none.
func Parse(notes string) (Mark, bool) {
	start, end := span(notes)
	if start < 0 {
		return Mark{}, false
	}
	values := map[string]string{}
	for token := range strings.SplitSeq(notes[start+len("nixmox: "):end], " ") {
		found := markToken.FindStringSubmatch(token)
		if found == nil {
			return Mark{}, false
		}
		value, err := unescapeValue(found[2])
		if _, twice := values[found[1]]; twice || err != nil {
			return Mark{}, false
		}
		values[found[1]] = value
	}
	m := Mark{Run: values["run"], Place: values["place"], Playbook: values["playbook"], Consistency: values["consistency"]}
	if m.Run == "" {
		return Mark{}, false
	}
	// A verification that cannot be read is none: then nobody relies on it.
	if at, err := time.Parse(time.RFC3339, values["verified"]); err == nil && values["sha256"] != "" {
		m.Verified, m.SHA256 = at.UTC(), values["sha256"]
	}
	return m, true
}

// WithVerification is notes with the verification in their mark replaced, or
// added; every other byte stays. The notes must have a mark.
func WithVerification(notes string, at time.Time, sha256 string) string {
	return withTokens(notes, Mark{Verified: at, SHA256: sha256}.verification(), "verified=", "sha256=")
}

// WithConsistency is notes with the consistency in their mark, in the same way.
func WithConsistency(notes, consistency string) string {
	return withTokens(notes, " consistency="+escapeValue(consistency), "consistency=")
}

func withTokens(notes, added string, without ...string) string {
	start, end := span(notes)
	var kept []string
	for token := range strings.SplitSeq(notes[start:end], " ") {
		if !slices.ContainsFunc(without, func(key string) bool { return strings.HasPrefix(token, key) }) {
			kept = append(kept, token)
		}
	}
	return notes[:start] + strings.Join(kept, " ") + added + notes[end:]
}

// span is where the last mark of the first line begins and ends, or -1.
func span(notes string) (start, end int) {
	line, _, _ := strings.Cut(notes, "\n")
	line = strings.TrimRight(line, " \t\r")
	start = strings.LastIndex(line, markStart)
	if start < 0 || start > 0 && line[start-1] != ' ' {
		return -1, -1
	}
	return start, len(line)
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
