package language

import (
	"fmt"
	"reflect"

	"nixmox/engine/builtin"
)

// ParamType is the type of a playbook's parameter: the one that is named, or
// else the one that its default has. Without a default it is a string. where
// is where the language names types.
func ParamType(where, named string, hasDefault bool, value any) (*builtin.Type, error) {
	if named != "" {
		t, ok := typeNames[named]
		if !ok {
			return nil, fmt.Errorf("its type in %s is %q; there are string, int, float, bool, duration, size, list, ints", where, named)
		}
		return t, nil
	}
	if !hasDefault {
		return typeNames["string"], nil
	}
	switch v := value.(type) {
	case string:
		return typeNames["string"], nil
	case bool:
		return typeNames["bool"], nil
	case int64:
		return typeNames["int"], nil
	case float64:
		return typeNames["float"], nil
	case []any:
		if len(v) == 0 {
			return nil, fmt.Errorf("its default is an empty list and needs a type in %s", where)
		}
		if _, ok := v[0].(int64); ok {
			return typeNames["ints"], nil
		}
		return typeNames["list"], nil
	case nil:
		return nil, fmt.Errorf("its default is nothing and needs a type in %s", where)
	}
	return nil, fmt.Errorf("%s cannot be the default of a flag", builtin.NeutralName(value))
}

// Default checks a default against the parameter's type.
func Default(t *builtin.Type, value any) (any, error) {
	if value == nil {
		return nil, nil
	}
	return t.Convert(value)
}

// typeNames are the words that name the types of parameters.
var typeNames = map[string]*builtin.Type{
	"string":   builtin.TypeOf(reflect.TypeFor[string]()),
	"int":      builtin.TypeOf(reflect.TypeFor[int64]()),
	"float":    builtin.TypeOf(reflect.TypeFor[float64]()),
	"bool":     builtin.TypeOf(reflect.TypeFor[bool]()),
	"duration": builtin.TypeOf(reflect.TypeFor[builtin.Duration]()),
	"size":     builtin.TypeOf(reflect.TypeFor[builtin.Bytes]()),
	"list":     builtin.TypeOf(reflect.TypeFor[[]string]()),
	"ints":     builtin.TypeOf(reflect.TypeFor[[]int64]()),
}
