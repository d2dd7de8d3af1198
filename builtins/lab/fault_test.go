package lab

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseFault(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  Fault
		wrong string // part of the error; "" for none
	}{
		{"vzdump:101=fail", Fault{Target: "vzdump", ID: "101", Kind: "fail"}, ""},
		{"vzdump:*=hang*3", Fault{Target: "vzdump", ID: "*", Kind: "hang", Count: 3}, ""},
		{"vzdump:101=text:unexpected status", Fault{Target: "vzdump", ID: "101", Kind: "text", Text: "unexpected status"}, ""},
		{"vzdump:101=text:a=b*2", Fault{Target: "vzdump", ID: "101", Kind: "text", Text: "a=b", Count: 2}, ""},
		{"api:GET /nodes/pve1/tasks/*=595*2", Fault{Target: "api", ID: "GET /nodes/pve1/tasks/*", Kind: "595", Count: 2}, ""},
		{"api:* /version=drop", Fault{Target: "api", ID: "* /version", Kind: "drop"}, ""},
		{"token=expired", Fault{Target: "token", Kind: "expired"}, ""},
		{"ticket=expired*2", Fault{Target: "ticket", Kind: "expired", Count: 2}, ""},
		{"list:guests=fail", Fault{Target: "list", ID: "guests", Kind: "fail"}, ""},
		{"guest:104=locked", Fault{Target: "guest", ID: "104", Kind: "locked"}, ""},
		{"storage:backup=full*1", Fault{Target: "storage", ID: "backup", Kind: "full", Count: 1}, ""},
		{"clock:pve2=skew", Fault{Target: "clock", ID: "pve2", Kind: "skew"}, ""},
		{"privilege:VM.Backup=missing", Fault{Target: "privilege", ID: "VM.Backup", Kind: "missing"}, ""},
		{"privilege:VM.Fly=missing", Fault{}, "no privilege"},
		{"", Fault{}, "no ="},
		{"vzdump", Fault{}, "no ="},
		{"vzdump:101=explode", Fault{}, "knows no"},
		{"vzdump=fail", Fault{}, "needs an ID"},
		{"vzdump:x=fail", Fault{}, "not a VMID"},
		{"vzdump:101=fail*0", Fault{}, "count"},
		{"vzdump:101=fail*", Fault{}, "count"},
		{"vzdump:101=text", Fault{}, "text"},
		{"vzdump:101=fail:why", Fault{}, "text"},
		{"token:x=expired", Fault{}, "takes no ID"},
		{"list:storages=fail", Fault{}, "only list"},
		{"api:/version=500", Fault{}, "METHOD"},
		{"api:GET version=500", Fault{}, "METHOD"},
		{"moon:1=full", Fault{}, "unknown target"},
	} {
		got, err := ParseFault(c.text)
		switch {
		case c.wrong == "" && (err != nil || got != c.want):
			t.Errorf("%q: %+v, %v", c.text, got, err)
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong) || !strings.Contains(err.Error(), "storage:STORAGE=full|offline")):
			t.Errorf("%q: %v, want %q and the list of faults", c.text, err, c.wrong)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	for _, s := range []string{"vzdump:101=fail", "api:GET /a=b/*=595*2", "vzdump:1=text:x*3", "token=expired", "=", "a:b=c*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := ParseFault(s)
		if err != nil {
			return
		}
		again, err := ParseFault(x.String())
		if err != nil || again != x {
			t.Errorf("%q is %+v, written %q, read again %+v (%v)", s, x, x.String(), again, err)
		}
		x.matches("GET /nodes")
	})
}

func TestVzdumpFaults(t *testing.T) {
	for _, x := range []struct {
		fault, status, log string
		archives           int // made
		whole              bool
	}{
		{"vzdump:109=fail", "job errors", "ERROR: Backup of VM 109 failed - command", 0, false},
		{"vzdump:109=warnings", "WARNINGS: 1", "WARN: unable to add notes", 1, true},
		{"vzdump:109=text:unexpected status", "unexpected status", "Starting Backup", 0, false},
		{"vzdump:109=text:some words", "some words", "TASK ERROR: some words", 0, false},
		{"vzdump:*=fail*1", "job errors", "Backup of VM 109 failed", 0, false},
		{"vzdump:109=truncate", "OK", "TASK OK", 1, false},
		{"vzdump:109=flip", "OK", "TASK OK", 1, false},
		{"vzdump:109=deny", "403 Permission check failed (/vms/109, VM.Backup)", "TASK ERROR: 403", 0, false},
		{"storage:backup=full", "job errors", "No space left on device", 0, false},
		{"storage:backup=offline", "could not activate storage 'backup': unable to activate storage 'backup' - directory is expected to be a mount point but is not mounted: '/mnt/pve/backup'", "TASK ERROR", -1, false},
		{"guest:109=locked", "job errors", "ERROR: Backup of VM 109 failed - CT is locked (backup)", 0, false},
	} {
		t.Run(x.fault, func(t *testing.T) {
			c := open(t, x.fault)
			files := func() int {
				e, err := os.ReadDir(c.end.Mounts["backup"] + "/dump")
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for _, e := range e {
					if strings.HasSuffix(e.Name(), ".dat") {
						t.Errorf("%s is left", e.Name())
					}
					if strings.HasSuffix(e.Name(), ".zst") {
						n++
					}
				}
				return n
			}
			before := files()
			status, log := c.backup("pve1", "vmid", "109", "storage", "backup", "compress", "zstd")
			if status != x.status || !strings.Contains(log, x.log) {
				t.Errorf("%s\n%s", status, log)
			}
			if made := files() - before; made != max(0, x.archives) {
				t.Errorf("%d archives were made", made)
			}
			if g := c.guest(109); !g.Running || g.Lock != "" && !strings.HasPrefix(x.fault, "guest") {
				t.Errorf("the guest is left behind as %+v", g)
			}
			if x.archives != 1 {
				return
			}
			list := c.backups("pve1", "backup", "109")
			f := c.file("pve1", list[len(list)-1].VolID)
			if err := prove(f, "tar.zst"); (err == nil) != x.whole {
				t.Errorf("the archive: %v", err)
			}
		})
	}
}

func TestStopModeFailureRestarts(t *testing.T) {
	c := open(t, "vzdump:109=fail")
	if s, log := c.backup("pve1", "vmid", "109", "storage", "backup", "mode", "stop"); s != "job errors" || !strings.Contains(log, "restarting vm") || !c.guest(109).Running {
		t.Errorf("%s\n%s", s, log)
	}
}

func TestHangAndAbort(t *testing.T) {
	c := open(t, "vzdump:109=hang")
	root := c.root()
	before := c.lab.Now()
	upid := get[string](root, "POST", "/nodes/pve1/vzdump", "vmid", "109", "storage", "backup")
	waiting := get[string](c, "POST", "/nodes/pve1/vzdump", "vmid", "106", "storage", "backup", "lockwait", "10")
	for range 40 {
		if s := c.status(upid); s.Status != "running" {
			t.Fatalf("%+v", s)
		}
	}
	if s, log := c.wait(waiting); s != unexpectedStatus || !strings.Contains(log, "can't acquire lock '/var/run/vzdump.lock' - got timeout") {
		t.Errorf("the one that waits: %s\n%s", s, log)
	}
	if d := c.lab.Now().Sub(before); d < 10*time.Minute {
		t.Errorf("only %v have passed", d)
	}
	if a := c.newToken("bk@pve", "job").do("DELETE", "/nodes/pve1/tasks/"+upid); a.Status != 403 {
		t.Errorf("aborting another's task: %d %s", a.Status, a.Reason)
	}
	if a := root.do("DELETE", "/nodes/pve1/tasks/"+upid); a.Status != 200 || string(a.Data) != "null" {
		t.Errorf("aborting: %d %s", a.Status, a.Body)
	}
	if s := c.status(upid); s.Status != "running" {
		t.Errorf("it ended within the request: %+v", s)
	}
	if s, log := c.wait(upid); s != "interrupted by signal" || c.guest(109).Lock != "" {
		t.Errorf("%s\n%s", s, log)
	}
}

func TestAPIFaults(t *testing.T) {
	c := open(t, "api:GET /version=595*2", "api:POST /nodes/pve1/vzdump=drop*1", "api:GET /pools=500", "api:GET /storage=403", "api:GET /nodes=401",
		"api:GET /cluster/tasks=596", "list:guests=fail*3", "api:DELETE /nodes/*/content/*=595")
	for i, want := range []int{595, 595, 200} {
		if a := c.do("GET", "/version"); a.Status != want || want == 595 && (len(a.Body) > 0 || a.Reason != "Connection refused" || !a.Closed) {
			t.Errorf("%d: %d %s %s", i, a.Status, a.Reason, a.Body)
		}
	}
	for path, want := range map[string]int{"/pools": 500, "/storage": 403, "/nodes": 401, "/cluster/tasks": 596} {
		if a := c.do("GET", path); a.Status != want {
			t.Errorf("%s: %d %s", path, a.Status, a.Reason)
		}
	}
	if a, err := c.try("POST", "/nodes/pve1/vzdump", "vmid", "109", "storage", "backup"); err == nil {
		t.Errorf("the connection was not cut: %+v", a)
	}
	tasks := get[[]taskStatus](c, "GET", "/nodes/pve1/tasks", "source", "all", "typefilter", "vzdump")
	if len(tasks) != 1 {
		t.Errorf("the request that got no answer was not performed: %+v", tasks)
	}
	for _, path := range []string{"/cluster/resources", "/nodes/pve1/qemu", "/nodes/pve1/lxc"} {
		if a := c.do("GET", path); a.Status != 500 {
			t.Errorf("%s: %d", path, a.Status)
		}
	}
	list := c.backups("pve1", "backup", "106")
	if a := c.do("DELETE", "/nodes/pve1/storage/backup/content/"+list[1].VolID); a.Status != 595 || len(c.backups("pve1", "backup", "106")) != len(list) {
		t.Errorf("%d; and was it deleted?", a.Status)
	}
}

func TestTokenExpired(t *testing.T) {
	c := open(t, "token=expired*1")
	if a := c.do("GET", "/version"); a.Status != 401 || a.Reason != "Authentication failed!" || len(a.Body) > 0 {
		t.Errorf("%d %s %s", a.Status, a.Reason, a.Body)
	}
	if a := c.do("GET", "/version"); a.Status != 200 {
		t.Errorf("%d", a.Status)
	}
}

func TestStorageOffline(t *testing.T) {
	c := open(t, "storage:backup=offline")
	if a := c.do("GET", "/nodes/pve1/storage/backup/content"); a.Status != 500 || !strings.Contains(a.Reason, "is not mounted") {
		t.Errorf("%d %s", a.Status, a.Reason)
	}
	if s := get[struct{ Active int }](c, "GET", "/nodes/pve1/storage/backup/status"); s.Active != 0 {
		t.Error("active")
	}
}
