package reference

import (
	"bytes"
	"encoding/json"
	"io"

	"nixmox/engine/builtin"
)

// JSON writes a topic, as Text takes it, for machines. Each function has JSON
// Schemas (draft 2020-12) of its arguments and of its result.
func JSON(w io.Writer, modules []builtin.Module, atHand []builtin.Func, topic string) error {
	b := book{modules, atHand}
	var v any
	var err error
	if topic == "" {
		v, err = jsonBook(b)
	} else {
		m, f, unknown := b.find(topic)
		switch {
		case unknown != nil:
			return unknown
		case m != nil:
			v, err = jsonModule(m)
		default:
			v, err = jsonFunc(f)
		}
	}
	if err != nil {
		return err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

type bookView struct {
	Modules []moduleView `json:"modules"`
	AtHand  []funcView   `json:"at_hand"`
}

type moduleView struct {
	Name      string     `json:"name"`
	Doc       string     `json:"doc"`
	Functions []funcView `json:"functions"`
}

type funcView struct {
	Name      string         `json:"name"` // MODULE.FUNCTION
	Signature string         `json:"signature"`
	Summary   string         `json:"summary"`
	Doc       string         `json:"doc"`
	Effect    builtin.Effect `json:"effect"`
	Locks     bool           `json:"locks"`
	NoSettle  string         `json:"no_settle,omitempty"`
	Need      string         `json:"need,omitempty"`
	Arguments []fieldView    `json:"arguments"`
	Result    typeView       `json:"result"`
	Errors    []builtin.Kind `json:"errors,omitempty"`
	Source    string         `json:"source,omitempty"`

	Privileges []builtin.Privilege `json:"privileges,omitempty"`

	Example string `json:"example,omitempty"`

	ArgumentsSchema schema `json:"arguments_schema"`
	ResultSchema    schema `json:"result_schema"`
}

type fieldView struct {
	Name     string          `json:"name"`
	Doc      string          `json:"doc"`
	Type     typeView        `json:"type"`
	Enum     []string        `json:"enum,omitempty"`
	Required bool            `json:"required,omitempty"`
	Default  json.RawMessage `json:"default,omitempty"` // as a result would show it
	Literal  string          `json:"literal,omitempty"` // the default, in Starlark
	Scope    string          `json:"scope,omitempty"`
	Volatile bool            `json:"volatile,omitempty"`
}

type typeView struct {
	Kind     string      `json:"kind"`
	Name     string      `json:"name"`
	Grammar  string      `json:"grammar,omitempty"`
	Pattern  string      `json:"pattern,omitempty"`
	Optional bool        `json:"optional,omitempty"`
	Later    bool        `json:"later,omitempty"`
	Element  *typeView   `json:"element,omitempty"`
	Fields   []fieldView `json:"fields,omitempty"`
}

func jsonBook(b book) (bookView, error) {
	v := bookView{Modules: []moduleView{}}
	for i := range b.modules {
		m, err := jsonModule(&b.modules[i])
		if err != nil {
			return v, err
		}
		v.Modules = append(v.Modules, m)
	}
	var err error
	v.AtHand, err = jsonFuncs(b.atHand)
	return v, err
}

func jsonModule(m *builtin.Module) (moduleView, error) {
	funcs, err := jsonFuncs(m.Funcs)
	return moduleView{Name: m.Name, Doc: m.Doc, Functions: funcs}, err
}

func jsonFuncs(funcs []builtin.Func) ([]funcView, error) {
	out := []funcView{}
	for i := range funcs {
		v, err := jsonFunc(&funcs[i])
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func jsonFunc(f *builtin.Func) (funcView, error) {
	args, err := jsonFields(f.Args.Fields, true)
	if err != nil {
		return funcView{}, err
	}
	result, err := jsonType(f.Result)
	if err != nil {
		return funcView{}, err
	}
	in, err := argumentsSchema(f)
	if err != nil {
		return funcView{}, err
	}
	return funcView{Name: f.QualifiedName(), Signature: signature(f, codeWidth), Summary: summary(f.Doc), Doc: f.Doc, Effect: f.Effect,
		Locks: f.Effect.Alters(), NoSettle: f.NoSettle, Need: need(f), Arguments: args, Result: result,
		Errors: f.Errors, Source: f.Source, Privileges: f.Privileges, Example: f.Example, ArgumentsSchema: in, ResultSchema: resultSchema(f)}, nil
}

func jsonFields(fields []builtin.Field, areArguments bool) ([]fieldView, error) {
	out := []fieldView{}
	for i := range fields {
		f := &fields[i]
		t, err := jsonType(f.Type)
		if err != nil {
			return nil, err
		}
		v := fieldView{Name: f.Name, Doc: f.Doc, Type: t, Enum: f.Enum, Scope: f.Scope, Volatile: f.Volatile, Required: areArguments && !f.HasDefault}
		if f.HasDefault {
			v.Literal = literal(f)
			if v.Default, err = defaultJSON(f); err != nil {
				return nil, err
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func jsonType(t *builtin.Type) (typeView, error) {
	v := typeView{Kind: t.Kind.String(), Name: t.Name, Grammar: t.Doc, Pattern: t.Pattern, Optional: t.Optional(), Later: t.Later}
	if t.Elem != nil {
		e, err := jsonType(t.Elem)
		if err != nil {
			return v, err
		}
		v.Element = &e
	}
	var err error
	if len(t.Fields) > 0 {
		v.Fields, err = jsonFields(t.Fields, false)
	}
	return v, err
}
