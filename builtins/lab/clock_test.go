package lab

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab/command"
)

func TestParseClock(t *testing.T) {
	for _, m := range []ClockMode{ClockReal, ClockAuto} {
		if got, err := ParseClock(m.String()); err != nil || got != m {
			t.Errorf("%v: %v %v", m, got, err)
		}
	}
	if _, err := ParseClock("fast"); err == nil {
		t.Error("fast is a clock")
	}
}

// TestOverlap: two nodes work side by side in virtual time, one node does one
// job at a time.
func TestOverlap(t *testing.T) {
	c := open(t)
	began := c.lab.Now()
	one := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "100", "storage", "backup")     // 160 s
	two := get[string](c, "POST", "/nodes/pve3/vzdump", "vmid", "110", "storage", "backup")     // 100 s
	waiting := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "109", "storage", "backup") // 40 s, after the first
	if log := c.log(waiting); log != "INFO: trying to get global lock - waiting...\n" {
		t.Errorf("%s", log)
	}
	for _, u := range []string{one, two, waiting} {
		if s, log := c.wait(u); s != "OK" {
			t.Errorf("%s\n%s", s, log)
		}
	}
	if log := c.log(waiting); !strings.Contains(log, "got global lock") {
		t.Errorf("%s", log)
	}
	if d := c.lab.Now().Sub(began); d < 200*time.Second || d > 240*time.Second {
		t.Errorf("all took %v", d)
	}
	ends := map[string]int64{}
	for _, n := range []string{"pve1", "pve3"} {
		for _, x := range get[[]struct {
			UPID string
			End  int64 `json:"endtime"`
		}](c, "GET", "/nodes/"+n+"/tasks", "typefilter", "vzdump") {
			ends[x.UPID] = x.End
		}
	}
	if ends[two] >= ends[one] || ends[one] >= ends[waiting] {
		t.Errorf("they ended as %v", ends)
	}
}

// TestNobodyLooks: tasks go on without requests, too.
func TestNobodyLooks(t *testing.T) {
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockAuto})
	upid := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "109", "storage", "backup")
	deadline := time.Now().Add(10 * time.Second)
	for c.lab.running() {
		if time.Now().After(deadline) {
			t.Fatal("the task does not end by itself")
		}
	}
	if s := c.status(upid); s.ExitStatus != "OK" {
		t.Errorf("%+v", s)
	}
}

func (l *Lab) running() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.anyRunning()
}

func TestRealClock(t *testing.T) {
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockReal})
	upid := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "109", "storage", "backup")
	for range 5 {
		if s := c.status(upid); s.Status != "running" {
			t.Fatalf("%+v", s)
		}
	}
	if d := time.Until(c.lab.Now()).Abs(); d > time.Second {
		t.Errorf("off by %v", d)
	}
	c.lab.Advance(time.Hour)
	if s := c.status(upid); s.ExitStatus != "OK" {
		t.Errorf("after an hour: %+v", s)
	}
}

func TestReadClock(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadClock(dir); err == nil {
		t.Error("a clock where no lab is")
	}
	c := openWith(t, Options{Dir: dir, Clock: ClockAuto})
	now, err := ReadClock(dir)
	if err != nil {
		t.Fatal(err)
	}
	same := func() {
		t.Helper()
		if d := now().Sub(c.lab.Now()).Abs(); d > time.Second {
			t.Errorf("the clocks differ by %v", d)
		}
	}
	same()
	c.backup("pve1", "vmid", "100", "storage", "backup")
	same()
	c.lab.Advance(48 * time.Hour)
	same()
	if now().Location() != time.UTC || now().Before(time.Now().Add(48*time.Hour)) {
		t.Errorf("%v", now())
	}
	if err := os.WriteFile(dir+"/"+clockFile, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	same() // the last known counts
}

// TestGoesOn: a lab that is opened again goes on where it was, tasks included.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Options{Dir: dir, Clock: ClockReal})
	if err != nil {
		t.Fatal(err)
	}
	first, err := l.Start()
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.st.Guests[0].Tags = "changed"
	job := &vzdumpJob{VMIDs: []int{109}, Storage: "backup", Mode: "snapshot", Compress: "zstd", Command: "vzdump 109"}
	tk := l.startTask("pve1", "vzdump", "109", mainToken, 0)
	tk.Job = job
	l.beginJob(tk, l.now())
	l.mu.Unlock()
	l.Advance(time.Second)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error("closing twice:", err)
	}
	if _, err := l.Start(); err == nil {
		t.Error("it starts after Close")
	}
	c := openWith(t, Options{Dir: dir, Clock: ClockAuto})
	if c.end.TokenSecret != first.TokenSecret || c.end.Fingerprint != first.Fingerprint {
		t.Error("the secrets are others")
	}
	if c.guest(100).Tags != "changed" {
		t.Error("the estate forgot")
	}
	if c.guest(109).Lock != "backup" {
		t.Error("the guest is not in backup")
	}
	if s, log := c.wait(tk.upid()); s != "OK" || len(c.backups("pve1", "backup", "109")) != 11 {
		t.Errorf("%s\n%s", s, log)
	}
}

// TestCrash: what a killed lab left is taken up, and nothing is made twice.
func TestCrash(t *testing.T) {
	c := open(t)
	began := c.lab.Now()
	upid := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "100,106,109", "storage", "backup")
	c.lab.Advance(300 * time.Second) // in the middle of the second
	copied := t.TempDir()
	c.lab.mu.Lock()                                                                             // nothing moves while the copy is made
	if err := os.Remove(c.lab.folder.path(command.RunDir + "/" + command.Socket)); err != nil { // which cannot be copied
		t.Fatal(err)
	}
	err := os.CopyFS(copied, os.DirFS(c.lab.folder.dir))
	c.lab.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	d := openWith(t, Options{Dir: copied, Clock: ClockAuto})
	if now := d.lab.Now(); now.Before(began.Add(300 * time.Second)) {
		t.Errorf("time went back to %v", now)
	}
	for _, x := range []*client{c, d} {
		if s, log := x.wait(upid); s != "OK" {
			t.Errorf("%s\n%s", s, log)
		}
	}
	names := func(x *client) []string {
		set := map[string]bool{}
		for _, id := range []string{"100", "106", "109"} {
			for _, v := range x.backups("pve1", "backup", id) {
				set[v.VolID] = true
			}
		}
		return slices.Sorted(maps.Keys(set))
	}
	if a, b := names(c), names(d); len(a) != 33 || !slices.Equal(a, b) {
		t.Errorf("%v, and after a crash %v", a, b)
	}
}
