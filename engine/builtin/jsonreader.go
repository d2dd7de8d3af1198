package builtin

import (
	"bytes"
	"encoding/json"
)

// jsonReader goes through a JSON text value by value. The text is held to be
// valid beforehand, by encoding/json, so there is nothing left that could be
// wrong with it: commas and colons are where they belong, and are passed over.
type jsonReader struct{ left []byte }

func readJSON(text []byte) (*jsonReader, error) {
	if !json.Valid(text) {
		var raw json.RawMessage
		return nil, json.Unmarshal(text, &raw) // which says what is wrong
	}
	return &jsonReader{text}, nil
}

// peek is how the next value begins, or that an object or list ends: one of
// { } [ ] " n t f, 0 for a number.
func (r *jsonReader) peek() byte {
	for {
		switch c := r.left[0]; c {
		case ' ', '\t', '\n', '\r', ',', ':':
			r.left = r.left[1:]
		case '-', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			return '0'
		default:
			return c
		}
	}
}

// step passes over one bracket.
func (r *jsonReader) step() {
	r.peek()
	r.left = r.left[1:]
}

// value is the text of the next value.
func (r *jsonReader) value() []byte {
	r.peek()
	end := valueEnd(r.left)
	text := r.left[:end]
	r.left = r.left[end:]
	return text
}

func valueEnd(text []byte) int {
	switch text[0] {
	case '"':
		return stringEnd(text)
	case '{', '[':
	default:
		if end := bytes.IndexAny(text, ",]} \t\n\r"); end >= 0 {
			return end
		}
		return len(text)
	}
	depth := 0
	for i := 0; ; i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

func stringEnd(text []byte) int {
	for i := 1; ; i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// name is the text of the next string, quotes off: the text's own bytes where
// nothing in it is escaped.
func (r *jsonReader) name() []byte {
	quoted := r.value()
	if inner := quoted[1 : len(quoted)-1]; isPlain(inner) {
		return inner
	}
	var text string
	_ = json.Unmarshal(quoted, &text) // it is valid
	return []byte(text)
}

// any is the next value as encoding/json decodes it, its numbers as they are written.
func (r *jsonReader) any() any {
	switch r.peek() {
	case '"':
		return string(r.name())
	case '0':
		return json.Number(r.value())
	case 'n':
		r.value()
		return nil
	case 't', 'f':
		return r.value()[0] == 't'
	}
	decoder := json.NewDecoder(bytes.NewReader(r.value()))
	decoder.UseNumber()
	var raw any
	_ = decoder.Decode(&raw) // it is valid
	return raw
}

// object calls member with each name of the object that comes next; whoever
// is called takes the value.
func (r *jsonReader) object(member func(name []byte) error) error {
	for r.step(); r.peek() != '}'; {
		if err := member(r.name()); err != nil {
			return err
		}
	}
	r.step()
	return nil
}

// list calls item for each item of the list that comes next.
func (r *jsonReader) list(item func() error) error {
	for r.step(); r.peek() != ']'; {
		if err := item(); err != nil {
			return err
		}
	}
	r.step()
	return nil
}
