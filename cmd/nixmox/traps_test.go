package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tablesOfTests are the pages whose tables name, in their last column, the
// tests that hold what the row says.
var tablesOfTests = []string{"traps.md"}

var (
	namedTest = regexp.MustCompile("`([a-z][a-z0-9_]*\\.(?:Test|Fuzz)[A-Za-z0-9_]+)`")
	ruleOfRow = regexp.MustCompile(`^\|[ :|-]+\|$`)
)

// TestTablesNameTestsThatExist: each row names a test that is there, or says
// that it is open.
func TestTablesNameTestsThatExist(t *testing.T) {
	own, _ := ours(t)
	tests := testsOf(t, own)
	for _, page := range tablesOfTests {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		rows, named := 0, 0
		for i, line := range lines {
			isHead := i+1 < len(lines) && ruleOfRow.MatchString(lines[i+1])
			if !strings.HasPrefix(line, "|") || ruleOfRow.MatchString(line) || isHead {
				continue
			}
			rows++
			cells := strings.Split(strings.Trim(line, "|"), "|")
			last := cells[len(cells)-1]
			names := namedTest.FindAllStringSubmatch(last, -1)
			if len(names) == 0 && !strings.Contains(last, "(open)") {
				t.Errorf("%s:%d names no test, and does not say (open): %s", page, i+1, line)
			}
			named += len(names)
			for _, name := range names {
				if !tests[name[1]] {
					t.Errorf("%s:%d: there is no test %s", page, i+1, name[1])
				}
			}
		}
		if rows < 10 || named < 10 {
			t.Errorf("%s: read %d rows with %d tests: is the table still one?", page, rows, named)
		}
	}
}

// testsOf are the names of all tests, as FOLDER.NAME of their package's folder.
func testsOf(t *testing.T, own map[string]pkg) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for path, p := range own {
		files, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range parsed.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
					names[filepath.Base(path)+"."+f.Name.Name] = true
				}
			}
		}
	}
	return names
}
