package starvm

import (
	"fmt"

	"go.starlark.net/starlark"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// bind makes the Starlark function of a definition. It holds no state: which
// run calls it, it learns from the thread.
func bind(f *builtin.Func) *starlark.Builtin {
	takesPlace := language.TakesPlace(f)
	return starlark.NewBuiltin(f.QualifiedName(), func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		s := t.Local(strandKey).(*strand)
		if err := s.Callable(f, takesPlace); err != nil {
			return nil, err
		}
		bound, err := s.bindArgs(f, args, kwargs)
		if err != nil {
			return nil, err
		}
		result, err := s.Call(s.ctx, f, bound, caller(t), takesPlace)
		if err != nil {
			return nil, err
		}
		v, err := builtin.Make[starlark.Value](f.Result, result, maker{s.machine})
		if err != nil {
			return nil, fmt.Errorf("result of %s: %w", f.QualifiedName(), err)
		}
		v.Freeze()
		return v, nil
	})
}

// caller is the line of the playbook that calls the built-in on top of the
// stack; nowhere if none does: parallel and defer may be handed a built-in.
func caller(t *starlark.Thread) builtin.Position {
	for i := 1; i < t.CallStackDepth(); i++ {
		if pos := t.CallFrame(i).Pos; pos.Line > 0 {
			return position(pos)
		}
	}
	return builtin.Position{}
}

func (s *strand) bindArgs(f *builtin.Func, args starlark.Tuple, kwargs []starlark.Tuple) (any, error) {
	in := s.inbound()
	var fewArgs [builtin.Few]any
	positional := fewArgs[:0]
	for i, a := range args {
		want := language.ArgAt(f, i)
		v, err := in.neutral(a, want.Type)
		if err != nil {
			return nil, language.BadArg(f, want, err)
		}
		positional = append(positional, v)
	}
	var fewNamed [builtin.Few]builtin.Named
	named := fewNamed[:0]
	for _, kw := range kwargs {
		name := string(kw[0].(starlark.String))
		want := language.ArgNamed(f, name)
		v, err := in.neutral(kw[1], want.Type)
		if err != nil {
			return nil, language.BadArg(f, want, err)
		}
		named = append(named, builtin.Named{Name: name, Value: v})
	}
	return f.Bind(positional, named)
}
