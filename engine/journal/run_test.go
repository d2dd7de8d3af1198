package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

// TestRunIsTakenUp: what one process recorded, the next one has.
func TestRunIsTakenUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b", "100% #?&=c")
	db := open(t, dir)
	n := newRun("r1")
	r := begin(t, db, n)
	ok(t, r.Read(ended("1")))
	ok(t, r.Begun(intent("2")))
	ok(t, r.Handle("2", "UPID:pve1:0001"))
	failed := ended("2")
	failed.Result, failed.Fault, failed.Settled = nil, json.RawMessage(`{"kind":"busy"}`), "done by settle"
	ok(t, r.Ended(failed))
	decided := intent("10")
	decided.Decision = json.RawMessage(`{"goes":[1]}`)
	ok(t, r.Begun(decided))
	ok(t, r.Read(ended("4"))) // nothing takes it along
	ok(t, r.Close())
	ok(t, r.Close())
	ok(t, db.Close())

	db = open(t, dir)
	one, two := ended("1"), failed
	one.Order, two.Order, two.Handle = 1, 2, "UPID:pve1:0001"
	want := []Entry{one, two, decided}
	info, entries, began, err := db.Show("r1")
	ok(t, err)
	same(t, "entries", entries, want)
	same(t, "the beginning", began, n)
	same(t, "info", info, RunInfo{ID: "r1", Playbook: n.Playbook, File: n.File, Version: n.Version, Digest: n.Digest,
		Began: epoch, Changed: epoch, State: Running, Options: n.Options})
	r = resume(t, db, "r1")
	same(t, "the beginning, resumed", r.Info(), n)
	same(t, "entries, resumed", r.Entries(), want)
	if e, found := r.Entry("10"); !found || !e.InDoubt() {
		t.Errorf("10 is %+v, %v; want it in doubt", e, found)
	}
	if _, found := r.Entry("4"); found {
		t.Error("a read that nothing took along is there")
	}

	// Found not to have happened: begun again. Outcomes are counted on.
	ok(t, r.Begun(decided))
	ok(t, r.Ended(ended("10")))
	if e, _ := r.Entry("10"); e.Order != 3 || string(e.Decision) != string(decided.Decision) {
		t.Errorf("10 ended as %+v", e)
	}
	ok(t, r.SetState(InDoubt, 5, "call 3", epoch.Add(time.Hour)))
	ok(t, r.SetState(Running, 0, "", epoch.Add(2*time.Hour)))
	ok(t, r.Read(ended("11")))
	ok(t, r.Finish(Failed, 1, "no", epoch.Add(3*time.Hour)))
	info, entries = shown(t, db, "r")
	if places(entries) != "1 2 10 11" || info.State != Failed || info.Exit != 1 || info.Error != "no" || !info.Ended.Equal(epoch.Add(3*time.Hour)) {
		t.Errorf("%+v: %s", info, places(entries))
	}
}

// TestPermissions: nobody else reads what runs did.
func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	db := open(t, dir)
	begin(t, db, newRun("r1"))
	seen := 0
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if seen++; info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	}))
	if seen != 6 { // the folder, db, -wal, -shm, runs, the lock
		t.Errorf("%d files and folders, want 6", seen)
	}
}

func TestMisuse(t *testing.T) {
	db := open(t, t.TempDir())
	r := begin(t, db, newRun("r1"))
	ok(t, r.Begun(intent("1")))
	ok(t, r.Ended(ended("1")))
	ok(t, r.Begun(intent("2")))
	ok(t, r.Read(ended("3")))
	both, neither, untimed := ended("2"), ended("2"), ended("2")
	both.Fault, neither.Result, untimed.Ended = both.Result, nil, time.Time{}
	done := begin(t, db, newRun("r2"))
	ok(t, done.Finish(Done, 0, "", epoch))
	gone := begin(t, db, newRun("r3"))
	ok(t, gone.Close())
	begins := func(n NewRun) func() error {
		return func() error { _, err := db.Begin(n); return err }
	}
	untimedRun, other := newRun("r4"), newRun("r5")
	untimedRun.Began = time.Time{}
	other.Sources[0].Text = []byte("another")
	for name, tt := range map[string]struct {
		do   func() error
		want string
	}{
		"begun twice":             {func() error { return r.Begun(intent("1")) }, "recorded already"},
		"ended twice":             {func() error { return r.Ended(ended("1")) }, "recorded already"},
		"ended, not begun":        {func() error { return r.Ended(ended("9")) }, "intent is not recorded"},
		"handle, not begun":       {func() error { return r.Handle("9", "h") }, "intent is not recorded"},
		"handle after the end":    {func() error { return r.Handle("1", "h") }, "recorded already"},
		"read twice":              {func() error { return r.Read(ended("3")) }, "the place is taken"},
		"read where a change is":  {func() error { return r.Read(ended("2")) }, "the place is taken"},
		"begun where a read is":   {func() error { return r.Begun(intent("3")) }, "recorded already"},
		"result and fault":        {func() error { return r.Ended(both) }, "either a result or a fault"},
		"neither":                 {func() error { return r.Ended(neither) }, "either a result or a fault"},
		"no time":                 {func() error { return r.Ended(untimed) }, "an outcome has a time"},
		"a read without end":      {func() error { return r.Read(intent("8")) }, "an outcome has a time"},
		"finish without end":      {func() error { return r.Finish(Suspended, 0, "", epoch) }, "suspended"},
		"an end as state":         {func() error { return r.SetState(Done, 0, "", epoch) }, "done"},
		"an unknown state":        {func() error { return r.Finish("over", 0, "", epoch) }, "over"},
		"state at no time":        {func() error { return r.SetState(InDoubt, 0, "", time.Time{}) }, "in_doubt"},
		"after the end":           {func() error { return done.Begun(intent("1")) }, "the run has ended: done"},
		"after the end, a state":  {func() error { return done.SetState(Running, 0, "", epoch) }, "the run has ended: done"},
		"given up":                {func() error { return gone.Read(ended("1")) }, "given the run up"},
		"a run without beginning": {begins(untimedRun), "no time of beginning"},
		"a digest of two texts":   {begins(other), "another text has the digest d1"},
		"no id":                   {begins(newRun("")), "no id of a run"},
		"an id with a path":       {begins(newRun("../r")), "no id of a run"},
		"a hidden id":             {begins(newRun(".r")), "no id of a run"},
		"an id like a flag":       {begins(newRun("-r")), "no id of a run"},
		"an id too long":          {begins(newRun(strings.Repeat("r", 129))), "no id of a run"},
	} {
		if err := tt.do(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		} else if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%s: a %T", name, err)
		}
	}
	for _, id := range []string{"r4", "r5"} {
		if _, err := os.Stat(db.lockPath(id)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a run that did not begin left its lock: %v", err)
		}
	}
	if _, entries := shown(t, db, "r1"); places(entries) != "1 2" || entries[1].Order != 0 {
		t.Errorf("recorded after all: %+v", entries)
	}
}

// TestClosedJournal: a clear word, no panic.
func TestClosedJournal(t *testing.T) {
	db := open(t, t.TempDir())
	r := begin(t, db, newRun("r1"))
	ok(t, db.Close())
	ok(t, db.Close())
	_, beginErr := db.Begin(newRun("r2"))
	_, listErr := db.Runs(Filter{})
	_, pruneErr := db.Prune(epoch)
	for _, err := range []error{r.Begun(intent("1")), beginErr, listErr, pruneErr} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%v, want that the journal is closed", err)
		}
	}
	ok(t, r.Close())
}

// TestBranches: the branches of a parallel record at the same time, in two
// runs of two journals on one folder.
func TestBranches(t *testing.T) {
	const branches, calls = 8, 12
	dir := t.TempDir()
	var all sync.WaitGroup
	for _, id := range []string{"r1", "r2"} {
		db := open(t, dir)
		r := begin(t, db, newRun(id))
		for b := range branches {
			all.Go(func() {
				for c := range calls {
					place := fmt.Sprintf("1.%d.%d", b+1, c+1)
					var err error
					if c%3 == 0 {
						err = r.Read(ended(place))
					} else {
						err = errors.Join(r.Begun(intent(place)), r.Handle(builtin.Place(place), "h"+place), r.Ended(ended(place)))
					}
					if err != nil {
						t.Error(err)
					}
					if e, found := r.Entry(builtin.Place(place)); !found || e.InDoubt() {
						t.Errorf("%s is %+v", place, e)
					}
				}
			})
		}
	}
	all.Wait()
	db := open(t, dir)
	for _, id := range []string{"r1", "r2"} {
		_, entries := shown(t, db, id)
		orders := map[int]bool{}
		for i, e := range entries {
			orders[e.Order] = true
			if want := fmt.Sprintf("1.%d.%d", i/calls+1, i%calls+1); string(e.Place) != want {
				t.Fatalf("entry %d is %s, want %s", i, e.Place, want)
			}
		}
		if len(entries) != branches*calls || len(orders) != branches*calls || orders[0] {
			t.Errorf("%s: %d entries, %d outcomes", id, len(entries), len(orders))
		}
	}
}

func TestPlacesInTree(t *testing.T) {
	want := "1 2 2.1.1 2.1.2 2.2.1 2.10.1 3 10 defer.1.1 defer.1.2"
	var entries []*Entry
	for _, p := range strings.Fields("10 defer.1.2 2.10.1 2 1 defer.1.1 2.2.1 3 2.1.2 2.1.1") {
		entries = append(entries, &Entry{Place: builtin.Place(p)})
	}
	if got := places(inTree(entries)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
