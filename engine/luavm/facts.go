package luavm

import (
	"github.com/yuin/gopher-lua/ast"

	"nixmox/engine/builtin"
)

// facts are what a file does with names that are none of its local ones.
type facts struct {
	reads   map[string][]*ast.IdentExpr
	order   []*ast.IdentExpr // the same, as they stand in the text
	writes  map[string]bool
	calls   map[string][]*ast.FuncCallExpr
	lookups []lookup // NAME.FIELD
}

// lookup is NAME.FIELD, and the call that it is the function of, if it is.
type lookup struct {
	name, field string
	at          builtin.Position
	call        *ast.FuncCallExpr
}

func factsOf(shown string, chunk []ast.Stmt) facts {
	w := &walker{shown: shown, facts: facts{reads: map[string][]*ast.IdentExpr{}, writes: map[string]bool{}, calls: map[string][]*ast.FuncCallExpr{}}}
	w.block(chunk)
	return w.facts
}

// walker goes through a file and knows which names are local where.
type walker struct {
	shown  string
	facts  facts
	scopes []map[string]bool
	call   *ast.FuncCallExpr // the innermost whose function is being looked at
}

func (w *walker) isLocal(name string) bool {
	for _, s := range w.scopes {
		if s[name] {
			return true
		}
	}
	return false
}

func (w *walker) local(names ...string) {
	for _, n := range names {
		w.scopes[len(w.scopes)-1][n] = true
	}
}

func (w *walker) within(names []string, do func()) {
	w.scopes = append(w.scopes, map[string]bool{})
	w.local(names...)
	do()
	w.scopes = w.scopes[:len(w.scopes)-1]
}

func (w *walker) block(stmts []ast.Stmt) {
	w.within(nil, func() { w.stmts(stmts) })
}

func (w *walker) stmts(stmts []ast.Stmt) {
	for _, s := range stmts {
		w.stmt(s)
	}
}

func (w *walker) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		w.exprs(s.Rhs)
		for _, e := range s.Lhs {
			w.target(e)
		}
	case *ast.LocalAssignStmt:
		// local function f may call itself; local f = function may not.
		if len(s.Exprs) == 1 && len(s.Names) == 1 {
			if _, ok := s.Exprs[0].(*ast.FunctionExpr); ok {
				w.local(s.Names...)
			}
		}
		w.exprs(s.Exprs)
		w.local(s.Names...)
	case *ast.FuncCallStmt:
		w.expr(s.Expr)
	case *ast.DoBlockStmt:
		w.block(s.Stmts)
	case *ast.WhileStmt:
		w.expr(s.Condition)
		w.block(s.Stmts)
	case *ast.RepeatStmt:
		w.within(nil, func() { w.stmts(s.Stmts); w.expr(s.Condition) })
	case *ast.IfStmt:
		w.expr(s.Condition)
		w.block(s.Then)
		w.block(s.Else)
	case *ast.NumberForStmt:
		w.exprs([]ast.Expr{s.Init, s.Limit, s.Step})
		w.within([]string{s.Name}, func() { w.stmts(s.Stmts) })
	case *ast.GenericForStmt:
		w.exprs(s.Exprs)
		w.within(s.Names, func() { w.stmts(s.Stmts) })
	case *ast.FuncDefStmt:
		if s.Name.Func != nil {
			w.target(s.Name.Func)
			w.function(s.Func, nil)
		} else {
			w.expr(s.Name.Receiver)
			w.function(s.Func, []string{"self"})
		}
	case *ast.ReturnStmt:
		w.exprs(s.Exprs)
	}
}

func (w *walker) target(e ast.Expr) {
	if id, ok := e.(*ast.IdentExpr); ok {
		if !w.isLocal(id.Value) {
			w.facts.writes[id.Value] = true
		}
		return
	}
	w.expr(e)
}

func (w *walker) exprs(list []ast.Expr) {
	for _, e := range list {
		w.expr(e)
	}
}

func (w *walker) function(f *ast.FunctionExpr, more []string) {
	names := append([]string{"arg"}, more...)
	if f.ParList != nil {
		names = append(names, f.ParList.Names...)
		if !f.ParList.HasVargs {
			names = names[1:]
		}
	}
	w.within(names, func() { w.stmts(f.Stmts) })
}

func (w *walker) expr(e ast.Expr) {
	switch e := e.(type) {
	case *ast.IdentExpr:
		if !w.isLocal(e.Value) {
			w.facts.reads[e.Value] = append(w.facts.reads[e.Value], e)
			w.facts.order = append(w.facts.order, e)
		}
	case *ast.AttrGetExpr:
		id, isIdent := e.Object.(*ast.IdentExpr)
		field, isString := literalString(e.Key)
		if isIdent && isString && !w.isLocal(id.Value) {
			l := lookup{name: id.Value, field: field, at: builtin.Position{File: w.shown, Line: e.Key.Line()}}
			if w.call != nil && w.call.Func == e {
				l.call = w.call
			}
			w.facts.lookups = append(w.facts.lookups, l)
		}
		w.expr(e.Object)
		w.expr(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			if f.Key != nil {
				w.expr(f.Key)
			}
			w.expr(f.Value)
		}
	case *ast.FuncCallExpr:
		if id, ok := e.Func.(*ast.IdentExpr); ok && !w.isLocal(id.Value) {
			w.facts.calls[id.Value] = append(w.facts.calls[id.Value], e)
		}
		if e.Func != nil {
			w.call = e
			w.expr(e.Func)
		} else {
			w.expr(e.Receiver)
		}
		w.exprs(e.Args)
	case *ast.LogicalOpExpr:
		w.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.RelationalOpExpr:
		w.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.StringConcatOpExpr:
		w.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.ArithmeticOpExpr:
		w.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.UnaryMinusOpExpr:
		w.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		w.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		w.expr(e.Expr)
	case *ast.FunctionExpr:
		w.function(e, nil)
	}
}
