package lab

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/internal/pvetest"
)

// TestErrorsAsRecorded makes the mistakes that were made while recording, and
// wants the same answers: status, words, errors, and the connection closed.
func TestErrorsAsRecorded(t *testing.T) {
	recorded := pvetest.Recorded(t)
	c := open(t, "vzdump:108=deny")
	root := c.root()
	none := *c
	none.auth = ""
	bad := *c
	bad.auth = "PVEAPIToken=" + c.end.TokenID + "=nope"
	// words turns the recorded words into the lab's.
	words := strings.NewReplacer("nodes/pve1/lxc/101.conf", "nodes/pve2/lxc/100.conf")
	for _, x := range []struct {
		label  string
		who    *client
		method string
		path   string
		params []string
	}{
		{"ticket bad password", &none, "POST", "/access/ticket", []string{"username", "root@pam", "password", "nope"}},
		{"ticket missing parameter", &none, "POST", "/access/ticket", []string{"username", "root@pam"}},
		{"ticket unknown realm", &none, "POST", "/access/ticket", []string{"username", "x@nope", "password", "y"}},
		{"no auth", &none, "GET", "/nodes", nil},
		{"bad token", &bad, "GET", "/nodes", nil},
		{"error: unknown path", c, "GET", "/nosuch", nil},
		{"error: method not there", c, "POST", "/version", nil},
		{"error: unknown node", c, "GET", "/nodes/nope/qemu", nil},
		{"error: unknown vm", c, "GET", "/nodes/pve1/qemu/999/status/current", nil},
		{"error: vmid not a number", c, "GET", "/nodes/pve1/qemu/abc/config", nil},
		{"error: bad enum + unknown property", c, "POST", "/nodes/pve1/vzdump", []string{"vmid", "101", "mode", "foo", "bogus", "1"}},
		{"error: missing vmid", c, "POST", "/nodes/pve1/vzdump", []string{"compress", "zstd"}},
		{"error: unknown storage", c, "GET", "/nodes/pve1/storage/nostore/content", nil},
		{"error: unknown task", c, "GET", "/nodes/pve1/tasks/UPID:pve1:000000FF:00000000:5F000000:vzdump:1:root@pam:/status", nil},
		{"error: garbage task", c, "GET", "/nodes/pve1/tasks/garbage/status", nil},
		{"error: bad prune", c, "GET", "/nodes/pve1/storage/local/prunebackups", []string{"prune-backups", "keep-foo=1"}},
		{"error: prune w/o config", c, "GET", "/nodes/pve1/storage/local/prunebackups", nil},
		{"error: lxc path for vm", c, "GET", "/nodes/pve2/lxc/100/config", nil},
		{"error: content of unknown volume", c, "GET", "/nodes/pve1/storage/local/content/local:backup/vzdump-qemu-1-2020_01_01-00_00_00.vma.zst", nil},
		{"vzdump notes-template bad", root, "POST", "/nodes/pve1/vzdump", []string{"vmid", "100", "storage", "local", "notes-template", "{{bad}}"}},
		{"priv: vzdump tmpdir", c, "POST", "/nodes/pve1/vzdump", []string{"vmid", "100", "storage", "local", "tmpdir", "/tmp"}},
		{"priv: vzdump bwlimit", c, "POST", "/nodes/pve1/vzdump", []string{"vmid", "100", "storage", "local", "bwlimit", "1000"}},
	} {
		t.Run(x.label, func(t *testing.T) {
			want := pvetest.Find(t, recorded, x.label)
			var body struct{ Errors map[string]string }
			if want.Response.Body != nil {
				if err := json.Unmarshal(want.Response.Body, &body); err != nil {
					t.Fatal(err)
				}
			}
			got := x.who.do(x.method, x.path, x.params...)
			if got.Status != want.Response.Status || got.Reason != words.Replace(want.Response.Reason) {
				t.Errorf("%d %q, recorded %d %q", got.Status, got.Reason, want.Response.Status, want.Response.Reason)
			}
			if !got.Closed {
				t.Error("the connection is kept")
			}
			if len(got.Errors) != len(body.Errors) {
				t.Errorf("errors %v, recorded %v", got.Errors, body.Errors)
			}
			for k, v := range body.Errors {
				if got.Errors[k] != v {
					t.Errorf("%s: %q, recorded %q", k, got.Errors[k], v)
				}
			}
			if (len(got.Body) == 0) != (string(want.Response.Body) == "null" || want.Response.Body == nil) {
				t.Errorf("body %s, recorded %s", got.Body, want.Response.Body)
			}
			if len(got.Body) > 0 {
				compareMessage(t, want, got, words)
			}
		})
	}
}

func compareMessage(t *testing.T, want pvetest.Recording, got answer, words *strings.Replacer) {
	t.Helper()
	var w, g struct{ Message string }
	json.Unmarshal(want.Response.Body, &w)
	json.Unmarshal(got.Body, &g)
	if words.Replace(w.Message) != g.Message {
		t.Errorf("message %q, recorded %q", g.Message, w.Message)
	}
}

// TestTaskEndsAsRecorded starts what Proxmox took and failed in the task.
func TestTaskEndsAsRecorded(t *testing.T) {
	recorded := pvetest.Recorded(t)
	c := open(t, "vzdump:108=deny")
	list := c.backups("pve1", "backup", "106") // its oldest is protected
	for _, x := range []struct {
		label, method, path string
		params              []string
		words               *strings.Replacer
	}{
		{"vzdump unknown storage", "POST", "/nodes/pve1/vzdump", []string{"vmid", "100", "storage", "nostore"}, strings.NewReplacer()},
		{"vzdump several, one missing", "POST", "/nodes/pve1/vzdump", []string{"vmid", "109,999", "storage", "backup"}, strings.NewReplacer()},
		{"priv: vzdump other vm", "POST", "/nodes/pve3/vzdump", []string{"vmid", "108", "storage", "backup"}, strings.NewReplacer("200", "108")},
		{"delete protected", "DELETE", "/nodes/pve1/storage/backup/content/" + list[0].VolID, nil,
			strings.NewReplacer("backup/vzdump-qemu-101-2026_11_23-12_07_11.vma.zst", strings.TrimPrefix(list[0].VolID, "backup:"), "'local'", "'backup'")},
		{"delete missing", "DELETE", "/nodes/pve1/storage/local/content/local:backup/vzdump-qemu-999-2020_01_01-00_00_00.vma.zst", nil, strings.NewReplacer()},
		{"start again", "POST", "/nodes/pve1/qemu/100/status/start", nil, strings.NewReplacer("101", "100")},
	} {
		t.Run(x.label, func(t *testing.T) {
			var want struct {
				Data struct{ ExitStatus, Type, ID string }
			}
			json.Unmarshal(pvetest.Find(t, recorded, x.label+" / status").Response.Body, &want)
			upid := get[string](c, x.method, x.path, x.params...)
			got, log := c.wait(upid)
			if w := x.words.Replace(want.Data.ExitStatus); got != w {
				t.Errorf("%q, recorded %q\n%s", got, w, log)
			}
			if strings.Split(upid, ":")[5] != want.Data.Type {
				t.Errorf("%s, recorded type %s", upid, want.Data.Type)
			}
		})
	}
}

// TestLogAsRecorded compares the whole log of a backup with the recorded one,
// numbers and ids aside.
func TestLogAsRecorded(t *testing.T) {
	recorded := pvetest.Recorded(t)
	c := open(t)
	for label, vmid := range map[string]string{"vzdump snapshot": "106"} {
		var want struct{ Data []struct{ T string } }
		json.Unmarshal(pvetest.Find(t, recorded, label+" / log").Response.Body, &want)
		_, log := c.backup("pve1", "vmid", vmid, "storage", "backup", "mode", "snapshot", "compress", "zstd", "protected", "1", "notes-template", "x")
		var got []string
		for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
			if !strings.Contains(line, "% (") {
				got = append(got, line)
			}
		}
		var lines []string
		for _, l := range want.Data {
			if !strings.Contains(l.T, "% (") {
				lines = append(lines, l.T)
			}
		}
		if len(got) != len(lines) {
			t.Fatalf("%d lines, recorded %d:\n%s\n%s", len(got), len(lines), log, strings.Join(lines, "\n"))
		}
		for i := range got {
			// The words up to the first number or quoted name must agree.
			w := lines[i][:strings.IndexFunc(lines[i]+"0", func(r rune) bool { return r >= '0' && r <= '9' || r == '\'' })]
			if i != 4 && !strings.HasPrefix(got[i], w) {
				t.Errorf("line %d: %q, recorded %q", i+1, got[i], lines[i])
			}
		}
	}
}

func TestServer(t *testing.T) {
	c := open(t)
	if c.lab.server.IdleTimeout != 5*time.Second {
		t.Error("pveproxy cuts an idle connection after 5 s")
	}
	// Outside /api2/json there is nothing.
	req, _ := http.NewRequest(http.MethodGet, c.end.URL+"/index.html", nil)
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusInternalServerError {
		t.Errorf("%s", res.Status)
	}
	if a := c.do("POST", "/nodes/pve1/vzdump", "mailto", strings.Repeat("x", maxPost)); a.Status != 501 {
		t.Errorf("a body too large: %d %s", a.Status, a.Reason)
	}
	if a := postJSON(c, "/nodes/pve1/vzdump", map[string]any{"vmid": 100, "storage": "backup", "protected": true, "remove": false}); a.Status != 200 {
		t.Errorf("JSON: %d %s %s", a.Status, a.Reason, a.Body)
	}
}

// TestTraversal shows that no name leads out of a storage.
func TestTraversal(t *testing.T) {
	c := open(t)
	for _, x := range []struct{ method, path string }{
		{"GET", "/nodes/pve1/storage/../content"},
		{"GET", "/nodes/pve1/storage/..%2f..%2fetc/content"},
		{"GET", "/nodes/../storage"},
		{"GET", "/nodes/pve1/storage/backup/content/backup:../../state.json"},
		{"GET", "/nodes/pve1/storage/backup/content/backup:backup/../../../../state.json"},
		{"GET", "/nodes/pve1/storage/backup/content/backup:backup/..%2f..%2fx.vma.zst"},
		{"DELETE", "/nodes/pve1/storage/backup/content/backup:backup/../../../../secrets.json"},
		{"DELETE", "/nodes/pve1/storage/backup/content/backup:iso/../../x.iso"},
		{"DELETE", "/nodes/pve1/storage/backup/content/small:backup/x.vma.zst"},
		{"PUT", "/nodes/pve1/storage/backup/content/backup:backup/../x.tar"},
		{"GET", "/nodes/pve1/vzdump/extractconfig?volume=..:backup/x.tar"},
		{"GET", "/nodes/pve1/vzdump/extractconfig?volume=backup:backup/../../../secrets.json"},
		{"GET", "/nodes/pve1/vzdump/extractconfig?volume=backup:backup/../x.tar"},
	} {
		req, err := http.NewRequest(x.method, c.end.URL+apiPrefix+x.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.send(req)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == 200 || strings.Contains(string(a.Body), c.end.TokenSecret) {
			t.Errorf("%s %s: %d %s", x.method, x.path, a.Status, a.Body)
		}
	}
	a := c.do("POST", "/nodes/pve1/vzdump", "vmid", "100", "storage", "../backup")
	if a.Status != 400 || a.Errors["storage"] == "" {
		t.Errorf("vzdump: %d %s", a.Status, a.Body)
	}
}
