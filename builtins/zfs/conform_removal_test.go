package zfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

// write writes a file of some bytes into a file system, or over a volume.
func (m *machine) write(dataset, path string, size int) {
	m.t.Helper()
	var err error
	if !real {
		err = m.lab.WriteFile(dataset, path, int64(size))
	} else {
		at := strings.TrimSpace(m.zfs("get", "-H", "-o", "value", "mountpoint", dataset))
		err = os.WriteFile(filepath.Join(at, path), slices.Repeat([]byte(path+"\x00\xa5"), size/len(path)+1)[:size], 0o600)
		m.command("sync", "-f", at) // the sizes of ZFS are those of its last transaction
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// take has nixmox snapshot a dataset.
func (m *machine) take(dataset string, names ...string) {
	m.t.Helper()
	for _, name := range names {
		must[SnapshotResult](m, "snapshot", args{"datasets": list(dataset), "name": name, "guests": "include"})
	}
}

// left compares the snapshots that are there with those that should be.
func (m *machine) left(want ...string) {
	m.t.Helper()
	slices.Sort(want)
	if got := m.snapshotsThere(); !slices.Equal(got, want) {
		m.t.Errorf("there are %q, want %q", got, want)
	}
}

func TestDestroySnapshots(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"several of several datasets": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/b")
			m.take(m.root+"/a", "one", "two", "three")
			m.take(m.root+"/b", "one", "two", "three")
			a := args{"snapshots": list(m.root+"/a@one", m.root+"/b@three", m.root+"/a@three", m.root+"/a@one")}
			end := m.planning()
			planned := must[DestroyResult](m, "destroy", a)
			again := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root + "/a")})
			refused[DestroyResult](m, builtin.NotFound, "does not exist", "destroy", a)
			end()
			if len(again) != 1 || len(planned.Destroyed) != 3 {
				m.t.Errorf("planned %+v, then listed %+v", planned, again)
			}
			done := must[DestroyResult](m, "destroy", a)
			if len(done.Destroyed) != 3 || done.Destroyed[0].GUID != planned.Destroyed[0].GUID {
				m.t.Errorf("done %+v", done)
			}
			m.left("/a@two", "/b@one", "/b@two")
		},
		"what lies between two stays": func(m *machine) {
			m.take(m.root, "a", "z")
			m.zfs("snapshot", m.root+"@n")
			must[DestroyResult](m, "destroy", args{"snapshots": list(m.root+"@a", m.root+"@z")})
			m.left("@n")
		},
		"names that look like something else": func(m *machine) {
			m.zfs("create", m.root+"/-r")
			m.zfs("create", m.root+"/with space")
			m.take(m.root+"/-r", "-R", "x y")
			m.take(m.root+"/with space", "-d", "--")
			must[DestroyResult](m, "destroy", args{"snapshots": list(m.root+"/-r@-R", m.root+"/with space@--")})
			m.left("/-r@x y", "/with space@-d")
		},
		"below: only what is named": func(m *machine) {
			m.zfs("create", m.root+"/a")
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "one", "recursive": true})
			must[DestroyResult](m, "destroy", args{"snapshots": list(m.root + "@one")})
			m.left("/a@one")
		},
		"one of them is missing": func(m *machine) {
			m.take(m.root, "one")
			refused[DestroyResult](m, builtin.NotFound, "nothing was destroyed", "destroy", args{"snapshots": list(m.root+"@one", m.root+"@nowhere")})
			refused[DestroyResult](m, builtin.NotFound, "nothing was destroyed", "destroy", args{"snapshots": list(m.root+"@one", m.root+"/nowhere@one")})
			refused[DestroyResult](m, builtin.Invalid, "none is named", "destroy", args{"snapshots": list()})
			m.left("@one")
		},
		"one of them is another's": func(m *machine) {
			m.take(m.root, "one")
			m.zfs("snapshot", m.root+"@auto-precious-manual")
			refused[DestroyResult](m, builtin.Conflict, "auto-precious-manual was not taken by nixmox", "destroy", args{"snapshots": list(m.root+"@one", m.root+"@auto-precious-manual")})
			m.left("@one", "@auto-precious-manual")
		},
		"no dataset, and no range": func(m *machine) {
			module := Module(m.runner)
			f, _ := module.Func("destroy")
			for _, name := range []string{m.root, m.root + "@", m.root + "@a%b", m.root + "@a,b", m.root + "@%", m.root + "#a", "@a", ""} {
				if _, err := f.Bind(nil, []builtin.Named{{Name: "snapshots", Value: list(name)}}); err == nil {
					m.t.Errorf("%q is taken for a snapshot", name)
				}
			}
		},
		"held: by whom": func(m *machine) {
			m.take(m.root, "one", "two")
			m.zfs("hold", "offsite copy", m.root+"@two")
			m.zfs("hold", "legal", m.root+"@two")
			f := refused[DestroyResult](m, builtin.Busy, "nothing was destroyed", "destroy", args{"snapshots": list(m.root+"@one", m.root+"@two")})
			if !strings.Contains(f.Said, "legal, offsite copy") {
				m.t.Error(f)
			}
			m.zfs("release", "legal", m.root+"@two")
			m.zfs("release", "offsite copy", m.root+"@two")
			must[DestroyResult](m, "destroy", args{"snapshots": list(m.root+"@one", m.root+"@two")})
			m.left()
		},
		"held between": func(m *machine) {
			m.take(m.root, "one", "two")
			c := m.decided("destroy", args{"snapshots": list(m.root+"@one", m.root+"@two")})
			m.zfs("hold", "x", m.root+"@two")
			m.fails(c, builtin.Busy, "x")
			m.left("@one", "@two")
			m.zfs("release", "x", m.root+"@two")
			m.zfs("clone", m.root+"@one", m.root+"/clone")
			m.fails(c, builtin.Busy, m.root+"/clone")
			m.left("@one", "@two")
		},
		"gone by an earlier try": func(m *machine) {
			m.take(m.root, "one", "two")
			c := m.decided("destroy", args{"snapshots": list(m.root+"@one", m.root+"@two")})
			if s := m.settlement(c, ""); s.State != builtin.NotDone {
				m.t.Errorf("before: %+v", s)
			}
			m.zfs("destroy", m.root+"@one")
			if s := m.settlement(c, ""); s.State != builtin.NotDone {
				m.t.Errorf("in the middle: %+v", s)
			}
			r, err := perform[DestroyResult](m, c)
			if err != nil || len(r.Destroyed) != 2 {
				m.t.Errorf("%+v, %v", r, err)
			}
			if s := m.settlement(c, ""); s.State != builtin.Done || len(s.Result.(DestroyResult).Destroyed) != 2 {
				m.t.Errorf("after: %+v", s)
			}
		},
		"a plan takes, holds and destroys": func(m *machine) {
			m.take(m.root, "real")
			defer m.planning()()
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root), "name": "one"})
			must[HoldResult](m, "hold", args{"snapshots": list(m.root+"@one", m.root+"@real")})
			refused[DestroyResult](m, builtin.Busy, "held", "destroy", args{"snapshots": list(m.root + "@one")})
			refused[DestroyResult](m, builtin.Busy, "held", "destroy", args{"snapshots": list(m.root + "@real")})
			must[HoldResult](m, "release", args{"snapshots": list(m.root+"@one", m.root+"@real")})
			if r := must[DestroyResult](m, "destroy", args{"snapshots": list(m.root+"@one", m.root+"@real")}); len(r.Destroyed) != 2 {
				m.t.Errorf("%+v", r)
			}
			if s := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root)}); len(s) != 0 {
				m.t.Errorf("%+v", s)
			}
		},
		"more than are looked at by name": func(m *machine) {
			if real {
				m.t.Skip("the rig takes a second for each snapshot")
			}
			const many = fewNames + 5
			var names []string
			for i := range many {
				names = append(names, fmt.Sprintf("%s@n%03d", m.root, i))
			}
			m.zfs("create", m.root+"/other")
			for i, name := range names {
				m.zfs("snapshot", "-o", snapshotMark+"=nixmox: v=1 run=01TEST place=1 playbook=test of="+fmt.Sprintf("n%03d", i), name)
			}
			m.take(m.root, "stays")
			m.zfs("snapshot", m.root+"/other@n000")
			c := m.decided("destroy", args{"snapshots": list(names...)})
			if r, err := perform[DestroyResult](m, c); err != nil || len(r.Destroyed) != many {
				m.t.Fatalf("%d, %v", len(r.Destroyed), err)
			}
			m.left("@stays", "/other@n000")
			if s := m.settlement(c, ""); s.State != builtin.Done {
				m.t.Errorf("%+v", s)
			}
		},
	})
}

// decided is a call whose decision is made.
func (m *machine) decided(name string, a args) *builtin.Call {
	m.t.Helper()
	c := m.prepare(name, a)
	d, err := c.Func.Decide(m.t.Context(), c)
	if err != nil {
		m.t.Fatal(err)
	}
	c.Decision = d
	return c
}

// fails does a call that must fail so.
func (m *machine) fails(c *builtin.Call, kind builtin.Kind, words string) *builtin.Fault {
	m.t.Helper()
	_, err := c.Func.Do(m.t.Context(), c)
	f := builtin.AsFault(err)
	if f == nil || f.Kind != kind || f.Hint == "" || !strings.Contains(f.Error(), words) {
		m.t.Fatalf("%v, want %s and %q", err, kind, words)
	}
	return f
}

func (m *machine) settlement(c *builtin.Call, handle string) builtin.Settlement[any] {
	m.t.Helper()
	s, err := c.Func.Settle(m.t.Context(), c, handle)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}
