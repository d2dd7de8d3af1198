package starvm

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// Inspect makes a value of Starlark one that can be looked at; ok is false
// for any other.
func Inspect(v builtin.Value) (language.Value, bool) {
	x, ok := v.(starlark.Value)
	return inspected{x}, ok
}

type inspected struct{ starlark.Value }

// Equal is == of two values.
func (v inspected) Equal(other builtin.Value) (bool, error) {
	y, ok := other.(starlark.Value)
	if !ok {
		return false, fmt.Errorf("no value of Starlark: %T", other)
	}
	return starlark.Equal(v.Value, y)
}

// Has is `part in v`.
func (v inspected) Has(part builtin.Value) (bool, error) {
	x, ok := part.(starlark.Value)
	if !ok {
		return false, fmt.Errorf("no value of Starlark: %T", part)
	}
	in, err := starlark.Binary(syntax.IN, x, v.Value)
	if err != nil {
		return false, err
	}
	return bool(in.Truth()), nil
}

func (v inspected) True() bool { return bool(v.Truth()) }

func (v inspected) Show() (text string, lines []string) {
	switch v := v.Value.(type) {
	case starlark.String:
		if strings.Contains(string(v), "\n") {
			lines = strings.Split(string(v), "\n")
		}
	case starlark.IterableMapping:
		for _, item := range v.Items() {
			lines = append(lines, item[0].String()+": "+item[1].String())
		}
	case starlark.Sequence:
		for x := range starlark.Elements(v) {
			lines = append(lines, x.String())
		}
	case *record:
		for i, f := range v.fields {
			lines = append(lines, v.typ.Fields[i].Name+" = "+f.String())
		}
	}
	return v.String(), lines
}

func (v inspected) Neutral() (any, error) { return (&strand{}).inbound().neutral(v.Value, nil) }
