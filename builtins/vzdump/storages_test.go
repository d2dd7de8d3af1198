package vzdump

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

func TestSpaceIsEstimatedFirst(t *testing.T) {
	u := newUser(t)
	total := int64(4096) << 30
	leave := func(free int64) {
		t.Helper()
		status, err := u.v.c.NodeStorages(context.Background(), "pve2")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(status, func(s pve.StorageStatus) bool { return s.Storage == "backup" })
		used := int64(0)
		if err := u.lab.SetStorage("backup", nil, &used); err != nil {
			t.Fatal(err)
		}
		if status, err = u.v.c.NodeStorages(context.Background(), "pve2"); err != nil {
			t.Fatal(err)
		}
		used = total - int64(status[i].Used) - free
		if err := u.lab.SetStorage("backup", nil, &used); err != nil {
			t.Fatal(err)
		}
	}
	all := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(101)})
	size := all[len(all)-1].Size
	one := args{"node": "pve2", "guests": ids(101), "storage": "backup"}

	leave(size - 1)
	_, err := call[BackupResult](u, "backup", one)
	fault(t, err, builtin.Conflict, "too little room, nothing was begun", "check_space = False")
	u.run.Planned = &builtin.Overlay{}
	if _, err := call[BackupResult](u, "backup", one); err == nil {
		t.Error("the plan goes ahead")
	}
	u.run.Planned = nil
	if n := u.count("POST", "/vzdump"); n != 0 {
		t.Errorf("%d tasks", n)
	}
	got := must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup", "check_space": false})
	if got.Expected != size || !strings.Contains(strings.Join(got.Warnings.Value, "\n"), "the newest archives of these guests there take") {
		t.Errorf("%+v", got)
	}

	leave(3 << 30) // a container without an archive has 2.7 GiB in use
	got = must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(107), "storage": "backup"})
	if w := strings.Join(got.Warnings.Value, "\n"); got.Expected != 8<<30/3 || strings.Contains(w, "may take up to") {
		t.Errorf("%d, %s", got.Expected, w)
	}
	var logged []string
	u.run.Log = func(_ builtin.Call, level, text string) { logged = append(logged, level+" "+text) }
	u.run.Planned = &builtin.Overlay{}
	planned := must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(110), "storage": "backup"})
	if planned.Expected != 20<<30 || !slices.ContainsFunc(logged, func(s string) bool {
		return strings.HasPrefix(s, "warning pve3: ") && strings.Contains(s, "guest 110, without an archive there, may take up to 20.00GB")
	}) {
		t.Errorf("%d, %q", planned.Expected, logged)
	}
}

// Where archives are kept: shares that are not mounted are refused, pools and
// groups of volumes cannot keep any, and of a backup server's nobody else knows
// whether they are whole.
func TestStorages(t *testing.T) {
	u := newUser(t, "storage:away=offline", "storage:gone=offline")
	for _, s := range []lab.NewStorage{
		{Name: "nas", Type: "nfs", Content: []string{"backup"}, Total: 1 << 40}, {Name: "smb", Type: "cifs", Content: []string{"backup"}, Total: 1 << 40},
		{Name: "away", Type: "nfs", Content: []string{"backup"}}, {Name: "gone", Type: "cifs", Content: []string{"backup"}},
		{Name: "thin", Type: "lvmthin", Content: []string{"images", "rootdir"}, Total: 1 << 40}, {Name: "pbs1", Type: "pbs", Content: []string{"backup"}, Total: 1 << 40},
	} {
		if err := u.lab.AddStorage(s); err != nil {
			t.Fatal(err)
		}
	}
	end, err := u.lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	u.v = u.client(end.Mounts)
	on := func(storage string) args { return args{"node": "pve1", "guests": ids(100, 109), "storage": storage} }
	for storage, words := range map[string]string{"away": "the storage is not active on pve1", "gone": "the storage is not active on pve1"} {
		_, err := call[BackupResult](u, "backup", on(storage))
		fault(t, err, builtin.Unreachable, words, "is it mounted")
	}
	for storage, words := range map[string]string{"thin": "a storage of type lvmthin cannot keep backups", "rpool": "a storage of type zfspool cannot keep backups"} {
		_, err := call[BackupResult](u, "backup", on(storage))
		fault(t, err, builtin.Invalid, words, "pbs")
	}
	for _, storage := range []string{"nas", "smb"} {
		got := must[BackupResult](u, "backup", on(storage))
		volid := string(got.Archives[0].VolID.Value)
		u.mark(u.verify(volid))
	}

	got := must[BackupResult](u, "backup", on("pbs1"))
	a := got.Archives[0]
	if a.Format != "pbs-vm" || a.Kind != "vm" || !strings.HasPrefix(string(a.VolID.Value), "pbs1:backup/vm/100/") || a.Consistency.Value != "filesystem" || !a.Ours || got.Expected != 0 || got.Archives[1].Format != "pbs-ct" {
		t.Errorf("%+v", got)
	}
	volid := string(a.VolID.Value)
	_, err = call[VerifyResult](u, "verify", verifying(volid))
	fault(t, err, builtin.Invalid, "cannot tell whether", "never verified", "proxmox-backup-manager verify")
	if err := u.lab.ServerVerified(volid, "ok"); err != nil {
		t.Fatal(err)
	}
	listed := must[[]Archive](u, "backups", args{"storage": "pbs1", "guests": ids(100)})
	if len(listed) != 1 || listed[0].Verification != "ok" || listed[0].Verified != nil || listed[0].Consistency.Value != "filesystem" {
		t.Errorf("%+v", listed)
	}
	must[Archive](u, "protect", args{"volid": volid})
	if c := must[ArchivedConfig](u, "extract_config", args{"volid": volid}); c.Config["name"] != "nixos-vm" {
		t.Errorf("%+v", c)
	}
	restored := must[Restored](u, "restore", args{"volid": volid, "storage": "thin"})
	if restored.Disks.Value[0].VolID != "thin:vm-112-disk-0" {
		t.Errorf("%+v", restored)
	}
	for range 2 {
		must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(109), "storage": "pbs1"})
	}
	if p := must[PruneResult](u, "prune", args{"storage": "pbs1", "guests": ids(100, 109), "keep": keep(map[string]any{"last": int64(1)})}); len(p.Removed) != 2 || p.Removed[0].Guest != 109 {
		t.Errorf("%s", reasons(p.Removed))
	}
}

// Requests grow with nodes: what is asked of one guest is about that guest only.
func TestListsAreNotReadOnceAGuest(t *testing.T) {
	u := newUser(t)
	got := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100, 106, 109, 111), "storage": "backup"})
	whole := func() (n int) {
		for _, x := range u.requests {
			if x.Method == http.MethodGet && strings.HasSuffix(x.Path, "/storage/backup/content") && x.Params["vmid"] == nil {
				n++
			}
		}
		return n
	}
	if n := whole(); n != 3 { // the space, the archives, their marks
		t.Errorf("the storage was listed %d times in a backup", n)
	}
	u.requests = nil
	for _, a := range got.Archives {
		volid := string(a.VolID.Value)
		u.mark(u.verify(volid, "pve1"), "pve1")
	}
	if n := whole(); n != 0 || len(u.requests) != 4*len(got.Archives) {
		t.Errorf("the storage was listed %d times, in %d requests", n, len(u.requests))
	}
}
