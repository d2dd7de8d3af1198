package builtin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

// Decode makes a Go value of the type from what Typed encoded: the journal's
// results come back as they were, and the evaluator's arrive. Lists have
// thousands of records, so each value goes where it belongs as it is read.
func (t *Type) Decode(text []byte) (any, error) {
	dst := reflect.New(t.goType).Elem()
	if err := t.read(decoderOf(text), dst); err != nil {
		return nil, err
	}
	return dst.Interface(), nil
}

// decoderOf reads what encoding/json reads, too: the last of two members of one
// name counts.
func decoderOf(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// read stores the next value of a text. What has parts is read part by part,
// anything else as set takes it.
func (t *Type) read(d *jsontext.Decoder, dst reflect.Value) error {
	next := d.PeekKind()
	if t.Later && next == '{' {
		return t.readLater(d, dst)
	}
	switch {
	case t.text:
	case t.Kind == KindList && next == '[':
		return t.readList(d, t.inside(dst))
	case t.Kind == KindMap && next == '{':
		return t.readMap(d, t.inside(dst))
	case t.Kind == KindRecord && next == '{':
		return t.readRecord(d, t.inside(dst))
	case t.Kind == KindRecord && next == 'n' && len(t.Fields) == 0:
		return d.SkipValue()
	}
	raw, err := readAny(d)
	if err != nil {
		return err
	}
	neutral, err := t.fromJSON(raw)
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

// readLater: a value to come is an object, and so may be one that is there.
func (t *Type) readLater(d *jsontext.Decoder, dst reflect.Value) error {
	text, err := d.ReadValue()
	if err != nil {
		return err
	}
	if o, ok := opaqueIn(text); ok {
		return t.set(dst, o)
	}
	now := *t
	now.Later, now.goType = false, dst.FieldByName("Value").Type()
	value, err := now.Decode(bytes.Clone(text))
	if err != nil {
		return err
	}
	dst.FieldByName("Value").Set(reflect.ValueOf(value))
	return nil
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

func (t *Type) readList(d *jsontext.Decoder, dst reflect.Value) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	dst.Set(reflect.MakeSlice(dst.Type(), 0, 0)) // empty, not nil
	for i := 0; d.PeekKind() != ']'; i++ {
		if i == dst.Cap() {
			dst.Grow(1)
		}
		dst.SetLen(i + 1)
		if err := t.Elem.read(d, dst.Index(i)); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	dst.SetCap(dst.Len()) // what is appended to it lands elsewhere
	_, err := d.ReadToken()
	return err
}

func (t *Type) readMap(d *jsontext.Decoder, dst reflect.Value) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	out := reflect.MakeMap(dst.Type())
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		key, value := name.String(), reflect.New(dst.Type().Elem()).Elem()
		if err := t.Elem.read(d, value); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		out.SetMapIndex(reflect.ValueOf(key).Convert(dst.Type().Key()), value)
	}
	dst.Set(out)
	_, err := d.ReadToken()
	return err
}

// readRecord takes the fields in any order. Those that the text does not have
// get their defaults; what is no field is passed over.
func (t *Type) readRecord(d *jsontext.Decoder, dst reflect.Value) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	seen := make([]bool, len(t.Fields))
	expected := 0 // fields come in their order
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err != nil {
			return err
		}
		i := t.fieldNamed(name, expected)
		if i < 0 {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		expected, seen[i] = i+1, true
		if err := t.Fields[i].read(d, dst); err != nil {
			return err
		}
	}
	for i := range t.Fields {
		if !seen[i] {
			if err := t.Fields[i].set(dst, nil, false); err != nil {
				return err
			}
		}
	}
	_, err := d.ReadToken()
	return err
}

// fieldNamed is the field of a quoted name, -1 if there is none; expected is
// looked at first.
func (t *Type) fieldNamed(quoted jsontext.Value, expected int) int {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal(quoted, &plain) != nil {
			return -1
		}
		return t.fieldIndex(plain)
	}
	if expected < len(t.Fields) && t.Fields[expected].Name == string(name) {
		return expected
	}
	return t.fieldIndex(string(name))
}

func (f *Field) read(d *jsontext.Decoder, structure reflect.Value) error {
	if next := d.PeekKind(); next == '{' || next == '[' {
		if err := f.Type.read(d, structure.FieldByIndex(f.index)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		return nil
	}
	raw, err := readAny(d)
	var neutral any
	if err == nil {
		neutral, err = f.Type.fromJSON(raw)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	if f.Enum != nil && raw == "" {
		neutral = unset{} // as it stands in results
	}
	return f.set(structure, neutral, true)
}

// readAny reads a value as encoding/json does, its numbers as they are written.
func readAny(d *jsontext.Decoder) (any, error) {
	switch next := d.PeekKind(); next {
	case '"', '0', 'n', 't', 'f':
		token, err := d.ReadToken()
		switch {
		case err != nil || next == 'n':
			return nil, err
		case next == '"':
			return token.String(), nil
		case next == '0':
			return json.Number(token.String()), nil
		}
		return next == 't', nil
	}
	text, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var raw any
	err = decoder.Decode(&raw)
	return raw, err
}
