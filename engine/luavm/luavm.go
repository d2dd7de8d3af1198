// Package luavm binds Lua 5.1 to the contract of engine/builtin: it loads
// playbooks, runs their main, and turns calls of built-ins into Calls. It is
// the only importer of gopher-lua. It must know no module, and nothing of how
// calls are performed.
package luavm

import (
	"context"
	"errors"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// Load reads a playbook with all that it requires and runs their top levels,
// during which only pure functions answer. What is wrong with the playbook
// comes back as *source.Problem or source.Problems.
func Load(ctx context.Context, d language.Definitions, roots source.Roots, name string) (*language.Playbook, error) {
	c, err := parseAll(d, roots, name)
	if err != nil {
		return nil, err
	}
	p := &language.Playbook{Graph: c.graph}
	var problems source.Problems
	for _, f := range c.graph.Files {
		needs, found := c.trees[f].needs(f == c.graph.Main)
		params, more := c.trees[f].params(f == c.graph.Main)
		problems = append(append(problems, found...), more...)
		p.Needs, p.Params = append(p.Needs, needs...), append(p.Params, params...)
	}
	if problems != nil {
		return nil, problems
	}
	p.Doc = help(c.graph.Main.Text)
	p.Uses = c.uses
	globals, err := c.runTopLevels(ctx)
	if err != nil {
		return nil, err
	}
	main, ok := globals.RawGetString("main").(*lua.LFunction)
	if !ok || main.IsG {
		return nil, language.NoMain(c.graph)
	}
	p.Main = func(ctx context.Context, run *builtin.Run, values map[string]any) error {
		m := newMachine(ctx, run, d.Limits)
		given := value(values).(*lua.LUserData)
		given.Value.(*object).kind = "params"
		err := m.run(ctx, main, given)
		m.Resume(err)
		return err
	}
	return p, nil
}

// run calls a function on a strand of its own.
func (m *machine) run(ctx context.Context, fn *lua.LFunction, args ...lua.LValue) error {
	m.baton.Lock()
	defer m.baton.Unlock()
	_, err := m.strand(ctx, builtin.BranchFrom(ctx)).protect(fn, args...)
	return err
}

// compiled is a file with all that it requires, parsed and compiled.
type compiled struct {
	definitions language.Definitions
	graph       *source.Graph
	trees       map[*source.File]*tree
	names       map[string]lua.LValue
}

func parseAll(d language.Definitions, roots source.Roots, name string) (*compiled, error) {
	c := &compiled{definitions: d, trees: map[*source.File]*tree{}, names: names(d)}
	graph, err := roots.Load(name, func(f *source.File) ([]source.Ref, error) {
		t, err := parseFile(f)
		if err != nil {
			return nil, err
		}
		c.trees[f] = t
		refs, problems := t.requires()
		if problems = append(problems, c.undefined(t)...); problems != nil {
			return nil, problems
		}
		return refs, nil
	})
	c.graph = graph
	return c, err
}

// own are the names that each file has besides those that all have.
var own = []string{"require", "needs", "params"}

// undefined finds names that nothing gives a value.
func (c *compiled) undefined(t *tree) source.Problems {
	var problems source.Problems
	for _, id := range t.facts.order {
		_, isNamed := c.names[id.Value]
		if !isNamed && !slices.Contains(own, id.Value) && !t.facts.writes[id.Value] {
			problems = append(problems, source.ProblemAt(t.at(id), "undefined: %s", id.Value))
		}
	}
	return problems
}

// runTopLevels executes each file once, after those that it requires, and
// returns the globals of the playbook itself.
func (c *compiled) runTopLevels(ctx context.Context) (*lua.LTable, error) {
	m := newMachine(ctx, nil, c.definitions.Limits)
	m.baton.Lock()
	defer m.baton.Unlock()
	base := &lua.LTable{Metatable: lua.LNil} // no playbook can reach it to write into it
	for name, v := range c.names {
		base.RawSetString(name, v)
	}
	done := map[*source.File]lua.LValue{}
	var globals *lua.LTable
	for _, f := range c.graph.Files {
		proto, err := compile(c.trees[f])
		if err != nil {
			return nil, err
		}
		globals = c.globalsOf(f, base, done)
		chunk := &lua.LFunction{Env: globals, Proto: proto}
		s := m.strand(ctx, builtin.NewBranch())
		results, err := s.protect(chunk)
		if err == nil {
			done[f] = lua.LTrue // as in Lua, of a file that returns nothing
			if len(results) > 0 && results[0] != lua.LNil {
				done[f] = results[0]
			}
			err = freeze(globals, done[f])
		}
		if err != nil {
			return nil, located(f, language.LoadProblem(err))
		}
	}
	return contents(globals), nil
}

// located gives a problem that has no place the file's name.
func located(f *source.File, err error) error {
	if p, ok := errors.AsType[*source.Problem](err); ok && p.At.File == "" {
		p.At.File = f.Shown
	}
	return err
}

// compile turns a file into the interpreter's instructions. The compiler
// panics on what is too large for these.
func compile(t *tree) (proto *lua.FunctionProto, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = source.ProblemAt(builtin.Position{File: t.file.Shown}, "it is too large to be compiled: %v", r)
		}
	}()
	proto, err = lua.Compile(t.chunk, t.file.Shown)
	if e, ok := errors.AsType[*lua.CompileError](err); ok {
		return nil, source.ProblemAt(builtin.Position{File: t.file.Shown, Line: e.Line}, "%s", e.Message)
	}
	return proto, err
}

// globalsOf are the globals of one file: its own, and behind them what every
// file has. What it sets itself, no other file sees.
func (c *compiled) globalsOf(f *source.File, base *lua.LTable, done map[*source.File]lua.LValue) *lua.LTable {
	behind := &lua.LTable{Metatable: lua.LNil}
	behind.RawSetString("__index", base)
	g := &lua.LTable{Metatable: behind}
	declared := function(func(*lua.LState) int { return 0 })
	g.RawSetString("needs", declared)
	g.RawSetString("params", declared)
	g.RawSetString("require", function(func(l *lua.LState) int {
		path := requiredPath(l.CheckString(1))
		v, ok := done[c.graph.Resolve(f, path)]
		if !ok {
			l.RaiseError("require of %q: not among what the file requires by a literal name", strings.TrimSuffix(path, ".lua"))
		}
		l.Push(v)
		return 1
	}))
	return g
}
