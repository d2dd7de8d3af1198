package journal

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"nixmox/engine/builtin"
)

// NewRun is what a run is begun with, and all that another process needs
// beside the entries to take it up.
type NewRun struct {
	ID       string // who asks for the run chooses it
	Playbook string
	File     string
	Version  string // of the nixmox that began it
	Began    time.Time
	Params   json.RawMessage
	Options  json.RawMessage
	Seed     uint64
	Sources  []Source
	Digest   string // of the sources together
}

// Source is one file of a playbook. Its text is kept once per digest, shared
// by all runs that used it.
type Source struct {
	Name   string // in its root
	Shown  string // as a person knows it
	Text   []byte
	Digest string
}

// Begin records a run, which this process then owns. It is durable when
// Begin returns. A run of that id is an *ExistsError, or, while another
// process is just beginning it, an *OwnedError.
func (db *DB) Begin(n NewRun) (*Run, error) {
	if err := checkID(n.ID); err != nil {
		return nil, err
	}
	tried := "begin run " + n.ID
	exists := func() error {
		return db.read(tried, func(tx *sql.Tx) error {
			var one int
			switch err := tx.QueryRowContext(background, "SELECT 1 FROM runs WHERE id=?", n.ID).Scan(&one); {
			case err == nil:
				return &ExistsError{ID: n.ID}
			case errors.Is(err, sql.ErrNoRows):
				return nil
			default:
				return err
			}
		})
	}
	if err := exists(); err != nil {
		return nil, err
	}
	owner, err := db.own(n.ID)
	if err != nil {
		// Whoever owns it may have recorded it since.
		if e := exists(); e != nil {
			return nil, e
		}
		return nil, err
	}
	r := &Run{db: db, new: n, owner: owner, state: Running, entries: map[builtin.Place]*Entry{}}
	r.new.Began = utc(n.Began)
	if r.key, err = db.putRun(tried, r.new); err != nil {
		_ = owner.release() // what failed before says more
		return nil, err
	}
	return r, nil
}

// putRun writes the run and those of its sources that are new, in one commit.
func (db *DB) putRun(tried string, n NewRun) (key int64, err error) {
	err = db.commit(tried, func() error {
		began := nanos(n.Began)
		if began == nil {
			return &Error{Tried: tried, Said: "it has no time of beginning"}
		}
		row := db.conn.QueryRowContext(background, `INSERT INTO runs (id, playbook, file, version, digest, seed, began, changed, state, exit, error, options, params)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', ?, ?) ON CONFLICT (id) DO NOTHING RETURNING n`,
			n.ID, n.Playbook, n.File, n.Version, n.Digest, int64(n.Seed), began, began, Running, text(n.Options), text(n.Params))
		if err := row.Scan(&key); errors.Is(err, sql.ErrNoRows) {
			return &ExistsError{ID: n.ID}
		} else if err != nil {
			return err
		}
		for i, s := range n.Sources {
			if err := db.putSource(key, i, s); err != nil {
				return err
			}
		}
		return nil
	})
	return key, err
}

func (db *DB) putSource(run int64, nth int, s Source) error {
	content := append([]byte{}, s.Text...) // a nil would be NULL
	if err := db.exec("INSERT INTO sources (digest, text) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING", s.Digest, content); err != nil {
		return err
	}
	var source int64
	var same bool
	if err := db.conn.QueryRowContext(background, "SELECT n, text = ? FROM sources WHERE digest=?", content, s.Digest).Scan(&source, &same); err != nil {
		return err
	}
	if !same { // a run that is resumed from another text than it was begun with does harm
		return &Error{Tried: "keep " + s.Shown, File: db.file, Said: "another text has the digest " + s.Digest}
	}
	return db.exec("INSERT INTO run_sources (run, nth, name, shown, source) VALUES (?, ?, ?, ?, ?)", run, nth, s.Name, s.Shown, source)
}

// Resume takes a run up that no process owns: *OwnedError when one does. The
// id may be shortened to what only one run's begins with; *NotFoundError and
// *AmbiguousError say when none or several do. A run that has ended can be
// taken up, too, to be replayed, but records nothing any more.
func (db *DB) Resume(id string) (*Run, error) {
	tried := "resume run " + id
	var key int64
	var info RunInfo
	find := func(tx *sql.Tx) (err error) {
		key, info.ID, err = db.find(tx, id)
		return err
	}
	if err := db.read(tried, find); err != nil {
		return nil, err
	}
	id = info.ID
	owner, err := db.own(id)
	if err != nil {
		return nil, err
	}
	// What is read now nobody changes any more: the owner before has written
	// its last, or pruned the run.
	r := &Run{db: db, owner: owner, entries: map[builtin.Place]*Entry{}}
	err = db.read(tried, func(tx *sql.Tx) error {
		if err := find(tx); err != nil {
			return err
		}
		if info, r.new, err = loadRun(tx, key); err != nil {
			return err
		}
		entries, err := loadEntries(tx, key)
		for _, e := range entries {
			r.entries[e.Place] = e
			r.outcomes = max(r.outcomes, e.Order)
		}
		return err
	})
	if err != nil {
		_ = owner.release()
		return nil, err
	}
	r.key, r.state = key, info.State
	return r, nil
}

// find looks a run up by its id or by what only its id begins with.
func (db *DB) find(tx *sql.Tx, id string) (key int64, full string, err error) {
	// Ids are ASCII, so '~' comes after whatever may follow the prefix. The
	// id itself comes first of all that begin with it.
	rows, err := tx.QueryContext(background, "SELECT n, id FROM runs WHERE id >= ?1 AND id < ?1 || '~' ORDER BY id LIMIT 4", id)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	var ids []string
	for rows.Next() {
		var n int64
		var found string
		if err := rows.Scan(&n, &found); err != nil {
			return 0, "", err
		}
		if len(ids) == 0 {
			key, full = n, found
		}
		ids = append(ids, found)
	}
	switch {
	case rows.Err() != nil:
		return 0, "", rows.Err()
	case len(ids) == 0 || id == "":
		return 0, "", &NotFoundError{ID: id, File: db.file}
	case len(ids) > 1 && full != id:
		return 0, "", &AmbiguousError{Prefix: id, IDs: ids}
	}
	return key, full, nil
}

// loadRun reads a run and its sources.
func loadRun(tx *sql.Tx, key int64) (info RunInfo, n NewRun, err error) {
	row := tx.QueryRowContext(background, "SELECT "+infoColumns+", seed, params FROM runs WHERE n=?", key)
	var seed int64
	if err := info.scan(row, &seed, (*[]byte)(&n.Params)); err != nil {
		return info, n, err
	}
	n.ID, n.Playbook, n.File, n.Version, n.Began = info.ID, info.Playbook, info.File, info.Version, info.Began
	n.Options, n.Digest, n.Seed = info.Options, info.Digest, uint64(seed)
	rows, err := tx.QueryContext(background, `SELECT name, shown, digest, text FROM run_sources JOIN sources ON sources.n = source
WHERE run=? ORDER BY nth`, key)
	if err != nil {
		return info, n, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	for rows.Next() {
		var s Source
		if err := rows.Scan(&s.Name, &s.Shown, &s.Digest, &s.Text); err != nil {
			return info, n, err
		}
		n.Sources = append(n.Sources, s)
	}
	if err := rows.Err(); err != nil {
		return info, n, fmt.Errorf("its sources: %w", err)
	}
	return info, n, nil
}
