package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFolder holds the locks of the owners of runs.
const lockFolder = "runs"

// prepareFolder makes what is missing of the state folder and finds out
// whether the journal can be written there, because SQLite itself would open
// what it may not write for reading, and fail at the first run.
func prepareFolder(dir string) error {
	failed := func(file string, err error) error {
		e := &Error{Tried: "open the journal", File: file, Said: reason(err), Err: err}
		switch {
		case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
			e.Hint = "make it writable for this user, or name another state folder"
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			e.Hint = "make room on its file system"
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, fs.ErrExist):
			e.Hint = "a file is in the way of the state folder: move it, or name another one"
		}
		return e
	}

	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return failed(dir, err)
	}
	if fresh {
		// A folder that a power cut takes away again takes the journal with it.
		if err := syncFolder(filepath.Dir(dir)); err != nil {
			return failed(dir, err)
		}
	}
	if err := checkOwner(dir); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, lockFolder), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return failed(dir, err)
	}

	// SQLite would give the file the umask's mode; -wal and -shm take the
	// mode of the database. An existing one is never opened here: it is
	// enough that SQLite does.
	file := filepath.Join(dir, fileName)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		if err := f.Close(); err != nil {
			return failed(file, err)
		}
		if err := syncFolder(dir); err != nil {
			return failed(dir, err)
		}
		return nil
	case !errors.Is(err, fs.ErrExist):
		return failed(file, err)
	}
	if err := checkOwner(file); err != nil {
		return err
	}
	for _, path := range []string{dir, file} {
		if err := unix.Access(path, unix.W_OK); err != nil {
			return failed(path, err)
		}
	}
	return nil
}

// checkOwner refuses what belongs to somebody else, since what root writes
// into a user's folder that user can't open any more, and what anybody may
// replace.
func checkOwner(path string) error {
	e := &Error{Tried: "open the journal", File: path}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		e.Said, e.Err, e.Hint = err.Error(), err, "name another state folder"
		return e
	}
	kind := st.Mode & unix.S_IFMT
	switch {
	case int(st.Uid) != os.Geteuid():
		e.Said = fmt.Sprintf("it belongs to user %d, and this is user %d", st.Uid, os.Geteuid())
		e.Hint = "run nixmox as that user, or name another state folder"
	case kind != unix.S_IFDIR && kind != unix.S_IFREG:
		e.Said, e.Hint = "it is not a file", "move it away, or name another state folder"
	case kind == unix.S_IFDIR && filepath.Base(path) == fileName:
		e.Said, e.Hint = "it is a folder", "move it away, or name another state folder"
	case st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0:
		e.Said, e.Hint = "everybody may write to it", "chmod o-w "+path
	default:
		return nil
	}
	return e
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// reason is what the system said, without the path that stands before it.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
