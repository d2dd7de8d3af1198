package luavm

import (
	"context"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// LoadTests reads a file of tests as Load reads a playbook. It has no main,
// no needs and no parameters: what its tests may do, their own modules say.
func LoadTests(ctx context.Context, d language.Definitions, roots source.Roots, name string) (*language.Tests, error) {
	c, err := parseAll(d, roots, name)
	if err != nil {
		return nil, err
	}
	var problems source.Problems
	for _, f := range c.graph.Files {
		needs, found := c.trees[f].needs(f == c.graph.Main)
		params, more := c.trees[f].params(false)
		problems = append(append(problems, found...), more...)
		if len(needs) > 0 {
			problems = append(problems, language.NeedsInTests(needs[0].At))
		}
		_ = params
	}
	if problems != nil {
		return nil, problems
	}
	globals, err := c.runTopLevels(ctx)
	if err != nil {
		return nil, err
	}
	t := &language.Tests{Graph: c.graph}
	for k, v := globals.Next(lua.LNil); k != lua.LNil; k, v = globals.Next(k) {
		name := k.String()
		fn, ok := v.(*lua.LFunction)
		if !ok || fn.IsG || !strings.HasPrefix(name, "test_") {
			continue
		}
		at := builtin.Position{File: fn.Proto.SourceName, Line: fn.Proto.LineDefined}
		if fn.Proto.NumParameters > 0 {
			problems = append(problems, source.ProblemAt(at, "%s takes parameters, and nobody would give them", name))
		}
		t.List = append(t.List, language.Test{Name: name, At: at, Call: func(ctx context.Context, run *builtin.Run) error {
			return newMachine(ctx, run, d.Limits).run(ctx, fn)
		}})
	}
	if problems != nil {
		return nil, problems
	}
	slices.SortStableFunc(t.List, func(a, b language.Test) int { return a.At.Line - b.At.Line })
	if len(t.List) == 0 {
		return nil, language.NoTest(c.graph)
	}
	return t, nil
}
