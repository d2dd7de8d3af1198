package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nixmox/builtins/lab"
	"nixmox/builtins/vzdump/archive"
)

// BenchmarkScale runs backup.star whole (backup, verify, mark, prune) over 20
// nodes: the real binary, with its evaluator, as a process of its own, against
// a lab in this one. It reports what that process and its evaluator used:
//
//	requests, requests/guest   asked of Proxmox, without looks at tasks that
//	                           run; by kind with -v
//	cpu-ms                     processor time, user and system
//	own-cpu-ms                 the same without reading archives, which is
//	                           measured by reading them once more, here
//	rss-MiB                    the most memory that one of the two had
func BenchmarkScale(b *testing.B) {
	nixmox := filepath.Join(b.TempDir(), "nixmox")
	if out, err := exec.Command("go", "build", "-o", nixmox, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, guests := range []int{250, 1000} {
		b.Run(fmt.Sprintf("%d", guests), func(b *testing.B) {
			for b.Loop() {
				benchmarkScale(b, nixmox, guests)
			}
		})
	}
}

const scaleNodes = 20

// counted are requests by kind; the lab's goroutines count.
type counted struct {
	mu    sync.Mutex
	kinds map[string]int
	all   int // without looks at tasks
	looks int
}

func looksAtTask(x lab.Exchange) bool {
	return x.Method == http.MethodGet && strings.Contains(x.Path, "/tasks/")
}

func (c *counted) add(x lab.Exchange) {
	kind := x.Method + " " + kindOfPath(x.Path)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds[kind]++
	if looksAtTask(x) {
		c.looks++
	} else {
		c.all++
	}
}

var (
	nodeInPath    = regexp.MustCompile(`/nodes/[^/]+`)
	taskInPath    = regexp.MustCompile(`/tasks/[^/]+`)
	contentInPath = regexp.MustCompile(`/content/.+`)
	guestInPath   = regexp.MustCompile(`/(qemu|lxc)/\d+`)
)

func kindOfPath(path string) string {
	path = nodeInPath.ReplaceAllString(path, "/nodes/*")
	path = taskInPath.ReplaceAllString(path, "/tasks/*")
	path = contentInPath.ReplaceAllString(path, "/content/*")
	return guestInPath.ReplaceAllString(path, "/$1/*")
}

func benchmarkScale(b *testing.B, nixmox string, guests int) {
	b.StopTimer()
	defer b.StartTimer()
	dir := b.TempDir()
	requests := counted{kinds: map[string]int{}}
	// The lab begins in the past and its time moves on at each look at a task,
	// so that nixmox, which follows the machine's own clock, need not wait. How
	// often it looks at tasks is counted apart: it depends on how long they take.
	var l *lab.Lab
	l, err := lab.Open(lab.Options{Dir: filepath.Join(dir, "lab"), Brief: true, Clock: lab.ClockReal, Begin: time.Now().Add(-24 * time.Hour), Observe: func(x lab.Exchange) {
		requests.add(x)
		if looksAtTask(x) {
			l.Advance(3 * time.Minute)
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	}()
	fill(b, l, guests)
	endpoint, err := l.Start()
	if err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(dir, "nixmox.toml")
	text, _, _ := strings.Cut(labToml(endpoint, filepath.Join(dir, "lab"), "real"), "[lab]")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, nixmox, "run", "backup", "--state", filepath.Join(dir, "state"), "--config", config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	b.StartTimer()
	err = cmd.Wait()
	b.StopTimer()
	took := time.Since(began)
	if err != nil {
		b.Fatalf("%v\n%s", err, out.String())
	}
	if whole := strings.Count(out.String(), " is whole"); whole < guests {
		b.Fatalf("%d archives are whole\n%s", whole, out.String())
	}
	// Of wait4 is what the process used, and those that it waited for.
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	reading := readingArchives(b, filepath.Join(endpoint.Mounts["backup"], "dump"), began)
	for _, kind := range slices.Sorted(maps.Keys(requests.kinds)) {
		b.Logf("%6d %s", requests.kinds[kind], kind)
	}
	b.ReportMetric(float64(requests.all), "requests")
	b.ReportMetric(float64(requests.looks), "looks-at-tasks")
	b.ReportMetric(float64(requests.all)/float64(guests), "requests/guest")
	b.ReportMetric(float64(used.Milliseconds()), "cpu-ms")
	b.ReportMetric(float64((used - reading).Milliseconds()), "own-cpu-ms")
	b.ReportMetric(float64(rss)/1024, "rss-MiB")
	b.ReportMetric(float64(took.Milliseconds()), "wall-ms")
}

// fill makes an estate of so many guests, templates aside, on 20 nodes, a quarter of them
// containers.
func fill(b *testing.B, l *lab.Lab, guests int) {
	b.Helper()
	nodes := []string{"pve1", "pve2", "pve3"}
	for len(nodes) < scaleNodes {
		name := fmt.Sprintf("pve%d", len(nodes)+1)
		if err := l.AddNode(name); err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, name)
	}
	templates := 2
	for i := range guests + templates - len(l.Guests()) {
		change := lab.GuestChange{Node: &nodes[i%scaleNodes]}
		if i%4 == 0 {
			change.Kind = "lxc"
		}
		if err := l.ChangeGuest(10000+i, change); err != nil {
			b.Fatal(err)
		}
	}
}

// readingArchives is the processor time that it takes to read the archives
// that were made since, while nothing else runs here.
func readingArchives(b *testing.B, dump string, since time.Time) time.Duration {
	b.Helper()
	before := ownTime(b)
	err := filepath.WalkDir(dump, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".zst") {
			return err
		}
		info, err := d.Info()
		if err != nil || info.ModTime().Before(since) {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		_, err = archive.Verify(context.Background(), d.Name(), file, func(int64) {})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return ownTime(b) - before
}

func ownTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
