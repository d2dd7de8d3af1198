package luavm

import (
	"math"

	"github.com/yuin/gopher-lua/ast"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// uses finds the built-ins in the files of a playbook. Where a file gives a
// name a meaning of its own, that is not looked into.
func (c *compiled) uses() []language.Used {
	var out []language.Used
	for _, f := range c.graph.Files {
		t := c.trees[f]
		for _, m := range c.definitions.Modules {
			out = append(out, t.usesOf(m)...)
		}
		for i := range c.definitions.AtHand {
			fn := &c.definitions.AtHand[i]
			if t.facts.writes[fn.Name] {
				continue
			}
			for _, call := range t.facts.calls[fn.Name] {
				out = append(out, t.called(fn, language.Used{Name: fn.Name, At: t.at(call)}, call))
			}
		}
	}
	return out
}

func (t *tree) usesOf(m builtin.Module) []language.Used {
	var out []language.Used
	reads := t.facts.reads[m.Name]
	if t.facts.writes[m.Name] {
		return []language.Used{{Module: m.Name, At: builtin.Position{File: t.file.Shown}}}
	}
	looked := 0
	for _, l := range t.facts.lookups {
		if l.name != m.Name {
			continue
		}
		looked++
		u := language.Used{Module: m.Name, Name: l.field, At: l.at}
		if fn, ok := m.Func(l.field); ok && l.call != nil {
			u = t.called(fn, u, l.call)
		}
		out = append(out, u)
	}
	if len(reads) > looked { // each lookup reads the name, too
		out = append(out, language.Used{Module: m.Name, At: t.at(reads[0])})
	}
	return out
}

// called adds the arguments of a call, told apart as bindArgs does.
func (t *tree) called(f *builtin.Func, u language.Used, call *ast.FuncCallExpr) language.Used {
	args := call.Args
	var names []*ast.Field
	if n := len(args); n > 0 {
		switch last := args[n-1].(type) {
		case *ast.TableExpr:
			isNamed, known := namesIn(f, n-1, last)
			if !known {
				return u
			}
			if isNamed {
				args, names = args[:n-1], last.Fields
			}
		case *ast.FuncCallExpr, *ast.Comma3Expr: // any number of values
			args, u.More = args[:n-1], true
		}
	}
	u.Called = true
	for i, arg := range args {
		v, known := literalArg(arg, language.ArgAt(f, i).Type)
		u.Args = append(u.Args, language.ArgOf("", t.at(arg), v, known))
	}
	for _, field := range names {
		name, _ := literalString(field.Key)
		if _, isNil := field.Value.(*ast.NilExpr); isNil {
			continue // a table does not have it
		}
		v, known := literalArg(field.Value, language.ArgNamed(f, name).Type)
		u.Args = append(u.Args, language.ArgOf(name, t.at(field.Value), v, known))
	}
	return u
}

// namesIn reports, of a table in the text, what areNamed does of the table
// itself; known is false where only the table itself will tell.
func namesIn(f *builtin.Func, i int, t *ast.TableExpr) (isNamed, known bool) {
	items, named, all := 0, 0, true
	for _, field := range t.Fields {
		if field.Key == nil {
			items++
			continue
		}
		name, ok := literalString(field.Key)
		if !ok {
			return false, false
		}
		if _, isNil := field.Value.(*ast.NilExpr); isNil {
			continue // a table does not have it
		}
		named++
		all = all && hasArg(f, name)
	}
	isName, isEmpty := named > 0, named+items == 0
	if isName && items > 0 {
		return false, false // a mistake, which the run explains
	}
	want := language.ArgAt(f, i).Type
	switch {
	case want == nil:
		return isName || isEmpty, true
	case want.Kind == builtin.KindList:
		return isName, true
	case want.Kind != builtin.KindMap && want.Kind != builtin.KindRecord && want.Kind != builtin.KindValue:
		return isName || isEmpty, true
	}
	return isName && all, true
}

// literalArg is the neutral value of an expression that is a literal, or made
// of literals only. The type wanted says what an empty table is.
func literalArg(e ast.Expr, want *builtin.Type) (value any, ok bool) {
	switch e := e.(type) {
	case *ast.NilExpr:
		return nil, true
	case *ast.TrueExpr:
		return true, true
	case *ast.FalseExpr:
		return false, true
	case *ast.StringExpr:
		return e.Value, true
	case *ast.NumberExpr:
		v, err := literalNumber(e.Value)
		return number(v), err == nil
	case *ast.UnaryMinusOpExpr:
		v, _ := literalArg(e.Expr, nil)
		switch n := v.(type) {
		case int64:
			return -n, true
		case float64:
			return -n, true
		}
	case *ast.TableExpr:
		return literalTable(e, want)
	}
	return nil, false
}

// number is a number as Lua has it: whole where it is.
func number(v any) any {
	switch n := v.(type) {
	case int64:
		if n > exact || n < -exact {
			return float64(n)
		}
	case float64:
		if n == math.Trunc(n) && math.Abs(n) <= exact {
			return int64(n)
		}
	}
	return v
}

func literalTable(t *ast.TableExpr, want *builtin.Type) (any, bool) {
	list, dict := []any{}, map[string]any{}
	for _, field := range t.Fields {
		v, known := literalArg(field.Value, language.Elem(want))
		if !known {
			return nil, false
		}
		name, isName := "", false
		if field.Key != nil {
			name, isName = literalString(field.Key)
		}
		switch {
		case field.Key == nil && v != nil:
			list = append(list, v)
		case isName && v != nil:
			dict[name] = v
		case !isName:
			return nil, false
		}
	}
	isDict := want != nil && (want.Kind == builtin.KindMap || want.Kind == builtin.KindRecord)
	switch {
	case len(dict) > 0 && len(list) > 0:
		return nil, false
	case len(dict) > 0 || len(list) == 0 && isDict:
		return dict, true
	}
	return list, true
}
