package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peakEnv names a file that takes the most memory that nixmox itself had, in
// KiB; its evaluator's is not in it.
const peakEnv = "NIXMOX_TEST_PEAK"

func writePeak() {
	path := os.Getenv(peakEnv)
	if path == "" {
		return
	}
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		err = os.WriteFile(path, regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)[1], 0o600)
	}
	if err != nil {
		panic(err)
	}
}

// The limits of the hostile playbooks.
const (
	hostileTime   = time.Second
	hostileMemory = "64MiB"
	hostileSteps  = "10000000"
	engineGrows   = 64 << 10 // KiB
)

// escaped is what a hostile playbook got.
type escaped struct {
	exit   int
	output string
	took   time.Duration
	peak   int // KiB of nixmox itself
}

// runHostile runs a playbook as a process in a folder of its own, beside what
// is not the playbook's: secrets, and links out of the folder.
func runHostile(t *testing.T, ending, text string) escaped {
	t.Helper()
	dir := t.TempDir()
	books := filepath.Join(dir, "books")
	for _, err := range []error{
		os.Mkdir(books, 0o700),
		os.WriteFile(filepath.Join(dir, "nixmox.toml"), []byte("[secrets]\nnas = { file = \"nas\" }\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "nas"), []byte(planted), 0o600),
		os.WriteFile(filepath.Join(dir, "secret"+ending), []byte("x = '"+planted+"'\n"), 0o600),
		os.WriteFile(filepath.Join(books, "notes.txt"), []byte("x = '"+planted+"'\n"), 0o600),
		os.WriteFile(filepath.Join(books, "play"+ending), []byte(text), 0o600),
		os.Symlink("../secret"+ending, filepath.Join(books, "link"+ending)),
		os.Symlink("..", filepath.Join(books, "linked")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("nixmox", "run", "--config", filepath.Join(dir, "nixmox.toml"), "--memory", hostileMemory, "--steps", hostileSteps,
		"--timeout", hostileTime.String(), "play"+ending)
	cmd.Dir = books
	cmd.Env = append(os.Environ(), "NIXMOX_STATE="+filepath.Join(dir, "state"), "HOME="+dir, "PLANTED="+planted, peakEnv+"="+filepath.Join(dir, "peak"))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	began := time.Now()
	err := cmd.Run()
	out := escaped{took: time.Since(began), output: output.String(), exit: cmd.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	peak, err := os.ReadFile(filepath.Join(dir, "peak"))
	if err != nil {
		t.Fatalf("nixmox did not live to its end: exit %d, %.500s", out.exit, out.output)
	}
	if out.peak, err = strconv.Atoi(string(peak)); err != nil {
		t.Fatal(err)
	}
	return out
}

// A hostile playbook ends as it should and in time, leaves the engine alive
// and small, and shows nothing that it must not.
func TestEscapes(t *testing.T) {
	before := runHostile(t, ".star", "def main():\n    pass\n")
	count := 0
	for _, h := range hostiles() {
		for ending, text := range map[string]string{".star": h.star, ".lua": h.lua} {
			if text == "" {
				continue
			}
			count++
			t.Run(h.name+" "+ending[1:], func(t *testing.T) {
				if h.memory && raceDetector {
					t.Skip("memory limits are not for the race detector, which takes some times as much")
				}
				t.Parallel()
				if !strings.Contains(text, "main(") && !strings.Contains(h.name, "a file") {
					if ending == ".lua" {
						text = "function main()\n" + text + "\nend\n"
					} else {
						text = "def main():\n    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
					}
				}
				got := runHostile(t, ending, text)
				if !slices.Contains(h.ends, got.exit) {
					t.Errorf("exit code %d, want one of %d: %.1000s", got.exit, h.ends, got.output)
				}
				if !strings.Contains(got.output, h.shows) {
					t.Errorf("it does not show %q: %.1000s", h.shows, got.output)
				}
				for _, never := range []string{planted, "\x1b", "\x07", "\u202e", "WENT ON", "\nplay: done in 1ms: 3", "\nnixmox: done", "root:x:0", "goroutine "} {
					if i := strings.Index(got.output, never); i >= 0 {
						t.Errorf("it shows %q: %q", never, got.output[max(0, i-200):min(len(got.output), i+200)])
					}
				}
				if raceDetector {
					return
				}
				for try := 0; try < 2 && got.took > hostileTime+time.Second; try++ { // the machine may have been busy
					got.took = runHostile(t, ending, text).took
				}
				if got.took > hostileTime+time.Second {
					t.Errorf("it took %s", got.took)
				}
				if grown := got.peak - before.peak; grown > engineGrows {
					t.Errorf("nixmox grew by %d MiB", grown>>10)
				}
			})
		}
	}
	if count < 160 {
		t.Errorf("there are %d hostile playbooks", count)
	}
}
