package journal

import (
	"fmt"
	"sync"
	"time"

	"nixmox/engine/builtin"
)

// State is how far a run has come.
type State string

// A run that is Running without being live (RunInfo.Live) is one whose
// process died; like a suspended one it waits to be resumed.
const (
	Running   State = "running"
	Suspended State = "suspended"
	InDoubt   State = "in_doubt"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// final reports whether the state is an end.
func (s State) final() bool { return s == Done || s == Failed || s == Cancelled }

// Run is a run that this process owns. The branches of a parallel may use
// it at the same time.
type Run struct {
	db    *DB
	key   int64 // runs.n
	new   NewRun
	owner *owner

	mu       sync.Mutex // of what follows; held while a commit of this run is written
	state    State
	closed   bool
	entries  map[builtin.Place]*Entry
	kept     []*Entry // reads that no commit has taken along yet
	outcomes int      // counted so far
}

const setState = `UPDATE runs SET state=?, exit=?, error=?, changed=?, ended=? WHERE n=?`

// Info is what the run was begun with.
func (r *Run) Info() NewRun { return r.new }

// State is the run's state as it was recorded last.
func (r *Run) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Entry is what is known of the call at a place, from before this process or
// from it.
func (r *Run) Entry(place builtin.Place) (Entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[place]
	if !ok {
		return Entry{}, false
	}
	return *e, true
}

// Entries are all of them, in the order of the call tree.
func (r *Run) Entries() []Entry {
	r.mu.Lock()
	all := make([]*Entry, 0, len(r.entries))
	for _, e := range r.entries {
		all = append(all, e)
	}
	r.mu.Unlock() // entries are never written to once they are in the map
	return inTree(all)
}

// Read keeps a finished call that altered nothing. It is written with the
// next commit of the run, since until something is altered nothing depends
// on it: a run that is killed before reads again.
func (r *Run) Read(e Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	tried := r.tried("keep the outcome of", e)
	if err := r.may(tried); err != nil {
		return err
	}
	if _, ok := r.entries[e.Place]; ok {
		return r.misused(tried, "the place is taken")
	}
	n := e.normal()
	if err := r.outcome(tried, n); err != nil {
		return err
	}
	r.outcomes++
	r.entries[n.Place] = n
	r.kept = append(r.kept, n)
	return nil
}

// Begun records an intent, with all reads kept so far, in one commit. A call
// in doubt that was found not to have happened is begun again by the same.
func (r *Run) Begun(e Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	tried := r.tried("record the intent of", e)
	if err := r.may(tried); err != nil {
		return err
	}
	if old, ok := r.entries[e.Place]; ok && !old.InDoubt() {
		return r.misused(tried, "its outcome is recorded already")
	}
	n := e.normal()
	n.Ended, n.Result, n.Fault, n.Settled, n.Order = time.Time{}, nil, nil, "", 0
	return r.write(tried, n, func() error {
		_, err := r.db.stmt.putCall.ExecContext(background, n.columns(r.key)...)
		return err
	})
}

// Handle records by what the task of a begun call is found again, in one commit.
func (r *Run) Handle(place builtin.Place, handle string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	tried := r.tried("record the handle of", Entry{Place: place})
	n, err := r.begun(tried, place)
	if err != nil {
		return err
	}
	n.Handle = handle
	return r.write(tried, n, func() error {
		_, err := r.db.stmt.setHandle.ExecContext(background, handle, r.key, string(place))
		return err
	})
}

// Ended records the outcome of a begun call, in one commit: Ended, Result or
// Fault, Settled, and a Handle if the entry has one. The rest stays as it
// was begun.
func (r *Run) Ended(e Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	tried := r.tried("record the outcome of", e)
	n, err := r.begun(tried, e.Place)
	if err != nil {
		return err
	}
	o := e.normal()
	n.Ended, n.Result, n.Fault, n.Settled = o.Ended, o.Result, o.Fault, o.Settled
	if o.Handle != "" {
		n.Handle = o.Handle
	}
	if err := r.outcome(tried, n); err != nil {
		return err
	}
	if err := r.write(tried, n, func() error {
		_, err := r.db.stmt.setOutcome.ExecContext(background, n.Handle, n.Settled, nanos(n.Ended), n.Order, text(n.Result), text(n.Fault), r.key, string(n.Place))
		return err
	}); err != nil {
		return err
	}
	r.outcomes++
	return nil
}

// Finish records how the run ended: Done, Failed or Cancelled. The entries
// stay; nothing is recorded any more after it.
func (r *Run) Finish(s State, exit int, errText string, at time.Time) error {
	return r.set(s, true, exit, errText, at)
}

// SetState records that the run is Suspended or InDoubt, and why, or that it
// is Running again.
func (r *Run) SetState(s State, exit int, errText string, at time.Time) error {
	return r.set(s, false, exit, errText, at)
}

func (r *Run) set(s State, final bool, exit int, errText string, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	tried := fmt.Sprintf("record that run %s is %s", r.new.ID, s)
	if err := r.may(tried); err != nil {
		return err
	}
	if s.final() != final || at.IsZero() {
		return r.misused(tried, fmt.Sprintf("state %q, at %v", s, at))
	}
	ended := any(nil)
	if final {
		ended = nanos(at)
	}
	if err := r.write(tried, nil, func() error {
		_, err := r.db.stmt.setState.ExecContext(background, s, exit, errText, nanos(at), ended, r.key)
		return err
	}); err != nil {
		return err
	}
	r.state = s
	return nil
}

// Close gives the run up, for whoever resumes it. Reads that nothing took
// along are gone, as they would be if the process was killed.
func (r *Run) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return r.owner.release()
}

// write commits fn with the kept reads, and then makes n what is known of
// its place.
func (r *Run) write(tried string, n *Entry, fn func() error) error {
	err := r.db.commit(tried, func() error {
		for _, e := range r.kept {
			if _, err := r.db.stmt.putCall.ExecContext(background, e.columns(r.key)...); err != nil {
				return err
			}
		}
		return fn()
	})
	if err != nil {
		return err // the reads are kept for the next
	}
	r.kept = nil
	if n != nil {
		r.entries[n.Place] = n
	}
	return nil
}

// may reports why nothing more can be recorded, if so.
func (r *Run) may(tried string) error {
	switch {
	case r.closed:
		return r.misused(tried, "this process has given the run up")
	case r.state.final():
		return r.misused(tried, "the run has ended: "+string(r.state))
	}
	return nil
}

// begun is a copy of an entry without outcome, to be changed and written.
func (r *Run) begun(tried string, place builtin.Place) (*Entry, error) {
	if err := r.may(tried); err != nil {
		return nil, err
	}
	e, ok := r.entries[place]
	switch {
	case !ok:
		return nil, r.misused(tried, "its intent is not recorded")
	case !e.InDoubt():
		return nil, r.misused(tried, "its outcome is recorded already")
	}
	n := *e
	return &n, nil
}

// outcome checks that an entry has an outcome, one, and counts it.
func (r *Run) outcome(tried string, e *Entry) error {
	if e.Ended.IsZero() || (e.Result == nil) == (e.Fault == nil) {
		return r.misused(tried, "an outcome has a time, and either a result or a fault")
	}
	e.Order = r.outcomes + 1
	return nil
}

func (r *Run) tried(what string, e Entry) string {
	s := fmt.Sprintf("%s call %s of run %s", what, e.Place, r.new.ID)
	if e.Call != "" {
		s = fmt.Sprintf("%s %s, call %s of run %s", what, e.Call, e.Place, r.new.ID)
	}
	return s
}

// misused is a mistake of the engine's, not of the machine's.
func (r *Run) misused(tried, said string) error {
	return &Error{Tried: tried, File: r.db.file, Said: said}
}
