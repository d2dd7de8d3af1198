package lab

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func openBrief(t *testing.T) *Lab {
	t.Helper()
	l, err := Open(Options{Dir: t.TempDir(), Clock: ClockAuto, Brief: true, History: history, Begin: time.Date(2026, 6, 17, 12, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLabBeginsWhenToldTo(t *testing.T) {
	l := openBrief(t)
	if d := l.Now().Sub(l.opt.Begin); d < 0 || d > time.Minute {
		t.Errorf("it is %v", l.Now())
	}
	all, err := l.Archives("backup")
	must(t, err)
	if len(all) != 60 || all[0].VolID != "backup:backup/vzdump-lxc-101-2026_02_17-02_03_00.tar.zst" {
		t.Errorf("%d archives, the first is %s", len(all), all[0].VolID)
	}
}

func TestGuestsAreChanged(t *testing.T) {
	l := openBrief(t)
	node, name, lock, pool, off, on := "pve3", "new", "backup", "production", false, true
	must(t, l.ChangeGuest(300, GuestChange{Kind: "lxc", Node: &node, Name: &name, Tags: []string{"web", "x"}, Pool: &pool, Config: map[string]string{"onboot": "", "mp3": "/a"}}))
	must(t, l.ChangeGuest(101, GuestChange{Running: &off, Lock: &lock, Template: &on}))
	must(t, l.RemoveGuest(100))
	guests := l.Guests()
	find := func(id int) *GuestState {
		for i := range guests {
			if guests[i].ID == id {
				return &guests[i]
			}
		}
		return nil
	}
	if g := find(300); g == nil || g.Kind != "lxc" || g.Node != "pve3" || g.Config["hostname"] != "new" || !slices.Equal(g.Tags, []string{"web", "x"}) || !g.Running ||
		g.Config["onboot"] != "" || g.Config["mp3"] != "/a" || g.Pool != "production" {
		t.Errorf("the new guest: %+v", g)
	}
	if g := find(101); g.Running || g.Lock != "backup" || !g.Template || g.Config["template"] != "1" {
		t.Errorf("the changed guest: %+v", g)
	}
	if find(100) != nil {
		t.Error("the removed guest is there")
	}
	state, err := os.ReadFile(l.folder.path(stateFile))
	must(t, err)
	if now, err := l.State(); err != nil || string(now) != string(state) {
		t.Errorf("the change is not kept (%v)", err)
	}
}

func TestChangesThatCannotBe(t *testing.T) {
	l := openBrief(t)
	nowhere := "nowhere"
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"a small id", l.ChangeGuest(7, GuestChange{}), "from 100 on"},
		{"an unknown kind", l.ChangeGuest(300, GuestChange{Kind: "openvz"}), "qemu and lxc"},
		{"another kind", l.ChangeGuest(101, GuestChange{Kind: "qemu"}), "is of kind lxc"},
		{"an unknown node", l.ChangeGuest(300, GuestChange{Node: &nowhere}), "no node"},
		{"an unknown pool", l.ChangeGuest(101, GuestChange{Pool: &nowhere}), "no pool"},
		{"no such guest", l.RemoveGuest(4711), "there is none"},
		{"no such archive", l.Damage("backup:backup/x.tar", "flip"), "no archive"},
		{"no such damage", l.Damage("backup:backup/x.tar", "burn"), "truncate and flip"},
		{"no such storage", l.RemoveArchive("nowhere:backup/x.tar"), "no storage"},
		{"a storage of blocks", l.Protect("rpool:vm-100-disk-0", true), "no storage"},
		{"an unknown storage", l.SetStorage("nowhere", nil, nil), "there is none"},
		{"no rules", l.SetStorage("backup", &nowhere, nil), "prune-backups"},
	}
	_, archive := l.AddArchive(OldArchive{Guest: 4711, Storage: "backup"})
	_, storage := l.AddArchive(OldArchive{Guest: 101, Storage: "rpool"})
	tests = append(tests, []struct {
		name string
		err  error
		want string
	}{{"an archive of nobody", archive, "no such guest"}, {"an archive on blocks", storage, "no storage"}}...)
	for _, tt := range tests {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, tt.err, tt.want)
		}
	}
	for _, g := range l.Guests() {
		if g.ID == 300 {
			t.Error("a guest that could not be was added")
		}
	}
}

func TestArchivesAreChanged(t *testing.T) {
	l := openBrief(t)
	at := l.Now().Add(-40 * 24 * time.Hour)
	a, err := l.AddArchive(OldArchive{Guest: 107, Storage: "local", Begin: at, Notes: "one\ntwo", Protected: true})
	must(t, err)
	if a.Node != "pve3" || a.Notes != "one\ntwo" || !a.Protected || !a.Begin.Equal(at.Truncate(time.Second)) {
		t.Errorf("%+v", a)
	}
	if _, err := l.AddArchive(OldArchive{Guest: 107, Storage: "local", Begin: at}); err == nil {
		t.Error("two archives have one name")
	}
	must(t, l.SetNotes(a.VolID, "three"))
	must(t, l.Protect(a.VolID, false))
	must(t, l.Damage(a.VolID, "truncate"))
	all, err := l.Archives("local")
	must(t, err)
	if len(all) != 1 || all[0].Notes != "three" || all[0].Protected || all[0].Size >= a.Size {
		t.Errorf("%+v", all)
	}
	must(t, l.RemoveArchive(a.VolID))
	if all, err := l.Archives("local"); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
}

func TestFaultsAreAdded(t *testing.T) {
	l := openBrief(t)
	for _, text := range []string{"guest:101=locked", "storage:backup=offline"} {
		f, err := ParseFault(text)
		must(t, err)
		must(t, l.AddFault(f))
	}
	if l.st.guest(101).Lock == "" || !l.offline(l.st.storage("backup")) {
		t.Error("they do not strike")
	}
	l.ClearFaults()
	if l.offline(l.st.storage("backup")) {
		t.Error("they still strike")
	}
}

func TestClockIsSet(t *testing.T) {
	l := openBrief(t)
	must(t, l.SetTime(l.opt.Begin.Add(-72*time.Hour)))
	if d := l.Now().Sub(l.opt.Begin); d > -71*time.Hour {
		t.Errorf("it is %v", l.Now())
	}
	task := l.startTask("pve1", "qmstop", "100", rootUser, time.Hour)
	if err := l.SetTime(l.Now().Add(-time.Hour)); err == nil {
		t.Error("the clock was set back while a task ran")
	}
	must(t, l.SetTime(l.Now().Add(2*time.Hour)))
	if task.running() {
		t.Error("a task that was due did not end")
	}
	if tasks := l.Tasks(); tasks[len(tasks)-1].Status != "OK" || tasks[len(tasks)-1].Kind != "qmstop" {
		t.Errorf("%+v", tasks[len(tasks)-1])
	}
	prune, used := "keep-last=2", int64(5)
	must(t, l.SetStorage("backup", &prune, &used))
	if s := l.st.storage("backup"); s.Prune != prune || s.Used != used {
		t.Errorf("%+v", s)
	}
}
