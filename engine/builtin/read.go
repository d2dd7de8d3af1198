package builtin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// Decode makes a Go value of the type from what Typed encoded: the journal's
// results come back as they were, and the evaluator's arrive. Lists have
// thousands of records, so each value goes where it belongs as it is read.
func (t *Type) Decode(text []byte) (any, error) {
	r, err := readJSON(text)
	if err != nil {
		return nil, err
	}
	dst := reflect.New(t.goType).Elem()
	if err := t.read(r, dst); err != nil {
		return nil, err
	}
	return dst.Interface(), nil
}

// read stores the next value of a text. What has parts is read part by part,
// anything else as set takes it.
func (t *Type) read(r *jsonReader, dst reflect.Value) error {
	next := r.peek()
	if t.Later && next == '{' {
		if o, ok := opaqueIn(r.left[:valueEnd(r.left)]); ok {
			r.value()
			return t.set(dst, o)
		}
	}
	switch {
	case t.text:
	case t.Kind == KindList && next == '[':
		return t.readList(r, t.inside(dst))
	case t.Kind == KindMap && next == '{':
		return t.readMap(r, t.inside(dst))
	case t.Kind == KindRecord && next == '{':
		return t.readRecord(r, t.inside(dst))
	case t.Kind == KindRecord && next == 'n' && len(t.Fields) == 0:
		r.value()
		return nil
	}
	neutral, err := t.fromJSON(r.any())
	if err != nil {
		return err
	}
	return t.set(dst, neutral)
}

// inside is where the value itself is, of one that may be None or to come.
func (t *Type) inside(dst reflect.Value) reflect.Value {
	if t.Later {
		dst = dst.FieldByName("Value")
	}
	if t.optional {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	return dst
}

func (t *Type) readList(r *jsonReader, dst reflect.Value) error {
	dst.Set(reflect.MakeSlice(dst.Type(), 0, 0)) // empty, not nil
	err := r.list(func() error {
		i := dst.Len()
		if i == dst.Cap() {
			dst.Grow(1)
		}
		dst.SetLen(i + 1)
		if err := t.Elem.read(r, dst.Index(i)); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		return nil
	})
	dst.SetCap(dst.Len()) // what is appended to it lands elsewhere
	return err
}

func (t *Type) readMap(r *jsonReader, dst reflect.Value) error {
	dst.Set(reflect.MakeMap(dst.Type()))
	return r.object(func(name []byte) error {
		value := reflect.New(dst.Type().Elem()).Elem()
		if err := t.Elem.read(r, value); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		dst.SetMapIndex(reflect.ValueOf(string(name)).Convert(dst.Type().Key()), value)
		return nil
	})
}

// readRecord takes the fields in any order. Those that the text does not have
// get their defaults; what is no field is passed over.
func (t *Type) readRecord(r *jsonReader, dst reflect.Value) error {
	seen := make([]bool, len(t.Fields))
	expected := 0 // fields come in their order
	err := r.object(func(name []byte) error {
		i := expected
		if i == len(t.Fields) || t.Fields[i].Name != string(name) {
			if i = t.fieldIndex(string(name)); i < 0 {
				r.value()
				return nil
			}
		}
		expected, seen[i] = i+1, true
		return t.Fields[i].read(r, dst)
	})
	if err != nil {
		return err
	}
	for i := range t.Fields {
		if !seen[i] {
			if err := t.Fields[i].set(dst, nil, false); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *Field) read(r *jsonReader, structure reflect.Value) error {
	if next := r.peek(); next == '{' || next == '[' {
		if err := f.Type.read(r, structure.FieldByIndex(f.index)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		return nil
	}
	raw := r.any()
	neutral, err := f.Type.fromJSON(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	if f.Enum != nil && raw == "" {
		neutral = unset{} // as it stands in results
	}
	return f.set(structure, neutral, true)
}

// opaqueIn is the value to come that a text stands for. There are many in a
// plan, and this is how they are written.
func opaqueIn(text []byte) (Opaque, bool) {
	rest, ok := bytes.CutPrefix(text, []byte(`{"known_after":"`))
	if ok && bytes.IndexByte(rest, '\\') < 0 {
		from, rest, _ := bytes.Cut(rest, []byte(`"`))
		if string(rest) == "}" {
			return Opaque{From: Place(from)}, len(from) > 0
		}
		of, is := bytes.CutPrefix(rest, []byte(`,"of":"`))
		of, closed := bytes.CutSuffix(of, []byte(`"}`))
		if is && closed && bytes.IndexByte(of, '"') < 0 {
			return Opaque{From: Place(from), Of: string(of)}, len(from) > 0 && len(of) > 0
		}
	}
	var raw any
	if json.Unmarshal(text, &raw) != nil {
		return Opaque{}, false
	}
	return OpaqueIn(raw)
}
