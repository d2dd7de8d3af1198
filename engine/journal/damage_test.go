package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nixmox/engine/builtin"
)

// useAll does with a journal, damaged or not, what a process may do; it
// answers the first error.
func useAll(dir string) error {
	db, err := Open(dir)
	if err != nil {
		return err
	}
	runs, err := db.Runs(Filter{})
	errs := []error{err}
	for _, state := range []State{Running, InDoubt, Done} {
		_, err = db.Runs(Filter{States: []State{state}, Playbook: "backup", Limit: 5})
		errs = append(errs, err)
	}
	for _, i := range runs {
		_, _, _, err := db.Show(i.ID)
		errs = append(errs, err)
		if checkID(i.ID) != nil {
			continue
		}
		r, err := db.Resume(i.ID)
		if errs = append(errs, err); err != nil {
			continue
		}
		for _, e := range r.Entries() {
			if e.InDoubt() && !r.State().final() {
				errs = append(errs, r.Ended(ended(string(e.Place))))
			}
		}
		if _, known := r.Entry("77"); !known && !r.State().final() {
			errs = append(errs, r.Begun(intent("77")), r.Handle("77", "h"), r.Ended(ended("77")))
		}
		errs = append(errs, r.Close())
	}
	r, err := db.Begin(newRun("another"))
	errs = append(errs, err)
	if err == nil {
		errs = append(errs, r.Finish(Done, 0, "", epoch), r.Close())
	}
	_, err = db.Prune(epoch.AddDate(1, 0, 0))
	errs = append(errs, err, db.Close())
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// bigJournal is a journal of many pages, closed.
func bigJournal(t testing.TB) (dir string, content []byte) {
	dir = t.TempDir()
	db := open(t, dir)
	for run := range 3 {
		r := begin(t, db, newRun(fmt.Sprint("r", run)))
		for i := range 40 {
			e := ended(fmt.Sprint(i))
			if i%10 == 0 {
				e.Result = fmt.Appendf(nil, `"%s"`, strings.Repeat("x", 9000))
			}
			ok(t, r.Read(e))
		}
		ok(t, r.Begun(intent("50")))
		ok(t, r.Close())
	}
	ok(t, db.Close())
	content, err := os.ReadFile(filepath.Join(dir, fileName))
	ok(t, err)
	return dir, content
}

// TestDamaged: a word of what it is and what to do, and never a panic.
func TestDamaged(t *testing.T) {
	_, good := bigJournal(t)
	const page = 4096
	over := func(at int, with []byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	for name, content := range map[string][]byte{
		"text":              []byte("this is a text file, and longer than a header would be, if only just: ................................"),
		"header":            over(0, bytes.Repeat([]byte{0xff}, 100)),
		"header zeroed":     over(0, make([]byte, 100)),
		"page size":         over(16, []byte{0x03, 0x03}),
		"first page":        over(100, make([]byte, page-100)),
		"cut in a page":     good[:len(good)/2],
		"cut between pages": good[:len(good)/page/2*page],
		"cut to the header": good[:100],
		"cut in the header": good[:50],
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, fileName)
			ok(t, os.WriteFile(file, content, 0o600))
			db, err := Open(dir)
			if err == nil {
				t.Fatal("it opened", db.Close())
			}
			said := err.Error()
			if !isA[*DamagedError](err) || !strings.Contains(said, file) || !strings.Contains(said, "move it") {
				t.Errorf("%T: %v", err, err)
			}
			if after, _ := os.ReadFile(file); !bytes.Equal(after, content) {
				t.Error("it was written to")
			}
		})
	}
	found := 0
	for at := page; at < len(good); at += page {
		random := make([]byte, page)
		for i := range random {
			random[i] = byte(rand.Uint32())
		}
		for _, with := range [][]byte{make([]byte, page), bytes.Repeat([]byte{0xff}, page), random, good[:page], random[:64]} {
			dir := t.TempDir()
			ok(t, os.WriteFile(filepath.Join(dir, fileName), over(at, with), 0o600))
			err := useAll(dir)
			if err != nil && !isA[*DamagedError](err) {
				t.Errorf("page %d: %T: %v", at/page+1, err, err)
			}
			if err != nil {
				found++
			}
		}
	}
	// What is overwritten in the middle of a value SQLite cannot tell.
	if all := (len(good)/page - 1) * 5; found < all/3 {
		t.Errorf("%d of %d overwritten pages were noticed", found, all)
	}
}

// FuzzOpen: whatever the files hold, no panic, and an error that says so.
// The bytes stand for themselves where at is past the end of the golden
// journal, and else are written over it there, which gets further.
func FuzzOpen(f *testing.F) {
	golden, err := os.ReadFile(goldenFile(Format))
	if err != nil {
		f.Fatal(err)
	}
	whole := uint32(len(golden))
	f.Add([]byte{}, []byte{}, uint32(0))
	f.Add([]byte{}, []byte{}, whole)
	f.Add([]byte("SQLite format 3\x00"), []byte{}, whole)
	f.Add([]byte{0xff, 0xff}, []byte("a log that is none"), uint32(100))
	f.Add([]byte{1, 1}, []byte{}, uint32(18)) // no log
	f.Add([]byte{0xff}, []byte{0x37, 0x7f, 0x06, 0x82}, uint32(4096+3))
	f.Fuzz(func(t *testing.T, content, wal []byte, at uint32) {
		db := content
		if at < whole {
			db = bytes.Clone(golden)
			copy(db[at:], content)
		}
		dir := t.TempDir()
		ok(t, os.WriteFile(filepath.Join(dir, fileName), db, 0o600))
		if len(wal) > 0 {
			ok(t, os.WriteFile(filepath.Join(dir, fileName+"-wal"), wal, 0o600))
		}
		if err := useAll(dir); err != nil && !isA[*DamagedError](err) && !isA[*NewerError](err) && !isA[*Error](err) && !isA[*NotFoundError](err) {
			t.Errorf("%T: %v", err, err)
		}
	})
}

// TestFolder: what is in the way of a state folder.
func TestFolder(t *testing.T) {
	inTheWay := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(inTheWay, nil, 0o600))
	dbFolder, public, publicDB := t.TempDir(), t.TempDir(), t.TempDir()
	ok(t, os.Mkdir(filepath.Join(dbFolder, fileName), 0o700))
	ok(t, os.Chmod(public, 0o777))
	ok(t, os.WriteFile(filepath.Join(publicDB, fileName), nil, 0o600))
	ok(t, os.Chmod(filepath.Join(publicDB, fileName), 0o666))
	for name, tt := range map[string]struct{ dir, want string }{
		"a file":              {inTheWay, "name another"},
		"below a file":        {filepath.Join(inTheWay, "state"), "name another"},
		"the db is a folder":  {dbFolder, "it is a folder"},
		"written by anybody":  {public, "everybody may write"},
		"a db of that sort":   {publicDB, "everybody may write"},
		"a place there isn't": {"/proc/none/state", "/proc/none"},
	} {
		_, err := Open(tt.dir)
		if !isA[*Error](err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	ok(t, os.Chmod(public, 0o700))

	t.Run("somebody else's", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can give a folder away")
		}
		dir := t.TempDir()
		ok(t, open(t, dir).Close())
		for _, path := range []string{filepath.Join(dir, fileName), dir} {
			ok(t, os.Chown(path, 65534, 65534))
			if _, err := Open(dir); !isA[*Error](err) || !strings.Contains(err.Error(), path+": it belongs to user 65534, and this is user 0") {
				t.Errorf("%v", err)
			}
		}
	})
	t.Run("read-only", func(t *testing.T) {
		dir := t.TempDir()
		if os.Geteuid() != 0 {
			ok(t, os.Chmod(dir, 0o500))
			defer func() { ok(t, os.Chmod(dir, 0o700)) }()
		} else { // whom no mode stops
			mount(t, dir, "size=4m")
		}
		for _, made := range []bool{false, true} {
			if made {
				if os.Geteuid() == 0 {
					ok(t, unix.Mount("none", dir, "", unix.MS_REMOUNT, "size=4m"))
				}
				ok(t, os.Chmod(dir, 0o700))
				ok(t, open(t, dir).Close())
				ok(t, os.Chmod(dir, 0o500))
			}
			if os.Geteuid() == 0 {
				ok(t, unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=4m"))
			}
			_, err := Open(dir)
			if !isA[*Error](err) || !strings.Contains(err.Error(), "make it writable") || !strings.Contains(err.Error(), dir) {
				t.Errorf("made %v: %v", made, err)
			}
		}
	})
}

// mount puts a small file system of its own on a folder.
func mount(t *testing.T, dir, size string) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, size); err != nil {
		t.Skip("cannot mount a file system here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// fillUp records calls until it no longer can; it answers how many, and why.
func fillUp(r *Run, from int) (n int, err error) {
	for n = from; ; n++ {
		place := fmt.Sprint(n)
		e := ended(place)
		e.Result = fmt.Appendf(nil, `"%s"`, strings.Repeat("x", 2000))
		if err := errors.Join(r.Read(ended(place+".1.1")), r.Begun(intent(place))); err != nil {
			return n, err
		}
		if err := r.Ended(e); err != nil {
			return n, err
		}
	}
}

// goesOn finishes the call that did not fit, once there is room.
func goesOn(r *Run, n int) error {
	place := fmt.Sprint(n)
	if _, begun := r.Entry(builtin.Place(place)); !begun {
		if err := r.Begun(intent(place)); err != nil {
			return err
		}
	}
	return r.Ended(ended(place))
}

// TestFullDisk: a clear word, nothing lost that was acknowledged, and the
// same journal and run go on once there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "size=1m")
	db := open(t, dir)
	r := begin(t, db, newRun("r1"))
	n := 1
	for size := 2; size < 8; size += 2 {
		var err error
		n, err = fillUp(r, n)
		e, isError := errors.AsType[*Error](err)
		if !isError || !strings.Contains(e.Hint, "room") || !strings.Contains(err.Error(), db.file) || !strings.Contains(e.Tried, "zfs.snapshot") {
			t.Fatalf("%T: %v", err, err)
		}
		_, stored := shown(t, db, "r1")
		known := map[builtin.Place]bool{}
		for _, e := range stored {
			known[e.Place] = true
		}
		for i := 1; i < n; i++ {
			if !known[builtin.Place(fmt.Sprint(i))] || !known[builtin.Place(fmt.Sprintf("%d.1.1", i))] {
				t.Fatalf("call %d was acknowledged and is gone", i)
			}
		}
		if _, err := db.Begin(newRun("r2")); err == nil {
			t.Error("a run began on a full disk")
		}
		ok(t, unix.Mount("none", dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%dm", size))) // room
		ok(t, goesOn(r, n))
		n++
	}
	ok(t, r.Finish(Done, 0, "", epoch))
	sound(t, db)
	_, entries := shown(t, db, "r1")
	same(t, "entries", entries, r.Entries())
	ok(t, r.Close())
	ok(t, db.Close())
}

// TestMadeOnFullDisk: what was half made is made whole once there is room.
func TestMadeOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "size=24k")
	if _, err := Open(dir); !isA[*Error](err) || !strings.Contains(err.Error(), "make room") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%T: %v", err, err)
	}
	ok(t, unix.Mount("none", dir, "", unix.MS_REMOUNT, "size=4m"))
	db := open(t, dir)
	r := begin(t, db, newRun("r1"))
	ok(t, r.Close())
	ok(t, db.Close())
}

// childLimit is the same with a limit on the size of files.
func childLimit(args []string) {
	db := must(Open(args[0]))
	r := must(db.Begin(newRun("r1")))
	var old unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	check(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: old.Max}))
	n, err := fillUp(r, 1)
	fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
	check(unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
	check(goesOn(r, n))
	fmt.Println(n)
}

func TestFileSizeLimit(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "limit", dir)
	if said := c.hear(); !strings.Contains(said, "size limit") && !strings.Contains(said, "room") {
		t.Error(said)
	}
	n := c.hear()
	ok(t, c.cmd.Wait())
	db := open(t, dir)
	sound(t, db)
	_, entries := shown(t, db, "r1")
	if got := fmt.Sprint(len(entries) / 2); got != n {
		t.Errorf("%s calls of %s", got, n)
	}
}
