package luavm_test

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/fstest"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/luavm"
	"nixmox/engine/source"
	"nixmox/engine/starvm"
)

// BenchmarkBind is a call with four arguments and a result of three fields,
// which are looked at, in each language: what binding costs, and nothing else.
func BenchmarkBind(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as main does
	type args struct {
		Node   string  `name:"node"`
		Guests []int64 `name:"guests"`
		Mode   string  `name:"mode"`
		Wait   bool    `name:"wait"`
	}
	type result struct {
		Task  string `name:"task"`
		Size  int64  `name:"size"`
		Whole bool   `name:"whole"`
	}
	module := builtin.NewModule("m", "M.", builtin.NewRead("call", "C.", func(context.Context, args) (result, error) { return result{"t", 1, true}, nil }))
	d := language.Definitions{Modules: []builtin.Module{module}}
	run := &builtin.Run{Perform: func(context.Context, builtin.Call) (any, error) { return result{"t", 1, true}, nil }}
	for name, play := range map[string]struct {
		file, text string
		load       func(context.Context, language.Definitions, source.Roots, string) (*language.Playbook, error)
	}{
		"Starlark":         {"p.star", "def main(n = 1):\n    for i in range(n):\n        r = m.call(\"pve1\", [100], mode = \"stop\", wait = True)\n        r.task, r.size, r.whole\n", starvm.Load},
		"Lua":              {"p.lua", "params{{name = 'n', default = 1}}\nfunction main(p)\n  local call = m.call\n  for i = 1, p.n do\n    local r = call('pve1', {100}, {mode = 'stop', wait = true})\n    local _ = r.task, r.size, r.whole\n  end\nend\n", luavm.Load},
		"Lua, by position": {"p.lua", "params{{name = 'n', default = 1}}\nfunction main(p)\n  local guests = {100}\n  for i = 1, p.n do\n    local r = m.call('pve1', guests, 'stop', true)\n    local _ = r.task, r.size, r.whole\n  end\nend\n", luavm.Load},
	} {
		b.Run(name, func(b *testing.B) {
			p, err := play.load(b.Context(), d, source.Roots{Playbook: fstest.MapFS{play.file: &fstest.MapFile{Data: []byte(play.text)}}}, play.file)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := p.Main(builtin.WithBranch(b.Context(), builtin.NewBranch()), run, map[string]any{"n": int64(b.N)}); err != nil {
				b.Fatal(err)
			}
		})
	}
}
