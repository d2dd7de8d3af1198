package journal

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

// bare is a database with the journal's pragmas and one small table: what a
// commit costs at least.
func bare(b *testing.B) func() {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_txlock=immediate")
	ok(b, err)
	b.Cleanup(func() { ok(b, db.Close()) })
	db.SetMaxOpenConns(1)
	for _, s := range append([]string{"PRAGMA journal_mode=WAL", "CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT NOT NULL)"}, pragmas...) {
		_, err := db.Exec(s)
		ok(b, err)
	}
	insert, err := db.Prepare("INSERT INTO t (text) VALUES (?)")
	ok(b, err)
	b.Cleanup(func() { ok(b, insert.Close()) })
	return func() {
		_, err := insert.Exec("one call")
		ok(b, err)
	}
}

// BenchmarkCommits measures what calls cost against bare commits, by turns,
// so that a disk that is busy for a while is so for both. ratio is the
// journal's time per commit through a bare commit's; 1.3 is the limit.
func BenchmarkCommits(b *testing.B) {
	for _, bench := range []struct {
		name    string
		commits int
		call    func(r *Run, place string)
	}{
		{"change", 2, func(r *Run, place string) {
			ok(b, r.Begun(intent(place)))
			ok(b, r.Ended(ended(place)))
		}},
		{"change-with-handle", 3, func(r *Run, place string) {
			ok(b, r.Begun(intent(place)))
			ok(b, r.Handle(builtin.Place(place), "UPID:pve1:000A1B2C:0123ABCD:6922F3A1:vzdump:100:root@pam:"))
			ok(b, r.Ended(ended(place)))
		}},
		{"change-after-5-reads", 2, func(r *Run, place string) {
			for i := range 5 {
				ok(b, r.Read(ended(fmt.Sprint(place, ".1.", i))))
			}
			ok(b, r.Begun(intent(place)))
			ok(b, r.Ended(ended(place)))
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			commit := bare(b)
			r := begin(b, open(b, b.TempDir()), newRun("r1"))
			commit()
			var ours, bares time.Duration
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				for range bench.commits {
					commit()
				}
				between := time.Now()
				bench.call(r, fmt.Sprint(i+1))
				bares += between.Sub(start)
				ours += time.Since(between)
			}
			b.ReportMetric(float64(ours)/float64(bares), "ratio")
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "µs/call")
			b.ReportMetric(float64(bares.Microseconds())/float64(b.N), "µs/bare")
		})
	}
	b.Run("read", func(b *testing.B) {
		db := open(b, b.TempDir())
		r := begin(b, db, newRun("r1"))
		db.synced = func() { b.Fatal("a read has a commit of its own") }
		for i := 0; b.Loop(); i++ {
			ok(b, r.Read(ended(fmt.Sprint(i))))
		}
	})
}

// filled is a journal of 100,000 runs of 10 calls each, and one of 10,000
// calls that is not over. It is made once.
var filled = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "journal")
	check(err)
	db := must(Open(dir))
	check(db.exec("PRAGMA synchronous=OFF"))
	n := newRun("")
	for batch := range 100 {
		check(db.commit("fill", func() error {
			for i := range 1000 {
				nth := batch*1000 + i
				key := int64(nth + 1)
				state, ended := Done, nanos(epoch)
				if nth%5000 == 0 {
					state, ended = InDoubt, nil
				}
				began := nanos(epoch.Add(time.Duration(nth) * time.Second))
				if err := db.exec(`INSERT INTO runs (n, id, playbook, file, version, digest, seed, began, changed, ended, state, exit, error, options, params)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, 0, '', ?, ?)`, key, fmt.Sprintf("01K%08d", nth), []string{"backup", "update", "prune"}[nth%3], n.File, n.Version, n.Digest,
					began, began, ended, state, text(n.Options), text(n.Params)); err != nil {
					return err
				}
				for c := range 10 {
					e := Entry{Place: builtin.Place(fmt.Sprint(c + 1)), Call: "zfs.snapshot", Effect: "change", Digest: "sha256", Begun: epoch, Ended: epoch,
						Args: json.RawMessage(`{"dataset":"rpool/data"}`), Result: json.RawMessage(`{"name":"s"}`), Order: c + 1}
					if _, err := db.stmt.putCall.ExecContext(background, e.columns(key)...); err != nil {
						return err
					}
				}
			}
			return nil
		}))
	}
	r := must(db.Begin(newRun("long")))
	for i := range 10_000 {
		check(r.Read(ended(fmt.Sprint(i + 1))))
	}
	check(r.SetState(Suspended, 130, "", epoch))
	check(r.Close())
	check(db.Close())
	return dir
})

func BenchmarkFilled(b *testing.B) {
	dir := filled()
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			db, err := Open(dir)
			ok(b, err)
			ok(b, db.Close())
		}
	})
	b.Run("open-new", func(b *testing.B) {
		for b.Loop() {
			db, err := Open(b.TempDir())
			ok(b, err)
			ok(b, db.Close())
		}
	})
	db := open(b, dir)
	b.Run("resume-10000-calls", func(b *testing.B) {
		for b.Loop() {
			r, err := db.Resume("long")
			ok(b, err)
			ok(b, r.Close())
		}
	})
	for name, f := range map[string]Filter{
		"first-page": {Limit: 50}, "a-page-in-the-middle": {Limit: 50, Before: "01K00050000"}, "what-may-go-on": {States: []State{Running, Suspended, InDoubt}},
		"ended": {States: []State{Done, Failed, Cancelled}, Limit: 50}, "in-doubt-of-one-playbook": {States: []State{InDoubt}, Playbook: "prune", Limit: 50},
		"failed-of-one-playbook": {States: []State{Failed}, Playbook: "prune", Limit: 50}, "done-of-none": {States: []State{Done}, Playbook: "none", Limit: 50},
	} {
		b.Run("list-"+name, func(b *testing.B) {
			for b.Loop() {
				_, err := db.Runs(f)
				ok(b, err)
			}
		})
	}
	b.Run("list-all", func(b *testing.B) {
		for b.Loop() {
			runs, err := db.Runs(Filter{})
			ok(b, err)
			if len(runs) != 100_001 {
				b.Fatal(len(runs))
			}
		}
	})
}
