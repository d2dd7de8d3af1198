package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"nixmox/cmd/nixmox/playtest"
	"nixmox/engine"
	"nixmox/engine/source"
	"nixmox/playbooks"
	"nixmox/stdlib"
)

// playbookFiles are all playbooks there are, shipped ones and later ones.
func playbookFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../playbooks/*.*")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(file string) bool {
		_, ok := engine.NameOf(file)
		return !ok || playtest.IsTest(file)
	})
	if len(files) == 0 {
		t.Fatal("there are no playbooks")
	}
	return files
}

func TestPlaybooksAreEmbeddedWithoutTheirTests(t *testing.T) {
	var want []string
	for _, file := range playbookFiles(t) {
		want = append(want, filepath.Base(file))
	}
	got, err := fs.Glob(playbooks.FS, "*")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("embedded are %v, want %v (%v): see playbooks/playbooks.go", got, want, err)
	}
}

func TestPlaybooksHaveTests(t *testing.T) {
	for _, file := range playbookFiles(t) {
		ending := filepath.Ext(file)
		tests := strings.TrimSuffix(file, ending) + "_test" + ending
		f, err := playtest.Open(t.Context(), tests, stdlib.FS)
		if err != nil {
			t.Errorf("the tests of %s: %v", file, err)
			continue
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPlaybooksPlan: what a plan shows is what a run does, and it does nothing.
func TestPlaybooksPlan(t *testing.T) {
	for _, file := range playbookFiles(t) {
		name, _ := engine.NameOf(file)
		args, ok := playbookArgs[name]
		if !ok {
			t.Errorf("say in playbookArgs how %s is run", name)
			continue
		}
		for _, args := range [][]string{args, nil} { // as said there, and with its defaults
			if args == nil && (name == "restore" || name == "snapshot_guests") {
				continue // which guest, it has to be told; one of the lab's has no snapshots
			}
			t.Run(strings.Join(append([]string{name}, args...), " "), func(t *testing.T) {
				t.Parallel()
				planAndRun(t, name, file, args)
			})
		}
	}
}

func planAndRun(t *testing.T, name, file string, args []string) {
	roots, base, err := source.Dir(file, stdlib.FS)
	if err != nil {
		t.Fatal(err)
	}
	defer roots.Close()
	how := playtest.Play{Params: paramsFrom(t, roots, base, args)}
	w, err := playtest.NewWorld()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	play := func(plan bool) *playtest.Observed {
		how.Plan = plan
		seen, err := w.Play(t.Context(), roots, base, how)
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}

	before := labState(t, w)
	plan := play(true)
	if plan.Report.Exit != engine.ExitDone {
		t.Fatalf("planned: exit %d: %v", plan.Report.Exit, plan.Report.Err)
	}
	after := labState(t, w)
	for path, sum := range before {
		if after[path] != sum {
			t.Errorf("planning changed %s", path)
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			t.Errorf("planning made %s", path)
		}
	}

	run := play(false)
	for _, difference := range playtest.Compare(plan, run) {
		// A name with the time in it is another one a second later.
		if stamps := snapshotStamp.FindAllString(difference, -1); len(stamps) == 2 && stamps[0] != stamps[1] && strings.Contains(difference, ".name: planned") {
			continue
		}
		t.Error(difference)
	}
	if name == "backup" && plan.Report.PlanEnds != "" {
		t.Errorf("the plan ends early: %s", plan.Report.PlanEnds)
	}
	if maps.Equal(labState(t, w), before) {
		t.Error("the run changed nothing either, so this shows nothing")
	}
}

// paramsFrom are the parameters that a command line gives.
func paramsFrom(t *testing.T, roots source.Roots, file string, args []string) map[string]any {
	t.Helper()
	e, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Load(t.Context(), roots, file)
	if err != nil {
		t.Fatal(err)
	}
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	params := newParamFlags(set, p.Params)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	values, err := params.resolve(func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// labState is all of a lab: its files, byte for byte, and what it has in mind
// but not yet on disk.
func labState(t *testing.T, w *playtest.World) map[string]string {
	t.Helper()
	sum := func(text []byte) string {
		s := sha256.Sum256(text)
		return hex.EncodeToString(s[:])
	}
	state, err := w.Lab.State()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"(the state in memory)": sum(state)}
	err = filepath.WalkDir(w.LabDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() { // folders, the commands and their socket
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = sum(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
