package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/builtins"
	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// spelling is how values are written in a language.
type spelling struct {
	file, name           string
	yes, list, dict, fn  string // list and dict have a place for what is in them
	pair, named, program string
}

var spellings = []spelling{
	{file: "p.star", name: "Starlark", yes: "True", list: "[%s]", dict: "{%s}", fn: "lambda *x: 1", pair: "%q: %s", named: "%s(%s)", program: "def main():\n    %s\n"},
	{file: "p.lua", name: "Lua", yes: "true", list: "{%s}", dict: "{%s}", fn: "function() return 1 end", pair: "[%q] = %s", named: "%s{%s}", program: "function main()\n  %s\nend\n"},
}

// samples are texts of which each named type takes one.
var samples = []string{"pve1", "backup", "100", "10m", "backup:backup/vzdump-qemu-100-2026_01_01-00_00_00.vma.zst", "snapshot", "@web", "/tmp/x", "rpool/data", "1",
	"UPID:pve1:000004D2:0000162E:65A1B2C3:vzdump:100:root@pam:", "0000:01:00.0", "2026-11-23T12:00:00Z", "rpool/data@x", ".#host", "scsi0", "minimum=1"}

// literal writes a value that the type takes.
func (s spelling) literal(t *testing.T, f *builtin.Field, typ *builtin.Type) string {
	t.Helper()
	if f.Enum != nil && typ.Kind == builtin.KindString {
		return fmt.Sprintf("%q", f.Enum[0])
	}
	switch typ.Kind {
	case builtin.KindBool:
		return s.yes
	case builtin.KindFloat:
		return "0.5"
	case builtin.KindInt:
		if _, err := typ.Convert(int64(7)); err == nil {
			return "7"
		}
		return "100"
	case builtin.KindString, builtin.KindDuration:
		for _, sample := range samples {
			if _, err := typ.Convert(sample); err == nil {
				return fmt.Sprintf("%q", sample)
			}
		}
		t.Fatalf("no sample is a %s (%s): add one", typ.Name, typ.Doc)
	case builtin.KindTime:
		return "now()"
	case builtin.KindSecret:
		return `secret("nas")`
	case builtin.KindList:
		return fmt.Sprintf(s.list, s.literal(t, f, typ.Elem))
	case builtin.KindMap:
		return fmt.Sprintf(s.dict, fmt.Sprintf(s.pair, "key", s.literal(t, f, typ.Elem)))
	case builtin.KindRecord:
		var fields []string
		for i := range typ.Fields {
			inner := &typ.Fields[i]
			fields = append(fields, fmt.Sprintf(s.pair, inner.Name, s.literal(t, inner, inner.Type)))
		}
		return fmt.Sprintf(s.dict, strings.Join(fields, ", "))
	case builtin.KindCallback:
		return s.fn
	}
	return "1"
}

// calls calls the function with all its arguments, and says what came of it.
func (s spelling) calls(t *testing.T, modules []builtin.Module, f *builtin.Func) []string {
	t.Helper()
	var args []string
	for i := range f.Args.Fields {
		a := &f.Args.Fields[i]
		args = append(args, a.Name+" = "+s.literal(t, a, a.Type))
	}
	text := fmt.Sprintf(s.program, fmt.Sprintf(s.named, f.QualifiedName(), strings.Join(args, ", ")))
	e := &engine.Engine{Modules: modules}
	p, err := e.Load(t.Context(), source.Roots{Playbook: fstest.MapFS{s.file: &fstest.MapFile{Data: []byte(text)}}}, s.file)
	if err != nil {
		t.Fatalf("%s: %v\n%s", s.name, err, text)
	}
	for _, problem := range e.Check(p) {
		if !strings.Contains(problem.What, "is not among the needs") {
			t.Errorf("%s: what it takes does not check: %v\n%s", s.name, problem, text)
		}
	}
	var made []string
	run := &builtin.Run{ID: "r", Now: engine.WallClock().Now, Defer: func(builtin.Call, builtin.Callback) { made = append(made, "deferred") },
		Lock: func(context.Context, builtin.Call, []string) (func(), error) { return func() {}, nil },
		Log:  func(_ builtin.Call, level, text string) { made = append(made, level+" "+text) }}
	run.Perform = func(_ context.Context, c builtin.Call) (any, error) {
		encoded, err := json.Marshal(builtin.Typed{Type: c.Func.Args, Value: c.Args})
		if err != nil {
			return nil, err
		}
		made = append(made, fmt.Sprintf("%s %s %s", c.Place, c.Func.QualifiedName(), encoded))
		return zeroOf(c.Func.Result), nil
	}
	if err := p.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), run, nil); err != nil {
		made = append(made, "error: "+err.Error())
	}
	return made
}

// zeroOf is a result with nothing in it.
func zeroOf(typ *builtin.Type) any {
	v, err := typ.Decode([]byte("{}"))
	for _, text := range []string{"[]", "null", "0", `""`, "false", `"2026-11-23T12:00:00Z"`} {
		if err == nil {
			break
		}
		v, err = typ.Decode([]byte(text))
	}
	return v
}

// TestEveryBuiltinInBothLanguages: each takes all its arguments, and gets the
// same of either language.
func TestEveryBuiltinInBothLanguages(t *testing.T) {
	modules, closeAll, err := builtins.All(builtins.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}()
	var funcs []*builtin.Func
	atHand := engine.AtHand()
	for i := range atHand {
		funcs = append(funcs, &atHand[i])
	}
	for i := range modules {
		for j := range modules[i].Funcs {
			funcs = append(funcs, &modules[i].Funcs[j])
		}
	}
	if len(funcs) < 20 {
		t.Fatalf("only %d functions", len(funcs))
	}
	for _, f := range funcs {
		t.Run(f.QualifiedName(), func(t *testing.T) {
			inStar, inLua := spellings[0].calls(t, modules, f), spellings[1].calls(t, modules, f)
			if !reflect.DeepEqual(inStar, inLua) {
				t.Errorf("Starlark: %q\nLua:      %q", inStar, inLua)
			}
			if f.Effect != builtin.Pure && (len(inLua) == 0 || !strings.Contains(inLua[len(inLua)-1], " "+f.QualifiedName()+" {") && !strings.Contains(inLua[len(inLua)-1], " "+f.QualifiedName()+" null")) {
				t.Errorf("it was not called: %q", inLua)
			}
		})
	}
}

// TestValuesToComeAreNoConditions: in Lua a value that a plan does not know
// is true, as all are but nil and false. So none may come that could be these.
func TestValuesToComeAreNoConditions(t *testing.T) {
	modules, closeAll, err := builtins.All(builtins.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var look func(what string, typ *builtin.Type)
	look = func(what string, typ *builtin.Type) {
		if typ == nil {
			return
		}
		if typ.Later && (typ.Kind == builtin.KindBool || typ.Optional()) {
			t.Errorf("%s may be false, and a plan does not know it", what)
		}
		look(what, typ.Elem)
		for i := range typ.Fields {
			look(what+"."+typ.Fields[i].Name, typ.Fields[i].Type)
		}
	}
	for _, m := range modules {
		for i := range m.Funcs {
			look(m.Funcs[i].QualifiedName(), m.Funcs[i].Result)
		}
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
}
