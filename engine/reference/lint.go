package reference

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// Words that cannot be a name in one of the languages: a function, an
// argument or a field called so could not be written there.
var reserved = map[string][]string{
	"Lua": strings.Fields("and break do else elseif end false for function goto if in local nil not or repeat return then true until while"),
	"Starlark": strings.Fields("and as assert async await break class continue def del elif else except finally for from global if import in is " +
		"lambda load nonlocal not or pass raise return try while with yield None True False"),
}

var nameGrammar = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Lint finds what is wrong with definitions as far as their users can see it:
// names that no playbook could write, things without a doc. Each test of a
// module asks it, and one asks it for all that ship.
func Lint(modules []builtin.Module, atHand []builtin.Func) []string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	name := func(what, name string) {
		if !nameGrammar.MatchString(name) {
			bad("%s is not in lower case: %q", what, name)
		}
		for _, language := range []string{"Lua", "Starlark"} {
			if slices.Contains(reserved[language], name) {
				bad("%s is a reserved word of %s: %q", what, language, name)
			}
		}
	}
	for _, m := range modules {
		name("the module's name", m.Name)
		if m.Doc == "" {
			bad("%s has no doc", m.Name)
		}
	}
	for _, f := range (book{modules, atHand}).funcs() {
		q := f.QualifiedName()
		name("the name of "+q, f.Name)
		if f.Doc == "" {
			bad("%s has no doc", q)
		}
		for i := range f.Args.Fields {
			name("an argument of "+q, f.Args.Fields[i].Name)
			if f.Args.Fields[i].Doc == "" {
				bad("%s: its argument %s has no doc", q, f.Args.Fields[i].Name)
			}
		}
		for _, r := range records(append(argumentTypes(f), f.Result)...) {
			for i := range r.Fields {
				name(fmt.Sprintf("a field of %s of %s", r.Name, q), r.Fields[i].Name)
				if r.Fields[i].Doc == "" {
					bad("%s: field %s of %s has no doc", q, r.Fields[i].Name, r.Name)
				}
			}
		}
	}
	return problems
}
