package journal

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
)

// busyTimeout is how long a write waits for another process's. A commit
// takes milliseconds; what holds the database for a minute is stuck.
const busyTimeout = time.Minute

// The write-ahead log is chosen over a rollback journal because it syncs one
// file per commit instead of two or three (measured: 0.27 ms against 0.72 to
// 0.82 ms), because readers hold no writer up, and because at every instant
// the database, as it was synced last, and the log make up the whole: a copy
// of both, taken at once, opens. synchronous=FULL syncs the log at every
// commit; NORMAL, the usual companion, would lose the last ones in a power cut.
//
// The log is synced into the database every 1000 pages, SQLite's default, by
// the commit that fills it, and cut back where a long reader let it grow.
//
// The last two hold a database that was tampered with or is damaged in check.
var pragmas = []string{
	"PRAGMA synchronous=FULL",
	"PRAGMA foreign_keys=ON",
	"PRAGMA wal_autocheckpoint=1000",
	"PRAGMA journal_size_limit=16777216",
	"PRAGMA trusted_schema=OFF",
	"PRAGMA cell_size_check=ON",
}

// connect opens the connection that writes, brings the schema to this
// binary's format and prepares what runs use.
func (db *DB) connect() error {
	const tried = "open the journal"
	// The kernel drops a process's POSIX locks on a file as soon as the
	// process closes any descriptor of it, and SQLite's would go with a mere
	// os.ReadFile of the database. Locks of the open file description stay.
	// Where there are none the driver falls back by itself; an error here
	// says that, or that another package opened a database before.
	_, _ = sqlite.OFDLocking(true)

	dsn := func(extra string) string {
		u := url.URL{Scheme: "file", Path: db.file}
		return fmt.Sprintf("%s?mode=rw&_busy_timeout=%d%s", u.String(), busyTimeout.Milliseconds(), extra)
	}
	var err error
	if db.pool, err = sql.Open("sqlite", dsn("")); err != nil {
		return db.problem(tried, err)
	}
	if db.conn, err = db.pool.Conn(background); err != nil {
		return db.problem(tried, err)
	}
	version, err := db.format()
	if err != nil {
		return err
	}
	var mode string
	if err := db.conn.QueryRowContext(background, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return db.problem(tried, err)
	}
	if mode != "wal" { // new, or repaired by sqlite3's .recover
		if err := db.alone(db.useLog); err != nil {
			return err
		}
	}
	for _, p := range pragmas {
		if err := db.exec(p); err != nil {
			return db.problem(tried, err)
		}
	}
	if version < Format {
		if err := db.migrate(); err != nil {
			return err
		}
	}
	if err := db.stmt.prepare(db.conn); err != nil {
		return db.foreign(err)
	}
	// Readers have connections of their own, made when first used.
	db.reader, err = sql.Open("sqlite", dsn("&_query_only=1&_pragma=trusted_schema(OFF)&_pragma=cell_size_check(ON)"))
	return db.problem(tried, err)
}

// useLog turns the write-ahead log on, which the file then says of itself.
func (db *DB) useLog() error {
	const tried = "open the journal"
	var mode string
	if err := db.conn.QueryRowContext(background, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		return db.problem(tried, err)
	}
	if mode != "wal" {
		return &Error{Tried: tried, File: db.file, Said: "SQLite can keep no write-ahead log here (journal mode " + mode + ")",
			Hint: "the state folder must be on a local file system"}
	}
	return nil
}

// alone runs fn while no other process runs its own: where two turn the log
// on at once, SQLite answers one that the database is locked, without waiting.
func (db *DB) alone(fn func() error) error {
	folder := filepath.Join(db.dir, lockFolder)
	f, err := os.Open(folder)
	if err == nil {
		defer func() { _ = f.Close() }() // which ends the lock
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
	}
	if err != nil {
		return &Error{Tried: "open the journal", File: folder, Said: reason(err), Err: err, Hint: "the state folder must be on a file system with locks"}
	}
	return fn()
}

// commit runs fn in a transaction. When it answers nil, what fn wrote is on
// disk; when not, the database is as it was, and the journal goes on.
func (db *DB) commit(tried string, fn func() error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.conn == nil {
		return db.problem(tried, errClosed)
	}
	return db.transact(tried, fn)
}

// transact is commit for who has the connection already.
func (db *DB) transact(tried string, fn func() error) error {
	// Immediate: a transaction that begins by reading could not write once
	// another process has.
	if err := db.exec("BEGIN IMMEDIATE"); err != nil {
		return db.problem(tried, err)
	}
	err := fn()
	if err == nil {
		err = db.exec("COMMIT")
	}
	if err != nil {
		// SQLite has rolled back by itself after some failures, a full disk
		// among them, and then refuses to do it again.
		_ = db.exec("ROLLBACK")
		return db.problem(tried, err)
	}
	if db.synced != nil {
		db.synced()
	}
	return nil
}

// exec runs a statement on the connection that writes.
func (db *DB) exec(query string, args ...any) error {
	_, err := db.conn.ExecContext(background, query, args...)
	return err
}

// statements are prepared once: what runs do at every call.
type statements struct {
	putCall, setHandle, setOutcome, setState *sql.Stmt
}

func (s *statements) prepare(conn *sql.Conn) error {
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&s.putCall, putCall}, {&s.setHandle, setHandle}, {&s.setOutcome, setOutcome}, {&s.setState, setState},
	} {
		var err error
		if *p.to, err = conn.PrepareContext(background, p.sql); err != nil {
			return err
		}
	}
	return nil
}

func (s *statements) close() {
	for _, st := range []*sql.Stmt{s.putCall, s.setHandle, s.setOutcome, s.setState} {
		if st != nil {
			_ = st.Close() // the connection goes next
		}
	}
}

// read runs fn on one state of the database, whatever is written meanwhile.
func (db *DB) read(tried string, fn func(tx *sql.Tx) error) error {
	tx, err := db.reader.BeginTx(background, nil)
	if err != nil {
		return db.problem(tried, closedPool(err))
	}
	err = fn(tx)
	_ = tx.Rollback() // nothing was written
	return db.problem(tried, err)
}

// closedPool makes errClosed of the pool's own word for it, which is not exported.
func closedPool(err error) error {
	if _, ok := errors.AsType[*sqlite.Error](err); !ok && err.Error() == "sql: database is closed" {
		return errClosed
	}
	return err
}

// nanos is how times are stored: nanoseconds since 1970, UTC; NULL for none.
func nanos(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func fromNanos(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64).UTC()
}

// text is how JSON is stored: as it came; NULL for none.
func text(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return string(b)
}
