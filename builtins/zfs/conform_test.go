package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/internal/run"
	"nixmox/builtins/lab"
	"nixmox/builtins/lab/command"
	"nixmox/engine/builtin"
)

// The cases here hold the module against a machine with ZFS: the lab's in
// every go test, a real one in the rig (NIXMOX_RIG=1, docs/rig.md).

func TestMain(m *testing.M) {
	command.Intercept()
	os.Exit(m.Run())
}

// real says that this is the rig's machine, whose pools may be made and destroyed.
var real = os.Getenv("NIXMOX_RIG") == "1"

// machine is one with ZFS and, for the test alone, datasets below m.root.
type machine struct {
	t      *testing.T
	runner *run.Runner
	root   string
	run    *builtin.Run
	place  int
	lab    *lab.Lab
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, runner: &run.Runner{}}
	now := func() time.Time { return time.Now().UTC() }
	if real {
		m.realPool()
	} else {
		l, err := lab.Open(lab.Options{Dir: t.TempDir(), Brief: true, Clock: lab.ClockAuto})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		if _, err := l.Start(); err != nil {
			t.Fatal(err)
		}
		m.lab, m.runner.Folder, m.root, now = l, l.CommandDir(), "rpool/test", l.Now
		m.zfs("create", m.root)
	}
	m.run = &builtin.Run{ID: "01TESTTESTTESTTESTTESTTEST", Playbook: "test", Now: now}
	return m
}

// realPool makes a pool on a file, for this test.
func (m *machine) realPool() {
	m.t.Helper()
	m.root = "t" + strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, m.t.Name()))
	m.root = m.root[:min(len(m.root), 40)]
	disk := filepath.Join(m.t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Truncate(disk, 256<<20); err != nil {
		m.t.Fatal(err)
	}
	m.command("zpool", "create", "-f", m.root, disk)
	m.t.Cleanup(func() {
		if out, err := exec.Command("zpool", "destroy", "-f", m.root).CombinedOutput(); err != nil {
			m.t.Errorf("zpool destroy: %v: %s", err, out)
		}
	})
}

// zfs runs zfs as a person would, who is not nixmox.
func (m *machine) zfs(args ...string) string {
	m.t.Helper()
	return m.command("zfs", args...)
}

func (m *machine) command(name string, args ...string) string {
	m.t.Helper()
	out, err := m.runner.Output(context.Background(), run.Command{Argv: append([]string{name}, args...)})
	if err != nil {
		m.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}

// snapshotsThere are the snapshots below the root as ZFS lists them, without the root.
func (m *machine) snapshotsThere() []string {
	m.t.Helper()
	out := []string{}
	for line := range strings.Lines(m.zfs("list", "-H", "-r", "-t", "snapshot", "-o", "name", m.root)) {
		out = append(out, strings.TrimPrefix(strings.TrimSpace(line), m.root))
	}
	slices.Sort(out)
	return out
}

type args map[string]any

// list makes a list of a playbook of names.
func list(names ...string) []any {
	out := []any{}
	for _, n := range names {
		out = append(out, n)
	}
	return out
}

// prepare makes a call of neutral values, as a language does.
func (m *machine) prepare(name string, a args) *builtin.Call {
	m.t.Helper()
	module := Module(m.runner)
	f, ok := module.Func(name)
	if !ok {
		m.t.Fatalf("no function %s", name)
	}
	var named []builtin.Named
	for k, v := range a {
		named = append(named, builtin.Named{Name: k, Value: v})
	}
	bound, err := f.Bind(nil, named)
	if err != nil {
		m.t.Fatal(err)
	}
	m.place++
	return &builtin.Call{Place: builtin.Place(fmt.Sprint(m.place)), Func: f, Args: bound, Run: m.run}
}

// call makes a call, or previews it where the run is a plan.
func call[R any](m *machine, name string, a args) (R, error) {
	m.t.Helper()
	return perform[R](m, m.prepare(name, a))
}

func perform[R any](m *machine, c *builtin.Call) (R, error) {
	var none R
	if c.Func.Effect == builtin.Irreversible && c.Decision == nil {
		d, err := c.Func.Decide(context.Background(), c)
		if err != nil {
			return none, err
		}
		c.Decision = d
	}
	do := c.Func.Do
	if m.run.Planned != nil && c.Func.Effect.Alters() {
		do = c.Func.Preview
	}
	out, err := do(context.Background(), c)
	r, _ := out.(R)
	return r, err
}

func must[R any](m *machine, name string, a args) R {
	m.t.Helper()
	r, err := call[R](m, name, a)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return r
}

// refused is the fault of a call that must fail, and says all a user needs.
func refused[R any](m *machine, kind builtin.Kind, words string, name string, a args) *builtin.Fault {
	m.t.Helper()
	_, err := call[R](m, name, a)
	f, ok := errors.AsType[*builtin.Fault](err)
	if !ok {
		m.t.Fatalf("%s: want a fault of kind %s, got %v", name, kind, err)
	}
	if f.Kind != kind || f.Hint == "" || !strings.Contains(f.Error()+" | "+f.Hint, words) {
		m.t.Errorf("%s: %s: %v (hint: %s), want %s and %q", name, f.Kind, f, f.Hint, kind, words)
	}
	return f
}

// planning makes of the run a plan, until the test ends it.
func (m *machine) planning() (end func()) {
	m.run.Planned = &builtin.Overlay{}
	return func() { m.run.Planned = nil }
}

// cases run each on a machine of its own.
func cases(t *testing.T, table map[string]func(m *machine)) {
	for name, do := range table {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			do(m)
		})
	}
}
