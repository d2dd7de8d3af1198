package pve

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestDataOf(t *testing.T) {
	for text, want := range map[string]string{
		`{"data":null}`: `null`,
		" {\n\"total\" : 3 , \"data\" : [1, 2] }": `[1, 2]`,
		`{"data":{"a":"}\"]","b":[{}]},"x":{}}`:   `{"a":"}\"]","b":[{}]}`,
		`{"data":"a\\","success":1}` + "\r\n":     `"a\\"`,
		`{"x":{"data":1},"data":2}`:               `2`,
		`{"data":""}`:                             `""`,
	} {
		if got, ok := dataOf([]byte(text)); !ok || string(got) != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for _, text := range []string{
		"", " ", "null", "[]", "<html>", `{}`, `{"success":1}`, `{"data":`, `{"data"`, `{"data":}`, `{"data":1`, `{"data":1,}`, `{"data":[1}`,
		`{"data":"x`, `{"data":"x\"}`, `{"data":1}}`, `{"data":1} {}`, `{data:1}`, `"data":1`,
	} {
		if got, ok := dataOf([]byte(text)); ok && json.Valid(got) {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// What encoding/json finds in an answer, dataOf finds; what is no JSON is
// refused by it or by the decoding of what it found, unless only members that
// nobody reads are broken.
func FuzzDataOf(f *testing.F) {
	for _, text := range []string{`{"data":[{"a":"\"}"}],"total":1}`, ` { "data" : null } `, `{"data":"x\\"}`, `{"x":[1,{}],"data":-1e3}`, `{"data":1,"data":2}`, `{`, ``} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := dataOf(body)
		if !json.Valid(body) {
			if whole := append([]byte(`{"data":`), append(got, '}')...); ok && json.Valid(got) && !json.Valid(whole) {
				t.Errorf("%q: %q", body, got)
			}
			return
		}
		if bytes.Contains(body, []byte(`\u`)) {
			return // names written in escapes, which Proxmox does not do
		}
		var envelope map[string]json.RawMessage
		isObject := json.Unmarshal(body, &envelope) == nil
		want, there := envelope["data"]
		if ok != (isObject && there) || ok && !bytes.Equal(got, want) {
			t.Errorf("%q: %q, %v; encoding/json: %q, %v", body, got, ok, want, there)
		}
	})
}
