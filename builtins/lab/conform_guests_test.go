package lab

import (
	"strings"
	"testing"

	"nixmox/builtins/internal/pvetest"
)

// guestConformCases are those of what changes guests, in an order in which each can be done.
var guestConformCases = []conformCase{
	{method: "GET", path: "/nodes/pve1/qemu/106/pending", label: "/nodes/pve1/qemu/101/pending"},
	{method: "GET", path: "/nodes/pve1/lxc/111/pending"},
	{method: "GET", path: "/nodes/pve1/qemu/106/feature", params: []string{"feature", "snapshot"}, label: "/nodes/pve1/qemu/101/feature?feature=snapshot"},
	{method: "GET", path: "/nodes/pve1/lxc/111/feature", params: []string{"feature", "snapshot"}, label: "/nodes/pve1/lxc/200/feature?feature=snapshot"},
	{method: "POST", path: "/nodes/pve3/qemu/110/status/suspend"},
	{method: "POST", path: "/nodes/pve3/qemu/110/status/resume"},
	{method: "POST", path: "/nodes/pve3/qemu/110/status/reboot", params: []string{"timeout", "60"}},
	{method: "POST", path: "/nodes/pve1/lxc/111/status/reboot"},
	{method: "PUT", path: "/nodes/pve1/qemu/106/config", params: []string{"description", "x", "net1", "virtio,bridge=vmbr0", "delete", "tags"}, label: "/nodes/pve1/qemu/101/config"},
	{method: "PUT", path: "/nodes/pve1/lxc/111/config", params: []string{"cpulimit", "1.5", "memory", "1024"}},
	{method: "GET", path: "/nodes/pve1/qemu/106/migrate", params: []string{"target", "pve2"}},
	{method: "POST", path: "/nodes/pve1/qemu/106/migrate", params: []string{"target", "pve2", "online", "1", "with-local-disks", "1"}},
	{method: "POST", path: "/nodes/pve1/lxc/111/migrate", params: []string{"target", "pve2", "restart", "1"}},
	{method: "POST", path: "/nodes/pve1/qemu/9000/clone", params: []string{"newid", "300", "name", "web3"}},
	{method: "POST", path: "/nodes/pve2/lxc/9001/clone", params: []string{"newid", "301", "hostname", "ct3"}},
	{method: "PUT", path: "/nodes/pve3/qemu/110/resize", params: []string{"disk", "scsi0", "size", "+1G"}},
	{method: "PUT", path: "/nodes/pve1/lxc/109/resize", params: []string{"disk", "rootfs", "size", "32G"}},
	{method: "POST", path: "/nodes/pve3/qemu/110/snapshot", params: []string{"snapname", "pre", "description", "before run"}, label: "/nodes/pve1/qemu/101/snapshot"},
	{method: "POST", path: "/nodes/pve1/lxc/109/snapshot", params: []string{"snapname", "s1"}, label: "/nodes/pve1/lxc/200/snapshot"},
	{method: "POST", path: "/nodes/pve3/qemu/110/snapshot/pre/rollback", params: []string{"start", "1"}, label: "/nodes/pve1/qemu/101/snapshot/pre/rollback"},
	{method: "POST", path: "/nodes/pve1/lxc/109/snapshot/s1/rollback"},
	{method: "DELETE", path: "/nodes/pve3/qemu/110/snapshot/pre", label: "/nodes/pve1/qemu/101/snapshot/pre"},
	{method: "DELETE", path: "/nodes/pve1/lxc/109/snapshot/s1"},
	{method: "DELETE", path: "/nodes/pve1/qemu/9000", params: []string{"purge", "1", "destroy-unreferenced-disks", "1"}, label: "/nodes/pve1/qemu/103?purge=1&destroy-unreferenced-disks=1"},
	{method: "DELETE", path: "/nodes/pve2/lxc/9001", params: []string{"purge", "1"}, label: "/nodes/pve1/lxc/204?purge=1"},
}

// The refusals, and the ends of tasks, that were recorded: the same words here.
func TestGuestRefusalsAsRecorded(t *testing.T) {
	recorded := pvetest.Recorded(t)
	c := open(t)
	snapshot := func(path string, kv ...string) (string, string) {
		return c.wait(get[string](c, "POST", path, kv...))
	}
	snapshot("/nodes/pve2/qemu/103/snapshot", "snapname", "pre")
	for _, x := range []struct {
		method, path string
		kv           []string
		label        string
		n            int
	}{
		{"POST", "/nodes/pve2/qemu/103/snapshot", []string{"snapname", "1bad"}, "/nodes/pve1/qemu/101/snapshot", 66},
		{"DELETE", "/nodes/pve2/qemu/103", nil, "/nodes/pve1/qemu/101", 201},
		{"PUT", "/nodes/pve2/qemu/103/config", []string{"description", "x", "digest", strings.Repeat("0", 40)}, "/nodes/pve1/qemu/101/config", 257},
	} {
		a := c.do(x.method, x.path, x.kv...)
		for _, r := range recorded {
			if r.N != x.n {
				continue
			}
			want := strings.NewReplacer("VM 101", "VM 103").Replace(r.Response.Reason)
			if a.Status != r.Response.Status || a.Reason != want {
				t.Errorf("%s %s: %d %s, recorded %d %s", x.method, x.path, a.Status, a.Reason, r.Response.Status, want)
			}
		}
	}
	for _, x := range []struct {
		method, path string
		kv           []string
		end          string
	}{
		{"POST", "/nodes/pve2/qemu/103/snapshot", []string{"snapname", "pre"}, "snapshot name 'pre' already used"},
		{"POST", "/nodes/pve2/qemu/103/snapshot/none/rollback", nil, "snapshot 'none' does not exist"},
		{"DELETE", "/nodes/pve2/qemu/103/snapshot/none", nil, "snapshot 'none' does not exist"},
		{"POST", "/nodes/pve3/lxc/107/snapshot", []string{"snapname", "s1"}, "snapshot feature is not available"},
	} {
		end, log := c.wait(get[string](c, x.method, x.path, x.kv...))
		if end != x.end || log != "TASK ERROR: "+x.end+"\n" {
			t.Errorf("%s %s: %s\n%s", x.method, x.path, end, log)
		}
	}
	if end, log := snapshot("/nodes/pve2/qemu/103/snapshot", "snapname", "post"); end != "OK" || log != "snapshotting 'drive-scsi0' (rpool:vm-103-disk-0)\nTASK OK\n" {
		t.Errorf("%s %s", end, log)
	}
	if end, log := snapshot("/nodes/pve2/qemu/103/snapshot/pre/rollback"); end != "can't rollback, 'pre' is not most recent snapshot on 'rpool:vm-103-disk-0'" {
		t.Errorf("%s %s", end, log)
	}
}

// While a task goes on the guest is locked, and others are told.
func TestGuestLockedByTask(t *testing.T) {
	c := open(t)
	upid := get[string](c, "POST", "/nodes/pve2/qemu/103/snapshot", "snapname", "pre")
	c.status(upid) // time goes on: the guest is locked
	if lock := get[map[string]any](c, "GET", "/nodes/pve2/qemu/103/config")["lock"]; lock != "snapshot" {
		t.Errorf("lock %v", lock)
	}
	c.wait(upid)
	hang := open(t, "task:qmsnapshot=hang")
	hang.status(get[string](hang, "POST", "/nodes/pve2/qemu/103/snapshot", "snapname", "pre"))
	a := hang.do("PUT", "/nodes/pve2/qemu/103/config", "memory", "512")
	if a.Status != 500 || a.Reason != "VM is locked (snapshot)" {
		t.Errorf("%d %s", a.Status, a.Reason)
	}
	if end, _ := hang.wait(get[string](hang, "POST", "/nodes/pve2/qemu/103/status/stop")); end != "VM is locked (snapshot)" {
		t.Errorf("%s", end)
	}
}
