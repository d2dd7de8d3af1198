package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

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

// frame takes a frame of the evaluator. An error ends the evaluator: it said
// what no evaluator says.
func (s *session) frame(f *frame) error {
	s.mu.Lock()
	answered, running := s.waiting[f.id], s.run != nil
	s.mu.Unlock()
	switch f.kind {
	case kindLoaded, kindEnded:
		if answered == nil {
			return fmt.Errorf("an answer to nothing, of kind %q", f.kind)
		}
		answered <- f // there is room for one, and a second is to nothing
		s.mu.Lock()
		delete(s.waiting, f.id)
		s.mu.Unlock()
		return nil
	case kindFile:
		if running {
			return errors.New("a file was asked for after the playbook had loaded")
		}
		return s.file(f)
	}
	if !running {
		return fmt.Errorf("a frame of kind %q while the playbook loads", f.kind)
	}
	switch f.kind {
	case kindCall:
		return s.call(f)
	case kindLog:
		return s.log(f)
	case kindLock:
		return s.lock(f)
	case kindUnlock:
		s.unlock(f.id)
		return nil
	case kindDefer:
		return s.keep(f)
	}
	return fmt.Errorf("a frame of kind %q", f.kind)
}

// file gives the evaluator a file of the playbook's own roots.
func (s *session) file(f *frame) error {
	var asked fileBody
	if err := f.decode(&asked); err != nil {
		return err
	}
	if s.asked++; s.asked > maxFiles {
		return builtin.Stopf(builtin.Limit, "the playbook has more than %d files", maxFiles)
	}
	var answer answerBody
	var read *source.File
	err := fmt.Errorf("what it loads ends in %s, as it does", s.ending)
	if path.Ext(asked.Name) == s.ending {
		read, err = s.roots.Read(asked.Name)
	}
	if err != nil {
		answer.Error, answer.Absent = err.Error(), errors.Is(err, fs.ErrNotExist)
		return s.answer(f.id, answer)
	}
	if s.read += len(read.Text); s.read > maxSources {
		return builtin.Stopf(builtin.Limit, "the files of the playbook have more than %d MiB", maxSources>>20)
	}
	s.files[asked.Name], s.shown[read.Shown], answer.Text = read, true, read.Text
	return s.answer(f.id, answer)
}

// answer sends one; that it does not arrive, the end of the conversation says.
func (s *session) answer(id uint64, body answerBody) error {
	err := s.conn.send(kindAnswer, id, body)
	if err != nil && len(body.Result) > 0 { // it is too long
		err = s.conn.send(kindAnswer, id, answerBody{Stop: builtin.Stopf(builtin.Limit, "what a call returned is too large: %v", err)})
	}
	return err
}

func validPlace(p builtin.Place) bool {
	if p == "" || len(p) > maxPlace {
		return false
	}
	for part := range strings.SplitSeq(string(p), ".") {
		if part != "defer" && (part == "" || part[0] == '0' || len(part) > 9 || strings.Trim(part, "0123456789") != "") {
			return false
		}
	}
	return true
}

// call performs a call, beside others.
func (s *session) call(f *frame) error {
	var asked callBody
	if err := f.decode(&asked); err != nil {
		return err
	}
	function := s.function(asked.Call)
	if function == nil || function.Effect == builtin.Pure {
		return fmt.Errorf("a call of %q", asked.Call)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !validPlace(asked.Place) || s.places[asked.Place] || !s.shown[asked.At.File] {
		return fmt.Errorf("a call at the place %.200q, %.200s", asked.Place, asked.At)
	}
	if s.over {
		return nil // nobody waits for it
	}
	s.places[asked.Place] = true
	handed := len(asked.Args) + 16*f.values
	s.handed += handed
	if err := s.begins(); err != nil {
		return err
	}
	ctx, run := s.ctx, s.run
	if asked.Held != nil {
		ctx = builtin.WithHeld(ctx, s.reallyHeld(asked.Held))
	}
	s.performing.Go(func() {
		answer := s.perform(ctx, run, function, &asked)
		s.mu.Lock()
		s.underWay-- // before the evaluator hears of it, which may be all it waits for
		s.mu.Unlock()
		s.lastAnswer(f.id, answer, handed)
	})
	return nil
}

// begins counts what is begun.
func (s *session) begins() error {
	s.calls++
	s.underWay++
	s.unheard++
	switch {
	case s.calls > maxCalls:
		return builtin.Stopf(builtin.Limit, "the playbook makes more than %d calls", maxCalls)
	case s.unheard > maxUnderWay:
		return fmt.Errorf("more than %d calls at a time", maxUnderWay)
	case s.handed > maxHanded:
		return builtin.Stopf(builtin.Limit, "the playbook hands more than %d MiB to calls at a time", maxHanded>>20)
	}
	return nil
}

// lastAnswer is the end of what begins began.
func (s *session) lastAnswer(id uint64, answer answerBody, handed int) {
	if err := s.answer(id, answer); err != nil {
		s.kill(nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unheard--
	s.handed -= handed
}

func (s *session) perform(ctx context.Context, run *builtin.Run, function *builtin.Func, asked *callBody) (answer answerBody) {
	args, err := function.DecodeArgs(asked.Args, run.Planned != nil)
	var result any
	if err == nil {
		branch := builtin.BranchAt(builtin.BranchState{ReadOnly: asked.ReadOnly, Depth: asked.Depth})
		result, err = run.Perform(builtin.WithBranch(ctx, branch), builtin.Call{Place: asked.Place, Func: function, Args: args, At: asked.At, Run: run, Branch: branch})
	}
	if err == nil {
		answer.Result, err = json.Marshal(builtin.Typed{Type: function.Result, Value: result})
	}
	if err == nil {
		return answer
	}
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		s.mu.Lock()
		s.stopped = stop
		s.mu.Unlock()
		return answerBody{Stop: stop}
	}
	fault := builtin.AsFault(err)
	if fault == nil { // the run is over for it
		return answerBody{Stop: builtin.Stopf(builtin.Cancelled, "%v", err)}
	}
	if answer.Fault, err = function.EncodeFault(fault); err != nil {
		return answerBody{Stop: builtin.Stopf(builtin.Died, "the fault of %s: %v", function.QualifiedName(), err)}
	}
	return answer
}

// function is a definition by its name.
func (s *session) function(name string) *builtin.Func {
	module, bare, qualified := strings.Cut(name, ".")
	if !qualified {
		i := slices.IndexFunc(s.definitions.AtHand, func(f builtin.Func) bool { return f.Name == name })
		if i < 0 {
			return nil
		}
		return &s.definitions.AtHand[i]
	}
	for i := range s.definitions.Modules {
		if s.definitions.Modules[i].Name == module {
			f, _ := s.definitions.Modules[i].Func(bare)
			return f
		}
	}
	return nil
}

var levels = []string{"debug", "info", "warning", "error"}

func (s *session) log(f *frame) error {
	var line logBody
	if err := f.decode(&line); err != nil {
		return err
	}
	s.mu.Lock()
	s.logged += len(line.Text) + 64
	logged, run, over := s.logged, s.run, s.over
	s.mu.Unlock()
	switch {
	case !slices.Contains(levels, line.Level) || !s.shown[line.At.File]:
		return fmt.Errorf("a line of the level %.200q, %.200s", line.Level, line.At)
	case logged > maxLogged:
		return builtin.Stopf(builtin.Limit, "the playbook logs more than %d MiB", maxLogged>>20)
	case over:
		return nil // the run has ended without it
	case len(line.Text) > maxLine:
		cut := maxLine
		for !utf8.RuneStart(line.Text[cut]) {
			cut--
		}
		line.Text = line.Text[:cut] + "…"
	}
	run.Log(builtin.Call{Place: line.Place, Func: s.function("log"), At: line.At, Run: run}, line.Level, line.Text)
	return nil
}

// lock takes locks for a with_lock, beside what else goes on.
func (s *session) lock(f *frame) error {
	var asked lockBody
	if err := f.decode(&asked); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks[f.id] != nil || !validPlace(asked.Place) || !s.shown[asked.At.File] {
		return fmt.Errorf("locks at the place %.200q, %.200s", asked.Place, asked.At)
	}
	if s.over {
		return nil // nobody waits for it
	}
	if s.keys += len(asked.Keys); s.keys > maxKeys || slices.ContainsFunc(asked.Keys, func(key string) bool { return len(key) > maxKey }) {
		return builtin.Stopf(builtin.Limit, "the playbook locks more than %d keys at a time, or one of more than %d bytes", maxKeys, maxKey)
	}
	if err := s.begins(); err != nil {
		return err
	}
	held := &heldLock{keys: asked.Keys}
	s.locks[f.id] = held
	ctx, run := s.ctx, s.run
	s.performing.Go(func() {
		release, err := run.Lock(ctx, builtin.Call{Place: asked.Place, Func: s.function("with_lock"), At: asked.At, Run: run}, asked.Keys)
		s.mu.Lock()
		s.underWay--
		held.release = release
		if err != nil {
			delete(s.locks, f.id)
			s.keys -= len(held.keys)
		}
		s.mu.Unlock()
		var answer answerBody
		if fault := builtin.AsFault(err); fault != nil {
			answer.Fault, _ = (*builtin.Func)(nil).EncodeFault(fault) // it has no partial result that might not encode
		} else if err != nil {
			answer.Stop = builtin.Stopf(builtin.Cancelled, "%v", err)
		}
		s.lastAnswer(f.id, answer, 0)
	})
	return nil
}

func (s *session) unlock(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.locks[id]; held != nil && held.release != nil {
		held.release()
		delete(s.locks, id)
		s.keys -= len(held.keys)
	}
}

// reallyHeld are those of the keys that this run does hold.
func (s *session) reallyHeld(keys []string) []string {
	return slices.DeleteFunc(keys, func(key string) bool {
		for _, held := range s.locks {
			if held.release != nil && slices.Contains(held.keys, key) {
				return false
			}
		}
		return true
	})
}

// keep registers a function of the playbook for the end of the run.
func (s *session) keep(f *frame) error {
	var asked deferBody
	if err := f.decode(&asked); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil // nobody would run it
	}
	if s.kept++; s.kept > maxKept {
		return builtin.Stopf(builtin.Limit, "the playbook defers more than %d functions", maxKept)
	}
	s.run.Defer(builtin.Call{Place: asked.Place, Func: s.function("defer"), At: asked.At, Run: s.run}, &kept{s, f.id})
	return nil
}

// kept is a function in the evaluator that runs when the run ends.
type kept struct {
	session *session
	id      uint64
}

// Call runs it on the branch of the context.
func (k *kept) Call(ctx context.Context, _ ...builtin.Value) (builtin.Value, error) {
	branch := builtin.BranchFrom(ctx)
	k.session.mu.Lock()
	k.session.ctx, k.session.cancel = context.WithCancelCause(ctx)
	k.session.over = false
	k.session.mu.Unlock()
	f, err := k.session.ask(ctx, kindKept, keptBody{Kept: k.id, Branch: branch.State()})
	if err == nil {
		var state builtin.BranchState
		state, err = k.session.ended(f)
		at := branch.State()
		at.Next = max(at.Next, state.Next) // the rest is not its to say
		*branch = *builtin.BranchAt(at)
	}
	k.session.settle(err)
	return nil, err
}

// Fork is for parallel, which the evaluator has itself.
func (k *kept) Fork(*builtin.Branch, ...builtin.Value) func(context.Context) (builtin.Value, error) {
	return func(context.Context) (builtin.Value, error) {
		return nil, errors.New("a function in the evaluator cannot be forked from outside")
	}
}

// True is for wait_until, which the evaluator has itself.
func (k *kept) True(builtin.Value) bool { return false }

var _ builtin.Callback = (*kept)(nil)

// paramBody is a parameter of main on its way.
type paramBody struct {
	Name     string           `json:"name"`
	Type     string           `json:"type"`
	Doc      string           `json:"doc,omitempty"`
	Env      string           `json:"env,omitempty"`
	Required bool             `json:"required,omitempty"`
	Default  json.RawMessage  `json:"default,omitempty"`
	At       builtin.Position `json:"at"`
}

func (b *paramBody) param() (builtin.Param, error) {
	p := builtin.Param{Name: b.Name, Type: language.TypeNamed(b.Type), Doc: b.Doc, Env: b.Env, Required: b.Required, At: b.At}
	if p.Type == nil {
		return p, fmt.Errorf("the evaluator says that parameter %q is a %q", b.Name, b.Type)
	}
	if b.Default == nil {
		return p, nil
	}
	var err error
	p.Default, err = p.Decode(b.Default)
	return p, err
}

func bodyOf(p *builtin.Param) (paramBody, error) {
	b := paramBody{Name: p.Name, Type: language.TypeWord(p.Type), Doc: p.Doc, Env: p.Env, Required: p.Required, At: p.At}
	if p.Default == nil {
		return b, nil
	}
	var err error
	b.Default, err = p.Encode(p.Default)
	return b, err
}
