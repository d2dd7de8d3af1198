package vzdump

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/internal/pvetest"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// lastOf is the newest archive of a guest on the storage backup.
func (u *user) lastOf(guest int64) string {
	u.t.Helper()
	list := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(guest)})
	if len(list) == 0 {
		u.t.Fatalf("no archive of guest %d", guest)
	}
	return string(list[len(list)-1].VolID.Value)
}

func (u *user) guest(id int) *lab.GuestState {
	all := u.lab.Guests()
	i := slices.IndexFunc(all, func(g lab.GuestState) bool { return g.ID == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

func TestRestoreToANewID(t *testing.T) {
	u := newUser(t)
	before := u.guest(100)
	got := must[Restored](u, "restore", args{"volid": u.lastOf(100)})
	g := u.guest(int(got.Guest))
	if got.Guest != 112 || got.Kind != "vm" || got.Node != "pve1" || g == nil || g.Node != "pve1" || g.Running || g.Name != "nixos-vm" {
		t.Fatalf("%+v: %+v", got, g)
	}
	if want := []Disk{{Key: "scsi0", VolID: "rpool:vm-112-disk-0", Size: 32 << 30}}; !reflect.DeepEqual(got.Disks.Value, want) {
		t.Errorf("disks %+v", got.Disks.Value)
	}
	if got.Config.Value["net0"] == before.Config["net0"] || !strings.Contains(got.Config.Value["net0"], "bridge=vmbr0") {
		t.Errorf("a copy with the MAC address of the original: %s", got.Config.Value["net0"])
	}
	if !slices.Contains(got.LeftOut, "snapshots, the last of them before-upgrade") {
		t.Errorf("left out %q", got.LeftOut)
	}
	if !reflect.DeepEqual(u.guest(100), before) {
		t.Errorf("the original has changed: %+v", u.guest(100))
	}
	if len(u.handles) != 2 || u.handles[0] != "112 pve1 -" || u.handles[1] != "112 pve1 - "+got.Task.Value {
		t.Errorf("handles %q", u.handles)
	}
	if !slices.ContainsFunc(u.progress, func(p builtin.Progress) bool {
		return p.Subject == "112" && p.Percent == 50 && p.Total == 32<<30 && p.Done > 15<<30 && p.Rate > 0
	}) {
		t.Errorf("no half-way progress in %+v", u.progress)
	}
}

// The guest is lost: under its own id it is no copy, and keeps its addresses.
func TestRestoreALostContainer(t *testing.T) {
	u := newUser(t)
	was := u.guest(101)
	if err := u.lab.RemoveGuest(101); err != nil {
		t.Fatal(err)
	}
	got := must[Restored](u, "restore", args{"volid": u.lastOf(101), "guest": int64(101), "node": "pve2", "start": true})
	g := u.guest(101)
	if g == nil || !g.Running || g.Config["net0"] != was.Config["net0"] || g.Config["rootfs"] != "rpool:subvol-101-disk-0,size=8G" {
		t.Errorf("%+v", g)
	}
	if got.Kind != "container" || len(got.Disks.Value) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestNeverOverAGuest(t *testing.T) {
	u := newUser(t)
	state, err := u.lab.State()
	if err != nil {
		t.Fatal(err)
	}
	_, err = call[Restored](u, "restore", args{"volid": u.lastOf(100), "guest": int64(106)})
	fault(t, err, builtin.Conflict, "there is a guest of that id", "vzdump.restore_over")
	if after, _ := u.lab.State(); string(after) != string(state) || len(u.handles) != 0 {
		t.Error("something was done all the same")
	}
}

// Somebody takes the id between the look and the request: the next one is taken.
func TestRestoreWhenTheIDIsSnatched(t *testing.T) {
	u := newUser(t)
	once := true
	u.run.Handle = func(_ builtin.Call, h string) error {
		u.handles = append(u.handles, h)
		if once {
			once = false
			return u.lab.ChangeGuest(112, lab.GuestChange{})
		}
		return nil
	}
	got := must[Restored](u, "restore", args{"volid": u.lastOf(100)})
	if got.Guest != 113 || u.guest(112).Name != "vm112" {
		t.Errorf("%+v, handles %q", got, u.handles)
	}
	// With an id that was asked for, it is a conflict.
	once = true
	u.run.Handle = func(builtin.Call, string) error {
		if once {
			once = false
			return u.lab.ChangeGuest(120, lab.GuestChange{})
		}
		return nil
	}
	_, err := call[Restored](u, "restore", args{"volid": u.lastOf(100), "guest": int64(120)})
	fault(t, err, builtin.Conflict, "VM 120 already exists on node 'pve1'")
}

// Only root may restore bind mounts; nixmox leaves them out, and says so.
func TestRestoreAContainerWithABindMount(t *testing.T) {
	u := newUser(t)
	must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(107), "storage": "backup"})
	got := must[Restored](u, "restore", args{"volid": u.lastOf(107)})
	g := u.guest(int(got.Guest))
	if g.Node != "pve3" || g.Config["mp0"] != "" || !strings.Contains(g.Config["mp1"], "mp=/data") || !strings.Contains(g.Config["mp1"], "size=500G") {
		t.Errorf("%+v", g)
	}
	if len(got.LeftOut) != 2 || !strings.Contains(got.LeftOut[0], "mp0: /srv/share: a bind or device mount") || !strings.Contains(got.LeftOut[1], "mp1") {
		t.Errorf("left out %q", got.LeftOut)
	}
}

func TestRestoreOfADamagedArchive(t *testing.T) {
	for _, guest := range []int64{100, 109} {
		u := newUser(t)
		must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(guest), "storage": "backup"})
		volid := u.lastOf(guest)
		if err := u.lab.Damage(volid, "truncate"); err != nil {
			t.Fatal(err)
		}
		_, err := call[Restored](u, "restore", args{"volid": volid, "guest": int64(120)})
		fault(t, err, builtin.Failed, "restoring "+volid+" as guest 120", "unable to restore", "nothing of guest 120 is left", "pvenode task log UPID:")
		if u.guest(120) != nil {
			t.Error("guest 120 is there")
		}
	}
}

func TestRestoreRefusedBeforeAnythingStarts(t *testing.T) {
	u := newUser(t)
	volid := u.lastOf(100)
	for name, c := range map[string]struct {
		args  args
		kind  builtin.Kind
		words []string
	}{
		"no archive":      {args{"volid": "backup:backup/vzdump-qemu-100-2020_01_01-00_00_00.vma.zst"}, builtin.NotFound, []string{"is not in the storage's list"}},
		"no storage":      {args{"volid": "nostore:backup/vzdump-qemu-100-2020_01_01-00_00_00.vma.zst"}, builtin.NotFound, []string{"nostore"}},
		"no such target":  {args{"volid": volid, "storage": "nostore"}, builtin.NotFound, []string{"nostore is not on pve1"}},
		"target of ISOs":  {args{"volid": volid, "storage": "media"}, builtin.Invalid, []string{"media keeps iso, but no images"}},
		"no such node":    {args{"volid": volid, "node": "pve9"}, builtin.Unreachable, []string{"pve9"}},
		"target is away":  {args{"volid": volid, "storage": "away"}, builtin.Unreachable, []string{"away is not active there"}},
		"the id is taken": {args{"volid": volid, "guest": int64(9001)}, builtin.Conflict, []string{"there is a guest of that id"}},
	} {
		if name == "target is away" {
			if err := u.lab.AddStorage(lab.NewStorage{Name: "away", Type: "lvmthin", Content: []string{"images"}}); err != nil {
				t.Fatal(err)
			}
			if err := u.lab.AddFault(lab.Fault{Target: "storage", ID: "away", Kind: "offline"}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := call[Restored](u, "restore", c.args)
		if err == nil {
			t.Errorf("%s: went ahead", name)
			continue
		}
		fault(t, err, c.kind, c.words...)
	}
	if n := u.count("POST", "/qemu"); n != 0 || len(u.handles) != 0 {
		t.Errorf("%d requests", n)
	}
}

// A plan restores nothing, knows the id, and gives the next one to the next.
func TestRestorePlanned(t *testing.T) {
	u := newUser(t)
	u.run.Planned = &builtin.Overlay{}
	volid := u.lastOf(100)
	first, second := must[Restored](u, "restore", args{"volid": volid}), must[Restored](u, "restore", args{"volid": volid})
	if first.Guest != 112 || second.Guest != 113 || first.Task.Known() || u.count("POST", "/qemu") != 0 {
		t.Errorf("%+v, %+v", first, second)
	}
	_, err := call[Restored](u, "restore", args{"volid": volid, "guest": int64(113)})
	fault(t, err, builtin.Conflict)
}

// The connection breaks while Proxmox is asked: the task it began is found, and
// where none began nothing is claimed.
func TestRestoreWithALostConnection(t *testing.T) {
	u := newUser(t, "api:POST /nodes/pve1/qemu=drop") // after it was carried out
	got := must[Restored](u, "restore", args{"volid": u.lastOf(100), "guest": int64(120)})
	if n := u.count("POST", "/qemu"); n != 1 || u.guest(120) == nil || got.Guest != 120 {
		t.Errorf("asked %d times: %+v", n, got)
	}

	u = newUser(t, "api:POST /nodes/pve1/qemu=596") // and nobody can look
	u.run.Handle = func(builtin.Call, string) error {
		return u.lab.AddFault(lab.Fault{Target: "api", ID: "GET /nodes/pve1/tasks", Kind: "500"})
	}
	_, err := call[Restored](u, "restore", args{"volid": u.lastOf(100), "guest": int64(120)})
	fault(t, err, builtin.Unreachable, "nothing is known to have been started", "the task list of pve1 could not be read either")
	if n := u.count("POST", "/qemu"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestSettleRestore(t *testing.T) {
	u := newUser(t)
	volid := u.lastOf(100)
	settle := func(c *builtin.Call, handle string) builtin.Settlement[any] {
		t.Helper()
		s, err := c.Func.Settle(context.Background(), c, handle)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	c := u.prepare("restore", args{"volid": volid})
	for _, handle := range []string{"", "120 pve1 -"} {
		if s := settle(c, handle); s.State != builtin.NotDone {
			t.Errorf("killed before it asked, handle %q: %+v", handle, s)
		}
	}
	out, err := c.Func.Do(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, handle := range u.handles {
		if s := settle(c, handle); s.State != builtin.Done || s.Fault != nil || !reflect.DeepEqual(s.Result, out) {
			t.Errorf("handle %q:\n%+v\nwant %+v", handle, s, out)
		}
	}
	// The guest was there before, and its restore is not this call's.
	task := out.(Restored).Task.Value
	if s := settle(c, "112 pve1 "+task); s.State != builtin.Unknown {
		t.Errorf("%+v", s)
	}
	if s := settle(c, "garbage"); s.State != builtin.Unknown {
		t.Errorf("%+v", s)
	}
}

func TestSettleARunningAndAFailedRestore(t *testing.T) {
	u := newUser(t, "restore:112=hang")
	volid := u.lastOf(100)
	c := u.prepare("restore", args{"volid": volid})
	ctx, cancel := context.WithCancel(context.Background())
	u.run.Handle = func(_ builtin.Call, h string) error {
		if u.handles = append(u.handles, h); len(u.handles) == 2 {
			cancel() // killed
		}
		return nil
	}
	if _, err := c.Func.Do(ctx, c); err == nil {
		t.Fatal("it ended")
	}
	s, err := c.Func.Settle(context.Background(), c, u.handles[1])
	if err != nil || s.State != builtin.Running || s.Handle != u.handles[1] {
		t.Fatalf("%+v, %v", s, err)
	}
	upid := strings.Fields(u.handles[1])[3]
	if err := u.v.c.Delete(context.Background(), pve.Path("/nodes/%s/tasks/%s", "pve1", upid), nil, nil); err != nil {
		t.Fatal(err)
	}
	u.lab.Advance(time.Minute)
	s, err = c.Func.Settle(context.Background(), c, u.handles[1])
	if err != nil || s.State != builtin.Done || s.Fault == nil || !strings.Contains(s.Fault.Said, "interrupted by signal") {
		t.Fatalf("%+v, %v", s, err)
	}
}

// stopped108 is an archive of the guest that is stopped, marked or not.
func (u *user) stopped108(verified bool) string {
	u.t.Helper()
	made := must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(108), "storage": "backup"})
	volid := string(made.Archives[0].VolID.Value)
	if verified {
		u.mark(u.verify(volid))
	}
	u.handles = nil
	return volid
}

func TestRestoreOver(t *testing.T) {
	u := newUser(t)
	volid := u.stopped108(true)
	name := "changed"
	if err := u.lab.ChangeGuest(108, lab.GuestChange{Name: &name}); err != nil {
		t.Fatal(err)
	}
	got := must[Restored](u, "restore_over", args{"volid": volid, "guest": int64(108), "start": true})
	g := u.guest(108)
	if got.Guest != 108 || g.Name != "stopped-vm" || !g.Running || g.Config["scsi0"] != "rpool:vm-108-disk-0,iothread=1,size=16G" || g.Lock != "" {
		t.Errorf("%+v: %+v", got, g)
	}
	c := u.prepare("restore_over", args{"volid": volid, "guest": int64(108), "start": true})
	s, err := c.Func.Settle(context.Background(), c, u.handles[len(u.handles)-1])
	if err != nil || s.State != builtin.Done || !reflect.DeepEqual(s.Result, got) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.Func.Settle(context.Background(), c, "108 pve3 "+got.Task.Value); err != nil || s.State != builtin.NotDone {
		t.Errorf("killed before it asked a second time: %+v, %v", s, err)
	}
}

func TestRestoreOverSaysNo(t *testing.T) {
	u := newUser(t)
	volid, lock, none := u.stopped108(false), "migrate", ""
	over := func(a args) error {
		_, err := call[Restored](u, "restore_over", a)
		return err
	}
	fault(t, over(args{"volid": volid, "guest": int64(108)}), builtin.Conflict, "not marked as verified", "unverified = True")
	fault(t, over(args{"volid": volid, "guest": int64(104), "unverified": true}), builtin.Conflict, "the guest is a container, and the archive is of a vm")
	fault(t, over(args{"volid": volid, "guest": int64(100), "unverified": true}), builtin.Conflict, "the guest is running", "shut it down first")
	fault(t, over(args{"volid": volid, "guest": int64(555), "unverified": true}), builtin.NotFound, "no such guest")
	if err := u.lab.ChangeGuest(108, lab.GuestChange{Config: map[string]string{"protection": "1"}}); err != nil {
		t.Fatal(err)
	}
	fault(t, over(args{"volid": volid, "guest": int64(108), "unverified": true}), builtin.Conflict, "the guest is protected")
	if err := u.lab.ChangeGuest(108, lab.GuestChange{Config: map[string]string{"protection": ""}, Lock: &lock}); err != nil {
		t.Fatal(err)
	}
	fault(t, over(args{"volid": volid, "guest": int64(108), "unverified": true}), builtin.Busy, "locked (migrate)")
	if err := u.lab.ChangeGuest(108, lab.GuestChange{Lock: &none}); err != nil {
		t.Fatal(err)
	}
	if n := u.count("POST", "/qemu"); n != 0 {
		t.Errorf("%d restores", n)
	}

	// The guest changes between the decision and the deed.
	c := u.prepare("restore_over", args{"volid": volid, "guest": int64(108), "unverified": true})
	d, err := c.Func.Decide(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Decision = d
	if err := u.lab.ChangeGuest(108, lab.GuestChange{Config: map[string]string{"description": "there is something new in it"}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Func.Do(context.Background(), c)
	fault(t, err, builtin.Conflict, "have changed since it was decided")
	if n := u.count("POST", "/qemu"); n != 0 {
		t.Errorf("%d restores", n)
	}
}

func TestRestoreOverThatFailsSaysWhatIsLost(t *testing.T) {
	u := newUser(t, "restore:108=fail")
	volid := u.stopped108(true)
	_, err := call[Restored](u, "restore_over", args{"volid": volid, "guest": int64(108)})
	fault(t, err, builtin.Failed, "what was on the guest's disks may be gone", "verify the archive")
	if g := u.guest(108); g == nil || g.Lock != "" {
		t.Errorf("%+v", g)
	}
}

func TestProtect(t *testing.T) {
	u := newUser(t)
	list := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(106)})
	var ours, foreign string
	for _, a := range list {
		if a.Ours {
			ours = string(a.VolID.Value)
		} else if a.Protected {
			foreign = string(a.VolID.Value)
		}
	}
	for _, on := range []bool{true, true, false} {
		if got := must[Archive](u, "protect", args{"volid": ours, "on": on}); got.Protected != on {
			t.Errorf("on %v: %+v", on, got)
		}
	}
	if n := u.count("PUT", ours); n != 2 {
		t.Errorf("%d requests, want none where it is as wanted", n)
	}
	_, err := call[Archive](u, "protect", args{"volid": foreign, "on": false})
	fault(t, err, builtin.Conflict, "not nixmox's own")
	must[Archive](u, "protect", args{"volid": foreign})

	c := u.prepare("protect", args{"volid": ours})
	if s, err := c.Func.Settle(t.Context(), c, ""); err != nil || s.State != builtin.NotDone {
		t.Errorf("%+v, %v", s, err)
	}
	u.run.Planned = &builtin.Overlay{}
	must[Archive](u, "protect", args{"volid": ours})
	for _, a := range must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(106)}) {
		if string(a.VolID.Value) == ours && !a.Protected {
			t.Error("the plan's own protection does not count in it")
		}
	}
}

func TestExtractConfig(t *testing.T) {
	u := newUser(t)
	must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(102), "storage": "backup"})
	got := must[ArchivedConfig](u, "extract_config", args{"volid": u.lastOf(102)})
	if got.Guest != 102 || got.Kind != "vm" || got.Config["ostype"] != "win11" || !strings.Contains(got.Text, "scsi0: rpool:vm-102-disk-0") || len(got.Disks) != 3 {
		t.Errorf("%+v", got)
	}
	if want := []string{"hostpci0: 0000:01:00.0 is passed through", "hostpci1: 0000:01:00.1 is passed through", "hostpci2: 0000:03:00.0 is passed through"}; !reflect.DeepEqual(got.LeftOut, want) {
		t.Errorf("left out %q", got.LeftOut)
	}
}

func TestGuestConfigs(t *testing.T) {
	c := parseGuestConfig("container", "#a description: x\narch: amd64\nmp0: /dev/sdb,mp=/x\nmp1: a:b,mp=/y,backup=1,size=4G\nmp2: a:c,mp=/z,size=1T\nrootfs: volume=a:r,size=8G\nunused0: a:u\n"+
		"\n[before]\nmp9: a:snap,size=1G\nrootfs: no\n[PENDING]\nx: y\n")
	want := []string{"mp0: /dev/sdb: a bind or device mount, which vzdump never takes", "mp2: a:c: mount points are taken with backup=1 only", "unused0: a:u is attached to nothing", "the snapshot before"}
	if got := c.leftOut(); !reflect.DeepEqual(got, want) {
		t.Errorf("left out %q", got)
	}
	if d := c.disks(); len(d) != 4 || d[3].Key != "rootfs" || d[3].VolID != "a:r" || d[3].Size != 8<<30 || d[1].anew("s") != "s:4,backup=1,mp=/y" {
		t.Errorf("%+v", d)
	}
	c = parseGuestConfig("vm", "ide2: none,media=cdrom\nscsi0: a:0,size=528K\nscsi1: a:1,backup=0,size=2G\nscsi2: /dev/disk/by-id/x,size=1\nusb0: spice\nvirtiofs0: share,cache=auto\n")
	if got, want := c.leftOut(), []string{"scsi1: a:1: backup=0", "virtiofs0: share is passed through"}; !reflect.DeepEqual(got, want) {
		t.Errorf("left out %q", got)
	}
	if d := c.disks(); len(d) != 3 || d[0].Size != 528<<10 || d[0].anew("s") != "s:"+strconv.FormatFloat(528.0/(1<<20), 'f', -1, 64) {
		t.Errorf("%+v", d)
	}
}

func FuzzGuestConfig(f *testing.F) {
	f.Add("vm", "scsi0: a:0,size=1G\n[x]\n")
	f.Add("container", "rootfs: a:b\nmp0: /x,mp=/y\n")
	f.Fuzz(func(t *testing.T, kind, text string) {
		c := parseGuestConfig(kind, text)
		for _, d := range c.disks() {
			if d.Size < 0 || d.VolID == "" || d.archived != (d.why == "") {
				t.Errorf("%+v", d)
			}
		}
		_ = c.leftOut()
	})
}

// Every request of a restore is one that both schemas take.
func TestRestoreRequestsFitProxmoxsSchema(t *testing.T) {
	u := newUser(t, "agent:100=thaw")
	must[BackupResult](u, "backup", args{
		"node": "pve1", "guests": ids(100, 109), "storage": "backup", "exclude_paths": []any{"/var/cache/*"}, "standard_excludes": false, "fleecing": "rpool",
		"change_detection": "metadata", "threads": int64(0), "lock_wait": "90m", "stop_wait": "90s", "notifications": "notification-system",
	})
	must[Restored](u, "restore", args{"volid": u.lastOf(100), "storage": "rpool", "start": true})
	must[Restored](u, "restore", args{"volid": u.lastOf(109)})
	must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(107), "storage": "backup", "compress": "gzip", "threads": int64(4)})
	must[Restored](u, "restore", args{"volid": u.lastOf(107)})
	must[Restored](u, "restore_over", args{"volid": u.stopped108(true), "guest": int64(108)})
	must[Archive](u, "protect", args{"volid": u.lastOf(108)})
	must[PruneResult](u, "prune", pruneTwo)
	for _, version := range []string{"9.2.11", "8.4.5"} {
		schema := pvetest.Schema(t, version)
		for _, x := range u.requests {
			if err := schema.CheckRequest(x.Method, x.Path, x.Params); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
	}
}
