package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nixmox/builtins/lab"
	"nixmox/cmd/nixmox/playtest"
	"nixmox/engine/source"
	"nixmox/stdlib"
)

// changing is what differs from one run to the next, whoever makes it.
var changing = regexp.MustCompile(`UPID:[^"]*|[0-9]{4}_[0-9]{2}_[0-9]{2}-[0-9]{2}_[0-9]{2}_[0-9]{2}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|"took":"[^"]*"|"(duration|rate|seconds|size|bytes|unpacked)":[^,}]*|[0-9]+ bytes|\b[0-9a-f]{64}\b|byte [0-9]+|\b01[0-9A-Z]{24}\b|127\.0\.0\.1:[0-9]+`)

// whatWasDone is a run as its record has it: each call with its place,
// arguments and result, what was logged, how it ended.
func whatWasDone(t *testing.T, o *playtest.Observed) []string {
	t.Helper()
	text := func(v any) string {
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return changing.ReplaceAllString(string(out), "…")
	}
	var out []string
	for _, c := range o.Calls {
		out = append(out, fmt.Sprintf("%s %s %s -> %s %s", c.Place, c.Name, text(c.Args), text(c.Result), text(c.Fault != nil)))
		if c.Fault != nil {
			out = append(out, c.Fault.Kind+": "+changing.ReplaceAllString(c.Fault.What+c.Fault.Said+c.Fault.Hint, "…"))
		}
	}
	var logs []string // branches log in any order
	for _, l := range o.Logs {
		logs = append(logs, l.Level+": "+changing.ReplaceAllString(l.Text, "…"))
	}
	slices.Sort(logs)
	out = append(out, logs...)
	if o.Report.Err != nil {
		out = append(out, changing.ReplaceAllString(o.Report.Err.Error(), "…"))
	}
	return append(out, fmt.Sprint(o.Report.End, o.Report.Exit, o.Report.Changes, o.Report.Warnings))
}

// TestBackupInLua: backup.lua does what backup.star does, call by call.
func TestBackupInLua(t *testing.T) {
	dir := t.TempDir()
	for from, to := range map[string]string{"../../playbooks/backup.star": "backup.star", "testdata/backup.lua": "backup.lua"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tight := []string{"--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0"}
	tests := []struct {
		name   string
		args   []string
		faults []string
	}{
		{name: "everything"},
		{name: "a few, pruned", args: append([]string{"--guests", "100,101,105"}, tight...)},
		{name: "one fails", args: append([]string{"--guests", "100,101,105"}, tight...), faults: []string{"vzdump:101=fail"}},
		{name: "all fail", args: []string{"--guests", "100,101"}, faults: []string{"vzdump:*=fail"}},
		{name: "damaged archives", args: append([]string{"--guests", "100,101"}, tight...), faults: []string{"vzdump:100=flip", "vzdump:101=truncate"}},
		{name: "forbidden for one", args: []string{"--guests", "101,105"}, faults: []string{"vzdump:101=deny"}},
		{name: "marks cannot be written", args: []string{"--guests", "101"}, faults: []string{"api:PUT /nodes/*=500"}},
		{name: "nothing answers", faults: []string{"api:* /*=595"}},
		{name: "no verification", args: []string{"--guests", "101", "--no-verify"}},
		{name: "no pruning", args: []string{"--guests", "101", "--no-prune"}},
		{name: "no such guest", args: []string{"--guests", "4711"}},
	}
	for _, tt := range tests {
		for _, plan := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, plan %v", tt.name, plan), func(t *testing.T) {
				t.Parallel()
				did := map[string][]string{}
				for _, file := range []string{"backup.star", "backup.lua"} {
					did[file] = whatWasDone(t, playIn(t, dir, file, plan, tt.args, tt.faults))
				}
				if d := cmp.Diff(did["backup.star"], did["backup.lua"]); d != "" {
					t.Errorf("Starlark (-) and Lua (+) differ:\n%s", d)
				}
				if len(did["backup.lua"]) < 2 {
					t.Errorf("nothing was done: %v", did["backup.lua"])
				}
			})
		}
	}
}

// TestBackupInLuaIsRecordedAlike: the journals of both are equal, but for what
// differs from one run to the next, and the lines in the playbook.
func TestBackupInLuaIsRecordedAlike(t *testing.T) {
	lines := regexp.MustCompile(`"At":\{[^}]*\},?|"(Playbook|File|ID|Began|Ended|Digest)":"[^"]*",?|"Order":[0-9]+|"(uptime|cpu|memory_used)":[0-9.]+`)
	recorded := map[string][]string{}
	for _, file := range []string{"../../playbooks/backup.star", "testdata/backup.lua"} {
		w := newWorld(t)
		if code, out := w.nixmox(nil, append([]string{"run", file}, playbookArgs["backup"]...)...); code != 0 {
			t.Fatalf("%s: exit %d\n%s", file, code, out)
		}
		code, out := w.nixmox(nil, "runs", "--json")
		id := regexp.MustCompile(`"ID":"(\w+)"`).FindStringSubmatch(out)
		if code != 0 || id == nil {
			t.Fatalf("exit %d\n%s", code, out)
		}
		if code, out = w.nixmox(nil, "runs", "show", "--json", id[1]); code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		var shown struct{ Calls []json.RawMessage }
		if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown.Calls) < 5 {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, call := range shown.Calls {
			recorded[file] = append(recorded[file], lines.ReplaceAllString(changing.ReplaceAllString(string(call), "…"), ""))
		}
	}
	if d := cmp.Diff(recorded["../../playbooks/backup.star"], recorded["testdata/backup.lua"]); d != "" {
		t.Errorf("Starlark (-) and Lua (+) differ:\n%s", d)
	}
}

func playIn(t *testing.T, dir, file string, plan bool, args, faults []string) *playtest.Observed {
	t.Helper()
	roots, base, err := source.Dir(filepath.Join(dir, file), stdlib.FS)
	if err != nil {
		t.Fatal(err)
	}
	defer roots.Close()
	w, err := playtest.NewWorld()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, fault := range faults {
		f, err := lab.ParseFault(fault)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Lab.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	seen, err := w.Play(t.Context(), roots, base, playtest.Play{Plan: plan, Params: paramsFrom(t, roots, base, args)})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
