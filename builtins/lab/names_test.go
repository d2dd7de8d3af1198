package lab

import (
	"slices"
	"testing"
)

// Names are those of the kept lab, also while it is open; of a new one where
// there is none.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	named := func() (all []Name) {
		t.Helper()
		guests, storages, nodes, err := Names(dir)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(guests, storages, nodes)
	}
	for _, want := range []Name{{"101", "nixos-ct"}, {"backup", "dir"}, {"pve3", ""}} {
		if !slices.Contains(named(), want) {
			t.Errorf("%v is not among %v", want, named())
		}
	}
	l, err := Open(Options{Dir: dir, Clock: ClockAuto, Brief: true})
	must(t, err)
	must(t, l.RemoveGuest(101))
	must(t, l.Close())
	l, err = Open(Options{Dir: dir, Clock: ClockAuto, Brief: true})
	must(t, err)
	if slices.Contains(named(), Name{"101", "nixos-ct"}) || !slices.Contains(named(), Name{"104", "web1"}) {
		t.Errorf("%v", named())
	}
	must(t, l.Close())
}
