package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nixmox/builtins/lab/command"
)

// What the lab makes in its folder. Fresh removes these and nothing else.
const (
	markerFile = "nixmox-lab" // proves that the folder is a lab's
	lockFile   = "lock"
	stateFile  = "state.json"
	clockFile  = "clock"
	secretFile = "secrets.json"
	certFile   = "tls.crt"
	keyFile    = "tls.key"
	mountsDir  = "mounts"
	// and zfs, zfs-NODE-NUMBER.json, bin and run
)

const markerText = "This folder is a simulated estate of nixmox. It may be removed.\n"

// A BusyError says that another process has the lab open.
type BusyError struct {
	Dir string
	PID int // 0 when it cannot be told
}

func (e *BusyError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("the lab in %s is in use by %s: wait for it to end, or choose another folder", e.Dir, who)
}

// folder is the lab's folder while the lock on it is held.
type folder struct {
	dir  string
	lock *os.File
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) close() error { return f.lock.Close() }

// openFolder makes or takes over a lab's folder.
func openFolder(dir string, fresh bool) (_ *folder, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the lab: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the lab's folder: %w", err)
	}
	if err := checkOurs(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	f := &folder{dir: dir, lock: lock}
	if fresh {
		// The marker stays: a removal cut short is still known as a lab's.
		machines, err := filepath.Glob(f.path("zfs-*.json"))
		if err != nil {
			return nil, fmt.Errorf("clearing the lab in %s: %w", dir, err)
		}
		for i, path := range machines {
			machines[i] = filepath.Base(path)
		}
		for _, name := range append(machines, stateFile, clockFile, secretFile, certFile, keyFile, mountsDir, zfsDir, command.BinDir, command.RunDir) {
			if err := errors.Join(os.RemoveAll(f.path(name)), os.RemoveAll(f.path(name)+tmpSuffix)); err != nil {
				return nil, fmt.Errorf("clearing the lab in %s: %w", dir, err)
			}
		}
	}
	if err := writeFile(f.path(markerFile), []byte(markerText), false); err != nil {
		return nil, fmt.Errorf("marking %s as a lab: %w", dir, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("protecting the lab's folder: %w", err)
	}
	return f, nil
}

// checkOurs refuses a folder that holds something and is not a lab's.
func checkOurs(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, markerFile)); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("opening the lab: %w", err)
	}
	for _, e := range entries {
		// These two come before the marker does.
		if e.Name() != lockFile && e.Name() != markerFile+tmpSuffix {
			return fmt.Errorf("opening a lab in %s: the folder holds %q and is not a lab (no file %s): choose an empty or a new one", dir, e.Name(), markerFile)
		}
	}
	return nil
}

// takeLock takes the lock, which the kernel gives back when the process ends,
// however it ends.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the lab: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }() // the lock is not ours, and nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			b := make([]byte, 20)
			n, _ := f.Read(b)
			pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
			return nil, &BusyError{Dir: dir, PID: pid}
		}
		return nil, fmt.Errorf("locking the lab in %s: %w", dir, err)
	}
	if err := f.Truncate(0); err == nil {
		// The lock counts; the number is only for the one who is told to wait.
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}

// tmpSuffix ends the name of a file that is being written.
const tmpSuffix = ".tmp"

// writeFile replaces a file so that a reader sees the old or the new content
// and never a part; with sync, after a power cut too.
func writeFile(path string, data []byte, sync bool) error {
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}
