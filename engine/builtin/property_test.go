package builtin_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
)

// neutrals draws neutral values of every kind, nested so deep.
func neutrals(deep int) *rapid.Generator[any] {
	plain := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64Range(-1e300, 1e300).AsAny(), rapid.String().AsAny(),
		rapid.SampledFrom([]string{"", "a", "100", "stop", "nas:x", "7d", "4GiB"}).AsAny(), rapid.Int64Range(0, 1000).AsAny(),
		rapid.Custom(func(t *rapid.T) any { return new(big.Int).SetUint64(rapid.Uint64().Draw(t, "big")) }),
		rapid.Custom(func(t *rapid.T) any { return time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "unix"), 0) }),
		rapid.Custom(func(t *rapid.T) any { return time.Duration(rapid.Int64().Draw(t, "span")) }),
		rapid.Just[any](builtin.NamedSecret("nas")), rapid.Just[any](builtin.Opaque{From: "2"}),
		rapid.Just[any](builtin.NeutralOf(builtin.Keep{Daily: 1})),
	}
	if deep > 0 {
		inner := neutrals(deep - 1)
		names := rapid.SampledFrom([]string{"name", "tags", "daily", "guest", "x"})
		plain = append(plain, rapid.SliceOfN(inner, 0, 3).AsAny(), rapid.MapOfN(names, inner, 0, 3).AsAny())
	}
	return rapid.OneOf(plain...)
}

// drawCall draws the arguments of a call of bindFunc, some by place, some by name.
func drawCall(t *rapid.T) ([]any, []builtin.Named) {
	any := neutrals(2)
	positional := rapid.SliceOfN(any, 0, 22).Draw(t, "positional")
	var named []builtin.Named
	for range rapid.IntRange(0, 6).Draw(t, "named") {
		name := rapid.SampledFrom(append(names(), "nonsense")).Draw(t, "name")
		named = append(named, builtin.Named{Name: name, Value: any.Draw(t, name)})
	}
	return positional, named
}

func names() []string {
	var out []string
	for _, f := range bindFunc.Args.Fields {
		out = append(out, f.Name)
	}
	return out
}

func bindAnything(t *rapid.T) {
	f := bindFunc
	positional, named := drawCall(t)
	args, err := f.Bind(positional, named)
	if err != nil {
		fault, isFault := errors.AsType[*builtin.Fault](err)
		_, isStop := errors.AsType[*builtin.Stop](err)
		if !isStop && (!isFault || fault.Kind != builtin.Invalid || fault.Said == "") {
			t.Fatalf("error %#v", err)
		}
		return
	}
	if args.(bindable).Guest < 100 {
		t.Fatalf("guest %d is past the border", args.(bindable).Guest)
	}
	if _, err := json.Marshal(builtin.Typed{Type: f.Args, Value: args}); err != nil {
		t.Fatalf("what is bound cannot be shown: %v", err)
	}
}

// TestBindNeverPanics, whatever it is given: it binds, faults or ends a plan.
func TestBindNeverPanics(t *testing.T) { rapid.Check(t, bindAnything) }

func FuzzBind(f *testing.F) { f.Fuzz(rapid.MakeFuzz(bindAnything)) }

// TestBoundArgumentsRoundTrip: what was bound, made neutral again, binds to
// the same, so that what a journal has is what a resumed run does.
func TestBoundArgumentsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := bindFunc
		word := rapid.StringMatching(`[a-z]{2,8}`)
		values := map[string]any{
			"guest": rapid.Int64Range(100, 999999999).Draw(t, "guest"), "mode": rapid.SampledFrom([]any{"stop", "suspend", nil}).Draw(t, "mode"),
			"marks":  rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c"}).AsAny()).Draw(t, "marks"),
			"keep":   map[string]any{"last": rapid.Int64Range(0, 99).Draw(t, "last")},
			"serial": new(big.Int).SetUint64(rapid.Uint64().Draw(t, "serial")),
			"inner":  map[string]any{"name": rapid.String().Draw(t, "inner")},
			"node":   rapid.SampledFrom([]string{"", "pve-1"}).Draw(t, "node"),
			"wait":   time.Duration(rapid.Int64Min(0).Draw(t, "wait")), "size": rapid.Int64Min(0).Draw(t, "size"),
			"volume": rapid.SampledFrom([]any{nil, "nas:x", builtin.Opaque{From: "7"}}).Draw(t, "volume"),
			"since":  time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "since"), 0).UTC(),
			"limits": rapid.MapOf(word, rapid.Int64().AsAny()).Draw(t, "limits"), "key": builtin.NamedSecret(word.Draw(t, "key")),
			"any": neutrals(1).Draw(t, "any"),
		}
		var named []builtin.Named
		for name, v := range values {
			named = append(named, builtin.Named{Name: name, Value: v})
		}
		first, err := f.Bind(nil, named)
		if err != nil {
			t.Fatal(err)
		}
		record := f.Args.Neutral(first).(*builtin.Record)
		named = named[:0]
		for i, field := range record.Type.Fields {
			named = append(named, builtin.Named{Name: field.Name, Value: record.Values[i]})
		}
		second, err := f.Bind(nil, named)
		if err != nil {
			t.Fatalf("what was bound does not bind: %v", err)
		}
		if !reflect.DeepEqual(f.Args.Neutral(first), f.Args.Neutral(second)) {
			t.Fatalf("first  %+v\nsecond %+v", first, second)
		}
		a, errA := json.Marshal(builtin.Typed{Type: f.Args, Value: first})
		b, errB := json.Marshal(builtin.Typed{Type: f.Args, Value: second})
		if errors.Join(errA, errB) != nil || string(a) != string(b) {
			t.Fatalf("first  %s\nsecond %s", a, b)
		}
	})
}

// TestParse: the texts of a command line.
func TestParse(t *testing.T) {
	tests := []struct {
		typ  reflect.Type
		text string
		want any // neutral, converted; nil for an error
	}{
		{reflect.TypeFor[bool](), "yes", true},
		{reflect.TypeFor[bool](), "off", false},
		{reflect.TypeFor[bool](), "maybe", nil},
		{reflect.TypeFor[int64](), "-5", int64(-5)},
		{reflect.TypeFor[int64](), "5x", nil},
		{reflect.TypeFor[float64](), "0.5", 0.5},
		{reflect.TypeFor[string](), "a,b", "a,b"},
		{reflect.TypeFor[[]string](), "a, b,,c", []any{"a", "b", "c"}},
		{reflect.TypeFor[[]int64](), "1,x", nil},
		{reflect.TypeFor[[]builtin.VMID](), "100,200", []any{int64(100), int64(200)}},
		{reflect.TypeFor[[]builtin.VMID](), "100,99", nil},
		{reflect.TypeFor[builtin.Duration](), "7d", 168 * time.Hour},
		{reflect.TypeFor[builtin.Bytes](), "1K", int64(1024)},
		{reflect.TypeFor[builtin.Secret](), "text", nil},
		{reflect.TypeFor[builtin.Keep](), "daily=7", nil},
	}
	for _, tt := range tests {
		typ := builtin.TypeOf(tt.typ)
		v, err := typ.Parse(tt.text)
		if err == nil {
			v, err = typ.Convert(v)
		}
		if (err != nil) != (tt.want == nil) || err == nil && !reflect.DeepEqual(v, tt.want) {
			t.Errorf("%s %q is %v, %v; want %v", tt.typ, tt.text, v, err, tt.want)
		}
	}
}
