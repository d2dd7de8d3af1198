package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/lab"
)

// readsAlone makes the very requests that planning backup.star makes, and hands
// the playbook no more of their answers: all guests once.
const readsAlone = `needs(proxmox = ["read"], vzdump = ["read"])

def main():
    one = {g.node: g.id for g in proxmox.guests()}
    parallel(list(one), lambda node: reads(node, one[node]))
    vzdump.backups("backup", guests = [100, 101])

def reads(node, guest):
    proxmox.get("/storage")
    proxmox.get("/nodes/%s/storage/backup/status" % node)
    proxmox.guests([str(guest)])
    vzdump.backups("backup", node = node, guests = [100, 101])
`

// BenchmarkPlan plans backup.star over 1,000 guests, by turns with a playbook
// that only reads what the plan reads: x-reads is the ratio of the fastest of
// each. The lab answers at once, which no Proxmox VE does; so the ratio is
// taken once more with answers that take as long as the fastest of a real one did.
func BenchmarkPlan(b *testing.B) {
	b.Run("at-once", func(b *testing.B) { benchmarkPlan(b, func(string) time.Duration { return 0 }) })
	b.Run("as-real", func(b *testing.B) { benchmarkPlan(b, realPace) })
}

// realPace is how long a Proxmox VE 9.2 with one node and three guests took, at
// the least, for a read. With a thousand guests it takes longer, which makes
// the ratio smaller.
func realPace(path string) time.Duration {
	for _, r := range []struct {
		path string
		took time.Duration
	}{
		{"/nodes/*/storage/*/status", 28 * time.Millisecond},
		{"/nodes/*/storage/*/content", 21 * time.Millisecond},
		{"/nodes/*/vzdump/defaults", 10 * time.Millisecond},
		{"/nodes/*/storage", 6 * time.Millisecond},
		{"/storage", 6 * time.Millisecond},
		{"/cluster/resources", 4 * time.Millisecond},
	} {
		if ok, _ := filepath.Match(r.path, path); ok {
			return r.took
		}
	}
	return 3 * time.Millisecond // the fastest of all
}

func benchmarkPlan(b *testing.B, pace func(path string) time.Duration) {
	const guests = 1000
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as main does
	dir := b.TempDir()
	var mu sync.Mutex
	var asked []string
	l, err := lab.Open(lab.Options{Dir: filepath.Join(dir, "lab"), Clock: lab.ClockReal, Observe: func(x lab.Exchange) {
		mu.Lock()
		path := x.Path
		if len(x.Query) > 0 {
			path += "?" + x.Query
		}
		asked = append(asked, path)
		mu.Unlock()
		time.Sleep(pace(x.Path)) // it is not written yet
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	}()
	nodes := []string{"pve1", "pve2", "pve3"}
	for i := range guests {
		if err := l.ChangeGuest(10000+i, lab.GuestChange{Node: &nodes[i%3]}); err != nil {
			b.Fatal(err)
		}
	}
	endpoint, err := l.Start()
	if err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(dir, "nixmox.toml")
	// The machine's clock counts, as it does with a real host.
	text, _, _ := strings.Cut(labToml(endpoint, filepath.Join(dir, "lab"), "real"), "[lab]")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	reads := filepath.Join(dir, "reads.star")
	if err := os.WriteFile(reads, []byte(readsAlone), 0o600); err != nil {
		b.Fatal(err)
	}
	timed := func(args ...string) (time.Duration, []string) {
		asked = nil
		began := time.Now()
		var out strings.Builder
		if code := (&app{stdout: &out, stderr: &out}).main(append(args, "--state", filepath.Join(dir, "state"), "--config", config)); code != 0 {
			b.Fatalf("exit %d\n%s", code, out.String())
		}
		return time.Since(began), slices.Sorted(slices.Values(asked))
	}
	// The fastest of each: whatever else the machine does only adds.
	planned, read := time.Hour, time.Hour
	var requests, readRequests []string
	for b.Loop() {
		var took time.Duration
		took, requests = timed("plan", "backup")
		planned = min(planned, took)
		took, readRequests = timed("plan", reads)
		read = min(read, took)
	}
	if !slices.Equal(requests, readRequests) {
		b.Fatalf("planning asked for\n%q\nand the reads alone for\n%q", requests, readRequests)
	}
	b.ReportMetric(float64(planned)/float64(read), "x-reads")
	b.ReportMetric(float64(len(requests)), "requests")
	b.ReportMetric(float64(planned.Milliseconds()), "ms/plan")
}
