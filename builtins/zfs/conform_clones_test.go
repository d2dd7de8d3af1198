package zfs

import (
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

func TestClone(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"marked, with properties": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("snapshot", m.root+"/a@s")
			made := must[Made](m, "clone", args{"snapshot": m.root + "/a@s", "target": m.root + "/x/c", "parents": true, "properties": map[string]any{"readonly": "on", "org:x": "y"}})
			if d := made.Dataset; d.Origin != m.root+"/a@s" || !d.Ours || !d.ReadOnly || len(made.Parents) != 1 || m.value("org:x", m.root+"/x/c") != "y" {
				m.t.Errorf("%+v", made)
			}
		},
		"of a volume": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/v")
			m.zfs("snapshot", m.root+"/v@s")
			if d := must[Made](m, "clone", args{"snapshot": m.root + "/v@s", "target": m.root + "/c"}).Dataset; d.Type != "volume" || d.Size != 8<<20 {
				m.t.Errorf("%+v", d)
			}
		},
		"what cannot be": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("snapshot", m.root+"/a@s")
			refused[Made](m, builtin.NotFound, "no such snapshot", "clone", args{"snapshot": m.root + "/a@no", "target": m.root + "/c"})
			refused[Made](m, builtin.NotFound, "does not exist", "clone", args{"snapshot": m.root + "/no@s", "target": m.root + "/c"})
			refused[Made](m, builtin.NotFound, "parents", "clone", args{"snapshot": m.root + "/a@s", "target": m.root + "/x/c"})
			refused[Made](m, builtin.Conflict, "there already", "clone", args{"snapshot": m.root + "/a@s", "target": m.root + "/a"})
			refused[Made](m, builtin.Invalid, "in the pool of its snapshot", "clone", args{"snapshot": m.root + "/a@s", "target": "otherpool/c"})
			refused[Made](m, builtin.Invalid, "nixmox:dataset", "clone", args{"snapshot": m.root + "/a@s", "target": m.root + "/c", "properties": map[string]any{"nixmox:dataset": "x"}})
			m.wantDatasets("/a")
		},
		"a plan of a look at the past": func(m *machine) {
			m.zfs("create", m.root+"/a")
			end := m.planning()
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "s"})
			must[Made](m, "clone", args{"snapshot": m.root + "/a@s", "target": m.root + "/c"})
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/c"}); d.Origin != m.root+"/a@s" || d.GUID.Known() {
				m.t.Errorf("%+v", d)
			}
			gone := must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/c"})
			if len(gone.Destroyed) != 1 || gone.Destroyed[0].GUID.Known() {
				m.t.Errorf("%+v", gone)
			}
			refused[DatasetInfo](m, builtin.NotFound, "by now", "dataset", args{"dataset": m.root + "/c"})
			end()
			m.wantDatasets("/a")
		},
		"settled": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("snapshot", m.root+"/a@s")
			c := m.prepare("clone", args{"snapshot": m.root + "/a@s", "target": m.root + "/c"})
			m.settled(c, "", builtin.NotDone)
			if _, err := perform[Made](m, c); err != nil {
				m.t.Fatal(err)
			}
			m.settled(c, "", builtin.Done)
		},
	})
}

func TestPromote(t *testing.T) {
	family := func(m *machine) {
		m.zfs("create", m.root+"/a")
		m.zfs("snapshot", m.root+"/a@1")
		m.zfs("snapshot", m.root+"/a@2")
		m.zfs("clone", m.root+"/a@2", m.root+"/c")
		m.zfs("snapshot", m.root+"/a@3")
		m.zfs("snapshot", m.root+"/c@4")
	}
	after := []string{"/a@3", "/c@1", "/c@2", "/c@4"}
	cases(t, map[string]func(m *machine){
		"they change roles": func(m *machine) {
			family(m)
			got := must[PromoteResult](m, "promote", args{"dataset": m.root + "/c"})
			if got.Was != m.root+"/a@2" || got.Origin != "" || !slices.Equal(m.snapshotsThere(), after) || m.value("origin", m.root+"/a") != m.root+"/c@2" {
				m.t.Errorf("%+v, %q", got, m.snapshotsThere())
			}
			refused[PromoteResult](m, builtin.Invalid, "no clone", "promote", args{"dataset": m.root + "/c"})
		},
		"a plan of it": func(m *machine) {
			family(m)
			defer m.planning()()
			must[PromoteResult](m, "promote", args{"dataset": m.root + "/c"})
			got := []string{}
			for _, s := range must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root), "recursive": true}) {
				got = append(got, strings.TrimPrefix(string(s.Snapshot), m.root))
			}
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/a"}); !slices.Equal(got, after) || d.Origin != m.root+"/c@2" {
				m.t.Errorf("%q, %+v", got, d)
			}
		},
		"names in the way": func(m *machine) {
			family(m)
			m.zfs("snapshot", m.root+"/c@1")
			refused[PromoteResult](m, builtin.Conflict, "conflict", "promote", args{"dataset": m.root + "/c"})
			refused[PromoteResult](m, builtin.NotFound, "does not exist", "promote", args{"dataset": m.root + "/no"})
		},
		"settled": func(m *machine) {
			family(m)
			handle := m.holding()
			c := m.prepare("promote", args{"dataset": m.root + "/c"})
			m.settled(c, "", builtin.NotDone)
			m.settled(c, m.root+"/a@2", builtin.NotDone)
			if _, err := perform[PromoteResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			m.settled(c, *handle, builtin.Done)
		},
	})
}

func TestRename(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"with all below, and marks that stay true": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			must[Made](m, "create", args{"dataset": m.root + "/a/b"})
			m.zfs("create", m.root+"/a/theirs")
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "s"})
			got := must[RenameResult](m, "rename", args{"dataset": m.root + "/a", "to": m.root + "/x/y", "parents": true})
			if got.Dataset.Name != Dataset(m.root+"/x/y") || !got.Dataset.Ours || got.Was != Dataset(m.root+"/a") || len(got.Parents) != 1 {
				m.t.Errorf("%+v", got)
			}
			for _, d := range must[[]DatasetInfo](m, "datasets", args{"under": list(m.root + "/x")}) {
				if d.Ours == strings.HasSuffix(string(d.Name), "theirs") {
					m.t.Errorf("%s: ours is %v", d.Name, d.Ours)
				}
			}
			if s := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root + "/x/y")}); len(s) != 1 || !s[0].Ours {
				m.t.Errorf("%+v", s)
			}
		},
		"what cannot be": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/b")
			m.zfs("create", "-V", "8M", m.root+"/v")
			refused[RenameResult](m, builtin.NotFound, "does not exist", "rename", args{"dataset": m.root + "/no", "to": m.root + "/c"})
			refused[RenameResult](m, builtin.Conflict, "there already", "rename", args{"dataset": m.root + "/a", "to": m.root + "/b"})
			refused[RenameResult](m, builtin.Conflict, "there already", "rename", args{"dataset": m.root + "/v", "to": m.root + "/b"})
			refused[RenameResult](m, builtin.NotFound, "parents", "rename", args{"dataset": m.root + "/a", "to": m.root + "/x/y"})
			refused[RenameResult](m, builtin.Invalid, "below itself", "rename", args{"dataset": m.root + "/a", "to": m.root + "/a/b"})
			refused[RenameResult](m, builtin.Invalid, "another pool", "rename", args{"dataset": m.root + "/a", "to": "otherpool/a"})
			refused[RenameResult](m, builtin.Invalid, "zpool", "rename", args{"dataset": strings.Split(m.root, "/")[0], "to": "otherpool"})
			refused[RenameResult](m, builtin.Invalid, "volume", "rename", args{"dataset": m.root + "/a", "to": m.root + "/v/a"})
			m.wantDatasets("/a", "/b", "/v")
		},
		"too long below": func(m *machine) {
			below := "/" + strings.Repeat("n", maxName-len(m.root+"/a/"))
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/a"+below)
			if _, err := call[RenameResult](m, "rename", args{"dataset": m.root + "/a", "to": m.root + "/longer"}); err == nil {
				m.t.Error("renamed")
			}
			m.wantDatasets("/a", "/a"+below)
		},
		"a plan of it": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/a/b")
			m.zfs("snapshot", "-r", m.root+"/a@s")
			m.zfs("clone", m.root+"/a@s", m.root+"/c")
			end := m.planning()
			planned := must[RenameResult](m, "rename", args{"dataset": m.root + "/a", "to": m.root + "/z"})
			if planned.Dataset.Name != Dataset(m.root+"/z") {
				m.t.Errorf("%+v", planned)
			}
			if s := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root + "/z"), "recursive": true}); len(s) != 2 || s[1].Dataset != Dataset(m.root+"/z/b") {
				m.t.Errorf("%+v", s)
			}
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/c"}); d.Origin != m.root+"/z@s" {
				m.t.Errorf("%+v", d)
			}
			if got := must[map[string]Property](m, "properties", args{"target": m.root + "/z/b", "names": list("type")}); got["type"].Value != "filesystem" {
				m.t.Errorf("%v", got)
			}
			refused[DatasetInfo](m, builtin.NotFound, "by now", "dataset", args{"dataset": m.root + "/a"})
			end()
			m.wantDatasets("/a", "/a/b", "/c")
		},
		"settled, and gone on with": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			handle := m.holding()
			c := m.prepare("rename", args{"dataset": m.root + "/a", "to": m.root + "/b"})
			m.settled(c, "", builtin.NotDone)
			guid := m.value("guid", m.root+"/a")
			m.settled(c, guid, builtin.NotDone)
			// It ended between the rename and the mark.
			m.zfs("rename", m.root+"/a", m.root+"/b")
			m.settled(c, guid, builtin.NotDone)
			c.Handle = guid
			got, err := perform[RenameResult](m, c)
			if err != nil || !got.Dataset.Ours {
				m.t.Fatalf("%+v, %v", got, err)
			}
			m.settled(c, guid, builtin.Done)
			if *handle != "" {
				m.t.Errorf("it was renamed again: %s", *handle)
			}
		},
	})
}

func TestRenameSnapshot(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"ours stays ours, theirs theirs": func(m *machine) {
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "s"})
			m.zfs("snapshot", m.root+"@t")
			if got := must[SnapshotInfo](m, "rename_snapshot", args{"snapshot": m.root + "@s", "to": "s2"}); !got.Ours || got.Name != "s2" || got.Run != m.run.ID {
				m.t.Errorf("%+v", got)
			}
			if got := must[SnapshotInfo](m, "rename_snapshot", args{"snapshot": m.root + "@t", "to": "s"}); got.Ours {
				m.t.Errorf("%+v", got)
			}
			if got := m.snapshotsThere(); !slices.Equal(got, []string{"@s", "@s2"}) {
				m.t.Errorf("%q", got)
			}
		},
		"what cannot be": func(m *machine) {
			m.zfs("snapshot", m.root+"@s")
			m.zfs("snapshot", m.root+"@t")
			refused[SnapshotInfo](m, builtin.Conflict, "there already", "rename_snapshot", args{"snapshot": m.root + "@s", "to": "t"})
			refused[SnapshotInfo](m, builtin.NotFound, "no such snapshot", "rename_snapshot", args{"snapshot": m.root + "@no", "to": "x"})
			refused[SnapshotInfo](m, builtin.NotFound, "does not exist", "rename_snapshot", args{"snapshot": m.root + "/no@s", "to": "x"})
			refused[SnapshotInfo](m, builtin.Invalid, "255", "rename_snapshot", args{"snapshot": m.root + "@s", "to": strings.Repeat("n", maxName-len(m.root))})
		},
		"planned, and settled": func(m *machine) {
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "s"})
			end := m.planning()
			c := m.prepare("rename_snapshot", args{"snapshot": m.root + "@s", "to": "s2"})
			if _, err := perform[SnapshotInfo](m, c); err != nil {
				m.t.Fatal(err)
			}
			if s := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root)}); len(s) != 1 || s[0].Name != "s2" {
				m.t.Errorf("%+v", s)
			}
			end()
			m.settled(c, "", builtin.NotDone)
			guid := m.value("guid", m.root+"@s")
			m.zfs("rename", m.root+"@s", m.root+"@s2")
			m.settled(c, guid, builtin.NotDone)
			c.Handle = guid
			if got, err := perform[SnapshotInfo](m, c); err != nil || !got.Ours {
				m.t.Fatalf("%+v, %v", got, err)
			}
			m.settled(c, guid, builtin.Done)
		},
	})
}
