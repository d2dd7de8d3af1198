package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHistoryIsShared changes the older archives of one estate in all ways there
// are; another one that was made of the same files has its own as they were.
func TestHistoryIsShared(t *testing.T) {
	kept := t.TempDir()
	estate := func() (*Lab, []ArchiveState) {
		l, err := Open(Options{Dir: t.TempDir(), Clock: ClockAuto, Brief: true, History: kept, Begin: time.Date(2026, 6, 17, 12, 0, 0, 0, time.UTC)})
		must(t, err)
		t.Cleanup(func() { must(t, l.Close()) })
		all, err := l.Archives("backup")
		must(t, err)
		return l, all
	}
	one, ones := estate()
	_, others := estate()
	first, err1 := os.Stat(ones[0].File)
	second, err2 := os.Stat(others[0].File)
	if err1 != nil || err2 != nil || !os.SameFile(first, second) {
		t.Fatal("each has files of its own", err1, err2)
	}
	must(t, one.Damage(ones[0].VolID, "flip"))
	must(t, one.Damage(ones[1].VolID, "truncate"))
	must(t, one.RemoveArchive(ones[2].VolID))
	must(t, one.SetNotes(ones[3].VolID, "mine"))
	must(t, one.ServerVerified(ones[4].VolID, "ok"))
	for _, a := range ones {
		if a.Protected {
			must(t, one.Protect(a.VolID, false))
		}
	}
	_, third := estate()
	for _, list := range [][]ArchiveState{others, third} {
		for i, a := range list {
			_, format, _ := strings.Cut(filepath.Base(a.File), ".")
			checkArchive(t, a.File, format)
			a.File, a.VolID = ones[i].File, ones[i].VolID
			if a != ones[i] {
				t.Errorf("%+v is not %+v", a, ones[i])
			}
		}
	}
}
