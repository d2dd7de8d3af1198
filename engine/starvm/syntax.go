package starvm

import (
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
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

// uses finds every MODULE.FUNCTION in the files of a playbook. Names that
// a file defines itself hide modules and are not looked into.
func uses(graph *source.Graph, parsed map[*source.File]*syntax.File, modules []builtin.Module) []language.Used {
	isModule := map[string]bool{}
	for _, m := range modules {
		isModule[m.Name] = true
	}
	var uses []language.Used
	for _, f := range graph.Files {
		tree := parsed[f]
		syntax.Walk(tree, func(n syntax.Node) bool {
			dot, ok := n.(*syntax.DotExpr)
			if !ok {
				return true
			}
			if id, ok := dot.X.(*syntax.Ident); ok && isModule[id.Name] && !binds(tree, id.Name) {
				uses = append(uses, language.Used{Module: id.Name, Name: dot.Name.Name, At: position(dot.Name.NamePos)})
			}
			return true
		})
	}
	return uses
}

// binds reports whether a file gives the name a meaning of its own anywhere.
func binds(f *syntax.File, name string) bool {
	found := false
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			found = found || isIdent(n.LHS, name)
		case *syntax.ForStmt:
			found = found || isIdent(n.Vars, name)
		case *syntax.DefStmt:
			found = found || n.Name.Name == name
			for _, p := range n.Params {
				found = found || isIdent(p, name)
				if b, ok := p.(*syntax.BinaryExpr); ok {
					found = found || isIdent(b.X, name)
				}
			}
		}
		return !found
	})
	return found
}
