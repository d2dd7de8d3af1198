package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	began := time.Now()
	l, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a fresh lab took %v", time.Since(began))
	defer l.Close()
	for name, mode := range map[string]fs.FileMode{"": 0o700, secretFile: 0o600, keyFile: 0o600, stateFile: 0o600, markerFile: 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%q: %v %v", name, fi.Mode(), err)
		}
	}
	var busy *BusyError
	if _, err := Open(Options{Dir: dir}); !errors.As(err, &busy) || busy.PID != os.Getpid() || busy.Dir != dir {
		t.Errorf("a second one: %v", err)
	}
	if _, err := Open(Options{Dir: dir, Fresh: true}); !errors.As(err, &busy) {
		t.Errorf("a fresh second one: %v", err)
	}
}

func TestFreshRemovesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, fresh := range []bool{false, true} {
		strange := t.TempDir()
		if err := os.WriteFile(filepath.Join(strange, "thesis.txt"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: strange, Fresh: fresh}); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
			t.Errorf("fresh %v: a folder of somebody's: %v", fresh, err)
		}
		if e, _ := os.ReadDir(strange); len(e) != 1 {
			t.Errorf("it left %v", e)
		}
	}
	open := func(fresh bool) *Lab {
		t.Helper()
		l, err := Open(Options{Dir: dir, Fresh: fresh})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open(false)
	secret := l.secrets.Token
	l.st.Guests = l.st.Guests[:3]
	l.Close()
	outside := filepath.Join(t.TempDir(), "kept")
	os.WriteFile(outside, []byte("x"), 0o600)
	os.Symlink(filepath.Dir(outside), filepath.Join(dir, mountsDir, "link"))
	os.WriteFile(filepath.Join(dir, "mine.txt"), []byte("x"), 0o600)
	l = open(false)
	if len(l.st.Guests) != 3 || l.secrets.Token != secret {
		t.Error("the estate was not kept")
	}
	l.Close()
	l = open(true)
	defer l.Close()
	if len(l.st.Guests) != 14 || l.secrets.Token == secret {
		t.Errorf("not fresh: %d guests", len(l.st.Guests))
	}
	for _, f := range []string{outside, filepath.Join(dir, "mine.txt")} {
		if _, err := os.Stat(f); err != nil {
			t.Error("gone:", err)
		}
	}
}

// What a kill in the middle of an opening leaves is taken up.
func TestKilledWhileOpening(t *testing.T) {
	reopen := func(dir string) {
		t.Helper()
		l, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{lockFile, markerFile + tmpSuffix} { // before there was a marker
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reopen(dir)
	before, err := filepath.Glob(filepath.Join(dir, mountsDir, "*", "*", "dump", "*"))
	if err != nil || len(before) < 60 {
		t.Fatalf("%d files, %v", len(before), err)
	}

	// Among the first archives, on another day.
	if err := errors.Join(os.Remove(filepath.Join(dir, stateFile)), os.Rename(before[0], filepath.Join(filepath.Dir(before[0]), "vzdump-qemu-100-2020_01_01-02_00_00.vma.zst")),
		os.Truncate(before[1], 10)); err != nil {
		t.Fatal(err)
	}
	reopen(dir)
	after, err := filepath.Glob(filepath.Join(dir, mountsDir, "*", "*", "dump", "*"))
	if err != nil || !slices.Equal(after, before) {
		t.Errorf("%d files, and before %d: %v", len(after), len(before), err)
	}
	if fi, err := os.Stat(before[1]); err != nil || fi.Size() == 10 {
		t.Errorf("the torn archive is still there: %v", err)
	}

	// In the middle of a save, and then in the middle of a fresh opening.
	for _, name := range []string{stateFile, clockFile, secretFile, keyFile, certFile} {
		if err := os.WriteFile(filepath.Join(dir, name)+tmpSuffix, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := openFolder(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 { // the lock and the marker
		t.Errorf("a fresh opening left %v, %v", left, err)
	}
	reopen(dir)
}

func TestDamagedState(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	token := l.secrets.Token
	l.Close()
	for file, text := range map[string]string{stateFile: `{"Version":`, secretFile: `{"Token":"` + token + `"`} {
		old, _ := os.ReadFile(filepath.Join(dir, file))
		os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)
		if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "fresh") || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", file, err)
		}
		os.WriteFile(filepath.Join(dir, file), old, 0o600)
	}
	os.WriteFile(filepath.Join(dir, stateFile), []byte(`{"Version":99}`), 0o600)
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("%v", err)
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("a lab without a folder")
	}
}
