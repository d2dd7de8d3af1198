// Package source reads the files of a playbook: the playbook itself, its
// neighbours and the standard library, and nothing outside these two roots.
// It orders them by who loads whom. It must know no language: a language
// tells it what a file loads.
package source

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"nixmox/engine/builtin"
)

// Std is the prefix of files of the standard library.
const Std = "@std//"

// MaxFile is the size in bytes above which a file is no playbook.
const MaxFile = 1 << 20

// Problem is why a playbook does not check: what is wrong, where, and what
// to do about it.
type Problem struct {
	At   builtin.Position `json:"at"`
	What string           `json:"what"`
	Hint string           `json:"hint,omitempty"`
}

func (p *Problem) Error() string {
	if p.At.File == "" {
		return p.What
	}
	return p.At.String() + ": " + p.What
}

// Problems are all that was found; never empty when used as an error.
type Problems []*Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// ProblemAt makes a Problem.
func ProblemAt(at builtin.Position, format string, args ...any) *Problem {
	return &Problem{At: at, What: fmt.Sprintf(format, args...)}
}

// File is one file of a playbook.
type File struct {
	Name   string // in its root, with Std before it if that is the root
	Shown  string // as a person knows it: "playbooks/backup.star"
	Text   []byte
	Digest string // SHA-256, hex
}

// Ref is where a file loads another.
type Ref struct {
	Path string
	At   builtin.Position
}

// Roots are the only places that files come from.
type Roots struct {
	Playbook fs.FS  // the playbook's folder
	Shown    string // how a person names that folder; "" for the current one
	Std      fs.FS  // the standard library
	close    func() error
	// stored are the files of a run's record, by name, in place of both roots.
	stored map[string]*File
}

// Stored are the roots of a run that is resumed: the files as they were.
func Stored(files []*File) Roots {
	r := Roots{stored: map[string]*File{}}
	for _, f := range files {
		r.stored[f.Name] = f
		if !strings.HasPrefix(f.Name, Std) { // they stood in one folder
			r.Shown = strings.TrimSuffix(f.Shown, f.Name)
		}
	}
	return r
}

// Dir opens the folder that a playbook stands in. Its file system follows no
// symbolic link out of the folder. name is the playbook within it.
func Dir(playbook string, std fs.FS) (roots Roots, name string, err error) {
	dir, name := filepath.Split(playbook)
	open := dir
	if open == "" {
		open = "."
	}
	root, err := os.OpenRoot(open)
	if err != nil {
		return Roots{}, "", err
	}
	return Roots{Playbook: folder{root}, Shown: filepath.ToSlash(dir), Std: std, close: root.Close}, name, nil
}

// folder is the playbook's folder as a file system.
type folder struct{ root *os.Root }

// Open does not wait: opening a named pipe would, until somebody writes to it.
func (f folder) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	file, err := f.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return file, nil
}

// Close releases the folder.
func (r Roots) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Graph is a playbook with all that it loads.
type Graph struct {
	Main   *File
	Files  []*File // each after those it loads; Main is the last
	Digest string  // over the names and digests of all

	byName map[string]*File
}

// Resolve is the file that a load of path in file from means.
func (g *Graph) Resolve(from *File, path string) *File {
	name, err := resolve(from, path)
	if err != nil {
		return nil
	}
	return g.byName[name]
}

// Load reads the playbook and, in depth, what it loads. loads says, in a
// language's stead, what a file loads; its error is returned as it is.
func (r Roots) Load(main string, loads func(*File) ([]Ref, error)) (*Graph, error) {
	g := &Graph{byName: map[string]*File{}}
	var trail []string
	var visit func(name string, at builtin.Position) (*File, error)
	visit = func(name string, at builtin.Position) (*File, error) {
		for i, open := range trail {
			if open == name {
				return nil, &Problem{At: at, What: "load cycle: " + strings.Join(append(trail[i:], name), " loads "),
					Hint: "move what both need into a third file"}
			}
		}
		if f, ok := g.byName[name]; ok {
			return f, nil
		}
		f, err := r.read(name, at)
		if err != nil {
			return nil, err
		}
		trail = append(trail, name)
		refs, err := loads(f)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			target, err := resolve(f, ref.Path)
			if err != nil {
				return nil, &Problem{At: ref.At, What: err.Error(), Hint: `load files beside the playbook or below it, or one of the standard library: @std//NAME`}
			}
			if _, err := visit(target, ref.At); err != nil {
				return nil, err
			}
		}
		trail = trail[:len(trail)-1]
		g.byName[name] = f
		g.Files = append(g.Files, f)
		return f, nil
	}
	if _, err := visit(main, builtin.Position{}); err != nil {
		return nil, err
	}
	return NewGraph(g.Files), nil
}

// NewGraph is the graph of files in the order in which they load one another;
// the playbook itself is the last.
func NewGraph(files []*File) *Graph {
	g := &Graph{Main: files[len(files)-1], Files: files, byName: make(map[string]*File, len(files))}
	sum := sha256.New()
	for _, f := range files {
		g.byName[f.Name] = f
		_, _ = fmt.Fprintf(sum, "%s %q\n", f.Digest, f.Name) // a hash takes every write
	}
	g.Digest = hex.EncodeToString(sum.Sum(nil))
	return g
}

// resolve turns what a load names into a File's Name. It refuses whatever
// would leave the root; symbolic links are the file system's own affair.
func resolve(from *File, target string) (string, error) {
	if rest, ok := strings.CutPrefix(target, Std); ok {
		if !fs.ValidPath(rest) || rest == "." {
			return "", fmt.Errorf("load of %q: no name of a library", target)
		}
		return target, nil
	}
	if target == "" || strings.ContainsAny(target, "\\\x00") || strings.HasPrefix(target, "/") || strings.HasPrefix(target, "@") {
		return "", fmt.Errorf("load of %q: not a file beside the playbook", target)
	}
	for part := range strings.SplitSeq(target, "/") {
		if part == ".." {
			return "", fmt.Errorf("load of %q: it leaves the playbook's folder", target)
		}
	}
	if rest, ok := strings.CutPrefix(from.Name, Std); ok {
		return Std + path.Join(path.Dir(rest), target), nil
	}
	return path.Join(path.Dir(from.Name), target), nil
}

func (r Roots) read(name string, at builtin.Position) (*File, error) {
	f, err := r.Read(name)
	if err != nil {
		p := &Problem{At: at, What: fmt.Sprintf("cannot read %s: %v", f.Shown, reason(err))}
		if errors.Is(err, fs.ErrNotExist) {
			p.What = f.Shown + ": no such file"
		}
		if strings.HasPrefix(name, Std) {
			p.Hint = "libraries there are: " + cmp.Or(strings.Join(r.Libraries(path.Ext(name)), ", "), "none")
		}
		return nil, p
	}
	return f, nil
}

// Read reads one file of the roots by its Name. Beside an error the file has
// its names only; fs.ErrNotExist is one.
func (r Roots) Read(name string) (*File, error) {
	f := &File{Name: name, Shown: r.Shown + name}
	if r.stored != nil {
		if stored, ok := r.stored[name]; ok {
			return stored, nil
		}
		return f, errors.New("it is not in the run's record")
	}
	root, rest := r.Playbook, name
	if lib, ok := strings.CutPrefix(name, Std); ok {
		root, rest, f.Shown = r.Std, lib, name
	}
	text, err := readFile(root, rest)
	if err != nil {
		return f, err
	}
	f.Text = text
	sum := sha256.Sum256(text)
	f.Digest = hex.EncodeToString(sum[:])
	return f, nil
}

func readFile(root fs.FS, name string) ([]byte, error) {
	if root == nil {
		return nil, fs.ErrNotExist
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("it is larger than %d bytes", MaxFile)
	}
	return text, err
}

func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// Libraries are the names of the standard library's files with that ending.
func (r Roots) Libraries(ending string) []string {
	if r.Std == nil {
		return nil
	}
	names, _ := fs.Glob(r.Std, "*"+ending) // the pattern is a good one
	for i := range names {
		names[i] = Std + names[i]
	}
	return names
}
