package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/reference"
)

var update = flag.Bool("update", false, "write docs/reference.md anew")

// docs/reference.md is what `nixmox doc --markdown` prints.
func TestReferencePage(t *testing.T) {
	var page bytes.Buffer
	e, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	if err := reference.Markdown(&page, e.Modules, engine.AtHand()); err != nil {
		t.Fatal(err)
	}
	const path = "../../docs/reference.md"
	if *update {
		if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, page.Bytes()) {
		t.Errorf("docs/reference.md is not what the definitions say (%v): go test ./cmd/nixmox -run ReferencePage -update", err)
	}
}

// Every function has an example, and each runs in the lab.
func TestExamplesRun(t *testing.T) {
	e, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	e.Sandbox = nil // the run below has it
	modules := make([]string, len(e.Modules))
	for i, m := range e.Modules {
		var names []string
		for _, f := range m.Funcs {
			names = append(names, f.Name)
		}
		modules[i] = m.Name + ` = ["` + strings.Join(names, `", "`) + `"]`
	}
	needs := "needs(" + strings.Join(modules, ", ") + ")\n"
	try := func(f *builtin.Func) {
		t.Run(f.QualifiedName(), func(t *testing.T) {
			t.Parallel()
			if f.Example == "" {
				t.Fatal("it has no example")
			}
			file := filepath.Join(t.TempDir(), "example.star")
			text := needs + "\ndef main():\n    " + strings.ReplaceAll(f.Example, "\n", "\n    ") + "\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := loadPlaybook(t.Context(), e, file)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range e.Check(p) {
				if !strings.Contains(problem.What, "is never used") {
					t.Errorf("it does not check: %v", problem)
				}
			}
			var stdout, stderr bytes.Buffer
			if code := (&app{stdout: &stdout, stderr: &stderr}).main([]string{"run", "--lab", "--state", t.TempDir(), file}); code != 0 {
				t.Errorf("exit %d\n%s%s\n%s", code, stdout.String(), stderr.String(), text)
			}
		})
	}
	for _, f := range engine.AtHand() {
		try(&f)
	}
	for _, m := range e.Modules {
		for i := range m.Funcs {
			try(&m.Funcs[i])
		}
	}
}
