package lab

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A node that reboots stops its guests, does not answer, and comes back with a
// newer uptime and the guests that start with it.
func TestReboot(t *testing.T) {
	c := open(t)
	uptime := func(node string) int64 {
		return get[struct{ Uptime int64 }](c, "GET", "/nodes/"+node+"/status").Uptime
	}
	before := uptime("pve2")
	if a := c.do("POST", "/nodes/pve2/status", "command", "reboot"); a.Status != 200 || string(a.Data) != "null" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	var seen []string
	see := func(what string) {
		if len(seen) == 0 || seen[len(seen)-1] != what {
			seen = append(seen, what)
		}
	}
	for range 20 {
		for _, n := range get[[]map[string]any](c, "GET", "/nodes") {
			if n["node"] == "pve2" {
				see(n["status"].(string))
			}
		}
		if a := c.do("GET", "/nodes/pve2/status"); a.Status == 595 {
			if len(a.Body) != 0 || !a.Closed {
				t.Errorf("%s", a.Body)
			}
			see("595")
		}
	}
	if want := []string{"online", "595", "online"}; !slices.Equal(seen, want) && !slices.Equal(seen, []string{"online", "offline", "595", "online"}) {
		t.Error(seen)
	}
	if now := uptime("pve2"); now >= before || c.guest(105).Running == false || c.guest(103).Running == false {
		t.Error(now, before, c.guest(105).Running)
	}
	tasks := get[[]map[string]any](c, "GET", "/nodes/pve2/tasks", "limit", "2")
	if tasks[0]["type"] != "startall" || tasks[1]["type"] != "stopall" || tasks[0]["user"] != "root@pam" {
		t.Error(tasks)
	}
}

// While the node whose address is asked reboots, nobody answers at all; with
// two of three nodes down there is no quorum.
func TestRebootOfTheNodeThatIsAsked(t *testing.T) {
	c := open(t)
	down := func(is bool, nodes ...string) []map[string]any {
		c.lab.mu.Lock()
		for _, n := range nodes {
			c.lab.st.node(n).Down = is
		}
		c.lab.mu.Unlock()
		return get[[]map[string]any](c, "GET", "/cluster/status")
	}
	if s := down(true, "pve2"); s[0]["quorate"] != 1.0 || s[2]["online"] != 0.0 || s[3]["online"] != 1.0 {
		t.Error(s)
	}
	if s := down(true, "pve3"); s[0]["quorate"] != 0.0 || s[3]["online"] != 0.0 {
		t.Error(s)
	}
	down(false, "pve2", "pve3")
	c.http.Transport.(*http.Transport).DisableKeepAlives = true
	c.must("POST", "/nodes/pve1/status", "command", "reboot")
	c.lab.Advance(stopAllTime)
	if a, err := c.try("GET", "/version"); err == nil {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	c.must("GET", "/version") // asking lets time pass
}

// apt-get update finds newer packages; with the enterprise repository and no
// subscription it fails, with apt's own words.
func TestAptUpdate(t *testing.T) {
	c := open(t)
	names := func() (out []string) {
		for _, p := range get[[]map[string]any](c, "GET", "/nodes/pve1/apt/update") {
			out = append(out, p["Package"].(string))
		}
		return out
	}
	if got := names(); !slices.Equal(got, []string{"openssl", "libssl3t64"}) {
		t.Error(got)
	}
	c.must("PUT", "/nodes/pve1/apt/repositories", "handle", "enterprise")
	s, log := c.wait(get[string](c, "POST", "/nodes/pve1/apt/update"))
	if s != "command 'apt-get update' failed: exit code 100" || !strings.Contains(log, "InRelease  401  Unauthorized") {
		t.Errorf("%s\n%s", s, log)
	}
	if got := names(); len(got) != 2 {
		t.Error(got)
	}
	c.must("POST", "/nodes/pve1/apt/repositories", "path", enterpriseFile, "index", "0", "enabled", "0")
	s, log = c.wait(get[string](c, "POST", "/nodes/pve1/apt/update"))
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if s != "OK" || lines[0] != "starting apt-get update" || !strings.HasPrefix(lines[1], "Get:1 http") || lines[len(lines)-2] != "Reading package lists..." || lines[len(lines)-1] != "TASK OK" {
		t.Errorf("%s\n%s", s, log)
	}
	if got := names(); !slices.Contains(got, "pve-manager") {
		t.Error(got)
	}
	if a := c.do("POST", "/nodes/pve1/apt/repositories", "path", enterpriseFile, "index", "0", "digest", "old"); a.Status != 500 || !strings.Contains(a.Reason, "detected modified configuration") {
		t.Error(a.Status, a.Reason)
	}
}

func TestHA(t *testing.T) {
	c := open(t)
	c.must("PUT", "/cluster/ha/resources/vm:110", "state", "stopped")
	c.lab.Advance(time.Minute)
	if c.guest(110).Running {
		t.Error("it runs")
	}
	if o := get[map[string]any](c, "GET", "/nodes/pve3/qemu/110/status/current")["ha"].(map[string]any); o["managed"] != 1.0 || o["state"] != "stopped" {
		t.Error(o)
	}
	for _, x := range []struct{ path, says string }{
		{"/cluster/ha/resources/vm:100", "no such resource 'vm:100'"},
		{"/cluster/ha/resources/ct:100", "ct '100' does not exist"},
		{"/cluster/ha/resources/999", "unable to find VM '999' in cluster"},
	} {
		if a := c.do("GET", x.path); a.Status != 500 || a.Reason != x.says {
			t.Errorf("%s: %d %s", x.path, a.Status, a.Reason)
		}
	}
}

func TestPoolChanges(t *testing.T) {
	c := open(t)
	for _, x := range []struct {
		kv   []string
		says string
	}{
		{[]string{"vms", "100"}, "update pools failed: VM 100 is already a pool member"},
		{[]string{"vms", "103", "delete", "1"}, "update pools failed: VM 103 is not a pool member"},
		{[]string{"storage", "backup"}, "update pools failed: Storage 'backup' is already a pool member"},
		{[]string{"storage", "media", "delete", "1"}, "update pools failed: Storage 'media' is not a pool member"},
	} {
		if a := c.do("PUT", "/pools", append([]string{"poolid", "production"}, x.kv...)...); a.Status != 500 || a.Reason != x.says {
			t.Errorf("%v: %d %s", x.kv, a.Status, a.Reason)
		}
	}
	c.must("POST", "/pools", "poolid", "spare")
	if a := c.do("PUT", "/pools", "poolid", "spare", "vms", "103,100"); a.Reason != "update pools failed: VM 100 belongs already to pool 'production' and allow-move is not set" {
		t.Error(a.Reason)
	}
	if c.guest(103).Pool != "" {
		t.Error("half of it was done")
	}
	if a := c.do("DELETE", "/pools", "poolid", "production"); a.Status != 500 || !strings.Contains(a.Reason, "is not empty") {
		t.Error(a.Reason)
	}
	if a := c.do("GET", "/pools", "poolid", "none"); a.Status != 500 || a.Reason != "pool 'none' does not exist" {
		t.Error(a.Reason)
	}
}
