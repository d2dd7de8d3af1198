package engine_test

import (
	"context"
	"testing"
	"testing/fstest"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/journal"
	"nixmox/engine/source"
)

// BenchmarkReplay is a run of 10,000 calls that is taken up again at its end:
// opening the journal, loading the record and answering every call from it.
func BenchmarkReplay(b *testing.B) {
	const calls = 10_000
	dir := b.TempDir()
	k := &tank{}
	e := &engine.Engine{Modules: []builtin.Module{k.module()}, Limits: engine.DefaultLimits, LockDir: b.TempDir(), LockWait: 1, Clock: fakeClock()}
	open := func() *journal.DB {
		db, err := journal.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		return db
	}
	text := `needs(tank = ["change"])
def main(n = 1):
    for i in range(n):
        tank.level()
    tank.pour("last")
`
	p, err := e.Load(b.Context(), source.Roots{Playbook: fstest.MapFS{"p.star": &fstest.MapFile{Data: []byte(text)}}}, "p.star")
	if err != nil {
		b.Fatal(err)
	}
	db := open()
	e.Journal = func() (*journal.DB, error) { return db, nil }
	ctx, cancel := context.WithCancelCause(b.Context())
	k.stopAt, k.cancel = "last", cancel
	first := e.Run(ctx, p, engine.Options{Params: map[string]any{"n": int64(calls - 1)}})
	if first.End != engine.Suspended {
		b.Fatalf("%+v", first)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	k.answer = settled(builtin.Unknown, 0)
	for b.Loop() {
		db = open()
		j, err := db.Resume(first.ID)
		if err != nil {
			b.Fatal(err)
		}
		r, err := e.Resume(b.Context(), j, engine.ResumeOptions{})
		if err != nil || r.Exit != engine.ExitInDoubt {
			b.Fatalf("%+v %v", r, err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/run")
}
