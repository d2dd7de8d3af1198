package main

import (
	"bytes"
	"fmt"
	"io/fs"
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

	"nixmox/builtins/lab"
	"nixmox/engine"
	"nixmox/engine/builtin"
)

// The crash matrix: for every playbook there is, nixmox is killed (kill -9) at
// every position of the journal's protocol, of every change, and while Proxmox
// answers each request that changes something; then the run is resumed. The
// world must end as after an undisturbed run, with nothing asked for twice.

const (
	killEnv   = "NIXMOX_TEST_KILL"   // POSITION:PLACE at which the process kills itself
	probesEnv = "NIXMOX_TEST_PROBES" // a file that takes every position
	fillEnv   = "NIXMOX_TEST_FILL"   // POSITION:PLACE at which the disk of the state folder fills up
)

// crashProbe is what the test's nixmox does at the positions of the protocol.
func crashProbe() func(string, *builtin.Call) {
	kill, file, fill := os.Getenv(killEnv), os.Getenv(probesEnv), os.Getenv(fillEnv)
	if kill == "" && file == "" && fill == "" {
		return nil
	}
	var mu sync.Mutex
	return func(at string, call *builtin.Call) {
		mu.Lock()
		defer mu.Unlock()
		position := at + ":" + string(call.Place)
		if position == kill {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if position == fill {
			fillDisk(filepath.Join(os.Getenv("NIXMOX_STATE"), "filler"))
		}
		if file != "" {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				panic(err)
			}
			_, _ = fmt.Fprintln(f, position)
			_ = f.Close()
		}
	}
}

func fillDisk(path string) {
	f, err := os.Create(path)
	if err != nil {
		panic(err)
	}
	for size := 1 << 16; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	_ = f.Close()
}

// playbookArgs make a playbook's run short and full of what matters: several
// nodes, something to prune.
var playbookArgs = map[string][]string{
	"backup":          {"--guests", "100,101", "--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0"},
	"restore":         {"--guest", "100", "--archive", "newest", "--start"},
	"snapshot":        {"--rules", "last=1", "--exclude", "rpool/ROOT/**"},
	"snapshot_guests": {"--guests", "100,101", "--rules", "last=1"},
}

func TestCrashMatrix(t *testing.T) {
	for _, file := range playbookFiles(t) {
		name, _ := engine.NameOf(file)
		t.Run(name, func(t *testing.T) { crashMatrix(t, name, file, 1000) })
	}
	// The protocol is the same; what is another is who evaluates again.
	t.Run("in Lua", func(t *testing.T) { crashMatrix(t, "backup", "testdata/backup.lua", 12) })
}

// crashMatrix kills at so many of the positions, spread evenly, at the most.
func crashMatrix(t *testing.T, name, file string, most int) {
	args, ok := playbookArgs[name]
	if !ok {
		t.Fatalf("say in playbookArgs how %s is run", name)
	}
	args = append([]string{file}, args...)

	calm := newWorld(t)
	probes := filepath.Join(t.TempDir(), "probes")
	if code, out := calm.nixmox([]string{probesEnv + "=" + probes}, append([]string{"run"}, args...)...); code != 0 {
		t.Fatalf("the undisturbed run: exit %d\n%s", code, out)
	}
	want, wantAsked := calm.state(), calm.asked()
	text, err := os.ReadFile(probes)
	if err != nil {
		t.Fatal(err)
	}
	positions := strings.Fields(string(text))
	if len(positions) < 8 {
		t.Fatalf("only %d positions: %v", len(positions), positions)
	}
	for i := range wantAsked {
		positions = append(positions, fmt.Sprintf("request:%d", i+1))
	}
	if testing.Short() {
		most = min(most, 8)
	}
	if len(positions) > most {
		positions = thinned(positions, most)
	}
	for _, position := range positions {
		t.Run(position, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var env []string
			if n, isRequest := strings.CutPrefix(position, "request:"); isRequest {
				_, _ = fmt.Sscan(n, &w.killAt)
			} else {
				env = append(env, killEnv+"="+position)
			}
			code, out := w.nixmox(env, append([]string{"run"}, args...)...)
			if code != -1 {
				t.Fatalf("it was not killed: exit %d\n%s", code, out)
			}
			w.powerCut()
			if code, out = w.nixmox(nil, "resume", "--all"); code != 0 && !strings.Contains(out, "no run is to be resumed") {
				t.Fatalf("resumed: exit %d\n%s", code, out)
			}
			if strings.Contains(out, "no run is to be resumed") {
				t.Fatalf("the run left no record\n%s", out)
			}
			if got := w.state(); got != want {
				t.Errorf("the world differs:\n%s\nwant:\n%s\nresumed:\n%s", got, want, out)
			}
			if got := w.asked(); !slices.Equal(got, wantAsked) {
				t.Errorf("asked of Proxmox:\n  %s\nwant:\n  %s\nresumed:\n%s", strings.Join(got, "\n  "), strings.Join(wantAsked, "\n  "), out)
			}
			if code, out = w.nixmox(nil, "resume", "--all"); code != 0 || !strings.Contains(out, "no run is to be resumed") {
				t.Errorf("it can be resumed again: exit %d\n%s", code, out)
			}
		})
	}
}

func thinned(all []string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, all[i*len(all)/n])
	}
	return out
}

// world is a lab in this process, and nixmox in others.
type world struct {
	t     *testing.T
	lab   *lab.Lab
	dir   string
	dump  string // where archives are
	mu    sync.Mutex
	sent  []string // changes that were asked of Proxmox, in order of arrival
	child *os.Process
	// killAt: the child is killed while this change is answered, counted from 1.
	killAt int
}

func newWorld(t *testing.T) *world { return newWorldIn(t, lab.Options{Clock: lab.ClockAuto}) }

func newWorldIn(t *testing.T, o lab.Options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	o.Dir, o.Observe = filepath.Join(w.dir, "lab"), w.observe
	o.Brief, o.History = true, labHistory // the lab outlives every child
	l, err := lab.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	endpoint, err := l.Start()
	if err != nil {
		t.Fatal(err)
	}
	w.lab = l
	for _, name := range []string{"old-1", "old-2", "old-3"} { // something to prune
		w.zfs("pve1", "snapshot", "-r", "-o", "nixmox:snapshot=nixmox: v=1 run=01LAB of="+name, "rpool/share@"+name)
	}
	t.Cleanup(func() { secretsIn(w.dir, t) })
	w.dump = filepath.Join(endpoint.Mounts["backup"], "dump")
	if err := os.WriteFile(filepath.Join(w.dir, "nixmox.toml"), []byte(labToml(endpoint, filepath.Join(w.dir, "lab"), "auto")), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) observe(x lab.Exchange) {
	if x.Method == http.MethodGet {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, x.Method+" "+stamp.ReplaceAllString(x.Path, "DATE"))
	if len(w.sent) == w.killAt && w.child != nil {
		_ = w.child.Kill()
	}
}

// asked are the changes that were asked of Proxmox, in any order of branches.
func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.sent))
}

// nixmox runs it; exit code -1 means killed.
func (w *world) nixmox(env []string, args ...string) (int, string) {
	w.t.Helper()
	cmd := w.command(append(env, outputEnv+"="+outputFile), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.child = cmd.Process
	w.mu.Unlock()
	_ = cmd.Wait() // the exit code says it
	w.mu.Lock()
	w.child, w.killAt = nil, 0
	w.mu.Unlock()
	return cmd.ProcessState.ExitCode(), out.String()
}

// command is nixmox as a process, with this world configured.
func (w *world) command(env []string, args ...string) *exec.Cmd {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	// testscript.Main makes the test binary nixmox when it is called so.
	nixmox := filepath.Join(w.dir, "bin", "nixmox")
	if err := os.MkdirAll(filepath.Dir(nixmox), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(self, nixmox); err != nil && !os.IsExist(err) {
		w.t.Fatal(err)
	}
	cmd := exec.Command(nixmox, args...)
	cmd.Env = append(os.Environ(), append(env, "NIXMOX_STATE="+filepath.Join(w.dir, "state"), "NIXMOX_CONFIG="+filepath.Join(w.dir, "nixmox.toml"))...)
	return cmd
}

// powerCut leaves of the state folder what a power cut leaves: copies of the
// files, without what lives in memory only.
func (w *world) powerCut() {
	w.t.Helper()
	from, to := filepath.Join(w.dir, "state"), filepath.Join(w.dir, "after")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		w.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(to, "journal.db-shm")) // if there is one
	if err := os.RemoveAll(from); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(to, from); err != nil {
		w.t.Fatal(err)
	}
}

var (
	stamp    = regexp.MustCompile(`\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d`)
	runMark  = regexp.MustCompile(`run=01[0-9A-Z]{24}`)
	verified = regexp.MustCompile(`verified=\S+ sha256=\S+`)
)

// state is the world with what differs from run to run taken out: archives,
// their notes, and whether they are there.
func (w *world) state() string {
	w.t.Helper()
	var lines []string
	err := filepath.WalkDir(w.dump, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".log") {
			return err
		}
		line := d.Name()
		notes, err := os.ReadFile(path + ".notes")
		if err == nil {
			line += " " + strings.TrimSpace(string(notes))
		}
		if strings.HasSuffix(path, ".notes") {
			return nil
		}
		if strings.Contains(line, "run=01LAB") || !strings.Contains(line, "run=") {
			lines = append(lines, line)
			return nil
		}
		line = verified.ReplaceAllString(runMark.ReplaceAllString(stamp.ReplaceAllString(line, "DATE"), "run=ID"), "verified")
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(lines)
	for _, node := range []string{"pve1", "pve2", "pve3"} {
		list := w.zfs(node, "list", "-H", "-r", "-t", "all", "-s", "name", "-o", "name,userrefs,nixmox:snapshot", "rpool")
		lines = append(lines, runMark.ReplaceAllString(snapshotStamp.ReplaceAllString(list, "TIME"), "run=ID"))
	}
	return strings.Join(lines, "\n")
}

var snapshotStamp = regexp.MustCompile(`\d{8}T\d{6}Z`)

// zfs gives a command on a node of the lab.
func (w *world) zfs(node string, args ...string) string {
	w.t.Helper()
	out, complaints, exit, err := w.lab.Command(node, append([]string{"zfs"}, args...)...)
	if err != nil || exit != 0 {
		w.t.Fatalf("zfs %s: exit %d, %v: %s", strings.Join(args, " "), exit, err, complaints)
	}
	return out
}

// The disk of the state folder fills up in the middle of a run: nothing more
// is done that could not be recorded, and the run goes on once there is room.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it mounts a small file system, which takes root")
	}
	args := append([]string{"run", "../../playbooks/backup.star"}, playbookArgs["backup"]...)
	calm := newWorld(t)
	if code, out := calm.nixmox(nil, args...); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	for _, position := range []string{"called:2.1.2", "begun:2.1.2", "held:2.1.2", "acted:3", "begun:3"} {
		t.Run(position, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			state := filepath.Join(w.dir, "state")
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "nixmox-test", state).CombinedOutput(); err != nil {
				t.Skipf("no small file system can be mounted here: %v %s", err, out)
			}
			t.Cleanup(func() {
				if out, err := exec.Command("umount", state).CombinedOutput(); err != nil {
					t.Errorf("umount: %v %s", err, out)
				}
			})
			code, out := w.nixmox([]string{fillEnv + "=" + position}, args...)
			if code != 1 || !strings.Contains(out, "the journal cannot record") || !strings.Contains(out, "full") || !strings.Contains(out, "go on with: nixmox resume") {
				t.Errorf("exit %d\n%s", code, out)
			}
			if err := os.Remove(filepath.Join(state, "filler")); err != nil {
				t.Fatal(err)
			}
			if code, out := w.nixmox(nil, "resume", "--all"); code != 0 {
				t.Fatalf("resumed: exit %d\n%s", code, out)
			}
			if got, want := w.state(), calm.state(); got != want {
				t.Errorf("the world differs:\n%s\nwant:\n%s", got, want)
			}
			if got, want := w.asked(), calm.asked(); !slices.Equal(got, want) {
				t.Errorf("asked %v, want %v", got, want)
			}
		})
	}
}
