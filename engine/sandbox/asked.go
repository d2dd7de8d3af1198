package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// What an evaluator asks for while it loads and runs a playbook: files, calls,
// locks, log lines, functions for the end. Each is checked before anything is
// done, and what no evaluator of this program asks for ends it.

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
	if body.Result == nil {
		return s.conn.send(kindAnswer, id, body)
	}
	err := s.conn.send(kindResult, id, body.Result)
	if err != nil { // it is too long
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
		answer.Result, err = builtin.Typed{Type: function.Result, Value: result}.MarshalJSON()
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
