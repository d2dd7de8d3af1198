package starvm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

func loadTests(ctx context.Context, text string) (*Tests, error) {
	root := fstest.MapFS{"p_test.star": &fstest.MapFile{Data: []byte(text)}, "lib.star": &fstest.MapFile{Data: []byte("def test_not_here():\n    pass\n")}}
	return (&probe{}).language().LoadTests(ctx, source.Roots{Playbook: root}, "p_test.star")
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
		err := file.Call(builtin.WithBranch(t.Context(), builtin.NewBranch()), p.run(), file.List[i])
		f, ok := errors.AsType[*builtin.Fault](err)
		if !ok || !strings.Contains(f.Error(), want) || len(f.Stack) == 0 {
			t.Errorf("%s: %v, want a fault that says %q and where", file.List[i].Name, err, want)
		}
	}
	if len(p.logs) != 1 {
		t.Errorf("logs %v", p.logs)
	}
}

// inspect calls a function of this package with values that a playbook made.
func inspect(t *testing.T, expressions string, look func(values []builtin.Value)) {
	t.Helper()
	l := (&probe{}).language()
	l.AtHand = append(l.AtHand, builtin.NewPure("look", "L.", func(_ context.Context, a struct {
		Values []builtin.Value `name:"values"`
	}) (struct{}, error) {
		look(a.Values)
		return struct{}{}, nil
	}))
	root := fstest.MapFS{"p.star": &fstest.MapFile{Data: []byte("def main():\n    look([" + expressions + "])\n")}}
	p, err := l.Load(t.Context(), source.Roots{Playbook: root}, "p.star")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), (&probe{}).run(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestInspect(t *testing.T) {
	inspect(t, `[1, "a"], [1, "a"], {1: [2]}, "x\ny", m.flat(name = "n", n = 1), m.flat(name = "n", n = 1), None`, func(v []builtin.Value) {
		if equal, err := Equal(v[0], v[1]); err != nil || !equal {
			t.Errorf("%v %v", equal, err)
		}
		if equal, err := Equal(v[0], v[2]); err != nil || equal {
			t.Errorf("%v %v", equal, err)
		}
		if equal, err := Equal(v[4], v[5]); err != nil || !equal {
			t.Errorf("%v %v", equal, err)
		}
		if has, err := Has(v[3], v[3]); err != nil || !has {
			t.Errorf("%v %v", has, err)
		}
		if _, err := Has(v[3], v[0]); err == nil {
			t.Error("a list in a text")
		}
		if Truth(v[6]) || !Truth(v[0]) {
			t.Error("truth")
		}
		for i, want := range map[int]string{0: "1|\"a\"", 2: "1: [2]", 3: "x|y", 4: "name = \"n\"|n = 1", 6: ""} {
			if _, lines := Show(v[i]); strings.Join(lines, "|") != want {
				t.Errorf("lines %q, want %q", lines, want)
			}
		}
		if text, _ := Show(v[0]); text != `[1, "a"]` {
			t.Errorf("text %s", text)
		}
		if n, err := Neutral(v[4]); err != nil || n.(*builtin.Record).Values[0] != "n" {
			t.Errorf("%v %v", n, err)
		}
	})
	if _, err := Equal(1, 2); err == nil {
		t.Error("values of Go are equal or not")
	}
	if text, lines := Show(7); text != "7" || lines != nil {
		t.Error(text, lines)
	}
}
