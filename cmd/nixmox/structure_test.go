package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins"
	"nixmox/engine"
	"nixmox/engine/reference"
)

// pkg is what `go list` says of a package, tests aside.
type pkg struct {
	Dir, ImportPath string
	GoFiles         []string
	Imports         []string
	Standard        bool
	Module          *struct{ Path string }
	Error           *struct{ Err string }
}

const module = "nixmox"

// ours are our own packages by their path in the module.
func ours(t *testing.T) (own map[string]pkg, all map[string]pkg) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=Dir,ImportPath,GoFiles,Imports,Standard,Module,Error", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	own, all = map[string]pkg{}, map[string]pkg{}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
		if p.Module != nil && p.Module.Path == module {
			own[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
		}
	}
	if len(own) < 10 {
		t.Fatalf("only %d packages are ours", len(own))
	}
	return own, all
}

// within reports whether a package is at a path or below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// mayImport holds the direction of imports:
// cmd -> builtins -> engine/builtin <- engine/* <- engine <- cmd.
func mayImport(from, to string) bool {
	switch {
	case within(from, "cmd"):
		return !within(to, "cmd") || within(to, from)
	case within(from, "builtins"):
		return within(to, "builtins") || to == "engine/builtin" || to == "engine/retention"
	case from == "engine/builtin" || from == "engine/retention":
		return false
	case from == "engine":
		return within(to, "engine")
	case within(from, "engine"):
		return within(to, "engine") && to != "engine"
	case from == "stdlib" || from == "playbooks": // files, embedded
		return false
	}
	return false
}

func TestImportsPointOneWay(t *testing.T) {
	own, _ := ours(t)
	for path, p := range own {
		for _, i := range p.Imports {
			if to, ok := strings.CutPrefix(i, module+"/"); ok && !mayImport(path, to) {
				t.Errorf("%s imports %s", path, to)
			}
		}
	}
}

func TestStandardLibraryOnly(t *testing.T) {
	own, all := ours(t)
	for _, path := range []string{"engine/builtin", "engine/retention"} {
		p, ok := own[path]
		if !ok {
			t.Errorf("there is no %s", path)
		}
		for _, i := range p.Imports {
			if dep, ok := all[i]; !ok || !dep.Standard {
				t.Errorf("%s imports %s", path, i)
			}
		}
	}
}

// TestSoleImporters: what few packages may import, so that it can be
// exchanged, or reasoned about, in one place.
func TestSoleImporters(t *testing.T) {
	own, _ := ours(t)
	sole := map[string][]string{ // import, and what is below it, to importers
		"go.starlark.net":               {"engine/starvm"},
		"github.com/yuin/gopher-lua":    {"engine/luavm"},
		"modernc.org/sqlite":            {"engine/journal"},
		"zombiezen.com/go/sqlite":       {"engine/journal"},
		"github.com/mattn/go-sqlite3":   {"engine/journal"},
		"github.com/ncruces/go-sqlite3": {"engine/journal"},
		"database/sql":                  {"engine/journal"},
		"os/exec":                       {"builtins/internal/run", "engine/sandbox", "cmd/nixmox"}, // the last in one file, see checkSource
	}
	for path, p := range own {
		for _, i := range p.Imports {
			for what, importers := range sole {
				if within(i, what) && !slices.Contains(importers, path) {
					t.Errorf("%s imports %s, which only %s may", path, i, strings.Join(importers, " and "))
				}
			}
		}
	}
}

// shellFile is the only source of the command line that starts a process: the
// shell of nixmox lab shell, which has the terminal, as the runner's have not.
const shellFile = "lab_shell.go"

// startsProcesses are the ways around os/exec.
var startsProcesses = map[string][]string{"os": {"StartProcess"}, "syscall": {"Exec", "ForkExec", "StartProcess"}, "unix": {"Exec"}}

func TestSources(t *testing.T) {
	own, _ := ours(t)
	for path, p := range own {
		if p.Error != nil {
			t.Errorf("%s: %s", path, p.Error.Err)
			continue
		}
		documented := len(p.GoFiles) == 0 // only tests
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			documented = documented || file.Doc != nil && !strings.HasPrefix(file.Doc.Text(), "Code generated")
			checkSource(t, path, name, file)
		}
		if !documented {
			t.Errorf("%s has no package comment", path)
		}
	}
}

func checkSource(t *testing.T, path, name string, file *ast.File) {
	for _, i := range file.Imports {
		if i.Path.Value == `"os/exec"` && path == "cmd/nixmox" && name != shellFile {
			t.Errorf("%s/%s imports os/exec, which of this package only %s may", path, name, shellFile)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				t.Errorf("%s/%s has an init function: nothing registers itself", path, name)
			}
		case *ast.SelectorExpr:
			id, ok := n.X.(*ast.Ident)
			if ok && slices.Contains(startsProcesses[id.Name], n.Sel.Name) && path != "builtins/internal/run" && path != "engine/sandbox" {
				t.Errorf("%s/%s starts processes by %s.%s", path, name, id.Name, n.Sel.Name)
			}
		}
		return true
	})
}

// TestDefinitions: names that no playbook could write, things without a doc.
func TestDefinitions(t *testing.T) {
	modules, closeAll, err := builtins.All(builtins.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}()
	for _, problem := range reference.Lint(modules, engine.AtHand()) {
		t.Error(problem)
	}
}
