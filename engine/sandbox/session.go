package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"
	"unicode"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// What a run may ask of the engine, however it came to be evaluated.
const (
	maxCalls    = 200_000   // made, of one run; taking locks is one
	maxUnderWay = 4096      // at a time; parallel has at most 1024 branches
	maxHanded   = 8 << 20   // bytes of arguments of those under way, 16 for each value
	maxLogged   = 32 << 20  // bytes of log lines, of one run
	maxLine     = 256 << 10 // bytes of one
	maxFiles    = 256       // of one playbook
	maxSources  = 16 << 20  // bytes of them
	maxKept     = 4096      // functions for the end of the run
	maxPlace    = 128       // bytes of a place
	maxKeys     = 1024      // that are locked at a time; each is an open file
	maxKey      = 4096      // bytes of one
	maxWords    = 64 << 10  // bytes of what the evaluator says of how a run ended
)

// session is what an evaluator works on: one playbook, loaded once, whose main
// runs. It checks whatever the evaluator says.
type session struct {
	*process
	definitions language.Definitions
	roots       source.Roots
	ending      string                  // of the names of its files
	files       map[string]*source.File // that it was given, by name
	asked, read int                     // how often it asked for one, and the bytes it was given
	shown       map[string]bool         // how the files are shown, in which positions are
	params      []builtin.Param

	mu                               sync.Mutex // of what follows
	waiting                          map[uint64]chan *frame
	run                              *builtin.Run // nil while loading
	ctx                              context.Context
	cancel                           context.CancelCauseFunc
	calls                            int
	underWay, unheard, handed, keys, // unheard: under way, or the answer is not sent yet
	logged, kept int
	over       bool          // nothing more is begun
	stopped    *builtin.Stop // by which the engine answered a call
	places     map[builtin.Place]bool
	performing sync.WaitGroup
	locks      map[uint64]*heldLock
}

type heldLock struct {
	keys    []string
	release func()
}

// ask sends a frame and waits for the one that answers it.
func (s *session) ask(ctx context.Context, k kind, body any) (*frame, error) {
	id := s.ids.Add(1)
	answer := make(chan *frame, 1)
	s.mu.Lock()
	if s.waiting == nil {
		s.waiting = map[uint64]chan *frame{}
	}
	s.waiting[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	if err := s.conn.send(k, id, body); err != nil {
		s.kill(nil)
	}
	over := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case f := <-answer:
			if want := map[kind]kind{kindLoad: kindLoaded, kindMain: kindEnded, kindKept: kindEnded}[k]; f.kind != want {
				s.kill(builtin.Stopf(builtin.Died, "the evaluator of the playbook was ended: it answered %q with %q", k, f.kind))
				<-s.died
				return nil, s.why
			}
			return f, nil
		case <-s.died:
			if over == nil && s.killed.Load() == nil {
				return nil, context.Cause(ctx) // it died of being told
			}
			return nil, s.why
		case <-over:
			// It is told, and given a moment: what is deferred may still have to
			// be run by this very process.
			over, late = nil, time.After(grace)
			go func() { _ = s.conn.send(kindCancel, 0, struct{}{}) }() // it may not listen; then it is killed
		case <-late:
			late = nil
			stop, ok := errors.AsType[*builtin.Stop](context.Cause(ctx))
			if !ok {
				stop = builtin.Stopf(builtin.Cancelled, "%v", context.Cause(ctx))
			}
			s.kill(stop)
		}
	}
}

func (s *session) load(ctx context.Context, file string) (*language.Playbook, error) {
	s.process.mu.Lock()
	s.session = s
	s.process.mu.Unlock()
	f, err := s.ask(ctx, kindLoad, loadBody{File: file, Libraries: s.roots.Libraries(path.Ext(file)), Shown: s.roots.Shown, Limits: s.definitions.Limits})
	if err != nil {
		if stop, ok := errors.AsType[*builtin.Stop](err); ok && stop.Kind == builtin.Limit {
			return nil, &source.Problem{At: builtin.Position{File: s.roots.Shown + file}, What: "while loading: " + stop.What, Hint: stop.Hint}
		}
		return nil, err
	}
	var l loadedBody
	if err := f.decode(&l); err != nil {
		return nil, err
	}
	if slices.Contains(l.Problems, nil) {
		return nil, errors.New("the evaluator tells of a problem that is none")
	}
	switch {
	case len(l.Problems) > 0:
		return nil, l.Problems
	case l.Error != "":
		return nil, errors.New(l.Error)
	}
	p := &language.Playbook{Doc: l.Doc, Needs: l.Needs, Close: s.close, Exposed: s.missing, Uses: func() []language.Used { return l.Uses }}
	files := make([]*source.File, len(l.Files))
	for i, name := range l.Files {
		if files[i] = s.files[name]; files[i] == nil {
			return nil, fmt.Errorf("the evaluator loaded %q, which it was not given", name)
		}
	}
	if len(files) == 0 || files[len(files)-1].Name != file {
		return nil, fmt.Errorf("the evaluator did not load %q", file)
	}
	p.Graph = source.NewGraph(files)
	for _, raw := range l.Params {
		param, err := raw.param()
		if err != nil {
			return nil, err
		}
		if !isName(param.Name) || slices.ContainsFunc(p.Params, func(other builtin.Param) bool { return other.Name == param.Name }) {
			return nil, fmt.Errorf("the evaluator says that a parameter is called %q, or that two are", param.Name)
		}
		p.Params = append(p.Params, param)
	}
	s.params = p.Params
	p.Main = s.main
	return p, nil
}

// isName reports whether a language could have that name: they become flags.
func isName(name string) bool {
	for i, r := range name {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return name != ""
}

// main has the evaluator run the playbook's main.
func (s *session) main(ctx context.Context, run *builtin.Run, values map[string]any) error {
	params := map[string]json.RawMessage{}
	for i := range s.params {
		text, err := s.params[i].Encode(values[s.params[i].Name])
		if err != nil {
			return err
		}
		params[s.params[i].Name] = text
	}
	text, err := json.Marshal(params)
	if err != nil {
		return err
	}
	s.begin(ctx, run)
	f, err := s.ask(ctx, kindMain, mainBody{Run: run.ID, Playbook: run.Playbook, Plan: run.Planned != nil, Params: text})
	if err == nil {
		_, err = s.ended(f)
	}
	s.settle(err)
	return err
}

// settle waits until what the evaluator asked for is over: outcomes are
// recorded whatever became of it. Where it has not waited itself, because it
// is gone, nobody would take them, and a long task is left to a resumed run.
func (s *session) settle(err error) {
	s.mu.Lock()
	s.over = true
	cancel := s.cancel
	s.mu.Unlock()
	if err == nil {
		err = context.Canceled
	}
	cancel(err)
	s.performing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, held := range s.locks {
		if held.release != nil {
			held.release()
		}
		delete(s.locks, id)
	}
}

// begin readies the session for a run. The calls of one that is over have
// ended: Perform returns when its context is done.
func (s *session) begin(ctx context.Context, run *builtin.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = run
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.over, s.calls, s.underWay, s.unheard, s.handed, s.keys, s.logged, s.kept = false, 0, 0, 0, 0, 0, 0, 0
	s.stopped, s.places, s.locks = nil, map[builtin.Place]bool{}, map[uint64]*heldLock{}
}

// ended reads how main, or a function that was kept, ended. The evaluator may
// say that a limit was reached, that it was cancelled, and in a plan that the
// plan ends. All else that stops a run, the engine knows itself.
func (s *session) ended(f *frame) (builtin.BranchState, error) {
	var e endedBody
	if len(f.body) > maxWords {
		return e.Branch, builtin.Stopf(builtin.Limit, "the playbook ends with an error of more than %d KiB", maxWords>>10)
	}
	if err := f.decode(&e); err != nil {
		return e.Branch, builtin.Stopf(builtin.Died, "how the evaluator says that it ended: %v", err)
	}
	s.mu.Lock()
	left := s.underWay
	s.mu.Unlock()
	if left > 0 && s.ctx.Err() == nil && e.Stop == nil {
		return e.Branch, builtin.Stopf(builtin.Died, "the evaluator says that it ended, and %d of its calls had not", left)
	}
	switch {
	case e.Stop != nil:
		if !s.shown[e.Stop.At.File] {
			e.Stop.At = builtin.Position{}
		}
		switch e.Stop.Kind {
		case builtin.Limit:
		case builtin.PlanEnds:
			if s.run.Planned == nil {
				return e.Branch, builtin.Stopf(builtin.Died, "the evaluator says that a plan ends, and this is none")
			}
		default:
			if s.ctx.Err() != nil {
				return e.Branch, context.Cause(s.ctx)
			}
			s.mu.Lock()
			stop := s.stopped
			s.mu.Unlock()
			if stop != nil {
				return e.Branch, stop
			}
			return e.Branch, builtin.Stopf(builtin.Died, "the evaluator says that the run was stopped: %.1000s", e.Stop.What)
		}
		return e.Branch, e.Stop
	case e.Fault != nil:
		fault, err := (*builtin.Func)(nil).DecodeFault(e.Fault)
		if err != nil {
			return e.Branch, err
		}
		fault.Stack = slices.DeleteFunc(fault.Stack, func(at builtin.Position) bool { return !s.shown[at.File] })
		return e.Branch, fault
	}
	return e.Branch, nil
}
