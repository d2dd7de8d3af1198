package luavm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// What one thread of Lua has: frames of calls, and registers, which grow.
// Threads are made by the protected call and by the branch, so they begin
// small; maxThreads bounds how deep protected calls and built-ins that call
// back nest, since each nests in Go's own stack.
const (
	frames       = 200
	registers    = 256
	maxRegisters = 1 << 18
	maxThreads   = 100
)

// machine is what the threads of one evaluation share. They run on goroutines
// of their own, and one baton goes among them: who has it runs, and gives it
// up only while a call waits.
type machine struct {
	language.Machine
	baton sync.Mutex
	root  *lua.LState   // never runs: threads are made of it
	idle  []*lua.LState // threads whose call has ended well, used again
}

func newMachine(ctx context.Context, run *builtin.Run, limits language.Limits) *machine {
	fillMetatables()
	m := &machine{Machine: language.Machine{Ctx: ctx, Run: run, Limits: limits}}
	m.root = lua.NewState(lua.Options{SkipOpenLibs: true, CallStackSize: frames, RegistrySize: registers,
		RegistryMaxSize: maxRegisters, RegistryGrowStep: 4096})
	m.root.SetMetatable(lua.LString(""), stringMeta)
	return m
}

// strand is a line of execution of the playbook: its branch of the call tree,
// the context in which its calls are made, and the threads of Lua in it, of
// which each protected call adds one. It is the context of these threads: the
// interpreter asks for Done before each instruction, which counts them.
type strand struct {
	*machine
	ctx     context.Context
	threads []*lua.LState
	left    int   // steps until the next look at the budget
	broken  error // why no step may be taken any more
	working bool  // inside a built-in: what panics there is no error of Lua's
}

func (m *machine) strand(ctx context.Context, branch *builtin.Branch) *strand {
	return &strand{machine: m, ctx: builtin.WithBranch(ctx, branch), left: language.Chunk}
}

func strandOf(l *lua.LState) *strand { return l.Context().(*strand) }

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done counts a step.
func (s *strand) Done() <-chan struct{} {
	if s.left--; s.left > 0 {
		return nil
	}
	return s.account()
}

// account takes the steps that were used from the budget.
func (s *strand) account() <-chan struct{} {
	for ; s.left <= 0 && s.broken == nil; s.left += language.Chunk {
		s.broken = s.Spend(s.ctx, func() builtin.Position { return language.Last(s.stack()) })
	}
	if s.broken != nil {
		s.left = 0
		return closed
	}
	return nil
}

// spend takes steps for work that the interpreter does not count.
func (s *strand) spend(l *lua.LState, steps int) {
	if s.left -= steps; s.left <= 0 && s.account() != nil {
		l.RaiseError("%v", s.broken)
	}
}

// Err says why Done is over, to the interpreter.
func (s *strand) Err() error { return s.broken }

// Deadline is none: the context's own ends it.
func (s *strand) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is the context's.
func (s *strand) Value(key any) any { return s.ctx.Value(key) }

// raised is what a panic of Lua carries: the error, and where it arose.
type raised struct {
	err   error
	stack []builtin.Position
}

// thrown is an error of the language itself, or a value that a playbook
// threw: pcall gives it back as it was.
type thrown struct {
	value lua.LValue
	text  string
}

func (t *thrown) Error() string { return t.text }

// throw raises an error of Go in Lua, so that it keeps what it is.
func throw(l *lua.LState, err error) { l.Error(&lua.LUserData{Value: err, Metatable: lua.LNil}, 0) }

// onPanic is what threads do with an error, on top of whose stack it stands.
func onPanic(l *lua.LState) {
	s, v := strandOf(l), l.Get(-1)
	panic(&raised{errorOf(v), s.stack()})
}

// addresses in error messages would differ from run to run.
var addresses = regexp.MustCompile(`\b(table|function|userdata|thread): 0x[0-9a-f]+`)

// errorOf is the error that a thrown value stands for.
func errorOf(v lua.LValue) error {
	switch v := v.(type) {
	case *lua.LUserData:
		switch x := v.Value.(type) {
		case error:
			return x
		case *object:
			if f := x.asFault(); f != nil {
				return f
			}
		}
	case lua.LString:
		return &thrown{v, addresses.ReplaceAllString(string(v), "$1")}
	}
	return &thrown{v, show(v)}
}

// protect calls a function on a thread of its own and returns its results.
// The error is a *builtin.Fault, a *builtin.Stop or the context's.
//
// The thread is why this is not the interpreter's own protected call: that one
// takes variables away from functions of the callers that go on (it closes
// all upvalues of the thread), and loses those of the ones that ended.
func (s *strand) protect(fn lua.LValue, args ...lua.LValue) (results []lua.LValue, err error) {
	if len(s.threads) >= maxThreads {
		return nil, builtin.Faultf(builtin.Failed, "stack overflow").Saying(fmt.Sprintf("protected calls and functions of built-ins nest more than %d deep", maxThreads))
	}
	l := s.thread()
	s.threads = append(s.threads, l)
	wasWorking := s.working
	s.working = false
	defer func() {
		r := recover()
		s.threads = s.threads[:len(s.threads)-1]
		if r != nil {
			err = s.recovered(r)
		} else {
			l.SetTop(0)
			s.idle = append(s.idle, l)
		}
		s.working = wasWorking
	}()
	l.Push(fn)
	for _, a := range args {
		l.Push(a)
	}
	l.Call(len(args), lua.MultRet)
	for i := 1; i <= l.GetTop(); i++ {
		results = append(results, l.Get(i))
	}
	if s.Halted() != nil {
		return nil, s.Outcome(nil, nil)
	}
	return results, nil
}

// thread is a thread of Lua for one protected call.
func (s *strand) thread() *lua.LState {
	var l *lua.LState
	if n := len(s.idle); n > 0 {
		l, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		l, _ = s.root.NewThread()
		l.Panic = onPanic
	}
	l.SetContext(s)
	return l
}

// recovered makes an error of what a thread panicked with. What is no error
// of Lua's is the interpreter's own failure, or, inside a built-in, nixmox's,
// which nobody may swallow.
func (s *strand) recovered(r any) error {
	if s.working {
		panic(r)
	}
	x, ok := r.(*raised)
	if !ok {
		x = &raised{&thrown{lua.LString("the interpreter"), addresses.ReplaceAllString(fmt.Sprintf("the interpreter cannot do that: %v", r), "$1")}, s.stack()}
	}
	how := &language.Raised{Stack: x.stack}
	if t, ok := errors.AsType[*thrown](x.err); ok {
		if _, isFault := errors.AsType[*builtin.Fault](x.err); !isFault {
			how.Own = withoutPosition(t.text, x.stack)
		}
	}
	return s.Outcome(x.err, how)
}

// withoutPosition is a message of Lua without the line before it, which the
// stack has, too.
func withoutPosition(text string, stack []builtin.Position) string {
	for _, at := range stack {
		if rest, ok := strings.CutPrefix(text, at.String()+": "); ok {
			return rest
		}
	}
	return text
}

// stack is where the strand is, in the playbook's own lines, outermost first.
func (s *strand) stack() []builtin.Position {
	var out []builtin.Position
	for _, l := range s.threads {
		out = append(out, stackOf(l)...)
	}
	return out
}

func stackOf(l *lua.LState) []builtin.Position {
	var out []builtin.Position
	for level := 0; ; level++ {
		at, isOutermost, ok := lineAt(l, level)
		if !ok {
			break
		}
		if at.Line > 0 && (!isOutermost || len(out) == 0 || out[len(out)-1] != at) {
			out = append(out, at)
		}
	}
	slices.Reverse(out)
	return out
}

// lineAt is the line that a frame of the thread is at; that of a built-in has none.
func lineAt(l *lua.LState, level int) (at builtin.Position, isOutermost, ok bool) {
	frame, ok := l.GetStack(level)
	if !ok {
		return at, false, false
	}
	if _, err := l.GetInfo("Sl", frame, lua.LNil); err != nil || frame.CurrentLine <= 0 {
		return at, false, true
	}
	return builtin.Position{File: frame.Source, Line: frame.CurrentLine}, frame.What == "main", true
}

// caller is the line of the playbook that calls the function on top of the
// stack; nowhere if none does: parallel and defer may be handed a built-in.
func caller(l *lua.LState) builtin.Position {
	s := strandOf(l)
	for i := len(s.threads) - 1; i >= 0; i-- {
		for level := 1; ; level++ { // 0 is the built-in itself
			at, _, ok := lineAt(s.threads[i], level)
			if !ok {
				break
			}
			if at.Line > 0 {
				return at
			}
		}
	}
	return builtin.Position{}
}

// callback is a function of the playbook in the hands of a built-in.
type callback struct {
	strand *strand
	fn     *lua.LFunction
}

// Call runs the function on the strand that called the built-in.
func (c *callback) Call(ctx context.Context, args ...builtin.Value) (builtin.Value, error) {
	s := c.strand
	s.baton.Lock()
	defer s.baton.Unlock()
	before := s.ctx
	s.ctx = ctx
	defer func() { s.ctx = before }()
	return first(s.protect(c.fn, values(args)...))
}

// Fork readies the function to run on a strand of its own. Function and
// arguments are frozen here, on the strand that still owns them.
func (c *callback) Fork(branch *builtin.Branch, args ...builtin.Value) func(context.Context) (builtin.Value, error) {
	c.strand.baton.Lock()
	defer c.strand.baton.Unlock()
	list := values(args)
	err := freeze(append([]lua.LValue{c.fn}, list...)...)
	m := c.strand.machine
	return func(ctx context.Context) (builtin.Value, error) {
		if err != nil {
			return nil, err
		}
		m.baton.Lock()
		defer m.baton.Unlock()
		v, err := first(m.strand(ctx, branch).protect(c.fn, list...))
		if err != nil {
			return nil, err
		}
		return v, freeze(v.(lua.LValue))
	}
}

// True is the value's truth in Lua: all but nil and false.
func (c *callback) True(v builtin.Value) bool {
	x, ok := v.(lua.LValue)
	return ok && lua.LVAsBool(x)
}

func (c *callback) String() string { return "function" }

func first(results []lua.LValue, err error) (builtin.Value, error) {
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return lua.LNil, nil
	}
	return results[0], nil
}

func values(args []builtin.Value) []lua.LValue {
	list := make([]lua.LValue, len(args))
	for i, a := range args {
		list[i] = value(a)
	}
	return list
}
