package journal

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"nixmox/engine/builtin"
)

// children are what this test binary does when a test starts it again.
var children = map[string]func(args []string){
	"write": childWrite,
	"race":  childRace,
	"limit": childLimit,
	"open":  childOpen,
}

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv("NIXMOX_JOURNAL_CHILD"), "\n"); args[0] != "" {
		children[args[0]](args[1:])
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child is a process of this test binary.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(t *testing.T, args ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NIXMOX_JOURNAL_CHILD="+strings.Join(args, "\n"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

// kill ends it at once, and returns when it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *child) say(line string) {
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Errorf("talk to a child: %v", err)
	}
}

func (c *child) hear() string {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatalf("a child ended: %v", c.cmd.Wait())
	}
	return c.out.Text()
}

// must is for children: their test sees standard error.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func open(t testing.TB, dir string) *DB {
	t.Helper()
	db, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func begin(t testing.TB, db *DB, n NewRun) *Run {
	t.Helper()
	r, err := db.Begin(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func resume(t testing.TB, db *DB, id string) *Run {
	t.Helper()
	r, err := db.Resume(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func ok(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// epoch is when the runs of the tests begin.
var epoch = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

func newRun(id string) NewRun {
	return NewRun{ID: id, Playbook: "backup", File: "/etc/nixmox/backup.star", Version: "0.3.0", Began: epoch,
		Params: json.RawMessage(`{"storage":"nas"}`), Options: json.RawMessage(`{"timeout":"1h"}`), Seed: 1<<64 - 2, Digest: "all",
		Sources: []Source{
			{Name: "backup.star", Shown: "playbooks/backup.star", Text: []byte("def main():\n  pass\n"), Digest: "d1"},
			{Name: "@std//empty.star", Shown: "@std//empty.star", Digest: "d2"},
		}}
}

// intent is an entry as it is begun, ended as it ends, with values that tell
// places apart.
func intent(place string) Entry {
	return Entry{Place: builtin.Place(place), Call: "zfs.snapshot", Effect: "change", Digest: "sha256-" + place,
		At: builtin.Position{File: "backup.star", Line: 7, Col: 3}, Args: json.RawMessage(`{"dataset":"rpool/data","at":"` + place + `"}`),
		Begun: epoch.Add(time.Second)}
}

func ended(place string) Entry {
	e := intent(place)
	e.Ended, e.Result = epoch.Add(time.Minute), json.RawMessage(`{"name":"`+place+`"}`)
	return e
}

// shown is a run as Show has it.
func shown(t testing.TB, db *DB, id string) (RunInfo, []Entry) {
	t.Helper()
	info, entries, _, err := db.Show(id)
	if err != nil {
		t.Fatal(err)
	}
	return info, entries
}

func same(t tester, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) { // cmp alone takes its time over long values
		t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}

func places(entries []Entry) string {
	var s []string
	for _, e := range entries {
		s = append(s, string(e.Place))
	}
	return strings.Join(s, " ")
}

// tester is what a test and a property have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
}
