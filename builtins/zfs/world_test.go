package zfs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/mark"
	"nixmox/engine/builtin"
)

// world is some datasets with snapshots of nixmox's and of others, some of
// them held and some of them with clones, made by chance.
type world struct {
	m      *machine
	random *rand.Rand
	top    string
	ours   map[Snapshot]bool
	kept   map[Snapshot]string // by what, of those that are held or have clones
}

// quick runs zfs without a process where that is possible.
func (m *machine) quick(args ...string) {
	m.t.Helper()
	if real {
		m.zfs(args...)
		return
	}
	if _, said, exit, err := m.lab.Command("", append([]string{"zfs"}, args...)...); err != nil || exit != 0 {
		m.t.Fatalf("zfs %s: %d, %v: %s", strings.Join(args, " "), exit, err, said)
	}
}

var foreignNames = []string{"auto-precious-manual", "autosnap_%d_daily", "%d", "__replicate_100-0_%d__", "auto-2025-05-26-15%d", "zz %d", "before:%d.x"}

func newWorld(m *machine, seed uint64, actions int) *world {
	w := &world{m: m, random: rand.New(rand.NewPCG(seed, 7)), top: fmt.Sprintf("%s/w%d", m.root, seed), ours: map[Snapshot]bool{}, kept: map[Snapshot]string{}}
	datasets := []string{w.top}
	m.quick("create", w.top)
	for _, below := range []string{"/a", "/a/b", "/vm-100-disk-0", "/-r"}[:w.random.IntN(5)] {
		if below == "/vm-100-disk-0" {
			m.quick("create", "-V", "8M", w.top+below)
		} else {
			m.quick("create", w.top+below)
		}
		datasets = append(datasets, w.top+below)
	}
	var all []Snapshot
	for i := range actions {
		d := datasets[w.random.IntN(len(datasets))]
		any := func() Snapshot { return all[w.random.IntN(len(all))] }
		switch n := w.random.IntN(10); {
		case n < 5:
			name := fmt.Sprintf("auto-%d", i)
			s := Snapshot(d + "@" + name)
			m.quick("snapshot", "-o", snapshotMark+"="+mark.Mark{Run: "01TEST", Place: "1", Playbook: "test", Of: name}.String(), string(s))
			all, w.ours[s] = append(all, s), true
		case n < 8 || len(all) == 0:
			name := foreignNames[w.random.IntN(len(foreignNames))]
			if strings.Contains(name, "%d") {
				name = fmt.Sprintf(name, i)
			}
			s := Snapshot(d + "@" + name)
			if slices.Contains(all, s) {
				continue
			}
			m.quick("snapshot", string(s))
			all = append(all, s)
		case n == 8:
			s := any()
			m.quick("hold", fmt.Sprintf("tag%d", i), string(s))
			w.kept[s] = "held"
		default:
			s := any()
			m.quick("clone", string(s), fmt.Sprintf("%s/clone%d-%d", m.root, seed, i))
			w.kept[s] = "a clone"
		}
	}
	return w
}

// there are the world's snapshots, by identity.
func (w *world) there() map[Snapshot]GUID {
	out := map[Snapshot]GUID{}
	for _, s := range must[[]SnapshotInfo](w.m, "snapshots", args{"datasets": list(w.top), "recursive": true}) {
		out[s.Snapshot] = s.GUID.Value
	}
	return out
}

// newest is the newest of nixmox's that nothing keeps, of each dataset.
func (w *world) newest() map[Dataset]Snapshot {
	out := map[Dataset]Snapshot{}
	for _, s := range must[[]SnapshotInfo](w.m, "snapshots", args{"datasets": list(w.top), "recursive": true}) {
		if w.ours[s.Snapshot] && w.kept[s.Snapshot] == "" {
			out[s.Dataset] = s.Snapshot
		}
	}
	return out
}

// Exactly what was decided is gone; and nothing that somebody else took, that
// is held, that has a clone, or that is the newest is among it.
func TestWhateverTheWorld(t *testing.T) {
	m := newMachine(t)
	seeds := 30
	if real {
		seeds = 3
	}
	went := 0
	for seed := range uint64(seeds) {
		w := newWorld(m, seed, 6+int(seed))
		before, newest := w.there(), w.newest()
		destroys := seed%3 == 2
		var c *builtin.Call
		var decided []SnapshotIdentity
		var pruning args
		if destroys {
			named := list()
			for _, s := range slices.Sorted(maps.Keys(before)) {
				if w.ours[s] && w.kept[s] == "" && w.random.IntN(2) == 0 {
					named = append(named, string(s))
				}
			}
			if len(named) == 0 {
				continue
			}
			c = m.decided("destroy", args{"snapshots": named})
			decided = c.Decision.(DestroyDecision).Remove
			if len(decided) != len(named) {
				t.Errorf("seed %d: %d of %d decided", seed, len(decided), len(named))
			}
		} else {
			keep := map[string]any{"last": int64(1 + w.random.IntN(3))}
			if w.random.IntN(2) == 0 {
				keep = map[string]any{"daily": int64(1 + w.random.IntN(3)), "minimum": int64(w.random.IntN(4))}
			}
			pruning = args{"datasets": list(w.top), "keep": keep, "recursive": true}
			c = m.decided("prune", pruning)
			decided = c.Decision.(PruneDecision).Remove
		}
		want := maps.Clone(before)
		for _, s := range decided {
			switch {
			case before[s.Snapshot] != s.GUID.Value:
				t.Errorf("seed %d: %s was decided on by another identity", seed, s.Snapshot)
			case !w.ours[s.Snapshot] || w.kept[s.Snapshot] != "" || !destroys && newest[s.Snapshot.Dataset()] == s.Snapshot:
				t.Errorf("seed %d: %s goes: ours %v, kept by %q, newest %s", seed, s.Snapshot, w.ours[s.Snapshot], w.kept[s.Snapshot], newest[s.Snapshot.Dataset()])
			}
			delete(want, s.Snapshot)
			went++
		}
		if _, err := c.Func.Do(t.Context(), c); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if after := w.there(); !maps.Equal(after, want) {
			t.Errorf("seed %d: there is %v, want %v", seed, after, want)
		}
		// Once more: what goes decides nothing, so nothing is left to go.
		if !destroys {
			if again := m.decided("prune", pruning); len(again.Decision.(PruneDecision).Remove) != 0 {
				t.Errorf("seed %d: a second prune would destroy %+v", seed, again.Decision)
			}
		}
	}
	if went < seeds {
		t.Errorf("of %d worlds only %d snapshots went: they show nothing", seeds, went)
	}
}
