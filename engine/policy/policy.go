// Package policy decides whether a call may be made: the playbook's needs
// against the call. It is deterministic, asks nobody, and knows modules only
// by their definitions.
package policy

import (
	"fmt"
	"path"
	"strings"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// Need is one thing that a playbook declares it will do:
// MODULE = ["read" | "change" | FUNCTION, each with optional ":GLOB"].
type Need struct {
	Module string
	What   string // "read", "change" or the name of a function
	Glob   string // "" for all; "$NAME" for the value of a parameter
	At     builtin.Position
}

func (n Need) String() string {
	if n.Glob == "" {
		return n.What
	}
	return n.What + ":" + n.Glob
}

// ParseNeed reads the text of one need. A colon with nothing after it is no
// need for everything: it stays in What, where Check finds no such function.
func ParseNeed(module, text string, at builtin.Position) Need {
	what, glob, colon := strings.Cut(text, ":")
	if colon && glob == "" {
		what = text
	}
	return Need{Module: module, What: what, Glob: glob, At: at}
}

// Check finds needs that name nothing there is.
func Check(needs []Need, modules []builtin.Module, params []builtin.Param) source.Problems {
	var problems source.Problems
	for _, n := range needs {
		if p := check(n, modules, params); p != nil {
			problems = append(problems, p)
		}
	}
	return problems
}

func check(n Need, modules []builtin.Module, params []builtin.Param) *source.Problem {
	module, ok := find(modules, n.Module)
	if !ok {
		return &source.Problem{At: n.At, What: fmt.Sprintf("needs: there is no module %q", n.Module), Hint: "modules: " + names(modules)}
	}
	f, isFunc := module.Func(n.What)
	if !isFunc && n.What != "read" && n.What != "change" {
		return &source.Problem{At: n.At, What: fmt.Sprintf("needs: %s has no function %q", n.Module, n.What),
			Hint: "read, change, or one of: " + funcNames(module)}
	}
	if isFunc && n.Glob != "" {
		if _, _, scoped := f.ScopeOf(); !scoped {
			return source.ProblemAt(n.At, "needs: %s.%s names nothing that %q could match", n.Module, n.What, n.Glob)
		}
	}
	if name, isParam := strings.CutPrefix(n.Glob, "$"); isParam {
		for _, p := range params {
			if p.Name == name {
				return nil
			}
		}
		return source.ProblemAt(n.At, "needs: main has no parameter %q", name)
	}
	if _, err := path.Match(n.Glob, ""); err != nil {
		return source.ProblemAt(n.At, "needs: %q is no glob: %v", n.Glob, err)
	}
	return nil
}

// Policy is the needs of one run, with the parameters they stand for.
type Policy struct {
	needs  []Need
	params map[string]any // neutral values
}

// New makes the policy of a run.
func New(needs []Need, params map[string]any) *Policy {
	return &Policy{needs: needs, params: params}
}

// Allow returns nil if the needs cover the call, and the stop condition that
// names the missing need otherwise. What is always at hand needs nothing.
func (p *Policy) Allow(call *builtin.Call) *builtin.Stop {
	f := call.Func
	if f.Module == "" || f.Effect == builtin.Pure {
		return nil
	}
	sort, values, _ := f.Scope(call.Args)
	for _, n := range p.needs {
		if n.Covers(f) && p.matches(n.Glob, values) {
			return nil
		}
	}
	on := ""
	if len(values) > 0 {
		on = fmt.Sprintf(" on %s %s", sort, strings.Join(values, ", "))
	}
	stop := builtin.Stopf(builtin.Denied, "%s%s is not among the needs of this playbook", f.QualifiedName(), on)
	stop.Hint = Declare(f)
	stop.At = call.At
	return stop
}

// Declared reports whether some need covers the function, for whatever things.
func Declared(needs []Need, f *builtin.Func) bool {
	return f.Effect == builtin.Pure || Covering(needs, f) != nil
}

// Covering are the needs that cover the function, for whatever things.
func Covering(needs []Need, f *builtin.Func) []Need {
	var out []Need
	for _, n := range needs {
		if n.Covers(f) {
			out = append(out, n)
		}
	}
	return out
}

// Declare says how a playbook declares that it needs a function.
func Declare(f *builtin.Func) string {
	need := f.Name
	if f.Effect == builtin.Read {
		need = "read"
	}
	return fmt.Sprintf("if it should be, declare it: needs(%s = [%q])", f.Module, need)
}

// covers: "change" includes "read"; what is irreversible is only covered by
// its own name.
func covers(what string, f *builtin.Func) bool {
	switch what {
	case "read": // before names: no function can be called so
		return f.Effect == builtin.Read
	case "change":
		return f.Effect == builtin.Read || f.Effect == builtin.Change
	}
	return what == f.Name
}

// matches: every value must match. A call that names nothing in particular
// names everything, which only a need without a glob covers.
func (p *Policy) matches(glob string, values []string) bool {
	if glob == "" || glob == "*" {
		return true
	}
	for _, v := range values {
		if !p.match(glob, v) {
			return false
		}
	}
	return len(values) > 0
}

func (p *Policy) match(glob, value string) bool {
	name, isParam := strings.CutPrefix(glob, "$")
	if !isParam {
		ok, err := path.Match(glob, value)
		return ok && err == nil // Check has refused globs with errors
	}
	if list, ok := p.params[name].([]any); ok {
		for _, e := range list {
			if fmt.Sprint(e) == value {
				return true
			}
		}
		return false
	}
	v := p.params[name]
	return v != nil && fmt.Sprint(v) == value
}

func find(modules []builtin.Module, name string) (builtin.Module, bool) {
	for _, m := range modules {
		if m.Name == name {
			return m, true
		}
	}
	return builtin.Module{}, false
}

func names(modules []builtin.Module) string {
	out := make([]string, len(modules))
	for i, m := range modules {
		out[i] = m.Name
	}
	return strings.Join(out, ", ")
}

func funcNames(m builtin.Module) string {
	out := make([]string, len(m.Funcs))
	for i, f := range m.Funcs {
		out[i] = f.Name
	}
	return strings.Join(out, ", ")
}

// Covers reports whether the need covers the function, for some things or all.
func (n Need) Covers(f *builtin.Func) bool { return n.Module == f.Module && covers(n.What, f) }
