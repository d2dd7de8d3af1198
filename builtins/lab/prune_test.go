package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMarkBackups(t *testing.T) {
	s := &storage{Name: "s"}
	at := func(text string) *volume {
		d, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return &volume{store: s, name: text, content: "backup", subtype: "qemu", vmid: 100, ctime: d.Unix(), standard: true}
	}
	protected := at("2026-01-01 00:00")
	protected.protected = true
	renamed := at("2026-01-02 00:00")
	renamed.standard = false
	list := []*volume{
		protected, renamed,
		at("2026-02-27 02:00"), at("2026-02-28 02:00"), // a Saturday
		at("2026-03-01 02:00"), // the Sunday after it: one ISO week, two months
		at("2026-03-02 02:00"), at("2026-03-02 03:00"), at("2026-03-03 02:00"),
	}
	for options, want := range map[string]string{
		"keep-last=1":                   "protected renamed remove remove remove remove remove keep",
		"keep-last=0":                   "protected renamed keep keep keep keep keep keep",
		"keep-all=1":                    "protected renamed keep keep keep keep keep keep",
		"keep-daily=2":                  "protected renamed remove remove remove remove keep keep",
		"keep-daily=9":                  "protected renamed keep keep keep remove keep keep",
		"keep-hourly=3":                 "protected renamed remove remove remove keep keep keep",
		"keep-weekly=2":                 "protected renamed remove remove keep remove remove keep",
		"keep-monthly=2":                "protected renamed remove keep remove remove remove keep",
		"keep-yearly=1":                 "protected renamed remove remove remove remove remove keep",
		"keep-last=1,keep-daily=1":      "protected renamed remove remove remove remove keep keep",
		"keep-weekly=2,keep-monthly=2":  "protected renamed remove remove keep remove remove keep",
		"keep-last=2,keep-monthly=1":    "protected renamed remove keep remove remove keep keep",
		"keep-weekly=1,keep-monthly=10": "protected renamed remove keep remove remove remove keep",
	} {
		keep, wrong := parsePrune(options)
		if wrong != "" {
			t.Fatal(wrong)
		}
		var got []string
		for _, m := range markBackups(list, keep, "", 0, 0) {
			got = append(got, m.mark)
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s:\n%s, want\n%s", options, g, want)
		}
	}
	if n := len(markBackups(list, nil, "lxc", 0, 0)) + len(markBackups(list, nil, "", 101, 0)); n != 0 {
		t.Errorf("%d of others", n)
	}
}

type mark struct{ VolID, Mark string }

func TestPruneAPI(t *testing.T) {
	c := open(t)
	path := "/nodes/pve2/storage/backup/prunebackups"
	for _, m := range get[[]mark](c, "GET", path) {
		if m.Mark == "remove" {
			t.Errorf("keep-all removes %s", m.VolID)
		}
	}
	args := []string{"prune-backups", "keep-last=2", "vmid", "106", "type", "qemu"}
	marks := get[[]mark](c, "GET", path, args...)
	upid := get[string](c, "DELETE", path, args...)
	status, log := c.wait(upid)
	if status != "OK" || !strings.Contains(upid, ":prunebackups:106@backup:nixmox@pve!lab:") {
		t.Errorf("%s %s\n%s", upid, status, log)
	}
	var left []string
	for _, v := range c.backups("pve2", "backup", "106") {
		left = append(left, v.VolID)
	}
	for _, m := range marks {
		if slices.Contains(left, m.VolID) != (m.Mark != "remove") {
			t.Errorf("%s was marked %s", m.VolID, m.Mark)
		}
	}
	if len(left) != 3 { // one is protected
		t.Errorf("%v", left)
	}
	// What stood beside them is gone, too.
	side, _ := filepath.Glob(c.end.Mounts["backup"] + "/dump/vzdump-qemu-106-*")
	if len(side) != 3*2+1+2 {
		t.Errorf("%d files: %v", len(side), side)
	}
}

func TestKeepLimit(t *testing.T) {
	c := open(t)
	status, log := c.backup("pve3", "vmid", "104", "storage", "small", "remove", "0", "compress", "zstd")
	if status != "job errors" || !strings.Contains(log, "There is a max backup limit of (3) enforced by the target storage or the vzdump parameters. Either increase the limit or delete old backups.") {
		t.Errorf("%s\n%s", status, log)
	}
	status, log = c.backup("pve3", "vmid", "104", "storage", "small", "compress", "zstd")
	if status != "OK" || !strings.Contains(log, "INFO: pruned 1 backup(s) not covered by keep-retention policy") || len(c.backups("pve3", "small", "104")) != 3 {
		t.Errorf("%s\n%s", status, log)
	}
	if s, log := c.backup("pve1", "vmid", "100", "storage", "media"); s != "could not get storage information for 'media': can't use storage 'media' for backups - wrong content type" {
		t.Errorf("%s\n%s", s, log)
	}
	if s, log := c.backup("pve1", "vmid", "109", "storage", "backup", "compress", "lzo"); s != "job errors" || !strings.Contains(log, "lzo archives cannot be written here") || c.guest(109).Lock != "" {
		t.Errorf("%s\n%s", s, log)
	}
}

// TestRealFiles: lists are what lies there.
func TestRealFiles(t *testing.T) {
	c := open(t)
	list := c.backups("pve1", "backup", "100")
	if len(list) != len(historyAges) {
		t.Fatalf("%d", len(list))
	}
	marked := 0
	for _, v := range list {
		if v.Notes == HistoryMark {
			marked++
		}
		checkArchive(t, c.file("pve1", v.VolID), v.Format)
	}
	if marked != len(list)/2 {
		t.Errorf("%d of %d are nixmox's", marked, len(list))
	}
	os.Remove(c.file("pve1", list[0].VolID))
	must(t, c.lab.RemoveArchive(list[1].VolID)) // its file may be other labs' too
	must(t, os.WriteFile(c.file("pve1", list[1].VolID), []byte("0123456789"), 0o600))
	os.WriteFile(filepath.Join(c.end.Mounts["pve1/local"], "dump/vzdump-qemu-100-renamed.vma.zst"), []byte("x"), 0o600)
	os.WriteFile(filepath.Join(c.end.Mounts["pve1/local"], "template/iso/x.iso"), []byte("x"), 0o600)
	after := c.backups("pve2", "backup", "100") // a shared storage is the same everywhere
	if len(after) != len(list)-1 || after[0].Size != 10 {
		t.Errorf("%+v", after)
	}
	local := get[[]content](c, "GET", "/nodes/pve1/storage/local/content")
	if len(local) != 2 || len(get[[]content](c, "GET", "/nodes/pve2/storage/local/content")) != 0 {
		t.Errorf("%+v", local)
	}
	vol := "/nodes/pve1/storage/backup/content/" + after[2].VolID
	get[any](c, "PUT", vol, "notes", "one\ntwo", "protected", "1")
	if v := get[struct {
		Notes     string
		Protected int
	}](c, "GET", vol); v.Notes != "one\ntwo" || v.Protected != 1 {
		t.Errorf("%+v", v)
	}
	if v := c.backups("pve1", "backup", "100")[2]; v.Notes != "one" || v.Protected != 1 { // as recorded: the first line
		t.Errorf("%+v", v)
	}
	if a := c.do("DELETE", vol, "delay", "5"); a.Status != 500 || !strings.HasPrefix(a.Reason, "cannot remove protected volume") {
		t.Errorf("%d %s", a.Status, a.Reason)
	}
	get[any](c, "PUT", vol, "notes", "", "protected", "0")
	if a := c.do("DELETE", vol, "delay", "5"); a.Status != 200 || string(a.Data) != "null" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if _, err := os.Stat(c.file("pve1", after[2].VolID)); err == nil {
		t.Error("it is still there")
	}
	if v := get[[]content](c, "GET", "/nodes/pve1/storage/rpool/content", "vmid", "102"); len(v) != 3 {
		t.Errorf("%+v", v)
	}
}

func TestTaskFilters(t *testing.T) {
	c := open(t, "vzdump:106=hang")
	c.backup("pve1", "vmid", "109", "storage", "nostore")
	mid := c.lab.Now().Unix()
	c.lab.Advance(time.Minute)
	c.backup("pve1", "vmid", "109", "storage", "backup")
	get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "106", "storage", "backup")
	for _, x := range []struct {
		kv   string
		want int
	}{
		{"", 3}, {"typefilter=vzdump", 2}, {"typefilter=vz", 0}, {"errors=1", 1}, {"statusfilter=ok", 2}, {"statusfilter=error,warning", 1},
		{"vmid=109", 2}, {"userfilter=nixmox", 2}, {"source=active", 1}, {"source=all", 4}, {"limit=1", 1}, {"start=2", 1}, {"start=9", 0},
		{fmt.Sprint("since=", mid+30), 1}, {fmt.Sprint("until=", mid), 2},
	} {
		var kv []string
		if k, v, ok := strings.Cut(x.kv, "="); ok {
			kv = []string{k, v}
		}
		if got := get[[]taskStatus](c, "GET", "/nodes/pve1/tasks", kv...); len(got) != x.want {
			t.Errorf("%s: %d, want %d: %+v", x.kv, len(got), x.want, got)
		}
	}
}
