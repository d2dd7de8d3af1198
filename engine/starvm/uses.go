package starvm

import (
	"math/big"

	"go.starlark.net/syntax"

	"nixmox/engine/language"
	"nixmox/engine/source"
)

// uses finds the built-ins in the files of a playbook. Where a file gives a
// name a meaning of its own, that is not looked into.
func uses(graph *source.Graph, parsed map[*source.File]*syntax.File, d language.Definitions) []language.Used {
	var out []language.Used
	for _, f := range graph.Files {
		w := &useWalker{modules: map[string]bool{}, atHand: map[string]bool{}, bound: bound(parsed[f]),
			calls: map[syntax.Expr]*syntax.CallExpr{}, seen: map[*syntax.Ident]bool{}}
		for _, m := range d.Modules {
			w.modules[m.Name] = true
		}
		for _, fn := range d.AtHand {
			w.atHand[fn.Name] = true
		}
		syntax.Walk(parsed[f], w.node)
		out = append(out, w.uses...)
	}
	return out
}

// useWalker goes through a file from the outside in.
type useWalker struct {
	modules, atHand, bound map[string]bool

	calls map[syntax.Expr]*syntax.CallExpr // by their function
	seen  map[*syntax.Ident]bool           // that are no values of their own
	uses  []language.Used
}

func (w *useWalker) node(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.CallExpr:
		w.calls[n.Fn] = n
		for _, arg := range n.Args {
			if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
				w.seen[named.X.(*syntax.Ident)] = true // the parser takes nothing else
			}
		}
	case *syntax.DotExpr:
		w.seen[n.Name] = true
		if id, ok := n.X.(*syntax.Ident); ok && w.modules[id.Name] && !w.bound[id.Name] {
			w.seen[id] = true
			w.use(language.Used{Module: id.Name, Name: n.Name.Name, At: position(n.Name.NamePos)}, w.calls[n])
		}
	case *syntax.Ident:
		switch {
		case w.seen[n]:
		case w.modules[n.Name]:
			w.use(language.Used{Module: n.Name, At: position(n.NamePos)}, nil)
		case w.atHand[n.Name] && !w.bound[n.Name] && w.calls[n] != nil:
			w.use(language.Used{Name: n.Name, At: position(n.NamePos)}, w.calls[n])
		}
	}
	return true
}

func (w *useWalker) use(u language.Used, call *syntax.CallExpr) {
	if call != nil {
		u.Called = true
		for _, arg := range call.Args {
			name, value := "", arg
			if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
				name, value = named.X.(*syntax.Ident).Name, named.Y
			}
			if star, ok := arg.(*syntax.UnaryExpr); ok && (star.Op == syntax.STAR || star.Op == syntax.STARSTAR) {
				u.More = true
				continue
			}
			start, _ := arg.Span()
			literal, known := w.literal(value)
			u.Args = append(u.Args, language.ArgOf(name, position(start), literal, known))
		}
	}
	w.uses = append(w.uses, u)
}

// literal is the neutral value of an expression that is a literal, or made of
// literals only.
func (w *useWalker) literal(e syntax.Expr) (value any, ok bool) {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		return w.literal(e.X)
	case *syntax.Literal:
		switch v := e.Value.(type) {
		case string:
			return v, e.Token == syntax.STRING
		case int64, float64, *big.Int:
			return v, true
		}
	case *syntax.Ident:
		if word, ok := map[string]any{"None": nil, "True": true, "False": false}[e.Name]; ok && !w.bound[e.Name] {
			return word, true
		}
	case *syntax.UnaryExpr:
		v, _ := w.literal(e.X)
		if e.Op != syntax.MINUS {
			return nil, false
		}
		switch n := v.(type) {
		case int64:
			return -n, true
		case float64:
			return -n, true
		}
	case *syntax.ListExpr:
		return w.list(e.List)
	case *syntax.TupleExpr:
		return w.list(e.List)
	case *syntax.DictExpr:
		out := map[string]any{}
		for _, item := range e.List {
			entry := item.(*syntax.DictEntry)
			key, isText := stringLiteral(entry.Key)
			v, known := w.literal(entry.Value)
			if !isText || !known {
				return nil, false
			}
			out[key] = v
		}
		return out, true
	}
	return nil, false
}

func (w *useWalker) list(items []syntax.Expr) (any, bool) {
	out := make([]any, len(items))
	for i, item := range items {
		v, known := w.literal(item)
		if !known {
			return nil, false
		}
		out[i] = v
	}
	return out, true
}

// bound are the names that a file gives a meaning of its own, anywhere.
func bound(f *syntax.File) map[string]bool {
	names := map[string]bool{}
	var bind func(syntax.Expr)
	bind = func(e syntax.Expr) {
		switch e := e.(type) {
		case *syntax.Ident:
			names[e.Name] = true
		case *syntax.ParenExpr:
			bind(e.X)
		case *syntax.TupleExpr:
			for _, x := range e.List {
				bind(x)
			}
		case *syntax.ListExpr:
			for _, x := range e.List {
				bind(x)
			}
		case *syntax.BinaryExpr: // a parameter with its default
			bind(e.X)
		case *syntax.UnaryExpr: // *args
			bind(e.X)
		}
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			bind(n.LHS)
		case *syntax.ForStmt:
			bind(n.Vars)
		case *syntax.ForClause:
			bind(n.Vars)
		case *syntax.LoadStmt:
			for _, name := range n.To {
				bind(name)
			}
		case *syntax.LambdaExpr:
			for _, p := range n.Params {
				bind(p)
			}
		case *syntax.DefStmt:
			bind(n.Name)
			for _, p := range n.Params {
				bind(p)
			}
		}
		return true
	})
	return names
}
