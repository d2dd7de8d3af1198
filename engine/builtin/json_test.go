package builtin_test

import (
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

type everything struct {
	Guest   builtin.VMID                 `name:"guest"`
	At      time.Time                    `name:"at"`
	Took    builtin.Duration             `name:"took"`
	Size    builtin.Bytes                `name:"size"`
	Serial  uint64                       `name:"serial"`
	Key     builtin.Secret               `name:"key"`
	Known   builtin.Later[builtin.VolID] `name:"known"`
	Unknown builtin.Later[builtin.VolID] `name:"unknown"`
	Never   *time.Time                   `name:"never"`
	Tags    []string                     `name:"tags"`
	Limits  map[string]int64             `name:"limits"`
	Keep    builtin.Keep                 `name:"keep"`
	Any     builtin.Value                `name:"any"`
	hidden  string
}

func TestTypedJSON(t *testing.T) {
	v := everything{Guest: 100, At: time.Date(2026, 11, 23, 13, 0, 0, 0, time.FixedZone("CET", 3600)), Took: builtin.Duration(90 * time.Second), Size: 1 << 40,
		Serial: 1<<64 - 1, Key: builtin.NamedSecret("nas"), Known: builtin.Now(builtin.VolID("nas:x")), Unknown: builtin.Later[builtin.VolID]{From: "3.1"},
		Limits: map[string]int64{"b": 2, "a": 1}, Keep: builtin.Keep{Daily: 7}, Any: []any{"x", int64(1)}, hidden: "hidden"}
	got, err := json.Marshal(builtin.Typed{Type: builtin.TypeOf(reflect.TypeOf(v)), Value: v})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"guest":100,"at":"2026-11-23T12:00:00Z","took":"1m30s","size":1099511627776,"serial":18446744073709551615,"key":{"secret":"nas"},` +
		`"known":"nas:x","unknown":{"known_after":"3.1"},"never":null,"tags":[],"limits":{"a":1,"b":2},` +
		`"keep":{"last":0,"hourly":0,"daily":7,"weekly":0,"monthly":0,"yearly":0,"minimum":0},"any":["x",1]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.Contains(string(got), v.hidden) {
		t.Error("a field without a name is shown")
	}
}

func TestMarshalNeutral(t *testing.T) {
	huge, _ := new(big.Int).SetString("340282366920938463463374607431768211456", 10)
	tests := []struct {
		name string
		in   any
		want string
	}{
		{"None", nil, "null"},
		{"a big number", huge, "340282366920938463463374607431768211456"},
		{"a part of a second", time.Unix(0, 5e8), `"1970-01-01T00:00:00.5Z"`},
		{"something else", make(chan int), `"(a value of the language)"`},
		{"nested", []any{map[string]any{"at": time.Unix(0, 0).UTC(), "for": time.Hour}}, `[{"at":"1970-01-01T00:00:00Z","for":"1h0m0s"}]`},
		{"a secret in a list", []any{builtin.NamedSecret("nas")}, `[{"secret":"nas"}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := builtin.MarshalNeutral(tt.in); err != nil || string(got) != tt.want {
				t.Errorf("got %s %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestTypedNothing(t *testing.T) {
	if got, err := json.Marshal(builtin.Typed{}); err != nil || string(got) != "null" {
		t.Errorf("%s %v", got, err)
	}
}

// A field of a result may have none of its words, where an argument may not.
func TestDecodeOfAWordLeftOut(t *testing.T) {
	type result struct {
		State string `name:"state" enum:"clean,dirty"`
	}
	typ := builtin.TypeOf(reflect.TypeFor[result]())
	for text, want := range map[string]any{`{"state":""}`: result{}, `{"state":"clean"}`: result{"clean"}, `{"state":"odd"}`: nil} {
		if got, err := typ.Decode([]byte(text)); (err != nil) != (want == nil) || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
}
