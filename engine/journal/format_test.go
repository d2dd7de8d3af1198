package journal

import (
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "make the golden journal of the current format anew (before its release only)")

// raw runs SQL on a database without this package.
func raw(t testing.TB, dir string, statements ...string) {
	t.Helper()
	u := url.URL{Scheme: "file", Path: filepath.Join(dir, fileName)}
	db, err := sql.Open("sqlite", u.String())
	ok(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// golden is what the golden journals hold: a run in doubt.
func golden(t *testing.T, db *DB) {
	r := begin(t, db, newRun("golden"))
	ok(t, r.Read(ended("1")))
	irreversible := intent("2.1.1")
	irreversible.Call, irreversible.Effect, irreversible.Decision = "zfs.destroy", "irreversible", json.RawMessage(`{"guids":[1,2]}`)
	ok(t, r.Begun(irreversible))
	ok(t, r.Handle("2.1.1", "token-1"))
	failed := ended("2.1.1")
	failed.Result, failed.Fault, failed.Settled = nil, json.RawMessage(`{"kind":"failed"}`), "operator: done"
	ok(t, r.Ended(failed))
	ok(t, r.Begun(intent("3")))
	ok(t, r.SetState(InDoubt, 5, "call 3 may have happened", epoch.Add(time.Hour)))
	ok(t, r.Close())
	done := begin(t, db, newRun("golden-done"))
	ok(t, done.Finish(Done, 0, "", epoch.Add(time.Hour)))
	ok(t, done.Close())
}

func goldenFile(format int) string {
	return filepath.Join("testdata", fmt.Sprintf("format-%d.db", format))
}

// copyGolden is a state folder with a golden journal.
func copyGolden(t testing.TB, format int) string {
	t.Helper()
	b, err := os.ReadFile(goldenFile(format))
	ok(t, err)
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, fileName), b, 0o600))
	return dir
}

// TestGolden: a run that a binary of each format left resumes under this one.
func TestGolden(t *testing.T) {
	fresh := t.TempDir()
	db := open(t, fresh)
	golden(t, db)
	wantInfo, want, wantNew, err := db.Show("golden")
	ok(t, err)
	ok(t, db.Close())
	if *update {
		b, err := os.ReadFile(db.file)
		ok(t, err)
		ok(t, os.MkdirAll("testdata", 0o755))
		ok(t, os.WriteFile(goldenFile(Format), b, 0o644))
	}
	for format := max(1, Format-2); format <= Format; format++ {
		db := open(t, copyGolden(t, format))
		info, entries, n, err := db.Show("golden")
		ok(t, err)
		same(t, "info", info, wantInfo)
		same(t, "entries", entries, want)
		same(t, "the beginning", n, wantNew)
		r := resume(t, db, "golden")
		ok(t, r.SetState(Running, 0, "", epoch.Add(2*time.Hour)))
		ok(t, r.Ended(ended("3")))
		ok(t, r.Begun(intent("4")))
		ok(t, r.Ended(ended("4")))
		ok(t, r.Finish(Done, 0, "", epoch.Add(3*time.Hour)))
		sound(t, db)
		if e, _ := r.Entry("4"); e.Order != 4 {
			t.Errorf("4 ended as %+v", e)
		}
	}
}

// TestSchemaIsReleased: a golden journal has exactly the tables that a new
// one has, so an edited migration does not go unnoticed.
func TestSchemaIsReleased(t *testing.T) {
	schema := func(dir string) (s []string) {
		db := open(t, dir)
		rows, err := db.conn.QueryContext(background, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
		ok(t, err)
		defer rows.Close()
		for rows.Next() {
			var one string
			ok(t, rows.Scan(&one))
			s = append(s, one)
		}
		ok(t, rows.Err())
		return s
	}
	same(t, "schema", schema(copyGolden(t, Format)), schema(t.TempDir()))
}

// TestNewerFormat: refused, unaltered, with the version to use.
func TestNewerFormat(t *testing.T) {
	for name, tt := range map[string]struct {
		sql  []string
		want string
	}{
		"with runs":        {nil, "use nixmox 0.3.0 or newer"},
		"without runs":     {[]string{"DELETE FROM run_sources", "DELETE FROM calls", "DELETE FROM runs"}, "use a nixmox at least as new"},
		"without its runs": {[]string{"DROP TABLE calls", "DROP TABLE run_sources", "DROP TABLE runs"}, "use a nixmox at least as new"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyGolden(t, Format)
			raw(t, dir, append(tt.sql, fmt.Sprintf("PRAGMA user_version=%d", Format+1))...)
			before, err := os.ReadFile(filepath.Join(dir, fileName))
			ok(t, err)
			_, err = Open(dir)
			if !isA[*NewerError](err) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			after, err := os.ReadFile(filepath.Join(dir, fileName))
			ok(t, err)
			if string(before) != string(after) {
				t.Error("it was written to")
			}
		})
	}
}

// TestSettings: those that durability hangs on are in force, whatever the
// order they were asked for in. No copy of files could show a missing sync.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // new, and found
		db := open(t, dir)
		for name, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "60000",
			"trusted_schema": "0", "cell_size_check": "1", "user_version": fmt.Sprint(Format), "application_id": fmt.Sprint(appID)} {
			var got string
			ok(t, db.conn.QueryRowContext(background, "PRAGMA "+name).Scan(&got))
			if got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		ok(t, db.Close())
	}
	raw(t, dir, "PRAGMA journal_mode=DELETE") // as .recover leaves it
	var mode string
	ok(t, open(t, dir).conn.QueryRowContext(background, "PRAGMA journal_mode").Scan(&mode))
	if mode != "wal" {
		t.Error(mode)
	}
}

// TestForeign: another program's database is not touched.
func TestForeign(t *testing.T) {
	for name, statements := range map[string][]string{
		"tables, no mark":     {"CREATE TABLE runs (id)"},
		"a mark of another":   {"PRAGMA application_id=7"},
		"a version of its":    {"PRAGMA user_version=1", "CREATE TABLE runs (id)"},
		"our mark, no tables": {fmt.Sprintf("PRAGMA application_id=%d", appID), "PRAGMA user_version=1"},
		"our mark, no format": {fmt.Sprintf("PRAGMA application_id=%d", appID), "CREATE TABLE runs (id)"},
		"our mark, others":    {fmt.Sprintf("PRAGMA application_id=%d", appID), "PRAGMA user_version=1", "CREATE TABLE runs (id)"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			raw(t, dir, statements...)
			_, err := Open(dir)
			if !isA[*DamagedError](err) || !strings.Contains(err.Error(), "move it") {
				t.Errorf("%v, want that it is no journal", err)
			}
		})
	}
}

func childOpen(args []string) {
	db := must(Open(args[0]))
	r := must(db.Begin(newRun(fmt.Sprint("r", os.Getpid()))))
	check(r.Finish(Done, 0, "", epoch))
	check(r.Close())
	check(db.Close())
	fmt.Println("done")
}

// TestOpenedAtOnce: several processes make the same journal.
func TestOpenedAtOnce(t *testing.T) {
	for range 5 {
		dir := filepath.Join(t.TempDir(), "state")
		var all []*child
		for range 6 {
			all = append(all, startChild(t, "open", dir))
		}
		for _, c := range all {
			c.hear()
			ok(t, c.cmd.Wait())
		}
		if runs, err := open(t, dir).Runs(Filter{}); err != nil || len(runs) != len(all) {
			t.Errorf("%d runs, %v; want %d", len(runs), err, len(all))
		}
	}
}
