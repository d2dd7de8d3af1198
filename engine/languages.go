package engine

import (
	"context"
	"fmt"
	"path"
	"strings"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
	"nixmox/engine/starvm"
)

// spoken is a language that playbooks are written in, known by the ending of
// their files.
type spoken struct {
	ending    string
	load      func(context.Context, language.Definitions, source.Roots, string) (*language.Playbook, error)
	loadTests func(context.Context, language.Definitions, source.Roots, string) (*language.Tests, error)
	inspect   func(builtin.Value) (language.Value, bool)
}

var languages = []spoken{
	{".star", starvm.Load, starvm.LoadTests, starvm.Inspect},
}

// languageOf is the language of a file, by its name.
func languageOf(file string) (spoken, *source.Problem) {
	for _, l := range languages {
		if strings.HasSuffix(file, l.ending) && path.Base(file) != l.ending {
			return l, nil
		}
	}
	return spoken{}, &source.Problem{At: builtin.Position{File: file}, What: "no playbook: its name ends in none of " + strings.Join(Endings(), ", ")}
}

// Endings are how the names of playbooks end.
func Endings() []string {
	var endings []string
	for _, l := range languages {
		endings = append(endings, l.ending)
	}
	return endings
}

// NameOf is the name of a playbook: that of its file without folder and
// ending. ok is false if the file is none.
func NameOf(file string) (name string, ok bool) {
	l, problem := languageOf(file)
	return strings.TrimSuffix(path.Base(file), l.ending), problem == nil
}

// LoadTests reads a file of tests. Errors are *source.Problem or source.Problems.
func LoadTests(ctx context.Context, d language.Definitions, roots source.Roots, file string) (*language.Tests, error) {
	l, problem := languageOf(file)
	if problem != nil {
		return nil, problem
	}
	return l.loadTests(ctx, d, roots, file)
}

// Inspect makes a value of any language one that can be looked at. It panics
// on what no language made, which no built-in is ever given.
func Inspect(v builtin.Value) language.Value {
	for _, l := range languages {
		if x, ok := l.inspect(v); ok {
			return x
		}
	}
	panic(fmt.Sprintf("a %T is no value of a language", v))
}
