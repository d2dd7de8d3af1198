package luavm

import (
	"slices"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// bind makes the Lua function of a definition. It holds no state: which run
// calls it, it learns from the thread.
func bind(f *builtin.Func) *lua.LFunction {
	takesPlace := language.TakesPlace(f)
	return function(func(l *lua.LState) int {
		s := strandOf(l)
		if err := s.Callable(f, takesPlace); err != nil {
			throw(l, err)
		}
		bound, err := s.bindArgs(l, f)
		if err != nil {
			throw(l, err)
		}
		result, err := s.call(f, bound, caller(l), takesPlace)
		if err != nil {
			throw(l, err)
		}
		v, err := builtin.Make[lua.LValue](f.Result, result, maker{})
		if err != nil {
			throw(l, err)
		}
		l.Push(v)
		return 1
	})
}

// call makes a call. What may wait gives the baton up: other strands run on.
func (s *strand) call(f *builtin.Func, args any, at builtin.Position, takesPlace bool) (any, error) {
	s.working = true // and stays so if the built-in panics
	if takesPlace {
		s.baton.Unlock()
		defer s.baton.Lock()
	}
	result, err := s.Call(s.ctx, f, args, at, takesPlace)
	s.working = false
	return result, err
}

// bindArgs reads the arguments of a call. If the last one is a table with
// names, these are the named arguments; where the argument in its position
// itself takes a dict, a record or any value, only if all are of arguments.
func (s *strand) bindArgs(l *lua.LState, f *builtin.Func) (any, error) {
	in := s.inbound()
	n := l.GetTop()
	var fewNamed [builtin.Few]builtin.Named
	named := fewNamed[:0]
	if names, ok := l.Get(n).(*lua.LTable); ok && n > 0 && areNamed(f, n-1, contents(names)) {
		n--
		t := contents(names)
		for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
			name, ok := k.(lua.LString)
			if !ok {
				return nil, builtin.Faultf(builtin.Invalid, "%s", f.QualifiedName()).Saying("a table has both named arguments and others").
					Hinting("those without names stand before the table: f(1, 2, {name = 3})")
			}
			want := language.ArgNamed(f, string(name))
			x, err := in.neutral(v, want.Type)
			if err != nil {
				return nil, language.BadArg(f, want, err)
			}
			named = append(named, builtin.Named{Name: string(name), Value: x})
		}
	}
	var fewArgs [builtin.Few]any
	positional := fewArgs[:0]
	for i := range n {
		want := language.ArgAt(f, i)
		v, err := in.neutral(l.Get(i+1), want.Type)
		if err != nil {
			return nil, language.BadArg(f, want, err)
		}
		positional = append(positional, v)
	}
	return f.Bind(positional, named)
}

// areNamed reports whether the table in a position is that of the named
// arguments. An empty one is, where no table is wanted: keep{}.
func areNamed(f *builtin.Func, i int, t *lua.LTable) bool {
	last := lastItem(t)
	key, _ := t.Next(last)
	_, isName := key.(lua.LString)
	isEmpty := key == lua.LNil && last == lua.LNil
	want := language.ArgAt(f, i).Type
	switch {
	case want == nil:
		return isName || isEmpty
	case want.Kind == builtin.KindList:
		return isName
	case want.Kind != builtin.KindMap && want.Kind != builtin.KindRecord && want.Kind != builtin.KindValue:
		return isName || isEmpty
	case !isName:
		return false
	}
	for ; key != lua.LNil; key, _ = t.Next(key) {
		if name, ok := key.(lua.LString); !ok || !hasArg(f, string(name)) {
			return false
		}
	}
	return true
}

func hasArg(f *builtin.Func, name string) bool {
	return slices.ContainsFunc(f.Args.Fields, func(a builtin.Field) bool { return a.Name == name })
}

// lastItem is the key after which the names of a table come.
func lastItem(t *lua.LTable) lua.LValue {
	if n := t.MaxN(); n > 0 {
		return lua.LNumber(n)
	}
	return lua.LNil
}
