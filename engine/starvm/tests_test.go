package starvm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

func loadTests(ctx context.Context, text string) (*language.Tests, error) {
	root := fstest.MapFS{"p_test.star": &fstest.MapFile{Data: []byte(text)}, "lib.star": &fstest.MapFile{Data: []byte("def test_not_here():\n    pass\n")}}
	return LoadTests(ctx, (&probe{}).definitions(), source.Roots{Playbook: root}, "p_test.star")
}

func TestFilesOfTests(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"none", "def helper():\n    pass\n", "there is no test"},
		{"one that is loaded is not of this file", "load(\"lib.star\", \"test_not_here\")\n", "there is no test"},
		{"with parameters", "def test_a(x):\n    pass\n", "p_test.star:1:1: test_a takes parameters"},
		{"with needs", "needs(m = [\"read\"])\ndef test_a():\n    pass\n", "declares no needs"},
		{"a call at the top level", "m.thing()\ndef test_a():\n    pass\n", "may only be called from main"},
		{"an unknown name", "def test_a():\n    nothing()\n", "undefined: nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadTests(t.Context(), tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			mustBeProblems(t, err)
		})
	}
}

func TestTestsAreCalledInTheOrderOfTheFile(t *testing.T) {
	file, err := loadTests(t.Context(), `
test_data = [1]

def test_b():
    log("b")
    m.take(**{})

def helper():
    same(1)[0]

def test_a():
    helper()

def test_c():
    test_data.append(2)
`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, test := range file.List {
		names = append(names, test.Name)
	}
	if strings.Join(names, " ") != "test_b test_a test_c" {
		t.Errorf("tests %v", names)
	}
	p := &probe{}
	for i, want := range []string{"guest is missing", "unhandled index operation int[int]", "cannot append to frozen list"} {
		err := file.List[i].Call(builtin.WithBranch(t.Context(), builtin.NewBranch()), p.run())
		f, ok := errors.AsType[*builtin.Fault](err)
		if !ok || !strings.Contains(f.Error(), want) || len(f.Stack) == 0 {
			t.Errorf("%s: %v, want a fault that says %q and where", file.List[i].Name, err, want)
		}
	}
	if len(p.logs) != 1 {
		t.Errorf("logs %v", p.logs)
	}
}

func seen(v builtin.Value) language.Value {
	x, _ := Inspect(v)
	return x
}

// inspect calls a function of this package with values that a playbook made.
func inspect(t *testing.T, expressions string, look func(values []builtin.Value)) {
	t.Helper()
	l := (&probe{}).definitions()
	l.AtHand = append(l.AtHand, builtin.NewPure("look", "L.", func(_ context.Context, a struct {
		Values []builtin.Value `name:"values"`
	}) (struct{}, error) {
		look(a.Values)
		return struct{}{}, nil
	}))
	root := fstest.MapFS{"p.star": &fstest.MapFile{Data: []byte("def main():\n    look([" + expressions + "])\n")}}
	p, err := Load(t.Context(), l, source.Roots{Playbook: root}, "p.star")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), (&probe{}).run(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestInspect(t *testing.T) {
	inspect(t, `[1, "a"], [1, "a"], {1: [2]}, "x\ny", m.flat(name = "n", n = 1), m.flat(name = "n", n = 1), None`, func(v []builtin.Value) {
		if equal, err := seen(v[0]).Equal(v[1]); err != nil || !equal {
			t.Errorf("%v %v", equal, err)
		}
		if equal, err := seen(v[0]).Equal(v[2]); err != nil || equal {
			t.Errorf("%v %v", equal, err)
		}
		if equal, err := seen(v[4]).Equal(v[5]); err != nil || !equal {
			t.Errorf("%v %v", equal, err)
		}
		if has, err := seen(v[3]).Has(v[3]); err != nil || !has {
			t.Errorf("%v %v", has, err)
		}
		if _, err := seen(v[3]).Has(v[0]); err == nil {
			t.Error("a list in a text")
		}
		if seen(v[6]).True() || !seen(v[0]).True() {
			t.Error("truth")
		}
		for i, want := range map[int]string{0: "1|\"a\"", 2: "1: [2]", 3: "x|y", 4: "name = \"n\"|n = 1", 6: ""} {
			if _, lines := seen(v[i]).Show(); strings.Join(lines, "|") != want {
				t.Errorf("lines %q, want %q", lines, want)
			}
		}
		if text, _ := seen(v[0]).Show(); text != `[1, "a"]` {
			t.Errorf("text %s", text)
		}
		if n, err := seen(v[4]).Neutral(); err != nil || n.(*builtin.Record).Values[0] != "n" {
			t.Errorf("%v %v", n, err)
		}
	})
	if _, ok := Inspect(7); ok {
		t.Error("a value of Go is one of Starlark")
	}
}
