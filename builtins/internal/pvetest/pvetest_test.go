package pvetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestRecordings holds the checks against what a real Proxmox VE took and
// answered: where it said yes, they must.
func TestRecordings(t *testing.T) {
	api := Schema(t, "9.2.11")
	recorded := Recorded(t)
	if len(recorded) != 273 {
		t.Errorf("%d recordings, not 273", len(recorded))
	}
	for _, r := range recorded {
		if r.Response.Status != 200 || strings.HasPrefix(r.Request.Path, "/api2/extjs") {
			continue
		}
		params := textParams(t, r.Request.Params)
		if err := api.CheckRequest(r.Request.Method, r.Request.Path, params); err != nil {
			t.Errorf("%d %s: %v", r.N, r.Label, err)
		}
		var body struct{ Data json.RawMessage }
		if err := json.Unmarshal(r.Response.Body, &body); err != nil {
			t.Errorf("%d %s: %v", r.N, r.Label, err)
			continue
		}
		if err := api.CheckAnswer(r.Request.Method, r.Request.Path, body.Data); err != nil {
			t.Errorf("%d %s: %v", r.N, r.Label, err)
		}
	}
}

// textParams turns recorded parameters, an object or a list of pairs, into
// text.
func textParams(t *testing.T, raw json.RawMessage) map[string][]string {
	out := map[string][]string{}
	v, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	add := func(k string, v any) {
		if list, ok := v.([]any); ok {
			for _, v := range list {
				out[k] = append(out[k], fmt.Sprint(v))
			}
			return
		}
		out[k] = append(out[k], fmt.Sprint(v))
	}
	switch v := v.(type) {
	case map[string]any:
		for k, v := range v {
			add(k, v)
		}
	case []any:
		for _, pair := range v {
			p := pair.([]any)
			add(p[0].(string), p[1])
		}
	}
	return out
}

func TestCheckRequest(t *testing.T) {
	api := Schema(t, "9.2.11")
	for _, c := range []struct {
		name, method, path string
		params             map[string][]string
		wrong              string // a part of the complaint; "" for none
	}{
		{"good", "POST", "/nodes/pve1/vzdump", map[string][]string{"vmid": {"100"}, "storage": {"local"}, "protected": {"1"}}, ""},
		{"query", "GET", "/api2/json/nodes/pve1/tasks?limit=3&source=active", nil, ""},
		{"volume with a slash", "GET", "/nodes/pve1/storage/local/content/local:backup/x.vma.zst", nil, ""},
		{"fixed part before variable", "GET", "/nodes/pve1/vzdump/defaults", nil, ""},
		{"indexed", "PUT", "/nodes/pve1/qemu/100/config", map[string][]string{"net0": {"virtio"}}, ""},
		{"no such path", "GET", "/nosuch", nil, "no such path"},
		{"no such method", "DELETE", "/version", nil, "not the method"},
		{"unknown", "GET", "/version", map[string][]string{"x": {"1"}}, "does not know"},
		{"missing", "GET", "/nodes/pve1/vzdump/extractconfig", nil, "missing and not optional"},
		{"enum", "POST", "/nodes/pve1/vzdump", map[string][]string{"mode": {"foo"}}, "is none of"},
		{"type", "GET", "/nodes/pve1/tasks?limit=x", nil, "not an integer"},
		{"minimum", "DELETE", "/nodes/pve1/storage/s1/content/x?delay=0", nil, "below"},
		{"maximum", "DELETE", "/nodes/pve1/storage/s1/content/x?delay=31", nil, "above"},
		{"boolean", "POST", "/nodes/pve1/vzdump", map[string][]string{"all": {"maybe"}}, "not a boolean"},
		{"requires", "POST", "/nodes/pve1/vzdump", map[string][]string{"vmid": {"100"}, "protected": {"1"}}, "requires"},
		{"pattern", "POST", "/nodes/pve1/vzdump", map[string][]string{"job-id": {"a b"}}, "does not match"},
		{"length", "POST", "/nodes/pve1/vzdump", map[string][]string{"job-id": {strings.Repeat("x", 51)}}, "longer"},
		{"twice", "POST", "/nodes/pve1/vzdump", map[string][]string{"mode": {"stop", "stop"}}, "2 times"},
		{"vmid", "GET", "/nodes/pve1/qemu/5/config", nil, "below"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := api.CheckRequest(c.method, c.path, c.params)
			expect(t, err, c.wrong)
		})
	}
}

func TestCheckAnswer(t *testing.T) {
	api := Schema(t, "9.2.11")
	for _, c := range []struct{ name, path, data, wrong string }{
		{"good", "/version", `{"version":"9.2.11","release":"9.2","repoid":"14a22df35955d97d"}`, ""},
		{"missing", "/version", `{"version":"9.2.11","release":"9.2"}`, "missing"},
		{"pattern", "/version", `{"version":"9.2.11","release":"9.2","repoid":"x"}`, "does not match"},
		{"not an object", "/version", `[]`, "an array, not object"},
		{"item", "/nodes", `[{"node":"pve1","status":"dead"}]`, "data[0].status"},
		{"closed", "/nodes/pve1/time", `{"time":1795435607,"localtime":1795435607,"timezone":"UTC","x":1}`, "does not know"},
		{"minimum", "/nodes/pve1/time", `{"time":1,"localtime":1795435607,"timezone":"UTC"}`, "below"},
		{"number as text", "/cluster/nextid", `"102"`, ""},
		{"text", "/cluster/nextid", `"x"`, "not an integer"},
		{"null", "/cluster/nextid", `null`, "null"},
		{"no JSON", "/version", `{`, "no JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, api.CheckAnswer("GET", c.path, []byte(c.data)), c.wrong)
		})
	}
}

func expect(t *testing.T, err error, wrong string) {
	t.Helper()
	switch {
	case wrong == "" && err != nil:
		t.Errorf("refused: %v", err)
	case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
		t.Errorf("said %v, want something with %q", err, wrong)
	}
}

// TestSchemas counts, so that a schema that is not read to its end is seen.
func TestSchemas(t *testing.T) {
	for version, want := range map[string]int{"9.2.11": 661, "8.4.5": 0} {
		if n := len(Schema(t, version).Methods()); n == 0 || want > 0 && n != want {
			t.Errorf("%s has %d methods, want %d", version, n, want)
		}
	}
}
