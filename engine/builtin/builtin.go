// Package builtin is the contract between the languages, the engine and the
// modules: what a built-in function is, what one call of it is, how it is
// performed and how it fails.
//
// A built-in is written once, as data (name, doc, effect, argument and result
// structs) beside what it does. Bindings, flags, help, manual, schema and
// journal are made from that one definition. The package must know no module,
// no language and no engine, and imports the standard library only.
package builtin

// Effect is the class of a built-in: what performing it may do to the world.
type Effect int

const (
	// Pure functions compute; they answer while a playbook loads, too.
	Pure Effect = iota
	// Read functions look at the world and leave it as it is.
	Read
	// Change functions alter the world in a way that can be undone or made again.
	Change
	// Irreversible functions destroy; what exactly goes is decided beforehand.
	Irreversible
)

var effectNames = [...]string{"pure", "read", "change", "irreversible"}

func (e Effect) String() string { return effectNames[e] }

// MarshalText writes the effect's name, as in the reference and the journal.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// Alters reports whether performing may change the world.
func (e Effect) Alters() bool { return e >= Change }

// Module is a named group of built-ins that playbooks call as NAME.FUNCTION.
type Module struct {
	Name  string
	Doc   string
	Funcs []Func
}

// NewModule makes a module of its functions, which learn its name. It panics
// on a name that stands twice, or that means something else in needs, which
// the first test of the module finds.
func NewModule(name, doc string, funcs ...Func) Module {
	seen := map[string]bool{}
	for i := range funcs {
		funcs[i].Module = name
		if funcs[i].Name == "read" || funcs[i].Name == "change" {
			panic("builtin: " + funcs[i].QualifiedName() + ": in needs that word means the effect")
		}
		if seen[funcs[i].Name] {
			panic("builtin: " + funcs[i].QualifiedName() + " is defined twice")
		}
		seen[funcs[i].Name] = true
	}
	return Module{Name: name, Doc: doc, Funcs: funcs}
}

// Func finds a built-in of the module by its name.
func (m Module) Func(name string) (*Func, bool) {
	for i := range m.Funcs {
		if m.Funcs[i].Name == name {
			return &m.Funcs[i], true
		}
	}
	return nil, false
}
