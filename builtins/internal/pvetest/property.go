package pvetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Property is a value as the schema describes it.
type Property struct {
	Type       string               `json:"type"`
	Optional   flag                 `json:"optional"`
	Enum       []string             `json:"enum"`
	Minimum    *json.Number         `json:"minimum"`
	Maximum    *json.Number         `json:"maximum"`
	MinLength  *int                 `json:"minLength"`
	MaxLength  *int                 `json:"maxLength"`
	Pattern    string               `json:"pattern"`
	Requires   string               `json:"requires"`
	Format     json.RawMessage      `json:"format"` // a name, or the parts of a text like a=1,b=2
	Items      *Property            `json:"items"`
	Properties map[string]*Property `json:"properties"`
	Additional *json.RawMessage     `json:"additionalProperties"`
}

// flag is a boolean in Perl's JSON.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	*f = flag(s == "1" || s == "true")
	return nil
}

// closed says that only the declared properties may be there.
func (p *Property) closed() bool {
	return p.Additional != nil && slices.Contains([]string{"0", "false", `"0"`}, string(*p.Additional))
}

func withQuery(path string, params map[string][]string) (map[string][]string, error) {
	all := maps.Clone(params)
	if all == nil {
		all = map[string][]string{}
	}
	if _, query, ok := strings.Cut(path, "?"); ok {
		q, err := url.ParseQuery(query)
		if err != nil {
			return nil, err
		}
		for k, v := range q {
			if all[k] == nil {
				all[k] = v
			}
		}
	}
	return all, nil
}

func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

var (
	integerText = regexp.MustCompile(`^[+-]?\d+$`)
	numberText  = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)
	booleanText = regexp.MustCompile(`^(?i:1|on|yes|true|0|off|no|false)$`)
)

// checkParam checks a request's value, which is text however it came. Formats
// by name (pve-node and the like) are not checked.
func (p *Property) checkParam(values []string) string {
	if p.Type == "array" {
		for _, v := range values {
			if p.Items != nil {
				if wrong := p.Items.checkText(v); wrong != "" {
					return wrong
				}
			}
		}
		return ""
	}
	if len(values) != 1 {
		return fmt.Sprintf("it is there %d times", len(values))
	}
	return p.checkText(values[0])
}

func (p *Property) checkText(v string) string {
	switch p.Type {
	case "integer":
		if !integerText.MatchString(v) {
			return fmt.Sprintf("%q is not an integer", v)
		}
	case "number":
		if !numberText.MatchString(v) {
			return fmt.Sprintf("%q is not a number", v)
		}
	case "boolean":
		if !booleanText.MatchString(v) {
			return fmt.Sprintf("%q is not a boolean", v)
		}
		return ""
	}
	if p.Type == "integer" || p.Type == "number" {
		return p.checkRange(v)
	}
	n := utf8.RuneCountInString(v)
	switch {
	case p.MinLength != nil && n < *p.MinLength:
		return fmt.Sprintf("%q is shorter than %d", v, *p.MinLength)
	case p.MaxLength != nil && n > *p.MaxLength:
		return fmt.Sprintf("it is longer than %d", *p.MaxLength)
	case p.Enum != nil && !slices.Contains(p.Enum, v):
		return fmt.Sprintf("%q is none of %s", v, strings.Join(p.Enum, ", "))
	case p.Pattern != "":
		// Perl writes a compiled expression as (?^:…).
		re, err := regexp.Compile("^(?:" + strings.ReplaceAll(p.Pattern, "(?^:", "(?:") + ")$")
		if err == nil && !re.MatchString(v) {
			return fmt.Sprintf("%q does not match %s", v, p.Pattern)
		}
	}
	return ""
}

func (p *Property) checkRange(v string) string {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return fmt.Sprintf("%q is not a number", v)
	}
	if p.Minimum != nil {
		if low, err := p.Minimum.Float64(); err == nil && f < low {
			return fmt.Sprintf("%s is below %s", v, *p.Minimum)
		}
	}
	if p.Maximum != nil {
		if high, err := p.Maximum.Float64(); err == nil && f > high {
			return fmt.Sprintf("%s is above %s", v, *p.Maximum)
		}
	}
	return ""
}

// check checks a value of an answer. Perl's JSON writes a number as text, or
// text as a number, as the value was last used, so neither is held against it;
// a value that is not known comes as null where the schema says optional.
func (p *Property) check(where string, v any, bad func(where, wrong string)) {
	if p == nil || p.Type == "any" {
		return
	}
	if v == nil {
		if p.Type != "null" && !bool(p.Optional) && p.Type != "" {
			bad(where, "null, not "+p.Type)
		}
		return
	}
	switch v := v.(type) {
	case map[string]any:
		if p.Type == "string" && p.Format != nil {
			return // a text with parts comes taken apart, as recorded of vzdump/defaults
		}
		if p.Type != "object" && p.Type != "" {
			bad(where, "an object, not "+p.Type)
			return
		}
		p.checkObject(where, v, bad)
	case []any:
		if p.Type != "array" {
			bad(where, "an array, not "+p.Type)
			return
		}
		for i, item := range v {
			p.Items.check(fmt.Sprintf("%s[%d]", where, i), item, bad)
		}
	case bool:
		if p.Type != "boolean" && p.Type != "" {
			bad(where, "a boolean, not "+p.Type)
		}
	case string, json.Number:
		if p.Type == "object" || p.Type == "array" || p.Type == "null" {
			bad(where, fmt.Sprintf("%v, not %s", v, p.Type))
			return
		}
		if wrong := p.checkText(fmt.Sprint(v)); wrong != "" {
			bad(where, wrong)
		}
	default:
		bad(where, fmt.Sprintf("%T, which JSON does not have", v))
	}
}

func (p *Property) checkObject(where string, v map[string]any, bad func(where, wrong string)) {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		prop := p.Properties[name]
		switch {
		case prop != nil:
			prop.check(where+"."+name, v[name], bad)
		case p.closed() && !isIndexed(p.Properties, name):
			bad(where+"."+name, "the schema does not know it")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		if _, ok := v[name]; !ok && !bool(p.Properties[name].Optional) && !strings.HasSuffix(name, "[n]") {
			bad(where+"."+name, "missing")
		}
	}
}
