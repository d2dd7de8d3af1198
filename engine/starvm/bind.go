package starvm

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"nixmox/engine/builtin"
)

// bind makes the Starlark function of a definition. It holds no state: which
// run calls it, it learns from the thread.
func bind(f *builtin.Func) *starlark.Builtin {
	takesPlace := f.Effect != builtin.Pure || takesCallback(f)
	return starlark.NewBuiltin(f.QualifiedName(), func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		s := t.Local(strandKey).(*strand)
		if s.run == nil && takesPlace {
			return nil, builtin.Faultf(builtin.Invalid, "%s", f.QualifiedName()).Because(errNotWhileLoading)
		}
		if stop := s.stop.Load(); stop != nil {
			return nil, stop // left by what could not fail itself
		}
		bound, err := s.bindArgs(f, args, kwargs)
		if err != nil {
			return nil, err
		}
		branch := builtin.BranchFrom(s.ctx)
		call := builtin.Call{Func: f, Args: bound, At: caller(t), Run: s.run, Branch: branch}
		if takesPlace {
			call.Place = branch.Next()
		}
		var result any
		switch {
		case f.Effect != builtin.Pure:
			result, err = s.run.Perform(s.ctx, call)
		default:
			if call.Run == nil {
				call.Run = &builtin.Run{}
			}
			result, err = f.Do(s.ctx, &call)
		}
		if err != nil {
			return nil, err
		}
		v, err := s.value(f.Result.Neutral(result))
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

func takesCallback(f *builtin.Func) bool {
	for i := range f.Args.Fields {
		if f.Args.Fields[i].Type.Kind == builtin.KindCallback {
			return true
		}
	}
	return false
}

func (s *strand) bindArgs(f *builtin.Func, args starlark.Tuple, kwargs []starlark.Tuple) (any, error) {
	fields := f.Args.Fields
	in := s.inbound()
	positional := make([]any, len(args))
	for i, a := range args {
		var t *builtin.Type
		if i < len(fields) && !fields[i].Rest { // what takes the rest takes plain data
			t = fields[i].Type
		}
		v, err := in.neutral(a, t)
		if err != nil {
			return nil, badArg(f, i, err)
		}
		positional[i] = v
	}
	named := make([]builtin.Named, len(kwargs))
	for i, kw := range kwargs {
		name := string(kw[0].(starlark.String))
		var t *builtin.Type
		at := -1
		for j := range fields {
			if fields[j].Name == name {
				at = j
				if !fields[j].Rest {
					t = fields[j].Type
				}
			}
		}
		v, err := in.neutral(kw[1], t)
		if err != nil {
			return nil, badArg(f, at, err)
		}
		named[i] = builtin.Named{Name: name, Value: v}
	}
	return f.Bind(positional, named)
}

func badArg(f *builtin.Func, i int, err error) error {
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		return stop
	}
	name := "argument"
	if i >= 0 && i < len(f.Args.Fields) {
		name = f.Args.Fields[i].Name
	}
	return builtin.Faultf(builtin.Invalid, "%s", f.QualifiedName()).Saying(fmt.Sprintf("%s: %v", name, err)).
		Hinting("nixmox doc %s", f.QualifiedName())
}
