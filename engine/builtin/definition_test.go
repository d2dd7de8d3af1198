package builtin_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

type none struct{}

func op() builtin.Op[none, none] {
	return builtin.Op[none, none]{Preview: do[none, none], Do: do[none, none], NoSettle: "no", Keys: func(none) []string { return nil }}
}

func destroy() builtin.IrreversibleOp[none, int, none] {
	with := func(context.Context, none, int) (none, error) { return none{}, nil }
	return builtin.IrreversibleOp[none, int, none]{Decide: do[none, int], Preview: with, Do: with, NoSettle: "no", Keys: func(none) []string { return nil }}
}

func settle(context.Context, none, string) (builtin.Settlement[none], error) {
	return builtin.Settlement[none]{}, nil
}

// TestBadDefinitions: whatever is forgotten, the first test of a module says so.
func TestBadDefinitions(t *testing.T) {
	change := func(forget func(*builtin.Op[none, none])) func() {
		return func() { o := op(); forget(&o); builtin.NewChange("f", "F.", o) }
	}
	irreversible := func(forget func(*builtin.IrreversibleOp[none, int, none])) func() {
		return func() { o := destroy(); forget(&o); builtin.NewIrreversible("f", "F.", o) }
	}
	type twice struct {
		A string `name:"a" scope:"guest"`
		B string `name:"b" scope:"node"`
	}
	type same struct {
		A string `name:"a"`
		B string `name:"a"`
	}
	tests := []struct {
		name   string
		define func()
		want   string
	}{
		{"complete", change(func(*builtin.Op[none, none]) {}), ""},
		{"no Do", change(func(o *builtin.Op[none, none]) { o.Do = nil }), "f needs"},
		{"no Preview", change(func(o *builtin.Op[none, none]) { o.Preview = nil }), "f needs"},
		{"no Keys", change(func(o *builtin.Op[none, none]) { o.Keys = nil }), "f needs"},
		{"no Settle", change(func(o *builtin.Op[none, none]) { o.NoSettle = "" }), "f needs"},
		{"Settle and NoSettle", change(func(o *builtin.Op[none, none]) { o.Settle = settle }), "f needs"},
		{"Settle", change(func(o *builtin.Op[none, none]) { o.Settle, o.NoSettle = settle, "" }), ""},
		{"irreversible, complete", irreversible(func(*builtin.IrreversibleOp[none, int, none]) {}), ""},
		{"irreversible, no Decide", irreversible(func(o *builtin.IrreversibleOp[none, int, none]) { o.Decide = nil }), "f needs"},
		{"irreversible, no Do", irreversible(func(o *builtin.IrreversibleOp[none, int, none]) { o.Do = nil }), "f needs"},
		{"irreversible, no Preview", irreversible(func(o *builtin.IrreversibleOp[none, int, none]) { o.Preview = nil }), "f needs"},
		{"irreversible, no Keys", irreversible(func(o *builtin.IrreversibleOp[none, int, none]) { o.Keys = nil }), "f needs"},
		{"irreversible, no Settle", irreversible(func(o *builtin.IrreversibleOp[none, int, none]) { o.NoSettle = "" }), "f needs"},
		{"two scopes", func() { builtin.NewRead("f", "F.", do[twice, none]) }, "two arguments tagged scope"},
		{"a scope that no glob matches", func() {
			builtin.NewRead("f", "F.", do[struct {
				At time.Time `name:"at" scope:"time"`
			}, none])
		}, "no glob can match at"},
		{"two fields of a name", func() { builtin.NewRead("f", "F.", do[same, none]) }, `two fields named "a"`},
		{"no name", func() {
			builtin.NewRead("f", "F.", do[struct{ A string }, none])
		}, "has no name tag"},
		{"arguments that are no struct", func() { builtin.NewRead("f", "F.", do[string, none]) }, "are no struct"},
		{"a type that no language has", func() { builtin.NewRead("f", "F.", do[none, chan int]) }, "no language can pass a chan int"},
		{"a dict by numbers", func() { builtin.NewRead("f", "F.", do[none, map[int]string]) }, "are no strings"},
		{"a pointer to what is known later", func() { builtin.NewRead("f", "F.", do[none, *builtin.Later[string]]) }, "no language can pass"},
		{"a default of another type", func() {
			builtin.NewRead("f", "F.", do[struct {
				N int64 `name:"n" default:"x"`
			}, none])
		}, "default of"},
		{"a default that is no word", func() {
			builtin.NewRead("f", "F.", do[struct {
				S string `name:"s" default:"c" enum:"a,b"`
			}, none])
		}, "default of"},
		{"words for a number", func() {
			builtin.NewRead("f", "F.", do[struct {
				N int64 `name:"n" enum:"1,2"`
			}, none])
		}, "has an enum"},
		{"a record as default that needs something", func() {
			builtin.NewRead("f", "F.", do[struct {
				R struct {
					S string `name:"s"`
				} `name:"r" default:""`
			}, none])
		}, "s is missing"},
		{"a function twice", func() {
			builtin.NewModule("m", "M.", builtin.NewRead("f", "F.", do[none, none]), builtin.NewRead("f", "F.", do[none, none]))
		}, "m.f is defined twice"},
		{"a function called change", func() { builtin.NewModule("m", "M.", builtin.NewChange("change", "F.", op())) }, "means the effect"},
		{"a function called read", func() { builtin.NewModule("m", "M.", builtin.NewRead("read", "F.", do[none, none])) }, "means the effect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				got := recover()
				if (got == nil) != (tt.want == "") || got != nil && !strings.Contains(fmt.Sprint(got), tt.want) {
					t.Errorf("panic %v, want %q", got, tt.want)
				}
			}()
			tt.define()
		})
	}
}

func TestDefinition(t *testing.T) {
	m := builtin.NewModule("m", "M.", builtin.NewRead("look", "Look. More.", do[none, none]), builtin.NewChange("fill", "Fill.", op()),
		builtin.NewIrreversible("burn", "Burn.", destroy()))
	for i, want := range []struct {
		name   string
		effect builtin.Effect
		alters bool
	}{{"m.look", builtin.Read, false}, {"m.fill", builtin.Change, true}, {"m.burn", builtin.Irreversible, true}} {
		f := &m.Funcs[i]
		if f.QualifiedName() != want.name || f.Effect != want.effect || f.Effect.Alters() != want.alters {
			t.Errorf("%s is %s", f.QualifiedName(), f.Effect)
		}
	}
	if _, ok := m.Func("look"); !ok {
		t.Error("look is not found")
	}
	if _, ok := m.Func("lok"); ok {
		t.Error("lok is found")
	}
}

func TestOptionalNamedType(t *testing.T) {
	typ := builtin.TypeOf(reflect.TypeFor[*builtin.VMID]())
	if typ.Name != "guest id" || !typ.Optional() || !typ.Text() || typ.Pattern == "" {
		t.Errorf("%+v", typ)
	}
	for in, want := range map[any]any{nil: nil, int64(100): int64(100), "100": int64(100)} {
		if got, err := typ.Convert(in); err != nil || got != want {
			t.Errorf("%v is %v, %v", in, got, err)
		}
	}
}

func TestSame(t *testing.T) {
	type other builtin.Keep
	a, b, c := builtin.TypeOf(reflect.TypeFor[builtin.Keep]()), builtin.TypeOf(reflect.TypeFor[builtin.Keep]()), builtin.TypeOf(reflect.TypeFor[other]())
	if !a.Same(b) || a.Same(c) {
		t.Errorf("same %v, other %v", a.Same(b), a.Same(c))
	}
}

func TestPlaces(t *testing.T) {
	trunk := builtin.NewBranch()
	if got := fmt.Sprintln(trunk.Next(), trunk.Next()); got != "1 2\n" {
		t.Errorf("trunk %s", got)
	}
	place := trunk.Next()
	second, first := trunk.Fork(place, 2), trunk.Fork(place, 1) // whichever comes first
	if got := fmt.Sprintln(first.Next(), second.Next(), first.Next(), trunk.Next()); got != "3.1.1 3.2.1 3.1.2 4\n" {
		t.Errorf("branches %s", got)
	}
	second.ReadOnly = true
	deep := second.Fork(second.Next(), 1)
	if got := deep.Next(); got != "3.2.2.1.1" || deep.Depth != 2 || !deep.ReadOnly {
		t.Errorf("place %s, depth %d, read only %v", got, deep.Depth, deep.ReadOnly)
	}
}
