package engine_test

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/source"
)

// BenchmarkCall is what the engine adds to a call: binding, policy, events
// and the way back, for a function that does nothing but return a record.
func BenchmarkCall(b *testing.B) {
	type args struct {
		Box    string   `name:"box" scope:"box" doc:"which box"`
		Amount int64    `name:"amount" default:"1" doc:"how much"`
		Tags   []string `name:"tags" default:"" doc:"labels"`
	}
	type box struct {
		Name  string `name:"name" doc:"its name"`
		Level int64  `name:"level" doc:"how full"`
		Full  bool   `name:"full" doc:"whether it is full"`
	}
	settle := func(context.Context, args, string) (builtin.Settlement[box], error) {
		return builtin.Settlement[box]{}, nil
	}
	do := func(_ context.Context, a args) (box, error) { return box{Name: a.Box, Level: a.Amount}, nil }
	module := builtin.NewModule("box", "Boxes.",
		builtin.NewRead("look", "Look.", do),
		builtin.NewChange("fill", "Fill.", builtin.Op[args, box]{Preview: do, Do: do, Settle: settle,
			Keys: func(args) []string { return nil }}),
		builtin.NewChange("fill_locked", "Fill.", builtin.Op[args, box]{Preview: do, Do: do, Settle: settle,
			Keys: func(a args) []string { return []string{a.Box} }}))
	for _, call := range []string{"box.look", "box.fill", "box.fill_locked"} {
		b.Run(call, func(b *testing.B) {
			events := 0
			e := &engine.Engine{Modules: []builtin.Module{module}, LockDir: b.TempDir(), Clock: engine.WallClock(), Sink: func(event.Event) { events++ }}
			text := strings.ReplaceAll(`needs(box = ["change"])
def main(n = 1):
    for i in range(n):
        CALL("a", amount = 3, tags = ["x", "y"])
`, "CALL", call)
			p, err := e.Load(b.Context(), source.Roots{Playbook: fstest.MapFS{"p.star": &fstest.MapFile{Data: []byte(text)}}}, "p.star")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if r := e.Run(b.Context(), p, engine.Options{Params: map[string]any{"n": int64(b.N)}}); r.Err != nil {
				b.Fatal(r.Err)
			}
			if events < 2*b.N {
				b.Fatalf("%d events for %d calls", events, b.N)
			}
		})
	}
}
