package starvm

import (
	"errors"
	"strings"
	"testing"

	"nixmox/engine/language"
	"nixmox/engine/source"
)

func TestParams(t *testing.T) {
	text := `
def main(storage, guests = ["all"], days = 7, ids = [1], verify = True, wait = None, ratio = 0.5, sizes = []):
    """Back up.

    Args:
      storage (STORAGE): where archives go,
        on whichever node.
      wait (duration, WAIT): how long
      sizes (list): some

    Returns nothing.
    """
`
	p, err := load(t.Context(), language.Definitions{}, text)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name, typ, env, doc string
		required            bool
		def                 string
	}{
		{"storage", "string", "STORAGE", "where archives go, on whichever node.", true, "null"},
		{"guests", "list of string", "", "", false, `["all"]`},
		{"days", "int", "", "", false, "7"},
		{"ids", "list of int", "", "", false, "[1]"},
		{"verify", "bool", "", "", false, "true"},
		{"wait", "duration", "WAIT", "how long", false, "null"},
		{"ratio", "float", "", "", false, "0.5"},
		{"sizes", "list of string", "", "some", false, "[]"},
	}
	if len(p.Params) != len(want) {
		t.Fatalf("%d parameters", len(p.Params))
	}
	for i, w := range want {
		g := p.Params[i]
		if g.Name != w.name || g.Type.Name != w.typ || g.Env != w.env || g.Doc != w.doc || g.Required != w.required || mustJSON(t, g.Default) != w.def || g.At.Line != 2 {
			t.Errorf("got %+v of type %s, want %+v", g, g.Type.Name, w)
		}
	}
}

// TestTextOfFiles: what the language makes of marks and line ends that come
// from other systems.
func TestTextOfFiles(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"line ends of Windows", "def main():\r\n    pass\r\n", ""},
		{"a byte order mark", "\ufeffdef main():\n    pass\n", "p.star:1:1: "},
		{"a tab", "def main():\n\tpass\n", ""},
		{"no UTF-8", "def main():\n    x = \xff\n", "p.star:2:"},
		{"a NUL", "def main():\n    x = \x00\n", "p.star:2:"},
		{"nothing", "", "p.star: there is no main"},
		{"deep brackets", strings.Repeat("(", 100000), "p.star:1:"},
		{"deep operators", "x = " + strings.Repeat("-", 100000) + "1\n", "p.star:1:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t.Context(), language.Definitions{}, tt.text)
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil {
				mustBeProblems(t, err)
			}
		})
	}
}

// mustBeProblems: an error of Load says what is wrong with the playbook, and
// where.
func mustBeProblems(t *testing.T, err error) {
	t.Helper()
	var list source.Problems
	if p, ok := errors.AsType[*source.Problem](err); ok {
		list = source.Problems{p}
	} else if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("%T is no problem: %v", err, err)
	}
	for _, p := range list {
		if p.What == "" || p.At.File == "" {
			t.Errorf("a problem without text or place: %+v", p)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"def main():\n    pass\n", "needs(m = [\"read\", \"look:$x\"])\ndef main(x = 1):\n    m.look(x)\n",
		"def main(a = [], b = None, *c, **d):\n    \"\"\"\n    Args:\n      a (list, A): x\n        y\n    \"\"\"\n",
		"load(\"p.star\", \"x\")", "load(\"@std//x.star\", \"x\")", "x = same(1)\nlog(\"x\")\nm.thing()\ndef main():\n    pass\n",
		"x = [i for i in range(10)]\nneeds(**x)\n", "needs(m = 1, 2)\n", "main = 1", "main = lambda x: x", "\ufeff\r\n", "x = \"\\x00\" % 1",
		"main = same\n", "def main(n = same):\n    pass\n", "l = []\nl.append(l)\nsame(l)\nlog(l)\ndef main(l = l):\n    pass\n",
		"\"\"\"doc\"\"\"\nneeds()\nneeds()\ndef f():\n    needs\n", "def main(a = {}):\n    \"Args:\\n a: b\\n  c\"\n",
	} {
		f.Add(seed)
	}
	l := (&probe{}).definitions()
	l.Limits = language.Limits{Steps: 1e5, Memory: 1 << 30}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := load(t.Context(), l, text)
		if err != nil {
			mustBeProblems(t, err)
			return
		}
		for _, need := range p.Needs {
			if need.Module == "" || need.At.Line == 0 {
				t.Errorf("a need without module or place: %+v", need)
			}
		}
		for _, param := range p.Params {
			if param.Type == nil || param.At.Line == 0 {
				t.Errorf("a parameter without type or place: %+v", param)
			}
		}
		p.Uses()
	})
}
