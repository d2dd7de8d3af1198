package doctor

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type m = map[string]any

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// cluster answers what is in it by path; a number is a status without a body,
// and everything else is a 595.
type cluster struct {
	answers map[string]any
	mu      sync.Mutex
	asked   []string
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api2/json")
	c.mu.Lock()
	c.asked = append(c.asked, path)
	data, ok := c.answers[path]
	c.mu.Unlock()
	if status, refused := data.(int); refused || !ok {
		if !ok {
			status = 595
		}
		w.WriteHeader(status)
		return
	}
	_ = json.NewEncoder(w).Encode(m{"data": data})
}

const notes = "db | nixmox: v=1 run=R verified=2026-11-22T12:00:00Z sha256=0"

// well is a cluster of two nodes in which all is well.
func well() *cluster {
	c := &cluster{answers: map[string]any{
		"/version":        m{"version": "9.2.11"},
		"/nodes":          []m{{"node": "pve1", "status": "online"}, {"node": "pve2", "status": "online"}},
		"/cluster/status": []m{{"type": "cluster", "quorate": 1}},
		"/access/permissions": m{
			"/nodes": m{"Sys.Audit": 1}, "/vms": m{"VM.Audit": 1, "VM.Backup": 1}, "/storage/nas": m{"Datastore.AllocateSpace": 1},
		},
		"/cluster/resources": []m{
			{"type": "qemu", "vmid": 101, "name": "db", "node": "pve1", "status": "running"},
			{"type": "lxc", "vmid": 102, "name": "ct", "node": "pve2", "status": "running"},
			{"type": "qemu", "vmid": 9000, "name": "base", "node": "pve1", "template": 1},
		},
		"/storage":                           []m{{"storage": "nas", "type": "nfs", "server": "nas1", "path": "/mnt/pve/nas", "content": "backup", "prune-backups": "keep-all=1"}},
		"/cluster/backup-info/not-backed-up": []m{},
		"/nodes/pve1/qemu/101/config":        m{"scsi0": "rpool:vm-101-disk-0,size=8G", "ide2": "none,media=cdrom,backup=0"},
		"/nodes/pve2/lxc/102/config":         m{"rootfs": "rpool:subvol-102-disk-0,size=8G", "mp0": "rpool:subvol-102-disk-1,mp=/data,backup=1"},
		"/nodes/pve1/storage/nas/content": []m{
			{"volid": "nas:backup/vzdump-qemu-101-2026_11_22-12_00_00.vma.zst", "content": "backup", "vmid": 101, "ctime": now.Add(-24 * time.Hour).Unix(), "size": 5, "notes": notes},
			{"volid": "nas:backup/vzdump-lxc-102-2026_11_21-12_00_00.tar.zst", "content": "backup", "vmid": 102, "ctime": now.Add(-48 * time.Hour).Unix(), "size": 7, "notes": notes},
		},
	}}
	for _, n := range []string{"pve1", "pve2"} {
		c.answers["/nodes/"+n+"/version"] = m{"version": "9.2.11"}
		c.answers["/nodes/"+n+"/time"] = m{"time": now.Unix(), "localtime": now.Unix(), "timezone": "UTC"}
		c.answers["/nodes/"+n+"/storage"] = []m{{"storage": "nas", "active": 1, "enabled": 1, "total": 1000, "avail": 600}}
		c.answers["/nodes/"+n+"/vzdump/defaults"] = m{"prune-backups": "keep-all=1"}
		c.answers["/nodes/"+n+"/tasks"] = []m{}
	}
	return c
}

func needs() []Need {
	need := func(name, path string) Need {
		return Need{Privilege: builtin.Privilege{Name: name, Path: path}, For: "vzdump.backup"}
	}
	return []Need{need("VM.Audit", "/vms/{guest}"), need("VM.Backup", "/vms/{guest}"), need("Datastore.Audit|Datastore.AllocateSpace", "/storage/nas"), need("Datastore.AllocateSpace", "/storage/nas")}
}

func serve(t *testing.T, c http.Handler) (*httptest.Server, Patient) {
	t.Helper()
	srv := httptest.NewUnstartedServer(c)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that are broken off
	srv.StartTLS()
	t.Cleanup(srv.Close)
	mount := t.TempDir()
	if err := os.MkdirAll(filepath.Join(mount, "dump"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mount, "dump/vzdump-qemu-101-2026_11_22-12_00_00.vma.zst"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	return srv, Patient{Needs: needs(), Config: pve.Config{
		URL: srv.URL, TokenID: "nixmox@pve!runs", Token: pve.NewSecret("x"), Fingerprint: pve.Fingerprint(srv.Certificate()),
		Mounts: map[string]string{"nas": mount}, Now: func() time.Time { return now },
		Sleep: func(context.Context, time.Duration) error { return nil },
	}}
}

// examine holds what is true of all findings.
func examine(t *testing.T, p Patient) []Finding {
	t.Helper()
	got := Examine(t.Context(), p)
	for _, f := range got {
		switch {
		case f.Check == "" || f.Subject == "" || f.Found == "":
			t.Errorf("says too little: %+v", f)
		case (f.Level == OK) == (f.Cure != ""):
			t.Errorf("ok, and nothing else, needs no cure: %+v", f)
		case f.Level == OK && strings.Contains(f.Found, "not checked"):
			t.Errorf("what was not checked is not ok: %+v", f)
		}
	}
	return got
}

func has(t *testing.T, got []Finding, want Finding) {
	t.Helper()
	if !slices.ContainsFunc(got, func(f Finding) bool {
		return f.Check == want.Check && f.Subject == want.Subject && f.Level == want.Level && strings.Contains(f.Found, want.Found) && strings.Contains(f.Cure, want.Cure)
	}) {
		var b strings.Builder
		for _, f := range got {
			fmt.Fprintf(&b, "%+v\n", f)
		}
		t.Errorf("no %+v in\n%s", want, b.String())
	}
}

func worse(got []Finding) (out []Finding) {
	for _, f := range got {
		if f.Level != OK && f.Check != "exclusion" {
			out = append(out, f)
		}
	}
	return out
}

func TestAllIsWell(t *testing.T) {
	_, p := serve(t, well())
	got := examine(t, p)
	if bad := worse(got); bad != nil {
		t.Errorf("%+v", bad)
	}
	for _, check := range checks {
		if !slices.ContainsFunc(got, func(f Finding) bool { return f.Check == check.name }) {
			t.Errorf("nothing is said of %s", check.name)
		}
	}
}

// TestFindings: one thing is wrong, and that is what is found.
func TestFindings(t *testing.T) {
	guests := func(list ...m) func(*cluster) {
		return func(c *cluster) { c.answers["/cluster/resources"] = list }
	}
	set := func(path string, answer any) func(*cluster) {
		return func(c *cluster) { c.answers[path] = answer }
	}
	storage := func(change m) func(*cluster) {
		return func(c *cluster) {
			s := c.answers["/storage"].([]m)[0]
			for k, v := range change {
				s[k] = v
			}
		}
	}
	clock := func(ahead time.Duration, zone string) func(*cluster) {
		return set("/nodes/pve2/time", m{"time": now.Add(ahead).Unix(), "timezone": zone})
	}
	active := func(total, avail int) []m {
		return []m{{"storage": "nas", "active": 1, "total": total, "avail": avail}}
	}
	locked := func(lock string) []m {
		return []m{{"type": "qemu", "vmid": 101, "node": "pve1", "lock": lock}, {"type": "lxc", "vmid": 102, "node": "pve2"}}
	}
	for name, test := range map[string]struct {
		change func(*cluster)
		want   Finding
	}{
		"token refused":         {set("/version", 401), Finding{"token", "nixmox@pve!runs", Error, "Proxmox says: 401", "pveum user token list nixmox@pve"}},
		"after a refused token": {set("/version", 401), Finding{"guests", "the guests", Note, "not checked: token must be well first", "token"}},
		"privsep, empty ACL":    {set("/access/permissions", m{}), Finding{"privileges", "nixmox@pve!runs", Error, "privilege separation", "pveum user token modify nixmox@pve runs --privsep 0"}},
		"one guest not":         {set("/access/permissions", m{"/nodes": m{"Sys.Audit": 1}, "/vms": m{"VM.Audit": 1, "VM.Backup": 1}, "/vms/102": m{"VM.Audit": 1}, "/storage/nas": m{"Datastore.AllocateSpace": 1}}), Finding{"privileges", "nixmox@pve!runs", Warning, "lacks VM.Backup on /vms/102", "pveum acl modify /vms/102"}},
		"not propagated":        {set("/access/permissions", m{"/nodes": m{"Sys.Audit": 1}, "/vms": m{"VM.Audit": 1, "VM.Backup": 0}, "/storage/nas": m{"Datastore.AllocateSpace": 1}}), Finding{"privileges", "nixmox@pve!runs", Error, "lacks VM.Backup on /vms,", "pveum acl modify /vms --roles"}},
		"too much":              {set("/access/permissions", m{"/": m{"Sys.Audit": 1, "VM.Audit": 1, "VM.Backup": 1, "Datastore.AllocateSpace": 1, "Sys.Modify": 1}}), Finding{"privileges", "nixmox@pve!runs", Note, "Sys.Modify", "--privileges"}},
		"no quorum":             {set("/cluster/status", []m{{"type": "cluster", "quorate": 0}}), Finding{"nodes", "the cluster", Error, "no quorum", "pvecm status"}},
		"no quorum, counted": {func(c *cluster) {
			c.answers["/cluster/status"] = 403
			c.answers["/nodes"] = []m{{"node": "pve1", "status": "online"}, {"node": "pve2", "status": "offline"}}
		}, Finding{"nodes", "the cluster", Error, "no more than half", "pvecm status"}},
		"node offline":           {set("/nodes", []m{{"node": "pve1", "status": "online"}, {"node": "pve2", "status": "offline"}}), Finding{"nodes", "the cluster", Warning, "offline: pve2", "start the nodes"}},
		"node silent":            {set("/nodes/pve2/version", 595), Finding{"nodes", "pve2", Warning, "does not answer", "pvedaemon"}},
		"guests of a silent one": {set("/nodes/pve2/version", 595), Finding{"guests", "left out", Note, "not checked: the nodes of these guests do not answer: 102", "nodes"}},
		"version 7":              {set("/nodes/pve2/version", m{"version": "7.4-19"}), Finding{"version", "pve2", Warning, "7.4-19 is older", "upgrade"}},
		"version 10":             {set("/nodes/pve2/version", m{"version": "10.0.1"}), Finding{"version", "pve2", Warning, "10.0.1 is newer", "plan"}},
		"mixed versions":         {set("/nodes/pve2/version", m{"version": "8.4.5"}), Finding{"version", "the cluster", Note, "8.4.5 on pve2; 9.2.11 on pve1", "dist-upgrade"}},
		"clock ahead":            {clock(30*time.Second, "UTC"), Finding{"clock", "pve2", Warning, "ahead of", "timedatectl"}},
		"clock behind":           {clock(-2*time.Minute, "UTC"), Finding{"clock", "pve2", Error, "behind", "timedatectl"}},
		"clock nearly right":     {clock(4*time.Second, "UTC"), Finding{"clock", "pve1, pve2", OK, "within 5s", ""}},
		"clocks hidden":          {set("/nodes/pve2/time", 403), Finding{"clock", "pve2", Warning, "not checked: the token lacks Sys.Audit", "pveum acl modify /nodes "}},
		"time zones":             {clock(0, "Europe/Berlin"), Finding{"clock", "time zones", Note, "Europe/Berlin on pve2; UTC on pve1", "set-timezone"}},
		"storage gone":           {set("/storage", []m{{"storage": "local", "type": "dir", "content": "backup", "path": "/x"}}), Finding{"storage", "nas", Error, "no storage of that name", "pvesm status"}},
		"no backup content":      {storage(m{"content": "iso"}), Finding{"storage", "nas", Error, "it keeps iso, but no backups", "pvesm set nas --content iso,backup"}},
		"none keeps backups":     {storage(m{"content": "iso", "type": "dir"}), Finding{"storage", "the storages", Error, "none", "pvesm set nas --content iso,backup"}},
		"mounts after none":      {storage(m{"content": "iso"}), Finding{"mount", "the storages", Note, "not checked: storage", "storage"}},
		"disabled":               {storage(m{"disable": 1}), Finding{"storage", "nas", Error, "disabled", "--disable 0"}},
		"inactive":               {set("/nodes/pve2/storage", []m{{"storage": "nas", "active": 0}}), Finding{"storage", "nas", Error, "not active on pve2", "nas1"}},
		"not for all nodes":      {storage(m{"nodes": "pve1"}), Finding{"storage", "nas", Warning, "guests on pve2", "--delete nodes"}},
		"keep limit":             {storage(m{"prune-backups": "keep-last=3"}), Finding{"storage", "nas", Error, "keep-last=3", "--prune-backups keep-all=1"}},
		"keep limit of a node": {func(c *cluster) {
			delete(c.answers["/storage"].([]m)[0], "prune-backups")
			c.answers["/nodes/pve2/vzdump/defaults"] = m{"prune-backups": "keep-daily=7"}
		}, Finding{"storage", "nas", Error, "keep-daily=7", "keep-all=1"}},
		"nearly full":       {set("/nodes/pve1/storage", active(1000, 20)), Finding{"storage", "nas", Warning, "nearly full", "prune"}},
		"own storage":       {storage(m{"type": "dir"}), Finding{"storage", "nas", Note, "each node has its own", "another machine"}},
		"backup server":     {storage(m{"type": "pbs"}), Finding{"mount", "nas", Note, "cannot verify", "Verify Jobs"}},
		"archive not there": {set("/nodes/pve1/storage/nas/content", []m{{"volid": "nas:backup/vzdump-qemu-101-2026_11_23-11_00_00.vma.zst", "content": "backup", "vmid": 101, "ctime": now.Unix(), "size": 5}}), Finding{"mount", "nas", Warning, "verify could not read its archives here", "is it mounted"}},
		"another storage":   {set("/nodes/pve1/storage/nas/content", []m{{"volid": "nas:backup/vzdump-qemu-101-2026_11_22-12_00_00.vma.zst", "content": "backup", "vmid": 101, "ctime": now.Unix(), "size": 6}}), Finding{"mount", "nas", Error, "5 bytes here, and Proxmox says 6", "[proxmox.mounts]"}},
		"no archive yet":    {set("/nodes/pve1/storage/nas/content", []m{}), Finding{"mount", "nas", Note, "not checked: it keeps no archive yet", "after the first backup"}},
		"content refused":   {set("/nodes/pve1/storage/nas/content", 500), Finding{"storage", "nas", Error, "not checked", "nixmox doctor"}},
		"not covered":       {set("/nodes/pve1/storage/nas/content", []m{}), Finding{"guests", "coverage", Note, "2 guests without an archive that nixmox verified in the last 7 days: 101-102", "nixmox run backup"}},
		"in no job either": {func(c *cluster) {
			c.answers["/nodes/pve1/storage/nas/content"] = []m{}
			c.answers["/cluster/backup-info/not-backed-up"] = []m{{"vmid": 102, "type": "lxc"}}
		}, Finding{"guests", "coverage", Note, "no backup job of Proxmox's either: 102", ""}},
		"no guests":        {set("/cluster/resources", []m{}), Finding{"guests", "the guests", Warning, "there are none", "VM.Audit"}},
		"locked by nobody": {guests(locked("backup")...), Finding{"guests", "guest 101", Warning, "no running task of pve1", "qm unlock 101"}},
		"locked for long": {func(c *cluster) {
			guests(locked("backup")...)(c)
			c.answers["/nodes/pve1/tasks"] = []m{{"id": "101", "type": "vzdump", "starttime": now.Add(-30 * time.Hour).Unix()}}
		}, Finding{"guests", "guest 101", Warning, "locked (backup) for 30h0m0s by the task vzdump", "never breaks a lock"}},
		"locked, and busy": {func(c *cluster) {
			guests(locked("backup")...)(c)
			c.answers["/nodes/pve1/tasks"] = []m{{"id": "", "type": "vzdump", "starttime": now.Add(-time.Hour).Unix()}}
		}, Finding{"guests", "guest 101", Note, "by the task vzdump, for 1h0m0s", "wait"}},
		"locked, tasks hidden": {func(c *cluster) { guests(locked("backup")...)(c); c.answers["/nodes/pve1/time"] = 403 }, Finding{"guests", "guest 101", Warning, "cannot be seen", "never breaks"}},
		"locked, node silent": {func(c *cluster) {
			guests(locked("backup")...)(c)
			c.answers["/nodes/pve1/version"] = 595
		}, Finding{"guests", "guest 101", Warning, "cannot be seen", "never breaks"}},
		"suspended to disk":     {guests(locked("suspended")...), Finding{"guests", "guest 101", Note, "suspended to disk", "qm resume 101"}},
		"disk left out":         {set("/nodes/pve1/qemu/101/config", m{"scsi0": "a:b,size=8G", "scsi1": "a:c,backup=0,size=8G", "memory": 4096}), Finding{"guests", "guest 101", Note, "scsi1 (backup=0)", "backup=1"}},
		"mount points left out": {set("/nodes/pve2/lxc/102/config", m{"mp0": "/srv,mp=/srv,backup=1", "mp1": "a:b,mp=/b"}), Finding{"guests", "guest 102", Note, "mp0 (/srv of the host), mp1 (no backup=1)", "backup=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := well()
			test.change(c)
			_, p := serve(t, c)
			has(t, examine(t, p), test.want)
		})
	}
}

func TestHosts(t *testing.T) {
	srv, p := serve(t, well())
	where := strings.TrimPrefix(srv.URL, "https://")
	shown := pve.Fingerprint(srv.Certificate())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	plainAt := strings.TrimPrefix(plain.URL, "http://")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Patient)
		want   Finding
	}{
		"unknown name":      {func(p *Patient) { p.Config.URL = "https://nowhere.invalid" }, Finding{"reachability", "nowhere.invalid", Error, "cannot be resolved", "getent hosts nowhere.invalid"}},
		"nobody listens":    {func(p *Patient) { p.Config.URL = "https://" + nobody }, Finding{"reachability", nobody, Error, "no connection", "systemctl status pveproxy"}},
		"no TLS":            {func(p *Patient) { p.Config.URL = "https://" + plainAt }, Finding{"reachability", plainAt, Error, "not with TLS", "8006"}},
		"another":           {func(p *Patient) { p.Config.Fingerprint = strings.Repeat("AB:", 31) + "AB" }, Finding{"reachability", where, Error, shown + ", and the configuration expects AB:AB", "fingerprint = \"" + shown}},
		"nothing to trust":  {func(p *Patient) { p.Config.Fingerprint = "" }, Finding{"reachability", where, Error, "no CA of this machine vouches for it", "openssl x509 -noout -fingerprint -sha256"}},
		"ca file":           {func(p *Patient) { p.Config.Fingerprint, p.Config.CAFile = "", ca }, Finding{"reachability", where, OK, "signed by the CA in ca_file", ""}},
		"ends soon":         {func(p *Patient) { p.Config.Now = at(srv.Certificate().NotAfter.Add(-49 * time.Hour)) }, Finding{"certificate", where, Warning, "in 2 days", "pvecm updatecerts"}},
		"ended":             {func(p *Patient) { p.Config.Now = at(srv.Certificate().NotAfter.Add(time.Hour)) }, Finding{"certificate", where, Warning, "it ended on", "pvecm updatecerts"}},
		"mount of no store": {func(p *Patient) { p.Config.Mounts["gone"] = "/mnt" }, Finding{"mount", "gone", Warning, "not there", `"gone" = "/mnt"`}},
		"no mount":          {func(p *Patient) { p.Config.Mounts = nil }, Finding{"mount", "nas", Warning, "this machine is no Proxmox node", "[proxmox.mounts]"}},
		"bad token id":      {func(p *Patient) { p.Config.TokenID = "root" }, Finding{"configuration", "[proxmox]", Error, "token_id", "nixmox.toml"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, fresh := serve(t, well())
			q := p
			q.Config.Mounts = fresh.Config.Mounts
			test.change(&q)
			has(t, examine(t, q), test.want)
		})
	}
}

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

// No token travels to a host that is not the one meant.
func TestTokenStaysHome(t *testing.T) {
	c := well()
	_, p := serve(t, c)
	p.Config.Fingerprint = strings.Repeat("AB:", 31) + "AB"
	examine(t, p)
	if len(c.asked) > 0 {
		t.Errorf("it was asked %v", c.asked)
	}
}

// A thousand guests cost no request more than two hundred.
func TestRequestsGrowWithNodes(t *testing.T) {
	count := func(guests int) int {
		c := well()
		list := make([]m, guests)
		for i := range list {
			list[i] = m{"type": "qemu", "vmid": 1000 + i, "node": "pve1", "status": "running"}
		}
		c.answers["/cluster/resources"] = list
		_, p := serve(t, c)
		has(t, examine(t, p), Finding{"guests", "left out", Note, "not checked", "--every-guest"})
		return len(c.asked)
	}
	if few, many := count(200), count(1000); few != many || many > 24 {
		t.Errorf("%d requests for 200 guests, %d for 1000", few, many)
	}
}

func TestEveryGuest(t *testing.T) {
	c := well()
	var list []m
	for i := range readAlways + 1 {
		list = append(list, m{"type": "qemu", "vmid": 1000 + i, "node": "pve1"})
		c.answers[fmt.Sprintf("/nodes/pve1/qemu/%d/config", 1000+i)] = m{"scsi0": "a:b,backup=0"}
	}
	c.answers["/cluster/resources"] = list
	_, p := serve(t, c)
	p.EveryGuest = true
	has(t, examine(t, p), Finding{"guests", "guest 1050", Note, "scsi0", ""})
}

func TestCommands(t *testing.T) {
	got := Commands(append(needs(), Need{Privilege: builtin.Privilege{Name: "VM.GuestAgent.Audit|VM.Monitor", Path: "/vms/{guest}"}, For: "x"}), "a@pve!b")
	want := []string{
		`pveum role add nixmox --privs "Datastore.AllocateSpace Sys.Audit VM.Audit VM.Backup VM.GuestAgent.Audit"`,
		"pveum user add a@pve", "pveum user token add a@pve b --privsep 0",
		"pveum acl modify /nodes --roles nixmox --users a@pve", "pveum acl modify /storage/nas --roles nixmox --users a@pve", "pveum acl modify /vms --roles nixmox --users a@pve",
		"# on Proxmox VE 8: VM.Monitor in place of VM.GuestAgent.…",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	all := Commands([]Need{{Privilege: builtin.Privilege{Name: "Sys.Audit", Path: "/"}}, {Privilege: builtin.Privilege{Name: "VM.Audit", Path: "/vms/{guest}"}}}, "a@pve!b")
	if !strings.HasPrefix(all[3], "pveum acl modify / ") || len(all) != 4 {
		t.Errorf("%q", all)
	}
}

// Proxmox VE 9 took VM.Monitor apart.
func TestNamesOfVersions(t *testing.T) {
	for _, test := range []struct {
		names string
		major int
		want  string
	}{
		{"VM.GuestAgent.Unrestricted", 8, "VM.Monitor"}, {"VM.GuestAgent.Unrestricted", 9, "VM.GuestAgent.Unrestricted"},
		{"VM.Monitor|VM.GuestAgent.Audit", 9, "VM.GuestAgent.Audit"}, {"VM.Monitor|VM.GuestAgent.Audit", 8, "VM.Monitor"}, {"VM.Monitor", 9, "VM.GuestAgent.Unrestricted"},
	} {
		if got := onVersion(test.names, test.major); got != test.want {
			t.Errorf("%s on %d: %s", test.names, test.major, got)
		}
	}
}

func TestPermissions(t *testing.T) {
	p := pve.Permissions{"/": {"A": true}, "/vms": {"A": true, "B": true, "C": false}, "/vms/101": {"A": false}}
	for _, test := range []struct {
		path, name string
		want       bool
	}{
		{"/", "A", true}, {"/nodes/x", "A", true}, {"/vms", "C", true}, {"/vms/100", "C", false}, {"/vms/100", "B", true},
		{"/vms/101", "A", true}, {"/vms/101", "B", false}, {"/vms/101/x", "A", false}, {"/nodes", "B", false},
	} {
		if got := p.Has(test.path, test.name); got != test.want {
			t.Errorf("%s on %s: %v", test.name, test.path, got)
		}
	}
	if (pve.Permissions{}).Has("/vms/1", "A") {
		t.Error("nothing grants nothing")
	}
}

func TestIDList(t *testing.T) {
	for _, test := range []struct {
		ids  []builtin.VMID
		want string
	}{{nil, ""}, {[]builtin.VMID{105, 100, 101, 102}, "100-102, 105"}, {[]builtin.VMID{100, 100, 102}, "100, 102"}} {
		if got := idList(test.ids); got != test.want {
			t.Errorf("%v: %q", test.ids, got)
		}
	}
}
