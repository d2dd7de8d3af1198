package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab/command"
)

// zfs runs a command of the lab as another process does, on the node nixmox
// runs on or another.
func (c *client) zfs(node string, args ...string) (stdout, stderr string) {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(c.end.Commands, "zfs"), args...)
	cmd.Env = []string{"PATH=" + c.end.Commands, command.NodeVariable + "=" + node}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		c.t.Fatal(err)
	}
	if (err != nil) != (errs.Len() > 0) {
		c.t.Errorf("zfs %q: %v, and it said %q", args, err, &errs)
	}
	return out.String(), errs.String()
}

// zfsWell is a command of the lab that ends well.
func (c *client) zfsWell(node string, args ...string) []string {
	c.t.Helper()
	out, complaint := c.zfs(node, args...)
	if complaint != "" {
		c.t.Fatalf("zfs %q: %s", args, complaint)
	}
	return strings.Fields(out)
}

// ask starts a task and waits for its end.
func (c *client) ask(method, path string, kv ...string) (status, log string) {
	c.t.Helper()
	return c.wait(get[string](c, method, path, kv...))
}

// oneState says where the pools and the configurations of guests tell
// different things.
func (l *Lab) oneState() (wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.st.Nodes {
		named, found := map[string]bool{}, map[string]bool{}
		for _, g := range l.st.Guests {
			if g.Node != n.Name {
				continue
			}
			for _, v := range l.allZvols(g) {
				named[v.dataset] = true
				if v.isBase() {
					named[v.dataset+"@__base__"] = true
				}
			}
			for _, s := range g.Snapshots {
				config := s.Config
				if config == nil {
					config = g.Config
				}
				used, _ := l.zvols(config)
				for _, v := range used {
					if s.State == "" {
						named[v.dataset+"@"+s.Name] = true
					}
				}
			}
		}
		for _, pool := range []string{dataPool} {
			out, complaint := l.zfs(n.Name, l.now(), nil, "zfs", "list", "-H", "-r", "-o", "name", "-t", "volume,filesystem,snapshot", pool)
			if complaint != "" {
				wrong = append(wrong, complaint)
			}
			for line := range strings.Lines(out) {
				if name := strings.TrimSpace(line); name != pool {
					found[name] = true
				}
			}
		}
		for name := range found {
			if !named[name] {
				wrong = append(wrong, n.Name+" has "+name+", which no guest names")
			}
		}
		for name := range named {
			if !found[name] && strings.HasPrefix(name, dataPool) {
				wrong = append(wrong, n.Name+" has no "+name)
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

func (c *client) isOneState() {
	c.t.Helper()
	for _, wrong := range c.lab.oneState() {
		c.t.Error(wrong)
	}
}

func TestAFreshLabIsOneState(t *testing.T) {
	c := open(t)
	c.isOneState()
	if got := c.zfsWell("", "list", "-H", "-o", "name", "-d1", "rpool"); !slices.Contains(got, "rpool/share") || !slices.Contains(got, "rpool/backup") || !slices.Contains(got, "rpool/ROOT") {
		t.Errorf("%q", got)
	}
	if got := c.zfsWell("", "list", "-Hp", "-o", "volsize", "rpool/data/vm-100-disk-0"); !slices.Equal(got, []string{fmt.Sprint(32 * gib)}) {
		t.Errorf("%q", got)
	}
	if got := c.zfsWell("pve2", "list", "-Hp", "-o", "refquota", "rpool/data/subvol-101-disk-0"); !slices.Equal(got, []string{fmt.Sprint(8 * gib)}) {
		t.Errorf("%q", got)
	}
	if got := c.zfsWell("", "list", "-H", "-t", "snapshot", "-o", "name,creation", "-p", "rpool/data/vm-100-disk-0"); len(got) != 2 ||
		got[0] != "rpool/data/vm-100-disk-0@before-upgrade" || got[1] != fmt.Sprint(c.guest(100).Snapshots[0].Time) {
		t.Errorf("%q", got)
	}
	if _, complaint := c.zfs("pve9", "list"); !strings.Contains(complaint, `no node "pve9"`) {
		t.Error(complaint)
	}
	for _, v := range get[[]content](c.root(), "GET", "/nodes/pve1/storage/rpool/content") {
		if v.VMID == 0 || v.Size == 0 || v.CTime != 0 {
			t.Errorf("%+v", v)
		}
	}
}

// A snapshot of the API is one of ZFS, and goes as one.
func TestGuestSnapshotsAreSeenByZFS(t *testing.T) {
	c := open(t)
	for _, x := range []struct{ node, kind, id, volume string }{{"pve1", "qemu", "106", "vm-106-disk-0"}, {"pve1", "lxc", "109", "subvol-109-disk-0"}, {"pve2", "qemu", "103", "vm-103-disk-0"}} {
		path := "/nodes/" + x.node + "/" + x.kind + "/" + x.id + "/snapshot"
		kv := []string{"snapname", "one"}
		if x.id == "103" {
			kv = append(kv, "vmstate", "1")
		}
		if status, log := c.ask("POST", path, kv...); status != "OK" {
			t.Fatal(log)
		}
		if got := c.zfsWell(x.node, "list", "-H", "-t", "snapshot", "-o", "name", "rpool/data/"+x.volume); !slices.Equal(got, []string{"rpool/data/" + x.volume + "@one"}) {
			t.Errorf("%q", got)
		}
		c.isOneState()
		if x.id == "103" {
			if got := c.zfsWell(x.node, "list", "-Hp", "-o", "volsize", "rpool/data/vm-103-state-one"); !slices.Equal(got, []string{fmt.Sprint(2*gib + 500*mib)}) {
				t.Errorf("%q", got)
			}
		}
		if status, log := c.ask("POST", path+"/one/rollback"); status != "OK" {
			t.Fatal(log)
		}
		if status, log := c.ask("DELETE", path+"/one"); status != "OK" {
			t.Fatal(log)
		}
		if _, complaint := c.zfs(x.node, "list", "rpool/data/"+x.volume+"@one"); !strings.Contains(complaint, "does not exist") {
			t.Errorf("%q", complaint)
		}
		c.isOneState()
	}
}

// A recursive snapshot of anybody's lames the rollback of every guest.
func TestASnapshotBesideProxmoxStopsItsRollback(t *testing.T) {
	c := open(t)
	const path = "/nodes/pve1/qemu/106/snapshot"
	if status, log := c.ask("POST", path, "snapname", "one"); status != "OK" {
		t.Fatal(log)
	}
	c.zfsWell("", "snapshot", "-r", "rpool@auto-2026-11-23")
	if status, _ := c.ask("POST", path+"/one/rollback"); status != "can't rollback, 'one' is not most recent snapshot on 'rpool:vm-106-disk-0'" {
		t.Error(status)
	}
	if g := c.guest(106); g.Lock != "" || !g.Running {
		t.Errorf("it was touched: %+v", g)
	}
	c.zfsWell("", "destroy", "rpool/data/vm-106-disk-0@auto-2026-11-23")
	// Replication's own are in the way of nobody, alone; with others they stay.
	c.zfsWell("", "snapshot", "rpool/data/vm-106-disk-0@__replicate_106-0_1795435617__")
	c.zfsWell("", "snapshot", "rpool/data/vm-106-disk-0@mine")
	if status, _ := c.ask("POST", path+"/one/rollback"); !strings.HasPrefix(status, "can't rollback") {
		t.Error(status)
	}
	c.zfsWell("", "destroy", "rpool/data/vm-106-disk-0@mine")
	if status, log := c.ask("POST", path+"/one/rollback"); status != "OK" || !strings.Contains(log, "WARN: removing replication snapshot 'rpool:vm-106-disk-0@__replicate_106-0_1795435617__'") {
		t.Error(log)
	}
	// Gone behind Proxmox's back.
	c.zfsWell("", "destroy", "rpool/data/vm-106-disk-0@one")
	if status, _ := c.ask("POST", path+"/one/rollback"); status != "can't rollback, snapshot 'one' does not exist on 'rpool:vm-106-disk-0'" {
		t.Error(status)
	}
	if status, _ := c.ask("DELETE", path+"/one"); !strings.HasPrefix(status, "zfs error: could not find any snapshots to destroy") {
		t.Error(status)
	}
	if g := c.guest(106); g.Lock != "snapshot-delete" || g.Snapshots[0].State != "delete" {
		t.Errorf("%+v", g)
	}
	c.zfsWell("", "snapshot", "rpool/data/vm-106-disk-0@two")
	if err := c.lab.ChangeGuest(106, GuestChange{Lock: new(string)}); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.ask("POST", path, "snapname", "two"); !strings.Contains(status, "already exists") {
		t.Error(status)
	}
	if g := c.guest(106); g.Lock != "" || len(g.Snapshots) != 1 {
		t.Errorf("what was prepared is there still: %+v", g)
	}
}

// Whatever is done to guests, their volumes are where their configurations say.
func TestVolumesKeepInStep(t *testing.T) {
	c := open(t)
	root := c.root()
	step := func(what, method, path string, kv ...string) {
		t.Helper()
		if status, log := root.ask(method, path, kv...); status != "OK" {
			t.Fatalf("%s:\n%s", what, log)
		}
		for _, wrong := range c.lab.oneState() {
			t.Errorf("after %s: %s", what, wrong)
		}
	}
	volume := func(node, property, name string) string {
		t.Helper()
		return strings.Join(c.zfsWell(node, "list", "-Hp", "-o", property, "rpool/data/"+name), " ")
	}
	step("a linked clone", "POST", "/nodes/pve1/qemu/9000/clone", "newid", "300")
	if got := volume("pve1", "origin", "vm-300-disk-0"); got != "rpool/data/base-9000-disk-0@__base__" {
		t.Error(got)
	}
	if g := c.guest(300); g.Config["scsi0"] != "rpool:base-9000-disk-0/vm-300-disk-0,iothread=1,size=8G" {
		t.Error(g.Config["scsi0"])
	}
	step("a linked clone of a container", "POST", "/nodes/pve2/lxc/9001/clone", "newid", "301")
	if got := volume("pve2", "origin,refquota", "subvol-301-disk-0"); got != fmt.Sprint("rpool/data/basevol-9001-disk-0@__base__ ", 4*gib) {
		t.Error(got)
	}
	step("a full clone", "POST", "/nodes/pve1/qemu/102/clone", "newid", "302", "full", "1")
	step("a snapshot", "POST", "/nodes/pve3/qemu/108/snapshot", "snapname", "one")
	made := volume("pve3", "creation", "vm-108-disk-0@one")
	step("a migration", "POST", "/nodes/pve3/qemu/108/migrate", "target", "pve1", "with-local-disks", "1")
	if got := volume("pve1", "creation", "vm-108-disk-0@one"); got != made {
		t.Errorf("the snapshot of %s is of %s there", made, got)
	}
	step("a rollback there", "POST", "/nodes/pve1/qemu/108/snapshot/one/rollback")
	step("a larger disk", "PUT", "/nodes/pve1/qemu/108/resize", "disk", "scsi0", "size", "+16G")
	step("a larger file system", "PUT", "/nodes/pve1/lxc/111/resize", "disk", "rootfs", "size", "20G")
	if got := volume("pve1", "volsize", "vm-108-disk-0") + " " + volume("pve1", "refquota", "subvol-111-disk-0"); got != fmt.Sprint(32*gib, " ", 20*gib) {
		t.Error(got)
	}
	if status, _ := root.ask("DELETE", "/nodes/pve1/qemu/9000"); status != "base volume 'rpool:base-9000-disk-0' is still in use by linked cloned" {
		t.Error(status)
	}
	if status, log := root.ask("POST", "/nodes/pve1/qemu/300/migrate", "target", "pve2"); status != "migration aborted" || !strings.Contains(log, "as it's a clone of 'base-9000-disk-0'") {
		t.Error(log)
	}
	step("a destroyed clone", "DELETE", "/nodes/pve1/qemu/300")
	step("a destroyed template", "DELETE", "/nodes/pve1/qemu/9000")
	step("a destroyed guest with a snapshot", "DELETE", "/nodes/pve1/qemu/108")
	step("a restore", "POST", "/nodes/pve1/qemu", "vmid", "120", "archive", newest(c, "pve1", "100"), "storage", "rpool")
	step("a restore over it", "POST", "/nodes/pve1/qemu", "vmid", "120", "archive", newest(c, "pve1", "106"), "force", "1")
	if got := volume("pve1", "volsize", "vm-120-disk-0"); got != fmt.Sprint(100*gib) {
		t.Error(got)
	}
	step("a container's restore", "POST", "/nodes/pve2/lxc", "vmid", "121", "ostemplate", newest(c, "pve2", "101"), "storage", "rpool", "restore", "1")
	if a := root.do("PUT", "/nodes/pve1/qemu/120/config", "scsi1", "rpool:8"); a.Status != 200 || volume("pve1", "volsize", "vm-120-disk-1") != fmt.Sprint(8*gib) {
		t.Errorf("%d %s", a.Status, a.Reason)
	}
	for _, key := range []string{"scsi1", "unused0"} { // taken away, and destroyed
		if a := root.do("PUT", "/nodes/pve1/qemu/120/config", "delete", key); a.Status != 200 {
			t.Errorf("%d %s", a.Status, a.Reason)
		}
		c.isOneState()
	}
	if _, complaint := c.zfs("", "list", "rpool/data/vm-120-disk-1"); !strings.Contains(complaint, "does not exist") {
		t.Error(complaint)
	}
	// By another hand.
	node := "pve3"
	for _, err := range []error{c.lab.ChangeGuest(400, GuestChange{Node: &node}), c.lab.ChangeGuest(106, GuestChange{Node: &node}),
		c.lab.ChangeGuest(105, GuestChange{Config: map[string]string{"mp0": "rpool:subvol-105-disk-1,mp=/data,size=1G"}}), c.lab.RemoveGuest(104), c.lab.AddNode("pve4")} {
		if err != nil {
			t.Error(err)
		}
	}
	c.isOneState()
}

func TestTemplatesHaveBases(t *testing.T) {
	c := open(t)
	yes := true
	if err := c.lab.ChangeGuest(108, GuestChange{Template: &yes}); err != nil {
		t.Fatal(err)
	}
	c.isOneState()
	if status, log := c.root().ask("POST", "/nodes/pve3/qemu/108/clone", "newid", "300"); status != "OK" {
		t.Error(log)
	}
	c.isOneState()
}

// What a task made half is taken back.
func TestFailedTasksLeaveNoVolumes(t *testing.T) {
	for _, x := range []struct{ fault, method, path, kv string }{
		{"task:qmclone=fail", "POST", "/nodes/pve1/qemu/9000/clone", "newid 300"},
		{"task:qmclone=fail", "POST", "/nodes/pve1/qemu/106/clone", "newid 300 full 1"},
		{"task:qmsnapshot=fail", "POST", "/nodes/pve1/qemu/106/snapshot", "snapname one vmstate 1"},
		{"restore:120=fail", "POST", "/nodes/pve1/qemu", "vmid 120 storage rpool archive ARCHIVE"},
	} {
		c := open(t, x.fault)
		kv := strings.Fields(strings.Replace(x.kv, "ARCHIVE", newest(c, "pve1", "100"), 1))
		if status, log := c.root().ask(x.method, x.path, kv...); status == "OK" {
			t.Errorf("%s:\n%s", x.path, log)
		}
		c.isOneState()
	}
}

// Killed at any moment, the lab comes back with guests and pools of one state.
func TestKilledLabIsOneState(t *testing.T) {
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockReal})
	c.zfsWell("", "snapshot", "rpool/share@kept")
	c.zfsWell("", "destroy", "rpool/share/windows")
	upid := get[string](c, "POST", "/nodes/pve1/qemu/106/snapshot", "snapname", "one")
	copied := t.TempDir()
	c.lab.mu.Lock()
	for _, name := range []string{markerFile, stateFile, secretFile, certFile, keyFile, clockFile} {
		if err := os.Link(c.lab.folder.path(name), filepath.Join(copied, name)); err != nil {
			t.Error(err)
		}
	}
	files, _ := filepath.Glob(c.lab.folder.path("zfs-*"))
	for _, path := range append(files, c.lab.folder.path("zfs-pve1-999.json")) { // one of a save that was cut short
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte("{")
		}
		if err := os.WriteFile(filepath.Join(copied, filepath.Base(path)), text, 0o600); err != nil {
			t.Error(err)
		}
	}
	c.lab.mu.Unlock()
	d := openWith(t, Options{Dir: copied, Clock: ClockAuto})
	if status, log := d.wait(upid); status != "OK" {
		t.Error(log)
	}
	d.isOneState()
	if got := d.zfsWell("", "list", "-H", "-r", "-t", "all", "-o", "name", "rpool/share"); !slices.Equal(got, []string{"rpool/share", "rpool/share@kept"}) {
		t.Errorf("%q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(copied, "zfs-*.json")); len(left) != 3 {
		t.Errorf("%q", left)
	}
}

// While a container is backed up, its volumes have the snapshot that is read.
func TestBackupsOfContainersReadASnapshot(t *testing.T) {
	c := open(t)
	upid := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "109", "storage", "backup", "mode", "snapshot")
	c.lab.Advance(5 * time.Second)
	if got := c.zfsWell("", "list", "-H", "-t", "snapshot", "-o", "name", "rpool/data/subvol-109-disk-0"); !slices.Equal(got, []string{"rpool/data/subvol-109-disk-0@vzdump"}) {
		t.Errorf("%q", got)
	}
	if status, log := c.wait(upid); status != "OK" {
		t.Error(log)
	}
	c.isOneState()
	c.zfsWell("", "snapshot", "rpool/data/subvol-109-disk-0@vzdump") // somebody's
	if status, log := c.backup("pve1", "vmid", "109", "storage", "backup", "mode", "snapshot"); status != "job errors" || !strings.Contains(log, "dataset already exists") {
		t.Errorf("%s\n%s", status, log)
	}
	c.zfsWell("", "list", "rpool/data/subvol-109-disk-0@vzdump") // it is there still
}
