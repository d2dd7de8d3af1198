package language

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"sync/atomic"

	"nixmox/engine/builtin"
)

// Limits bound what one playbook may use.
type Limits struct {
	Steps  uint64 // of the language, all branches together; 0 for no limit
	Memory uint64 // bytes of the process's heap; 0 for no limit
}

// Chunk is how many steps a thread takes between two looks at the budget.
// Looking is cheap against it; a step takes some nanoseconds.
const Chunk = 1 << 14

// What one call may hand over. A list of a playbook may contain itself, or
// one list a thousand times over, or be a range of billions: none of that
// costs it steps or memory, all of it would be copied.
const (
	MaxItems = 1 << 20
	MaxDeep  = 64
)

// Machine is what the threads of one evaluation share.
type Machine struct {
	Ctx    context.Context
	Run    *builtin.Run // nil while loading
	Limits Limits

	steps atomic.Uint64
	stop  atomic.Pointer[builtin.Stop]
}

// Spend takes a chunk of steps from the shared budget and looks at memory and
// context. After an error the thread must not go on.
func (m *Machine) Spend(ctx context.Context, at func() builtin.Position) error {
	used := m.steps.Add(Chunk)
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case m.Limits.Steps > 0 && used > m.Limits.Steps:
		return m.exceed(at(), "the playbook took more than %d steps", m.Limits.Steps)
	case m.Limits.Memory > 0 && heap() > m.Limits.Memory:
		return m.exceed(at(), "the playbook uses more than %d MiB of memory", m.Limits.Memory>>20)
	}
	return nil
}

func (m *Machine) exceed(at builtin.Position, format string, limit uint64) error {
	stop := builtin.Stopf(builtin.Limit, format, limit)
	stop.Hint = "is there a loop that grows without end?"
	stop.At = at
	return m.Halt(stop)
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Halt leaves a stop condition, which every later call of a built-in meets,
// and returns the first that was left.
func (m *Machine) Halt(stop *builtin.Stop) *builtin.Stop {
	m.stop.CompareAndSwap(nil, stop)
	return m.stop.Load()
}

// Halted is the stop condition that was left, or nil.
func (m *Machine) Halted() *builtin.Stop { return m.stop.Load() }

// Resume takes back the end of a plan: what was deferred is planned all the same.
func (m *Machine) Resume(err error) {
	if stop, ok := errors.AsType[*builtin.Stop](err); ok && stop.Kind == builtin.PlanEnds {
		m.stop.Store(nil)
	}
}

var errNotWhileLoading = errors.New("may only be called from main: while a playbook loads, only pure functions answer")

// TakesPlace reports whether calls of a function stand in the run's call tree.
func TakesPlace(f *builtin.Func) bool {
	if f.Effect != builtin.Pure {
		return true
	}
	for i := range f.Args.Fields {
		if f.Args.Fields[i].Type.Kind == builtin.KindCallback {
			return true
		}
	}
	return false
}

// Callable is the error of a call that may not even be tried: while loading,
// or after what left a stop condition and could not fail itself.
func (m *Machine) Callable(f *builtin.Func, takesPlace bool) error {
	if m.Run == nil && takesPlace {
		return builtin.Faultf(builtin.Invalid, "%s", f.QualifiedName()).Because(errNotWhileLoading)
	}
	if stop := m.stop.Load(); stop != nil {
		return stop
	}
	return nil
}

// Call makes a call with bound arguments at the next place of the context's
// branch, and returns the result, a value of Go.
func (m *Machine) Call(ctx context.Context, f *builtin.Func, args any, at builtin.Position, takesPlace bool) (any, error) {
	branch := builtin.BranchFrom(ctx)
	var place builtin.Place
	if takesPlace {
		place = branch.Next()
	}
	if f.Effect != builtin.Pure {
		return m.Run.Perform(ctx, builtin.Call{Place: place, Func: f, Args: args, At: at, Run: m.Run, Branch: branch})
	}
	run := m.Run
	if run == nil {
		run = &builtin.Run{}
	}
	return f.Do(ctx, &builtin.Call{Place: place, Func: f, Args: args, At: at, Run: run, Branch: branch})
}

// Wanted is what an argument is called in errors, and the type that it wants;
// nil for one that there is not, which Bind will refuse.
type Wanted struct {
	Name string
	Type *builtin.Type
}

// ArgAt is the argument in a position.
func ArgAt(f *builtin.Func, i int) Wanted {
	if i >= len(f.Args.Fields) {
		return Wanted{Name: "argument"}
	}
	return wanted(&f.Args.Fields[i])
}

// wanted is a field's type; none where it takes the rest, which is plain data.
func wanted(field *builtin.Field) Wanted {
	if field.Rest && field.Type.Elem.Kind == builtin.KindValue {
		return Wanted{Name: field.Name}
	}
	return Wanted{field.Name, field.Type}
}

// ArgNamed is the argument of a name, perhaps one of the rest.
func ArgNamed(f *builtin.Func, name string) Wanted {
	w := Wanted{Name: name}
	for i := range f.Args.Fields {
		field := &f.Args.Fields[i]
		if field.Name == name {
			return wanted(field)
		}
		if field.Rest && field.Type.Elem.Kind != builtin.KindValue {
			w.Type = field.Type.Elem
		}
	}
	return w
}

// Elem is the type that the elements of a list or dict want; nil for any.
func Elem(t *builtin.Type) *builtin.Type {
	if t == nil {
		return nil
	}
	return t.Elem
}

// BadArg is the fault of a value that no built-in could take. A stop
// condition stays one.
func BadArg(f *builtin.Func, arg Wanted, err error) error {
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		return stop
	}
	return builtin.Faultf(builtin.Invalid, "%s", f.QualifiedName()).Saying(fmt.Sprintf("%s: %v", arg.Name, err)).
		Hinting("nixmox doc %s", f.QualifiedName())
}

// Print writes what the language's own print is given into the run's log.
func (m *Machine) Print(at builtin.Position, text string) {
	if m.Run != nil && m.Run.Log != nil {
		m.Run.Log(builtin.Call{At: at, Run: m.Run}, "info", text)
	}
}

// Raised is what a language knows of an error beyond Go's: where it arose,
// outermost call first, and, if it is the language's own, its words.
type Raised struct {
	Stack []builtin.Position
	Own   string
}

// Outcome turns the error of an evaluation into what the engine knows: the
// stop condition that ended it, or a fault with its place in the playbook.
func (m *Machine) Outcome(err error, raised *Raised) error {
	if stop := m.stop.Load(); stop != nil {
		return stop
	}
	if err == nil {
		return nil
	}
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		if stop.At.File == "" && raised != nil {
			placed := *stop
			placed.At = Last(raised.Stack)
			return &placed
		}
		return stop
	}
	if m.Ctx.Err() != nil {
		return context.Cause(m.Ctx)
	}
	f := builtin.AsFault(err)
	if f == nil {
		return err
	}
	if raised != nil {
		if raised.Own != "" {
			f.What = raised.Own
		}
		if f.Stack == nil {
			f.Stack = raised.Stack
		}
	}
	return f
}

// Last is the innermost line of a stack, nowhere if it has none.
func Last(stack []builtin.Position) builtin.Position {
	if len(stack) == 0 {
		return builtin.Position{}
	}
	return stack[len(stack)-1]
}
