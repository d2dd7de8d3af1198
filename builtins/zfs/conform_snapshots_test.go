package zfs

import (
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

func TestSnapshots(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"taken, marked and listed in order": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/a/b c")
			m.zfs("snapshot", m.root+"/a@zz-first")
			made := must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "auto-1", "recursive": true})
			if len(made.Snapshots) != 3 || !made.Snapshots[0].Ours || made.Snapshots[0].Run != m.run.ID || made.Snapshots[0].GUID.Value == "" {
				m.t.Errorf("%+v", made)
			}
			txg := made.Snapshots[0].Txg.Value
			for _, s := range made.Snapshots {
				if s.Txg.Value != txg {
					m.t.Errorf("%s is of another transaction", s.Snapshot)
				}
			}
			got := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root), "recursive": true})
			var names []string
			for _, s := range got {
				names = append(names, strings.TrimPrefix(string(s.Snapshot), m.root))
			}
			if want := []string{"@auto-1", "/a@zz-first", "/a@auto-1", "/a/b c@auto-1"}; !slices.Equal(names, want) {
				m.t.Errorf("%q, want %q", names, want)
			}
			if got[1].Ours {
				m.t.Error("what somebody else took is ours")
			}
		},
		"one exists: nothing is taken": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("snapshot", m.root+"/a@auto-1")
			refused[SnapshotResult](m, builtin.Conflict, "already exists", "snapshot", args{"datasets": list(m.root), "name": "auto-1", "recursive": true})
			if got := m.snapshotsThere(); !slices.Equal(got, []string{"/a@auto-1"}) {
				m.t.Errorf("%q", got)
			}
		},
		"guests": func(m *machine) {
			m.zfs("create", m.root+"/vm-100-disk-0")
			m.zfs("create", m.root+"/subvol-101-disk-1")
			m.zfs("create", m.root+"/vm-disk")
			a := args{"datasets": list(m.root), "name": "auto-1", "recursive": true}
			f := refused[SnapshotResult](m, builtin.Conflict, "100", "snapshot", a)
			if !strings.Contains(f.Error(), "101") || !strings.Contains(f.Hint, "proxmox.snapshot") {
				m.t.Error(f)
			}
			a["guests"] = "skip"
			made := must[SnapshotResult](m, "snapshot", a)
			if len(made.LeftOut) != 2 || len(made.Snapshots) != 2 {
				m.t.Errorf("%+v", made)
			}
			a["guests"], a["name"] = "include", "auto-2"
			if made := must[SnapshotResult](m, "snapshot", a); len(made.Snapshots) != 4 {
				m.t.Errorf("%+v", made)
			}
		},
		"excluded": func(m *machine) {
			for _, d := range []string{"/a", "/a/deep", "/swap"} {
				m.zfs("create", m.root+d)
			}
			made := must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "x", "recursive": true, "exclude": list(m.root+"/swap", m.root+"/a/**")})
			if got := m.snapshotsThere(); !slices.Equal(got, []string{"@x"}) || len(made.LeftOut) != 3 {
				m.t.Errorf("%q %+v", got, made.LeftOut)
			}
		},
		"names at the edge": func(m *machine) {
			m.zfs("create", m.root+"/-r")
			long := strings.Repeat("n", maxName-len(m.root+"/-r@"))
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/-r"), "name": long})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/-r"), "name": "with space:and.all-of_it"})
			refused[SnapshotResult](m, builtin.Invalid, "", "snapshot", args{"datasets": list(m.root + "/-r"), "name": long + "n"})
			if got := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root + "/-r")}); len(got) != 2 || string(got[0].Name) != long {
				m.t.Errorf("%+v", got)
			}
		},
		"a mark is of one name": func(m *machine) {
			m.zfs("create", m.root+"/a")
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "auto-1"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "auto-2"})
			m.zfs("rename", m.root+"/a@auto-1", m.root+"/a@mine-now")
			value := strings.TrimSpace(m.zfs("get", "-H", "-o", "value", snapshotMark, m.root+"/a@auto-2"))
			m.zfs("set", snapshotMark+"="+value, m.root+"/a")
			m.zfs("snapshot", m.root+"/a@auto-precious-manual")
			for _, s := range must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root + "/a")}) {
				if s.Ours != (s.Name == "auto-2") {
					m.t.Errorf("%s: ours is %v", s.Snapshot, s.Ours)
				}
			}
		},
		"missing dataset": func(m *machine) {
			refused[SnapshotResult](m, builtin.NotFound, "does not exist", "snapshot", args{"datasets": list(m.root + "/nowhere"), "name": "x"})
			refused[[]SnapshotInfo](m, builtin.NotFound, "does not exist", "snapshots", args{"datasets": list(m.root + "/nowhere")})
		},
		"settled": func(m *machine) {
			c := m.prepare("snapshot", args{"datasets": list(m.root), "name": "auto-1"})
			s, err := c.Func.Settle(m.t.Context(), c, "")
			if err != nil || s.State != builtin.NotDone {
				m.t.Fatalf("%+v, %v", s, err)
			}
			if _, err := perform[SnapshotResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			s, err = c.Func.Settle(m.t.Context(), c, "")
			if r, ok := s.Result.(SnapshotResult); err != nil || s.State != builtin.Done || !ok || len(r.Snapshots) != 1 {
				m.t.Fatalf("%+v, %v", s, err)
			}
			other := m.prepare("snapshot", args{"datasets": list(m.root), "name": "auto-1"})
			if s, err := other.Func.Settle(m.t.Context(), other, ""); err != nil || s.State != builtin.NotDone {
				m.t.Fatalf("another call's snapshot is taken for its own: %+v, %v", s, err)
			}
		},
		"held, and released": func(m *machine) {
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "auto-1"})
			name := m.root + "@auto-1"
			must[HoldResult](m, "hold", args{"snapshots": list(name), "tag": "offsite"})
			refused[HoldResult](m, builtin.Conflict, "offsite", "hold", args{"snapshots": list(name), "tag": "offsite"})
			holds := must[[]Hold](m, "holds", args{"snapshots": list(name)})
			if len(holds) != 1 || holds[0].Tag != "offsite" || holds[0].Time.IsZero() {
				m.t.Errorf("%+v", holds)
			}
			refused[DestroyResult](m, builtin.Busy, "offsite", "destroy", args{"snapshots": list(name)})
			refused[HoldResult](m, builtin.NotFound, "nothing was released", "release", args{"snapshots": list(name), "tag": "other"})
			must[HoldResult](m, "release", args{"snapshots": list(name), "tag": "offsite"})
			must[DestroyResult](m, "destroy", args{"snapshots": list(name)})
			if got := m.snapshotsThere(); len(got) != 0 {
				m.t.Errorf("%q", got)
			}
		},
	})
}

func TestDestroy(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"only ours, unless told": func(m *machine) {
			m.zfs("snapshot", m.root+"@auto-precious-manual")
			a := args{"snapshots": list(m.root + "@auto-precious-manual")}
			refused[DestroyResult](m, builtin.Conflict, "unmarked", "destroy", a)
			a["unmarked"] = true
			must[DestroyResult](m, "destroy", a)
			refused[DestroyResult](m, builtin.NotFound, "does not exist", "destroy", a)
		},
		"a clone is in the way": func(m *machine) {
			m.zfs("create", m.root+"/a")
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "auto-1"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "auto-2"})
			m.zfs("clone", m.root+"/a@auto-1", m.root+"/clone")
			refused[DestroyResult](m, builtin.Busy, m.root+"/clone", "destroy", args{"snapshots": list(m.root+"/a@auto-1", m.root+"/a@auto-2")})
			if got := m.snapshotsThere(); len(got) != 2 {
				m.t.Errorf("%q", got)
			}
		},
		"another of the same name": func(m *machine) {
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "auto-1"})
			c := m.prepare("destroy", args{"snapshots": list(m.root + "@auto-1"), "unmarked": true})
			d, err := c.Func.Decide(m.t.Context(), c)
			if err != nil {
				m.t.Fatal(err)
			}
			c.Decision = d
			m.zfs("destroy", m.root+"@auto-1")
			m.zfs("snapshot", m.root+"@auto-1")
			_, err = perform[DestroyResult](m, c)
			if f := builtin.AsFault(err); f == nil || f.Kind != builtin.Conflict {
				m.t.Errorf("%v", err)
			}
			if got := m.snapshotsThere(); len(got) != 1 {
				m.t.Errorf("%q", got)
			}
		},
		"pruned by rules, whatever others took": func(m *machine) {
			m.zfs("create", m.root+"/a")
			for _, name := range []string{"auto-1", "auto-2", "auto-3", "auto-4", "auto-5"} {
				must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": name, "recursive": true})
				m.zfs("snapshot", m.root+"/a@"+name+"-precious-manual")
			}
			m.zfs("hold", "keep", m.root+"@auto-1")
			m.zfs("clone", m.root+"/a@auto-2", m.root+"/clone")
			rules := map[string]any{"last": int64(2)}
			a := args{"datasets": list(m.root), "keep": rules, "recursive": true}
			end := m.planning()
			planned := must[PruneResult](m, "prune", a)
			end()
			if got := m.snapshotsThere(); len(got) != 15 {
				m.t.Errorf("a plan left %q", got)
			}
			done := must[PruneResult](m, "prune", a)
			if len(planned.Removed) != 4 || len(done.Removed) != 4 {
				m.t.Errorf("planned %+v, done %+v", planned, done)
			}
			want := []string{
				"/a@auto-1-precious-manual", "/a@auto-2", "/a@auto-2-precious-manual", "/a@auto-3-precious-manual", "/a@auto-4", "/a@auto-4-precious-manual",
				"/a@auto-5", "/a@auto-5-precious-manual", "@auto-1", "@auto-4", "@auto-5",
			}
			if got := m.snapshotsThere(); !slices.Equal(got, want) {
				m.t.Errorf("%q", got)
			}
		},
		"a plan counts what it planned": func(m *machine) {
			for _, name := range []string{"auto-1", "auto-2"} {
				must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": name})
			}
			defer m.planning()()
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "auto-3"})
			planned := must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": map[string]any{"last": int64(2)}})
			if len(planned.Removed) != 1 || planned.Removed[0].Snapshot.Name() != "auto-1" {
				m.t.Errorf("%+v", planned)
			}
			if got := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root)}); len(got) != 2 {
				m.t.Errorf("%+v", got)
			}
		},
		"the world moved": func(m *machine) {
			for _, name := range []string{"auto-1", "auto-2", "auto-3"} {
				must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": name})
			}
			c := m.prepare("prune", args{"datasets": list(m.root), "keep": map[string]any{"last": int64(2)}})
			d, err := c.Func.Decide(m.t.Context(), c)
			if err != nil {
				m.t.Fatal(err)
			}
			c.Decision = d
			m.zfs("destroy", m.root+"@auto-2")
			_, err = perform[PruneResult](m, c)
			if f := builtin.AsFault(err); f == nil || f.Kind != builtin.Conflict {
				m.t.Errorf("%v", err)
			}
			if got := m.snapshotsThere(); len(got) != 2 {
				m.t.Errorf("%q", got)
			}
		},
	})
}
