package starvm

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nixmox/engine/builtin"
)

// What is here is for built-ins that take any value of the language, such as
// assertions: they get it untouched, and know nothing of Starlark.

// Equal is == of two values.
func Equal(a, b builtin.Value) (bool, error) {
	x, y, err := both(a, b)
	if err != nil {
		return false, err
	}
	return starlark.Equal(x, y)
}

// Has is `part in whole`.
func Has(whole, part builtin.Value) (bool, error) {
	x, y, err := both(part, whole)
	if err != nil {
		return false, err
	}
	v, err := starlark.Binary(syntax.IN, x, y)
	if err != nil {
		return false, err
	}
	return bool(v.Truth()), nil
}

func both(a, b builtin.Value) (starlark.Value, starlark.Value, error) {
	x, ok := a.(starlark.Value)
	y, ok2 := b.(starlark.Value)
	if !ok || !ok2 {
		return nil, nil, fmt.Errorf("not values of Starlark: %T and %T", a, b)
	}
	return x, y, nil
}

// Truth is what a condition takes a value for.
func Truth(v builtin.Value) bool {
	x, ok := v.(starlark.Value)
	return ok && bool(x.Truth())
}

// Show writes a value as Starlark does, and as lines where it has several:
// those of a text, the items of a list, the entries of a dict.
func Show(v builtin.Value) (text string, lines []string) {
	switch v := v.(type) {
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
			lines = append(lines, v.rec.Type.Fields[i].Name+" = "+f.String())
		}
	}
	if x, ok := v.(starlark.Value); ok {
		return x.String(), lines
	}
	return fmt.Sprint(v), lines
}

// Neutral is the neutral form of a value.
func Neutral(v builtin.Value) (any, error) {
	x, ok := v.(starlark.Value)
	if !ok {
		return v, nil
	}
	return (&strand{}).inbound().neutral(x, nil)
}
