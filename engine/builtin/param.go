package builtin

import (
	"fmt"
	"strings"
)

// Param is a parameter of a playbook's main: a flag, perhaps an environment
// variable, with a type and a default.
type Param struct {
	Name     string
	Type     *Type
	Doc      string
	Env      string // "" if no variable gives it
	Required bool
	Default  any // neutral; nil if required
	At       Position
}

// Neutral checks a neutral value against the parameter's type.
func (p *Param) Neutral(v any) (any, error) {
	if v == nil && !p.Required && p.Default == nil {
		return nil, nil
	}
	out, err := p.Type.Convert(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return out, nil
}

// Flag is how the parameter is written on a command line, without dashes.
func (p *Param) Flag() string { return strings.ReplaceAll(p.Name, "_", "-") }

// Encode is the journal's form of a value.
func (p *Param) Encode(neutral any) ([]byte, error) { return MarshalNeutral(neutral) }

// Decode makes a neutral value of the journal's form.
func (p *Param) Decode(text []byte) (any, error) {
	if string(text) == "null" {
		return nil, nil
	}
	v, err := p.Type.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return p.Type.Neutral(v), nil
}
