package reference

import (
	"fmt"
	"strconv"
	"strings"

	"nixmox/engine/builtin"
)

// signature is the function as a call in Starlark: arguments without a
// default by their name, others with it. One line if it fits the width.
func signature(f *builtin.Func, width int) string {
	args := make([]string, len(f.Args.Fields))
	for i := range args {
		field := &f.Args.Fields[i]
		args[i] = field.Name
		if field.HasDefault {
			args[i] += " = " + literal(field)
		}
	}
	line := f.QualifiedName() + "(" + strings.Join(args, ", ") + ")"
	if len(line) <= width || len(args) == 0 {
		return line
	}
	return f.QualifiedName() + "(\n    " + strings.Join(args, ",\n    ") + ",\n)"
}

// literal is the default of an argument, in Starlark. None stands for the
// default of what the language has no literal for; passing None gives it.
func literal(f *builtin.Field) string {
	switch f.Type.Kind {
	case builtin.KindBool, builtin.KindString, builtin.KindList, builtin.KindMap:
		if !f.Type.Optional() || f.Default != "" {
			return starlark(f.DefaultValue())
		}
	case builtin.KindRecord:
		if !f.Type.Optional() {
			return "{}"
		}
	case builtin.KindInt, builtin.KindFloat, builtin.KindDuration:
		if f.Default == "" {
			return "None"
		}
		if _, err := strconv.ParseFloat(f.Default, 64); err != nil {
			return strconv.Quote(f.Default) // with a unit: 10m, 4GiB
		}
		return f.Default
	}
	return "None"
}

func starlark(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return strconv.Quote(v)
	case []any:
		items := make([]string, len(v))
		for i, e := range v {
			items[i] = starlark(e)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		return "{}" // a tag can give no other dict
	case interface{ String() string }:
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v)
}
