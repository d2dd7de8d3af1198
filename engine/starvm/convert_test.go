package starvm

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	stime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"pgregory.net/rapid"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

func TestValuesBothWays(t *testing.T) {
	huge, _ := new(big.Int).SetString("18446744073709551615", 10)
	list := starlark.NewList([]starlark.Value{starlark.MakeInt(1), starlark.String("a")})
	dict := starlark.NewDict(1)
	_ = dict.SetKey(starlark.String("k"), list)
	at, rec := time.Unix(1764000000, 0).UTC(), builtin.NeutralOf(builtin.Keep{Daily: 7})
	m := newMachine(t.Context(), nil, language.Limits{})
	tests := []struct {
		name     string
		neutral  any
		starlark string // as it prints
		typ      string
	}{
		{"None", nil, "None", "NoneType"},
		{"bool", true, "True", "bool"},
		{"int", int64(-5), "-5", "int"},
		{"an int beyond int64", huge, "18446744073709551615", "int"},
		{"float", 0.5, "0.5", "float"},
		{"a float that is whole", 2.0, "2.0", "float"},
		{"string", "a\"b", `"a\"b"`, "string"},
		{"time", at, at.String(), "time.time"},
		{"duration", 90 * time.Second, "1m30s", "time.duration"},
		{"secret", builtin.NamedSecret("nas"), `secret("nas")`, "secret"},
		{"opaque", builtin.Opaque{From: "3.1"}, "(known after call 3.1)", opaqueType},
		{"list", []any{int64(1), "a"}, `[1, "a"]`, "list"},
		{"empty list", []any{}, "[]", "list"},
		{"dict", map[string]any{"k": []any{int64(1)}}, `{"k": [1]}`, "dict"},
		{"record", rec, "Keep(last = 0, hourly = 0, daily = 7, weekly = 0, monthly = 0, yearly = 0, minimum = 0)", "Keep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := m.value(tt.neutral)
			if err != nil || v.String() != tt.starlark || v.Type() != tt.typ {
				t.Fatalf("it is %s %v, %v; want %s %s", v.Type(), v, err, tt.typ, tt.starlark)
			}
			back, err := (&strand{machine: m}).inbound().neutral(v, nil)
			if err != nil || !reflect.DeepEqual(back, tt.neutral) {
				t.Errorf("it comes back as %#v, %v", back, err)
			}
		})
	}
	if _, err := m.value(make(chan int)); err == nil {
		t.Error("a channel is a value")
	}
}

// TestInto: what Starlark has beyond neutral values.
func TestInto(t *testing.T) {
	tests := []struct {
		expr string
		want any
		err  string
	}{
		{"(1, 2)", []any{int64(1), int64(2)}, ""},
		{"set([2, 1])", []any{int64(2), int64(1)}, ""},
		{"range(3)", []any{int64(0), int64(1), int64(2)}, ""},
		{`struct(a = 1, b = struct(c = [2]))`, map[string]any{"a": int64(1), "b": map[string]any{"c": []any{int64(2)}}}, ""},
		{`{1: 2}`, nil, "a dict's key is 1, want a string"},
		{`[b"x"]`, nil, "item 0: a bytes cannot be passed to a built-in"},
		{`{"a": json}`, nil, `"a": a module cannot be passed`},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			predeclared := predeclared(language.Definitions{})
			v, err := starlark.EvalOptions(options, &starlark.Thread{}, "p.star", tt.expr, predeclared)
			if err != nil {
				t.Fatal(err)
			}
			got, err := (&strand{}).inbound().neutral(v, nil)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, %v; want %#v", got, err, tt.want)
			}
		})
	}
}

// TestRunawayValues: none of these costs a playbook steps, and copying each
// would take all memory there is, or the process.
func TestRunawayValues(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"a list that contains itself", "l = []\nl.append(l)\nm.items(l)", "contains itself"},
		{"a dict that contains itself", "d = {}\nd[\"d\"] = d\nlog(d)", "contains itself"},
		{"by a struct", "l = []\nl.append(struct(l = l))\nlog(l)", "contains itself"},
		{"a range of billions", "m.items(range(1000000000000))", "holds more than 1048576 values"},
		{"one list a million times", "l = [0]\nfor i in range(40):\n    l = [l, l]\nm.items(l)", "holds more than 1048576 values"},
		{"for a function, too", "parallel(lambda n: n, range(1000000000000))", "holds more than 1048576 values"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := run(t.Context(), tt.body)
			f, ok := errors.AsType[*builtin.Fault](err)
			if !ok || f.Kind != builtin.Invalid || !strings.Contains(f.Said, tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestNeutralValuesRoundTrip: into Starlark and back is the same.
func TestNeutralValuesRoundTrip(t *testing.T) {
	m := newMachine(t.Context(), nil, language.Limits{})
	var values func(deep int) *rapid.Generator[any]
	values = func(deep int) *rapid.Generator[any] {
		plain := []*rapid.Generator[any]{rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64Range(-1e9, 1e9).AsAny(), rapid.String().AsAny(),
			rapid.Just[any](builtin.NamedSecret("x")), rapid.Just[any](builtin.Opaque{From: "1"}), rapid.Just(builtin.NeutralOf(builtin.Keep{Last: 2})),
			rapid.Custom(func(t *rapid.T) any { return time.Duration(rapid.Int64().Draw(t, "span")) })}
		if deep > 0 {
			plain = append(plain, rapid.SliceOfN(values(deep-1), 0, 4).AsAny(), rapid.MapOfN(rapid.String(), values(deep-1), 0, 4).AsAny())
		}
		return rapid.OneOf(plain...)
	}
	rapid.Check(t, func(t *rapid.T) {
		in := values(3).Draw(t, "value")
		v, err := m.value(in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := (&strand{machine: m}).inbound().neutral(v, nil)
		if err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%#v comes back as %#v, %v", in, out, err)
		}
		again, err := m.value(in)
		if err != nil || again.String() != v.String() {
			t.Fatalf("it prints as %s, then as %s", v, again)
		}
	})
}

func TestDictOrder(t *testing.T) {
	for range 20 { // Go's order is another each time
		p, err := run(t.Context(), `log(str(m.thing().limits))`)
		if err != nil || fmt.Sprint(p.logs) != `[{"a": 2, "m": 3, "z": 1}]` {
			t.Fatalf("%v %v", p.logs, err)
		}
	}
}

func TestTimesAndDurations(t *testing.T) {
	if _, ok := starlark.Value(stime.Duration(0)).(starlark.HasBinary); !ok {
		t.Fatal("a duration cannot be reckoned with")
	}
	p, err := run(t.Context(), `
t = m.thing()
log("%s %s %s" % (t.at.year, t.at.unix, t.took.seconds))
log(str(t.at + t.took))
log(str((t.at + t.took) - t.at == t.took))
log(str(t.at < t.at + t.took))
`)
	want := "2026 1795435200 90.0|2026-11-23 12:01:30 +0000 UTC|True|True"
	if got := strings.Join(p.logs, "|"); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}
