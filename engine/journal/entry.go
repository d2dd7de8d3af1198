package journal

import (
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"nixmox/engine/builtin"
)

// Entry is what the journal knows of one call. Who reads one must not write
// into its JSON, which the run's other readers share.
type Entry struct {
	Place    builtin.Place
	Call     string // MODULE.FUNCTION
	Effect   string
	Digest   string // of the arguments
	At       builtin.Position
	Args     json.RawMessage
	Decision json.RawMessage // what an irreversible function resolved before its intent
	Handle   string          // by what a long task is found again
	Begun    time.Time
	Ended    time.Time // zero: no outcome is recorded
	Result   json.RawMessage
	Fault    json.RawMessage // this or Result, once ended
	Settled  string          // "", or how the outcome became known: "done by settle", "operator: done"

	// Order counts the outcomes of a run, from 1, as they came, which no clock
	// tells for certain. The journal fills it in; it is 0 without an outcome.
	Order int
}

// InDoubt reports whether the call was begun and its end is not recorded.
func (e Entry) InDoubt() bool { return e.Ended.IsZero() }

// The statements that write entries; putCall's columns are columns().
const (
	putCall = `INSERT INTO calls (run, place, call, effect, digest, file, line, col, handle, settled, begun, ended, nth, args, decision, result, fault)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET call=excluded.call, effect=excluded.effect, digest=excluded.digest, file=excluded.file, line=excluded.line,
col=excluded.col, handle=excluded.handle, begun=excluded.begun, args=excluded.args, decision=excluded.decision`
	setHandle  = `UPDATE calls SET handle=? WHERE run=? AND place=?`
	setOutcome = `UPDATE calls SET handle=?, settled=?, ended=?, nth=?, result=?, fault=? WHERE run=? AND place=?`
	getCalls   = `SELECT place, call, effect, digest, file, line, col, handle, settled, begun, ended, nth, args, decision, result, fault
FROM calls WHERE run=?`
)

func (e *Entry) columns(run int64) []any {
	return []any{run, string(e.Place), e.Call, e.Effect, e.Digest, e.At.File, e.At.Line, e.At.Col, e.Handle, e.Settled,
		nanos(e.Begun), nanos(e.Ended), e.Order, text(e.Args), text(e.Decision), text(e.Result), text(e.Fault)}
}

// loadEntries reads all entries of a run.
func loadEntries(tx *sql.Tx, run int64) ([]*Entry, error) {
	rows, err := tx.QueryContext(background, getCalls, run)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	var entries []*Entry
	for rows.Next() {
		var e Entry
		var begun, ended sql.NullInt64
		if err := rows.Scan(&e.Place, &e.Call, &e.Effect, &e.Digest, &e.At.File, &e.At.Line, &e.At.Col, &e.Handle, &e.Settled,
			&begun, &ended, &e.Order, (*[]byte)(&e.Args), (*[]byte)(&e.Decision), (*[]byte)(&e.Result), (*[]byte)(&e.Fault)); err != nil {
			return nil, err
		}
		e.Begun, e.Ended = fromNanos(begun), fromNanos(ended)
		entries = append(entries, &e)
	}
	return entries, rows.Err()
}

// normal is the entry as it will be read back: times in UTC, no empty JSON,
// nothing that the caller might write into.
func (e Entry) normal() *Entry {
	e.Begun, e.Ended = utc(e.Begun), utc(e.Ended)
	for _, j := range []*json.RawMessage{&e.Args, &e.Decision, &e.Result, &e.Fault} {
		if len(*j) == 0 {
			*j = nil
		}
		*j = slices.Clone(*j)
	}
	return &e
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(0, t.UnixNano()).UTC()
}

// inTree sorts entries as the call tree has them: 2 before 10, 4 before 4.1.
func inTree(entries []*Entry) []Entry {
	slices.SortFunc(entries, func(a, b *Entry) int { return a.Place.Compare(b.Place) })
	sorted := make([]Entry, len(entries))
	for i, e := range entries {
		sorted[i] = *e
	}
	return sorted
}
