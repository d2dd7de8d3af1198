package starvm

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"strings"
	"sync/atomic"

	"go.starlark.net/starlark"

	"nixmox/engine/builtin"
)

// Limits bound what one playbook may use.
type Limits struct {
	Steps  uint64 // of the language, all branches together; 0 for no limit
	Memory uint64 // bytes of the process's heap; 0 for no limit
}

// chunk is how many steps a thread takes between two looks at the budget.
// Looking is cheap against it; a step is about 2 ns.
const chunk = 1 << 14

// machine is what the threads of one evaluation share.
type machine struct {
	ctx    context.Context
	run    *builtin.Run // nil while loading
	limits Limits
	steps  atomic.Uint64
	stop   atomic.Pointer[builtin.Stop]
}

func newMachine(ctx context.Context, run *builtin.Run, limits Limits) *machine {
	return &machine{ctx: ctx, run: run, limits: limits}
}

// strand is a thread of the playbook: its branch of the call tree, and the
// context in which its calls are made. It is the only thread local.
type strand struct {
	*machine
	ctx    context.Context
	thread *starlark.Thread
}

const strandKey = "nixmox"

func (m *machine) thread(name string, branch *builtin.Branch) *starlark.Thread {
	t := &starlark.Thread{Name: name}
	s := &strand{machine: m, ctx: builtin.WithBranch(m.ctx, branch), thread: t}
	t.SetLocal(strandKey, s)
	t.Print = func(t *starlark.Thread, text string) { s.print(t, text) }
	t.SetMaxExecutionSteps(chunk)
	t.OnMaxSteps = s.account
	return t
}

// account runs each time a thread has used up a chunk of steps: it takes the
// chunk from the shared budget and looks at memory and context.
func (s *strand) account(t *starlark.Thread) {
	used := s.steps.Add(chunk)
	if err := s.ctx.Err(); err != nil {
		t.Cancel(err.Error())
		return
	}
	switch {
	case s.limits.Steps > 0 && used > s.limits.Steps:
		s.exceed(t, "the playbook took more than %d steps", s.limits.Steps)
	case s.limits.Memory > 0 && heap() > s.limits.Memory:
		s.exceed(t, "the playbook uses more than %d MiB of memory", s.limits.Memory>>20)
	default:
		t.SetMaxExecutionSteps(t.ExecutionSteps() + chunk)
	}
}

func (s *strand) exceed(t *starlark.Thread, format string, limit uint64) {
	stop := builtin.Stopf(builtin.Limit, format, limit)
	stop.Hint = "is there a loop that grows without end?"
	if t.CallStackDepth() > 0 {
		stop.At = position(t.CallFrame(0).Pos)
	}
	s.stop.CompareAndSwap(nil, stop)
	t.Cancel(stop.What)
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func (s *strand) print(t *starlark.Thread, text string) {
	if s.run != nil && s.run.Log != nil {
		s.run.Log(builtin.Call{At: caller(t), Run: s.run}, "info", text)
	}
}

// outcome turns the error of an evaluation into what the engine knows: the
// stop condition that ended it, or a fault with its place in the playbook.
func (m *machine) outcome(err error) error {
	if stop := m.stop.Load(); stop != nil {
		return stop
	}
	if err == nil {
		return nil
	}
	eval, isEval := errors.AsType[*starlark.EvalError](err)
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		if stop.At.File == "" && isEval {
			placed := *stop
			placed.At = lastOf(positions(eval.CallStack))
			return &placed
		}
		return stop
	}
	if cause := m.ctx.Err(); cause != nil {
		return context.Cause(m.ctx)
	}
	f := builtin.AsFault(err)
	if f == nil {
		return err
	}
	if isEval && f.Cause != nil && errors.Is(f.Cause, err) {
		f.What = eval.Msg // an error of the language itself
		if m.run != nil && m.run.Planned != nil && strings.Contains(eval.Msg, opaqueType) {
			return &builtin.Stop{Kind: builtin.PlanEnds, What: "a value that only the run will know is needed: " + eval.Msg, At: lastOf(positions(eval.CallStack))}
		}
	}
	if isEval && f.Stack == nil {
		f.Stack = positions(eval.CallStack)
	}
	return f
}

// positions are the playbook's own lines in a call stack, outermost first.
func positions(stack starlark.CallStack) []builtin.Position {
	var out []builtin.Position
	for _, frame := range stack {
		if frame.Pos.Line > 0 {
			out = append(out, position(frame.Pos))
		}
	}
	return out
}

func lastOf(p []builtin.Position) builtin.Position {
	if len(p) == 0 {
		return builtin.Position{}
	}
	return p[len(p)-1]
}

// callback is a function of the playbook in the hands of a built-in.
type callback struct {
	strand *strand
	fn     starlark.Callable
}

// Call runs the function on the thread that called the built-in.
func (c *callback) Call(ctx context.Context, args ...builtin.Value) (builtin.Value, error) {
	tuple, err := c.strand.tuple(args)
	if err != nil {
		return nil, err
	}
	before := c.strand.ctx
	c.strand.ctx = ctx
	defer func() { c.strand.ctx = before }()
	v, err := starlark.Call(c.strand.thread, c.fn, tuple, nil)
	if err != nil {
		return nil, c.strand.outcome(err)
	}
	return v, nil
}

// Fork readies the function to run on a thread of its own. Function and
// arguments are frozen here, on the thread that still owns them.
func (c *callback) Fork(branch *builtin.Branch, args ...builtin.Value) func(context.Context) (builtin.Value, error) {
	tuple, err := c.strand.tuple(args)
	c.fn.Freeze()
	tuple.Freeze()
	return func(ctx context.Context) (builtin.Value, error) {
		if err != nil {
			return nil, err
		}
		t := c.strand.machine.thread(c.fn.Name(), branch)
		t.Local(strandKey).(*strand).ctx = builtin.WithBranch(ctx, branch)
		v, err := starlark.Call(t, c.fn, tuple, nil)
		if err != nil {
			return nil, c.strand.outcome(err)
		}
		v.Freeze()
		return v, nil
	}
}

// True is the value's truth in Starlark.
func (c *callback) True(v builtin.Value) bool {
	x, ok := v.(starlark.Value)
	return ok && bool(x.Truth())
}

func (c *callback) String() string { return fmt.Sprintf("function %s", c.fn.Name()) }

func (m *machine) tuple(args []builtin.Value) (starlark.Tuple, error) {
	tuple := make(starlark.Tuple, len(args))
	for i, a := range args {
		v, err := m.value(a)
		if err != nil {
			return nil, err
		}
		tuple[i] = v
	}
	return tuple, nil
}
