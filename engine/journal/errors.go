package journal

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Error is a failure of the journal that is none of the others: what was
// tried, on which file, what the system or SQLite said, and what to do.
type Error struct {
	Tried string
	File  string
	Said  string
	Hint  string
	Err   error // what is behind it, if anything
}

func (e *Error) Error() string { return line(e.Tried, e.File, e.Said, e.Hint) }
func (e *Error) Unwrap() error { return e.Err }

// NewerError is a journal of a format that this binary does not know.
type NewerError struct {
	File    string
	Format  int    // of the file
	Known   int    // the newest format of this binary
	Version string // of the nixmox that began the newest run in it; "" when not known
}

func (e *NewerError) Error() string {
	use := "a nixmox at least as new as the one that wrote it"
	if e.Version != "" {
		use = "nixmox " + e.Version + " or newer"
	}
	return line("open the journal", e.File,
		fmt.Sprintf("its format is %d, and this nixmox knows formats up to %d", e.Format, e.Known), "use "+use)
}

// DamagedError is a file that is no journal, or no longer one.
type DamagedError struct {
	Tried string
	File  string
	Said  string
	Err   error
}

func (e *DamagedError) Error() string {
	return line(e.Tried, e.File, "damaged, or not a journal of nixmox: "+e.Said,
		"keep the file: move it and its -wal out of the folder, and nixmox begins a new journal; "+
			"the runs recorded in it cannot be resumed until it is repaired (sqlite3 FILE .recover) or restored")
}

func (e *DamagedError) Unwrap() error { return e.Err }

// ExistsError is a run that cannot begin because its id is taken.
type ExistsError struct{ ID string }

func (e *ExistsError) Error() string { return "run " + e.ID + " exists already: resume it" }

// NotFoundError is a run that is not in the journal.
type NotFoundError struct{ ID, File string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("no run %q in %s", e.ID, e.File) }

// AmbiguousError is a prefix that several runs' ids begin with.
type AmbiguousError struct {
	Prefix string
	IDs    []string // some of them
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("several runs begin with %q (%s): give more of the id", e.Prefix, strings.Join(e.IDs, ", "))
}

// OwnedError is a run that another process is running right now.
type OwnedError struct {
	ID  string
	PID int // 0 when not known
}

func (e *OwnedError) Error() string {
	if e.PID == 0 {
		return "run " + e.ID + " is live in another process"
	}
	return fmt.Sprintf("run %s is live in process %d", e.ID, e.PID)
}

func line(tried, file, said, hint string) string {
	s := tried
	if file != "" {
		s += ": " + file
	}
	if said != "" {
		s += ": " + said
	}
	if hint != "" {
		s += "; " + hint
	}
	return s
}

// errClosed is what everything answers after Close.
var errClosed = errors.New("the journal is closed")

// problem makes an error of the journal of one from the driver.
func (db *DB) problem(tried string, err error) error {
	switch err.(type) { //nolint:errorlint // it is about this very error, whatever it wraps
	case nil, *Error, *DamagedError, *NewerError, *ExistsError, *NotFoundError, *AmbiguousError:
		return err // said already
	}
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) {
		err = errClosed
	}
	e := &Error{Tried: tried, File: db.file, Said: err.Error(), Err: err}
	said, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		if strings.Contains(e.Said, "sql: Scan error") { // a column holds what no column of ours may
			return &DamagedError{Tried: tried, File: db.file, Said: e.Said, Err: err}
		}
		return e
	}
	const full = "make room on its file system; what was recorded until now is safe"
	const readOnly = "make the folder and its file system writable, or name another state folder"
	switch code := said.Code(); code & 0xff { // the low byte is the class, the rest says more
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return &DamagedError{Tried: tried, File: db.file, Said: said.Error(), Err: err}
	case sqlite3.SQLITE_FULL:
		e.Hint = full
	case sqlite3.SQLITE_READONLY:
		e.Hint = readOnly
		if code == sqlite3.SQLITE_READONLY_DBMOVED {
			e.Hint = "the file was moved or removed while in use: put it back"
		}
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		e.Hint = fmt.Sprintf("another process has been writing to it for %s: find it (fuser) and end it", busyTimeout)
	case sqlite3.SQLITE_CANTOPEN:
		e.Hint = readOnly
	case sqlite3.SQLITE_IOERR:
		switch code {
		case sqlite3.SQLITE_IOERR_SHORT_READ:
			return &DamagedError{Tried: tried, File: db.file, Said: said.Error(), Err: err}
		case sqlite3.SQLITE_IOERR_SHMSIZE: // the index of the log has no room
			e.Hint = full
			return e
		}
		e.Hint = "look for room, quota and file size limits, and in the kernel's log for a failing disk; " +
			"what was recorded until now is safe"
	}
	return e
}
