package reference

import (
	"encoding/json"

	"nixmox/engine/builtin"
)

// schema is a JSON Schema; encoding sorts its words.
type schema map[string]any

const draft = "https://json-schema.org/draft/2020-12/schema"

// argumentsSchema describes what Bind takes, by name.
func argumentsSchema(f *builtin.Func) (schema, error) {
	s, err := objectSchema(f.Args.Fields, true)
	if err != nil {
		return nil, err
	}
	s["$schema"], s["title"], s["description"] = draft, f.QualifiedName(), summary(f.Doc)
	return s, nil
}

// resultSchema describes what builtin.Typed encodes of a result.
func resultSchema(f *builtin.Func) schema {
	s := outSchema(f.Result)
	s["$schema"], s["title"] = draft, "result of "+f.QualifiedName()
	return s
}

func objectSchema(fields []builtin.Field, in bool) (schema, error) {
	properties, required := schema{}, []string{}
	for i := range fields {
		f := &fields[i]
		var s schema
		if in {
			var err error
			if s, err = inSchema(f.Type); err != nil {
				return nil, err
			}
		} else {
			s = outSchema(f.Type)
		}
		if f.Enum != nil {
			s = withEnum(s, f, in)
		}
		if f.Doc != "" {
			s["description"] = f.Doc
		}
		switch {
		case in && f.HasDefault:
			text, err := defaultJSON(f)
			if err != nil {
				return nil, err
			}
			if pattern, ok := s["pattern"].(string); ok && f.Default == "" {
				s["pattern"] = "^$|" + pattern
			}
			s["default"] = text
			s = orNull(s) // None gives the default
		default:
			required = append(required, f.Name)
		}
		properties[f.Name] = s
	}
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}, nil
}

// defaultJSON is a default; null where only leaving it out gives it.
func defaultJSON(f *builtin.Field) (json.RawMessage, error) {
	if literal(f) == "None" {
		return json.RawMessage("null"), nil
	}
	return builtin.MarshalNeutral(f.DefaultValue())
}

// withEnum names the words of a text, or of the items of a list.
func withEnum(s schema, f *builtin.Field, in bool) schema {
	words := append([]string(nil), f.Enum...)
	if !in || f.HasDefault && f.Default == "" {
		words = append(words, "") // none of them
	}
	if items, ok := s["items"].(schema); ok {
		items["enum"] = words
		return s
	}
	if s["type"] == "string" {
		s["enum"] = words
	}
	return s
}

// orNull lets a schema take null too, its words about the whole outside.
func orNull(s schema) schema {
	if s["type"] == nil && s["anyOf"] == nil {
		return s // anything already
	}
	out := schema{"anyOf": []schema{s, {"type": "null"}}}
	for _, word := range []string{"description", "default"} {
		if v, ok := s[word]; ok {
			out[word] = v
			delete(s, word)
		}
	}
	return out
}

// inSchema describes what is taken: text where the type has a grammar.
func inSchema(t *builtin.Type) (schema, error) {
	var s schema
	switch {
	case t.Text():
		s = textSchema(t)
	case t.Kind == builtin.KindList || t.Kind == builtin.KindMap:
		e, err := inSchema(t.Elem)
		if err != nil {
			return nil, err
		}
		s = containerSchema(t, e)
	case t.Kind == builtin.KindRecord:
		var err error
		if s, err = objectSchema(t.Fields, true); err != nil {
			return nil, err
		}
	default:
		s = plainSchema(t)
	}
	if t.Optional() {
		s = orNull(s)
	}
	return s, nil
}

// outSchema describes what results are encoded as.
func outSchema(t *builtin.Type) schema {
	var s schema
	switch {
	case t.Kind == builtin.KindList || t.Kind == builtin.KindMap:
		s = containerSchema(t, outSchema(t.Elem))
	case t.Kind == builtin.KindRecord && len(t.Fields) == 0:
		s = schema{"type": "null"}
	case t.Kind == builtin.KindRecord:
		s, _ = objectSchema(t.Fields, false) // fails over defaults only
	default:
		s = plainSchema(t) // without pattern: a field may be empty
	}
	if t.Optional() {
		s = orNull(s)
	}
	if t.Later { // in a plan
		s = schema{"anyOf": []schema{s, {"type": "object", "properties": schema{"known_after": schema{"type": "string"}, "of": schema{"type": "string"}},
			"required": []string{"known_after"}, "additionalProperties": false}}}
	}
	return s
}

func textSchema(t *builtin.Type) schema {
	text := schema{"type": "string"}
	if t.Pattern != "" {
		text["pattern"] = t.Pattern
	}
	if t.Kind == builtin.KindString {
		return text
	}
	number := "integer"
	if t.Kind == builtin.KindDuration {
		number = "number" // of seconds
	}
	return schema{"anyOf": []schema{{"type": number, "minimum": 0}, text}}
}

func containerSchema(t *builtin.Type, elem schema) schema {
	if t.Kind == builtin.KindList {
		return schema{"type": "array", "items": elem}
	}
	return schema{"type": "object", "additionalProperties": elem}
}

func plainSchema(t *builtin.Type) schema {
	switch t.Kind {
	case builtin.KindBool:
		return schema{"type": "boolean"}
	case builtin.KindInt:
		return schema{"type": "integer"}
	case builtin.KindFloat:
		return schema{"type": "number"}
	case builtin.KindString, builtin.KindDuration:
		return schema{"type": "string"}
	case builtin.KindTime:
		return schema{"type": "string", "format": "date-time"}
	case builtin.KindSecret:
		return schema{"type": "object", "properties": schema{"secret": schema{"type": "string"}}, "required": []string{"secret"}, "additionalProperties": false}
	}
	return schema{"$comment": "any value of the playbook's language, or a function of it"}
}
