package journal

import (
	"errors"
	"time"
)

// pruneBatch is how many runs one commit removes. Other processes wait for
// it, so it has to stay short.
const pruneBatch = 100

// Prune removes runs that ended (done, failed, cancelled) before a time,
// with their lock files and the sources that no run uses any more, and says
// how many runs that were. Runs that are suspended, in doubt or live stay
// whatever their age, and so do those whose process died: they wait to be
// resumed.
//
// The file keeps its size; what comes next uses the room.
func (db *DB) Prune(olderThan time.Time) (n int, err error) {
	for after := int64(0); ; {
		removed, last, err := db.pruneSome(olderThan, after)
		n += removed
		if err != nil {
			return n, err
		}
		if last == 0 {
			break
		}
		after = last
	}
	if n == 0 {
		return 0, nil
	}
	return n, db.commit("prune sources", func() error {
		return db.exec("DELETE FROM sources WHERE NOT EXISTS (SELECT 1 FROM run_sources WHERE source = sources.n)")
	})
}

// pruneSome removes the next of them, and answers the last it looked at, or
// 0 when there are no more. It owns what it removes until that is done, so
// that nobody resumes a run meanwhile.
func (db *DB) pruneSome(olderThan time.Time, after int64) (removed int, last int64, err error) {
	var owners []*owner
	defer func() {
		for _, o := range owners {
			if e := o.release(); err == nil {
				err = e
			}
		}
	}()
	err = db.commit("prune runs", func() error {
		rows, err := db.conn.QueryContext(background,
			"SELECT n, id FROM runs WHERE n > ? AND ended < ? ORDER BY n LIMIT ?", after, olderThan.UnixNano(), pruneBatch)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
		var keys []int64
		for rows.Next() {
			var key int64
			var id string
			if err := rows.Scan(&key, &id); err != nil {
				return err
			}
			if key <= max(after, last) {
				// A tree that leads back into itself would be walked for ever.
				return &DamagedError{Tried: "prune runs", File: db.file, Said: "the runs do not come in the order of their numbers"}
			}
			last = key
			o, err := db.own(id)
			if _, live := errors.AsType[*OwnedError](err); live {
				continue
			} else if err != nil {
				return err
			}
			owners = append(owners, o)
			keys = append(keys, key)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for _, key := range keys {
			if err := db.exec("DELETE FROM runs WHERE n = ?", key); err != nil {
				return err
			}
		}
		removed = len(keys)
		return nil
	})
	if err != nil {
		removed = 0
	}
	return removed, last, err
}
