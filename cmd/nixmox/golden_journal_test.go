package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var newJournal = flag.String("new-journal", "", "keep a journal of this binary as testdata/journals/NAME")

// goldenPlaybook needs no estate, and takes every kind of record: reads with
// results of several types, a fault that was caught, branches, a handle.
const goldenPlaybook = `"""A run that is interrupted in its sleep."""

def main(word = "golden", list = ["a", "b"]):
    began = now()
    n = random(1000000)
    r = attempt(lambda: random(0))
    p = parallel([1, 2], lambda i: random(1000) + i)
    defer(lambda: log("deferred"))
    sleep("2s")
    log("%s %s %s %d %s %s" % (word, list, began, n, r.error.kind, p))
`

// Journals of earlier binaries resume under this one, and the playbook sees
// what it saw then.
func TestGoldenJournals(t *testing.T) {
	if *newJournal != "" {
		keepJournal(t, filepath.Join("testdata", "journals", *newJournal))
	}
	folders, err := filepath.Glob("testdata/journals/*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("there are no golden journals: %v", err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(folder, "want"))
			if err != nil {
				t.Fatal(err)
			}
			if got := resumeGolden(t, folder); got != string(want) {
				t.Errorf("resumed:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func keepJournal(t *testing.T, folder string) {
	w := newWorld(t)
	playbook := filepath.Join(w.dir, "golden.star")
	if err := os.WriteFile(playbook, []byte(goldenPlaybook), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := w.nixmox([]string{killEnv + "=held:7"}, "run", playbook); code != -1 {
		t.Fatalf("it was not killed: %d\n%s", code, out)
	}
	// What a clean end leaves: one file. Opening and closing it does that.
	if code, out := w.nixmox(nil, "runs"); code != 0 {
		t.Fatal(out)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "state", "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "journal.db"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "want"), []byte(resumeGolden(t, folder)), 0o600); err != nil {
		t.Fatal(err)
	}
}

var clockStamp = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d |after \S+|in \S+: no`)

// resumeGolden resumes the one run of a golden journal, in a copy, and gives
// what is shown, without the times of day.
func resumeGolden(t *testing.T, folder string) string {
	w := newWorld(t)
	text, err := os.ReadFile(filepath.Join(folder, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(w.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "journal.db"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := w.nixmox(nil, "resume", "--config", filepath.Join(w.dir, "nixmox.toml"), "--all")
	if code != 0 || !strings.Contains(out, "golden") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	return clockStamp.ReplaceAllString(out, "")
}
