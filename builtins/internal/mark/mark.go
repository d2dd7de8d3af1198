// Package mark is the sign by which nixmox knows again what it made in Proxmox:
// the same in the notes of an archive and in the description of a snapshot.
// It must not know what it stands on, nor how that is written.
package mark

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
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
	// Of is the name of what carries the mark, where one could have come from
	// elsewhere: ZFS hands properties down to everything below.
	Of string
	// Consistency is that of a backup's copy, empty if nobody wrote it down.
	Consistency string
	Verified    time.Time // zero if nobody has verified it
	SHA256      string    // of the file that was verified
}

// markStart begins a mark: at the start of the line or after a space.
const markStart = "nixmox: v=1 "

// String is the mark as it stands in the notes.
func (m Mark) String() string {
	s := markStart + "run=" + escapeValue(m.Run)
	if m.Place != "" {
		s += " place=" + escapeValue(m.Place)
	}
	if m.Playbook != "" {
		s += " playbook=" + escapeValue(m.Playbook)
	}
	if m.Of != "" {
		s += " of=" + escapeValue(m.Of)
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
	var m Mark
	var verified, sum string
	var few [8]string
	seen := few[:0]
	for token := range strings.SplitSeq(notes[start+len("nixmox: "):end], " ") {
		key, escaped, ok := cutToken(token)
		if !ok || slices.Contains(seen, key) {
			return Mark{}, false
		}
		seen = append(seen, key)
		value, err := unescapeValue(escaped)
		if err != nil {
			return Mark{}, false
		}
		switch key {
		case "run":
			m.Run = value
		case "place":
			m.Place = value
		case "playbook":
			m.Playbook = value
		case "of":
			m.Of = value
		case "consistency":
			m.Consistency = value
		case "verified":
			verified = value
		case "sha256":
			sum = value
		}
	}
	if m.Run == "" {
		return Mark{}, false
	}
	// A verification that cannot be read is none: then nobody relies on it.
	if verified != "" && sum != "" {
		if at, err := time.Parse(time.RFC3339, verified); err == nil {
			m.Verified, m.SHA256 = at.UTC(), sum
		}
	}
	return m, true
}

// cutToken takes a token of a mark apart, which is
// [a-z][a-z0-9]*=[A-Za-z0-9._:%+-]+. Every archive of every list comes by here.
func cutToken(token string) (key, escaped string, ok bool) {
	key, escaped, ok = strings.Cut(token, "=")
	if !ok || key == "" || key[0] < 'a' || key[0] > 'z' || escaped == "" {
		return "", "", false
	}
	for i := range len(key) {
		if c := key[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return "", "", false
		}
	}
	for i := range len(escaped) {
		if c := escaped[i]; c != '%' && !plain(c) {
			return "", "", false
		}
	}
	return key, escaped, true
}

// plain reports whether a value may hold the byte as it is.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._:+-", c) >= 0
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
		case plain(c):
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

var percentByte = pattern.Of(`%[0-9A-F]{2}`)

func unescapeValue(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	if strings.Count(s, "%") != len(percentByte().FindAllString(s, -1)) {
		return "", fmt.Errorf("%q is not escaped as this package does", s)
	}
	return percentByte().ReplaceAllStringFunc(s, func(x string) string {
		c, _ := strconv.ParseUint(x[1:], 16, 8) // two digits, by the expression
		return string([]byte{byte(c)})
	}), nil
}
