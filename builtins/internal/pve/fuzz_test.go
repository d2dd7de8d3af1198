package pve

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pvetest"
	"nixmox/engine/builtin"
)

// FuzzAnswer decodes bytes of a host's as each of our functions would: what
// does not fit is an error that says so, and never more than that.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		`{"data":[{"vmid":"100","template":"1","tags":"a;b","cpu":0.5,"type":"qemu"}]}`, `{"data":{"status":"stopped","exitstatus":"OK","endtime":1}}`,
		`{"data":[{"n":1,"t":"x"}],"total":1}`, `{"data":[{"volid":"local:backup/x","ctime":1,"verification":{"state":"ok"}}]}`,
		`{"data":{"ticket":"PVE:x","CSRFPreventionToken":"y","NeedTFA":1}}`, `{"data":null}`, `{"data":[null]}`,
	} {
		f.Add([]byte(text))
	}
	c := &Client{base: mustParse("https://pve.example:8006/api2/json")}
	f.Fuzz(func(t *testing.T, body []byte) {
		data, ok := dataOf(body)
		if !ok {
			return
		}
		for _, out := range []any{
			new(Version), new([]Node), new([]rawGuest), new([]Storage), new([]StorageStatus), new([]Volume), new([]rawTask), new(rawTask), new([]logLine),
			new(Int), new(Float), new(Bool), new(Text), new(Time), new(CSV), new(UPID), new(json.RawMessage),
		} {
			err := c.decode(http.MethodGet, "/x", data, out)
			if err == nil {
				if !json.Valid(data) && reflect.TypeOf(out).Elem().Kind() != reflect.Slice {
					t.Errorf("%q passed as %T", data, out)
				}
				continue
			}
			if f, ok := errors.AsType[*builtin.Fault](err); !ok || f.Kind != builtin.Unreachable || InDoubt(err) {
				t.Errorf("%T: %v", out, err)
			}
		}
		var volumes []Volume
		if json.Unmarshal(data, &volumes) == nil {
			for _, v := range volumes {
				_ = v.Verified()
			}
		}
	})
}

// FuzzRecords: lists are decoded as encoding/json decodes them.
func FuzzRecords(f *testing.F) {
	for _, text := range []string{
		`[]`, ` [ { } , {"vmid":100,"name":"a"} ] `, `[{"vmid":"1","tags":null,"x":{"y":[1,"}"]}},{"template":true}]`, `[{"n":1,"t":"x"},{"n":2}]`,
		`[{"volid":"local:x","size":1e3,"verification":{"state":"ok"},"protected":"1"}]`, `[{"storage":"a","content":"b,c","shared":1}]`, `[{"vmid":1,"vmid":2}]`, `{}`, `[1]`, `[{}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, out := range []any{new([]rawGuest), new([]Volume), new([]Storage), new([]StorageStatus), new([]Node), new([]logLine), new([]rawTask)} {
			list := reflect.ValueOf(out).Elem()
			err := decodeRecords(data, list, recordFields(list.Type()))
			if !json.Valid(data) || bytes.ContainsFunc(data, func(r rune) bool { return r == '\\' || r >= 'A' && r <= 'Z' || r > '~' }) {
				continue // names in other letters, in escapes
			}
			want := reflect.New(reflect.TypeOf(out).Elem()).Interface()
			wantErr := json.Unmarshal(data, want)
			if (err == nil) != (wantErr == nil) && !bytes.Contains(data, []byte("null")) || err == nil && !reflect.DeepEqual(out, want) {
				t.Errorf("%T of %s:\n%+v %v\nencoding/json:\n%+v %v", out, data, out, err, want, wantErr)
			}
		}
	})
}

// FuzzScalar: the short way to read a string reads what encoding/json reads.
func FuzzScalar(f *testing.F) {
	for _, text := range []string{`"plain"`, `"a\"b"`, `"\u0041"`, `"ü"`, "\"\xff\"", `12`, `true`, `null`, `""`, `"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := scalar(text)
		if !json.Valid(text) || len(text) == 0 || bytes.IndexByte([]byte(" \t\r\n"), text[0]) >= 0 {
			return // an Unmarshaler is given whole values, without white space
		}
		var want string
		if text[0] != '"' {
			return
		}
		if json.Unmarshal(bytes.TrimSpace(text), &want) != nil || err != nil || string(got) != want {
			t.Errorf("%q: %q %v, encoding/json: %q", text, got, err, want)
		}
	})
}

// FuzzErrorBody reads refusals: whatever stands in them, the status tells the
// kind, and what is said is one line.
func FuzzErrorBody(f *testing.F) {
	f.Add(500, "no such VM ('999')", []byte(`{"data":null,"message":"no such VM ('999')\n"}`))
	f.Add(400, "Parameter verification failed.", []byte(`{"errors":{"vmid":"type check ('integer') failed"},"data":null}`))
	f.Add(401, "No ticket", []byte(nil))
	f.Add(596, "", []byte("<html>"))
	f.Add(403, "Permission check failed (/vms/101, VM.Audit)", []byte(`{"message":[],"errors":{"a":{}}}`))
	c := &Client{cfg: Config{TokenID: "a@pve!b", Token: NewSecret("5ec7e7")}, base: mustParse("https://pve.example:8006/api2/json")}
	f.Fuzz(func(t *testing.T, status int, reason string, body []byte) {
		if status < 300 || status > 999 || strings.ContainsAny(reason, "\r\n") {
			return
		}
		req, _ := http.NewRequest(http.MethodPost, "https://pve.example:8006/api2/json/x", nil)
		e := apiError(req, &http.Response{StatusCode: status, Status: "000 " + reason}, body)
		if strings.ContainsAny(e.Error(), "\r\n") && !strings.ContainsAny(strings.Join(slices.Collect(maps.Keys(e.Fields)), ""), "\r\n") {
			t.Errorf("%q", e.Error())
		}
		fault, ok := errors.AsType[*builtin.Fault](c.faultOf(t.Context(), http.MethodPost, "/x", e))
		if !ok || fault.Kind == "" || strings.Contains(fault.Said, "5ec7e7") {
			t.Errorf("%+v", fault)
		}
	})
}

// FuzzTaskLog lets a log grow by pieces that end anywhere, as Proxmox copies
// it in blocks, and looks at it after each: in the end all lines are there, and
// each was passed on once, in order, and whole unless it grew after two looks
// had shown it the same.
func FuzzTaskLog(f *testing.F) {
	f.Add("INFO: a\nINFO: b\nTASK OK", []byte{3, 9, 9, 14})
	f.Add("no content\nx", []byte{10, 10, 11})
	f.Add("\n\n\n", []byte{1, 2})
	f.Add("a", []byte{})
	f.Fuzz(func(t *testing.T, text string, looks []byte) {
		var told []string
		l := taskLog{follow: func(n int, line string) {
			if n != len(told)+1 {
				t.Errorf("line %d after %d", n, len(told))
			}
			told = append(told, line)
		}}
		look := func(upTo int, stopped bool) []string {
			seen := strings.Split(text[:upTo], "\n")
			if text[:upTo] == "" {
				seen = []string{"no content"}
			}
			start := max(len(l.lines)-1, 0)
			var page []logLine
			for i := start; i < len(seen); i++ {
				page = append(page, logLine{N: Int(i + 1), T: Text(seen[i])})
			}
			slices.Reverse(page) // in no order one may rely on
			l.take(start, page, stopped)
			return seen
		}
		at := 0
		for _, n := range looks {
			if at = max(at, min(int(n), len(text))); len(looks) < 50 {
				look(at, false)
			}
		}
		want := look(len(text), true)
		if len(want) == 1 && want[0] == "no content" {
			want = nil
		}
		if !slices.Equal(l.lines, want) || len(told) != len(want) {
			t.Errorf("%q: %q, told %q", text, l.lines, told)
		}
		for i := range told {
			if !strings.HasPrefix(want[i], told[i]) {
				t.Errorf("line %d is %q, told as %q", i+1, want[i], told[i])
			}
		}
	})
}

// The recorded answers are read alike by dataOf and by encoding/json.
func TestDataOfTheRecordings(t *testing.T) {
	for _, e := range pvetest.Recorded(t) {
		if e.Response.Status != http.StatusOK {
			continue
		}
		var want struct{ Data json.RawMessage }
		if err := json.Unmarshal(e.Response.Body, &want); err != nil {
			t.Fatal(err)
		}
		got, ok := dataOf(e.Response.Body)
		var a, b any
		if !ok || json.Unmarshal(got, &a) != nil || json.Unmarshal(want.Data, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%d %s: %s", e.N, e.Label, got)
		}
	}
}

// Lists of what decodes itself, or of structs within structs, are left to
// encoding/json.
func TestRecordFields(t *testing.T) {
	type within struct{ Node }
	for _, none := range []any{[]UPID{}, []Time{}, []within{}, []string{}, Node{}, []*Node{}} {
		if fields := recordFields(reflect.TypeOf(none)); fields != nil {
			t.Errorf("%T: %v", none, fields)
		}
	}
	if fields := recordFields(reflect.TypeFor[[]rawTask]()); len(fields) != 4 || fields["endtime"] != 3 {
		t.Error(fields)
	}
}
