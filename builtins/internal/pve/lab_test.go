package pve

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// labUser is a client that logged in to a lab as root@pam, on the lab's clock.
func labUser(t *testing.T, change func(*Config), faults ...string) (*Client, *lab.Lab, *sync.Map) {
	t.Helper()
	var seen sync.Map // how often, by method and path
	o := lab.Options{Dir: t.TempDir(), Clock: lab.ClockAuto, Brief: true, History: history, Observe: func(x lab.Exchange) {
		n, _ := seen.Load(x.Method + " " + x.Path)
		count, _ := n.(int)
		seen.Store(x.Method+" "+x.Path, count+1)
	}}
	for _, text := range faults {
		f, err := lab.ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		o.Faults = append(o.Faults, f)
	}
	l, err := lab.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	end, err := l.Start()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{URL: end.URL, Fingerprint: end.Fingerprint, User: "root@pam", Password: NewSecret(end.RootPassword), Now: l.Now,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, l, &seen
}

func expectCount(t *testing.T, seen *sync.Map, what string, want int) {
	t.Helper()
	if got, _ := seen.Load(what); got != want {
		t.Errorf("%s: %v times, want %d", what, got, want)
	}
}

// A user with a password backs up a guest in the lab; the ticket expires while
// the task goes on, and once more at a change.
func TestTicketsInTheLab(t *testing.T) {
	c, l, seen := labUser(t, nil, "ticket=expired*1", "api:POST /nodes/pve1/vzdump=401*1")
	ctx := context.Background()
	list, err := c.Guests(ctx) // refused once, then with a new ticket
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	expectCount(t, seen, "POST /access/ticket", 2)
	var upid UPID
	if err := c.Post(ctx, "/nodes/pve1/vzdump", map[string]any{"vmid": 109, "storage": "backup"}, &upid); err != nil {
		t.Fatal(err)
	}
	expectCount(t, seen, "POST /access/ticket", 3)
	expectCount(t, seen, "POST /nodes/pve1/vzdump", 2) // refused before it was looked at, and once more
	end, err := c.Wait(ctx, upid, nil)
	if err != nil || !end.OK {
		t.Fatal(end, err)
	}
	tasks, err := c.Tasks(ctx, "pve1", TaskFilter{VMID: 109, Type: "vzdump", Since: l.Now().Add(-time.Hour)})
	if err != nil || len(tasks) != 1 || tasks[0].UPID.User != "root@pam" {
		t.Error("the change was made other than once:", tasks, err)
	}
	for range 4 { // each later than a renewal is due, none later than a ticket lives
		l.Advance(90 * time.Minute)
		if _, err := c.Nodes(ctx); err != nil {
			t.Fatal(err)
		}
	}
	l.Advance(24 * time.Hour)
	if err := c.Delete(ctx, "/nodes/pve1/storage/backup/content/backup:backup%2Fvzdump-qemu-999-2020_01_01-00_00_00.vma.zst", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestWrongPasswordInTheLab(t *testing.T) {
	c, _, seen := labUser(t, func(cfg *Config) { cfg.Password = NewSecret("nope-nope") })
	_, err := c.Guests(context.Background())
	f := fault(t, err, builtin.Forbidden)
	if !strings.Contains(f.Hint, "password of root@pam") || strings.Contains(f.Error(), "nope-nope") {
		t.Error(f)
	}
	expectCount(t, seen, "POST /access/ticket", 1)
}

// 595 and 596 are asked again, and a change is not: it may have been made, and was.
func TestLostAnswersOfTheLab(t *testing.T) {
	c, _, _ := labUser(t, nil, "api:GET /nodes=595*1", "api:GET /cluster/resources=596*2", "api:POST /nodes/pve1/vzdump=596*1")
	ctx := context.Background()
	for range 2 {
		if _, err := c.Nodes(ctx); err != nil {
			t.Error(err)
		}
		if _, err := c.Guests(ctx); err != nil {
			t.Error(err)
		}
	}
	err := c.Post(ctx, "/nodes/pve1/vzdump", map[string]any{"vmid": 109, "storage": "backup"}, nil)
	if fault(t, err, builtin.Unreachable); !InDoubt(err) {
		t.Error("596: it may have been done", err)
	}
	running, err := c.Tasks(ctx, "pve1", TaskFilter{VMID: 109, Source: "all"})
	if err != nil || len(running) == 0 {
		t.Error("and it was:", running, err)
	}
}
