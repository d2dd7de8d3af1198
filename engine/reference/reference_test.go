package reference_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"nixmox/engine/builtin"
	"nixmox/engine/reference"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew). Got:\n%s", path, got)
	}
}

func TestGolden(t *testing.T) {
	text := func(topic string, width int) func(*bytes.Buffer) error {
		return func(b *bytes.Buffer) error { return reference.Text(b, modules(), atHand(), topic, width) }
	}
	asJSON := func(topic string) func(*bytes.Buffer) error {
		return func(b *bytes.Buffer) error { return reference.JSON(b, modules(), atHand(), topic) }
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"overview.txt": text("", 60), "module.txt": text("mine", 80), "change.txt": text("mine.dig", 80), "narrow.txt": text("mine.dig", 1),
		"irreversible.txt": text("mine.raze", 80), "read.txt": text("mine.finds", 80), "pure.txt": text("mine.depth_of", 80), "at_hand.txt": text("again", 0),
		"reference.md": func(b *bytes.Buffer) error { return reference.Markdown(b, modules(), atHand()) },
		"all.json":     asJSON(""), "module.json": asJSON("moon"), "function.json": asJSON("mine.raze"),
	} {
		t.Run(name, func(t *testing.T) {
			var first, second bytes.Buffer
			if err := errors.Join(write(&first), write(&second)); err != nil {
				t.Fatal(err)
			}
			if first.String() != second.String() {
				t.Error("it is not the same twice")
			}
			golden(t, name, first.Bytes())
		})
	}
}

func TestTextKeepsItsWidth(t *testing.T) {
	for _, width := range []int{40, 60, 80, 100} {
		for _, topic := range []string{"", "mine", "mine.dig", "mine.finds", "again"} {
			var b bytes.Buffer
			if err := reference.Text(&b, modules(), atHand(), topic, width); err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(b.String(), "\n") {
				if utf8.RuneCountInString(line) > width && strings.Count(strings.TrimSpace(line), " ") > 6 {
					t.Errorf("%q at %d: %q", topic, width, line)
				}
				if strings.TrimRight(line, " ") != line {
					t.Errorf("%q at %d ends in a space: %q", topic, width, line)
				}
				for _, c := range line {
					if c > 126 {
						t.Errorf("%q has %q, definitions aside it should be ASCII", line, c)
					}
				}
			}
		}
	}
}

func TestUnknownTopic(t *testing.T) {
	tests := []struct {
		topic string
		near  string
	}{
		{"mine.dgi", "mine.dig"},
		{"dig", "mine.dig"},
		{"moon.dig", "mine.dig"},
		{"mnie", "mine"},
		{"agian", "again"},
		{"mine.", "mine"},
		{"zzzzzzzz", ""},
	}
	for _, tt := range tests {
		t.Run(tt.topic, func(t *testing.T) {
			var b bytes.Buffer
			for _, err := range []error{reference.Text(&b, modules(), atHand(), tt.topic, 0), reference.JSON(&b, modules(), atHand(), tt.topic)} {
				unknown, ok := errors.AsType[*reference.UnknownTopic](err)
				if !ok {
					t.Fatalf("error %v", err)
				}
				if first := append(unknown.Near, "")[0]; first != tt.near {
					t.Errorf("near it: %v, want %q first", unknown.Near, tt.near)
				}
			}
			if b.Len() > 0 {
				t.Errorf("wrote %q all the same", b.String())
			}
		})
	}
}

// TestSchemaFitsItsDefaults binds and encodes what the schemas say.
func TestSchemaFitsItsDefaults(t *testing.T) {
	var b bytes.Buffer
	if err := reference.JSON(&b, modules(), atHand(), "mine.dig"); err != nil {
		t.Fatal(err)
	}
	var f struct {
		Schema struct {
			Properties map[string]json.RawMessage `json:"properties"`
			Required   []string                   `json:"required"`
		} `json:"arguments_schema"`
	}
	if err := json.Unmarshal(b.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	m := modules()
	dig, _ := m[0].Func("dig")
	if len(f.Schema.Properties) != len(dig.Args.Fields) {
		t.Errorf("%d properties for %d arguments", len(f.Schema.Properties), len(dig.Args.Fields))
	}
	if got := strings.Join(f.Schema.Required, " "); got != "guests storage" {
		t.Errorf("required: %s", got)
	}
	if _, err := dig.Bind([]any{[]any{int64(100)}, "store"}, nil); err != nil {
		t.Errorf("what is required does not suffice: %v", err)
	}
}

func TestLint(t *testing.T) {
	if problems := reference.Lint(modules(), atHand()); problems != nil {
		t.Errorf("of the fixture: %v", problems)
	}
	read := func(name, doc string) builtin.Func { return builtin.NewRead(name, doc, never[struct{}, string]) }
	tests := []struct {
		name   string
		module builtin.Module
		want   string
	}{
		{"a word of Lua", builtin.NewModule("m", "M.", read("end", "D.")), `the name of m.end is a reserved word of Lua: "end"`},
		{"a word of Starlark", builtin.NewModule("m", "M.", read("import", "D.")), `reserved word of Starlark: "import"`},
		{"a module", builtin.NewModule("local", "M."), `the module's name is a reserved word of Lua: "local"`},
		{"an argument", builtin.NewModule("m", "M.", builtin.NewRead("f", "D.", never[struct {
			From string `name:"from" doc:"d"`
		}, string])), `an argument of m.f is a reserved word of Starlark: "from"`},
		{"a field of a result", builtin.NewModule("m", "M.", builtin.NewRead("f", "D.", never[struct{}, []struct {
			End string `name:"end" doc:"d"`
		}])), `a field of record of m.f is a reserved word of Lua: "end"`},
		{"capitals", builtin.NewModule("m", "M.", read("Find", "D.")), `not in lower case: "Find"`},
		{"no doc", builtin.NewModule("m", "", read("f", "")), `m has no doc|m.f has no doc`},
		{"an argument without doc", builtin.NewModule("m", "M.", builtin.NewRead("f", "D.", never[struct {
			A string `name:"a"`
		}, string])), `argument a has no doc`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(reference.Lint([]builtin.Module{tt.module}, nil), "|"); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
