// Package policy decides whether a call may be made: the playbook's needs
// against the call. It is deterministic, asks nobody, and knows modules only
// by their definitions.
package policy

import (
	"fmt"
	"slices"
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
		name, _ = strings.CutSuffix(name, below)
		for _, p := range params {
			if p.Name == name {
				return nil
			}
		}
		return source.ProblemAt(n.At, "needs: main has no parameter %q", name)
	}
	if err := validGlob(n.Glob); err != nil {
		return source.ProblemAt(n.At, "needs: %q is no glob: %v", n.Glob, err)
	}
	return nil
}

// Policy is the needs of one run, with the parameters they stand for, and the
// operator's rules that narrow them.
type Policy struct {
	needs  []Need
	params map[string]any // neutral values
	rules  []Narrowing
}

// New makes the policy of a run.
func New(needs []Need, params map[string]any) *Policy {
	return &Policy{needs: needs, params: params}
}

// Under narrows the policy of a run by an operator's rules.
func (p *Policy) Under(rules []Narrowing) *Policy {
	p.rules = rules
	return p
}

// May is what the needs allow, for people: a text for each module.
func (p *Policy) May() []string {
	var out, modules []string
	for _, n := range p.needs {
		what := n.What
		if name, isParam := strings.CutPrefix(n.Glob, "$"); isParam {
			name, deep := strings.CutSuffix(name, below)
			what += " of " + shown(p.params[name])
			if deep {
				what += " and everything below"
			}
		} else if n.Glob != "" {
			what += " of " + n.Glob
		}
		if i := slices.Index(modules, n.Module); i >= 0 {
			out[i] += ", " + what
			continue
		}
		modules, out = append(modules, n.Module), append(out, n.Module+" "+what)
	}
	return out
}

// shown is the value of a parameter, for people.
func shown(v any) string {
	list, isList := v.([]any)
	if !isList && v != nil {
		list = []any{v}
	}
	if len(list) == 0 {
		return "nothing"
	}
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = fmt.Sprint(e)
	}
	return strings.Join(words, " and ")
}

// Allow returns nil if the needs cover the call and no rule forbids it, and
// otherwise the stop condition that names the missing need or the rule. What is
// always at hand needs nothing. Of a planned call that names what only the run
// will know, a plan can't tell where that matters: it ends there.
func (p *Policy) Allow(call *builtin.Call) *builtin.Stop {
	f := call.Func
	if f.Module == "" || f.Effect == builtin.Pure {
		return nil
	}
	sort, values, _ := f.Scope(call.Args)
	what, hint, perhaps := p.refuses(f, sort, values)
	if what == "" {
		return nil
	}
	stop := builtin.Stopf(builtin.Denied, "%s", what)
	if place := f.ScopeToCome(call.Args); place != "" && perhaps {
		stop = builtin.Stopf(builtin.PlanEnds, "which %s %s names is known after call %s only, and whether it may depends on that", sort, f.QualifiedName(), place)
	}
	stop.Hint, stop.At = hint, call.At
	return stop
}

// refuses says why the call may not be made, "" if it may; perhaps is true if
// it depends on what the call names.
func (p *Policy) refuses(f *builtin.Func, sort string, values []string) (what, hint string, perhaps bool) {
	named := f.QualifiedName()
	if len(values) > 0 {
		named = fmt.Sprintf("%s on %s %s", named, sort, strings.Join(values, ", "))
	}
	if !slices.ContainsFunc(p.needs, func(n Need) bool { return n.Covers(f) && p.matches(n.Glob, values) }) {
		return named + " is not among the needs of this playbook", Declare(f), Declared(p.needs, f) && excludes(p.rules, f, "") == ""
	}
	for i := range p.rules {
		if why := p.rules[i].forbids(f, values); why != "" {
			return named + " is forbidden: " + why, "whoever runs this machine decides that; nixmox check tells it beforehand", excludes(p.rules, f, "") == ""
		}
	}
	return "", "", false
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
	return fmt.Sprintf("if it should be, declare it: needs(%s = [%q])", f.Module, declared(f))
}

// declared is the word by which needs cover a function.
func declared(f *builtin.Func) string {
	if f.Effect == builtin.Read {
		return "read"
	}
	return f.Name
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
	if all(glob) {
		return true
	}
	for _, v := range values {
		if !p.match(glob, v) {
			return false
		}
	}
	return len(values) > 0
}

// match: $NAME is the parameter's very value, or each of a list of values;
// $NAME/** is also everything below it.
func (p *Policy) match(glob, value string) bool {
	name, isParam := strings.CutPrefix(glob, "$")
	if !isParam {
		return matchGlob(glob, value)
	}
	name, deep := strings.CutSuffix(name, below)
	list, isList := p.params[name].([]any)
	if v := p.params[name]; !isList && v != nil {
		list = []any{v}
	}
	return slices.ContainsFunc(list, func(e any) bool {
		v := fmt.Sprint(e)
		return v == value || deep && v != "" && strings.HasPrefix(value, v+"/") && !slices.Contains(strings.Split(value, "/"), "..")
	})
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
