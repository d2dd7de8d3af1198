// Package engine runs playbooks. It owns the performer chain, through which
// every call of a built-in goes: announced, checked, performed, and its end
// told. It names no module and imports none: whoever makes an Engine hands
// them in.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/journal"
	"nixmox/engine/language"
	"nixmox/engine/policy"
	"nixmox/engine/sandbox"
	"nixmox/engine/source"
)

// Engine is what runs have in common. Its fields are set once, before use.
type Engine struct {
	Modules []builtin.Module
	Std     fs.FS      // the standard library: @std//
	Sink    event.Sink // hears what happens; nil for nobody
	Clock   Clock
	Limits  language.Limits
	// Sandbox has playbooks evaluated in a process of their own; nil: in this
	// one, which only tests of playbooks that they wrote themselves should do.
	Sandbox *sandbox.Options
	LockDir string // where locks are files; made when first needed
	// LockWait is how long a lock is waited for.
	LockWait time.Duration
	// Journal opens the record of runs, once, when it is first needed; nil
	// keeps none.
	Journal func() (*journal.DB, error)
	Version string // of nixmox, kept with each run
	// Policy is what the operator lets any playbook do; nil for all it declares.
	Policy *policy.Rules
	// Probe is called at the positions of the journal's protocol, in tests.
	Probe func(at string, call *builtin.Call)
	// Reserved are the flags that a playbook's parameter cannot be, because
	// they mean the same for every playbook.
	Reserved []string
	// Secret reveals a secret of the configuration by name.
	Secret func(name string) (string, error)

	mu     sync.Mutex
	loaded []*language.Playbook // whose evaluators Close ends
}

// Close ends what evaluates the playbooks that were loaded.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, p := range e.loaded {
		errs = append(errs, p.Close())
	}
	e.loaded = nil
	return errors.Join(errs...)
}

// Clock is the engine's time: the machine's, or a test's, or the lab's.
type Clock struct {
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
}

// WallClock is the machine's clock.
func WallClock() Clock {
	return Clock{
		Now: func() time.Time { return time.Now().UTC() },
		Sleep: func(ctx context.Context, d time.Duration) error {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
}

// DefaultLimits bound a playbook that the operator gave no limits.
var DefaultLimits = language.Limits{Steps: 1e9, Memory: 1 << 30}

// Playbook is a playbook that loaded and checks.
type Playbook struct {
	Name string // without folder and ending
	*language.Playbook
}

// Load reads a playbook and checks what can be checked without running its
// main. Errors are *source.Problem or source.Problems.
func (e *Engine) Load(ctx context.Context, roots source.Roots, file string) (*Playbook, error) {
	l, problem := languageOf(file)
	if problem != nil {
		return nil, problem
	}
	d := language.Definitions{Modules: e.Modules, AtHand: AtHand(), Limits: e.Limits}
	var loaded *language.Playbook
	var err error
	if e.Sandbox != nil {
		loaded, err = sandbox.Load(ctx, *e.Sandbox, d, roots, file)
	} else {
		loaded, err = l.load(ctx, d, roots, file)
	}
	if err != nil {
		return nil, err
	}
	if loaded.Close != nil {
		e.mu.Lock()
		e.loaded = append(e.loaded, loaded)
		e.mu.Unlock()
	}
	name, _ := NameOf(file)
	p := &Playbook{Name: name, Playbook: loaded}
	problems := policy.Check(p.Needs, e.Modules, p.Params)
	problems = append(problems, e.checkParams(p.Params)...)
	if problems != nil {
		return nil, problems
	}
	return p, nil
}

// Evaluate is the life of a process that was started as an evaluator, with the
// arguments that follow sandbox.Argument. It never returns.
func Evaluate(args []string, modules []builtin.Module) {
	sandbox.Serve(args, language.Definitions{Modules: modules, AtHand: AtHand()},
		func(ctx context.Context, d language.Definitions, roots source.Roots, file string) (*language.Playbook, error) {
			l, problem := languageOf(file)
			if problem != nil {
				return nil, problem
			}
			return l.load(ctx, d, roots, file)
		})
}

func (e *Engine) checkParams(params []builtin.Param) source.Problems {
	var problems source.Problems
	for _, p := range params {
		if slices.Contains(e.Reserved, p.Flag()) || strings.HasPrefix(p.Flag(), "no-") {
			problems = append(problems, &source.Problem{At: p.At, What: fmt.Sprintf("parameter %s: --%s is a flag of nixmox itself", p.Name, p.Flag()),
				Hint: "give the parameter another name"})
		}
	}
	return problems
}

// newID makes the id of a run: sortable by time, unique without asking anybody.
func newID(now time.Time) string {
	var entropy [10]byte
	for i := range entropy {
		entropy[i] = byte(rand.IntN(256))
	}
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(now)) // fails after the year 10889
	_ = id.SetEntropy(entropy[:])       // fails for another length than 10
	return id.String()
}
