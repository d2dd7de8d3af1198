package pve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"nixmox/builtins/internal/pvetest"
	"nixmox/engine/builtin"
)

// replay sends what was sent to the real host and answers what it answered.
func replay(t *testing.T, c *Client, e pvetest.Recording, out any) error {
	t.Helper()
	ctx := context.Background()
	var sent params
	if e.Request.Params != nil {
		if err := json.Unmarshal(e.Request.Params, &sent); err != nil {
			t.Fatal(err)
		}
	}
	path, rawQuery, _ := strings.Cut(strings.TrimPrefix(e.Request.Path, "/api2/json"), "?")
	switch e.Request.Method {
	case http.MethodGet:
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			t.Fatal(err)
		}
		return c.Get(ctx, path, query, out)
	case http.MethodPost:
		return c.Post(ctx, path, sent, out)
	case http.MethodPut:
		return c.Put(ctx, path, sent, out)
	case http.MethodDelete:
		return c.Delete(ctx, path, sent, out)
	}
	t.Fatalf("%d: method %s", e.N, e.Request.Method)
	return nil
}

// kinds of the recorded errors that their status alone does not tell.
var recordedKinds = map[string]builtin.Kind{
	"error: unknown task":                        builtin.NotFound,
	"error: unknown vm":                          builtin.NotFound,
	"error: unknown storage":                     builtin.NotFound,
	"error: lxc path for vm":                     builtin.NotFound,
	"agent exec-status unknown pid":              builtin.NotFound,
	"restore missing archive":                    builtin.NotFound,
	"config digest mismatch":                     builtin.Conflict,
	"agent exec missing binary":                  builtin.Unreachable, // 596
	"error: unknown node":                        builtin.Unreachable,
	"error: node that does not answer (proxied)": builtin.Unreachable,
}

func TestRecordings(t *testing.T) {
	all := pvetest.Recorded(t)
	var current pvetest.Recording
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.Header.Get("Authorization"), "PVEAPIToken=root@pam!tok="+testSecret; got != want {
			t.Errorf("Authorization: %q", got)
		}
		serve(w, current)
	}))
	counts := map[int]int{}
	for _, current = range all {
		counts[current.Response.Status]++
		var got json.RawMessage
		err := replay(t, c, current, &got)
		if current.Response.Status == 200 {
			var want struct{ Data any }
			var have any
			_ = json.Unmarshal(current.Response.Body, &want)
			_ = json.Unmarshal(got, &have)
			if err != nil || !reflect.DeepEqual(want.Data, have) {
				t.Errorf("%d %s: %v\n got %s\nwant %s", current.N, current.Label, err, got, current.Response.Body)
			}
			typed(t, c, current)
			continue
		}
		checkRefusal(t, current, err)
	}
	if counts[200] != 226 || len(all) != 273 {
		t.Errorf("want 273 recordings, 226 of them good: %v", counts)
	}
}

func checkRefusal(t *testing.T, e pvetest.Recording, err error) {
	t.Helper()
	want := map[int]builtin.Kind{400: builtin.Invalid, 401: builtin.Forbidden, 403: builtin.Forbidden, 500: builtin.Failed, 501: builtin.Failed}[e.Response.Status]
	if kind, ok := recordedKinds[e.Label]; ok {
		want = kind
	}
	f := builtin.AsFault(err)
	if f == nil || f.Kind != want {
		t.Errorf("%d %s: want %s, got %v (%+v)", e.N, e.Label, want, err, f)
		return
	}
	api, ok := errors.AsType[*APIError](err)
	if !ok || api.Status != e.Response.Status || api.Method != e.Request.Method {
		t.Errorf("%d %s: %+v", e.N, e.Label, api)
		return
	}
	if !strings.Contains(f.Said, strings.TrimSpace(e.Response.Reason)) {
		t.Errorf("%d %s: %q is not in %q", e.N, e.Label, e.Response.Reason, f.Said)
	}
	var body struct{ Errors map[string]string }
	_ = json.Unmarshal(e.Response.Body, &body)
	for field := range body.Errors {
		if api.Fields[field] == "" || !strings.Contains(f.Said, field+": ") {
			t.Errorf("%d %s: nothing of %s in %q", e.N, e.Label, field, f.Said)
		}
	}
	if InDoubt(err) != (e.Response.Status == 596) {
		t.Errorf("%d %s: in doubt: %v", e.N, e.Label, InDoubt(err))
	}
}

// typed decodes an answer as the functions of this package do.
func typed(t *testing.T, c *Client, e pvetest.Recording) {
	t.Helper()
	ctx := context.Background()
	if e.Request.Method == http.MethodPost {
		var text string
		if c.Post(ctx, "/x", nil, &text) == nil && strings.HasPrefix(text, "UPID:") {
			upid, err := ParseUPID(text)
			if err != nil || upid.String() != text || upid.Node != "pve1" || upid.Start.Year() != 2026 {
				t.Errorf("%d: %+v %v", e.N, upid, err)
			}
		}
		return
	}
	if e.Request.Method != http.MethodGet {
		return
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(e.Request.Path, "/api2/json"), "?")
	var err error
	var ok bool
	switch {
	case path == "/version":
		var v Version
		v, err = c.Version(ctx)
		ok = v.Release == "9.2"
	case path == "/nodes":
		var v []Node
		v, err = c.Nodes(ctx)
		ok = len(v) == 1 && v[0].Online() && v[0].CPU > 0 && v[0].MaxMem > 1<<30 && len(v[0].SSLFingerprint) == 95
	case strings.HasPrefix(path, "/cluster/resources"):
		var v []Guest
		v, err = c.Guests(ctx)
		ok = len(v) == 3 && v[0].VMID == 100 && v[0].Name == "web01" && v[2].Type == "lxc" && reflect.DeepEqual(v[1].Tags, []string{"db", "prod"})
	case path == "/storage":
		var v []Storage
		v, err = c.Storages(ctx)
		ok = len(v) == 1 && v[0].Path == "/var/lib/vz" && len(v[0].Content) == 6 && v[0].On("pve1") && !v[0].IsShared()
	case path == "/nodes/pve1/storage":
		var v []StorageStatus
		v, err = c.NodeStorages(ctx, "pve1")
		ok = len(v) == 1 && bool(v[0].Active) && v[0].Total > 1<<30
	case path == "/nodes/pve1/storage/local/content":
		var v []Volume
		v, err = c.Content(ctx, "pve1", "local", ContentFilter{})
		ok = true
		for _, volume := range v {
			ok = ok && volume.CTime.Year() == 2026 && new(builtin.VolID).UnmarshalText([]byte(volume.VolID)) == nil && volume.Verified() == ""
		}
	case strings.HasSuffix(path, "/tasks"):
		var v []TaskInfo
		v, err = c.Tasks(ctx, "pve1", TaskFilter{})
		ok = true
		for _, task := range v {
			ok = ok && (task.Running || task.ExitStatus != "" && !task.End.IsZero())
		}
	case strings.HasSuffix(path, "/status") && strings.Contains(path, "/tasks/"):
		upid, _ := ParseUPID(strings.Split(path, "/")[4])
		var v TaskInfo
		v, err = c.Task(ctx, upid)
		ok = v.Running == !strings.Contains(string(e.Response.Body), `"stopped"`) && v.Running == (v.ExitStatus == "")
	case strings.HasSuffix(path, "/log") && strings.Contains(path, "/tasks/"):
		upid, _ := ParseUPID(strings.Split(path, "/")[4])
		var v []string
		v, err = c.TaskLog(ctx, upid)
		ok = len(v) > 0
	default:
		return
	}
	if limited := strings.HasPrefix(e.Label, "priv: "); err != nil || !ok && !limited {
		t.Errorf("%d %s %s: %v, or not what was recorded: %s", e.N, e.Label, path, err, e.Response.Body)
	}
}
