package builtin

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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
	text     bool // parsed by encoding.TextUnmarshaler
	optional bool // a pointer: None is nil
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

// Parse makes a neutral value of a text, as on a command line: lists take
// commas, durations and sizes their units.
func (t *Type) Parse(text string) (any, error) {
	switch t.Kind {
	case KindBool:
		switch text {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return nil, fmt.Errorf("want true or false, got %q", text)
	case KindInt:
		if t.text {
			return text, nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("want a whole number, got %q", text)
		}
		return n, nil
	case KindFloat:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("want a number, got %q", text)
		}
		return n, nil
	case KindString, KindDuration:
		return text, nil
	case KindList:
		list := []any{}
		for _, part := range strings.Split(text, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			v, err := t.Elem.Parse(part)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	return nil, fmt.Errorf("a %s cannot be given as text", t.Name)
}

// Convert checks a neutral value against the type and gives it back in the
// type's own form.
func (t *Type) Convert(v any) (any, error) {
	dst := reflect.New(t.goType).Elem()
	if err := t.set(dst, v); err != nil {
		return nil, err
	}
	return t.get(dst), nil
}

// set stores a neutral value in a Go one, checking it on the way.
func (t *Type) set(dst reflect.Value, v any) error {
	if _, ok := v.(unset); ok {
		dst.SetZero()
		return nil
	}
	if t.Later {
		if o, ok := v.(Opaque); ok {
			dst.Addr().Interface().(later).setFrom(o.From)
			return nil
		}
		dst = dst.FieldByName("Value")
	}
	if t.optional {
		if v == nil {
			dst.SetZero()
			return nil
		}
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	if o, ok := v.(Opaque); ok && t.Kind != KindValue {
		return o.Ends("is needed to go on")
	}
	if t.text {
		return t.setText(dst, v)
	}
	switch t.Kind {
	case KindValue:
		if v != nil {
			dst.Set(reflect.ValueOf(v))
		}
		return nil
	case KindBool:
		if b, ok := v.(bool); ok {
			dst.SetBool(b)
			return nil
		}
	case KindInt:
		return t.setInt(dst, v)
	case KindFloat:
		switch n := v.(type) {
		case float64:
			if math.IsNaN(n) || math.IsInf(n, 0) {
				return fmt.Errorf("%v is no number", n) // and nothing that JSON could hold
			}
			dst.SetFloat(n)
			return nil
		case int64:
			dst.SetFloat(float64(n))
			return nil
		}
	case KindString:
		if s, ok := v.(string); ok {
			dst.SetString(s)
			return nil
		}
	case KindTime, KindSecret, KindCallback:
		if v != nil && reflect.TypeOf(v).AssignableTo(dst.Type()) {
			dst.Set(reflect.ValueOf(v))
			return nil
		}
	case KindList:
		if list, ok := v.([]any); ok {
			out := reflect.MakeSlice(dst.Type(), len(list), len(list))
			for i, e := range list {
				if err := t.Elem.set(out.Index(i), e); err != nil {
					return fmt.Errorf("item %d: %w", i, err)
				}
			}
			dst.Set(out)
			return nil
		}
	case KindMap:
		if m, ok := v.(map[string]any); ok {
			out := reflect.MakeMapWithSize(dst.Type(), len(m))
			for _, k := range slices.Sorted(maps.Keys(m)) { // of two errors always the same is told
				ev, e := reflect.New(dst.Type().Elem()).Elem(), m[k]
				if err := t.Elem.set(ev, e); err != nil {
					return fmt.Errorf("%q: %w", k, err)
				}
				out.SetMapIndex(reflect.ValueOf(k).Convert(dst.Type().Key()), ev)
			}
			dst.Set(out)
			return nil
		}
	case KindRecord:
		return t.setRecord(dst, v)
	}
	return t.mismatch(v)
}

func (t *Type) mismatch(v any) error {
	return fmt.Errorf("want %s, got %s", article(t.Name), NeutralName(v))
}

func (t *Type) setText(dst reflect.Value, v any) error {
	var text string
	switch n := v.(type) {
	case string:
		text = n
	case int64:
		text = strconv.FormatInt(n, 10)
	case *big.Int:
		text = n.String()
	case float64:
		if t.Kind != KindDuration { // of seconds
			return t.mismatch(v)
		}
		text = strconv.FormatFloat(n, 'f', -1, 64)
	case time.Duration:
		text = n.String()
	default:
		return t.mismatch(v)
	}
	return dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
}

func (t *Type) setInt(dst reflect.Value, v any) error {
	switch n := v.(type) {
	case int64:
		if dst.CanInt() && !dst.OverflowInt(n) {
			dst.SetInt(n)
			return nil
		}
		if dst.CanUint() && n >= 0 && !dst.OverflowUint(uint64(n)) {
			dst.SetUint(uint64(n))
			return nil
		}
		return fmt.Errorf("%d is out of range", n)
	case *big.Int:
		if dst.CanUint() && n.IsUint64() && !dst.OverflowUint(n.Uint64()) {
			dst.SetUint(n.Uint64())
			return nil
		}
		return fmt.Errorf("%s is out of range", n)
	}
	return t.mismatch(v)
}

func (t *Type) setRecord(dst reflect.Value, v any) error {
	values := map[string]any{}
	switch r := v.(type) {
	case map[string]any:
		values = r
	case *Record:
		for i, f := range r.Type.Fields {
			values[f.Name] = r.Values[i]
		}
	default:
		return t.mismatch(v)
	}
	seen := 0
	for i := range t.Fields {
		f := &t.Fields[i]
		e, ok := values[f.Name]
		if ok {
			seen++
		}
		if err := f.set(dst, e, ok); err != nil {
			return err
		}
	}
	if seen < len(values) {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if t.fieldIndex(name) < 0 {
				return fmt.Errorf("%s has no field %q", article(t.Name), name)
			}
		}
	}
	return nil
}

// set fills the field of a struct from a neutral value or from its default.
func (f *Field) set(structure reflect.Value, v any, given bool) error {
	dst := structure.FieldByIndex(f.index)
	empty := v == nil && f.Type.Kind != KindValue
	if f.Type.text && f.Default == "" {
		empty = empty || v == "" // as it stands in results, where a name is not known
	}
	if !given || empty && f.HasDefault {
		if !f.HasDefault {
			return fmt.Errorf("%s is missing", f.Name)
		}
		f.setDefault(dst)
		return nil
	}
	if err := f.Type.set(dst, v); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	if _, ok := v.(unset); ok {
		return nil
	}
	if err := f.checkEnum(dst); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}

// Neutral turns a Go value of the type into a neutral one.
func (t *Type) Neutral(v any) any { return t.get(reflect.ValueOf(v)) }

func (t *Type) get(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	if t.Later {
		if l := v.Interface().(interface{ opaque() (Opaque, bool) }); true {
			if o, unknown := l.opaque(); unknown {
				return o
			}
		}
		v = v.FieldByName("Value")
	}
	if t.optional {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch t.Kind {
	case KindBool:
		return v.Bool()
	case KindInt:
		if v.CanInt() {
			return v.Int()
		}
		if u := v.Uint(); u > 1<<63-1 {
			return new(big.Int).SetUint64(u)
		}
		return int64(v.Uint())
	case KindFloat:
		return v.Float()
	case KindString:
		return v.String()
	case KindDuration:
		return time.Duration(v.Int())
	case KindTime:
		return v.Interface().(time.Time).UTC()
	case KindList:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = t.Elem.get(v.Index(i))
		}
		return out
	case KindMap:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			out[it.Key().String()] = t.Elem.get(it.Value())
		}
		return out
	case KindRecord:
		if len(t.Fields) == 0 {
			return nil
		}
		out := &Record{Type: t, Values: make([]any, len(t.Fields))}
		for i := range t.Fields {
			out.Values[i] = t.Fields[i].Type.get(v.FieldByIndex(t.Fields[i].index))
		}
		return out
	}
	return v.Interface()
}

// NeutralName is what a neutral value is called in a message.
func NeutralName(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64, *big.Int:
		return fmt.Sprintf("the int %v", v)
	case float64:
		return "a float"
	case string:
		if len(v) > 60 {
			cut := 60
			for cut > 0 && !utf8.RuneStart(v[cut]) {
				cut--
			}
			v = v[:cut] + "…"
		}
		return fmt.Sprintf("the string %q", v)
	case time.Time:
		return "a time"
	case time.Duration:
		return "the duration " + v.String()
	case []any:
		return "a list"
	case map[string]any:
		return "a dict"
	case *Record:
		return article(v.Type.Name)
	case Callback:
		return "a function"
	case Secret:
		return "a secret"
	case Opaque:
		return "a value that only the run will know"
	}
	return fmt.Sprintf("a %T", v)
}

func article(name string) string {
	if strings.ContainsAny(name[:1], "aeioAEIO") {
		return "an " + name
	}
	return "a " + name
}

// NeutralOf turns a value of any describable Go type into a neutral one. It
// describes the type each time; results of calls have theirs described once.
func NeutralOf(v any) any { return TypeOf(reflect.TypeOf(v)).Neutral(v) }

// String is the kind's word, as in the reference.
func (k TypeKind) String() string { return kindNames[k] }
