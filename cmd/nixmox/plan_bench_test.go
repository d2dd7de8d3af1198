package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/lab"
)

// BenchmarkPlan plans backup.star over 1,000 guests, and then sends the very
// requests that this took once more, one after the other, with nothing around
// them: x-reads is the ratio of the two.
func BenchmarkPlan(b *testing.B) {
	const guests = 1000
	dir := b.TempDir()
	var mu sync.Mutex
	var asked []string
	l, err := lab.Open(lab.Options{Dir: filepath.Join(dir, "lab"), Clock: lab.ClockReal, Observe: func(x lab.Exchange) {
		mu.Lock()
		defer mu.Unlock()
		path := x.Path
		if len(x.Query) > 0 {
			path += "?" + x.Query
		}
		asked = append(asked, path)
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
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 8}} // the lab's own, on this machine
	var planned, read time.Duration
	requests := 0
	for b.Loop() {
		asked = nil
		began := time.Now()
		var out strings.Builder
		if code := (&app{stdout: &out, stderr: &out}).main([]string{"plan", "--state", filepath.Join(dir, "state"), "--config", config, "backup"}); code != 0 {
			b.Fatalf("exit %d\n%s", code, out.String())
		}
		planned += time.Since(began)
		again := asked
		requests = len(again)
		began = time.Now()
		for _, path := range again {
			r, err := http.NewRequest(http.MethodGet, endpoint.URL+"/api2/json"+path, nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Authorization", "PVEAPIToken="+endpoint.TokenID+"="+endpoint.TokenSecret)
			res, err := client.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
				b.Fatalf("%s: %s %v", path, res.Status, err)
			}
			_ = res.Body.Close()
		}
		read += time.Since(began)
	}
	b.ReportMetric(float64(planned)/float64(read), "x-reads")
	b.ReportMetric(float64(requests), "requests")
	b.ReportMetric(float64(planned.Milliseconds())/float64(b.N), "ms/plan")
}
