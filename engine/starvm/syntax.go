package starvm

import (
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"nixmox/engine/policy"
	"nixmox/engine/source"
)

type resolveErrors = resolve.ErrorList

// loads are the load statements of a file. The language allows them at the
// top level only, with literal paths.
func loads(f *syntax.File) []source.Ref {
	var refs []source.Ref
	for _, stmt := range f.Stmts {
		if l, ok := stmt.(*syntax.LoadStmt); ok {
			refs = append(refs, source.Ref{Path: l.Module.Value.(string), At: position(l.Module.TokenPos)})
		}
	}
	return refs
}

// docstring is the string that a file begins with.
func docstring(f *syntax.File) string {
	if len(f.Stmts) == 0 {
		return ""
	}
	text, _ := stringLiteral(exprOf(f.Stmts[0]))
	return strings.TrimSpace(text)
}

func exprOf(s syntax.Stmt) syntax.Expr {
	if e, ok := s.(*syntax.ExprStmt); ok {
		return e.X
	}
	return nil
}

func stringLiteral(e syntax.Expr) (string, bool) {
	if l, ok := e.(*syntax.Literal); ok && l.Token == syntax.STRING {
		return l.Value.(string), true
	}
	return "", false
}

// readNeeds reads needs(MODULE = ["WHAT", …]) from the syntax, before
// anything is evaluated, so that a playbook can't compute or widen its needs.
func readNeeds(f *syntax.File, isPlaybook bool) ([]policy.Need, source.Problems) {
	var needs []policy.Need
	var problems source.Problems
	bad := func(n syntax.Node, what string) {
		start, _ := n.Span()
		problems = append(problems, &source.Problem{At: position(start), What: what,
			Hint: `needs stands once, at the top level of the playbook itself: needs(vzdump = ["read", "backup"])`})
	}
	var theCall *syntax.CallExpr
	for _, stmt := range f.Stmts {
		call, ok := exprOf(stmt).(*syntax.CallExpr)
		if !ok || !isIdent(call.Fn, "needs") {
			continue
		}
		if theCall != nil {
			bad(call, "needs is declared twice")
			continue
		}
		theCall = call
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		if id, ok := n.(*syntax.Ident); ok && id.Name == "needs" && (theCall == nil || id != theCall.Fn) {
			bad(id, "needs cannot be used here")
		}
		return true
	})
	if theCall == nil {
		return nil, problems
	}
	if !isPlaybook {
		bad(theCall, "a loaded file cannot declare needs")
		return nil, problems
	}
	for _, arg := range theCall.Args {
		named, ok := arg.(*syntax.BinaryExpr)
		if !ok || named.Op != syntax.EQ {
			bad(arg, "needs takes MODULE = [...]")
			continue
		}
		module := named.X.(*syntax.Ident).Name // the parser takes nothing else
		list, ok := named.Y.(*syntax.ListExpr)
		if !ok {
			bad(named.Y, "the needs of "+module+" are no literal list")
			continue
		}
		for _, item := range list.List {
			text, ok := stringLiteral(item)
			if !ok {
				bad(item, "a need is a literal string")
				continue
			}
			start, _ := item.Span()
			needs = append(needs, policy.ParseNeed(module, text, position(start)))
		}
	}
	return needs, problems
}

func isIdent(e syntax.Expr, name string) bool {
	id, ok := e.(*syntax.Ident)
	return ok && id.Name == name
}
