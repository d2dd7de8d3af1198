package vzdump

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// The pains are what users of other tools suffer from most, by number.

// It says success when it failed: whatever goes wrong, a guest is said to be
// backed up only if its whole archive is there.
func TestPain1NeverASuccessThatIsNone(t *testing.T) {
	for _, fault := range []string{"vzdump:101=fail", "vzdump:101=text:interrupted by signal", "vzdump:101=text:unexpected status", "vzdump:101=text:OK",
		"vzdump:101=truncate", "vzdump:101=deny", "storage:backup=full", "storage:backup=offline", "guest:101=locked", "list:guests=fail", "token=expired"} {
		u := newUser(t, fault)
		_, err := call[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup"})
		if err == nil {
			t.Errorf("%s: said to be a success", fault)
			continue
		}
		if f := builtin.AsFault(err); f == nil || f.Said == "" || f.Hint == "" {
			t.Errorf("%s: %+v", fault, f)
		} else if p, ok := f.Partial.(BackupResult); ok && len(p.Archives) != 0 {
			t.Errorf("%s: it claims %+v", fault, p.Archives)
		}
	}
}

// Pruning destroys the wrong thing, with no preview: what was shown is what
// goes, and nothing of anybody else's.
func TestPain3PruneDoesWhatItShowed(t *testing.T) {
	u := newUser(t)
	before := must[[]Archive](u, "backups", args{"storage": "backup"})
	u.run.Planned = &builtin.Overlay{}
	shown := must[PruneResult](u, "prune", pruneTwo)
	if u.deletes() != 0 {
		t.Fatal("the plan removed something")
	}
	u.run.Planned = nil
	did := must[PruneResult](u, "prune", pruneTwo)
	if len(did.Removed) == 0 || reasons(shown.Removed) != reasons(did.Removed) || reasons(shown.Kept) != reasons(did.Kept) {
		t.Errorf("shown\n%sdid\n%s", reasons(shown.Removed), reasons(did.Removed))
	}
	after := must[[]Archive](u, "backups", args{"storage": "backup"})
	for _, a := range before {
		if !slices.ContainsFunc(after, func(b Archive) bool { return b.VolID == a.VolID }) && (!a.Ours || a.Protected) {
			t.Errorf("%s is gone", a.VolID.Value)
		}
	}
}

// Nobody knows that the backup restores: nixmox can try.
func TestPain4TheBackupIsRestoredAndLookedAt(t *testing.T) {
	u := newUser(t)
	made := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(106, 109), "storage": "backup"})
	for _, a := range made.Archives {
		got := must[Restored](u, "restore", args{"volid": string(a.VolID.Value), "storage": "rpool", "start": true})
		g, was := u.guest(int(got.Guest)), u.guest(int(a.Guest))
		if g == nil || !g.Running || g.Name != was.Name || len(got.Disks.Value) != 1 || got.Config.Value["memory"] != was.Config["memory"] {
			t.Errorf("%+v: %+v", got, g)
		}
	}
}

// Coverage holes: what is in no archive is said, at the backup and ever after.
func TestPain11WhatIsNotInTheArchiveIsSaid(t *testing.T) {
	u := newUser(t)
	if err := u.lab.ChangeGuest(110, lab.GuestChange{Config: map[string]string{"scsi1": "rpool:vm-110-disk-1,backup=0,size=50G", "usb0": "host=1-2"}}); err != nil {
		t.Fatal(err)
	}
	made := must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(107, 110), "storage": "backup"})
	for i, words := range [][]string{{"bind mount point mp0", "volume mount point mp1"}, {"exclude disk 'scsi1' 'rpool:vm-110-disk-1' (backup=no)", "usb0: host=1-2 is passed through"}} {
		for _, later := range []bool{false, true} {
			left := strings.Join(made.Archives[i].LeftOut.Value, "\n")
			if later {
				left = strings.Join(must[ArchivedConfig](u, "extract_config", args{"volid": string(made.Archives[i].VolID.Value)}).LeftOut, "\n")
				words = [][]string{{"mp0: /srv/share", "mp1: rpool:subvol-107-disk-1"}, {"scsi1: rpool:vm-110-disk-1: backup=0", "usb0: host=1-2 is passed through"}}[i]
			}
			for _, w := range words {
				if !strings.Contains(left, w) {
					t.Errorf("%q says nothing of %q", left, w)
				}
			}
		}
	}
}

// Retention eats the last good copy: after months without a backup, with
// backups that fail, and with a clock that is wrong.
func TestPain14TheLastGoodCopyStays(t *testing.T) {
	u := newUser(t)
	ours := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(101), "ours": true})
	verified := string(ours[1].VolID.Value)
	u.mark(u.verify(verified))
	u.lab.Advance(400 * 24 * time.Hour)
	strict := args{"storage": "backup", "guests": ids(101), "keep": keep(map[string]any{"daily": int64(1)})}
	got := must[PruneResult](u, "prune", strict)
	for _, volid := range []string{verified, string(ours[len(ours)-1].VolID.Value)} {
		if !slices.ContainsFunc(got.Kept, func(v Verdict) bool { return string(v.VolID.Value) == volid }) {
			t.Errorf("%s is gone:\n%s", volid, reasons(got.Removed))
		}
	}
	if err := u.lab.SetTime(u.lab.Now().AddDate(-10, 0, 0)); err != nil {
		t.Fatal(err)
	}
	n := u.deletes()
	_, err := call[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(106), "keep": keep(map[string]any{"last": int64(1)})})
	fault(t, err, builtin.Conflict, "set the clock right")
	if u.deletes() != n {
		t.Error("something was removed by a wrong clock")
	}
}

// Proxmox's task status misread: OK without an archive is none, WARNINGS with
// one is, and the rest is failure in the host's own words.
func TestPain16TaskStatus(t *testing.T) {
	one := args{"node": "pve2", "guests": ids(105), "storage": "backup"}
	for _, status := range []string{"OK", "WARNINGS: 1", "job errors", "unexpected status", "interrupted by signal", "got timeout"} {
		u := newUser(t, "vzdump:105=text:"+status)
		_, err := call[BackupResult](u, "backup", one)
		fault(t, err, builtin.Failed, "105: not finished: the task ended with \""+status+"\"")
	}
	u := newUser(t, "vzdump:105=warnings")
	if got := must[BackupResult](u, "backup", one); got.Status.Value != "WARNINGS: 1" || len(got.Archives) != 1 {
		t.Errorf("%+v", got)
	}
}

// The maze of tokens and privileges: what is missing is named, with the path,
// and the guests that the token may save are saved.
func TestPain19WhatTheTokenLacksIsNamed(t *testing.T) {
	u := newUser(t, "vzdump:105=deny")
	_, err := call[BackupResult](u, "backup", two)
	f := fault(t, err, builtin.Failed, "1 of 2 failed: 105", "lacks VM.Backup on /vms/105")
	if p := f.Partial.(BackupResult); len(p.Archives) != 1 || p.Archives[0].Guest != 101 {
		t.Errorf("%+v", p)
	}
	_, err = call[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(105), "storage": "backup"})
	fault(t, err, builtin.Forbidden, "VM.Backup", "/vms/105")
	for _, x := range []struct{ fault, function, path, words string }{
		{"api:POST /nodes/pve1/qemu=403", "restore", "", "Permission check failed"},
		{"api:GET /nodes/pve1/vzdump/extractconfig=403", "extract_config", "", "Permission check failed"},
		{"api:PUT /nodes/*=403", "protect", "", "Permission check failed"},
	} {
		u := newUser(t, x.fault)
		a := args{"volid": u.lastOf(100)}
		c := u.prepare(x.function, a)
		_, err := c.Func.Do(t.Context(), c)
		fault(t, err, builtin.Forbidden, x.words, "grant ", "a token with privilege separation needs its own ACL")
	}
}
