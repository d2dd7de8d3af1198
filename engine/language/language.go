// Package language is what the languages of playbooks have in common: what a
// loaded playbook is, how a call is made, what one playbook may use, and how
// its errors come back. It must know no language; each of them is a package
// beside it that gives the engine a Playbook.
package language

import (
	"context"
	"encoding/json"
	"errors"

	"nixmox/engine/builtin"
	"nixmox/engine/policy"
	"nixmox/engine/source"
)

// Definitions are what the playbooks of a language can call, and may use.
type Definitions struct {
	Modules []builtin.Module
	AtHand  []builtin.Func // always at hand, without a module
	Limits  Limits
}

// Playbook is a loaded playbook: its top level has run, its globals are
// frozen, its main waits.
type Playbook struct {
	Doc    string // its help
	Needs  []policy.Need
	Params []builtin.Param
	Graph  *source.Graph
	// Main runs main with the parameters, neutral values by name. The error is
	// a *builtin.Fault or a *builtin.Stop.
	Main func(ctx context.Context, run *builtin.Run, values map[string]any) error
	// Exposed is what the kernel could not give to lock the evaluator down.
	Exposed []string
	// Close ends what evaluates the playbook; nil where nothing has to be ended.
	Close func() error
	// Uses finds every MODULE.FUNCTION in the text of the playbook's files, and
	// every call of what is always at hand.
	Uses func() []Used
}

// Used is a use of a built-in in the text of a playbook: data, which an
// evaluator tells its parent as JSON.
type Used struct {
	Module string `json:"module,omitempty"` // "" for what is always at hand
	// Name is the function's; "" where the module itself is handed on, and
	// nobody can tell which of its functions are called.
	Name string           `json:"name,omitempty"`
	At   builtin.Position `json:"at"`
	// Called is false where the function is only named. It is false, too,
	// where the text of the call does not tell what becomes which argument.
	Called bool      `json:"called,omitempty"`
	Args   []UsedArg `json:"args,omitempty"` // those by position first
	// More arguments come that the text does not show, such as *args.
	More bool `json:"more,omitempty"`
}

// UsedArg is an argument in the text of a call.
type UsedArg struct {
	Name string           `json:"name,omitempty"` // "" for one by position
	At   builtin.Position `json:"at"`
	// Literal is the neutral value of a literal, as JSON; nil for anything else.
	Literal json.RawMessage `json:"literal,omitempty"`
}

// ArgOf is an argument whose value is known if it is a literal.
func ArgOf(name string, at builtin.Position, value any, known bool) UsedArg {
	arg := UsedArg{Name: name, At: at}
	if known {
		if text, err := builtin.MarshalNeutral(value); err == nil { // infinity has no JSON
			arg.Literal = text
		}
	}
	return arg
}

// Tests is a loaded file of tests: its top level has run, its globals are
// frozen, so its tests may run side by side.
type Tests struct {
	Graph *source.Graph
	List  []Test // in the order of the file
}

// Test is one function test_* of a file.
type Test struct {
	Name string
	At   builtin.Position
	// Call runs it. The error is a *builtin.Fault or a *builtin.Stop.
	Call func(ctx context.Context, run *builtin.Run) error
}

// Value is a value of a language in the hands of a built-in that takes any,
// such as an assertion: it can be looked at without knowing the language.
type Value interface {
	// Equal is equality by what is in the values, and fails where the language
	// cannot compare the two.
	Equal(other builtin.Value) (bool, error)
	// Has reports whether a text has a part, a list an item, a dict a key.
	Has(part builtin.Value) (bool, error)
	// True is what a condition takes the value for.
	True() bool
	// Show writes the value as the language does, and as lines where it has
	// several: those of a text, the items of a list, the entries of a dict.
	Show() (text string, lines []string)
	// Neutral is the value's neutral form.
	Neutral() (any, error)
}

// NoMain is the problem of a playbook without a main.
func NoMain(graph *source.Graph) *source.Problem {
	return &source.Problem{At: builtin.Position{File: graph.Main.Shown}, What: "there is no main",
		Hint: "a playbook has a function main; its parameters are the playbook's flags"}
}

// NoTest is the problem of a file of tests without one.
func NoTest(graph *source.Graph) *source.Problem {
	return &source.Problem{At: builtin.Position{File: graph.Main.Shown}, What: "there is no test",
		Hint: "a test is a function without parameters whose name begins with test_"}
}

// NeedsInTests is the problem of a file of tests that declares needs.
func NeedsInTests(at builtin.Position) *source.Problem {
	return &source.Problem{At: at, What: "a file of tests declares no needs", Hint: "the playbook that it runs has them"}
}

// LoadProblem makes a Problem of what went wrong at the top level of a file.
func LoadProblem(err error) error {
	if f, ok := errors.AsType[*builtin.Fault](err); ok {
		p := &source.Problem{What: f.Error(), Hint: f.Hint}
		if n := len(f.Stack); n > 0 {
			p.At = f.Stack[n-1]
		}
		return p
	}
	if s, ok := errors.AsType[*builtin.Stop](err); ok {
		return &source.Problem{At: s.At, What: s.What, Hint: s.Hint}
	}
	return err
}
