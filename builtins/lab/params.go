package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"nixmox/builtins/internal/pattern"
)

// params are a request's parameters, whichever way they came: every value as
// text, repeated ones in order.
type params map[string][]string

func (p params) has(name string) bool { return len(p[name]) > 0 }

func (p params) str(name string) string {
	if p.has(name) {
		return p[name][0]
	}
	return ""
}

func (p params) int(name string, without int64) int64 {
	if !p.has(name) {
		return without
	}
	n, err := strconv.ParseInt(p.str(name), 10, 64)
	if err != nil {
		return without
	}
	return n
}

func (p params) bool(name string, without bool) bool {
	if !p.has(name) {
		return without
	}
	b, _ := parseBool(p.str(name))
	return b
}

// parseBool reads what PVE::JSONSchema takes for a boolean.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "on", "yes", "true":
		return true, true
	case "0", "off", "no", "false":
		return false, true
	}
	return false, false
}

// parseParams reads the parameters from a query and a body.
func parseParams(query, contentType string, body []byte) (params, error) {
	p := params{}
	if err := p.addForm(query); err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return p, nil
	}
	if strings.HasPrefix(contentType, "application/json") {
		return p, p.addJSON(body)
	}
	return p, p.addForm(string(body))
}

func (p params) addForm(s string) error {
	values, err := url.ParseQuery(s)
	if err != nil {
		return &apiError{Status: 400, Reason: "unable to parse parameters"}
	}
	for k, v := range values {
		p[k] = append(p[k], v...)
	}
	return nil
}

func (p params) addJSON(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil || d.More() {
		return &apiError{Status: 400, Reason: "malformed JSON string"}
	}
	for k, v := range m {
		list, isList := v.([]any)
		if !isList {
			list = []any{v}
		}
		for _, v := range list {
			switch v := v.(type) {
			case nil: // as if it were not there
			case bool:
				p[k] = append(p[k], strconv.Itoa(bit(v)))
			case string:
				p[k] = append(p[k], v)
			case json.Number:
				p[k] = append(p[k], v.String())
			default:
				return badParameter(k, "type check ('string') failed - got %T", v)
			}
		}
	}
	return nil
}

// kind is the type of a parameter.
type kind int

const (
	text kind = iota
	integer
	boolean
	list   // of texts
	number // perhaps with a fraction
)

// param is what a method says of one parameter. Its words are those of
// Proxmox's schema; a test holds the table against it.
type param struct {
	name     string
	kind     kind
	required bool
	enum     []string
	min, max int64 // checked when max > 0, or min > 0
	maxLen   int
	requires string
	format   func(string) string // what is wrong with the value; "" if nothing
}

// check compares parameters with a method's list of them.
func (p params) check(spec []param) error {
	errs := map[string]string{}
	for name := range p {
		if !slices.ContainsFunc(spec, func(s param) bool { return s.takes(name) }) {
			errs[name] = "property is not defined in schema and the schema does not allow additional properties"
		}
	}
	for _, s := range spec {
		if strings.HasSuffix(s.name, "[n]") {
			continue // nothing is said of their values
		}
		if !p.has(s.name) {
			if s.required {
				errs[s.name] = "property is missing and it is not optional"
			}
			continue
		}
		if wrong := s.wrong(p[s.name]); wrong != "" {
			errs[s.name] = wrong
		}
		if s.requires != "" && !p.has(s.requires) {
			errs[s.requires] = fmt.Sprintf("missing property - '%s' requires this property", s.name)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &apiError{Status: 400, Reason: "Parameter verification failed.", Errors: errs}
}

// takes says whether the parameter is meant by a name: net[n] by net0.
func (s param) takes(name string) bool {
	if base, numbered := strings.CutSuffix(s.name, "[n]"); numbered {
		digits, ok := strings.CutPrefix(name, base)
		return ok && isDigits(digits)
	}
	return s.name == name
}

var integerText = pattern.Of(`^-?\d+$`)

func (s param) wrong(values []string) string {
	if s.kind == list {
		return ""
	}
	// A repeated key is one value to Proxmox, its parts separated by NUL.
	v := strings.Join(values, "\x00")
	switch s.kind {
	case integer:
		n, err := strconv.ParseInt(v, 10, 64)
		switch {
		case err != nil || !integerText().MatchString(v):
			return fmt.Sprintf("type check ('integer') failed - got '%s'", v)
		case n < s.min:
			return fmt.Sprintf("value must have a minimum value of %d", s.min)
		case s.max > 0 && n > s.max:
			return fmt.Sprintf("value must have a maximum value of %d", s.max)
		}
	case number:
		if _, err := strconv.ParseFloat(v, 64); err != nil {
			return fmt.Sprintf("type check ('number') failed - got '%s'", v)
		}
	case boolean:
		if _, ok := parseBool(v); !ok {
			return fmt.Sprintf("type check ('boolean') failed - got '%s'", v)
		}
	default:
		if s.maxLen > 0 && len(v) > s.maxLen {
			return fmt.Sprintf("value may only be %d characters long", s.maxLen)
		}
		if s.enum != nil && !slices.Contains(s.enum, v) {
			return fmt.Sprintf("value '%s' does not have a value in the enumeration '%s'", v, strings.Join(s.enum, ", "))
		}
		if s.format != nil {
			if wrong := s.format(v); wrong != "" {
				return "invalid format - " + wrong + "\n"
			}
		}
	}
	return ""
}
