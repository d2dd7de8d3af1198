package reference

import (
	"fmt"
	"io"
	"strings"

	"nixmox/engine/builtin"
)

// Text writes the manual of a topic, wrapped at a width (0 for 80): "" is the
// overview, the name of a module its functions, the name of a function all
// that is known of it. The error of a topic that is none is an *UnknownTopic.
func Text(w io.Writer, modules []builtin.Module, atHand []builtin.Func, topic string, width int) error {
	b, p := book{modules, atHand}, newPage(width)
	if topic == "" {
		p.overview(b)
	} else {
		m, f, err := b.find(topic)
		switch {
		case err != nil:
			return err
		case m != nil:
			p.module(m)
		default:
			p.function(f)
		}
	}
	_, err := w.Write(p.Bytes())
	return err
}

func (p *page) overview(b book) {
	p.WriteString("What playbooks can call.\n")
	p.heading("Modules")
	widest := 0
	for _, m := range b.modules {
		widest = max(widest, len(m.Name))
	}
	for _, m := range b.modules {
		p.words(2, widest+4, fmt.Sprintf("%-*s  ", widest, m.Name), summary(m.Doc))
	}
	p.heading("Always at hand, without a module")
	widest = 0
	for _, f := range b.atHand {
		widest = max(widest, len(f.Name))
	}
	for _, f := range b.atHand {
		p.words(2, widest+4, fmt.Sprintf("%-*s  ", widest, f.Name), summary(f.Doc))
	}
	p.WriteByte('\n')
	p.para(0, "The languages add json and struct. More of a module or function: nixmox doc NAME.")
}

func (p *page) module(m *builtin.Module) {
	p.WriteString(m.Name + "\n\n")
	p.para(2, m.Doc)
	p.heading("Functions")
	name, effect := 0, 0
	for _, f := range m.Funcs {
		name, effect = max(name, len(f.Name)), max(effect, len(f.Effect.String()))
	}
	for _, f := range m.Funcs {
		p.words(2, name+effect+6, fmt.Sprintf("%-*s  %-*s  ", name, f.Name, effect, f.Effect), summary(f.Doc))
	}
}

func (p *page) function(f *builtin.Func) {
	p.WriteString(signature(f, p.width) + "\n\n")
	p.para(2, f.Doc)
	p.WriteByte('\n')
	p.item(2, "Effect", effectOf(f))
	if d := doubt(f); d != "" {
		p.item(2, "After a crash", d)
	}
	if n := need(f); n != "" {
		p.item(2, "Declared by", n)
	}
	if len(f.Errors) > 0 {
		p.item(2, "Errors", kinds(f.Errors))
	}
	if len(f.Privileges) > 0 {
		p.item(2, "The token needs", privileges(f))
	}
	if f.Source != "" {
		p.item(2, "Follows", f.Source)
	}
	if len(f.Args.Fields) > 0 {
		p.heading("Arguments")
		for i := range f.Args.Fields {
			p.field(&f.Args.Fields[i], true)
		}
	}
	p.heading("Result")
	p.para(2, typeName(f.Result)+laterNote(f.Result))
	types := append([]*builtin.Type{f.Result}, argumentTypes(f)...)
	for _, r := range records(types...) {
		p.heading(r.Name)
		for i := range r.Fields {
			p.field(&r.Fields[i], false)
		}
	}
	if named := grammars(types...); named != nil {
		p.heading("Types")
		for _, t := range named {
			p.item(2, t.Name, t.Doc)
		}
	}
	if f.Example != "" {
		p.heading("Example")
		p.block(2, f.Example)
	}
}

// field writes an argument or a field of a record: a line with its type, then
// what it means.
func (p *page) field(f *builtin.Field, isArgument bool) {
	text := typeName(f.Type)
	switch {
	case f.HasDefault:
		text += ", default " + literal(f)
	case isArgument:
		text += ", required"
	}
	p.words(2, 8, f.Name+"  ", text)
	for _, note := range notes(f) {
		p.para(6, note)
	}
}

// notes are what there is to say of an argument or a field.
func notes(f *builtin.Field) []string {
	var out []string
	if f.Doc != "" {
		out = append(out, f.Doc)
	}
	if f.Enum != nil {
		out = append(out, "one of: "+strings.Join(f.Enum, ", "))
	}
	if f.Scope != "" {
		out = append(out, "needs match on it, as "+f.Scope)
	}
	if f.Type.Later {
		out = append(out, "a plan may not know it yet")
	}
	if f.Volatile {
		out = append(out, "plan and run may differ in it")
	}
	return out
}

func laterNote(t *builtin.Type) string {
	if t.Later {
		return "; a plan may not know it yet"
	}
	return ""
}

func privileges(f *builtin.Func) string {
	out := make([]string, len(f.Privileges))
	for i, p := range f.Privileges {
		out[i] = p.String()
	}
	return strings.Join(out, ", ")
}

func kinds(list []builtin.Kind) string {
	out := make([]string, len(list))
	for i, k := range list {
		out[i] = string(k)
	}
	return strings.Join(out, ", ")
}
