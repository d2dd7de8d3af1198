package source_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

var std = fstest.MapFS{"guests.star": &fstest.MapFile{Data: []byte("sub/names.star")}, "sub/names.star": &fstest.MapFile{Data: []byte("")}}

// loads takes each line of a file as the path of a file it loads.
func loads(f *source.File) ([]source.Ref, error) {
	var refs []source.Ref
	for i, line := range strings.Split(string(f.Text), "\n") {
		if line != "" {
			refs = append(refs, source.Ref{Path: line, At: builtin.Position{File: f.Shown, Line: i + 1, Col: 1}})
		}
	}
	return refs, nil
}

// estate makes a folder with a playbook's folder in it, and a file beside
// that which no playbook may see. It returns the playbook's folder.
func estate(t *testing.T, files map[string]string) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "books")
	files["../secret.star"] = ""
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, path string) (source.Roots, string) {
	t.Helper()
	roots, name, err := source.Dir(path, std)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := roots.Close(); err != nil {
			t.Error(err)
		}
	})
	return roots, name
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name, main string
		files      map[string]string
		prepare    func(t *testing.T, dir string)
		want       string // names of the files, or part of the problem
		at         string
	}{
		{name: "alone", main: "", want: "main.star"},
		{name: "neighbours, each before who loads it", main: "b.star\nsub/c.star", files: map[string]string{"b.star": "sub/c.star", "sub/c.star": "d.star", "sub/d.star": ""},
			want: "sub/d.star sub/c.star b.star main.star"},
		{name: "a path that says nothing", main: "./b.star\nsub//.//c.star", files: map[string]string{"b.star": "", "sub/c.star": ""}, want: "b.star sub/c.star main.star"},
		{name: "the standard library, which loads its own", main: "@std//guests.star", want: "@std//sub/names.star @std//guests.star main.star"},
		{name: "missing", main: "\nno.star", want: "books/no.star: no such file", at: ":2:1"},
		{name: "missing in the library", main: "@std//no.star", want: "@std//no.star: no such file", at: ":1:1"},
		{name: "above", main: "../secret.star", want: "leaves the playbook's folder", at: ":1:1"},
		{name: "above and down again", main: "sub/../../secret.star", want: "leaves the playbook's folder"},
		{name: "inside, but by way of ..", main: "sub/../b.star", files: map[string]string{"b.star": "", "sub/x": ""}, want: "leaves the playbook's folder"},
		{name: "absolute", main: "/etc/passwd", want: "not a file beside the playbook"},
		{name: "backslashes", main: `..\secret.star`, want: "not a file beside the playbook"},
		{name: "another root", main: "@other//x.star", want: "not a file beside the playbook"},
		{name: "above the library", main: "@std//../x.star", want: "no name of a library"},
		{name: "the library itself", main: "@std//.", want: "no name of a library"},
		{name: "nothing of the library", main: "@std//", want: "no name of a library"},
		{name: "a symbolic link out", main: "link.star", want: "cannot read", at: ":1:1", prepare: func(t *testing.T, dir string) {
			symlink(t, "../secret.star", filepath.Join(dir, "link.star"))
		}},
		{name: "an absolute symbolic link out", main: "link.star", want: "cannot read", prepare: func(t *testing.T, dir string) {
			symlink(t, filepath.Join(dir, "../secret.star"), filepath.Join(dir, "link.star"))
		}},
		{name: "a folder that is a link out", main: "sub/secret.star", want: "cannot read", prepare: func(t *testing.T, dir string) {
			symlink(t, "..", filepath.Join(dir, "sub"))
		}},
		{name: "a symbolic link inside", main: "link.star", files: map[string]string{"b.star": ""}, want: "link.star main.star", prepare: func(t *testing.T, dir string) {
			symlink(t, "b.star", filepath.Join(dir, "link.star"))
		}},
		{name: "a link to itself", main: "link.star", want: "cannot read", prepare: func(t *testing.T, dir string) {
			symlink(t, "link.star", filepath.Join(dir, "link.star"))
		}},
		{name: "a folder", main: "sub", files: map[string]string{"sub/c.star": ""}, want: "it is no regular file"},
		{name: "a named pipe that nobody writes to", main: "pipe.star", want: "it is no regular file", prepare: func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe.star"), 0o600); err != nil {
				t.Skip(err)
			}
		}},
		{name: "too large", main: "big.star", files: map[string]string{"big.star": strings.Repeat("\n", source.MaxFile+1)}, want: "it is larger than 1048576 bytes"},
		{name: "as large as can be", main: "big.star", files: map[string]string{"big.star": strings.Repeat("\n", source.MaxFile)}, want: "big.star main.star"},
		{name: "a cycle", main: "b.star", files: map[string]string{"b.star": "c.star", "c.star": "b.star"}, want: "load cycle: b.star loads c.star loads b.star", at: "c.star:1:1"},
		{name: "itself", main: "main.star", want: "load cycle: main.star loads main.star"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"main.star": tt.main}
			for name, text := range tt.files {
				files[name] = text
			}
			dir := estate(t, files)
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			t.Chdir(filepath.Dir(dir)) // so that names are shown as they would be
			roots, name := open(t, "books/main.star")
			graph, err := roots.Load(name, loads)
			if err != nil {
				p, ok := errors.AsType[*source.Problem](err)
				if !ok || !strings.Contains(p.What, tt.want) || !strings.HasSuffix(p.At.String(), tt.at) {
					t.Fatalf("error %v at %s, want %q at %s", err, p.At, tt.want, tt.at)
				}
				return
			}
			var names []string
			for _, f := range graph.Files {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("files %s, want %s", got, tt.want)
			}
			if graph.Main.Shown != "books/main.star" {
				t.Errorf("the playbook is shown as %s", graph.Main.Shown)
			}
		})
	}
}

func symlink(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// TestPlaybookItself: the command line may name anything.
func TestPlaybookItself(t *testing.T) {
	dir := estate(t, map[string]string{"main.star": "", "sub/x": ""})
	for path, want := range map[string]string{
		filepath.Join(dir, "no.star"): "no.star: no such file",
		dir + "/":                     "cannot read",
		dir + "/..":                   "cannot read",
		filepath.Join(dir, "sub"):     "no regular file",
	} {
		roots, name := open(t, path)
		if _, err := roots.Load(name, loads); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, _, err := source.Dir(filepath.Join(dir, "none/main.star"), std); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestNoLibrary(t *testing.T) {
	roots := source.Roots{Playbook: fstest.MapFS{"p.star": &fstest.MapFile{Data: []byte("@std//x.star")}}}
	_, err := roots.Load("p.star", loads)
	p, ok := errors.AsType[*source.Problem](err)
	if !ok || p.Hint != "libraries there are: none" {
		t.Errorf("error %#v", err)
	}
	if err := roots.Close(); err != nil {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	dir := estate(t, map[string]string{"main.star": ""})
	roots, name, err := source.Dir(filepath.Join(dir, "main.star"), std)
	if err != nil {
		t.Fatal(err)
	}
	if err := roots.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := roots.Load(name, loads); err == nil {
		t.Error("a folder that was let go can be read")
	}
}

// TestTextIsKept: a byte order mark and line ends of Windows are the
// language's to judge, and count in the digest.
func TestTextIsKept(t *testing.T) {
	for _, text := range []string{"\ufeffx", "a.star\r\n", "\xff\x00"} {
		dir := estate(t, map[string]string{"main.star": text})
		roots, name := open(t, filepath.Join(dir, "main.star"))
		graph, err := roots.Load(name, func(*source.File) ([]source.Ref, error) { return nil, nil })
		if err != nil || !bytes.Equal(graph.Main.Text, []byte(text)) {
			t.Errorf("%q is read as %q, %v", text, graph.Main.Text, err)
		}
	}
}

func TestErrorsOfTheLanguageAreReturned(t *testing.T) {
	want := errors.New("no language")
	roots := source.Roots{Playbook: fstest.MapFS{"p.star": &fstest.MapFile{}}}
	if _, err := roots.Load("p.star", func(*source.File) ([]source.Ref, error) { return nil, want }); !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
}

func TestDigest(t *testing.T) {
	base := map[string]string{"main.star": "b.star\n@std//guests.star", "b.star": "", "other.star": ""}
	digest := func(change map[string]string, lib fs.FS) string {
		t.Helper()
		root := fstest.MapFS{}
		for _, files := range []map[string]string{base, change} {
			for name, text := range files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		graph, err := source.Roots{Playbook: root, Std: lib}.Load("main.star", loads)
		if err != nil {
			t.Fatal(err)
		}
		return graph.Digest
	}
	first := digest(nil, std)
	if again := digest(nil, std); again != first || len(first) != 64 {
		t.Errorf("twice the same is %s and %s", first, again)
	}
	if d := digest(map[string]string{"other.star": "x"}, std); d != first {
		t.Error("a file that is not loaded counts")
	}
	lib := fstest.MapFS{"guests.star": std["guests.star"], "sub/names.star": &fstest.MapFile{Data: []byte("\n")}}
	changed := map[string]string{"the playbook": digest(map[string]string{"main.star": base["main.star"] + "\n"}, std),
		"a neighbour": digest(map[string]string{"b.star": "\n"}, std), "the library": digest(nil, lib),
		"a name": digest(map[string]string{"main.star": "c.star\n@std//guests.star", "c.star": ""}, std)}
	seen := map[string]string{first: "nothing"}
	for what, d := range changed {
		if other, ok := seen[d]; ok {
			t.Errorf("the digest is the same for %s and %s", what, other)
		}
		seen[d] = what
	}
}

func TestResolve(t *testing.T) {
	root := fstest.MapFS{"main.star": &fstest.MapFile{Data: []byte("sub/a.star")}, "sub/a.star": &fstest.MapFile{Data: []byte("b.star")}, "sub/b.star": &fstest.MapFile{}}
	graph, err := source.Roots{Playbook: root}.Load("main.star", loads)
	if err != nil {
		t.Fatal(err)
	}
	if f := graph.Resolve(graph.Files[1], "b.star"); f == nil || f.Name != "sub/b.star" {
		t.Errorf("b.star of sub/a.star is %v", f)
	}
	for _, path := range []string{"b.star", "../main.star", ""} {
		if f := graph.Resolve(graph.Main, path); f != nil {
			t.Errorf("%q is %s", path, f.Name)
		}
	}
}

func TestProblems(t *testing.T) {
	at := builtin.Position{File: "a.star", Line: 3, Col: 7}
	ps := source.Problems{source.ProblemAt(at, "no %s", "luck"), {What: "nowhere"}}
	if got := ps.Error(); got != "a.star:3:7: no luck\nnowhere" {
		t.Errorf("%q", got)
	}
}
