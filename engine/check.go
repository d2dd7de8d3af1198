package engine

import (
	"fmt"
	"reflect"
	"slices"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/policy"
	"nixmox/engine/source"
)

// Check finds what a run of a loaded playbook would stumble over: functions
// that there are not, arguments that they do not take, needs that are missing,
// and what its needs have too many.
func (e *Engine) Check(p *Playbook) source.Problems {
	var problems source.Problems
	atHand := builtin.Module{Funcs: AtHand()}
	used := make([]bool, len(p.Needs))
	for _, use := range p.Uses() {
		m := &atHand
		if use.Module != "" {
			i := slices.IndexFunc(e.Modules, func(m builtin.Module) bool { return m.Name == use.Module })
			if i < 0 {
				continue
			}
			m = &e.Modules[i]
		}
		if use.Name == "" { // any of its functions may be called
			for i, n := range p.Needs {
				used[i] = used[i] || n.Module == use.Module
			}
			continue
		}
		f, ok := m.Func(use.Name)
		if !ok {
			problems = append(problems, &source.Problem{At: use.At, What: fmt.Sprintf("%s has no function %q", m.Name, use.Name), Hint: "nixmox doc " + m.Name})
			continue
		}
		if f.Module != "" && !policy.Declared(p.Needs, f) {
			problems = append(problems, &source.Problem{At: use.At, What: f.QualifiedName() + " is not among the needs of this playbook",
				Hint: policy.Declare(f)})
		}
		for i, n := range p.Needs {
			used[i] = used[i] || n.Covers(f)
		}
		if use.Called {
			problems = append(problems, misfits(f, use)...)
		}
	}
	for i, n := range p.Needs {
		if !used[i] {
			problems = append(problems, &source.Problem{At: n.At, What: fmt.Sprintf("needs: %s = %q is never used", n.Module, n),
				Hint: "take it out: whoever approves the playbook approves all that it declares"})
		}
	}
	return append(problems, e.forbidden(p)...)
}

// forbidden is what the playbook declares, or calls, and the operator's policy
// surely does not let it do.
func (e *Engine) forbidden(p *Playbook) source.Problems {
	rules := e.Policy.For(p.Name)
	if rules == nil {
		return nil
	}
	const hint = "take it out, or have whoever runs this machine change the policy"
	var problems source.Problems
	told := map[string]bool{}
	for _, n := range p.Needs {
		if why := policy.ExcludesNeed(rules, n, e.Modules); why != "" {
			told[n.Module+"."+n.What] = true
			problems = append(problems, &source.Problem{At: n.At, What: fmt.Sprintf("needs: %s = [%q] is forbidden: %s", n.Module, n, why), Hint: hint})
		}
	}
	for _, use := range e.Functions(p) {
		why := policy.ExcludesFunc(rules, use.Func)
		if why == "" || slices.ContainsFunc(use.Needs, func(n policy.Need) bool { return told[n.Module+"."+n.What] }) {
			continue
		}
		problems = append(problems, &source.Problem{At: use.At, What: fmt.Sprintf("%s is forbidden: %s", use.QualifiedName(), why), Hint: hint})
	}
	return problems
}

// policyLimits are the limits of the operator's policy.
func (e *Engine) policyLimits() policy.Limits {
	if e.Policy == nil {
		return policy.Limits{}
	}
	return e.Policy.Limits
}

// misfits are the arguments of a call in the text that the function will not take.
func misfits(f *builtin.Func, use language.Used) source.Problems {
	given := make([]builtin.Given, len(use.Args))
	for i, arg := range use.Args {
		given[i].Name = arg.Name
		if arg.Literal == nil {
			continue
		}
		if v, err := anyValue.Decode(arg.Literal); err == nil { // what cannot be read is not known
			given[i].Known, given[i].Value = true, v
		}
	}
	var problems source.Problems
	f.Misfits(given, use.More, func(i int, why string) {
		at := use.At
		if i >= 0 {
			at = use.Args[i].At
		}
		problems = append(problems, &source.Problem{At: at, What: f.QualifiedName() + ": " + why, Hint: "nixmox doc " + f.QualifiedName()})
	})
	return problems
}

var anyValue = builtin.TypeOf(reflect.TypeFor[builtin.Value]())
