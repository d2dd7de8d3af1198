package zfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// The cases here kill a process that destroys, before and after each command
// of it that changes something, and hold what the next one makes of that.

// scene is what a process is killed in the middle of.
type scene struct {
	prepare func(m *machine)
	call    string
	args    func(root string) args
	left    []string // what is there when all is done
}

var scenes = map[string]scene{
	"destroy": {
		prepare: func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.take(m.root+"/a", "one", "two")
			m.take(m.root, "one", "two")
		},
		call: "destroy",
		args: func(root string) args { return args{"snapshots": list(root+"/a@one", root+"@one")} },
		left: []string{"/a@two", "@two"},
	},
	"prune": {
		prepare: func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.take(m.root+"/a", "one", "two", "three")
			m.take(m.root, "one", "two", "three")
		},
		call: "prune",
		args: func(root string) args {
			return args{"datasets": list(root), "recursive": true, "keep": map[string]any{"last": int64(2)}}
		},
		left: []string{"/a@two", "/a@three", "@two", "@three"},
	},
	"rollback": {
		prepare: func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.write(m.root+"/a", "kept", 50_000)
			m.take(m.root+"/a", "one", "two")
			m.zfs("snapshot", m.root+"/a@theirs")
			m.zfs("bookmark", m.root+"/a@two", m.root+"/a#two")
			m.write(m.root+"/a", "lost", 150_000)
		},
		call: "rollback",
		args: func(root string) args { return args{"snapshot": root + "/a@one", "destroy_later": true} },
		left: []string{"/a@one"},
	},
}

// The environment of the process that is killed.
const (
	sceneVariable  = "NIXMOX_TEST_SCENE"
	rootVariable   = "NIXMOX_TEST_ROOT"
	folderVariable = "NIXMOX_TEST_FOLDER"
	nowVariable    = "NIXMOX_TEST_NOW"
	handleFile     = "handle"
)

// TestKilled is the process that is killed, and without its environment nothing.
func TestKilled(t *testing.T) {
	s, ok := scenes[os.Getenv(sceneVariable)]
	if !ok {
		t.Skip("it is the process that TestCrash kills")
	}
	folder := os.Getenv(folderVariable)
	now, err := time.Parse(time.RFC3339, os.Getenv(nowVariable))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, runner: &run.Runner{Folder: filepath.Join(folder, "commands")}, root: os.Getenv(rootVariable), place: killedPlace - 1}
	m.run = testRun(func() time.Time { return now })
	m.run.Handle = func(_ builtin.Call, handle string) error {
		return os.WriteFile(filepath.Join(folder, handleFile), []byte(handle), 0o600)
	}
	if _, err := perform[any](m, m.decided(s.call, s.args(m.root))); err != nil {
		t.Fatal(err)
	}
}

func testRun(now func() time.Time) *builtin.Run {
	return &builtin.Run{ID: "01TESTTESTTESTTESTTESTTEST", Playbook: "test", Now: now}
}

// killedPlace is the place of the call that is killed.
const killedPlace = 99

// trap makes a folder of commands of which one kills the process that started
// it: the one that is number at of those that change something, before or
// after it is done.
func (m *machine) trap(at int, when string) (folder string) {
	m.t.Helper()
	folder = m.t.TempDir()
	commands := filepath.Join(folder, "commands")
	if err := os.Mkdir(commands, 0o700); err != nil {
		m.t.Fatal(err)
	}
	for _, name := range []string{"zfs", "zpool"} {
		program := filepath.Join(m.runner.Folder, name)
		if m.runner.Folder == "" {
			var err error
			if program, err = exec.LookPath(name); err != nil {
				m.t.Fatal(err)
			}
		}
		script := fmt.Sprintf(`#!/bin/sh
case "$1 $2" in
"destroy -n"*) exec '%[1]s' "$@" ;;
destroy*|hold*|release*|rollback*) ;;
*) exec '%[1]s' "$@" ;;
esac
read n < '%[2]s/count'
n=$((n+1))
echo $n > '%[2]s/count'
[ "$n.%[4]s" = %[3]d.before ] && kill -9 $PPID && exit 1
'%[1]s' "$@"
status=$?
[ "$n.%[4]s" = %[3]d.after ] && kill -9 $PPID
exit $status
`, program, folder, at, when)
		if err := os.WriteFile(filepath.Join(commands, name), []byte(script), 0o700); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "count"), []byte("0\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return folder
}

// kill lets a process make the call, and reports whether it was killed, and
// what it made durable.
func (m *machine) kill(name, folder string) (killed bool, handle string) {
	m.t.Helper()
	program, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.CommandContext(m.t.Context(), program, "-test.run=^TestKilled$", "-test.v")
	cmd.Env = append(os.Environ(), sceneVariable+"="+name, rootVariable+"="+m.root, folderVariable+"="+folder, nowVariable+"="+m.run.Now().Format(time.RFC3339))
	out, err := cmd.CombinedOutput()
	exit, failed := errors.AsType[*exec.ExitError](err)
	killed = failed && exit.ExitCode() == -1
	if err != nil && !killed || !killed && !strings.Contains(string(out), "--- PASS: TestKilled") {
		m.t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(folder, handleFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return killed, string(b)
}

func TestCrash(t *testing.T) {
	for name, s := range scenes {
		for _, when := range []string{"before", "after"} {
			for at := 1; at < 20; at++ {
				survived := false
				t.Run(name+"/"+when+" "+strconv.Itoa(at), func(t *testing.T) {
					survived = !crash(newMachine(t), name, s, at, when, false)
				})
				if survived {
					break
				}
				t.Run(name+"/"+when+" "+strconv.Itoa(at)+", and somebody snapshots", func(t *testing.T) {
					crash(newMachine(t), name, s, at, when, true)
				})
			}
		}
	}
}

// crash kills a call, has it settled and done, and reports whether there was
// something to kill.
func crash(m *machine, name string, s scene, at int, when string, somebody bool) (killed bool) {
	s.prepare(m)
	m.place = killedPlace - 1
	c := m.decided(s.call, s.args(m.root))
	killed, c.Handle = m.kill(name, m.trap(at, when))
	if !killed {
		m.left(s.left...)
		return false
	}
	if somebody {
		m.zfs("snapshot", m.root+"/a@auto-precious-manual")
	}
	there := m.snapshotsThere()
	settled := m.settlement(c, c.Handle)
	var err error
	switch settled.State {
	case builtin.NotDone:
		_, err = c.Func.Do(m.t.Context(), c)
	case builtin.Done:
	default:
		m.t.Fatalf("%+v", settled)
	}
	if name == "rollback" {
		m.noHolds(m.root + "/a@one")
	}
	f := builtin.AsFault(err)
	switch {
	case somebody && f != nil && f.Kind == builtin.Conflict:
		m.left(there...) // and nothing more goes
	case err != nil:
		m.t.Fatalf("%+v: %v", settled, err)
	case somebody:
		m.left(append(slices.Clone(s.left), "/a@auto-precious-manual")...)
	default:
		m.left(s.left...)
		if name == "rollback" && m.written(m.root+"/a@one") != "0" {
			m.t.Error("it is not rolled back")
		}
	}
	return true
}
