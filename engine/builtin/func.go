package builtin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"
)

// Func is the definition of a built-in.
type Func struct {
	Module   string // "" for what is always at hand
	Name     string
	Doc      string // its first sentence is the summary
	Effect   Effect
	Args     *Type // a record
	Result   *Type
	Decision *Type  // of irreversible functions
	NoSettle string // why a change in doubt cannot be settled; "" if it can
	Reference

	do      func(ctx context.Context, args, decision any) (any, error)
	decide  func(ctx context.Context, args any) (any, error)
	preview func(ctx context.Context, args, decision any) (any, error)
	settle  func(ctx context.Context, args any, handle string) (Settlement[any], error)
	keys    func(args any) []string
	scopes  []*Field // of one sort
	deep    *Field
	empty   *sync.Pool // of pointers to argument structs, each for one Bind
}

// Reference is what the manual says of a built-in beyond its definition.
type Reference struct {
	Example string // Starlark, the body of a main; a test runs it against the lab
	Source  string // the manual page, API path or source file it follows
	Errors  []Kind // the kinds of Fault it returns
	// Privileges are what the host must allow for a call; doctor compares
	// them with what the token has.
	Privileges []Privilege
}

// Privilege is one thing that the host must allow, in the host's own words.
type Privilege struct {
	Name string `json:"name"` // such as VM.Backup; several with | where one of them is enough
	Path string `json:"path"` // on what; {guest} stands for the value of the argument guest
}

func (p Privilege) String() string { return p.Name + " on " + p.Path }

// With adds to what the manual says.
func (f Func) With(r Reference) Func { f.Reference = r; return f }

// QualifiedName is MODULE.FUNCTION, or the bare name of what is at hand.
func (f *Func) QualifiedName() string {
	if f.Module == "" {
		return f.Name
	}
	return f.Module + "." + f.Name
}

// Op is what a change does, and what planning, locking and resuming it needs.
type Op[A, R any] struct {
	// Preview returns what Do would return. It reads only, and uses the
	// tool's own dry run where there is one.
	Preview func(context.Context, A) (R, error)
	// Do makes the change and reads back that it is there.
	Do func(context.Context, A) (R, error)
	// Settle finds out, after a crash, what became of the change. handle is
	// what Do made durable, or "".
	Settle func(ctx context.Context, args A, handle string) (Settlement[R], error)
	// NoSettle says why that is impossible, in place of Settle.
	NoSettle string
	// Keys are what the change locks, such as "guest:100".
	Keys func(A) []string
}

// IrreversibleOp is an Op whose victims are decided, by identity, before the
// intent is written. Do gets the decision, reads the world again and answers
// with a conflict where the two differ.
type IrreversibleOp[A, D, R any] struct {
	Decide   func(context.Context, A) (D, error)
	Preview  func(context.Context, A, D) (R, error)
	Do       func(context.Context, A, D) (R, error)
	Settle   func(ctx context.Context, args A, handle string) (Settlement[R], error)
	NoSettle string
	Keys     func(A) []string
}

// SettleState is what became of a change in doubt.
type SettleState int

// The four answers of Settle.
const (
	Unknown SettleState = iota // nobody can tell; Why says what is known
	Done                       // it was made (Result), or it failed (Fault)
	NotDone                    // it never began
	Running                    // it goes on, under Handle
)

// Settlement is the answer of Settle.
type Settlement[R any] struct {
	State  SettleState
	Result R
	Fault  *Fault
	Handle string
	Why    string
}

// NewPure defines a function that computes.
func NewPure[A, R any](name, doc string, do func(context.Context, A) (R, error)) Func {
	return define(name, doc, Pure, do)
}

// NewRead defines a function that looks and alters nothing.
func NewRead[A, R any](name, doc string, do func(context.Context, A) (R, error)) Func {
	return define(name, doc, Read, do)
}

// NewChange defines a function that alters the world.
func NewChange[A, R any](name, doc string, op Op[A, R]) Func {
	f := define(name, doc, Change, op.Do)
	mustHave(name, op.Do != nil, op.Preview != nil, op.Settle != nil, op.NoSettle, op.Keys != nil)
	f.preview = func(ctx context.Context, args, _ any) (any, error) { return op.Preview(ctx, args.(A)) }
	f.keys = func(args any) []string { return op.Keys(args.(A)) }
	f.NoSettle, f.settle = op.NoSettle, eraseSettle(op.Settle)
	return f
}

// NewIrreversible defines a function that destroys.
func NewIrreversible[A, D, R any](name, doc string, op IrreversibleOp[A, D, R]) Func {
	f := define(name, doc, Irreversible, func(context.Context, A) (R, error) { panic("unreachable") })
	mustHave(name, op.Do != nil, op.Preview != nil && op.Decide != nil, op.Settle != nil, op.NoSettle, op.Keys != nil)
	f.Decision = TypeOf(reflect.TypeFor[D]())
	f.decide = func(ctx context.Context, args any) (any, error) { return op.Decide(ctx, args.(A)) }
	f.preview = func(ctx context.Context, args, d any) (any, error) { return op.Preview(ctx, args.(A), d.(D)) }
	f.do = func(ctx context.Context, args, d any) (any, error) { return op.Do(ctx, args.(A), d.(D)) }
	f.keys = func(args any) []string { return op.Keys(args.(A)) }
	f.NoSettle, f.settle = op.NoSettle, eraseSettle(op.Settle)
	return f
}

func define[A, R any](name, doc string, effect Effect, do func(context.Context, A) (R, error)) Func {
	f := Func{Name: name, Doc: doc, Effect: effect, Args: TypeOf(reflect.TypeFor[A]()), Result: TypeOf(reflect.TypeFor[R]())}
	if f.Args.Kind != KindRecord {
		panic("builtin: the arguments of " + name + " are no struct")
	}
	for i := range f.Args.Fields {
		if f.Args.Fields[i].Deep {
			f.deep = &f.Args.Fields[i]
		}
		if f.Args.Fields[i].Scope == "" {
			continue
		}
		f.Args.Fields[i].mustScope(name)
		// One glob in a need can name things of one sort only.
		if len(f.scopes) > 0 && f.scopes[0].Scope != f.Args.Fields[i].Scope {
			panic("builtin: " + name + " has two arguments tagged scope, of different sorts")
		}
		f.scopes = append(f.scopes, &f.Args.Fields[i])
	}
	f.do = func(ctx context.Context, args, _ any) (any, error) { return do(ctx, args.(A)) }
	f.empty = &sync.Pool{New: func() any { return new(A) }}
	return f
}

func mustHave(name string, do, preview, settle bool, noSettle string, keys bool) {
	if !do || !preview || !keys || settle == (noSettle != "") {
		panic("builtin: " + name + " needs Do, Preview, Keys, and either Settle or NoSettle; Decide if it is irreversible")
	}
}

func eraseSettle[A, R any](settle func(context.Context, A, string) (Settlement[R], error)) func(context.Context, any, string) (Settlement[any], error) {
	if settle == nil {
		return nil
	}
	return func(ctx context.Context, args any, handle string) (Settlement[any], error) {
		s, err := settle(ctx, args.(A), handle)
		return Settlement[any]{State: s.State, Result: s.Result, Fault: s.Fault, Handle: s.Handle, Why: s.Why}, err
	}
}

// Named is an argument given by its name.
type Named struct {
	Name  string
	Value any
}

// Few is how many arguments nearly all functions have at most.
const Few = 8

// argument is what a call gave, or did not give, for one field.
type argument struct {
	value any
	given bool
}

// Bind makes the typed arguments of a call from neutral values: positional
// ones in the definition's order, then named ones, then defaults.
func (f *Func) Bind(positional []any, named []Named) (any, error) {
	fields := f.Args.Fields
	if len(positional) > len(fields) {
		return nil, f.badArgs(fmt.Sprintf("takes %d arguments, got %d", len(fields), len(positional)))
	}
	var few [Few]argument // on the stack, as those of nearly all calls are
	values := few[:]
	if len(fields) > Few {
		values = make([]argument, len(fields))
	}
	for i, v := range positional {
		values[i] = argument{v, true}
	}
	var rest map[string]any
	for _, n := range named {
		i := f.Args.fieldIndex(n.Name)
		switch {
		case i < 0 && f.Args.restIndex() >= 0:
			if rest == nil {
				rest = map[string]any{}
			}
			rest[n.Name] = n.Value
			continue
		case i < 0:
			return nil, f.badArgs(fmt.Sprintf("has no argument %q", n.Name))
		case values[i].given:
			return nil, f.badArgs(fmt.Sprintf("got %s twice", n.Name))
		}
		values[i] = argument{n.Value, true}
	}
	if i := f.Args.restIndex(); len(rest) > 0 {
		dict, isDict := values[i].value.(map[string]any)
		if !isDict && values[i].given {
			return nil, f.badArgs(fmt.Sprintf("%s: want a dict, got %s", fields[i].Name, NeutralName(values[i].value)))
		}
		maps.Copy(rest, dict)
		values[i] = argument{rest, true}
	}
	fill := f.empty.Get()
	args := reflect.ValueOf(fill).Elem()
	defer func() { args.SetZero(); f.empty.Put(fill) }() // the call gets a copy
	for i := range fields {
		if err := fields[i].set(args, values[i].value, values[i].given); err != nil {
			if stop, ok := errors.AsType[*Stop](err); ok {
				return nil, stop
			}
			return nil, f.badArgs(err.Error())
		}
	}
	return args.Interface(), nil
}

func (f *Func) badArgs(said string) *Fault {
	return Faultf(Invalid, "%s", f.QualifiedName()).Saying(said).Hinting("nixmox doc %s", f.QualifiedName())
}

// mustScope holds that a glob can match the argument: text, a number, or a
// list of these.
func (f *Field) mustScope(name string) {
	t := f.Type
	if t.Kind == KindList {
		t = t.Elem
	}
	if t.Kind != KindString && t.Kind != KindInt {
		panic("builtin: " + name + ": no glob can match " + f.Name + ", a " + f.Type.Name)
	}
}

func (t *Type) fieldIndex(name string) int {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// restIndex is the field that takes the named arguments which no field has.
func (t *Type) restIndex() int {
	for i := range t.Fields {
		if t.Fields[i].Rest {
			return i
		}
	}
	return -1
}

// Do performs the function: the last of the performer chain.
func (f *Func) Do(ctx context.Context, call *Call) (any, error) {
	return f.do(WithCall(ctx, call), call.Args, call.Decision)
}

// Preview returns what Do would return.
func (f *Func) Preview(ctx context.Context, call *Call) (any, error) {
	return f.preview(WithCall(ctx, call), call.Args, call.Decision)
}

// Decide resolves what exactly an irreversible function will destroy.
func (f *Func) Decide(ctx context.Context, call *Call) (any, error) {
	return f.decide(WithCall(ctx, call), call.Args)
}

// Settle finds out what became of a change in doubt. What cannot be settled
// by its nature is unknown.
func (f *Func) Settle(ctx context.Context, call *Call, handle string) (Settlement[any], error) {
	if f.settle == nil {
		return Settlement[any]{State: Unknown, Why: f.NoSettle}, nil
	}
	return f.settle(WithCall(ctx, call), call.Args, handle)
}

// Keys are what the change locks.
func (f *Func) Keys(args any) []string {
	if f.keys == nil {
		return nil
	}
	return f.keys(args)
}

// Scope is what of the world a call names: the sort (guest, storage …) and
// the values. ok is false where the function has no such argument. A call
// that names none of a sort it could name, names all. One that reaches what is
// below, too (recursive), names NAME/**.
func (f *Func) Scope(args any) (sort string, values []string, ok bool) {
	for _, field := range f.scopes {
		v := reflect.ValueOf(args).FieldByIndex(field.index)
		if v.Kind() == reflect.Slice {
			for i := range v.Len() {
				values = append(values, scopeText(v.Index(i)))
			}
		} else if text := scopeText(v); text != "" {
			values = append(values, text)
		}
	}
	if f.deep != nil && reflect.ValueOf(args).FieldByIndex(f.deep.index).Bool() {
		for i := range values {
			values[i] += "/**"
		}
	}
	_, sort, ok = f.ScopeOf()
	return sort, values, ok
}

// ScopeToCome is the planned call that will make what this call names, "" if
// that is known.
func (f *Func) ScopeToCome(args any) Place {
	for _, field := range f.scopes {
		if !field.Type.Later {
			continue
		}
		if from := reflect.ValueOf(args).FieldByIndex(field.index).FieldByName("From").String(); from != "" {
			return Place(from)
		}
	}
	return ""
}

// ScopeOf is the first argument that needs match on, its sort, and whether
// there is one.
func (f *Func) ScopeOf() (argument, sort string, ok bool) {
	if len(f.scopes) == 0 {
		return "", "", false
	}
	return f.scopes[0].Name, f.scopes[0].Scope, true
}

// scopeText is "" for the zero value: it names nothing in particular.
func scopeText(v reflect.Value) string {
	if v.Kind() == reflect.Struct { // Later
		v = v.FieldByName("Value")
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.IsZero() {
		return ""
	}
	if s, ok := v.Interface().(interface{ ScopeText() string }); ok {
		return s.ScopeText()
	}
	return fmt.Sprint(v.Interface())
}
