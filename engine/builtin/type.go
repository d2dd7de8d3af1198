package builtin

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// TypeKind is the shape of a value that crosses between a language and Go.
type TypeKind int

// Between the two, values are neutral: nil, bool, int64, *big.Int (what
// int64 cannot hold), float64, string, time.Time, time.Duration, Secret,
// Opaque, []any, map[string]any, *Record, Callback, and, where the type is
// KindValue, whatever the language has.
const (
	KindBool TypeKind = iota
	KindInt
	KindFloat
	KindString
	KindTime
	KindDuration
	KindSecret
	KindList
	KindMap // keys are strings
	KindRecord
	KindValue
	KindCallback
)

var kindNames = [...]string{"bool", "int", "float", "string", "time", "duration", "secret", "list", "dict", "record", "any value", "function"}

// Type is what the definition of a built-in knows of a Go type: made once by
// reflection, used for every call.
type Type struct {
	Kind   TypeKind
	Name   string // for people: "guest id", "list of guest id"
	Doc    string // the grammar of a named type
	Elem   *Type  // of a list or a dict
	Fields []Field
	// Pattern is a regular expression of a named type's text, or "".
	Pattern string
	// Later types may be opaque in a plan.
	Later bool

	goType   reflect.Type
	names    []string // of the fields
	text     bool     // parsed by encoding.TextUnmarshaler
	optional bool     // a pointer: None is nil
}

// Field is one argument of a built-in, or one field of a record.
type Field struct {
	Name       string
	Doc        string
	Type       *Type
	Enum       []string
	HasDefault bool
	Default    string // as the definition's tag has it
	Scope      string // what of the world it names: guest, storage, node …; needs match on it
	Volatile   bool   // not compared between plan and run: times, rates, sizes in use
	// VolatilePlanned fields are not compared in the record of a thing that is
	// only planned, one that has an opaque field.
	VolatilePlanned bool
	Deep            bool // where it is true, what the scope names stands for all below it, too
	Rest            bool // a dict that also takes the named arguments that no other field has

	index []int
	given any // the default, neutral
}

// Record is a neutral value with named fields in a fixed order.
type Record struct {
	Type   *Type
	Values []any
}

// Get is the value of a field.
func (r *Record) Get(name string) (any, bool) {
	for i := range r.Type.Fields {
		if r.Type.Fields[i].Name == name {
			return r.Values[i], true
		}
	}
	return nil, false
}

// describer is implemented by named types: a name and the grammar of its text.
type describer interface{ Describe() (name, doc string) }

// patterned is implemented by named types whose text has a regular grammar.
type patterned interface{ Pattern() string }

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	callbackType    = reflect.TypeFor[Callback]()
	anyType         = reflect.TypeFor[any]()
	timeType        = reflect.TypeFor[time.Time]()
	durationType    = reflect.TypeFor[Duration]()
	secretType      = reflect.TypeFor[Secret]()
	laterType       = reflect.TypeFor[later]()
)

// TypeOf describes a Go type. It panics on what no language could pass, which
// the first test of a module finds.
func TypeOf(t reflect.Type) *Type {
	out := &Type{goType: t}
	switch {
	case t == callbackType:
		out.Kind = KindCallback
	case t == anyType:
		out.Kind = KindValue
	case t == timeType:
		out.Kind = KindTime
	case t == durationType:
		out.Kind, out.text = KindDuration, true
	case t == secretType:
		out.Kind = KindSecret
	case reflect.PointerTo(t).Implements(laterType):
		inner, _ := t.FieldByName("Value") // Later is the only one there is
		out = TypeOf(inner.Type)
		out.goType, out.Later = t, true
		return out
	default:
		out.shape(t)
	}
	if out.Name == "" {
		out.Name = kindNames[out.Kind]
	}
	if t.Kind() == reflect.Pointer {
		return out // its element has described itself, a nil pointer cannot
	}
	if d, ok := reflect.Zero(t).Interface().(describer); ok {
		out.Name, out.Doc = d.Describe()
	}
	if p, ok := reflect.Zero(t).Interface().(patterned); ok {
		out.Pattern = p.Pattern()
	}
	return out
}

// Text reports whether values are given as text of a grammar of their own
// (Doc, perhaps Pattern), whatever their Kind.
func (t *Type) Text() bool { return t.text }

// Names are those of the fields. They are the type's own: nobody may change them.
func (t *Type) Names() []string { return t.names }

// Optional reports whether None is a value of the type.
func (t *Type) Optional() bool { return t.optional }

// Same reports whether two descriptions are of one Go type. Each function has
// descriptions of its own.
func (t *Type) Same(o *Type) bool { return t.goType == o.goType }

func (t *Type) shape(g reflect.Type) {
	t.text = reflect.PointerTo(g).Implements(textUnmarshaler)
	switch g.Kind() {
	case reflect.Bool:
		t.Kind = KindBool
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint64, reflect.Uint32, reflect.Uint:
		t.Kind = KindInt
	case reflect.Float64:
		t.Kind = KindFloat
	case reflect.String:
		t.Kind = KindString
	case reflect.Slice:
		t.Kind, t.Elem = KindList, TypeOf(g.Elem())
		t.Name = "list of " + t.Elem.Name
	case reflect.Map:
		if g.Key().Kind() != reflect.String {
			panic("builtin: keys of " + g.String() + " are no strings")
		}
		t.Kind, t.Elem = KindMap, TypeOf(g.Elem())
		t.Name = "dict of " + t.Elem.Name
	case reflect.Pointer:
		inner := TypeOf(g.Elem())
		if inner.Later || inner.optional {
			panic("builtin: no language can pass a " + g.String())
		}
		*t = *inner
		t.goType, t.optional = g, true
	case reflect.Struct:
		t.Kind, t.Name = KindRecord, g.Name()
		t.Fields = fieldsOf(g, nil)
		for i := range t.Fields {
			if t.fieldIndex(t.Fields[i].Name) != i {
				panic(fmt.Sprintf("builtin: %s has two fields named %q", g, t.Fields[i].Name))
			}
			t.names = append(t.names, t.Fields[i].Name)
		}
	default:
		panic("builtin: no language can pass a " + g.String())
	}
}

func fieldsOf(g reflect.Type, prefix []int) []Field {
	var out []Field
	for i := range g.NumField() {
		sf := g.Field(i)
		index := append(append([]int(nil), prefix...), i)
		if sf.Anonymous {
			out = append(out, fieldsOf(sf.Type, index)...)
			continue
		}
		name, ok := sf.Tag.Lookup("name")
		if !ok {
			if sf.IsExported() && g != reflect.TypeFor[Fault]() {
				panic("builtin: field " + g.String() + "." + sf.Name + " has no name tag")
			}
			continue
		}
		f := Field{Name: name, Doc: sf.Tag.Get("doc"), Type: TypeOf(sf.Type), Scope: sf.Tag.Get("scope"), index: index}
		volatile, isVolatile := sf.Tag.Lookup("volatile")
		f.VolatilePlanned = volatile == "planned"
		f.Volatile = isVolatile && !f.VolatilePlanned
		if _, f.Deep = sf.Tag.Lookup("deep"); f.Deep && f.Type.Kind != KindBool {
			panic(fmt.Sprintf("builtin: %s.%s is deep and no bool", g, sf.Name))
		}
		if _, f.Rest = sf.Tag.Lookup("rest"); f.Rest && f.Type.Kind != KindMap {
			panic(fmt.Sprintf("builtin: %s.%s takes the rest and is no dict", g, sf.Name))
		}
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.Enum = strings.Split(enum, ",")
			if f.Type.Kind != KindString && (f.Type.Kind != KindList || f.Type.Elem.Kind != KindString) {
				panic(fmt.Sprintf("builtin: %s.%s has an enum and is no text", g, sf.Name))
			}
		}
		if text, ok := sf.Tag.Lookup("default"); ok {
			f.HasDefault, f.Default = true, text
			if err := f.parseDefault(); err != nil {
				panic(fmt.Sprintf("builtin: default of %s.%s: %v", g, sf.Name, err))
			}
		}
		out = append(out, f)
	}
	return out
}

// parseDefault reads the default's tag. An empty one is the zero value; that
// of a record is its fields' own defaults.
func (f *Field) parseDefault() (err error) {
	switch {
	case f.Type.Kind == KindRecord && !f.Type.optional && f.Default == "":
		f.given = map[string]any{}
	case f.Default != "":
		if f.given, err = f.Type.Parse(f.Default); err != nil {
			return err
		}
	default:
		return nil
	}
	dst := reflect.New(f.Type.goType).Elem()
	if err := f.Type.set(dst, f.given); err != nil {
		return err
	}
	return f.checkEnum(dst)
}

// DefaultValue is the default as a neutral value; nil where there is none,
// or where it is the zero value of a type that has no other way to be given.
func (f *Field) DefaultValue() any {
	if !f.HasDefault {
		return nil
	}
	dst := reflect.New(f.Type.goType).Elem()
	f.setDefault(dst)
	return f.Type.get(dst)
}

// setDefault makes the value anew for each call: a list that all calls shared
// would carry what one of them does to it into the next.
func (f *Field) setDefault(dst reflect.Value) {
	dst.SetZero()
	if f.given != nil {
		_ = f.Type.set(dst, f.given) // parseDefault has seen that it can be set
	}
}

// checkEnum holds a value, or each item of a list, to the words there are.
// The zero value is one of them only as the default, or as None.
func (f *Field) checkEnum(v reflect.Value) error {
	if f.Enum == nil {
		return nil
	}
	if f.Type.Later {
		v = v.FieldByName("Value")
	}
	if v.IsZero() && (f.HasDefault && f.Default == "" || f.Type.optional || f.Type.Later) {
		return nil
	}
	if f.Type.optional {
		v = v.Elem()
	}
	words := []reflect.Value{v}
	if v.Kind() == reflect.Slice {
		words = words[:0]
		for i := range v.Len() {
			words = append(words, v.Index(i))
		}
	}
	for _, w := range words {
		if !slices.Contains(f.Enum, w.String()) {
			return fmt.Errorf("%q is none of %s", w.String(), strings.Join(f.Enum, ", "))
		}
	}
	return nil
}

// String is the kind's word, as in the reference.
func (k TypeKind) String() string { return kindNames[k] }
