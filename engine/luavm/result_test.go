package luavm_test

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/luavm"
	"nixmox/engine/source"
	"nixmox/engine/starvm"
)

// TestResults: what a built-in returned stays as it was, whatever the built-in
// does to its own afterwards, and another one takes it unchanged.
func TestResults(t *testing.T) {
	type part struct {
		Name string `name:"name"`
	}
	type result struct {
		Whole float64        `name:"whole"` // a float without a fraction
		Large int64          `name:"large"` // beyond 2^53
		None  *int64         `name:"none"`
		Parts []part         `name:"parts"`
		Sizes map[string]int `name:"sizes"`
	}
	type take struct {
		Result result `name:"result"`
		Data   any    `name:"data"`
	}
	fresh := func() result {
		return result{2, 1<<60 + 1, nil, []part{{"a"}, {"b"}}, map[string]int{"x": 1}}
	}
	for file, play := range map[string]struct {
		text string
		load func(context.Context, language.Definitions, source.Roots, string) (*language.Playbook, error)
	}{
		"p.star": {"def main():\n    r = m.make()\n    m.spoil()\n    m.take(r, r.parts[1].name)\n", starvm.Load},
		"p.lua":  {"function main(p)\n  local r = m.make()\n  m.spoil()\n  m.take(r, r.parts[2].name)\nend\n", luavm.Load},
	} {
		t.Run(file, func(t *testing.T) {
			kept, taken := fresh(), take{}
			nothing := func(f func()) func(context.Context, struct{}) (bool, error) {
				return func(context.Context, struct{}) (bool, error) { f(); return true, nil }
			}
			module := builtin.NewModule("m", "M.",
				builtin.NewRead("make", "M.", func(context.Context, struct{}) (result, error) { return kept, nil }),
				builtin.NewRead("spoil", "S.", nothing(func() { kept.Parts[1].Name, kept.Sizes["x"] = "spoilt", 9 })),
				builtin.NewRead("take", "T.", func(_ context.Context, a take) (bool, error) { taken = a; return true, nil }))
			p, err := play.load(t.Context(), language.Definitions{Modules: []builtin.Module{module}},
				source.Roots{Playbook: fstest.MapFS{file: &fstest.MapFile{Data: []byte(play.text)}}}, file)
			if err != nil {
				t.Fatal(err)
			}
			run := &builtin.Run{Perform: func(ctx context.Context, c builtin.Call) (any, error) { return c.Func.Do(ctx, &c) }}
			if err := p.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), run, nil); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(taken.Result, fresh()) {
				t.Errorf("it was taken as %+v, made as %+v", taken.Result, fresh())
			}
			if s, ok := taken.Data.(interface{ String() string }); !ok || strings.Trim(s.String(), `"`) != "b" {
				t.Errorf("its part is called %v", taken.Data)
			}
		})
	}
}
