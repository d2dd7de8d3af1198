package lab

import (
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pvetest"
)

// restoreCases are held against the recordings with conformCases.
var restoreCases = []conformCase{
	{method: "POST", path: "/nodes/pve1/qemu", params: []string{"vmid", "120", "archive", "LASTVM", "storage", "rpool", "unique", "1"}, label: "/nodes/pve1/qemu", n: 183},
	{method: "POST", path: "/nodes/pve2/lxc", params: []string{"vmid", "121", "ostemplate", "LASTCT", "storage", "rpool", "restore", "1"}, label: "/nodes/pve1/lxc", n: 192},
	{method: "POST", path: "/nodes/pve1/qemu/100/agent/fsfreeze-status", label: "/nodes/pve1/qemu/101/agent/fsfreeze-status", n: 88},
}

func newest(c *client, node, vmid string) string {
	list := c.backups(node, "backup", vmid)
	slices.SortFunc(list, func(a, b content) int { return int(a.CTime - b.CTime) })
	return list[len(list)-1].VolID
}

func TestRestoreAVM(t *testing.T) {
	c := open(t)
	volid := newest(c, "pve1", "100")
	status, log := c.wait(get[string](c, "POST", "/nodes/pve1/qemu", "vmid", "120", "archive", volid, "unique", "1"))
	if status != "OK" {
		t.Fatalf("%s\n%s", status, log)
	}
	lines := []string{"restore vma archive: zstd -q -d -c ", "CFG: size: ", "DEV: dev_id=1 size: 34359738368 devname: drive-scsi0", "CTIME: ", "new volume ID is 'rpool:vm-120-disk-0'",
		"map 'drive-scsi0' to '/dev/zvol/rpool/data/vm-120-disk-0' (write zeros = 0)", "progress 1% (read ", "progress 100% (read ", "total bytes read ", "rescan volumes...", "TASK OK"}
	at := 0
	for _, want := range lines {
		i := strings.Index(log[at:], want)
		if i < 0 {
			t.Fatalf("no %q in\n%s", want, log[at:])
		}
		at += i
	}
	was, is := c.guest(100), c.guest(120)
	if is.Node != "pve1" || is.Lock != "" || is.Running || is.Name != "nixos-vm" || is.Config["scsi0"] != "rpool:vm-120-disk-0,iothread=1,size=32G" {
		t.Errorf("%+v", is)
	}
	for _, key := range []string{"net0", "smbios1", "vmgenid"} {
		if was.Config[key] == is.Config[key] || is.Config[key] == nil {
			t.Errorf("%s is %v, as the original has it", key, is.Config[key])
		}
	}
	a := c.do("GET", "/nodes/pve1/qemu/120/config")
	if err := pvetest.Schema(t, "9.2.11").CheckAnswer("GET", "/nodes/pve1/qemu/120/config", a.Data); err != nil {
		t.Error(err)
	}
}

func TestRestoreSaysNo(t *testing.T) {
	c := open(t)
	vm, ct := newest(c, "pve1", "100"), newest(c, "pve2", "101")
	for _, x := range []struct {
		path, reason string
		status       int
		params       []string
	}{
		{"/nodes/pve1/qemu", "unable to restore VM 106 - VM 106 already exists on node 'pve1'", 500, []string{"vmid", "106", "archive", vm}},
		{"/nodes/pve1/qemu", "unable to restore VM 105 - CT 105 already exists on node 'pve2'", 500, []string{"vmid", "105", "archive", vm, "force", "1"}},
		{"/nodes/pve1/qemu", "volume 'backup:backup/vzdump-qemu-1-2020_01_01-00_00_00.vma.zst' does not exist", 500, []string{"vmid", "120", "archive", "backup:backup/vzdump-qemu-1-2020_01_01-00_00_00.vma.zst"}},
		{"/nodes/pve2/lxc", "Parameter verification failed.", 400, []string{"vmid", "121", "ostemplate", ct, "restore", "1"}},
		{"/nodes/pve1/qemu", "Parameter verification failed.", 400, []string{"vmid", "120", "force", "1"}},
		{"/nodes/pve1/qemu", "Parameter verification failed.", 400, []string{"vmid", "120", "archive", vm, "cpulimit", "much"}},
	} {
		who := c
		if x.params[1] == "120" && x.status == 500 {
			who = c.root() // who may see an archive of no guest at all
		}
		if a := who.do("POST", x.path, x.params...); a.Status != x.status || a.Reason != x.reason {
			t.Errorf("%v: %d %s %s", x.params, a.Status, a.Reason, a.Body)
		}
	}
	if a := c.do("POST", "/nodes/pve1/qemu", "vmid", "120", "archive", vm, "net7", "virtio"); a.Status != 200 {
		t.Errorf("net7: %d %s", a.Status, a.Body)
	}
}

// A damaged archive fails the task, and of the new guest nothing stays.
func TestRestoreOfADamagedArchive(t *testing.T) {
	for _, x := range []struct{ node, kind, vmid, from, words string }{{"pve1", "qemu", "100", "archive", "got signal 5"}, {"pve2", "lxc", "101", "ostemplate", "exit code 2"}} {
		c := open(t)
		volid := newest(c, x.node, x.vmid)
		if err := c.lab.Damage(volid, "truncate"); err != nil {
			t.Fatal(err)
		}
		params := []string{"vmid", "120", x.from, volid, "storage", "rpool"}
		if x.kind == "lxc" {
			params = append(params, "restore", "1")
		}
		status, log := c.wait(get[string](c, "POST", "/nodes/"+x.node+"/"+x.kind, params...))
		if !strings.Contains(status, x.words) || !strings.HasPrefix(status, "unable to restore ") {
			t.Errorf("%s: %s\n%s", x.kind, status, log)
		}
		if slices.ContainsFunc(c.lab.Guests(), func(g GuestState) bool { return g.ID == 120 }) {
			t.Errorf("%s: guest 120 is there", x.kind)
		}
	}
}

// As recorded: a bind mount is for root alone to restore, and a container goes
// to local where no storage is named.
func TestRestoreAContainer(t *testing.T) {
	c := open(t)
	if status, _ := c.backup("pve3", "vmid", "107", "storage", "backup"); status != "OK" {
		t.Fatal(status)
	}
	volid := newest(c, "pve3", "107")
	status, _ := c.wait(get[string](c, "POST", "/nodes/pve3/lxc", "vmid", "120", "ostemplate", volid, "restore", "1", "storage", "rpool"))
	if !strings.Contains(status, "restoring 'mp0' to bind mount is only possible for root") {
		t.Errorf("%s", status)
	}
	status, log := c.wait(get[string](c, "POST", "/nodes/pve3/lxc", "vmid", "120", "ostemplate", volid, "restore", "1", "storage", "rpool", "rootfs", "rpool:8", "mp1", "rpool:500,mp=/data"))
	if status != "OK" || !strings.Contains(log, "merging backed-up and given configuration..") {
		t.Fatalf("%s\n%s", status, log)
	}
	g := c.guest(120)
	if g.Config["rootfs"] != "rpool:subvol-120-disk-1,size=8G" || g.Config["mp1"] != "rpool:subvol-120-disk-0,size=500G,mp=/data" || g.Config["mp0"] != nil {
		t.Errorf("%v", g.Config)
	}
}

func TestFreezeFaults(t *testing.T) {
	for fault, want := range map[string]string{
		"agent:100=down":   "INFO: skipping guest filesystem freeze - agent configured but not running?",
		"agent:100=late*1": "INFO: skipping guest filesystem freeze - agent configured but not running?",
		"agent:100=freeze": "ERROR: VM 100 qga command 'guest-fsfreeze-freeze' failed - unable to freeze",
		"agent:100=thaw":   "ERROR: VM 100 qga command 'guest-fsfreeze-thaw' failed - got timeout",
	} {
		c := open(t, fault)
		status, log := c.backup("pve1", "vmid", "100", "storage", "backup")
		if status != "OK" || !strings.Contains(log, want) {
			t.Errorf("%s: %s\n%s", fault, status, log)
		}
		a := c.do("POST", "/nodes/pve1/qemu/100/agent/fsfreeze-status")
		switch {
		case strings.HasSuffix(fault, "down"):
			if a.Status != 500 || a.Reason != "QEMU guest agent is not running" {
				t.Errorf("%s: %d %s", fault, a.Status, a.Reason)
			}
		case strings.Contains(string(a.Body), `"frozen"`) != strings.HasSuffix(fault, "thaw"):
			t.Errorf("%s: %s", fault, a.Body)
		}
	}
}

// What a backup server, a share and a thin pool answer fits the schemas, and
// the share says no where it is not mounted.
func TestOtherStorages(t *testing.T) {
	c := open(t, "storage:nas=offline")
	for _, s := range []NewStorage{
		{Name: "pbs1", Type: "pbs", Content: []string{"backup"}, Total: 1 << 40},
		{Name: "nas", Type: "nfs", Content: []string{"backup", "iso"}, Total: 1 << 40},
		{Name: "smb", Type: "cifs", Content: []string{"backup"}, Total: 1 << 40},
		{Name: "thin", Type: "lvmthin", Content: []string{"images", "rootdir"}, Total: 1 << 40},
	} {
		if err := c.lab.AddStorage(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.lab.AddStorage(NewStorage{Name: "thin", Type: "lvmthin"}); err == nil {
		t.Error("two storages of one name")
	}
	for _, store := range []string{"pbs1", "smb"} {
		if status, log := c.backup("pve1", "vmid", "100,109", "storage", store, "notes-template", "a\\nb"); status != "OK" || strings.Contains(log, "archive file size") == (store == "pbs1") {
			t.Errorf("%s: %s\n%s", store, status, log)
		}
	}
	if status, _ := c.backup("pve1", "vmid", "100", "storage", "nas"); !strings.Contains(status, "storage 'nas' is not online") {
		t.Error(status)
	}
	if status, _ := c.backup("pve1", "vmid", "100", "storage", "thin"); !strings.Contains(status, "wrong content type") {
		t.Error(status)
	}
	list := get[[]content](c, "GET", "/nodes/pve1/storage/pbs1/content")
	if len(list) != 2 || list[0].Format != "pbs-ct" || list[0].Notes != "a" || list[1].VMID != 100 || !strings.HasPrefix(list[1].VolID, "pbs1:backup/vm/100/2") {
		t.Fatalf("%+v", list)
	}
	if err := c.lab.ServerVerified(list[1].VolID, "ok"); err != nil {
		t.Fatal(err)
	}
	status, log := c.wait(get[string](c, "POST", "/nodes/pve3/qemu", "vmid", "120", "archive", list[1].VolID, "storage", "thin"))
	if status != "OK" || c.guest(120).Config["scsi0"] != "thin:vm-120-disk-0,iothread=1,size=32G" {
		t.Errorf("%s\n%s", status, log)
	}
	for _, version := range []string{"9.2.11", "8.4.5"} {
		api := pvetest.Schema(t, version)
		for _, path := range []string{
			"/storage", "/storage/pbs1", "/storage/nas", "/storage/thin", "/nodes/pve1/storage", "/nodes/pve1/storage/nas/status", "/nodes/pve1/storage/pbs1/content",
			"/nodes/pve1/storage/pbs1/content/" + list[1].VolID, "/nodes/pve3/storage/thin/content",
			"/nodes/pve1/storage/pbs1/prunebackups?prune-backups=keep-last%3D1", "/nodes/pve1/vzdump/extractconfig?volume=" + strings.ReplaceAll(list[1].VolID, ":", "%3A"),
		} {
			a := c.do("GET", path)
			if a.Status != 200 {
				t.Errorf("%s: %d %s", path, a.Status, a.Reason)
			} else if err := api.CheckAnswer("GET", path, a.Data); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
	}
	if status, _ := c.wait(get[string](c, "DELETE", "/nodes/pve1/storage/pbs1/content/"+list[0].VolID)); status != "OK" {
		t.Error(status)
	}
	if left := get[[]content](c, "GET", "/nodes/pve1/storage/pbs1/content"); len(left) != 1 {
		t.Errorf("%+v", left)
	}
}
