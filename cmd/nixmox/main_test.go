package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"nixmox/builtins/lab/command"
	"nixmox/engine/sandbox"
)

// planted stands in configurations of the scripts as a secret; nothing that
// nixmox writes in any of them may hold it.
const planted = "planted-5f0c3e9a-secret"

const raceEnv, raceAtExit = "GORACE", "atexit_sleep_ms=0"

// everything that nixmox wrote in the scripts goes to this file, too.
const outputEnv = "NIXMOX_TEST_OUTPUT"

func TestMain(m *testing.M) {
	command.Intercept()
	if len(os.Args) > 1 && os.Args[1] == sandbox.Argument {
		evaluate(os.Args[2:])
	}
	testscript.Main(scanned{m}, map[string]func(){
		"nixmox": func() {
			stdout, stderr := io.Writer(os.Stdout), io.Writer(os.Stderr)
			if path := os.Getenv(outputEnv); path != "" {
				file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err != nil {
					panic(err)
				}
				stdout, stderr = io.MultiWriter(stdout, file), io.MultiWriter(stderr, file)
			}
			code := (&app{stdout: stdout, stderr: stderr, probe: crashProbe()}).main(os.Args[1:])
			writePeak()
			os.Exit(code)
		},
	})
}

// scanned runs the tests and then looks for secrets in all they wrote.
type scanned struct{ *testing.M }

func (s scanned) Run() int {
	dir, err := os.MkdirTemp("", "nixmox-test-output")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	outputFile, labHistory = filepath.Join(dir, "output"), filepath.Join(dir, "history")
	if err := os.Mkdir(labHistory, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Else the race detector has each process that ends wait a second for what
	// its goroutines might still do.
	if err := os.Setenv(raceEnv, raceAtExit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := s.M.Run()
	text, err := os.ReadFile(outputFile)
	if err != nil && !os.IsNotExist(err) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, secret := range append(labSecrets, planted) {
		if i := bytes.Index(text, []byte(secret)); i >= 0 {
			fmt.Fprintf(os.Stderr, "FAIL: nixmox wrote a secret:\n%s\n", text[max(0, i-300):min(len(text), i+300)])
			return 1
		}
	}
	return code
}

var (
	outputFile string
	labHistory string // shared by the labs of this process
	secretsMu  sync.Mutex
	labSecrets []string
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv(outputEnv, outputFile)
			e.Setenv(raceEnv, raceAtExit)
			e.Setenv("NIXMOX_STATE", filepath.Join(e.WorkDir, "state"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("PLANTED", planted)
			repo, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			e.Setenv("REPO", repo)
			e.Defer(func() { secretsIn(e.WorkDir, e.T().(testing.TB)) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": waitFor, "exits": exits, "damage": damage, "lines": lines, "waitline": waitLine, "onrun": onRun, "waitrun": waitRun,
		},
	})
}

// secretsIn notes what the labs of a script kept secret, and holds that no
// journal has it, nor what was planted.
func secretsIn(dir string, t testing.TB) {
	secret := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	found := []string{planted}
	var journals []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // what cannot be read holds nothing
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if strings.HasPrefix(d.Name(), "journal.db") {
			journals = append(journals, path)
		}
		if strings.HasSuffix(path, "nixmox.toml") || strings.Contains(d.Name(), "secret") {
			text, _ := os.ReadFile(path)
			for _, s := range secret.FindAll(text, -1) {
				found = append(found, string(s))
			}
		}
		return nil
	})
	for _, path := range journals {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		for _, s := range found {
			if bytes.Contains(text, []byte(s)) {
				t.Errorf("%s holds a secret", path)
			}
		}
	}
	secretsMu.Lock()
	defer secretsMu.Unlock()
	labSecrets = append(labSecrets, found...)
}

// waitfor FILE waits until another process has made it.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

// waitline FILE REGEXP waits until a line of the file matches.
func waitLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitline FILE REGEXP")
	}
	re := regexp.MustCompile(args[1])
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && re.Match(text) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no line of %s matches %s", args[0], args[1])
		}
	}
}

// waitrun PLAYBOOK [STATE] waits until a run of it is recorded, in that state:
// what a run has said is no sign of that, since its reads are not committed.
func waitRun(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: waitrun PLAYBOOK [STATE]")
	}
	list := []string{"runs", "--json", "--playbook", args[0]}
	if len(args) == 2 {
		list = append(list, "--in", args[1])
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		ts.Check(ts.Exec("nixmox", list...))
		if ts.ReadFile("stdout") != "no runs\n" && ts.ReadFile("stdout") != "" {
			return
		}
	}
	ts.Fatalf("no run of %s was recorded", args[0])
}

// onrun STATE COMMAND… gives nixmox COMMAND the id of the newest run in that
// state.
func onRun(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: onrun STATE COMMAND [ARGS…]")
	}
	ts.Check(ts.Exec("nixmox", "runs", "--json", "--limit", "1", "--in", args[0]))
	var run struct{ ID string }
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &run); err != nil {
		ts.Fatalf("no run is %s: %v", args[0], err)
	}
	err := ts.Exec("nixmox", append([]string{args[1], run.ID}, args[2:]...)...)
	if (err != nil) != neg {
		ts.Fatalf("nixmox %v: %v", args[1:], err)
	}
}

// exits CODE PROGRAM ARGS… runs a program and holds its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGS…]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if strings.Contains(ts.ReadFile("stderr")+ts.ReadFile("stdout"), "goroutine ") {
		ts.Fatalf("a Go stack was shown")
	}
	if got != args[0] {
		ts.Fatalf("exit %s, want %s", got, args[0])
	}
}

// damage truncate|flip GLOB spoils the one file that the glob matches.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage truncate|flip GLOB")
	}
	files, err := filepath.Glob(ts.MkAbs(args[1]))
	if err != nil || len(files) == 0 {
		ts.Fatalf("%s matches nothing (%v)", args[1], err)
	}
	path := files[len(files)-1]
	text, err := os.ReadFile(path)
	ts.Check(err)
	switch args[0] {
	case "truncate":
		text = text[:len(text)/2]
	case "flip":
		text[len(text)/2] ^= 4
	default:
		ts.Fatalf("unknown damage %s", args[0])
	}
	ts.Check(os.WriteFile(path, text, 0o600))
}

// lines [!] N REGEXP counts the lines of standard output that match.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lines N REGEXP")
	}
	re := regexp.MustCompile(args[1])
	n := 0
	for line := range strings.SplitSeq(ts.ReadFile("stdout"), "\n") {
		if re.MatchString(line) {
			n++
		}
	}
	if (fmt.Sprint(n) == args[0]) == neg {
		ts.Fatalf("%d lines match %s, want %s", n, args[1], args[0])
	}
}
