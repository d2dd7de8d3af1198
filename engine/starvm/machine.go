package starvm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
)

// machine is what the threads of one evaluation share.
type machine struct{ language.Machine }

func newMachine(ctx context.Context, run *builtin.Run, limits language.Limits) *machine {
	return &machine{language.Machine{Ctx: ctx, Run: run, Limits: limits}}
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
	s := &strand{machine: m, ctx: builtin.WithBranch(m.Ctx, branch), thread: t}
	t.SetLocal(strandKey, s)
	t.Print = func(t *starlark.Thread, text string) { s.Print(caller(t), text) }
	t.SetMaxExecutionSteps(language.Chunk)
	t.OnMaxSteps = s.account
	return t
}

// account runs each time a thread has used up a chunk of steps.
func (s *strand) account(t *starlark.Thread) {
	err := s.Spend(s.ctx, func() builtin.Position {
		if t.CallStackDepth() == 0 {
			return builtin.Position{}
		}
		return position(t.CallFrame(0).Pos)
	})
	if err != nil {
		t.Cancel(err.Error())
		return
	}
	t.SetMaxExecutionSteps(t.ExecutionSteps() + language.Chunk)
}

// outcome turns the error of an evaluation into what the engine knows.
func (m *machine) outcome(err error) error {
	eval, isEval := errors.AsType[*starlark.EvalError](err)
	if !isEval {
		return m.Outcome(err, nil)
	}
	raised := &language.Raised{Stack: positions(eval.CallStack)}
	f, isFault := errors.AsType[*builtin.Fault](err)
	_, isStop := errors.AsType[*builtin.Stop](err)
	if !isStop && (!isFault || f == nil) {
		raised.Own = eval.Msg
		if m.Run != nil && m.Run.Planned != nil && strings.Contains(eval.Msg, opaqueType) && m.Halted() == nil && m.Ctx.Err() == nil {
			return &builtin.Stop{Kind: builtin.PlanEnds, What: "a value that only the run will know is needed: " + eval.Msg, At: language.Last(raised.Stack)}
		}
	}
	return m.Outcome(err, raised)
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
