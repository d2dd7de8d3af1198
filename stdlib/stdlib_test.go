package stdlib_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/source"
	"nixmox/stdlib"
)

// call is one case: the same in both languages.
type call struct {
	Function string `json:"function"`
	Args     []any  `json:"args"`
	Want     any    `json:"want"`
}

type guest struct {
	ID   int64  `name:"id" doc:"d"`
	Name string `name:"name" doc:"d"`
}

// proxmox answers with what it was asked.
func proxmox() builtin.Module {
	return builtin.NewModule("proxmox", "P.", builtin.NewRead("guests", "G.", func(_ context.Context, a struct {
		Select    []string `name:"select" doc:"d"`
		Templates bool     `name:"templates" default:"false" doc:"d"`
	}) ([]guest, error) {
		return []guest{{7, fmt.Sprintf("%s %v", strings.Join(a.Select, ","), a.Templates)}}, nil
	}))
}

// programs call FUNCTION of LIBRARY with ARGS, which are JSON, and log the
// result as JSON. Dicts are records for Starlark, which tells the two apart.
var programs = map[string]string{
	"p.star": `load("@std//LIBRARY.star", "FUNCTION")
needs(proxmox = ["read"])
def arg(a):
    if type(a) == "dict":
        return struct(**a)
    return [arg_item(x) for x in a] if type(a) == "list" else a
def arg_item(x):
    return struct(**x) if type(x) == "dict" else x
def main():
    log(json.encode(FUNCTION(*[arg(a) for a in json.decode(ARGS)])))
`,
	"p.lua": `local library = require "@std//LIBRARY"
needs{ proxmox = {"read"} }
function main()
  log(json.encode(library.FUNCTION(unpack(json.decode(ARGS)))))
end
`,
}

// TestLibraries: each library is there in both languages, and does the same.
func TestLibraries(t *testing.T) {
	libraries, err := fs.Glob(stdlib.FS, "*.star")
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries: %v", err)
	}
	for _, library := range libraries {
		name := strings.TrimSuffix(library, ".star")
		if _, err := fs.Stat(stdlib.FS, name+".lua"); err != nil {
			t.Errorf("%s is there in Starlark only", name)
		}
		text, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var calls []call
		if err := json.Unmarshal(text, &calls); err != nil {
			t.Fatal(err)
		}
		everyFunctionHasACase(t, library, calls)
		for _, c := range calls {
			for file, program := range programs {
				t.Run(fmt.Sprintf("%s %s %v", file, c.Function, c.Args), func(t *testing.T) { c.holds(t, name, file, program) })
			}
		}
	}
}

func everyFunctionHasACase(t *testing.T, library string, calls []call) {
	text, err := fs.ReadFile(stdlib.FS, library)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		rest, ok := strings.CutPrefix(line, "def ")
		name, _, _ := strings.Cut(rest, "(")
		if ok && !slices.ContainsFunc(calls, func(c call) bool { return c.Function == name }) {
			t.Errorf("%s: %s has no case", library, name)
		}
	}
}

func (c call) holds(t *testing.T, library, file, program string) {
	args, err := json.Marshal(c.Args)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("LIBRARY", library, "FUNCTION", c.Function, "ARGS", fmt.Sprintf("%q", args)).Replace(program)
	var logged string
	e := &engine.Engine{Modules: []builtin.Module{proxmox()}, Std: stdlib.FS, Clock: engine.WallClock(), LockDir: t.TempDir(), Sink: func(ev event.Event) {
		if ev.Type == event.Logged {
			logged = ev.Text
		}
	}}
	p, err := e.Load(t.Context(), source.Roots{Playbook: fstest.MapFS{file: &fstest.MapFile{Data: []byte(text)}}, Std: stdlib.FS}, file)
	if err != nil {
		t.Fatal(err)
	}
	if r := e.Run(t.Context(), p, engine.Options{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	var got any
	if err := json.Unmarshal([]byte(logged), &got); err != nil || !reflect.DeepEqual(got, c.Want) {
		t.Errorf("it is %s (%v), want %v", logged, err, c.Want)
	}
}
