package journal

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// Format is the newest format of the database that this package knows; it
// stands in the file as user_version.
const Format = 1

// appID marks the file as a journal of nixmox ("nxmj"), so that another
// program's database is not taken for one.
const appID = 0x6e786d6a

// migrations[i] brings format i to format i+1; together they make a new
// database. They are never edited once released, and only add (a table, a
// column that may be NULL or has a default): a process of the release before
// may be in the middle of a run while a newer binary migrates, and its
// statements have to go on working. Formats of at least two releases back
// stay migratable; testdata holds a database of each.
//
// runs.version and runs.began keep their names for ever: by them a binary
// that is too old says which one to use.
var migrations = [Format]string{`
CREATE TABLE runs (
  n        INTEGER PRIMARY KEY,
  id       TEXT NOT NULL UNIQUE,
  playbook TEXT NOT NULL,
  file     TEXT NOT NULL,
  version  TEXT NOT NULL,
  digest   TEXT NOT NULL,
  seed     INTEGER NOT NULL,           -- the bits of an unsigned one
  began    INTEGER NOT NULL,           -- times: nanoseconds since 1970, UTC
  changed  INTEGER NOT NULL,           -- when state was set
  ended    INTEGER,                    -- NULL: it may go on
  state    TEXT NOT NULL,
  exit     INTEGER NOT NULL,
  error    TEXT NOT NULL,
  options  TEXT,
  params   TEXT
) STRICT;
CREATE INDEX runs_began    ON runs (began);
CREATE INDEX runs_state    ON runs (state, began);
CREATE INDEX runs_playbook ON runs (playbook, began);

CREATE TABLE sources (
  n      INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  text   BLOB NOT NULL
) STRICT;
CREATE TABLE run_sources (
  run    INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  nth    INTEGER NOT NULL,
  name   TEXT NOT NULL,
  shown  TEXT NOT NULL,
  source INTEGER NOT NULL REFERENCES sources,
  PRIMARY KEY (run, nth)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_sources_source ON run_sources (source);

-- One row a call, stored by run and place, so that a run is read in one go
-- and an intent or an outcome dirties one page.
CREATE TABLE calls (
  run      INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  place    TEXT NOT NULL,
  call     TEXT NOT NULL,
  effect   TEXT NOT NULL,
  digest   TEXT NOT NULL,
  file     TEXT NOT NULL,
  line     INTEGER NOT NULL,
  col      INTEGER NOT NULL,
  handle   TEXT NOT NULL,
  settled  TEXT NOT NULL,
  begun    INTEGER,
  ended    INTEGER,                    -- NULL: in doubt
  nth      INTEGER NOT NULL,           -- of the run's outcomes; 0: in doubt
  args     TEXT,                       -- JSON, as what follows
  decision TEXT,
  result   TEXT,
  fault    TEXT,
  PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;
`}

// format reads the file's format: 0 for an empty one, that is, new.
func (db *DB) format() (version int, err error) {
	var app, tables int
	err = db.conn.QueryRowContext(background,
		"SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id), count(*) FROM sqlite_schema").
		Scan(&version, &app, &tables)
	switch {
	case err != nil:
		return 0, db.problem("open the journal", err)
	case version == 0 && app == 0 && tables == 0:
		return 0, nil
	case app != appID || version < 1:
		return 0, db.foreign(fmt.Errorf("a database of another program (application id %#x, version %d, %d tables and indexes)", app, version, tables))
	case version > Format:
		newer := &NewerError{File: db.file, Format: version, Known: Format}
		// Where even that cannot be read the message does without.
		_ = db.conn.QueryRowContext(background, "SELECT version FROM runs ORDER BY began DESC LIMIT 1").Scan(&newer.Version)
		return 0, newer
	}
	return version, nil
}

// foreign is a database that has not the tables it should have.
func (db *DB) foreign(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() != 1 { // 1: no such table or column
		return db.problem("open the journal", err)
	}
	return &DamagedError{Tried: "open the journal", File: db.file, Said: err.Error(), Err: err}
}

// migrate brings the database to this binary's format, all or nothing.
func (db *DB) migrate() error {
	return db.transact("open the journal", func() error {
		// Another process may have been faster, or newer.
		version, err := db.format()
		if err != nil {
			return err
		}
		for ; version < Format; version++ {
			if err := db.exec(migrations[version]); err != nil {
				return db.problem(fmt.Sprintf("bring the journal from format %d to %d", version, version+1), err)
			}
		}
		return db.exec(fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d", appID, Format))
	})
}
