package starvm

import (
	"context"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// Tests is a loaded file of tests: its top level has run, its globals are
// frozen, so its tests may run side by side.
type Tests struct {
	Graph *source.Graph
	List  []Test // in the order of the file

	limits Limits
}

// Test is one function test_* of a file.
type Test struct {
	Name string
	At   builtin.Position

	fn *starlark.Function
}

// LoadTests reads a file of tests as Load reads a playbook. It has no main and
// no needs: what its tests may do, their own modules say.
func (l *Language) LoadTests(ctx context.Context, roots source.Roots, name string) (*Tests, error) {
	graph, parsed, err := parse(roots, name)
	if err != nil {
		return nil, err
	}
	var problems source.Problems
	for f, tree := range parsed {
		needs, found := readNeeds(tree, f == graph.Main)
		problems = append(problems, found...)
		if len(needs) > 0 {
			problems = append(problems, &source.Problem{At: needs[0].At, What: "a file of tests declares no needs",
				Hint: "the playbook that it runs has them"})
		}
	}
	if problems != nil {
		return nil, problems
	}
	globals, err := l.runTopLevels(ctx, graph, parsed)
	if err != nil {
		return nil, err
	}
	t := &Tests{Graph: graph, limits: l.Limits}
	for name, v := range globals {
		fn, ok := v.(*starlark.Function)
		if !ok || !strings.HasPrefix(name, "test_") {
			continue
		}
		if fn.NumParams() > 0 {
			problems = append(problems, source.ProblemAt(position(fn.Position()), "%s takes parameters, and nobody would give them", name))
		}
		t.List = append(t.List, Test{Name: name, At: position(fn.Position()), fn: fn})
	}
	if problems != nil {
		return nil, problems
	}
	slices.SortFunc(t.List, func(a, b Test) int { return a.At.Line - b.At.Line })
	if len(t.List) == 0 {
		return nil, &source.Problem{At: builtin.Position{File: graph.Main.Shown}, What: "there is no test",
			Hint: "a test is a function without parameters whose name begins with test_"}
	}
	return t, nil
}

// Call runs one test. The error is a *builtin.Fault or a *builtin.Stop.
func (t *Tests) Call(ctx context.Context, run *builtin.Run, test Test) error {
	m := newMachine(ctx, run, t.limits)
	_, err := starlark.Call(m.thread(test.Name, builtin.BranchFrom(ctx)), test.fn, nil, nil)
	return m.outcome(err)
}
