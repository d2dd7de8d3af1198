package vzdump

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// history is shared by the labs of all tests.
var history string

func TestMain(m *testing.M) {
	var err error
	if history, err = os.MkdirTemp("", "nixmox-history-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(history); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

// user calls the module as a playbook in a run does, against a lab.
type user struct {
	t   *testing.T
	v   *vzdump
	lab *lab.Lab
	end lab.Endpoint
	run *builtin.Run

	place  int
	of     *vzdump
	module builtin.Module

	mu       sync.Mutex
	requests []lab.Exchange
	handles  []string
	progress []builtin.Progress
}

// runID is a ULID of a moment ago, when the run is taken to have begun.
func runID() string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	id := []byte("0000000000TESTTESTTESTTEST")
	for ms, i := time.Now().UnixMilli(), 9; i >= 0; ms, i = ms>>5, i-1 {
		id[i] = digits[ms&31]
	}
	return string(id)
}

func newUser(t *testing.T, faults ...string) *user {
	t.Helper()
	u := &user{t: t}
	o := lab.Options{Dir: t.TempDir(), Brief: true, History: history, Clock: lab.ClockAuto, Observe: func(x lab.Exchange) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.requests = append(u.requests, x)
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
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if u.end, err = l.Start(); err != nil {
		t.Fatal(err)
	}
	u.lab = l
	u.v = u.client(u.end.Mounts)
	u.run = &builtin.Run{
		ID: runID(), Playbook: "backup", Now: l.Now, Sleep: hurry,
		Handle: func(_ builtin.Call, h string) error { u.handles = append(u.handles, h); return nil },
		Progress: func(_ builtin.Call, p builtin.Progress) {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.progress = append(u.progress, p)
		},
	}
	return u
}

// client is one whose pauses take no time: the lab's tasks go on whenever they
// are looked at.
func (u *user) client(mounts map[string]string) *vzdump {
	u.t.Helper()
	c, err := pve.New(pve.Config{
		URL: u.end.URL, TokenID: u.end.TokenID, Token: pve.NewSecret(u.end.TokenSecret), Fingerprint: u.end.Fingerprint,
		Mounts: mounts, Sleep: hurry, Now: u.lab.Now,
	})
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { c.Close() })
	return &vzdump{c: c}
}

func hurry(ctx context.Context, _ time.Duration) error { return ctx.Err() }

type args map[string]any

// prepare makes a call of neutral values, as a language does.
func (u *user) prepare(name string, a args) *builtin.Call {
	u.t.Helper()
	if u.of != u.v { // one module remembers from call to call, as in a process
		u.of, u.module = u.v, Module(u.v.c)
	}
	f, ok := u.module.Func(name)
	if !ok {
		u.t.Fatalf("no function %s", name)
	}
	var named []builtin.Named
	for k, v := range a {
		named = append(named, builtin.Named{Name: k, Value: v})
	}
	bound, err := f.Bind(nil, named)
	if err != nil {
		u.t.Fatal(err)
	}
	u.place++
	return &builtin.Call{Place: builtin.NewBranch().Fork("1", u.place).Next(), Func: f, Args: bound, Run: u.run}
}

// call makes a call, or previews it where the run is a plan.
func call[R any](u *user, name string, a args) (R, error) {
	u.t.Helper()
	c := u.prepare(name, a)
	ctx := context.Background()
	if c.Func.Effect == builtin.Irreversible {
		d, err := c.Func.Decide(ctx, c)
		if err != nil {
			var none R
			return none, err
		}
		c.Decision = d
	}
	do := c.Func.Do
	if u.run.Planned != nil && c.Func.Effect.Alters() {
		do = c.Func.Preview
	}
	out, err := do(ctx, c)
	r, _ := out.(R)
	return r, err
}

func must[R any](u *user, name string, a args) R {
	u.t.Helper()
	r, err := call[R](u, name, a)
	if err != nil {
		u.t.Fatalf("%s: %v", name, err)
	}
	return r
}

// fault is the Fault of a call that must have failed, and says all a user needs.
func fault(t *testing.T, err error, kind builtin.Kind, words ...string) *builtin.Fault {
	t.Helper()
	f, ok := errors.AsType[*builtin.Fault](err)
	if !ok {
		t.Fatalf("want a fault of kind %s, got %v", kind, err)
	}
	if f.Kind != kind {
		t.Errorf("kind %s, want %s: %v", f.Kind, kind, err)
	}
	if f.Hint == "" {
		t.Errorf("%v: no hint", err)
	}
	for _, w := range words {
		if text := f.Error() + " | " + f.Hint; !strings.Contains(text, w) {
			t.Errorf("%q says nothing of %q", text, w)
		}
	}
	return f
}

func ids(list ...int64) []any {
	out := []any{}
	for _, n := range list {
		out = append(out, n)
	}
	return out
}

func guestsOf(archives []Made) (out []builtin.VMID) {
	for _, a := range archives {
		out = append(out, a.Guest)
	}
	return out
}

// count counts requests by method and the end of their path.
func (u *user) count(method, pathEnd string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range u.requests {
		if x.Method == method && strings.HasSuffix(x.Path, pathEnd) {
			n++
		}
	}
	return n
}
