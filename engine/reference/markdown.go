package reference

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"nixmox/engine/builtin"
)

// Markdown writes the whole reference as one page. Each record is explained
// once in its module, and linked to from where it is used.
func Markdown(w io.Writer, modules []builtin.Module, atHand []builtin.Func) error {
	m := &markdown{}
	m.WriteString("# Reference\n\nWhat playbooks can call, made from the definitions by `nixmox doc --markdown`.\n\n")
	for _, module := range modules {
		fmt.Fprintf(m, "- [%s](#%s): %s\n", module.Name, anchor(module.Name), cell(summary(module.Doc)))
	}
	m.WriteString("- [always at hand](#always-at-hand), without a module\n")
	for _, module := range modules {
		m.section(module.Name, module.Name, module.Doc, module.Funcs)
	}
	m.section("Always at hand", "at-hand", "Functions without a module. The languages add `json` and `struct`.", atHand)
	_, err := w.Write(m.Bytes())
	return err
}

type markdown struct {
	bytes.Buffer
	prefix  string          // of the anchors of this section's records
	records []*builtin.Type // of this section
}

func (m *markdown) section(title, prefix, doc string, funcs []builtin.Func) {
	m.prefix = prefix
	var types []*builtin.Type
	for i := range funcs {
		types = append(append(types, funcs[i].Result), argumentTypes(&funcs[i])...)
	}
	m.records = records(types...)
	fmt.Fprintf(m, "\n## %s\n\n%s\n", title, strings.TrimSpace(doc))
	for i := range funcs {
		m.function(&funcs[i])
	}
	for i, r := range m.records {
		fmt.Fprintf(m, "\n<a id=\"%s\"></a>\n\n### %s\n", m.recordAnchor(i), r.Name)
		m.table(r.Fields, false)
	}
	if named := grammars(types...); named != nil {
		fmt.Fprintf(m, "\n### Types of %s\n\n", title)
		for _, t := range named {
			fmt.Fprintf(m, "- *%s*: %s\n", t.Name, t.Doc)
		}
	}
}

// codeWidth is where a signature breaks into lines.
const codeWidth = 100

func (m *markdown) function(f *builtin.Func) {
	fmt.Fprintf(m, "\n### %s\n\n```python\n%s\n```\n\n%s\n\n", f.QualifiedName(), signature(f, codeWidth), strings.TrimSpace(f.Doc))
	fmt.Fprintf(m, "- Effect: %s\n", effectOf(f))
	if d := doubt(f); d != "" {
		fmt.Fprintf(m, "- After a crash: %s\n", d)
	}
	if n := need(f); n != "" {
		fmt.Fprintf(m, "- Declared by: %s\n", n)
	}
	fmt.Fprintf(m, "- Result: %s%s\n", m.typeLink(f.Result), laterNote(f.Result))
	if len(f.Errors) > 0 {
		fmt.Fprintf(m, "- Errors: %s\n", kinds(f.Errors))
	}
	if len(f.Privileges) > 0 {
		fmt.Fprintf(m, "- The token needs: %s\n", privileges(f))
	}
	if f.Source != "" {
		fmt.Fprintf(m, "- Follows: %s\n", f.Source)
	}
	if len(f.Args.Fields) > 0 {
		m.table(f.Args.Fields, true)
	}
	if f.Example != "" {
		fmt.Fprintf(m, "\n```python\n%s\n```\n", strings.TrimRight(f.Example, "\n"))
	}
}

func (m *markdown) table(fields []builtin.Field, areArguments bool) {
	if areArguments {
		m.WriteString("\n| argument | type | default | |\n| --- | --- | --- | --- |\n")
	} else {
		m.WriteString("\n| field | type | |\n| --- | --- | --- |\n")
	}
	for i := range fields {
		f := &fields[i]
		fmt.Fprintf(m, "| `%s` | %s |", f.Name, m.typeLink(f.Type))
		switch {
		case areArguments && f.HasDefault:
			fmt.Fprintf(m, " `%s` |", literal(f))
		case areArguments:
			m.WriteString(" required |")
		}
		fmt.Fprintf(m, " %s |\n", cell(strings.Join(notes(f), "; ")))
	}
}

// typeLink is the type's name, a link if it is a record or made of records.
func (m *markdown) typeLink(t *builtin.Type) string {
	inner := t
	for inner.Elem != nil {
		inner = inner.Elem
	}
	for i, r := range m.records {
		if inner.Kind == builtin.KindRecord && sameRecord(r, inner) {
			return strings.Replace(typeName(t), r.Name, fmt.Sprintf("[%s](#%s)", r.Name, m.recordAnchor(i)), 1)
		}
	}
	return typeName(t)
}

// recordAnchor is unique on the page, also where two records share a name.
func (m *markdown) recordAnchor(i int) string {
	n := 1
	for _, r := range m.records[:i] {
		if r.Name == m.records[i].Name {
			n++
		}
	}
	text := anchor(m.prefix + "-" + m.records[i].Name)
	if n > 1 {
		text += fmt.Sprintf("-%d", n)
	}
	return text
}

// anchor is the id that Markdown renderers give a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(strings.ToLower(heading), " ", "-")
}

// cell keeps a text from ending a cell of a table, or its line.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
