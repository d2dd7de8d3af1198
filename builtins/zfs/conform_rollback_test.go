package zfs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

func (m *machine) written(snapshot string) string {
	m.t.Helper()
	dataset, name, _ := strings.Cut(snapshot, "@")
	return strings.TrimSpace(m.zfs("get", "-Hp", "-o", "value", "written@"+name, dataset))
}

// free holds that no hold is left.
func (m *machine) noHolds(snapshot string) {
	m.t.Helper()
	if holds := m.zfs("holds", "-H", snapshot); holds != "" {
		m.t.Errorf("%s is held still: %s", snapshot, holds)
	}
}

func TestInTheWay(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"nothing": func(m *machine) {
			m.take(m.root, "one")
			w := must[InTheWay](m, "in_the_way", args{"snapshot": m.root + "@one"})
			if !w.Free || len(w.Later)+len(w.Bookmarks)+len(w.Why)+len(w.Below) != 0 || w.Type != "filesystem" || !w.Mounted || !w.Ways[0].Possible {
				m.t.Errorf("%+v", w)
			}
			m.write(m.root, "file", 200_000)
			if w := must[InTheWay](m, "in_the_way", args{"snapshot": m.root + "@one"}); !w.Free || w.Written < 200_000 {
				m.t.Errorf("%+v", w)
			}
		},
		"whose it is": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/a/below")
			a := m.root + "/a"
			m.zfs("snapshot", a+"@before")
			m.zfs("bookmark", a+"@before", a+"#of-before")
			m.take(a, "one")
			m.zfs("bookmark", a+"@one", a+"#of-one")
			for _, name := range []string{"autosnap_2026-01-01_00:00:00_daily", "__replicate_100-0_1700000000__", "zfs-auto-snap_daily-2026", "auto-precious-manual", "sync"} {
				m.zfs("snapshot", a+"@"+name)
			}
			m.take(a, "ours")
			m.zfs("bookmark", a+"@sync", a+"#syncoid_x")
			m.zfs("hold", "offsite", a+"@sync")
			m.zfs("clone", a+"@ours", m.root+"/clone")
			w := must[InTheWay](m, "in_the_way", args{"snapshot": a + "@one"})
			var owners []string
			for _, s := range w.Later {
				owners = append(owners, s.Owner)
			}
			if want := []string{"sanoid", "replication", "zfs-auto-snapshot", "other", "other", "nixmox"}; !slices.Equal(owners, want) {
				m.t.Errorf("%q, want %q", owners, want)
			}
			if len(w.Bookmarks) != 1 || w.Bookmarks[0].Bookmark != Bookmark(a+"#syncoid_x") || w.Bookmarks[0].Owner != "syncoid" || w.Bookmarks[0].GUID != w.Later[4].GUID.Value {
				m.t.Errorf("%+v", w.Bookmarks)
			}
			if !slices.Equal(w.Later[4].Holds, []string{"offsite"}) || !slices.Equal(w.Later[5].Clones, []string{m.root + "/clone"}) || !slices.Equal(w.Below, []Dataset{Dataset(a + "/below")}) {
				m.t.Errorf("%+v", w)
			}
			possible := map[string]bool{}
			for _, way := range w.Ways {
				possible[way.Way] = way.Possible
				if way.Possible != (way.Why == "") {
					m.t.Errorf("%+v", way)
				}
			}
			if w.Free || possible["rollback"] || possible["rollback_destroying"] || possible["roll_forward"] || !possible["clone"] {
				m.t.Errorf("%+v", w.Ways)
			}
		},
		"a guest's volume": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/vm-100-disk-0")
			m.take(m.root+"/vm-100-disk-0", "one")
			m.zfs("snapshot", m.root+"/vm-100-disk-0@before_upgrade")
			w := must[InTheWay](m, "in_the_way", args{"snapshot": m.root + "/vm-100-disk-0@one"})
			if w.Guest != 100 || w.Free || w.Type != "volume" || w.Later[0].Owner != "perhaps Proxmox" || w.Ways[0].Possible || w.Mounted {
				m.t.Errorf("%+v", w)
			}
		},
		"missing": func(m *machine) {
			refused[InTheWay](m, builtin.NotFound, "no such snapshot", "in_the_way", args{"snapshot": m.root + "@nowhere"})
			refused[InTheWay](m, builtin.NotFound, "does not exist", "in_the_way", args{"snapshot": m.root + "/nowhere@one"})
		},
		"a plan's own": func(m *machine) {
			m.take(m.root, "one")
			defer m.planning()()
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "two"})
			w := must[InTheWay](m, "in_the_way", args{"snapshot": m.root + "@one"})
			if w.Free || len(w.Later) != 1 || w.Later[0].GUID.Known() || w.Later[0].Owner != "nixmox" {
				m.t.Errorf("%+v", w)
			}
			if w := must[InTheWay](m, "in_the_way", args{"snapshot": m.root + "@two"}); !w.Free {
				m.t.Errorf("%+v", w)
			}
		},
	})
}

func TestRollback(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"to the newest": func(m *machine) {
			m.zfs("create", m.root+"/below")
			m.write(m.root, "kept", 50_000)
			m.take(m.root, "one", "two")
			m.write(m.root, "lost", 300_000)
			m.write(m.root+"/below", "kept", 10_000)
			r := must[RollbackResult](m, "rollback", args{"snapshot": m.root + "@two"})
			if r.Lost < 300_000 || r.Written >= 300_000 || len(r.Destroyed)+len(r.Bookmarks) != 0 {
				m.t.Errorf("%+v", r)
			}
			if w := m.written(m.root + "@two"); w != "0" {
				m.t.Errorf("%s bytes differ", w)
			}
			if m.zfs("get", "-Hp", "-o", "value", "used", m.root+"/below") == "0\n" {
				m.t.Error("what is below was rolled back, too")
			}
			m.left("@one", "@two")
			m.noHolds(m.root + "@two")
		},
		"again, with nothing written": func(m *machine) {
			m.take(m.root, "one")
			must[RollbackResult](m, "rollback", args{"snapshot": m.root + "@one"})
			must[RollbackResult](m, "rollback", args{"snapshot": m.root + "@one"})
			m.left("@one")
		},
		"later ones are in the way, by owner": func(m *machine) {
			m.take(m.root, "one", "two")
			m.zfs("snapshot", m.root+"@autosnap_1")
			m.write(m.root, "file", 100_000)
			f := refused[RollbackResult](m, builtin.Conflict, "destroy_later", "rollback", args{"snapshot": m.root + "@one"})
			if !strings.Contains(f.Said, "@two (nixmox); @autosnap_1 (sanoid)") || !strings.Contains(f.Hint, "clone") || !strings.Contains(f.Hint, "forward") {
				m.t.Errorf("%v: %s", f, f.Hint)
			}
			m.left("@one", "@two", "@autosnap_1")
			if m.written(m.root+"@one") == "0" {
				m.t.Error("it was rolled back")
			}
		},
		"a bookmark alone is in the way": func(m *machine) {
			m.take(m.root, "one", "two")
			m.zfs("bookmark", m.root+"@one", m.root+"#one")
			m.zfs("bookmark", m.root+"@two", m.root+"#two")
			m.zfs("destroy", m.root+"@two")
			refused[RollbackResult](m, builtin.Conflict, "#two", "rollback", args{"snapshot": m.root + "@one"})
			r := must[RollbackResult](m, "rollback", args{"snapshot": m.root + "@one", "destroy_later": true})
			if len(r.Bookmarks) != 1 || r.Bookmarks[0].Bookmark != Bookmark(m.root+"#two") {
				m.t.Errorf("%+v", r)
			}
			if got := m.zfs("list", "-H", "-t", "bookmark", "-o", "name", "-d", "1", m.root); got != m.root+"#one\n" {
				m.t.Errorf("%q", got)
			}
		},
		"destroying what was decided": func(m *machine) {
			m.zfs("create", m.root+"/below")
			m.take(m.root, "one", "two")
			m.zfs("snapshot", m.root+"@theirs")
			m.zfs("bookmark", m.root+"@two", m.root+"#two")
			m.zfs("snapshot", m.root+"/below@two")
			m.write(m.root, "file", 100_000)
			a := args{"snapshot": m.root + "@one", "destroy_later": true}
			end := m.planning()
			planned := must[RollbackResult](m, "rollback", a)
			if w := must[InTheWay](m, "in_the_way", args{"snapshot": m.root + "@one"}); !w.Free {
				m.t.Errorf("after a planned rollback: %+v", w)
			}
			end()
			m.left("@one", "@two", "@theirs", "/below@two")
			r := must[RollbackResult](m, "rollback", a)
			if len(planned.Destroyed) != 2 || len(r.Destroyed) != 2 || r.Destroyed[0].Snapshot != Snapshot(m.root+"@theirs") || len(r.Bookmarks) != 1 {
				m.t.Errorf("planned %+v\ndone %+v", planned, r)
			}
			m.left("@one", "/below@two")
			m.noHolds(m.root + "@one")
			if w := m.written(m.root + "@one"); w != "0" {
				m.t.Errorf("%s bytes differ", w)
			}
		},
		"held or cloned ones stay, and everything with them": func(m *machine) {
			m.take(m.root, "one", "two", "three")
			m.zfs("hold", "offsite", m.root+"@two")
			a := args{"snapshot": m.root + "@one", "destroy_later": true}
			refused[RollbackResult](m, builtin.Busy, "offsite", "rollback", a)
			m.zfs("release", "offsite", m.root+"@two")
			m.zfs("clone", m.root+"@three", m.root+"/clone")
			refused[RollbackResult](m, builtin.Busy, m.root+"/clone", "rollback", a)
			m.left("@one", "@two", "@three")
		},
		"the snapshot itself may be held and cloned": func(m *machine) {
			m.take(m.root, "one")
			m.zfs("hold", "offsite", m.root+"@one")
			m.zfs("clone", m.root+"@one", m.root+"/clone")
			m.write(m.root, "file", 100_000)
			must[RollbackResult](m, "rollback", args{"snapshot": m.root + "@one"})
			if holds := m.zfs("holds", "-H", m.root+"@one"); !strings.Contains(holds, "offsite") || strings.Count(holds, "\n") != 1 {
				m.t.Errorf("%q", holds)
			}
		},
		"what came since is a conflict": func(m *machine) {
			m.take(m.root, "one", "two")
			c := m.decided("rollback", args{"snapshot": m.root + "@one", "destroy_later": true})
			m.zfs("snapshot", m.root+"@auto-precious-manual")
			m.fails(c, builtin.Conflict, "@auto-precious-manual (other) was not there")
			m.zfs("destroy", m.root+"@auto-precious-manual")
			m.zfs("bookmark", m.root+"@two", m.root+"#new")
			m.fails(c, builtin.Conflict, "#new was not there")
			m.zfs("destroy", m.root+"#new")
			m.zfs("hold", "x", m.root+"@two")
			m.fails(c, builtin.Busy, "held (x)")
			m.zfs("release", "x", m.root+"@two")
			m.zfs("destroy", m.root+"@two")
			m.zfs("snapshot", m.root+"@two")
			m.fails(c, builtin.Conflict, "@two (other) was not there")
			m.left("@one", "@two")
			m.noHolds(m.root + "@one")
		},
		"the snapshot is another by now": func(m *machine) {
			m.take(m.root, "one")
			c := m.decided("rollback", args{"snapshot": m.root + "@one"})
			m.zfs("destroy", m.root+"@one")
			m.zfs("snapshot", m.root+"@one")
			m.write(m.root, "file", 100_000)
			m.fails(c, builtin.Conflict, "another snapshot")
			if m.written(m.root+"@one") == "0" {
				m.t.Error("it was rolled back")
			}
			m.zfs("destroy", m.root+"@one")
			m.fails(c, builtin.NotFound, "no such snapshot")
		},
		"one that was to go is gone already": func(m *machine) {
			m.take(m.root, "one", "two", "three")
			c := m.decided("rollback", args{"snapshot": m.root + "@one", "destroy_later": true})
			m.zfs("destroy", m.root+"@three")
			r, err := perform[RollbackResult](m, c)
			if err != nil || len(r.Destroyed) != 2 {
				m.t.Errorf("%+v, %v", r, err)
			}
			m.left("@one")
		},
		"a volume": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/vol")
			m.take(m.root+"/vol", "one")
			m.zfs("snapshot", m.root+"/vol@two")
			must[RollbackResult](m, "rollback", args{"snapshot": m.root + "/vol@one", "destroy_later": true})
			m.left("/vol@one")
		},
		"a guest's volume": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/vm-100-disk-0")
			m.take(m.root+"/vm-100-disk-0", "one")
			a := args{"snapshot": m.root + "/vm-100-disk-0@one", "destroy_later": true}
			f := refused[RollbackResult](m, builtin.Conflict, "guest 100", "rollback", a)
			if !strings.Contains(f.Hint, "proxmox.rollback(100") {
				m.t.Error(f.Hint)
			}
			a["guests"] = "include"
			must[RollbackResult](m, "rollback", a)
		},
		"one that is not mounted stays so": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.take(m.root+"/a", "one")
			m.zfs("unmount", m.root+"/a")
			must[RollbackResult](m, "rollback", args{"snapshot": m.root + "/a@one"})
			if got := m.zfs("get", "-H", "-o", "value", "mounted", m.root+"/a"); got != "no\n" {
				m.t.Errorf("mounted: %s", got)
			}
		},
		"missing": func(m *machine) {
			refused[RollbackResult](m, builtin.NotFound, "no such snapshot", "rollback", args{"snapshot": m.root + "@nowhere"})
		},
		"settled": func(m *machine) {
			m.take(m.root, "one", "two")
			m.write(m.root, "file", 100_000)
			c := m.decided("rollback", args{"snapshot": m.root + "@one", "destroy_later": true})
			handle := ""
			m.run.Handle = func(_ builtin.Call, h string) error { handle = h; return nil }
			if s := m.settlement(c, ""); s.State != builtin.NotDone {
				m.t.Errorf("before: %+v", s)
			}
			if s := m.settlement(c, "a-hold-that-never-was"); s.State != builtin.Unknown || !strings.Contains(s.Why, "does not reach back") {
				m.t.Errorf("without a hold: %+v", s)
			}
			if _, err := perform[RollbackResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			m.write(m.root, "later", 50_000)
			if s := m.settlement(c, handle); s.State != builtin.Done || len(s.Result.(RollbackResult).Destroyed) != 1 || s.Fault != nil {
				m.t.Errorf("after: %+v", s)
			}
			// A second rollback is another call, and what was written since is told apart.
			other := m.decided("rollback", args{"snapshot": m.root + "@one"})
			m.zfs("hold", "other", m.root+"@one")
			if s := m.settlement(other, "other"); s.State != builtin.NotDone {
				m.t.Errorf("another: %+v", s)
			}
		},
	})
}

func TestDiff(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"added, modified and since": func(m *machine) {
			m.write(m.root, "old", 1000)
			m.take(m.root, "one")
			m.write(m.root, "old", 2000)
			m.write(m.root, "new name\twith\\all-of ümlaut", 10)
			m.take(m.root, "two")
			m.write(m.root, "last", 10)
			between := must[Diff](m, "diff", args{"older": m.root + "@one", "newer": m.root + "@two"})
			if between.Total != 3 || between.Added != 1 || between.Modified != 2 {
				m.t.Errorf("%+v", between)
			}
			for _, want := range []Change{{Change: "modified", Type: "file", Path: "/" + m.root + "/old"}, {Change: "added", Type: "file", Path: "/" + m.root + "/new name\twith\\all-of ümlaut"},
				{Change: "modified", Type: "directory", Path: "/" + m.root + "/"}} {
				if !slices.ContainsFunc(between.Changes, func(c Change) bool {
					return c.Change == want.Change && c.Type == want.Type && c.Path == want.Path && !c.Time.IsZero()
				}) {
					m.t.Errorf("no %+v in %+v", want, between.Changes)
				}
			}
			since := must[Diff](m, "diff", args{"older": m.root + "@one", "limit": int64(1)})
			if since.Total != 4 || len(since.Changes) != 1 {
				m.t.Errorf("%+v", since)
			}
			if none := must[Diff](m, "diff", args{"older": m.root + "@two", "limit": int64(0)}); none.Total != 2 || len(none.Changes) != 2 {
				m.t.Errorf("%+v", none)
			}
		},
		"refused, with the reason": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/vol")
			m.zfs("create", m.root+"/off")
			m.take(m.root, "one", "two")
			m.take(m.root+"/vol", "one")
			m.take(m.root+"/off", "one")
			m.zfs("unmount", m.root+"/off")
			refused[Diff](m, builtin.Invalid, "is a volume", "diff", args{"older": m.root + "/vol@one"})
			refused[Diff](m, builtin.Conflict, "is not mounted", "diff", args{"older": m.root + "/off@one"})
			refused[Diff](m, builtin.Invalid, "two datasets", "diff", args{"older": m.root + "@one", "newer": m.root + "/off@one"})
			refused[Diff](m, builtin.Invalid, "the later one", "diff", args{"older": m.root + "@two", "newer": m.root + "@one"})
			refused[Diff](m, builtin.Invalid, "the later one", "diff", args{"older": m.root + "@two", "newer": m.root + "@two"})
			refused[Diff](m, builtin.NotFound, "@nowhere does not exist", "diff", args{"older": m.root + "@nowhere"})
			refused[Diff](m, builtin.NotFound, "@nowhere does not exist", "diff", args{"older": m.root + "@one", "newer": m.root + "@nowhere"})
		},
		"of what is only planned": func(m *machine) {
			m.take(m.root, "one")
			defer m.planning()()
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "two"})
			_, err := call[Diff](m, "diff", args{"older": m.root + "@one", "newer": m.root + "@two"})
			if stop, ok := errors.AsType[*builtin.Stop](err); !ok || stop.Kind != builtin.PlanEnds {
				m.t.Errorf("%v", err)
			}
			must[Diff](m, "diff", args{"older": m.root + "@one"})
		},
	})
}
