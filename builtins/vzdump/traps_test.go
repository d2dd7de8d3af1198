package vzdump

import (
	"context"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// The traps are those of vzdump and Proxmox VE that have cost somebody data or
// a night, by number.

// posted are the parameters of the requests to a path's end.
func (u *user) posted(pathEnd string) (out []map[string][]string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range u.requests {
		if x.Method == http.MethodPost && strings.HasSuffix(x.Path, pathEnd) {
			out = append(out, x.Params)
		}
	}
	return out
}

// vzdump prunes before anything can be verified, so it never prunes for nixmox.
func TestTrap1VzdumpItselfNeverPrunes(t *testing.T) {
	u := newUser(t)
	before := must[[]Archive](u, "backups", args{"storage": "backup"})
	must[BackupResult](u, "backup", two)
	if p := u.posted("/vzdump")[0]; !reflect.DeepEqual(p["remove"], []string{"0"}) || p["prune-backups"] != nil {
		t.Errorf("%v", p)
	}
	if after := must[[]Archive](u, "backups", args{"storage": "backup"}); len(after) != len(before)+2 {
		t.Errorf("%d archives of %d", len(after), len(before))
	}
}

// With remove=0 vzdump refuses once the storage's own limit is reached.
func TestTrap2KeepLimitIsSeenBeforeTheStart(t *testing.T) {
	u := newUser(t)
	_, err := call[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(104), "storage": "small"})
	fault(t, err, builtin.Conflict, "keep-last=3", "--prune-backups keep-all=1")
	if n := u.count("POST", "/vzdump"); n != 0 {
		t.Errorf("%d tasks", n)
	}
}

// A node makes one backup at a time, and notifies once a task.
func TestTrap3OneTaskANodeAndTheWaitingIsShown(t *testing.T) {
	u := newUser(t)
	if err := u.v.c.Post(context.Background(), "/nodes/pve1/vzdump", map[string]any{"vmid": "102,106", "storage": "backup"}, nil); err != nil {
		t.Fatal(err)
	}
	got := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(109, 111), "storage": "backup"})
	if len(got.Archives) != 2 || len(u.posted("/vzdump")) != 2 || u.posted("/vzdump")[1]["vmid"][0] != "109,111" {
		t.Errorf("%+v", got)
	}
	if !slices.ContainsFunc(u.progress, func(p builtin.Progress) bool { return strings.HasPrefix(p.Step, "waiting for another backup") }) {
		t.Errorf("%+v", u.progress)
	}
}

// Only root@pam may say script, tmpdir, dumpdir and job-id; and only who has
// Sys.Modify on / may tune. The first are never said, and the second only when
// asked for, with the host's no passed on.
func TestTrap4OnlyRootsOptions(t *testing.T) {
	n, wait, workers := 3, builtin.Duration(time.Hour), 8
	every := BackupArgs{Storage: "s", Mode: "stop", Compress: "zstd", Protected: true, ExcludePaths: []string{"/x"}, Fleecing: "f", ChangeDetection: "data",
		Threads: &n, Workers: workers, Bandwidth: 1 << 20, IONice: &n, LockWait: &wait, StopWait: &wait, Notifications: "legacy-sendmail"}
	plain := BackupArgs{Storage: "s", Mode: "stop", Compress: "gzip", StandardExcludes: true, Notifications: "auto"}
	for _, a := range []BackupArgs{every, plain} {
		for _, only := range []string{"script", "tmpdir", "dumpdir", "job-id", "prune-backups"} {
			if _, said := a.options()[only]; said {
				t.Errorf("%s is said", only)
			}
		}
	}
	if p := plain.options(); len(p) != 4 {
		t.Errorf("said without being asked: %v", p)
	}
	want := map[string]any{"storage": "s", "mode": "stop", "compress": "zstd", "remove": 0, "protected": 1, "exclude-path": []string{"/x"}, "stdexcludes": 0,
		"fleecing": "enabled=1,storage=f", "pbs-change-detection-mode": "data", "zstd": 3, "performance": "max-workers=8", "bwlimit": int64(1024), "ionice": 3,
		"lockwait": int64(60), "stopwait": int64(60), "notification-mode": "legacy-sendmail"}
	if p := every.options(); !reflect.DeepEqual(p, want) {
		t.Errorf("%v", p)
	}
	for threads, pigz := range map[int]int{0: 1, 1: 0, 2: 2, 8: 8} {
		if p := (BackupArgs{Compress: "gzip", Threads: &threads}).options(); p["pigz"] != pigz {
			t.Errorf("%d threads: %v", threads, p)
		}
	}
	u := newUser(t)
	for name, value := range map[string]any{"bandwidth": "10MiB", "ionice": int64(5), "workers": int64(2)} {
		_, err := call[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup", name: value})
		fault(t, err, builtin.Forbidden, "Permission check failed (/, Sys.Modify)", "grant Sys.Modify on /")
	}
	for name, value := range map[string]any{"bandwidth": "10", "ionice": int64(9), "workers": int64(-1), "threads": int64(-1), "exclude_paths": []any{"a\nb"}} {
		_, err := call[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup", name: value})
		fault(t, err, builtin.Invalid, name)
	}
	_, err := call[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup", "threads": int64(2), "compress": "lzo"})
	fault(t, err, builtin.Invalid, "only zstd and gzip have threads")
}

// Proxmox counts days by local time, nixmox by UTC: what either keeps, stays.
func TestTrap5LocalTime(t *testing.T) {
	u := newUser(t)
	if err := u.lab.SetZone(-5); err != nil {
		t.Fatal(err)
	}
	day := u.lab.Now().AddDate(0, 0, -20).Truncate(24 * time.Hour)
	for _, at := range []time.Time{day.Add(-22 * time.Hour), day.Add(4 * time.Hour), day.Add(23 * time.Hour)} {
		if _, err := u.lab.AddArchive(lab.OldArchive{Guest: 110, Storage: "backup", Begin: at, Notes: lab.HistoryMark}); err != nil {
			t.Fatal(err)
		}
	}
	// By UTC the second and third are of one day; five hours west the second is of the evening before.
	rules := args{"storage": "backup", "guests": ids(110), "keep": keep(map[string]any{"daily": int64(2)})}
	got := must[PruneResult](u, "prune", rules)
	if len(got.Removed) != 0 || !strings.Contains(reasons(got.Kept), "Proxmox's own preview keeps it") {
		t.Errorf("removed\n%skept\n%s", reasons(got.Removed), reasons(got.Kept))
	}
	if err := u.lab.SetZone(0); err != nil {
		t.Fatal(err)
	}
	if got := must[PruneResult](u, "prune", rules); len(got.Removed) != 1 {
		t.Errorf("removed\n%skept\n%s", reasons(got.Removed), reasons(got.Kept))
	}
	// What cannot be asked for is not taken for a yes.
	if err := u.lab.AddFault(lab.Fault{Target: "api", ID: "GET /nodes/*/prunebackups", Kind: "403"}); err != nil {
		t.Fatal(err)
	}
	_, err := call[PruneResult](u, "prune", pruneTwo)
	fault(t, err, builtin.Forbidden)
	if n := u.deletes(); n != 1 {
		t.Errorf("%d removals", n)
	}
}

func TestTrap6AllZeroKeepsAllAndProtectedCopiesDoNotCount(t *testing.T) {
	u := newUser(t)
	if got := must[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101, 106), "keep": keep(map[string]any{})}); len(got.Removed) != 0 {
		t.Errorf("removed\n%s", reasons(got.Removed))
	}
	list := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(101), "ours": true})
	must[Archive](u, "protect", args{"volid": string(list[len(list)-1].VolID.Value)})
	got := must[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101), "keep": keep(map[string]any{"last": int64(2)})})
	if len(got.Removed) != 2 || !strings.Contains(reasons(got.Kept), "protected in Proxmox") {
		t.Errorf("removed\n%skept\n%s", reasons(got.Removed), reasons(got.Kept))
	}
}

// A stopped VM runs for its backup only, and mount points are left out by default.
func TestTrap7WhatVzdumpDoesOfItself(t *testing.T) {
	u := newUser(t)
	got := must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(107, 108), "storage": "backup"})
	if g := u.guest(108); g.Running || got.Archives[1].Consistency.Value != "stopped" {
		t.Errorf("%+v, %+v", g, got.Archives[1])
	}
	left := strings.Join(got.Archives[0].LeftOut.Value, "\n")
	if !strings.Contains(left, "bind mount point mp0") || !strings.Contains(left, "volume mount point mp1 ('/data') from backup (disabled)") {
		t.Errorf("%s", left)
	}
	// Nor does it stop what the HA manager keeps running.
	started := "started"
	if err := u.lab.ChangeGuest(110, lab.GuestChange{HA: &started}); err != nil {
		t.Fatal(err)
	}
	_, err := call[BackupResult](u, "backup", args{"node": u.guest(110).Node, "guests": ids(110), "storage": "backup", "mode": "stop"})
	if f := builtin.AsFault(err); f == nil || !strings.Contains(f.Error(), "stop mode on a HA managed") || !u.guest(110).Running {
		t.Errorf("%v, %+v", err, u.guest(110))
	}
}

// Without the prefix vzdump-qemu- Proxmox knows no guest to an archive: it is
// nobody's, is not restored by a guess, and is never removed.
func TestTrap8ArchivesByAnotherName(t *testing.T) {
	u := newUser(t)
	old := u.newest(106)
	file := u.file(old)
	if err := os.Rename(file, strings.Replace(file, "vzdump-qemu-106-", "mine-", 1)); err != nil {
		t.Fatal(err)
	}
	mine := strings.Replace(string(old.VolID.Value), "vzdump-qemu-106-", "mine-", 1)
	_, err := call[Restored](u, "restore", args{"volid": mine})
	fault(t, err, builtin.NotFound, "is not in the storage's list")
	must[PruneResult](u, "prune", pruneTwo)
	if _, err := os.Stat(strings.Replace(file, "vzdump-qemu-106-", "mine-", 1)); err != nil {
		t.Error(err)
	}
}

func TestTrap9HowTasksEnd(t *testing.T) {
	u := newUser(t, "vzdump:105=warnings")
	if got := must[BackupResult](u, "backup", two); got.Status.Value != "WARNINGS: 1" || len(got.Archives) != 2 || len(got.Warnings.Value) == 0 {
		t.Errorf("%+v", got)
	}
	u = newUser(t, "vzdump:105=fail")
	_, err := call[BackupResult](u, "backup", two)
	if f := fault(t, err, builtin.Failed); f.Partial.(BackupResult).Status.Value != "job errors" {
		t.Errorf("%+v", f.Partial)
	}
}

// The agent is asked in doubt only, and whoever may not ask it is told so: no
// backup needs VM.Monitor or its heirs.
func TestTrap10PrivilegesOfTheAgent(t *testing.T) {
	u := newUser(t)
	must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100, 102), "storage": "backup"})
	if n := u.count("POST", "/fsfreeze-status"); n != 0 {
		t.Errorf("asked %d times after clean thaws", n)
	}
	u = newUser(t, "agent:100=thaw", "api:POST /nodes/pve1/qemu/100/agent/*=403")
	got := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100), "storage": "backup"})
	if w := strings.Join(got.Warnings.Value, "\n"); !strings.Contains(w, "whether it is still frozen could not be seen") || !strings.Contains(w, "qm guest cmd 100 fsfreeze-thaw") {
		t.Errorf("%s", w)
	}
	for _, f := range Module(u.v.c).Funcs {
		for _, p := range f.Privileges {
			if strings.Contains(p.Name, "VM.Monitor") || strings.Contains(p.Name, "VM.GuestAgent") {
				t.Errorf("%s needs %s", f.Name, p)
			}
		}
		if len(f.Privileges) == 0 {
			t.Errorf("%s does not say what it needs", f.Name)
		}
	}
}

// A lock is Proxmox's word that something works on the guest: it is reported,
// and stays.
func TestTrap13LocksAreNeverBroken(t *testing.T) {
	u := newUser(t, "guest:105=locked")
	_, err := call[BackupResult](u, "backup", two)
	f := fault(t, err, builtin.Failed, "1 of 2 failed: 105", "CT is locked (backup)")
	if g := u.guest(105); g.Lock != "backup" || len(f.Partial.(BackupResult).Archives) != 1 {
		t.Errorf("%+v", g)
	}
	for _, x := range u.requests {
		if x.Params["skiplock"] != nil || x.Params["delete"] != nil {
			t.Errorf("%s %s %v", x.Method, x.Path, x.Params)
		}
	}
}

// Trap 22: a freeze that fails is no more than a line in the log of a task that ends OK.
func TestTrap22FrozenOrNot(t *testing.T) {
	for fault, want := range map[string]struct{ consistency, warning string }{
		"":                 {"filesystem", ""},
		"agent:100=down":   {"crash", "its file systems were not frozen: agent configured but not running?"},
		"agent:100=late":   {"crash", "its file systems were not frozen: agent configured but not running?"},
		"agent:100=freeze": {"crash", "freezing its file systems failed"},
		"agent:100=thaw":   {"filesystem", "guest 100 is still frozen, and whatever writes in it hangs; thaw it: qm guest cmd 100 fsfreeze-thaw"},
	} {
		var faults []string
		if fault != "" {
			faults = append(faults, fault)
		}
		u := newUser(t, faults...)
		got := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100), "storage": "backup"})
		a := got.Archives[0]
		if w := strings.Join(got.Warnings.Value, "\n"); a.Consistency.Value != want.consistency || got.Status.Value != "OK" || !strings.Contains(w, want.warning) || (w == "") != (want.warning == "") {
			t.Errorf("%s: %s, %q", fault, a.Consistency.Value, w)
		}
		// It outlives the log.
		listed := u.newest(100)
		if listed.Consistency.Value != want.consistency || !strings.Contains(listed.Notes, "consistency="+want.consistency) {
			t.Errorf("%s: the list says %+v", fault, listed)
		}
	}
}

// On Windows the agent freezes through VSS, whose writers are at rest then.
func TestWindowsIsFrozenWithItsApplications(t *testing.T) {
	u := newUser(t)
	got := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100, 102), "storage": "backup", "note": "first\nsecond"})
	if got.Archives[0].Consistency.Value != "filesystem" || got.Archives[1].Consistency.Value != "application" {
		t.Errorf("%+v", got.Archives)
	}
	if left := got.Archives[1].LeftOut.Value; len(left) != 3 || left[0] != "hostpci0: 0000:01:00.0 is passed through" {
		t.Errorf("left out %q", left)
	}
	u.mark(u.verify(got.Archives[1].VolID.Value))
	listed := u.newest(102)
	notes, err := u.v.notes(context.Background(), listed)
	if err != nil || listed.Consistency.Value != "application" || listed.Verified == nil || !strings.HasPrefix(notes, "windows: first | nixmox: v=1 ") || !strings.HasSuffix(notes, "\nsecond") {
		t.Errorf("%+v, %q, %v", listed, notes, err)
	}
}
