// Package starvm binds Starlark to the contract of engine/builtin: it loads
// playbooks, runs their main, and turns calls of built-ins into Calls. It is
// the only importer of go.starlark.net (formatter and language server aside).
// It must know no module, and nothing of how calls are performed.
package starvm

import (
	"context"
	"errors"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// options of the language: sets; no while, no recursion, no reassignment of
// globals, no control flow at the top level. Programs stay bounded, and
// formatters can read them.
var options = &syntax.FileOptions{Set: true}

// Load reads a playbook with all that it loads and runs their top levels,
// during which only pure functions answer. What is wrong with the playbook
// comes back as *source.Problem or source.Problems.
func Load(ctx context.Context, d language.Definitions, roots source.Roots, name string) (*language.Playbook, error) {
	graph, parsed, err := parse(roots, name)
	if err != nil {
		return nil, err
	}
	p := &language.Playbook{Graph: graph}
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
	p.Uses = func() []language.Used { return uses(graph, parsed, d) }
	globals, err := runTopLevels(ctx, d, graph, parsed)
	if err != nil {
		return nil, err
	}
	main, ok := globals["main"].(*starlark.Function)
	if !ok {
		return nil, language.NoMain(graph)
	}
	if p.Params, err = params(main); err != nil {
		return nil, err
	}
	p.Main = func(ctx context.Context, run *builtin.Run, values map[string]any) error {
		return callMain(newMachine(ctx, run, d.Limits), main, p.Params, values)
	}
	return p, nil
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
func runTopLevels(ctx context.Context, d language.Definitions, graph *source.Graph, parsed map[*source.File]*syntax.File) (starlark.StringDict, error) {
	predeclared := predeclared(d)
	m := newMachine(ctx, nil, d.Limits)
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
			return nil, language.LoadProblem(m.outcome(err))
		}
		globals.Freeze()
		done[f] = globals
	}
	return done[graph.Main], nil
}

func predeclared(d language.Definitions) starlark.StringDict {
	names := starlark.StringDict{
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":   jsonModule,
		"needs":  starlark.NewBuiltin("needs", needsWasRead),
	}
	for i := range d.AtHand {
		names[d.AtHand[i].Name] = bind(&d.AtHand[i])
	}
	for i := range d.Modules {
		m := &d.Modules[i]
		members := starlark.StringDict{}
		for j := range m.Funcs {
			members[m.Funcs[j].Name] = bind(&m.Funcs[j])
		}
		names[m.Name] = &starlarkstruct.Module{Name: m.Name, Members: members}
	}
	names.Freeze()
	return names
}

func callMain(m *machine, main *starlark.Function, params []builtin.Param, values map[string]any) error {
	kwargs := make([]starlark.Tuple, 0, len(params))
	for _, param := range params {
		v, err := m.value(values[param.Name])
		if err != nil {
			return err
		}
		kwargs = append(kwargs, starlark.Tuple{starlark.String(param.Name), v})
	}
	thread := m.thread("main", builtin.BranchFrom(m.Ctx))
	_, err := starlark.Call(thread, main, nil, kwargs)
	err = m.outcome(err)
	m.Resume(err)
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

func position(p syntax.Position) builtin.Position {
	return builtin.Position{File: p.Filename(), Line: int(p.Line), Col: int(p.Col)}
}

// needsWasRead answers needs() when the top level runs: its arguments were
// read from the syntax already and are fixed since.
func needsWasRead(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return starlark.None, nil
}
