package starvm

import (
	"fmt"
	"regexp"
	"strings"

	"go.starlark.net/starlark"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// params makes the playbook's parameters of main: names and defaults from
// its signature, the rest from the Args section of its docstring.
func params(main *starlark.Function) ([]builtin.Param, error) {
	var problems source.Problems
	bad := func(at builtin.Position, format string, args ...any) {
		problems = append(problems, source.ProblemAt(at, format, args...))
	}
	if main.HasVarargs() || main.HasKwargs() {
		bad(position(main.Position()), "main cannot take *args or **kwargs: every parameter is a flag with a name")
		return nil, problems
	}
	described, order, err := argsSection(main.Doc())
	if err != nil {
		bad(position(main.Position()), "%v", err)
	}
	var out []builtin.Param
	for i := range main.NumParams() {
		name, pos := main.Param(i)
		d := described[name]
		delete(described, name)
		p := builtin.Param{Name: name, Doc: d.doc, Env: d.env, At: position(pos)}
		value := main.ParamDefault(i)
		p.Required = value == nil
		var given any
		if !p.Required {
			given, err = (&strand{}).inbound().neutral(value, nil)
		}
		if err == nil {
			p.Type, err = language.ParamType("Args", d.typ, !p.Required, given)
		}
		if err != nil {
			bad(p.At, "parameter %s: %v", name, err)
			continue
		}
		if p.Default, err = language.Default(p.Type, given); err != nil {
			bad(p.At, "parameter %s: its default: %v", name, err)
		}
		out = append(out, p)
	}
	for _, name := range order {
		if _, left := described[name]; left {
			bad(position(main.Position()), "Args describes %s, which is no parameter of main", name)
		}
	}
	if problems != nil {
		return nil, problems
	}
	return out, nil
}

type described struct{ typ, env, doc string }

var (
	argLine = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)\s*(?:\(([^)]*)\))?:\s*(.*)$`)
	envName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// argsSection reads the Args section of a docstring: `name (type, ENV): text`.
// A lower-case word is the type, an upper-case one an environment variable.
// Deeper lines go on with the text.
func argsSection(doc string) (map[string]described, []string, error) {
	out := map[string]described{}
	var order []string
	inside, sectionDepth, argDepth := false, 0, 0
	for line := range strings.SplitSeq(doc, "\n") {
		text := strings.TrimSpace(line)
		depth := len(line) - len(strings.TrimLeft(line, " \t"))
		if !inside {
			inside, sectionDepth = text == "Args:", depth
			continue
		}
		if text == "" {
			continue
		}
		if depth <= sectionDepth {
			break // the section is over
		}
		if len(order) == 0 {
			argDepth = depth
		}
		if depth > argDepth {
			last := order[len(order)-1]
			d := out[last]
			d.doc += " " + text
			out[last] = d
			continue
		}
		m := argLine.FindStringSubmatch(text)
		if m == nil {
			return out, order, fmt.Errorf("in Args %q is not of the form name (type, ENV): text", text)
		}
		d := described{doc: m[3]}
		for word := range strings.SplitSeq(m[2], ",") {
			switch word = strings.TrimSpace(word); {
			case word == "":
			case envName.MatchString(word):
				d.env = word
			default:
				d.typ = word
			}
		}
		out[m[1]] = d
		order = append(order, m[1])
	}
	return out, order, nil
}
