package zfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// Lists are taken apart into arguments that name every snapshot once, in order,
// each of one dataset, below the kernel's limit, and never a range.
func TestDestroyArguments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-zA-Z0-9_.: -]{1,120}`)
		var snapshots []Snapshot
		for range rapid.IntRange(1, 4).Draw(t, "datasets") {
			dataset := "p" + part.Draw(t, "dataset")
			name := part.Draw(t, "name")
			for i := range rapid.IntRange(0, 3*maxTogether).Draw(t, "count") {
				snapshots = append(snapshots, Snapshot(fmt.Sprintf("%s@%s%d", dataset, name, i)))
			}
		}
		at := 0
		for _, argument := range destroyArguments(snapshots) {
			dataset, rest, ok := strings.Cut(argument, "@")
			names := strings.Split(rest, ",")
			if !ok || len(argument) >= 128<<10 || len(names) > maxTogether || strings.ContainsAny(argument, "%") {
				t.Fatalf("%d bytes, %d names: %.100s", len(argument), len(names), argument)
			}
			for _, name := range names {
				if want := snapshots[at]; Snapshot(dataset+"@"+name) != want {
					t.Fatalf("number %d is %s@%s, want %s", at, dataset, name, want)
				}
				at++
			}
		}
		if at != len(snapshots) {
			t.Fatalf("%d of %d are named", at, len(snapshots))
		}
	})
}

func TestArgumentsOfTheLongestNames(t *testing.T) {
	var snapshots []Snapshot
	for i := range 2000 {
		name := fmt.Sprintf("p@%06d", i)
		snapshots = append(snapshots, Snapshot(name+strings.Repeat("n", maxName-len(name))))
	}
	for _, argument := range destroyArguments(snapshots) {
		if len(argument) >= 128<<10 {
			t.Errorf("an argument of %d bytes", len(argument))
		}
	}
	if n := len(destroyArguments(snapshots)); n != 4 {
		t.Errorf("%d arguments", n)
	}
}

// counted is a folder whose zfs lists so many snapshots of one dataset until it
// is told to destroy some, and notes how it was called.
func counted(t testing.TB, count int) (r *run.Runner, calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	var list strings.Builder
	for i := range count {
		name := fmt.Sprintf("auto-%06d", i)
		fmt.Fprintf(&list, "rpool/a@%s\t%d\t%d\t%d\t0\t0\tnixmox: v=1 run=01T place=1 playbook=t of=%s\n", name, i+1, i+1, 1767225600+i, name)
	}
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	last := list.String()[strings.LastIndex(strings.TrimSpace(list.String()), "\n")+1:]
	if err := os.WriteFile(filepath.Join(dir, "last"), []byte(last), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := filepath.Join(dir, "commands")
	if err := os.Mkdir(commands, 0o700); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
echo "$1 $2" >> %[1]s/calls
case "$1" in
list) if [ -e %[1]s/destroyed ]; then exec /bin/cat %[1]s/last; fi; exec /bin/cat %[1]s/list ;;
destroy) : > %[1]s/destroyed ;;
*) exit 2 ;;
esac
`, dir)
	if err := os.WriteFile(filepath.Join(commands, "zfs"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return &run.Runner{Folder: commands}, func() []string {
		b, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// 10,000 snapshots of one dataset go in a process for each argument, and are
// looked at in one each time.
func TestProcessesOfALargePrune(t *testing.T) {
	const count = 10_000
	r, calls := counted(t, count)
	m := &machine{t: t, runner: r, run: testRun(func() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) })}
	var steps []builtin.Progress
	m.run.Progress = func(_ builtin.Call, p builtin.Progress) { steps = append(steps, p) }
	done := must[PruneResult](m, "prune", args{"datasets": list("rpool/a"), "keep": map[string]any{"last": int64(1)}})
	if len(done.Removed) != count-1 || done.Removed[0].Snapshot != "rpool/a@auto-000000" {
		t.Errorf("%d went", len(done.Removed))
	}
	verbs := map[string]int{}
	for _, c := range calls() {
		verbs[c]++
	}
	if want := (count-1)/maxTogether + 1; verbs["destroy -vp"] != want || verbs["list -Hp"] != 3 || len(verbs) != 2 || len(steps) != want {
		t.Errorf("%v, %d steps", verbs, len(steps))
	}
}

// What fails in the middle is told with what went and what did not.
func TestPruneStopsAtAFailure(t *testing.T) {
	r, _ := counted(t, 2500)
	script := filepath.Join(r.Folder, "zfs")
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(r.Folder)
	// The second command fails, and the last 1500 are there still.
	text := strings.Replace(string(b), "destroy) :", fmt.Sprintf("destroy) if [ -e %[1]s/destroyed ]; then echo \"cannot destroy snapshots: out of space\" >&2; exit 1; fi; :", dir), 1)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "list"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	if err := os.WriteFile(filepath.Join(dir, "last"), []byte(strings.Join(lines[maxTogether:], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, runner: r, run: testRun(func() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) })}
	f := refused[PruneResult](m, builtin.Failed, "1000 of 2499 are gone", "prune", args{"datasets": list("rpool/a"), "keep": map[string]any{"last": int64(1)}})
	part, ok := f.Partial.(PruneResult)
	if !ok || len(part.Removed) != maxTogether || part.Counts[0] != (DatasetCount{"rpool/a", maxTogether, 1500}) || !strings.Contains(f.Said, "out of space") {
		t.Errorf("%v, %+v", f, part.Counts)
	}
}
