// Package starvm binds Starlark to the contract of engine/builtin: it loads
// playbooks, runs their main, and turns calls of built-ins into Calls. It is
// the only importer of go.starlark.net (formatter and language server aside).
// It must know no module, and nothing of how calls are performed.
package starvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"nixmox/engine/builtin"
	"nixmox/engine/policy"
	"nixmox/engine/source"
)

// options of the language: sets; no while, no recursion, no reassignment of
// globals, no control flow at the top level. Programs stay bounded, and
// formatters can read them.
var options = &syntax.FileOptions{Set: true}

// Language is Starlark with the functions that playbooks can call.
type Language struct {
	Modules []builtin.Module
	AtHand  []builtin.Func // always at hand, without a module
	Limits  Limits
}

// Playbook is a loaded playbook: its top level has run, its globals are
// frozen, its main waits.
type Playbook struct {
	Doc    string // the file's docstring: its help
	Needs  []policy.Need
	Params []builtin.Param
	Graph  *source.Graph

	main   *starlark.Function
	limits Limits
}

// Load reads a playbook with all that it loads and runs their top levels,
// during which only pure functions answer. What is wrong with the playbook
// comes back as *source.Problem or source.Problems.
func (l *Language) Load(ctx context.Context, roots source.Roots, name string) (*Playbook, error) {
	graph, parsed, err := parse(roots, name)
	if err != nil {
		return nil, err
	}
	p := &Playbook{Graph: graph, limits: l.Limits}
	var problems source.Problems
	for f, tree := range parsed {
		needs, found := readNeeds(tree, f == graph.Main)
		problems = append(problems, found...)
		p.Needs = append(p.Needs, needs...)
	}
	if problems != nil {
		return nil, problems
	}
	p.Doc = docstring(parsed[graph.Main])
	globals, err := l.runTopLevels(ctx, graph, parsed)
	if err != nil {
		return nil, err
	}
	main, ok := globals["main"].(*starlark.Function)
	if !ok {
		return nil, &source.Problem{At: builtin.Position{File: graph.Main.Shown}, What: "there is no main",
			Hint: "a playbook has a function main; its parameters are the playbook's flags"}
	}
	p.main = main
	p.Params, err = params(main)
	return p, err
}

// parse reads a file with all that it loads.
func parse(roots source.Roots, name string) (*source.Graph, map[*source.File]*syntax.File, error) {
	parsed := map[*source.File]*syntax.File{}
	graph, err := roots.Load(name, func(f *source.File) ([]source.Ref, error) {
		tree, err := options.Parse(f.Shown, f.Text, 0)
		if err != nil {
			return nil, syntaxProblem(err)
		}
		parsed[f] = tree
		return loads(tree), nil
	})
	return graph, parsed, err
}

// runTopLevels executes each file once, after those that it loads, and
// returns the globals of the playbook itself.
func (l *Language) runTopLevels(ctx context.Context, graph *source.Graph, parsed map[*source.File]*syntax.File) (starlark.StringDict, error) {
	predeclared := l.predeclared()
	m := newMachine(ctx, nil, l.Limits)
	done := map[*source.File]starlark.StringDict{}
	for _, f := range graph.Files {
		program, err := starlark.FileProgram(parsed[f], predeclared.Has)
		if err != nil {
			return nil, resolveProblems(err)
		}
		thread := m.thread(f.Shown, builtin.NewBranch())
		thread.Load = func(_ *starlark.Thread, path string) (starlark.StringDict, error) {
			return done[graph.Resolve(f, path)], nil
		}
		globals, err := program.Init(thread, predeclared)
		if err != nil {
			return nil, m.loadProblem(err)
		}
		globals.Freeze()
		done[f] = globals
	}
	return done[graph.Main], nil
}

func (l *Language) predeclared() starlark.StringDict {
	names := starlark.StringDict{
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":   jsonModule,
		"needs":  starlark.NewBuiltin("needs", needsWasRead),
	}
	for i := range l.AtHand {
		names[l.AtHand[i].Name] = bind(&l.AtHand[i])
	}
	for i := range l.Modules {
		m := &l.Modules[i]
		members := starlark.StringDict{}
		for j := range m.Funcs {
			members[m.Funcs[j].Name] = bind(&m.Funcs[j])
		}
		names[m.Name] = &starlarkstruct.Module{Name: m.Name, Members: members}
	}
	names.Freeze()
	return names
}

// Main runs the playbook's main with the parameters, neutral values by name.
// The error is a *builtin.Fault or a *builtin.Stop.
func (p *Playbook) Main(ctx context.Context, run *builtin.Run, values map[string]any) error {
	m := newMachine(ctx, run, p.limits)
	kwargs := make([]starlark.Tuple, 0, len(p.Params))
	for _, param := range p.Params {
		v, err := m.value(values[param.Name])
		if err != nil {
			return err
		}
		kwargs = append(kwargs, starlark.Tuple{starlark.String(param.Name), v})
	}
	thread := m.thread("main", builtin.BranchFrom(ctx))
	_, err := starlark.Call(thread, p.main, nil, kwargs)
	err = m.outcome(err)
	if stop, ok := errors.AsType[*builtin.Stop](err); ok && stop.Kind == builtin.PlanEnds {
		m.stop.Store(nil) // what was deferred is planned all the same
	}
	return err
}

func syntaxProblem(err error) error {
	if e, ok := errors.AsType[syntax.Error](err); ok {
		return source.ProblemAt(position(e.Pos), "%s", e.Msg)
	}
	return err
}

func resolveProblems(err error) error {
	list, ok := errors.AsType[resolveErrors](err)
	if !ok {
		return err
	}
	problems := make(source.Problems, len(list))
	for i, e := range list {
		problems[i] = source.ProblemAt(position(e.Pos), "%s", e.Msg)
	}
	return problems
}

// loadProblem makes a Problem of what went wrong at the top level.
func (m *machine) loadProblem(err error) error {
	err = m.outcome(err)
	if f, ok := errors.AsType[*builtin.Fault](err); ok {
		p := &source.Problem{What: f.Error(), Hint: f.Hint}
		if n := len(f.Stack); n > 0 {
			p.At = f.Stack[n-1]
		}
		return p
	}
	if s, ok := errors.AsType[*builtin.Stop](err); ok {
		return &source.Problem{At: s.At, What: s.What, Hint: s.Hint}
	}
	return err
}

func position(p syntax.Position) builtin.Position {
	return builtin.Position{File: p.Filename(), Line: int(p.Line), Col: int(p.Col)}
}

// Known reports whether a file is a Starlark playbook, by its name.
func Known(name string) bool {
	return fs.ValidPath(name) && len(name) > 5 && name[len(name)-5:] == ".star"
}

// needsWasRead answers needs() when the top level runs: its arguments were
// read from the syntax already and are fixed since.
func needsWasRead(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return starlark.None, nil
}

var errNotWhileLoading = fmt.Errorf("may only be called from main: while a playbook loads, only pure functions answer")
