package zfs

import (
	"strings"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

func TestPrune(t *testing.T) {
	two := map[string]any{"last": int64(2)}
	cases(t, map[string]func(m *machine){
		"each dataset by itself": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/a/b")
			m.zfs("create", m.root+"/ab")
			for _, d := range []string{"", "/a", "/a/b", "/ab"} {
				m.take(m.root+d, "one", "two", "three")
			}
			done := must[PruneResult](m, "prune", args{"datasets": list(m.root+"/a", m.root+"/a/b"), "keep": two, "recursive": true})
			if len(done.Removed) != 2 || len(done.Counts) != 2 || done.Counts[0] != (DatasetCount{Dataset(m.root + "/a"), 1, 2}) {
				m.t.Errorf("%+v", done)
			}
			must[PruneResult](m, "prune", args{"datasets": list(m.root + "/ab"), "keep": two})
			m.left("@one", "@two", "@three", "/a@two", "/a@three", "/a/b@two", "/a/b@three", "/ab@two", "/ab@three")
		},
		"the order of creation counts, not the name": func(m *machine) {
			m.take(m.root, "z", "m", "a")
			done := must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": two})
			if len(done.Removed) != 1 || done.Removed[0].Snapshot.Name() != "z" {
				m.t.Errorf("%+v", done.Removed)
			}
			m.left("@m", "@a")
		},
		"no rules keep all, and the newest stays": func(m *machine) {
			m.take(m.root, "one", "two", "three")
			must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": map[string]any{}})
			m.left("@one", "@two", "@three")
			must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": map[string]any{"last": int64(1), "minimum": int64(0)}})
			m.left("@three")
			must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": map[string]any{"daily": int64(1), "minimum": int64(1)}})
			m.left("@three")
		},
		"what others took survives everything": func(m *machine) {
			for _, name := range []string{"auto-precious-manual", "auto-2025-05-26-1530", "autosnap_2025-05-26_15:30:00_daily", "vm-100"} {
				m.zfs("snapshot", m.root+"@"+name)
			}
			m.take(m.root, "auto-1", "auto-2", "auto-3")
			done := must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": map[string]any{"last": int64(1)}})
			if len(done.Removed) != 2 {
				m.t.Errorf("%+v", done)
			}
			m.left("@auto-precious-manual", "@auto-2025-05-26-1530", "@autosnap_2025-05-26_15:30:00_daily", "@vm-100", "@auto-3")
		},
		"a mark that came from elsewhere is none": func(m *machine) {
			m.take(m.root, "auto-1")
			value := strings.TrimSpace(m.zfs("get", "-H", "-o", "value", snapshotMark, m.root+"@auto-1"))
			m.zfs("snapshot", "-o", snapshotMark+"="+value, m.root+"@auto-precious-manual")
			m.zfs("snapshot", m.root+"@auto-2")
			m.zfs("rename", m.root+"@auto-1", m.root+"@mine-now")
			m.take(m.root, "auto-3")
			must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": map[string]any{"last": int64(1)}})
			m.left("@mine-now", "@auto-precious-manual", "@auto-2", "@auto-3")
		},
		"a glob for what others took": func(m *machine) {
			m.zfs("snapshot", m.root+"@auto-precious-manual")
			m.zfs("snapshot", m.root+"@autosnap_1")
			m.zfs("snapshot", m.root+"@autosnap_2")
			m.zfs("snapshot", m.root+"@autosnap_3")
			m.take(m.root, "auto-1")
			done := must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": two, "unmarked": "autosnap_*"})
			if len(done.Removed) != 2 || done.Removed[0].Ours || done.Removed[0].Snapshot.Name() != "autosnap_1" {
				m.t.Errorf("%+v", done)
			}
			m.left("@auto-precious-manual", "@autosnap_3", "@auto-1")
			refused[PruneResult](m, builtin.Invalid, "no glob", "prune", args{"datasets": list(m.root), "keep": two, "unmarked": "auto["})
		},
		"held ones and origins of clones stay, uncounted": func(m *machine) {
			m.take(m.root, "one", "two", "three", "four", "five")
			m.zfs("hold", "offsite", m.root+"@five")
			m.zfs("clone", m.root+"@four", m.root+"/clone")
			c := m.decided("prune", args{"datasets": list(m.root), "keep": two})
			d := c.Decision.(PruneDecision)
			reasons := map[string]string{}
			for _, s := range d.Stay {
				reasons[s.Snapshot.Name()] = s.Reason
			}
			if !strings.Contains(reasons["five"], "offsite") || !strings.Contains(reasons["four"], m.root+"/clone") || len(d.Remove) != 1 {
				m.t.Errorf("%q, %+v", reasons, d.Remove)
			}
			if _, err := perform[PruneResult](m, c); err != nil {
				m.t.Error(err)
			}
			m.left("@two", "@three", "@four", "@five")
		},
		"what is new, gone, held or another since is a conflict": func(m *machine) {
			a := args{"datasets": list(m.root), "keep": two}
			m.take(m.root, "one", "two", "three", "four")
			c := m.decided("prune", a)
			m.zfs("snapshot", m.root+"@new")
			m.fails(c, builtin.Conflict, "had 2 that were to stay, and now has 3")
			m.zfs("destroy", m.root+"@new")
			m.zfs("hold", "x", m.root+"@one")
			m.fails(c, builtin.Conflict, "@one was to go, and would stay now: protected: held: x")
			m.zfs("release", "x", m.root+"@one")
			m.zfs("hold", "x", m.root+"@four")
			m.fails(c, builtin.Conflict, "@two was to go, and would stay now")
			m.zfs("release", "x", m.root+"@four")
			m.zfs("destroy", m.root+"@four")
			m.zfs("snapshot", m.root+"@four")
			m.fails(c, builtin.Conflict, "another snapshot now")
			m.zfs("destroy", m.root+"@two")
			m.zfs("snapshot", m.root+"@two")
			m.fails(c, builtin.Conflict, "@two is another snapshot")
			m.left("@one", "@two", "@three", "@four")
		},
		"goes on after an earlier try": func(m *machine) {
			m.take(m.root, "one", "two", "three", "four")
			c := m.decided("prune", args{"datasets": list(m.root), "keep": two})
			m.zfs("destroy", m.root+"@one")
			if s := m.settlement(c, ""); s.State != builtin.NotDone {
				m.t.Errorf("%+v", s)
			}
			r, err := perform[PruneResult](m, c)
			if err != nil || len(r.Removed) != 2 {
				m.t.Errorf("%+v, %v", r, err)
			}
			if s := m.settlement(c, ""); s.State != builtin.Done || len(s.Result.(PruneResult).Removed) != 2 {
				m.t.Errorf("%+v", s)
			}
			m.left("@three", "@four")
		},
		"the clock jumped": func(m *machine) {
			m.take(m.root, "one", "two", "three", "four")
			a := args{"datasets": list(m.root), "keep": two}
			c := m.decided("prune", a)
			was := m.run.Now
			m.run.Now = func() time.Time { return was().Add(-24 * time.Hour) }
			refused[PruneResult](m, builtin.Conflict, "the clock looks wrong", "prune", a)
			m.fails(c, builtin.Conflict, "the clock looks wrong")
			m.run.Now = func() time.Time { return time.Date(1970, 1, 1, 0, 7, 0, 0, time.UTC) }
			refused[PruneResult](m, builtin.Conflict, "the clock looks wrong", "prune", a)
			m.left("@one", "@two", "@three", "@four")
		},
		"missing dataset, none named": func(m *machine) {
			refused[PruneResult](m, builtin.NotFound, "does not exist", "prune", args{"datasets": list(m.root + "/nowhere"), "keep": two})
			refused[PruneResult](m, builtin.Invalid, "no dataset is named", "prune", args{"datasets": list(), "keep": two})
		},
		"nothing to prune": func(m *machine) {
			if done := must[PruneResult](m, "prune", args{"datasets": list(m.root), "keep": two}); len(done.Removed)+len(done.Counts) != 0 {
				m.t.Errorf("%+v", done)
			}
		},
		"a volume": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/vol")
			m.take(m.root+"/vol", "one", "two", "three")
			must[PruneResult](m, "prune", args{"datasets": list(m.root + "/vol"), "keep": two})
			m.left("/vol@two", "/vol@three")
		},
		"a plan holds, releases and prunes": func(m *machine) {
			m.take(m.root, "one", "two", "three")
			m.zfs("hold", "x", m.root+"@one")
			a := args{"datasets": list(m.root), "keep": map[string]any{"last": int64(1)}}
			defer m.planning()()
			must[HoldResult](m, "hold", args{"snapshots": list(m.root + "@two")})
			if r := must[PruneResult](m, "prune", a); len(r.Removed) != 0 {
				m.t.Errorf("%+v", r.Removed)
			}
			must[HoldResult](m, "release", args{"snapshots": list(m.root + "@one"), "tag": "x"})
			if r := must[PruneResult](m, "prune", a); len(r.Removed) != 1 || r.Removed[0].Snapshot.Name() != "one" {
				m.t.Errorf("%+v", r.Removed)
			}
		},
		"its calendar of what stays": func(m *machine) {
			m.take(m.root, "one", "two", "three")
			d := m.decided("prune", args{"datasets": list(m.root), "keep": two}).Decision.(PruneDecision)
			if len(d.Remove) != 1 || len(d.Stay) != 2 || d.Stay[0].Reason != "last 1 of 2" || !strings.HasPrefix(d.Remove[0].Reason, "no rule keeps it") || len(d.Seal) != 64 {
				m.t.Errorf("%+v", d)
			}
		},
	})
}
