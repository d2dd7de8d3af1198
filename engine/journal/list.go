package journal

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RunInfo is a run as lists show it.
type RunInfo struct {
	ID       string
	Playbook string
	File     string
	Version  string // of the nixmox that began it
	Digest   string
	Began    time.Time
	Changed  time.Time // when State was set
	Ended    time.Time // zero unless done, failed or cancelled
	State    State
	Exit     int
	Error    string // why it is not done, in one line or more
	Options  json.RawMessage
	Live     bool // a process owns it right now
	PID      int  // of that process; 0 when not known
}

const infoColumns = "id, playbook, file, version, digest, began, changed, ended, state, exit, error, options"

// scan reads infoColumns, and what stands behind them.
func (i *RunInfo) scan(row interface{ Scan(...any) error }, more ...any) error {
	var began, changed, ended sql.NullInt64
	err := row.Scan(append([]any{&i.ID, &i.Playbook, &i.File, &i.Version, &i.Digest, &began, &changed, &ended,
		(*string)(&i.State), &i.Exit, &i.Error, (*[]byte)(&i.Options)}, more...)...)
	i.Began, i.Changed, i.Ended = fromNanos(began), fromNanos(changed), fromNanos(ended)
	return err
}

// Filter chooses runs. Its zero value is all of them.
type Filter struct {
	States   []State   // one of these
	Playbook string    // of this one
	Since    time.Time // began then or later
	Before   string    // older than the run of this id: the last one of the page before
	Limit    int       // 0 for no limit
}

// Runs are the runs that pass the filter, newest first.
func (db *DB) Runs(f Filter) ([]RunInfo, error) {
	var where []string
	var args []any
	and := func(cond string, values ...any) {
		where = append(where, cond)
		args = append(args, values...)
	}
	if len(f.States) > 0 {
		states := make([]any, len(f.States))
		for i, s := range f.States {
			states[i] = string(s)
		}
		and("state IN (?"+strings.Repeat(", ?", len(states)-1)+")", states...)
	}
	if f.Playbook != "" {
		and("playbook = ?", f.Playbook)
	}
	if !f.Since.IsZero() {
		and("began >= ?", nanos(f.Since))
	}
	if f.Before != "" {
		and("(began, n) < (SELECT began, n FROM runs WHERE id = ?)", f.Before)
	}
	query := "SELECT " + infoColumns + " FROM runs"
	if where != nil {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	query += " ORDER BY began DESC, n DESC LIMIT ?"
	args = append(args, cmp.Or(max(f.Limit, 0), -1))

	var runs []RunInfo
	err := db.read("list runs", func(tx *sql.Tx) error {
		if f.Before != "" {
			if _, id, err := db.find(tx, f.Before); err != nil {
				return err
			} else if id != f.Before {
				return &NotFoundError{ID: f.Before, File: db.file}
			}
		}
		rows, err := tx.QueryContext(background, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
		for rows.Next() {
			var i RunInfo
			if err := i.scan(rows); err != nil {
				return err
			}
			runs = append(runs, i)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return runs, db.markLive(runs)
}

// markLive asks only for runs that have a lock file, which are few.
func (db *DB) markLive(runs []RunInfo) error {
	folder := filepath.Join(db.dir, lockFolder)
	files, err := os.ReadDir(folder)
	if err != nil {
		return &Error{Tried: "see which runs are live", File: folder, Said: reason(err), Err: err}
	}
	locks := map[string]bool{}
	for _, f := range files {
		locks[strings.TrimSuffix(f.Name(), ".lock")] = true
	}
	for i := range runs {
		if locks[runs[i].ID] {
			runs[i].PID, runs[i].Live = db.owned(runs[i].ID)
		}
	}
	return nil
}

// Show is all that is recorded of a run, live or not: its entries in the
// order of the call tree, and what it was begun with. The id may be
// shortened as for Resume.
func (db *DB) Show(id string) (info RunInfo, entries []Entry, n NewRun, err error) {
	err = db.read("show run "+id, func(tx *sql.Tx) error {
		key, _, err := db.find(tx, id)
		if err != nil {
			return err
		}
		if info, n, err = loadRun(tx, key); err != nil {
			return err
		}
		all, err := loadEntries(tx, key)
		entries = inTree(all)
		return err
	})
	if err != nil {
		return RunInfo{}, nil, NewRun{}, err
	}
	info.PID, info.Live = db.owned(info.ID)
	return info, entries, n, nil
}
