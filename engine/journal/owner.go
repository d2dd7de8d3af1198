package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A run has one owner, the process that holds the lock on runs/ID.lock. The
// kernel gives the lock up when the process ends, however it ends, so a lock
// file without a lock is what a killed owner leaves.
//
// The lock is one of the open file description, and not a flock, because
// whether that is held can only be found out by taking it, and a list of
// runs would now and then keep a resumer out. It isn't inherited by programs
// that the process starts, since Go opens files close-on-exec.
type owner struct {
	f    *os.File
	path string
}

// lockPath is where a run's lock is; checkID has seen the id.
func (db *DB) lockPath(id string) string {
	return filepath.Join(db.dir, lockFolder, id+".lock")
}

// own takes the lock of a run or answers *OwnedError.
func (db *DB) own(id string) (*owner, error) {
	path := db.lockPath(id)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, ownFailed(id, path, err)
		}
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err != nil {
			pid := readPID(f)
			_ = f.Close()
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
				return nil, &OwnedError{ID: id, PID: pid}
			}
			return nil, ownFailed(id, path, err)
		}
		// The owner before may have removed the file between our opening and
		// locking it; then the lock that counts is on the file there is now.
		if !sameFile(f, path) {
			_ = f.Close()
			continue
		}
		o := &owner{f: f, path: path}
		// The process id is only told, so a full disk that has no room for it
		// keeps nobody from owning.
		_ = f.Truncate(0)
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		return o, nil
	}
}

func ownFailed(id, path string, err error) error {
	e := &Error{Tried: "own run " + id, File: path, Said: reason(err), Err: err, Hint: "look for room in the folder, and whether it is writable"}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOLCK) {
		e.Hint = "the state folder must be on a file system with locks"
	}
	return e
}

// release gives the run up. The file goes before the lock does, so that one
// without a lock means that its owner was killed.
func (o *owner) release() error {
	err := os.Remove(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if e := o.f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("give up the lock of a run: %w", err)
	}
	return nil
}

// owned reports whether a process owns the run right now, and which.
func (db *DB) owned(id string) (pid int, live bool) {
	f, err := os.Open(db.lockPath(id))
	if err != nil {
		return 0, false // no file, no owner
	}
	defer func() { _ = f.Close() }() // it was only asked
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return 0, false
	}
	return readPID(f), true
}

// readPID is 0 while the owner has not written it yet.
func readPID(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// checkID refuses an id that is no file name, since the lock is one.
func checkID(id string) error {
	ok := len(id) > 0 && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) && id[0] != '.' && id[0] != '-'
	if !ok {
		return &Error{Tried: fmt.Sprintf("begin run %q", id), Said: "that is no id of a run",
			Hint: "1 to 128 letters, digits, and - _ . after the first"}
	}
	return nil
}
