package builtin_test

import (
	"context"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

type inner struct {
	Name string   `name:"name"`
	Tags []string `name:"tags" default:"x,y"`
}

// bindable has an argument of every type.
type bindable struct {
	Guest  builtin.VMID                 `name:"guest" scope:"guest"`
	Mode   string                       `name:"mode" default:"stop" enum:"stop,suspend"`
	Note   string                       `name:"note" default:"" enum:"long,short"`
	Marks  []string                     `name:"marks" default:"a,b" enum:"a,b,c"`
	Keep   builtin.Keep                 `name:"keep" default:""`
	Inner  *inner                       `name:"inner" default:""`
	Serial uint64                       `name:"serial" default:"0"`
	Small  int32                        `name:"small" default:"0"`
	Volume builtin.Later[builtin.VolID] `name:"volume" default:""`
	Node   builtin.Node                 `name:"node" default:""`
	Wait   builtin.Duration             `name:"wait" default:"90s"`
	Size   builtin.Bytes                `name:"size" default:"4GiB"`
	Ratio  float64                      `name:"ratio" default:"0.5"`
	Dry    bool                         `name:"dry" default:"true"`
	Since  *time.Time                   `name:"since" default:""`
	Choice *string                      `name:"choice" default:"" enum:"p,q"`
	Limits map[string]int64             `name:"limits" default:""`
	Key    builtin.Secret               `name:"key" default:""`
	Any    builtin.Value                `name:"any" default:""`
	Fn     builtin.Callback             `name:"fn" default:""`
}

func do[A, R any](context.Context, A) (R, error) { var r R; return r, nil }

var bindFunc = builtin.NewRead("f", "F.", do[bindable, struct{}])

func TestBindDefaults(t *testing.T) {
	f := bindFunc
	got, err := f.Bind([]any{int64(100)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := bindable{Guest: 100, Mode: "stop", Marks: []string{"a", "b"}, Keep: builtin.Keep{Minimum: 1}, Wait: builtin.Duration(90 * time.Second),
		Size: 4 << 30, Ratio: 0.5, Dry: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// What one call does to a default must not reach the next.
	got.(bindable).Marks[0] = "spoilt"
	if again, _ := f.Bind([]any{int64(100)}, nil); !reflect.DeepEqual(again, want) {
		t.Errorf("the second call got %+v", again)
	}
}

func TestBind(t *testing.T) {
	guid, _ := new(big.Int).SetString("18446744073709551615", 10)
	tooLarge := new(big.Int).Add(guid, big.NewInt(1))
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	one, p := inner{Name: "n", Tags: []string{"x", "y"}}, "p"
	tests := []struct {
		name  string
		arg   string
		value any
		want  any    // of the field of that name
		err   string // part of it
	}{
		{"text for a guest id", "guest", "101", builtin.VMID(101), ""},
		{"a guest id too small", "guest", int64(99), nil, `guest: "99" is no guest id`},
		{"a guest id that no int64 holds", "guest", guid, nil, "is no guest id"},
		{"a guest id as float", "guest", 100.0, nil, "guest: want a guest id, got a float"},
		{"None where a value is needed", "guest", nil, nil, "guest: want a guest id, got None"},
		{"a list for a string", "mode", []any{}, nil, "mode: want a string, got a list"},
		{"a word there is", "mode", "suspend", "suspend", ""},
		{"a word there is not", "mode", "fast", nil, `mode: "fast" is none of stop, suspend`},
		{"no word where one has a default", "mode", "", nil, `mode: "" is none of`},
		{"None gives the default", "mode", nil, "stop", ""},
		{"no word where that is the default", "note", "", "", ""},
		{"a list of words", "marks", []any{"c"}, []string{"c"}, ""},
		{"a list with a word there is not", "marks", []any{"a", "z"}, nil, `marks: "z" is none of a, b, c`},
		{"an item of another type", "marks", []any{"a", true}, nil, "marks: item 1: want a string, got a bool"},
		{"a string for a list", "marks", "a", nil, `marks: want a list of string, got the string "a"`},
		{"a record, its fields' defaults", "keep", map[string]any{"daily": int64(7)}, builtin.Keep{Daily: 7, Minimum: 1}, ""},
		{"a field there is not", "keep", map[string]any{"dialy": int64(7), "x": int64(1)}, nil, `keep: a Keep has no field "dialy"`},
		{"a pointer to a record", "inner", map[string]any{"name": "n"}, &one, ""},
		{"a record without what it needs", "inner", map[string]any{}, nil, "inner: name is missing"},
		{"the largest GUID", "serial", guid, uint64(1<<64 - 1), ""},
		{"larger than any GUID", "serial", tooLarge, nil, "serial: 18446744073709551616 is out of range"},
		{"negative without a sign", "serial", int64(-1), nil, "serial: -1 is out of range"},
		{"too large for int32", "small", int64(1 << 31), nil, "out of range"},
		{"a big number for an int", "small", guid, nil, "out of range"},
		{"known later", "volume", "a1:vol", builtin.Now(builtin.VolID("a1:vol")), ""},
		{"opaque where that is allowed", "volume", builtin.Opaque{From: "3"}, builtin.Later[builtin.VolID]{From: "3"}, ""},
		{"no name where none is the default", "node", "", builtin.Node(""), ""},
		{"a name that is none", "node", "a b", nil, "is no node"},
		{"seconds", "wait", int64(5), builtin.Duration(5 * time.Second), ""},
		{"parts of a second", "wait", 0.25, builtin.Duration(250 * time.Millisecond), ""},
		{"a duration of the language", "wait", 90 * time.Minute, builtin.Duration(90 * time.Minute), ""},
		{"less than nothing", "wait", int64(-5), nil, "is no duration"},
		{"a size with its unit", "size", "2MiB", builtin.Bytes(2 << 20), ""},
		{"a size in bytes", "size", int64(17), builtin.Bytes(17), ""},
		{"a whole number for a float", "ratio", int64(2), 2.0, ""},
		{"what is no number", "ratio", math.NaN(), nil, "ratio: NaN is no number"},
		{"what has no end", "ratio", math.Inf(-1), nil, "ratio: -Inf is no number"},
		{"a number for a bool", "dry", int64(1), nil, "dry: want a bool, got the int 1"},
		{"a time", "since", at, &at, ""},
		{"a duration for a time", "since", time.Second, nil, "since: want a time, got the duration 1s"},
		{"a word of an optional", "choice", "p", &p, ""},
		{"a word that an optional has not", "choice", "z", nil, "is none of p, q"},
		{"a dict", "limits", map[string]any{"a": int64(1)}, map[string]int64{"a": 1}, ""},
		{"a dict of something else", "limits", map[string]any{"b": "x", "a": "y"}, nil, `limits: "a": want an int, got the string "y"`},
		{"a secret", "key", builtin.NamedSecret("nas"), builtin.NamedSecret("nas"), ""},
		{"text for a secret", "key", "hunter2", nil, "key: want a secret, got the string"},
		{"anything", "any", []any{"as", "is"}, []any{"as", "is"}, ""},
		{"no function", "fn", int64(1), nil, "fn: want a function, got the int 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			named := []builtin.Named{{Name: tt.arg, Value: tt.value}}
			if tt.arg != "guest" {
				named = append(named, builtin.Named{Name: "guest", Value: int64(100)})
			}
			f := bindFunc
			got, err := f.Bind(nil, named)
			if tt.err != "" {
				fault, ok := errors.AsType[*builtin.Fault](err)
				if !ok || fault.Kind != builtin.Invalid || !strings.Contains(err.Error(), tt.err) || fault.Hint != "nixmox doc f" {
					t.Fatalf("error %+v, want an invalid with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			field := reflect.ValueOf(got).FieldByName(strings.ToUpper(tt.arg[:1]) + tt.arg[1:])
			if !reflect.DeepEqual(field.Interface(), tt.want) {
				t.Errorf("got %#v, want %#v", field, tt.want)
			}
		})
	}
}

func TestBindPositions(t *testing.T) {
	f := builtin.NewRead("f", "F.", do[struct {
		A int64 `name:"a"`
		B int64 `name:"b" default:"2"`
	}, struct{}])
	tests := []struct {
		name       string
		positional []any
		named      []builtin.Named
		err        string
	}{
		{"in order", []any{int64(1), int64(2)}, nil, ""},
		{"mixed", []any{int64(1)}, []builtin.Named{{Name: "b", Value: int64(3)}}, ""},
		{"by name", nil, []builtin.Named{{Name: "b", Value: int64(3)}, {Name: "a", Value: int64(3)}}, ""},
		{"missing", nil, nil, "a is missing"},
		{"too many", []any{int64(1), int64(2), int64(3)}, nil, "takes 2 arguments, got 3"},
		{"twice by place and name", []any{int64(1)}, []builtin.Named{{Name: "a", Value: int64(1)}}, "got a twice"},
		{"twice by name", nil, []builtin.Named{{Name: "a", Value: int64(1)}, {Name: "a", Value: int64(1)}}, "got a twice"},
		{"unknown", []any{int64(1)}, []builtin.Named{{Name: "c", Value: int64(1)}}, `has no argument "c"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.Bind(tt.positional, tt.named)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

// TestOpaqueEndsThePlan: a value that only the run will know, used.
func TestOpaqueEndsThePlan(t *testing.T) {
	o := builtin.Opaque{From: "4.1"}
	for name, value := range map[string]any{"guest": o, "marks": []any{"a", o}, "limits": map[string]any{"a": o}, "keep": o,
		"inner": map[string]any{"name": o}, "key": o, "dry": o} {
		f := bindFunc
		named := []builtin.Named{{Name: name, Value: value}}
		if name != "guest" {
			named = append(named, builtin.Named{Name: "guest", Value: int64(100)})
		}
		_, err := f.Bind(nil, named)
		if stop, ok := errors.AsType[*builtin.Stop](err); !ok || stop.Kind != builtin.PlanEnds || !strings.Contains(stop.What, "call 4.1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScope(t *testing.T) {
	type ids []builtin.VMID
	type move struct {
		From string `name:"from" scope:"site"`
		To   string `name:"to" scope:"site"`
		Deep bool   `name:"deep" default:"false" deep:"true"`
	}
	s := "x"
	tests := []struct {
		name string
		f    builtin.Func
		args any
		want string
	}{
		{"a guest", builtin.NewRead("f", "F.", do[struct {
			G builtin.VMID `name:"g" scope:"guest"`
		}, string]), struct {
			G builtin.VMID `name:"g" scope:"guest"`
		}{100}, "guest 100"},
		{"no guest", builtin.NewRead("f", "F.", do[struct {
			G builtin.VMID `name:"g" scope:"guest" default:""`
		}, string]), struct {
			G builtin.VMID `name:"g" scope:"guest" default:""`
		}{}, "guest "},
		{"guests", builtin.NewRead("f", "F.", do[struct {
			G ids `name:"g" scope:"guest"`
		}, string]), struct {
			G ids `name:"g" scope:"guest"`
		}{ids{100, 200}}, "guest 100,200"},
		{"a volume by its storage", builtin.NewRead("f", "F.", do[struct {
			V builtin.Later[builtin.VolID] `name:"v" scope:"storage"`
		}, string]), struct {
			V builtin.Later[builtin.VolID] `name:"v" scope:"storage"`
		}{builtin.Now(builtin.VolID("nas:backup/x"))}, "storage nas"},
		{"an optional", builtin.NewRead("f", "F.", do[struct {
			S *string `name:"s" scope:"site"`
		}, string]), struct {
			S *string `name:"s" scope:"site"`
		}{&s}, "site x"},
		{"an optional left out", builtin.NewRead("f", "F.", do[struct {
			S *string `name:"s" scope:"site"`
		}, string]), struct {
			S *string `name:"s" scope:"site"`
		}{}, "site "},
		{"from here to there, and all below", builtin.NewRead("f", "F.", do[move, string]), move{"here", "there", true}, "site here/**,there/**"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sort, values, ok := tt.f.Scope(tt.args)
			if got := sort + " " + strings.Join(values, ","); !ok || got != tt.want {
				t.Errorf("got %q %v, want %q", got, ok, tt.want)
			}
		})
	}
}

// TestRest: named arguments that no field has go to the dict that takes them.
func TestRest(t *testing.T) {
	type open struct {
		Name   string         `name:"name"`
		Params map[string]any `name:"params" default:"" rest:""`
	}
	f := builtin.NewPure("f", "F.", func(_ context.Context, a open) (open, error) { return a, nil })
	bound, err := f.Bind([]any{"x"}, []builtin.Named{{Name: "n", Value: int64(1)}, {Name: "params", Value: map[string]any{"m": "y", "n": int64(2)}}})
	if err != nil || !reflect.DeepEqual(bound, open{"x", map[string]any{"n": int64(2), "m": "y"}}) {
		t.Errorf("bound %+v (%v)", bound, err)
	}
	if _, err := f.Bind(nil, []builtin.Named{{Name: "n", Value: int64(1)}}); err == nil || !strings.Contains(err.Error(), "name is missing") {
		t.Errorf("error %v", err)
	}
	if _, err := f.Bind([]any{"x"}, []builtin.Named{{Name: "n", Value: int64(1)}, {Name: "params", Value: int64(3)}}); err == nil {
		t.Error("a number was taken for a dict")
	}
	defer func() {
		if recover() == nil {
			t.Error("a text takes the rest")
		}
	}()
	builtin.NewPure("g", "G.", func(context.Context, struct {
		Rest string `name:"rest" rest:""`
	}) (struct{}, error) {
		return struct{}{}, nil
	})
}
