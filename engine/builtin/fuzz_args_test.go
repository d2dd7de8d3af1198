package builtin_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"nixmox/engine/builtin"
)

// FuzzDecodeArgs: whatever text comes for arguments, what is taken passes the
// grammar of its types, knows no value to come outside a plan, and is the same
// after another way there and back.
func FuzzDecodeArgs(f *testing.F) {
	type args struct {
		Guest   builtin.VMID          `name:"guest" doc:"a guest"`
		Storage builtin.StorageID     `name:"storage" default:"" doc:"a storage"`
		Ticket  builtin.Later[string] `name:"ticket" default:"" doc:"a ticket"`
		Names   []string              `name:"names" default:"" doc:"names"`
		Wait    builtin.Duration      `name:"wait" default:"1s" doc:"how long"`
		Labels  map[string]int64      `name:"labels" default:"" doc:"labels"`
		Token   builtin.Secret        `name:"token" doc:"a secret"`
		Level   string                `name:"level" default:"info" enum:"info,error" doc:"a level"`
	}
	read := builtin.NewRead("look", "Look.", func(context.Context, args) (struct{}, error) { return struct{}{}, nil })
	f.Add([]byte(`{"guest":100,"storage":"nas","ticket":"t","names":["a"],"wait":"2s","labels":{"a":1},"token":{"secret":"nas"},"level":"info"}`), false)
	f.Add([]byte(`{"guest":0,"storage":"","ticket":{"known_after":"1"},"token":{"secret":"x"}}`), true)
	f.Add([]byte(`{"guest":1e2,"token":{}}`), false)
	f.Add([]byte(`[[[[`), false)
	f.Fuzz(func(t *testing.T, text []byte, plan bool) {
		v, err := read.DecodeArgs(text, plan)
		if err != nil {
			return
		}
		a := v.(args)
		if err := new(builtin.VMID).UnmarshalText(must(json.Marshal(int(a.Guest)))); err != nil {
			t.Fatalf("%s gave guest %d: %v", text, a.Guest, err)
		}
		if a.Storage != "" {
			if err := new(builtin.StorageID).UnmarshalText([]byte(a.Storage)); err != nil {
				t.Fatalf("%s gave storage %q: %v", text, a.Storage, err)
			}
		}
		if !plan && !a.Ticket.Known() || a.Level != "info" && a.Level != "error" {
			t.Fatalf("%s gave %+v", text, a)
		}
		encoded := must(json.Marshal(builtin.Typed{Type: read.Args, Value: a}))
		again, err := read.DecodeArgs(encoded, plan)
		if err != nil || !reflect.DeepEqual(must(json.Marshal(builtin.Typed{Type: read.Args, Value: again})), encoded) {
			t.Fatalf("%s came back as %+v, %v", encoded, again, err)
		}
	})
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}
