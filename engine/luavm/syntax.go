package luavm

import (
	"bytes"
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/policy"
	"nixmox/engine/source"
)

// tree is a file as it was parsed, and what stands in it.
type tree struct {
	file  *source.File
	chunk []ast.Stmt
	facts facts
}

// maxNesting is how deep brackets, blocks and operators may nest: the parser
// and what walks what it makes go down in Go's own stack.
const maxNesting = 200

func parseFile(f *source.File) (*tree, error) {
	if line := tooDeep(f.Text); line > 0 {
		return nil, source.ProblemAt(builtin.Position{File: f.Shown, Line: line}, "it nests more than %d deep", maxNesting)
	}
	text := f.Text
	if bytes.HasPrefix(text, []byte("#")) { // a line for the shell
		text = append([]byte("--"), text...)
	}
	chunk, err := parse.Parse(bytes.NewReader(text), f.Shown)
	if err != nil {
		return nil, syntaxProblem(f, err)
	}
	t := &tree{file: f, chunk: chunk}
	t.facts = factsOf(f.Shown, chunk)
	return t, nil
}

// tooDeep is the first line on which the text nests too deep, roughly counted
// before anything is parsed; 0 if none does.
func tooDeep(text []byte) int {
	depth, operators, line := 0, 0, 1
	for _, c := range text {
		switch c {
		case '\n':
			line++
			operators = 0
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			depth = max(depth-1, 0)
		case '-', '^', '.':
			operators++
		}
		if depth > maxNesting || operators > 20*maxNesting {
			return line
		}
	}
	return 0
}

func syntaxProblem(f *source.File, err error) error {
	at := builtin.Position{File: f.Shown, Line: 1}
	p, ok := errors.AsType[*parse.Error](err)
	if !ok {
		return source.ProblemAt(at, "%s", strings.TrimSpace(err.Error()))
	}
	what := p.Message
	if p.Pos.Line > 0 {
		at.Line, at.Col = p.Pos.Line, p.Pos.Column
		what += " near " + strconv.Quote(p.Token)
	} else {
		at.Line, what = 1+bytes.Count(bytes.TrimRight(f.Text, "\n"), []byte("\n")), what+" at the end of the file"
	}
	return source.ProblemAt(at, "%s", what)
}

// requires are the files that a file requires: literal names, anywhere in it.
func (t *tree) requires() ([]source.Ref, source.Problems) {
	var refs []source.Ref
	var problems source.Problems
	for _, call := range t.facts.calls["require"] {
		name, ok := "", false
		if len(call.Args) == 1 {
			name, ok = literalString(call.Args[0])
		}
		if !ok {
			problems = append(problems, &source.Problem{At: t.at(call), What: "require takes one literal string", Hint: `require "lib", require "@std//guests"`})
			continue
		}
		refs = append(refs, source.Ref{Path: requiredPath(name), At: t.at(call)})
	}
	return refs, problems
}

// requiredPath is the path of what is required: the ending may be left out.
func requiredPath(name string) string {
	if strings.HasSuffix(name, ".lua") {
		return name
	}
	return name + ".lua"
}

func (t *tree) at(n ast.PositionHolder) builtin.Position {
	return builtin.Position{File: t.file.Shown, Line: n.Line()}
}

func literalString(e ast.Expr) (string, bool) {
	s, ok := e.(*ast.StringExpr)
	if !ok {
		return "", false
	}
	return s.Value, true
}

// declaration finds the one call of needs or params, at the top level.
func (t *tree) declaration(name, hint string, isPlaybook bool) (*ast.TableExpr, source.Problems) {
	var problems source.Problems
	bad := func(n ast.PositionHolder, what string) {
		problems = append(problems, &source.Problem{At: t.at(n), What: what, Hint: hint})
	}
	var top *ast.FuncCallExpr
	for _, s := range t.chunk {
		call, ok := callStmt(s)
		if !ok || !isName(call.Func, name) {
			continue
		}
		if top != nil {
			bad(call, name+" is declared twice")
			continue
		}
		top = call
	}
	for _, id := range t.facts.reads[name] {
		if top == nil || id != top.Func {
			bad(id, name+" cannot be used here")
		}
	}
	if top == nil || problems != nil {
		return nil, problems
	}
	if !isPlaybook {
		bad(top, "a required file cannot declare "+name)
		return nil, problems
	}
	if len(top.Args) == 1 {
		if table, ok := top.Args[0].(*ast.TableExpr); ok {
			return table, nil
		}
	}
	bad(top, name+" takes one literal table")
	return nil, problems
}

func callStmt(s ast.Stmt) (*ast.FuncCallExpr, bool) {
	if s, ok := s.(*ast.FuncCallStmt); ok {
		call, ok := s.Expr.(*ast.FuncCallExpr)
		return call, ok && call.Func != nil
	}
	return nil, false
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.IdentExpr)
	return ok && id.Value == name
}

const needsHint = `needs stands once, at the top level of the playbook itself: needs{ vzdump = {"read", "backup"} }`

// needs reads needs{ MODULE = {"WHAT", …} } from the syntax, before anything
// is evaluated, so that a playbook can't compute or widen its needs.
func (t *tree) needs(isPlaybook bool) ([]policy.Need, source.Problems) {
	table, problems := t.declaration("needs", needsHint, isPlaybook)
	if table == nil {
		return nil, problems
	}
	bad := func(n ast.PositionHolder, what string) {
		problems = append(problems, &source.Problem{At: t.at(n), What: what, Hint: needsHint})
	}
	var needs []policy.Need
	for _, field := range table.Fields {
		var module string
		var ok bool
		if field.Key != nil {
			module, ok = literalString(field.Key)
		}
		if !ok {
			bad(field.Value, "needs takes MODULE = {...}")
			continue
		}
		list, ok := field.Value.(*ast.TableExpr)
		if !ok {
			bad(field.Value, "the needs of "+module+" are no literal list")
			continue
		}
		for _, item := range list.Fields {
			what, ok := literalString(item.Value)
			if !ok || item.Key != nil {
				bad(item.Value, "a need is a literal string")
				continue
			}
			needs = append(needs, policy.ParseNeed(module, what, t.at(item.Value)))
		}
	}
	return needs, problems
}

const paramsHint = `params{ {name = "storage", default = "backup", env = "STORAGE", type = "string", doc = "…"}, … }`

var (
	paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	envName   = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// params reads the parameters of the playbook, which are literals, too.
func (t *tree) params(isPlaybook bool) ([]builtin.Param, source.Problems) {
	table, problems := t.declaration("params", paramsHint, isPlaybook)
	if table == nil {
		return nil, problems
	}
	var params []builtin.Param
	seen := map[string]bool{}
	for _, field := range table.Fields {
		p, err := t.param(field)
		if err == nil && seen[p.Name] {
			err = errors.New("there are two of that name")
		}
		if err != nil {
			what := "a parameter: "
			if p.Name != "" {
				what = "parameter " + p.Name + ": "
			}
			problems = append(problems, &source.Problem{At: t.at(field.Value), What: what + err.Error(), Hint: paramsHint})
			continue
		}
		seen[p.Name] = true
		params = append(params, p)
	}
	return params, problems
}

func (t *tree) param(field *ast.Field) (p builtin.Param, err error) {
	p = builtin.Param{At: t.at(field.Value), Required: true}
	table, ok := field.Value.(*ast.TableExpr)
	if !ok || field.Key != nil {
		return p, errors.New("want a table {name = ...}")
	}
	var typeName string
	var value any
	for _, f := range table.Fields {
		key := ""
		if f.Key != nil {
			key, _ = literalString(f.Key)
		}
		if key == "default" {
			p.Required = false
			if value, err = literalValue(f.Value); err != nil {
				return p, err
			}
			continue
		}
		text, ok := literalString(f.Value)
		if !ok {
			return p, errors.New("name, type, env and doc are literal strings")
		}
		switch key {
		case "name":
			p.Name = text
		case "type":
			typeName = text
		case "env":
			p.Env = text
		case "doc":
			p.Doc = strings.Join(strings.Fields(text), " ")
		default:
			return p, errors.New("there are name, default, type, env and doc, not " + strconv.Quote(key))
		}
	}
	if !paramName.MatchString(p.Name) {
		return p, errors.New("its name is letters, digits and _")
	}
	if p.Env != "" && !envName.MatchString(p.Env) {
		return p, errors.New("env is upper-case letters, digits and _")
	}
	if p.Type, err = language.ParamType("params", typeName, !p.Required, value); err != nil {
		return p, err
	}
	if p.Default, err = language.Default(p.Type, value); err != nil {
		return p, errors.New("its default: " + err.Error())
	}
	return p, nil
}

// literalValue is the neutral value of a literal: a default.
func literalValue(e ast.Expr) (any, error) {
	switch e := e.(type) {
	case *ast.NilExpr:
		return nil, nil
	case *ast.TrueExpr:
		return true, nil
	case *ast.FalseExpr:
		return false, nil
	case *ast.StringExpr:
		return e.Value, nil
	case *ast.NumberExpr:
		return literalNumber(e.Value)
	case *ast.UnaryMinusOpExpr:
		v, err := literalValue(e.Expr)
		switch n := v.(type) {
		case int64:
			return -n, err
		case float64:
			return -n, err
		}
	case *ast.TableExpr:
		list := []any{}
		for _, f := range e.Fields {
			v, err := literalValue(f.Value)
			if err != nil || f.Key != nil {
				return nil, errors.New("its default is a literal: a string, number, boolean, nil or a list of these")
			}
			list = append(list, v)
		}
		return list, nil
	}
	return nil, errors.New("its default is a literal: a string, number, boolean, nil or a list of these")
}

func literalNumber(text string) (any, error) {
	if n, ok := new(big.Int).SetString(text, 0); ok && n.IsInt64() && !strings.ContainsAny(text, "_") {
		return n.Int64(), nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, errors.New("its default is no number")
	}
	return n, nil
}

// help is the comment that a file begins with.
func help(text []byte) string {
	s := strings.TrimPrefix(string(text), "\ufeff")
	if strings.HasPrefix(s, "#") { // a line for the shell
		_, s, _ = strings.Cut(s, "\n")
	}
	s = strings.TrimLeft(s, " \t\r\n")
	if rest, ok := strings.CutPrefix(s, "--["); ok {
		level := len(rest) - len(strings.TrimLeft(rest, "="))
		if rest = rest[level:]; strings.HasPrefix(rest, "[") {
			body, _, _ := strings.Cut(rest[1:], "]"+strings.Repeat("=", level)+"]")
			return strings.TrimSpace(body)
		}
	}
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "--")
		if !ok {
			break
		}
		lines = append(lines, strings.TrimPrefix(rest, " "))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
