package pve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

// Perl does not tell numbers from strings, so the same field may come as 100,
// "100" or, undefined, as null. These types take all of it.

// Int is a whole number, however Proxmox wrote it.
type Int int64

// UnmarshalJSON is json.Unmarshaler.
func (n *Int) UnmarshalJSON(data []byte) error {
	text, err := scalar(data)
	if err != nil {
		return err
	}
	switch string(text) {
	case "", "false":
		*n = 0
		return nil
	case "true":
		*n = 1
		return nil
	}
	if v, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		*n = Int(v)
		return nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) >= 1<<63 {
		return fmt.Errorf("want a whole number, got %s", excerpt(data))
	}
	*n = Int(f)
	return nil
}

// Float is a number, however Proxmox wrote it.
type Float float64

// UnmarshalJSON is json.Unmarshaler.
func (n *Float) UnmarshalJSON(data []byte) error {
	text, err := scalar(data)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		*n = 0
		return nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("want a number, got %s", excerpt(data))
	}
	*n = Float(f)
	return nil
}

// Bool is a truth value: 0, 1, "0", "1", "", true, false or null.
type Bool bool

// UnmarshalJSON is json.Unmarshaler.
func (b *Bool) UnmarshalJSON(data []byte) error {
	text, err := scalar(data)
	if err != nil {
		return err
	}
	switch string(text) {
	case "", "0", "false":
		*b = false
	case "1", "true":
		*b = true
	default:
		return fmt.Errorf("want 0 or 1, got %s", excerpt(data))
	}
	return nil
}

// Text is a string that may have come as a number.
type Text string

// UnmarshalJSON is json.Unmarshaler.
func (t *Text) UnmarshalJSON(data []byte) error {
	text, err := scalar(data)
	*t = Text(text)
	return err
}

// Time is a time in seconds since 1970, in UTC. Zero, null and absent are the
// zero time.
type Time struct{ time.Time }

// UnmarshalJSON is json.Unmarshaler.
func (t *Time) UnmarshalJSON(data []byte) error {
	var n Int
	if err := n.UnmarshalJSON(data); err != nil {
		return err
	}
	t.Time = time.Time{}
	if n != 0 {
		t.Time = time.Unix(int64(n), 0).UTC()
	}
	return nil
}

// scalar is the text of a JSON string, number or truth value, nothing of null.
// It is part of data, unless that has escapes in it.
func scalar(data []byte) ([]byte, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	switch data[0] {
	case '"':
		// Nearly all strings of an answer are plain, and an answer has thousands.
		if inside := data[1:]; len(inside) > 0 && bytes.IndexByte(inside, '"') == len(inside)-1 && bytes.IndexByte(inside, '\\') < 0 && utf8.Valid(inside) {
			return inside[:len(inside)-1], nil
		}
		var s string
		err := json.Unmarshal(data, &s)
		return []byte(s), err
	case '{', '[':
		return nil, fmt.Errorf("want a single value, got %s", excerpt(data))
	}
	return data, nil
}

// addQuery writes one parameter as Proxmox reads it in a query. Whole numbers
// stay whole (go-proxmox would write 1.79e+09).
func addQuery(query url.Values, name string, value any) {
	switch v := value.(type) {
	case bool:
		if v {
			query.Add(name, "1")
		} else {
			query.Add(name, "0")
		}
	case []string:
		for _, e := range v {
			query.Add(name, e)
		}
	default:
		query.Add(name, fmt.Sprint(v))
	}
}
