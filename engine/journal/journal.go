// Package journal is the durable record of runs: which calls were begun, by
// what a long task is found again, how each call ended, and what a run needs
// to be taken up by another process (its sources, parameters, seed, options).
//
// What a method has answered with nil is on disk: every commit is synced, so
// a killed process or a power cut loses nothing that was acknowledged. The
// other way round is allowed: a commit that failed, or was not answered yet,
// may turn up after a crash. An intent more than was acted upon is settled
// like any other; an outcome more is still a true one.
//
// The package must know no language, no module and no performer. Arguments,
// results and faults are JSON that it stores and hands back unread; effects,
// digests, handles are words to it. It keeps what it is given: that no secret
// is in it is the business of whoever gives it. It is the only importer of
// the SQLite driver.
//
// Files, all in the state folder, on a local file system:
//
//	journal.db       the database, with journal.db-wal and -shm while in use
//	runs/ID.lock     held by the process that owns the run (see owner.go)
package journal

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
)

// fileName is the database's name in the state folder.
const fileName = "journal.db"

// DB is a state folder's journal. Several processes may have the same one
// open, and any number of goroutines may use a DB.
type DB struct {
	dir    string // the state folder
	file   string // the database in it
	reader *sql.DB

	mu     sync.Mutex // of the one connection that writes
	pool   *sql.DB
	conn   *sql.Conn // nil once closed
	stmt   statements
	synced func() // tests: called after every commit, before it is answered
}

// Open opens the journal of a state folder, and makes folder and journal
// where there are none. It looks at nothing but the head of the file, so it
// takes as long with a million calls as with none.
//
// A *NewerError is a journal of a later format, a *DamagedError no journal
// or no longer one; anything else is an *Error.
func Open(dir string) (*DB, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, &Error{Tried: "open the journal", File: dir, Said: err.Error(), Err: err}
	}
	if err := prepareFolder(dir); err != nil {
		return nil, err
	}
	db := &DB{dir: dir, file: filepath.Join(dir, fileName)}
	if err := db.connect(); err != nil {
		_ = db.Close() // what failed before says more
		return nil, err
	}
	return db, nil
}

// Close closes the journal. Runs that are open stay owned until they are
// closed themselves, and record nothing any more.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.reader != nil {
		_ = db.reader.Close() // it wrote nothing
	}
	if db.pool == nil {
		return nil
	}
	var err error
	if db.conn != nil {
		db.stmt.close()
		err = db.conn.Close()
		db.conn = nil
	}
	if e := db.pool.Close(); err == nil {
		err = e
	}
	db.pool = nil
	return db.problem("close the journal", err)
}

// background is the context of every statement. A run that is being
// cancelled still records what became of its calls, so nobody's context
// reaches the database; the busy timeout bounds each wait.
var background = context.Background()
