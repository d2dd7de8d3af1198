package lab

import (
	"encoding/json"
	"testing"
	"time"
)

// A clock that is wrong is one node's only.
func TestClockSkew(t *testing.T) {
	c := open(t, "clock:pve2=skew")
	at := func(node string) time.Time {
		var said struct{ Time int64 }
		if err := json.Unmarshal(c.do("GET", "/nodes/"+node+"/time").Data, &said); err != nil {
			t.Fatal(err)
		}
		return time.Unix(said.Time, 0)
	}
	if ahead := at("pve2").Sub(at("pve1")); ahead < (clockSkew-5)*time.Second || ahead > (clockSkew+5)*time.Second {
		t.Errorf("pve2 is %s ahead", ahead)
	}
}

// A privilege that the main token lacks is neither listed nor granted; root's
// token has it.
func TestMissingPrivilege(t *testing.T) {
	c := open(t, "privilege:Sys.Audit=missing")
	var have map[string]map[string]int
	if err := json.Unmarshal(c.do("GET", "/access/permissions").Data, &have); err != nil {
		t.Fatal(err)
	}
	if _, there := have["/"]["Sys.Audit"]; there || have["/"]["VM.Audit"] != 1 {
		t.Errorf("%v", have["/"])
	}
	if a := c.do("GET", "/nodes/pve1/time"); a.Status != 403 || a.Reason != "Permission check failed (/nodes/pve1, Sys.Audit)" {
		t.Errorf("%d %s", a.Status, a.Reason)
	}
	if a := c.root().do("GET", "/nodes/pve1/time"); a.Status != 200 {
		t.Errorf("root: %d %s", a.Status, a.Reason)
	}
}
