package starvm

import (
	"fmt"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"nixmox/engine/builtin"
)

// jsonModule is the language's own, but for encode.
var jsonModule = &starlarkstruct.Module{Name: "json", Members: starlark.StringDict{
	"encode": starlark.NewBuiltin("json.encode", encodeJSON),
	"decode": json.Module.Members["decode"],
	"indent": json.Module.Members["indent"],
}}

// encodeJSON writes values as the engine does everywhere: times and durations
// as text, secrets by name. The language's own encode writes neither, and an
// empty object where a plan does not know the value.
func encodeJSON(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var x starlark.Value
	if err := starlark.UnpackPositionalArgs(b.Name(), args, kwargs, 1, &x); err != nil {
		return nil, err
	}
	in := t.Local(strandKey).(*strand).inbound()
	in.data = true
	v, err := in.neutral(x, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	text, err := builtin.MarshalNeutral(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	return starlark.String(text), nil
}
