package lab

import (
	"errors"
	"strings"
	"testing"
)

func TestParams(t *testing.T) {
	spec := []param{
		{name: "mode", enum: []string{"snapshot", "stop"}}, {name: "n", kind: integer, min: 1, max: 30}, {name: "b", kind: boolean},
		{name: "must", required: true}, {name: "s", format: storageFormat, maxLen: 10}, {name: "l", kind: list}, {name: "with", requires: "s"},
	}
	for _, c := range []struct {
		query, contentType, body string
		wrong                    map[string]string
	}{
		{"must=1", "", "", nil},
		{"", "application/json", `{"must":1,"b":true,"n":5,"l":["a","b"]}`, nil},
		{"", "application/x-www-form-urlencoded", "must=x&l=a&l=b&b=on", nil},
		{"", "application/json;charset=UTF-8", `{"must":null}`, map[string]string{"must": "property is missing and it is not optional"}},
		{"must=1&x=1", "", "", map[string]string{"x": "property is not defined in schema and the schema does not allow additional properties"}},
		{"must=1&mode=x", "", "", map[string]string{"mode": "value 'x' does not have a value in the enumeration 'snapshot, stop'"}},
		{"must=1&n=x", "", "", map[string]string{"n": "type check ('integer') failed - got 'x'"}},
		{"must=1&n=0", "", "", map[string]string{"n": "value must have a minimum value of 1"}},
		{"must=1&n=31", "", "", map[string]string{"n": "value must have a maximum value of 30"}},
		{"must=1&b=maybe", "", "", map[string]string{"b": "type check ('boolean') failed - got 'maybe'"}},
		{"must=1&s=../x", "", "", map[string]string{"s": "invalid format - storage ID '../x' contains illegal characters\n"}},
		{"must=1&s=aaaaaaaaaaaaaa", "", "", map[string]string{"s": "value may only be 10 characters long"}},
		{"must=1&with=1", "", "", map[string]string{"s": "missing property - 'with' requires this property"}},
		{"must=1&n=1&n=2", "", "", map[string]string{"n": "type check ('integer') failed - got '1\x002'"}},
	} {
		p, err := parseParams(c.query, c.contentType, []byte(c.body))
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		err = p.check(spec)
		if c.wrong == nil {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		no, ok := errors.AsType[*apiError](err)
		if !ok || no.Status != 400 || len(no.Errors) != len(c.wrong) {
			t.Errorf("%+v: %+v", c, err)
			continue
		}
		for k, v := range c.wrong {
			if no.Errors[k] != v {
				t.Errorf("%s: %q, not %q", k, no.Errors[k], v)
			}
		}
	}
	for _, body := range []string{"{", "[1]", `"x"`, `{"a":{"b":1}}`, `{} {}`} {
		if _, err := parseParams("", "application/json", []byte(body)); err == nil {
			t.Errorf("%s was taken", body)
		}
	}
}

func FuzzParams(f *testing.F) {
	f.Add("a=1&b=%41", "", "")
	f.Add("", "application/json", `{"vmid":100,"all":true,"exclude-path":["a","b"],"x":null}`)
	f.Add("", "application/x-www-form-urlencoded", "storage=backup&prune-backups=keep-last%3D1")
	f.Add("prune-backups=keep-daily=1,keep-all=0", "", "a=%zz")
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		p, err := parseParams(query, contentType, []byte(body))
		if err != nil {
			if _, ok := errors.AsType[*apiError](err); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		if err := p.check(vzdumpParams); err == nil && p.has("storage") && strings.ContainsAny(p.str("storage"), "/\\") {
			t.Errorf("storage %q was taken", p.str("storage"))
		}
		// What was taken must answer, whatever it is.
		if err, ok := errors.AsType[*apiError](p.check(pruneParams)); ok {
			err.body()
		}
	})
}

func TestParsePrune(t *testing.T) {
	for text, want := range map[string]string{
		"keep-last=1": "", "keep-last=0": "", "keep-all=1": "", "keep-daily=7,keep-weekly=4": "", "": "",
		"keep-all=1,keep-last=1": "keep-all cannot be set together", "keep-last=x": "type check", "keep-last": "format error", "keep-last=-1": "type check", "keep-all=perhaps": "boolean",
	} {
		if _, wrong := parsePrune(text); (wrong == "") != (want == "") || !strings.Contains(wrong, want) {
			t.Errorf("%q: %q", text, wrong)
		}
	}
}

func TestNotesTemplate(t *testing.T) {
	for text, wrong := range map[string]string{
		"{{guestname}} {{vmid}}": "", `a\nb\\c`: "", `\x`: `escape sequence '\x' at char 0`, "{{bad}}": "variable 'bad' at char 4", "a\nb": "line feed",
	} {
		if got := checkNotesTemplate(text); (got == "") != (wrong == "") || !strings.Contains(got, wrong) {
			t.Errorf("%q: %q", text, got)
		}
	}
	g := &guest{Name: "web", VMID: 104, Node: "pve1"}
	if got := notesFor(`{{guestname}}\n{{vmid}} {{node}} {{cluster}} \\ {{x}}`, g); got != "web\n104 pve1 lab \\ {{x}}" {
		t.Errorf("%q", got)
	}
}
