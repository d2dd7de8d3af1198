package journal

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A change is two commits, three with a handle, and a read none: counted in
// the write-ahead log, where the last frame of a commit carries the size of
// the database (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
func TestCommitsOfACall(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	run, err := db.Begin(NewRun{ID: "01TEST", Playbook: "p", File: "p.star", Began: began, Params: json.RawMessage("{}"), Options: json.RawMessage("{}"),
		Sources: []Source{{Name: "p.star", Shown: "p.star", Text: []byte("x"), Digest: "d"}}, Digest: "d"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := run.Close(); err != nil {
			t.Error(err)
		}
	}()
	entry := Entry{Place: "1", Call: "m.f", Effect: "change", Digest: "d", Args: json.RawMessage("{}"), Begun: began}
	ended := func(e Entry) Entry { e.Ended, e.Result = began, json.RawMessage("1"); return e }
	steps := []struct {
		name string
		do   func() error
		want int
	}{
		{"a read", func() error { e := ended(entry); e.Place, e.Effect = "1", "read"; return run.Read(e) }, 0},
		{"another read", func() error { e := ended(entry); e.Place, e.Effect = "2", "read"; return run.Read(e) }, 0},
		{"an intent, with the reads before it", func() error { e := entry; e.Place = "3"; return run.Begun(e) }, 1},
		{"a handle", func() error { return run.Handle("3", "UPID") }, 1},
		{"an outcome", func() error { e := ended(entry); e.Place = "3"; return run.Ended(e) }, 1},
	}
	for _, s := range steps {
		before := commitsIn(t, filepath.Join(dir, "journal.db-wal"))
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := commitsIn(t, filepath.Join(dir, "journal.db-wal")) - before; got != s.want {
			t.Errorf("%s: %d commits, want %d", s.name, got, s.want)
		}
	}
}

func commitsIn(t *testing.T, wal string) int {
	t.Helper()
	text, err := os.ReadFile(wal)
	if err != nil {
		t.Fatal(err)
	}
	const header, frame = 32, 24
	page := int(binary.BigEndian.Uint32(text[8:]))
	commits := 0
	for at := header; at+frame+page <= len(text); at += frame + page {
		if binary.BigEndian.Uint32(text[at+4:]) != 0 {
			commits++
		}
	}
	return commits
}
