package lab

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestBackup(t *testing.T) {
	c := open(t)
	for _, x := range []struct{ node, vmid, mode, compress, format string }{
		{"pve1", "100", "snapshot", "zstd", "vma.zst"},
		{"pve1", "102", "stop", "gzip", "vma.gz"},
		{"pve2", "103", "suspend", "0", "vma"},
		{"pve3", "108", "snapshot", "zstd", "vma.zst"},
		{"pve1", "9000", "snapshot", "zstd", "vma.zst"},
		{"pve2", "101", "snapshot", "zstd", "tar.zst"},
		{"pve3", "107", "suspend", "gzip", "tar.gz"},
		{"pve1", "109", "stop", "0", "tar"},
		{"pve2", "9001", "snapshot", "zstd", "tar.zst"},
	} {
		t.Run(x.vmid+x.mode+x.compress, func(t *testing.T) {
			before := c.backups(x.node, "backup", x.vmid)
			upid := get[string](c, "POST", "/nodes/"+x.node+"/vzdump", "vmid", x.vmid, "storage", "backup", "mode", x.mode, "compress", x.compress, "notes-template", `{{guestname}}\n{{vmid}} {{node}} {{cluster}}`)
			if s := c.status(upid); s.Status != "running" || s.ExitStatus != "" {
				t.Errorf("right after it began: %+v", s)
			}
			status, log := c.wait(upid)
			if status != "OK" {
				t.Fatalf("%s\n%s", status, log)
			}
			if x.vmid == "107" && !strings.Contains(log, "excluding volume mount point mp1") {
				t.Errorf("the log is silent on what is left out:\n%s", log)
			}
			after := c.backups(x.node, "backup", x.vmid)
			if len(after) != len(before)+1 {
				t.Fatalf("%d archives after %d\n%s", len(after), len(before), log)
			}
			made := after[len(after)-1]
			if made.Format != x.format || made.Notes == "" || made.Size < 50<<10 || made.Size > 2<<20 {
				t.Errorf("%+v", made)
			}
			checkArchive(t, c.file(x.node, made.VolID), x.format)
			config := get[string](c, "GET", "/nodes/"+x.node+"/vzdump/extractconfig", "volume", made.VolID)
			if !strings.Contains(config, "name: ") {
				t.Errorf("config: %s", config)
			}
			g := c.guest(made.VMID)
			if g.Lock != "" || g.BackupRun || g.Running != (made.VMID != 108 && made.VMID < 9000) {
				t.Errorf("left behind as %+v", g)
			}
		})
	}
}

// file is where a volume really is.
func (c *client) file(node, volid string) string {
	c.t.Helper()
	store, name, _ := strings.Cut(volid, ":")
	dir, ok := c.end.Mounts[store]
	if !ok {
		dir = c.end.Mounts[node+"/"+store]
	}
	return filepath.Join(dir, "dump", strings.TrimPrefix(name, "backup/"))
}

func TestSelection(t *testing.T) {
	c := open(t)
	for _, x := range []struct {
		name, node string
		kv         []string
		status     string
		done       string // the guests of which the log tells
		id         string // of the task
	}{
		{"two", "pve2", []string{"vmid", "105, 101;105"}, "OK", "101 105", ""},
		{"all but some", "pve1", []string{"all", "1", "exclude", "102,9000,111"}, "OK", "100 106 109", ""},
		{"exclude means all", "pve3", []string{"exclude", "107"}, "OK", "104 108 110", ""},
		{"pool", "pve1", []string{"pool", "production"}, "OK", "100 102 106", ""},
		{"one of two elsewhere", "pve1", []string{"vmid", "100,101"}, "OK", "100", "100"},
		{"one missing", "pve1", []string{"vmid", "100,999"}, "job errors", "100", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			upid := get[string](c, "POST", "/nodes/"+x.node+"/vzdump", append(x.kv, "storage", "backup")...)
			status, log := c.wait(upid)
			var done []string
			for _, line := range strings.Split(log, "\n") {
				if rest, ok := strings.CutPrefix(line, "INFO: Finished Backup of VM "); ok {
					id, _, _ := strings.Cut(rest, " ")
					done = append(done, id)
				}
			}
			if status != x.status || strings.Join(done, " ") != x.done || strings.Split(upid, ":")[6] != x.id {
				t.Errorf("%s: %s of %v\n%s", upid, status, done, log)
			}
		})
	}
	for _, kv := range [][]string{{"vmid", "101"}, {"stop", "1"}} { // elsewhere; nothing to do
		if got := get[string](c, "POST", "/nodes/pve1/vzdump", append(kv, "storage", "backup")...); got != "OK" {
			t.Errorf("%v: %s", kv, got)
		}
	}
	for _, kv := range [][]string{{"vmid", "100", "all", "1"}, {"vmid", "100", "pool", "production"}, {"vmid", "5"}, {"vmid", "100", "protected", "1"}} {
		if a := c.do("POST", "/nodes/pve1/vzdump", kv...); a.Status != 400 || len(a.Errors) != 1 {
			t.Errorf("%v: %d %s", kv, a.Status, a.Body)
		}
	}
}

func TestLockWaitAndStop(t *testing.T) {
	c := open(t)
	first := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "100", "storage", "backup")
	if g := c.guest(100); g.Lock != "backup" {
		t.Errorf("in backup, but %+v", g)
	}
	if s, log := c.backup("pve1", "vmid", "109", "storage", "backup", "lockwait", "0"); s != unexpectedStatus || !strings.Contains(log, "(wait = 0)") {
		t.Errorf("%s\n%s", s, log)
	}
	if s, log := c.wait(get[string](c, "POST", "/nodes/pve1/qemu/100/status/shutdown")); s != "VM is locked (backup)" {
		t.Errorf("%s\n%s", s, log)
	}
	get[string](c, "POST", "/nodes/pve1/vzdump", "stop", "1")
	if s, log := c.wait(first); s != "interrupted by signal" || c.guest(100).Lock != "" {
		t.Errorf("%s\n%s", s, log)
	}
}
