package starvm

import (
	"context"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// LoadTests reads a file of tests as Load reads a playbook. It has no main and
// no needs: what its tests may do, their own modules say.
func LoadTests(ctx context.Context, d language.Definitions, roots source.Roots, name string) (*language.Tests, error) {
	graph, parsed, err := parse(roots, name)
	if err != nil {
		return nil, err
	}
	var problems source.Problems
	for f, tree := range parsed {
		needs, found := readNeeds(tree, f == graph.Main)
		problems = append(problems, found...)
		if len(needs) > 0 {
			problems = append(problems, language.NeedsInTests(needs[0].At))
		}
	}
	if problems != nil {
		return nil, problems
	}
	globals, err := runTopLevels(ctx, d, graph, parsed)
	if err != nil {
		return nil, err
	}
	t := &language.Tests{Graph: graph}
	for name, v := range globals {
		fn, ok := v.(*starlark.Function)
		if !ok || !strings.HasPrefix(name, "test_") {
			continue
		}
		at := position(fn.Position())
		if fn.NumParams() > 0 {
			problems = append(problems, source.ProblemAt(at, "%s takes parameters, and nobody would give them", name))
		}
		t.List = append(t.List, language.Test{Name: name, At: at, Call: func(ctx context.Context, run *builtin.Run) error {
			m := newMachine(ctx, run, d.Limits)
			_, err := starlark.Call(m.thread(name, builtin.BranchFrom(ctx)), fn, nil, nil)
			return m.outcome(err)
		}})
	}
	if problems != nil {
		return nil, problems
	}
	slices.SortFunc(t.List, func(a, b language.Test) int { return a.At.Line - b.At.Line })
	if len(t.List) == 0 {
		return nil, language.NoTest(graph)
	}
	return t, nil
}
