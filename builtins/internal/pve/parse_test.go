package pve

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

func TestParseUPID(t *testing.T) {
	u, err := ParseUPID(testUPID)
	want := UPID{Node: "pve1", PID: 0x21d, PStart: 0x836cb, Start: time.Unix(0x6b042c82, 0).UTC(), Type: "vzdump", ID: "101", User: "root@pam!tok", text: testUPID}
	if err != nil || u != want || u.String() != testUPID {
		t.Errorf("%+v %v", u, err)
	}
	for _, good := range []string{
		"UPID:pve1:000001D5:000833DF:6B042C7A:vzdump::root@pam!tok:",
		"UPID:pve-1:000001D5:1000833DF:6B042C7A:imgdel:101@local:root@pam:",
	} {
		if u, err := ParseUPID(good); err != nil || u.String() != good {
			t.Error(good, err)
		}
	}
	for _, bad := range []string{
		"", "OK", "garbage", "UPID:pve1:000001D5:000833DF:6B042C7A:vzdump:101:root@pam", // go-proxmox panics on seven parts
		"UPID:pve1:000001D5:000833DF:6B042C7A:vzdump:root@pam:", testUPID + "x", "x" + testUPID, testUPID + "\n",
		"UPID:../x:0000021D:000836CB:6B042C82:vzdump:101:root@pam:", "UPID:-a:0000021D:000836CB:6B042C82:vzdump:101:root@pam:",
		"UPID:pve1:0000021G:000836CB:6B042C82:vzdump:101:root@pam:", "UPID:pve1:0000021D:000836CB:6B042C82::101:root@pam:",
		"UPID:pve1:0000021D:000836CB:6B042C82:vz dump:101:root@pam:",
	} {
		if u, err := ParseUPID(bad); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
}

func FuzzParseUPID(f *testing.F) {
	f.Add(testUPID)
	f.Add("UPID:pve1:000001D5:000833DF:6B042C7A:vzdump::root@pam!tok:")
	f.Add("UPID:a:b:c")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUPID(text)
		if err != nil {
			return
		}
		if u.String() != text || u.Node == "" || u.Type == "" || u.User == "" {
			t.Errorf("%q: %+v", text, u)
		}
		Path("/nodes/%s/tasks/%s", u.Node, u.String()) // never panics
		var again UPID
		asJSON, _ := json.Marshal(u)
		if err := json.Unmarshal(asJSON, &again); err != nil || again != u {
			t.Errorf("%s: %+v %v", asJSON, again, err)
		}
	})
}

// bug 11: "vmid":"100" or "template":"1" made a whole list unreadable.
func TestLenientTypes(t *testing.T) {
	type row struct {
		I Int
		F Float
		B Bool
		S Text
		T Time
		L CSV
	}
	for text, want := range map[string]row{
		`{}`: {},
		`{"I":null,"F":null,"B":null,"S":null,"T":null,"L":null}`: {},
		`{"I":100,"F":1,"B":1,"S":"x","T":10,"L":"b,a"}`:          {100, 1, true, "x", Time{time.Unix(10, 0).UTC()}, CSV{"a", "b"}},
		`{"I":"100","F":"0.5","B":"1","S":12,"T":"10","L":"a"}`:   {100, .5, true, "12", Time{time.Unix(10, 0).UTC()}, CSV{"a"}},
		`{"I":1.0,"F":1e3,"B":true,"S":true,"L":""}`:              {1, 1000, true, "true", Time{}, CSV{}},
		`{"I":"","F":"","B":"","S":"","T":""}`:                    {},
		`{"I":true,"B":false}`:                                    {I: 1},
		`{"I":false,"B":"0"}`:                                     {},
		`{"I":9007199254740993,"B":0}`:                            {I: 9007199254740993},
		`{"I":"-5"}`:                                              {I: -5},
	} {
		var got row
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !reflect.DeepEqual(got, want) && (len(got.L) != 0 || len(want.L) != 0) {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for _, text := range []string{`{"I":"x"}`, `{"I":[]}`, `{"I":1e30}`, `{"F":"nan"}`, `{"F":{}}`, `{"F":"x"}`, `{"B":2}`, `{"B":"yes"}`, `{"B":[]}`, `{"S":{}}`, `{"T":"x"}`, `{"L":[]}`} {
		if err := json.Unmarshal([]byte(text), new(row)); err == nil {
			t.Error(text, "passed")
		}
	}
}

func FuzzInt(f *testing.F) {
	f.Add([]byte(`"100"`))
	f.Add([]byte(`1e18`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var n Int
		var b Bool
		var x Float
		_ = b.UnmarshalJSON(text)
		if x.UnmarshalJSON(text) == nil && (math.IsNaN(float64(x)) || math.IsInf(float64(x), 0)) {
			t.Error(x)
		}
		if n.UnmarshalJSON(text) == nil {
			again, _ := json.Marshal(int64(n))
			var m Int
			if err := m.UnmarshalJSON(again); err != nil || m != n {
				t.Errorf("%s: %d %d %v", text, n, m, err)
			}
		}
	})
}
