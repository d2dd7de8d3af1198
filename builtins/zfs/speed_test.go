package zfs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// history is a folder whose zfs lists snapshots that were taken every hour, of
// so many datasets, and says nothing else.
func history(t testing.TB, datasets, each int) *run.Runner {
	t.Helper()
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	file, err := os.Create(list)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	first := time.Date(2026, 1, 1, 0, 0, 7, 0, time.UTC)
	for i := range each {
		at := first.Add(time.Duration(i) * time.Hour)
		name := "auto-" + at.Format("20060102T150405Z")
		for d := range datasets {
			m := mark.Mark{Run: fmt.Sprintf("01KTEST%019d", i), Place: "4", Playbook: "snapshot", Of: name}
			fmt.Fprintf(w, "rpool/data/share-%03d@%s\t%d\t%d\t%d\t0\t0\t%s\n", d, name, uint64(i*datasets+d+1)*0x9e3779b97f4a7c15, 1000+i, at.Unix(), m)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	commands := filepath.Join(dir, "commands")
	if err := os.Mkdir(commands, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(commands, "zfs"), []byte("#!/bin/sh\nexec /bin/cat "+list+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &run.Runner{Folder: commands}
}

// planRetention decides what goes of a history, as zfs.prune does.
func planRetention(t testing.TB, r *run.Runner, now time.Time) PruneDecision {
	t.Helper()
	call := &builtin.Call{Run: &builtin.Run{ID: "01KTEST", Now: func() time.Time { return now }}, Branch: builtin.NewBranch()}
	a := PruneArgs{Datasets: []Dataset{"rpool"}, Recursive: true, Keep: builtin.Keep{Last: 3, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 12, Yearly: 2}}
	d, err := client{runner: r}.decidePrune(builtin.WithCall(context.Background(), call), a)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// BenchmarkPlanRetention is what a prune of 100,000 snapshots decides, beside
// wc -l over the same list.
func BenchmarkPlanRetention(b *testing.B) {
	r := history(b, 100, 1000)
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	b.Run("wc", func(b *testing.B) {
		for b.Loop() {
			out, err := exec.Command("sh", "-c", filepath.Join(r.Folder, "zfs")+" | wc -l").Output()
			if err != nil || strings.TrimSpace(string(out)) != "100000" {
				b.Fatalf("%s, %v", out, err)
			}
		}
	})
	b.Run("nixmox", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d := planRetention(b, r, now); len(d.Remove) == 0 || len(d.Counts) != 100 {
				b.Fatal(len(d.Remove))
			}
		}
		runtime.GC()
		sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
		metrics.Read(sample)
		b.ReportMetric(float64(sample[0].Value.Uint64())/(1<<20), "MiB")
	})
}
