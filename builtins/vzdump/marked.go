package vzdump

import "time"

// Marked reads the notes of an archive: whether nixmox made it, and when it
// was marked as verified; the zero time if never.
func Marked(notes string) (ours bool, verified time.Time) {
	m, ours := parseMark(notes)
	return ours, m.Verified
}
