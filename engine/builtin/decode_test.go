package builtin_test

import (
	"encoding/json"
	"math/big"
	"reflect"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

// kept has a field of every kind that a result can have.
type kept struct {
	Bool    bool                         `name:"bool"`
	Int     int                          `name:"int"`
	GUID    uint64                       `name:"guid"`
	Float   float64                      `name:"float"`
	Text    string                       `name:"text"`
	Time    time.Time                    `name:"time"`
	Maybe   *time.Time                   `name:"maybe"`
	None    *time.Time                   `name:"none"`
	Span    builtin.Duration             `name:"span"`
	Size    builtin.Bytes                `name:"size"`
	Guest   builtin.VMID                 `name:"guest"`
	NoGuest builtin.VMID                 `name:"no_guest"`
	Node    builtin.Node                 `name:"node"`
	NoNode  builtin.Node                 `name:"no_node"`
	Volume  builtin.Later[builtin.VolID] `name:"volume"`
	Secret  builtin.Secret               `name:"secret"`
	List    []builtin.VMID               `name:"list"`
	Dict    map[string]any               `name:"dict"`
	Record  builtin.Keep                 `name:"record"`
	Records []builtin.Keep               `name:"records"`
}

// What the journal keeps comes back as it was.
func TestDecodeIsTheInverseOfTyped(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	in := kept{Bool: true, Int: -3, GUID: 1<<64 - 1, Float: 2, Text: "a\"\x00é", Time: at, Maybe: &at,
		Span: builtin.Duration(90 * time.Second), Size: 1 << 40, Guest: 100, Node: "pve1",
		Volume: builtin.Now(builtin.VolID("backup:backup/x.vma.zst")), Secret: builtin.NamedSecret("nas"),
		List: []builtin.VMID{100, 101}, Dict: map[string]any{"a": int64(1), "b": "two", "f": 1.0, "l": []any{int64(1), map[string]any{}}, "big": new(big.Int).Lsh(big.NewInt(1), 80)},
		Record: builtin.Keep{Daily: 7}, Records: []builtin.Keep{{Last: 1}, {}}}
	for _, v := range []kept{in, {List: []builtin.VMID{}, Dict: map[string]any{}, Records: []builtin.Keep{}}} {
		typ := builtin.TypeOf(reflect.TypeFor[kept]())
		text, err := json.Marshal(builtin.Typed{Type: typ, Value: v})
		if err != nil {
			t.Fatal(err)
		}
		out, err := typ.Decode(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !reflect.DeepEqual(out, v) {
			t.Errorf("got  %+v\nwant %+v\n%s", out, v, text)
		}
	}
}

func TestDecodeOfBadText(t *testing.T) {
	typ := builtin.TypeOf(reflect.TypeFor[kept]())
	for _, text := range []string{"", "[]", "7", `{"int":"x"}`, `{"time":7}`, `{"list":{}}`, `{"dict":[]}`, `{"record":[]}`, `{"secret":7}`, `{"float":"x"}`, `{"time":"yesterday"}`} {
		if _, err := typ.Decode([]byte(text)); err == nil {
			t.Errorf("%s decodes", text)
		}
	}
}
