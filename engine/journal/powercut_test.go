package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

// cut is what the disk holds at one instant, and what was recorded by then.
type cut struct {
	db, wal, shm []byte
	entries      []Entry
}

// takeCuts records a run and copies the files at every commit. Checkpoints
// come every few pages, so that the cuts catch them and logs begun anew.
func takeCuts(t *testing.T) []cut {
	dir := t.TempDir()
	db := open(t, dir)
	r := begin(t, db, newRun("r1"))
	ok(t, db.exec("PRAGMA wal_autocheckpoint=7"))
	file := func(suffix string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, fileName+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		return b
	}
	var cuts []cut
	db.synced = func() { cuts = append(cuts, cut{db: file(""), wal: file("-wal"), shm: file("-shm")}) }
	record := func(err error) { // the commit has been; what it made known is known now
		ok(t, err)
		cuts[len(cuts)-1].entries = r.Entries()
	}
	for i := range 25 {
		read, change := fmt.Sprint(2*i+1), fmt.Sprint(2*i+2)
		ok(t, r.Read(ended(read)))
		record(r.Begun(intent(change)))
		record(r.Handle(builtin.Place(change), "h"+change))
		e := ended(change)
		if i%5 == 0 { // one that takes several pages
			e.Result = fmt.Appendf(nil, `{"log":%q}`, strings.Repeat("x", 9000))
		}
		record(r.Ended(e))
	}
	if len(cuts) != 75 {
		t.Fatalf("%d commits, want 75", len(cuts))
	}
	return cuts
}

// reopen opens what a cut left, and answers what is recorded there.
func (c cut) reopen(t *testing.T) []Entry {
	t.Helper()
	dir := t.TempDir()
	for suffix, b := range map[string][]byte{"": c.db, "-wal": c.wal, "-shm": c.shm} {
		if b != nil {
			ok(t, os.WriteFile(filepath.Join(dir, fileName+suffix), b, 0o600))
		}
	}
	db := open(t, dir)
	sound(t, db)
	r := resume(t, db, "r1")
	entries := r.Entries()
	ok(t, r.Begun(intent("after.1.1"))) // and it goes on
	ok(t, r.Close())
	ok(t, db.Close())
	return entries
}

// TestPowerCut: the files as they are at every commit, with every state of
// the index that nobody syncs, hold all that was acknowledged.
func TestPowerCut(t *testing.T) {
	for i, c := range takeCuts(t) {
		garbage := make([]byte, len(c.shm))
		for j := range garbage {
			garbage[j] = byte(rand.Uint32())
		}
		for what, shm := range map[string][]byte{"no": nil, "an old": c.shm, "a garbled": garbage} {
			got := cut{db: c.db, wal: c.wal, shm: shm}.reopen(t)
			same(t, fmt.Sprintf("commit %d with %s index", i, what), got, c.entries)
			if t.Failed() {
				return
			}
		}
	}
}

// TestTornWrites: between two commits the disk may hold any of the sectors
// that were written and not synced. SQLite syncs the log before it touches
// the database, so either the log is torn and the database as before, or the
// log is whole and the database torn. What is recorded is then as at the
// first commit or as at the second.
func TestTornWrites(t *testing.T) {
	cuts := takeCuts(t)
	for i := range len(cuts) - 1 {
		before, after := cuts[i], cuts[i+1]
		for _, torn := range []cut{
			{db: before.db, wal: tear(before.wal, after.wal)},
			{db: tear(before.db, after.db), wal: after.wal},
		} {
			got := torn.reopen(t)
			if reflect.DeepEqual(got, before.entries) {
				continue
			}
			same(t, fmt.Sprintf("between commits %d and %d", i, i+1), got, after.entries)
			if t.Failed() {
				return
			}
		}
	}
}

// tear mixes the sectors of two states of a file.
func tear(before, after []byte) []byte {
	const sector = 512
	if rand.IntN(4) == 0 {
		return before
	}
	mixed := append([]byte{}, before...)
	for at := 0; at < len(after); at += sector {
		if end := min(at+sector, len(after)); rand.IntN(2) == 0 {
			for len(mixed) < end {
				mixed = append(mixed, 0)
			}
			copy(mixed[at:end], after[at:end])
		}
	}
	return mixed
}

// TestCutWhileMade: a power cut while the journal is made leaves what opens.
func TestCutWhileMade(t *testing.T) {
	t.Run("an empty file", func(t *testing.T) {
		dir := t.TempDir()
		ok(t, os.WriteFile(filepath.Join(dir, fileName), nil, 0o600))
		begin(t, open(t, dir), newRun("r1"))
	})
	t.Run("no tables yet", func(t *testing.T) {
		dir := t.TempDir()
		ok(t, prepareFolder(dir))
		raw(t, dir, "PRAGMA journal_mode=WAL")
		begin(t, open(t, dir), newRun("r1"))
	})
	t.Run("at the commit that makes the tables", func(t *testing.T) {
		made := t.TempDir()
		db := open(t, made) // the log holds all of it
		again := t.TempDir()
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(db.file + suffix)
			ok(t, err)
			ok(t, os.WriteFile(filepath.Join(again, fileName+suffix), b, 0o600))
		}
		begin(t, open(t, again), newRun("r1"))
	})
}
