package starvm

import (
	"fmt"
	"sort"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nixmox/engine/builtin"
)

// record is the result of a built-in: fields by name, in the definition's
// order, never changed.
type record struct {
	typ    *builtin.Type
	fields []starlark.Value
}

func (r *record) Type() string         { return r.typ.Name }
func (r *record) Truth() starlark.Bool { return true }

func (r *record) Freeze() {
	for _, f := range r.fields {
		f.Freeze()
	}
}

func (r *record) String() string {
	var b strings.Builder
	b.WriteString(r.Type())
	b.WriteByte('(')
	for i, f := range r.fields {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s = %s", r.typ.Fields[i].Name, f)
	}
	b.WriteByte(')')
	return b.String()
}

func (r *record) Hash() (uint32, error) {
	var h uint32 = 17
	for _, f := range r.fields {
		n, err := f.Hash()
		if err != nil {
			return 0, fmt.Errorf("unhashable: %s", r.Type())
		}
		h = h*31 + n
	}
	return h, nil
}

func (r *record) Attr(name string) (starlark.Value, error) {
	for i := range r.typ.Fields {
		if r.typ.Fields[i].Name == name {
			return r.fields[i], nil
		}
	}
	return nil, nil
}

func (r *record) AttrNames() []string {
	names := make([]string, len(r.typ.Fields))
	for i := range names {
		names[i] = r.typ.Fields[i].Name
	}
	sort.Strings(names)
	return names
}

func (r *record) CompareSameType(op syntax.Token, y starlark.Value, depth int) (bool, error) {
	if op != syntax.EQL && op != syntax.NEQ {
		return false, fmt.Errorf("%s %s %s not implemented", r.Type(), op, y.Type())
	}
	o, equal := y.(*record) // something else may bear the same name
	equal = equal && r.typ.Same(o.typ)
	for i := 0; equal && i < len(r.fields); i++ {
		var err error
		if equal, err = starlark.EqualDepth(r.fields[i], o.fields[i], depth-1); err != nil {
			return false, err
		}
	}
	return equal == (op == syntax.EQL), nil
}

// secret is a handle: it can be passed on, and shows its name only.
type secret struct{ builtin.Secret }

func (secret) Type() string            { return "secret" }
func (secret) Freeze()                 {}
func (secret) Truth() starlark.Bool    { return true }
func (s secret) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: secret") }

// opaque stands for what only the run will know. It may be passed on and
// shown. Comparing, hashing and branching on it end the plan. Starlark gives a
// value no say in `==` with another type, so that one is false.
type opaque struct {
	builtin.Opaque
	machine *machine
}

// opaqueType is what the language's own errors call such a value by (machine.outcome).
const opaqueType = "known_after_the_plan"

func (*opaque) Type() string { return opaqueType }
func (*opaque) Freeze()      {}

// Truth cannot fail, in Starlark. It leaves a stop condition, which the next
// call of a built-in meets, or the end of main: nothing is done on a guess.
func (o *opaque) Truth() starlark.Bool {
	_ = o.machine.Halt(o.Ends("is used as a condition")) // there is nobody here to be told
	return true
}
func (o *opaque) Hash() (uint32, error) { return 0, o.Ends("is used as a key") }
func (o *opaque) CompareSameType(syntax.Token, starlark.Value, int) (bool, error) {
	return false, o.Ends("is compared")
}
func (o *opaque) Attr(string) (starlark.Value, error) { return nil, o.Ends("is looked into") }
func (o *opaque) AttrNames() []string                 { return nil }
