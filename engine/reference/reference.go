// Package reference makes manual, Markdown page and JSON of what playbooks
// can call, all from the definitions of the built-ins. It must know no module
// by name and not the engine: whoever calls it hands the definitions in.
package reference

import (
	"fmt"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// UnknownTopic says that nothing of a name is in the reference.
type UnknownTopic struct {
	Topic string
	Near  []string // topics with a similar name, the nearest first
}

func (e *UnknownTopic) Error() string {
	if len(e.Near) == 0 {
		return fmt.Sprintf("there is no %q", e.Topic)
	}
	return fmt.Sprintf("there is no %q; near it: %s", e.Topic, strings.Join(e.Near, ", "))
}

// book is what the reference is made of.
type book struct {
	modules []builtin.Module
	atHand  []builtin.Func
}

// find is what a topic names: a module, or a function, or an error.
func (b book) find(topic string) (*builtin.Module, *builtin.Func, error) {
	for i := range b.modules {
		if b.modules[i].Name == topic {
			return &b.modules[i], nil, nil
		}
	}
	for _, f := range b.funcs() {
		if f.QualifiedName() == topic {
			return nil, f, nil
		}
	}
	return nil, nil, &UnknownTopic{Topic: topic, Near: b.near(topic)}
}

// funcs are all functions: those at hand, then those of each module.
func (b book) funcs() []*builtin.Func {
	var out []*builtin.Func
	for i := range b.atHand {
		out = append(out, &b.atHand[i])
	}
	for _, m := range b.modules {
		for i := range m.Funcs {
			out = append(out, &m.Funcs[i])
		}
	}
	return out
}

// near finds topics that somebody may have meant: the same function of
// whichever module first, then what few typing errors lead to.
func (b book) near(topic string) []string {
	type candidate struct {
		name string
		off  int
	}
	_, bare, dotted := strings.Cut(topic, ".")
	if !dotted {
		bare = topic
	}
	var found []candidate
	add := func(qualified, name string) {
		off := min(distance(topic, qualified), 1+distance(bare, name))
		if name == bare {
			off = 0
		}
		if off <= max(1, len(topic)/3) {
			found = append(found, candidate{qualified, off})
		}
	}
	for _, m := range b.modules {
		add(m.Name, m.Name)
	}
	for _, f := range b.funcs() {
		add(f.QualifiedName(), f.Name)
	}
	slices.SortStableFunc(found, func(x, y candidate) int { return x.off - y.off })
	var names []string
	for _, c := range found[:min(len(found), 5)] {
		names = append(names, c.name)
	}
	return names
}

// distance is how many letters must be put in, left out, replaced, or swapped
// with their neighbour.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// summary is the first sentence of a doc.
func summary(doc string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	if i := strings.Index(doc, ". "); i >= 0 {
		return doc[:i+1]
	}
	return doc
}

// records are the records that occur in the types, each once, outermost
// first, in the order in which somebody who reads meets them.
func records(types ...*builtin.Type) []*builtin.Type {
	var out []*builtin.Type
	var visit func(t *builtin.Type)
	visit = func(t *builtin.Type) {
		if t.Elem != nil {
			visit(t.Elem)
		}
		if t.Kind != builtin.KindRecord || len(t.Fields) == 0 {
			return
		}
		// A pointer to a record is another Go type and the same record.
		if slices.ContainsFunc(out, func(o *builtin.Type) bool { return sameRecord(o, t) }) {
			return
		}
		out = append(out, t)
		for i := range t.Fields {
			visit(t.Fields[i].Type)
		}
	}
	for _, t := range types {
		visit(t)
	}
	return out
}

func sameRecord(a, b *builtin.Type) bool {
	if a.Name != b.Name || len(a.Fields) != len(b.Fields) {
		return false
	}
	for i := range a.Fields {
		x, y := &a.Fields[i], &b.Fields[i]
		if x.Name != y.Name || x.Doc != y.Doc || x.Type.Name != y.Type.Name {
			return false
		}
	}
	return true
}

// grammars are the named types that occur and have a grammar to tell.
func grammars(types ...*builtin.Type) []*builtin.Type {
	var out []*builtin.Type
	var visit func(t *builtin.Type)
	visit = func(t *builtin.Type) {
		if t.Elem != nil {
			visit(t.Elem)
		}
		for i := range t.Fields {
			visit(t.Fields[i].Type)
		}
		if t.Doc != "" && !slices.ContainsFunc(out, func(o *builtin.Type) bool { return o.Name == t.Name }) {
			out = append(out, t)
		}
	}
	for _, t := range types {
		visit(t)
	}
	return out
}

// argumentTypes are the types of a function's arguments.
func argumentTypes(f *builtin.Func) []*builtin.Type {
	var out []*builtin.Type
	for i := range f.Args.Fields {
		out = append(out, f.Args.Fields[i].Type)
	}
	return out
}

// typeName is what a value of the type is called.
func typeName(t *builtin.Type) string {
	switch {
	case t.Kind == builtin.KindRecord && len(t.Fields) == 0:
		return "None"
	case t.Optional():
		return t.Name + " or None"
	}
	return t.Name
}

// Sentences about what a function does to the world.
var effects = [...]string{
	builtin.Pure:   "computes only; needs no need",
	builtin.Read:   "looks, and alters nothing; a plan makes it too",
	builtin.Change: "alters the world: a plan previews it, a run locks what it touches and records it",
	builtin.Irreversible: "destroys: what exactly goes is decided before it is done; a plan previews it, " +
		"a run locks what it touches and records it; needs cover it only by its own name",
}

// effectOf says what a function does. What is at hand needs no need anyway,
// and often runs a function of the playbook, whose calls count themselves.
func effectOf(f *builtin.Func) string {
	if f.Module == "" {
		if f.Effect == builtin.Read {
			return "read: recorded, so that a resumed run sees the same"
		}
		return f.Effect.String()
	}
	return f.Effect.String() + ": " + effects[f.Effect]
}

// doubt says what becomes of a change whose end was not recorded; "" if the
// function makes none.
func doubt(f *builtin.Func) string {
	switch {
	case !f.Effect.Alters():
		return ""
	case f.NoSettle != "":
		return "stays in doubt, and the operator decides: " + f.NoSettle
	}
	return "nixmox looks what became of it, and goes on"
}

// need is how a playbook declares the function; "" if it need not.
func need(f *builtin.Func) string {
	if f.Module == "" || f.Effect == builtin.Pure {
		return ""
	}
	what := f.Name
	if f.Effect == builtin.Read {
		what = "read"
	}
	text := fmt.Sprintf("needs(%s = [%q])", f.Module, what)
	if _, sort, ok := f.ScopeOf(); ok {
		text += fmt.Sprintf(", or with a glob of the %s: %q", sort, f.Name+":GLOB")
	}
	return text
}
