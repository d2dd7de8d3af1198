package builtin

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

type handed struct {
	VolID Later[VolID] `name:"volid" doc:"a volume"`
	Size  int64        `name:"size" doc:"bytes"`
	At    time.Time    `name:"at" doc:"when"`
}

type sentArgs struct {
	Node   Node           `name:"node" doc:"a node"`
	Guest  VMID           `name:"guest" default:"" doc:"a guest, or none"`
	Guests []VMID         `name:"guests" default:"" doc:"guests"`
	Mode   string         `name:"mode" default:"snapshot" enum:"snapshot,stop" doc:"how"`
	Kind   string         `name:"kind" default:"" enum:"a,b" doc:"which, or none"`
	Wait   Duration       `name:"wait" default:"90s" doc:"how long"`
	Limit  *int64         `name:"limit" default:"" doc:"how much, or None"`
	Ratio  float64        `name:"ratio" default:"0.5" doc:"a part"`
	Big    uint64         `name:"big" default:"0" doc:"a GUID"`
	Since  *time.Time     `name:"since" default:"" doc:"from when, or None"`
	Key    Secret         `name:"key" default:"" doc:"a secret"`
	VolID  Later[VolID]   `name:"volid" default:"" doc:"a volume"`
	Given  *handed        `name:"given" default:"" doc:"a result handed on"`
	Params map[string]any `name:"params" default:"" rest:"" doc:"anything"`
}

func sentFunc() *Func {
	f := NewRead("sent", "Is sent.", func(context.Context, sentArgs) (int64, error) { return 0, nil })
	return &f
}

// What Bind makes of a call comes back the same from its text.
func TestDecodeArgsIsBind(t *testing.T) {
	limit, since := int64(7), time.Date(2026, 11, 23, 12, 0, 0, 5, time.UTC)
	f := sentFunc()
	for name, named := range map[string][]Named{
		"only what must be": {},
		"everything": {{"guest", int64(100)}, {"guests", []any{int64(101), "102"}}, {"mode", "stop"}, {"kind", "b"}, {"wait", "5m"}, {"limit", limit},
			{"ratio", 2.0}, {"big", int64(1<<62 + 1)}, {"since", since}, {"key", NamedSecret("nas")}, {"volid", "backup:backup/vzdump-qemu-100-2026_01_01-00_00_00.vma.zst"},
			{"given", map[string]any{"volid": "local:iso/x.iso", "size": int64(3), "at": since}}},
		"anything": {{"a-b", int64(1)}, {"c", []any{"x", int64(2), true, nil, 1.0}}, {"password", NamedSecret("nas")}, {"d", map[string]any{"e": "f"}}},
		"nothing":  {{"limit", nil}, {"since", nil}, {"given", nil}, {"guests", []any{}}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := f.Bind([]any{"pve1"}, named)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(Typed{Type: f.Args, Value: want})
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.DecodeArgs(text, false)
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.AllowUnexported(Secret{})); err != nil || d != "" {
				t.Errorf("%v\n%s\nfrom %s", err, d, text)
			}
		})
	}
}

// What no Bind would let through does not get through as text either.
func TestDecodeArgsChecksAgain(t *testing.T) {
	f := sentFunc()
	for text, want := range map[string]string{
		`{}`:                               "node is missing",
		`{"node":""}`:                      "node",
		`{"node":"../x"}`:                  "node",
		`{"node":"pve1","guest":1}`:        "guest",
		`{"node":"pve1","guests":[0]}`:     "guests",
		`{"node":"pve1","mode":"explode"}`: "mode",
		`{"node":"pve1","volid":{"known_after":"3"}}`:          "only in a plan",
		`{"node":"pve1","given":{"volid":"local:iso/x.iso"}}`:  "size is missing",
		`{"node":"pve1","given":{"sneaked":"in"}}`:             "no field",
		`{"node":"pve1","since":"yesterday"}`:                  "since",
		`{"node":{"known_after":"3"}}`:                         "node",
		`[]`:                                                   "",
		`{"node":"pve1","wait":"-1s"}`:                         "wait",
		`{"node":"pve1","big":-1}`:                             "big",
		`{"node":"pve1","ratio":"half"}`:                       "ratio",
		`{"node":"pve1","limit":1.5}`:                          "limit",
		`{"node":"pve1","volid":"backup:../../../etc/shadow"}`: "volid",
	} {
		if args, err := f.DecodeArgs([]byte(text), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s became %+v, %v; want an error about %q", text, args, err, want)
		}
	}
	if args, err := f.DecodeArgs([]byte(`{"node":"pve1","volid":{"known_after":"3"}}`), true); err != nil || args.(sentArgs).VolID.From != "3" {
		t.Errorf("in a plan: %+v, %v", args, err)
	}
}
