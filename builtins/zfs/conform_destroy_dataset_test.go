package zfs

import (
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

func TestDestroyDataset(t *testing.T) {
	destroyed := func(r DestroyDatasetResult, root string) []string {
		out := []string{}
		for _, d := range r.Destroyed {
			out = append(out, strings.TrimPrefix(string(d.Name), root))
		}
		slices.Sort(out)
		return out
	}
	cases(t, map[string]func(m *machine){
		"ours": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			must[Made](m, "create", args{"dataset": m.root + "/-v", "size": "8MiB"})
			for _, name := range []string{"/a", "/-v"} {
				if got := must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + name}); !slices.Equal(destroyed(got, m.root), []string{name}) {
					m.t.Errorf("%+v", got)
				}
			}
			m.wantDatasets()
		},
		"only ours, unless told": func(m *machine) {
			m.zfs("create", m.root+"/a")
			refused[DestroyDatasetResult](m, builtin.Conflict, "unmarked", "destroy_dataset", args{"dataset": m.root + "/a"})
			must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/a", "unmarked": true})
			m.wantDatasets()
		},
		"a snapshot of somebody else in what is ours": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			m.zfs("snapshot", m.root+"/a@auto-precious-manual")
			refused[DestroyDatasetResult](m, builtin.Conflict, "auto-precious-manual", "destroy_dataset", args{"dataset": m.root + "/a"})
			refused[DestroyDatasetResult](m, builtin.Conflict, "auto-precious-manual", "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			if got := m.snapshotsThere(); len(got) != 1 {
				m.t.Errorf("%q", got)
			}
		},
		"what is in it, by name, and only if told": func(m *machine) {
			for _, d := range []string{"/a", "/a/b", "/a/b/c"} {
				must[Made](m, "create", args{"dataset": m.root + d})
			}
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "s", "recursive": true})
			m.zfs("bookmark", m.root+"/a/b@s", m.root+"/a/b#mark")
			m.zfs("create", m.root+"/a-b")
			refused[DestroyDatasetResult](m, builtin.Conflict, "/a/b/c", "destroy_dataset", args{"dataset": m.root + "/a"})
			got := must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			if want := []string{"/a", "/a/b", "/a/b#mark", "/a/b/c", "/a/b/c@s", "/a/b@s", "/a@s"}; !slices.Equal(destroyed(got, m.root), want) {
				m.t.Errorf("%q", destroyed(got, m.root))
			}
			m.wantDatasets("/a-b")
		},
		"a bookmark alone": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			m.zfs("snapshot", m.root+"/a@s")
			m.zfs("bookmark", m.root+"/a@s", m.root+"/a#mark")
			m.zfs("destroy", m.root+"/a@s")
			refused[DestroyDatasetResult](m, builtin.Conflict, "#mark", "destroy_dataset", args{"dataset": m.root + "/a"})
			must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			m.wantDatasets()
		},
		"never a pool": func(m *machine) {
			refused[DestroyDatasetResult](m, builtin.Invalid, "zpool destroy", "destroy_dataset", args{"dataset": strings.Split(m.root, "/")[0], "recursive": true, "unmarked": true})
			f, _ := Module(m.runner).Func("destroy_dataset")
			for _, name := range []string{m.root + "/a@s", m.root + "/a#s", m.root + "/", "-r", m.root + "/a%b", m.root + "//a", m.root + "/.."} {
				if _, err := f.Bind([]any{name}, nil); err == nil {
					m.t.Errorf("%q is taken for a dataset", name)
				}
			}
		},
		"held": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			must[Made](m, "create", args{"dataset": m.root + "/a/b"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a/b"), "name": "s"})
			m.zfs("hold", "offsite", m.root+"/a/b@s")
			refused[DestroyDatasetResult](m, builtin.Busy, "offsite", "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			m.wantDatasets("/a", "/a/b")
		},
		"a clone elsewhere": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "s"})
			m.zfs("clone", m.root+"/a@s", m.root+"/elsewhere")
			refused[DestroyDatasetResult](m, builtin.Busy, m.root+"/elsewhere", "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			m.wantDatasets("/a", "/elsewhere")
		},
		"clones within, promoted ones, too": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			must[Made](m, "create", args{"dataset": m.root + "/a/orig"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a/orig"), "name": "1"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a/orig"), "name": "2"})
			must[Made](m, "clone", args{"snapshot": m.root + "/a/orig@1", "target": m.root + "/a/aclone"})
			must[Made](m, "clone", args{"snapshot": m.root + "/a/orig@2", "target": m.root + "/a/zclone"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a/zclone"), "name": "3"})
			must[Made](m, "clone", args{"snapshot": m.root + "/a/zclone@3", "target": m.root + "/a/orig/below"})
			must[PromoteResult](m, "promote", args{"dataset": m.root + "/a/zclone"})
			got := must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			if len(got.Destroyed) != 8 {
				m.t.Errorf("%q", destroyed(got, m.root))
			}
			m.wantDatasets()
		},
		"missing": func(m *machine) {
			refused[DestroyDatasetResult](m, builtin.NotFound, "does not exist", "destroy_dataset", args{"dataset": m.root + "/no"})
		},
		"the world moved": func(m *machine) {
			for name, move := range map[string]func(){
				"a snapshot came":         func() { m.zfs("snapshot", m.root+"/a/b@new") },
				"a child came":            func() { m.zfs("create", m.root+"/a/b/new") },
				"another of the name":     func() { m.zfs("destroy", "-r", m.root+"/a/b"); m.zfs("create", m.root+"/a/b") },
				"another snapshot of it":  func() { m.zfs("destroy", m.root+"/a/b@s"); m.zfs("snapshot", m.root+"/a/b@s") },
				"all of it is another":    func() { m.zfs("destroy", "-r", m.root+"/a"); m.zfs("create", m.root+"/a") },
				"a clone was put into it": func() { m.zfs("clone", m.root+"/a/b@s", m.root+"/a/c") },
			} {
				m.zfs("create", m.root+"/a")
				m.zfs("create", m.root+"/a/b")
				m.zfs("snapshot", m.root+"/a/b@s")
				c := m.prepare("destroy_dataset", args{"dataset": m.root + "/a", "recursive": true, "unmarked": true})
				d, err := c.Func.Decide(m.t.Context(), c)
				if err != nil {
					m.t.Fatal(err)
				}
				c.Decision = d
				move()
				before := append(m.datasetsThere(), m.snapshotsThere()...)
				_, err = perform[DestroyDatasetResult](m, c)
				if f := builtin.AsFault(err); f == nil || f.Kind != builtin.Conflict {
					m.t.Errorf("%s: %v", name, err)
				}
				if after := append(m.datasetsThere(), m.snapshotsThere()...); !slices.Equal(before, after) {
					m.t.Errorf("%s: %q, then %q", name, before, after)
				}
				m.zfs("destroy", "-r", m.root+"/a")
			}
		},
		"gone on with": func(m *machine) {
			for _, d := range []string{"/a", "/a/b", "/a/c"} {
				must[Made](m, "create", args{"dataset": m.root + d})
			}
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "s", "recursive": true})
			c := m.prepare("destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			d, err := c.Func.Decide(m.t.Context(), c)
			if err != nil {
				m.t.Fatal(err)
			}
			c.Decision = d
			m.settled(c, "", builtin.NotDone)
			m.zfs("destroy", "-r", m.root+"/a/c") // where an earlier try ended
			m.settled(c, "", builtin.NotDone)
			got, err := perform[DestroyDatasetResult](m, c)
			if err != nil || len(got.Destroyed) != 6 {
				m.t.Errorf("%+v, %v", got, err)
			}
			m.settled(c, "", builtin.Done)
			m.wantDatasets()
		},
		"planned": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "s"})
			end := m.planning()
			refused[DestroyDatasetResult](m, builtin.Conflict, "recursive", "destroy_dataset", args{"dataset": m.root + "/a"})
			must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			refused[[]SnapshotInfo](m, builtin.NotFound, "", "snapshots", args{"datasets": list(m.root + "/a")})
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			if s := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root + "/a")}); len(s) != 0 {
				m.t.Errorf("%+v", s)
			}
			end()
			m.wantDatasets("/a")
		},
		"many snapshots": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			for i := range 30 {
				m.zfs("snapshot", m.root+"/a@s"+strings.Repeat("x", i))
			}
			must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true, "unmarked": true})
			m.wantDatasets()
		},
	})
}
