package archive

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// A clusterSet answers as a plain set does, and keeps no bitmap that it could drop.
func TestClusterSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s clusterSet
		pages, model := 0, map[uint64]bool{}
		cluster := rapid.OneOf(
			rapid.Uint64Range(0, 20),
			rapid.Uint64Range(pageClusters-5, pageClusters+5),
			rapid.Uint64Range(0, 1<<32-1),
		)
		add := func(n uint64) {
			fresh, err := s.add(n, &pages)
			if err != nil || fresh == model[n] {
				t.Fatalf("add(%d): %v %v, and it was there: %v", n, fresh, err, model[n])
			}
			model[n] = true
		}
		for _, n := range rapid.SliceOf(cluster).Draw(t, "first") {
			add(n)
		}
		for range rapid.IntRange(0, 2*pageClusters).Draw(t, "run") {
			add(s.next)
		}
		for _, n := range rapid.SliceOf(cluster).Draw(t, "then") {
			add(n)
		}
		if s.seen != uint64(len(model)) || pages != len(s.ahead) || model[s.next] {
			t.Fatalf("seen %d of %d, %d pages of %d, next %d", s.seen, len(model), pages, len(s.ahead), s.next)
		}
		for n := range s.next {
			if !model[n] {
				t.Fatalf("%d was never seen, and the run goes to %d", n, s.next)
			}
		}
		for p := range s.ahead {
			if (p+1)*pageClusters <= s.next {
				t.Fatalf("page %d lies behind %d", p, s.next)
			}
		}
	})
}

func TestClusterSetLimit(t *testing.T) {
	var s clusterSet
	pages := maxPages
	if _, err := s.add(1, &pages); !errors.Is(err, errTooScattered) {
		t.Error(err)
	}
	if fresh, err := s.add(0, &pages); !fresh || err != nil {
		t.Error("what is in order needs no bitmap:", err)
	}
}
