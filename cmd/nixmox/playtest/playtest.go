// Package playtest runs the tests of playbooks: files *_test.star beside them,
// whose functions test_* run the playbooks in a fresh lab each and look at
// what was done, said and left behind.
//
// It is here so that a playbook can be shown to do the right thing on the day
// when everything goes wrong, where nothing can be broken. It must not know
// how results are shown, nor reach anything but labs that it made itself.
package playtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// Suffix is how the names of files of tests end.
const Suffix = "_test.star"

// IsTest reports whether a file is one of tests, by its name.
func IsTest(name string) bool { return strings.HasSuffix(name, Suffix) }

// Find lists the files of tests that paths mean: files, or folders with all
// that is below them, hidden folders aside.
func Find(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if !IsTest(path) {
				return nil, &fs.PathError{Op: "test", Path: path, Err: errors.New("the name of a file of tests ends in " + Suffix)}
			}
			files = append(files, path)
			continue
		}
		err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && name != path && strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			if !d.IsDir() && IsTest(name) {
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// File is a file of tests that checks.
type File struct {
	Path  string
	Tests []language.Test

	dir   string
	roots source.Roots
}

// Open reads a file of tests. What is wrong with it comes back as
// *source.Problem or source.Problems.
func Open(ctx context.Context, path string, std fs.FS) (*File, error) {
	roots, name, err := source.Dir(path, std)
	if err != nil {
		return nil, err
	}
	tests, err := engine.LoadTests(ctx, language.Definitions{Modules: Modules(), AtHand: AtHand(), Limits: engine.DefaultLimits}, roots, name)
	if err != nil {
		return nil, errors.Join(err, roots.Close())
	}
	return &File{Path: path, Tests: tests.List, dir: filepath.Dir(path), roots: roots}, nil
}

// Close lets the file's folder go.
func (f *File) Close() error { return f.roots.Close() }

// AtHand is what tests have without a module: what playbooks have, but for
// what belongs to a run. To catch an error, they have check.fails, which no
// failed assertion can be caught with.
func AtHand() []builtin.Func {
	return slices.DeleteFunc(engine.AtHand(), func(f builtin.Func) bool {
		return !slices.Contains([]string{"fail", "keep", "log", "now"}, f.Name)
	})
}

// Modules are what tests can call.
func Modules() []builtin.Module {
	return []builtin.Module{checkModule(), labModule(), playbookModule()}
}
