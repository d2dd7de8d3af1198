package builtin

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Position is a place in a playbook's text. The zero value is nowhere.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col,omitempty"`
}

func (p Position) String() string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Place is a call's position in the call tree of its run, such as "4" or
// "4.2.1": the first call of branch 2 of what stands at 4. It is the same
// however the branches of a parallel interleave.
type Place string

// Compare orders places as the call tree does: 2 before 2.1.1 before 10, and
// numbers before words ("defer"). Plans sort thousands: it allocates nothing.
func (p Place) Compare(o Place) int {
	ps, os := string(p), string(o)
	for ps != "" && os != "" {
		var x, y string
		x, ps, _ = strings.Cut(ps, ".")
		y, os, _ = strings.Cut(os, ".")
		if x == y {
			continue
		}
		n, errX := strconv.Atoi(x)
		m, errY := strconv.Atoi(y)
		switch {
		case errX == nil && errY == nil:
			return n - m
		case errX == nil:
			return -1
		case errY == nil:
			return 1
		}
		return strings.Compare(x, y)
	}
	return len(ps) - len(os)
}

// Branch hands out places, in order. Each thread of a playbook has its own,
// so that places do not depend on which thread is faster.
type Branch struct {
	prefix string
	next   int
	// ReadOnly branches refuse every call that alters the world (wait_until).
	ReadOnly bool
	// Depth counts how many branches enclose this one.
	Depth int
}

// NewBranch is the trunk of a run.
func NewBranch() *Branch { return &Branch{} }

// Next is the place of the next call on this branch.
func (b *Branch) Next() Place {
	b.next++
	return Place(b.prefix + strconv.Itoa(b.next))
}

// Fork is branch i (from 1) of what stands at place.
func (b *Branch) Fork(place Place, i int) *Branch {
	return &Branch{prefix: string(place) + "." + strconv.Itoa(i) + ".", ReadOnly: b.ReadOnly, Depth: b.Depth + 1}
}

// BranchState is where a branch stands, for a process that goes on with it.
type BranchState struct {
	Prefix   string `json:"prefix,omitempty"`
	Next     int    `json:"next,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"`
	Depth    int    `json:"depth,omitempty"`
}

// State is where the branch stands.
func (b *Branch) State() BranchState { return BranchState{b.prefix, b.next, b.ReadOnly, b.Depth} }

// BranchAt is a branch that goes on from there.
func BranchAt(s BranchState) *Branch {
	return &Branch{prefix: s.Prefix, next: s.Next, ReadOnly: s.ReadOnly, Depth: s.Depth}
}

// Call is one use of a built-in: its place in the run, its definition, its
// typed arguments (a value of the definition's argument struct).
type Call struct {
	Place    Place
	Func     *Func
	Args     any
	At       Position
	Run      *Run
	Branch   *Branch
	Decision any // what Decide resolved; only of irreversible functions
	// Handle is what an earlier try of this very call made durable, or "".
	Handle string
}

// Performer performs calls. Every layer of the engine is one, around the next.
// The result is a value of the definition's result struct.
type Performer func(ctx context.Context, call Call) (any, error)

// Run is what a built-in may know of the run that calls it.
type Run struct {
	ID       string // who asks for the run chooses it; a ULID otherwise
	Playbook string // the playbook's name, without folder and ending
	// Now is the engine's clock, UTC. It is not recorded: playbooks ask now().
	Now func() time.Time
	// Perform is the whole chain, for built-ins that make calls themselves.
	Perform Performer
	// Planned is what the plan's changes would have left in the world, kept
	// by module; nil unless this run is a plan.
	Planned *Overlay
	// Secret reveals a secret of the configuration by name.
	Secret func(name string) (string, error)
	// Log writes a line of the playbook's own.
	Log func(call Call, level, text string)
	// Progress tells how far a call is; such events may be dropped.
	Progress func(call Call, p Progress)
	// Handle makes durable by what a long task can be found again
	// (a UPID, a resume token), as soon as that is known.
	Handle func(call Call, handle string) error
	// Defer keeps a function of the playbook for the end of the run.
	Defer func(call Call, fn Callback)
	// Sleep waits, on the engine's clock.
	Sleep func(ctx context.Context, d time.Duration) error
	// Lock takes locks by key, sorted, and waits for them within bounds.
	Lock func(ctx context.Context, call Call, keys []string) (release func(), err error)
	// Branches counts the parallel branches that are alive, of the whole run.
	Branches atomic.Int64
}

// Progress of a long call. Zero fields are unknown.
type Progress struct {
	Subject string        `json:"subject,omitempty"` // which of the call's things is being worked on, such as a guest's id
	Name    string        `json:"name,omitempty"`    // what people call the subject
	Ended   Ended         `json:"ended,omitempty"`   // how it ended for the subject; such an event is never dropped
	Step    string        `json:"step,omitempty"`    // what is being done, in the host's words
	Done    int64         `json:"done,omitempty"`    // bytes
	Total   int64         `json:"total,omitempty"`   // bytes
	Rate    int64         `json:"rate,omitempty"`    // bytes a second
	Percent float64       `json:"percent,omitempty"` // 0 to 100
	Elapsed time.Duration `json:"-"`                 // how long it took, once it has ended
}

// Ended says how it ended for one of a call's things; "" while it goes on.
type Ended string

// The ends of a subject.
const (
	SubjectDone   Ended = "done"
	SubjectFailed Ended = "failed"
)

type callKey struct{}

// WithCall returns a context in which CallFrom finds the call.
func WithCall(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// CallFrom is the call being performed. Outside a run (in a test of a client)
// it is an empty one whose Run does nothing and whose clock is the machine's.
func CallFrom(ctx context.Context) *Call {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c
	}
	return &Call{Run: &Run{Now: func() time.Time { return time.Now().UTC() }}, Branch: NewBranch()}
}

// Report tells how far the call of this context is.
func Report(ctx context.Context, p Progress) {
	if c := CallFrom(ctx); c.Run.Progress != nil {
		c.Run.Progress(*c, p)
	}
}

// Hold makes a handle of the call of this context durable.
func Hold(ctx context.Context, handle string) error {
	if c := CallFrom(ctx); c.Run.Handle != nil {
		return c.Run.Handle(*c, handle)
	}
	return nil
}

// Sleep waits on the engine's clock; on the machine's where a context has none.
func Sleep(ctx context.Context, d time.Duration) error {
	if engine := CallFrom(ctx).Run.Sleep; engine != nil {
		return engine(ctx, d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Value is any value of the playbook's language, passed through untouched.
type Value = any

// Callback is a function of the playbook that was passed as an argument.
type Callback interface {
	// Call runs it on the calling thread, with the context's branch.
	Call(ctx context.Context, args ...Value) (Value, error)
	// Fork readies it to run beside others, on a thread of its own with the
	// branch given: function and arguments are frozen at once.
	Fork(branch *Branch, args ...Value) func(ctx context.Context) (Value, error)
	// True is what the language takes a value for in a condition.
	True(v Value) bool
}

type heldKey struct{}

// WithHeld returns a context whose calls find the keys locked that an
// enclosing with_lock holds.
func WithHeld(ctx context.Context, keys []string) context.Context {
	return context.WithValue(ctx, heldKey{}, keys)
}

// HeldFrom are the keys that the context's with_lock holds; ok is false
// outside one.
func HeldFrom(ctx context.Context) (keys []string, ok bool) {
	keys, ok = ctx.Value(heldKey{}).([]string)
	return keys, ok
}

type branchKey struct{}

// WithBranch returns a context whose calls get their places from the branch.
func WithBranch(ctx context.Context, b *Branch) context.Context {
	return context.WithValue(ctx, branchKey{}, b)
}

// BranchFrom is the branch of a context, or nil.
func BranchFrom(ctx context.Context) *Branch {
	b, _ := ctx.Value(branchKey{}).(*Branch)
	return b
}
