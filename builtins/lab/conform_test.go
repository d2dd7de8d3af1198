package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pvetest"
)

// conformCase is a request to the lab, and the recorded request it is held
// against.
type conformCase struct {
	method, path string
	params       []string
	label        string // of the recording; "" if there is none of this method
	n            int    // its number, where the label is not enough
	root         bool
}

var conformCases = []conformCase{
	{method: "GET", path: "/version", label: "/version"},
	{method: "GET", path: "/nodes", label: "/nodes"},
	{method: "GET", path: "/cluster/status", label: "/cluster/status"},
	{method: "GET", path: "/cluster/resources", label: "/cluster/resources", root: true},
	{method: "GET", path: "/cluster/resources", params: []string{"type", "vm"}, label: "/cluster/resources?type=vm"},
	{method: "GET", path: "/cluster/resources", params: []string{"type", "node"}},
	{method: "GET", path: "/cluster/resources", params: []string{"type", "storage"}},
	{method: "GET", path: "/cluster/tasks", label: "/cluster/tasks"},
	{method: "GET", path: "/cluster/nextid", label: "/cluster/nextid"},
	{method: "GET", path: "/cluster/backup-info/not-backed-up", label: "/cluster/backup-info/not-backed-up"},
	{method: "GET", path: "/nodes/pve1/version"},
	{method: "GET", path: "/pools", label: "/pools"},
	{method: "GET", path: "/pools", params: []string{"poolid", "production"}},
	{method: "GET", path: "/pools/production"},
	{method: "GET", path: "/storage", label: "/storage"},
	{method: "GET", path: "/storage/local", label: "/storage/local"},
	{method: "GET", path: "/access/permissions", label: "/access/permissions"},
	{method: "POST", path: "/access/ticket", params: []string{"username", "root@pam", "password", "PASSWORD"}, label: "/access/ticket", n: 1},
	{method: "GET", path: "/nodes/pve1/status", label: "/nodes/pve1/status"},
	{method: "GET", path: "/nodes/pve1/time", label: "/nodes/pve1/time"},
	{method: "GET", path: "/nodes/pve1/qemu", label: "/nodes/pve1/qemu"},
	{method: "GET", path: "/nodes/pve1/qemu", params: []string{"full", "1"}, label: "/nodes/pve1/qemu?full=1"},
	{method: "GET", path: "/nodes/pve2/lxc", label: "/nodes/pve1/lxc"},
	{method: "GET", path: "/nodes/pve1/qemu/100/status/current", label: "/nodes/pve1/qemu/101/status/current"},
	{method: "GET", path: "/nodes/pve1/qemu/100/config", label: "/nodes/pve1/qemu/101/config"},
	{method: "GET", path: "/nodes/pve1/qemu/100/snapshot", label: "/nodes/pve1/qemu/101/snapshot", n: 97},
	{method: "GET", path: "/nodes/pve2/lxc/101/status/current", label: "/nodes/pve1/lxc/200/status/current", n: 263},
	{method: "GET", path: "/nodes/pve2/lxc/101/config", label: "/nodes/pve1/lxc/200/config"},
	{method: "GET", path: "/nodes/pve2/lxc/101/snapshot"},
	{method: "POST", path: "/nodes/pve3/qemu/108/status/start", label: "/nodes/pve1/qemu/101/status/start", root: true},
	{method: "POST", path: "/nodes/pve3/qemu/108/status/stop", label: "/nodes/pve1/qemu/101/status/stop"},
	{method: "POST", path: "/nodes/pve2/qemu/103/status/shutdown", params: []string{"timeout", "3"}, label: "/nodes/pve1/qemu/101/status/shutdown"},
	{method: "POST", path: "/nodes/pve2/lxc/105/status/stop"},
	{method: "POST", path: "/nodes/pve2/lxc/105/status/start", label: "/nodes/pve1/lxc/200/status/start"},
	{method: "POST", path: "/nodes/pve2/lxc/105/status/shutdown", label: "/nodes/pve1/lxc/200/status/shutdown"},
	{method: "GET", path: "/nodes/pve1/storage", label: "/nodes/pve1/storage"},
	{method: "GET", path: "/nodes/pve1/storage", params: []string{"content", "backup", "enabled", "1"}, label: "/nodes/pve1/storage?content=backup&enabled=1"},
	{method: "GET", path: "/nodes/pve1/storage/local/status", label: "/nodes/pve1/storage/local/status"},
	{method: "GET", path: "/nodes/pve1/storage/rpool/content", label: "/nodes/pve1/storage/local/content"},
	{method: "GET", path: "/nodes/pve1/storage/backup/content", params: []string{"content", "backup"}, label: "/nodes/pve1/storage/local/content?content=backup"},
	{method: "GET", path: "/nodes/pve1/storage/backup/content/VOL", label: "/nodes/pve1/storage/local/content/local:backup/vzdump-qemu-101-2026_11_23-12_07_11.vma.zst"},
	{method: "PUT", path: "/nodes/pve1/storage/backup/content/VOL", params: []string{"protected", "0", "notes", "a\nb"}, label: "/nodes/pve1/storage/local/content/local:backup/vzdump-qemu-101-2026_11_23-12_07_11.vma.zst"},
	{method: "GET", path: "/nodes/pve1/vzdump/extractconfig", params: []string{"volume", "VOL"}, label: "/nodes/pve1/vzdump/extractconfig?volume=local%3Abackup%2Fvzdump-qemu-101-2026_11_23-12_07_11.vma.zst"},
	{method: "GET", path: "/nodes/pve1/vzdump/defaults", label: "/nodes/pve1/vzdump/defaults"},
	{method: "GET", path: "/nodes/pve1/storage/backup/prunebackups", params: []string{"prune-backups", "keep-last=1", "vmid", "100", "type", "qemu"},
		label: "/nodes/pve1/storage/local/prunebackups?prune-backups=keep-last%3D1&vmid=101&type=qemu"},
	{method: "DELETE", path: "/nodes/pve1/storage/backup/prunebackups", params: []string{"prune-backups", "keep-last=3", "vmid", "100", "type", "qemu"},
		label: "/nodes/pve1/storage/local/prunebackups?prune-backups=keep-last%3D1&vmid=101&type=qemu"},
	{method: "POST", path: "/nodes/pve1/vzdump", params: []string{"vmid", "106", "storage", "backup", "mode", "snapshot", "compress", "zstd"}, label: "/nodes/pve1/vzdump", n: 116},
	{method: "GET", path: "/nodes/pve1/tasks/UPID/status", label: "/nodes/pve1/tasks/UPID:pve1:00000157:00082AD8:6B042C63:vzdump:101:root@pam!tok:/status"},
	{method: "GET", path: "/nodes/pve1/tasks/UPID/log", params: []string{"limit", "5000"}, label: "/nodes/pve1/tasks/UPID:pve1:00000157:00082AD8:6B042C63:vzdump:101:root@pam!tok:/log?limit=5000"},
	{method: "GET", path: "/nodes/pve1/tasks", params: []string{"limit", "3", "start", "1"}, label: "/nodes/pve1/tasks?limit=3&start=1"},
	{method: "GET", path: "/nodes/pve1/tasks", params: []string{"source", "active"}}, // recorded as empty
	{method: "DELETE", path: "/nodes/pve1/tasks/UPID", label: "/nodes/pve1/tasks/UPID:pve1:0000021D:000836CB:6B042C82:vzdump:101:root@pam!tok:", root: true},
	{method: "DELETE", path: "/nodes/pve1/storage/backup/content/VOL", label: "/nodes/pve1/storage/local/content/local:backup/vzdump-qemu-101-2026_11_23-12_07_11.vma.zst"},
	{method: "DELETE", path: "/nodes/pve1/storage/backup/content/VOL", params: []string{"delay", "5"},
		label: "/nodes/pve1/storage/local/content/local:backup/vzdump-qemu-998-2020_01_01-00_00_00.vma.zst?delay=5"},
}

// exceptions are fields that the recording has and the lab has not, or the
// other way round, each with its reason. A key ends at the field, so that what
// is inside it is excepted as well.
var exceptions = map[string]string{
	"blockstat": "QEMU's own counters; nobody decides by them", "proxmox-support": "what QEMU was built with",
	"balloon": "the lab's VMs have none", "ballooninfo": "the lab's VMs have none", "serial": "the recorded VM's console",
	"serial0": "a VM's own devices", "kvm": "the recorded machine had no KVM", "args": "a VM's own options", "vga": "a VM's own devices",
	"cores": "a guest's own options", "sockets": "a guest's own options", "cpu": "a guest's own options, or a number that is 0 and 0.01",
	"bios": "a VM's own options", "numa": "a VM's own options", "tablet": "a VM's own options", "hotplug": "a VM's own options",
	"net0": "a guest's own devices", "onboot": "a guest's own options", "features": "a container's own options", "parent": "the lab's VM has a snapshot",
	"tags": "the recorded container has none", "pool": "the recorded guests are in none", "template": "only templates have it in lists",
	"cap":         "privileges by area; the lab's are coarser",
	"clustername": "the recorded node stood alone, the lab is a cluster", "quorate": "as before", "nodes": "as before", "version": "as before",
	"network": "the lab gives it only in the full list", "notes": "as the archive has them or not", "protected": "as the archive is or not",
	"shared": "the recorded storage is not shared", "prune-backups": "the recorded storage has none",
	"sparse": "of a zfspool", "secureboot": "the lab's nodes boot with EFI", "poolid": "the recorded node had no pools", "comment": "as before",
	"pid": "the recorded list has a stopped container", "path": "a zfspool has none", "vmid": "ISOs have none", "subtype": "of backups only", "used": "of disks only, but for a zfspool's",
	"ctime": "a zfspool does not tell",
}

func TestConformance(t *testing.T) {
	api := pvetest.Schema(t, "9.2.11")
	recorded := pvetest.Recorded(t)
	c := open(t)
	upid := get[string](c.root(), "POST", "/nodes/pve1/vzdump", "vmid", "100", "storage", "backup", "compress", "zstd", "notes-template", "x")
	c.wait(upid)
	seen := map[string]bool{}
	eight := pvetest.Schema(t, "8.4.5")
	maps.Copy(exceptions, clusterExceptions)
	for _, x := range slices.Concat(conformCases, clusterCases, guestConformCases, restoreCases) {
		rt, _ := findRoute(x.method, strings.ReplaceAll(x.path, "VOL", "v"))
		if rt == nil {
			t.Fatalf("%s %s: no route", x.method, x.path)
		}
		seen[rt.method+rt.pattern] = true
		t.Run(x.method+x.path, func(t *testing.T) {
			who := c
			if x.root {
				who = c.root()
			}
			list := c.backups("pve1", "backup", "100")
			replace := strings.NewReplacer("LASTVM", newest(c, "pve1", "106"), "LASTCT", newest(c, "pve2", "101"), "UPID", upid, "VOL", list[len(list)-1].VolID, "PASSWORD", c.end.RootPassword)
			path := replace.Replace(x.path)
			form := map[string][]string{}
			var kv []string
			for i := 0; i < len(x.params); i += 2 {
				v := replace.Replace(x.params[i+1])
				kv = append(kv, x.params[i], v)
				form[x.params[i]] = []string{v}
			}
			if err := api.CheckRequest(x.method, path, form); err != nil {
				t.Fatalf("the test's own request: %v", err)
			}
			a := who.do(x.method, path, kv...)
			if a.Status != 200 || a.Reason != "OK" || a.Closed {
				t.Fatalf("%d %s %s", a.Status, a.Reason, a.Body)
			}
			if err := api.CheckAnswer(x.method, path, a.Data); err != nil {
				t.Error(err)
			}
			if _, _, err := eight.Method(x.method, path); err == nil { // what 8.4 has already fits it, too
				if err := eight.CheckAnswer(x.method, path, a.Data); err != nil && !newSince8(err) {
					t.Error("8.4:", err)
				}
			}
			if x.label != "" {
				compare(t, findRecording(t, recorded, x), a)
			}
		})
	}
	for _, rt := range routes {
		if !seen[rt.method+rt.pattern] {
			t.Errorf("%s %s is not tried", rt.method, rt.pattern)
		}
	}
}

// newSince8: 8.4's schema allows fewer values.
func newSince8(err error) bool {
	return strings.Contains(err.Error(), `"fencing" is none of`) || strings.Contains(err.Error(), `"network" is none of`)
}

func findRecording(t *testing.T, all []pvetest.Recording, x conformCase) pvetest.Recording {
	t.Helper()
	for _, r := range all {
		if r.Request.Method == x.method && r.Request.Path == apiPrefix+x.label && (x.n == 0 || r.N == x.n) && r.Response.Status == 200 {
			return r
		}
	}
	t.Fatalf("no recording of %s %s", x.method, x.label)
	panic("unreachable")
}

// compare holds the names and JSON types of an answer's fields against the
// recording's.
func compare(t *testing.T, r pvetest.Recording, a answer) {
	t.Helper()
	want, got := map[string]string{}, map[string]string{}
	shape(want, "", parsed(t, r.Response.Body))
	shape(got, "", parsed(t, a.Body))
	for _, k := range slices.Sorted(maps.Keys(want)) {
		switch {
		case got[k] == "" && !excepted(k):
			t.Errorf("recorded %s %s, the lab has none", k, want[k])
		case got[k] != "" && got[k] != want[k] && !excepted(k):
			t.Errorf("%s is %s, recorded %s", k, got[k], want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if want[k] == "" && !excepted(k) {
			t.Errorf("the lab has %s %s, which was not recorded", k, got[k])
		}
	}
}

func excepted(key string) bool {
	for _, part := range strings.Split(key, ".") {
		if exceptions[part] != "" {
			return true
		}
	}
	// Permissions are by path and privilege; the lab's token has few.
	return strings.HasPrefix(key, "data./") || strings.Count(key, ".") == 0
}

func parsed(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// shape notes the JSON type of every field, those of all items of a list
// together.
func shape(into map[string]string, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			shape(into, strings.TrimPrefix(at+"."+k, "."), x)
		}
		return
	case []any:
		for _, x := range v {
			shape(into, at, x)
		}
		return
	}
	if v == nil {
		if into[at] == "" {
			into[at] = "null"
		}
		return
	}
	into[at] = fmt.Sprintf("%T", v)
}

// TestConformanceDuringBackup: what is only there while tasks run fits the
// schema, too.
func TestConformanceDuringBackup(t *testing.T) {
	api := pvetest.Schema(t, "9.2.11")
	c := open(t, "vzdump:108=hang", "vzdump:104=hang")
	get[string](c, "POST", "/nodes/pve3/vzdump", "vmid", "104,108", "storage", "backup")
	for _, path := range []string{
		"/cluster/resources", "/cluster/tasks", "/nodes/pve3/tasks?source=active", "/nodes/pve3/tasks?source=all", "/nodes/pve3/qemu?full=1", "/nodes/pve3/lxc",
		"/nodes/pve3/lxc/104/status/current", "/nodes/pve3/lxc/104/config", "/nodes/pve3/qemu/108/status/current", "/nodes/pve1/qemu/9000/config",
		"/nodes/pve1/qemu/102/config", "/nodes/pve3/lxc/107/config", "/nodes/pve2/lxc/9001/status/current", "/nodes/pve3/storage/rpool/content",
	} {
		a := c.do("GET", path)
		if a.Status != 200 {
			t.Errorf("%s: %d %s", path, a.Status, a.Reason)
		}
		if err := api.CheckAnswer("GET", path, a.Data); err != nil {
			t.Error(err)
		}
	}
	if o := get[map[string]any](c, "GET", "/nodes/pve3/lxc/104/status/current"); o["lock"] != "backup" {
		t.Errorf("%v", o)
	}
	active := get[[]map[string]any](c, "GET", "/nodes/pve3/tasks", "source", "active")
	if len(active) != 1 || active[0]["status"] != "RUNNING" || active[0]["user"] != mainToken || active[0]["endtime"] != nil {
		t.Errorf("%v", active)
	}
}
