package lab

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTickets(t *testing.T) {
	c := open(t)
	none := *c
	none.auth = ""
	type ticket struct{ Ticket, CSRFPreventionToken, Username string }
	tk := get[ticket](&none, "POST", "/access/ticket", "username", "root@pam", "password", c.end.RootPassword)
	again := get[ticket](&none, "POST", "/access/ticket", "username", "root@pam", "password", tk.Ticket)
	if again.Ticket == "" || again.Username != "root@pam" {
		t.Errorf("%+v", again)
	}
	for _, x := range []struct {
		method, path, ticket, csrf string
		status                     int
		reason                     string
	}{
		{"GET", "/version", tk.Ticket, "", 200, "OK"},
		{"GET", "/version", tk.Ticket + "x", "", 401, "permission denied - invalid PVE ticket"},
		{"POST", "/nodes/pve1/vzdump", tk.Ticket, "", 401, "Permission denied - invalid csrf token"},
		{"POST", "/nodes/pve1/vzdump", tk.Ticket, "00000000:BAD", 401, "Permission denied - invalid csrf token"},
		{"POST", "/nodes/pve1/vzdump", tk.Ticket, tk.CSRFPreventionToken, 400, "Parameter verification failed."},
	} {
		req, _ := http.NewRequest(x.method, c.end.URL+apiPrefix+x.path, nil)
		req.AddCookie(&http.Cookie{Name: "PVEAuthCookie", Value: url.QueryEscape(x.ticket)})
		if x.csrf != "" {
			req.Header.Set("CSRFPreventionToken", x.csrf)
		}
		a, err := none.send(req)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != x.status || a.Reason != x.reason {
			t.Errorf("%s %s: %d %s", x.method, x.path, a.Status, a.Reason)
		}
	}
}

// withTicket makes a request in a ticket's name.
func (c *client) withTicket(method, path, ticket, csrf string) answer {
	c.t.Helper()
	d := *c
	d.auth = ""
	req, err := http.NewRequest(method, c.end.URL+apiPrefix+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: "PVEAuthCookie", Value: url.QueryEscape(ticket)})
	req.Header.Set("CSRFPreventionToken", csrf)
	a, err := d.send(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func TestTicketsExpire(t *testing.T) {
	c := open(t)
	type ticket struct{ Ticket, CSRFPreventionToken string }
	login := func(password string) answer {
		d := *c
		d.auth = ""
		return d.do("POST", "/access/ticket", "username", "root@pam", "password", password)
	}
	first := get[ticket](c, "POST", "/access/ticket", "username", "root@pam", "password", c.end.RootPassword)
	c.lab.Advance(2*time.Hour - time.Minute)
	if a := c.withTicket("GET", "/version", first.Ticket, ""); a.Status != 200 {
		t.Errorf("just before its end: %d %s", a.Status, a.Reason)
	}
	second := get[ticket](c, "POST", "/access/ticket", "username", "root@pam", "password", first.Ticket)
	c.lab.Advance(2 * time.Minute)
	if a := c.withTicket("GET", "/version", first.Ticket, ""); a.Status != 401 || a.Reason != "permission denied - invalid PVE ticket" || len(a.Body) != 0 || !a.Closed {
		t.Errorf("after two hours: %+v", a)
	}
	if a := c.withTicket("POST", "/nodes/pve1/vzdump", second.Ticket, first.CSRFPreventionToken); a.Status != 401 || a.Reason != "Permission denied - invalid csrf token" || len(a.Body) != 0 {
		t.Errorf("an old CSRF token: %+v", a)
	}
	if a := c.withTicket("GET", "/version", second.Ticket, ""); a.Status != 200 {
		t.Errorf("renewed: %+v", a)
	}
	if a := login(first.Ticket); a.Status != 401 || a.Reason != "authentication failure" {
		t.Errorf("an expired ticket as password: %+v", a)
	}
}

func TestTicketFault(t *testing.T) {
	c := open(t, "ticket=expired*1")
	tk := get[struct{ Ticket string }](c, "POST", "/access/ticket", "username", "root@pam", "password", c.end.RootPassword)
	if a := c.do("GET", "/version"); a.Status != 200 {
		t.Errorf("tokens are another matter: %+v", a)
	}
	for i, want := range []int{401, 200} {
		if a := c.withTicket("GET", "/version", tk.Ticket, ""); a.Status != want {
			t.Errorf("%d: %+v", i, a)
		}
	}
}

func TestPrivileges(t *testing.T) {
	c := open(t, "vzdump:101=deny")
	p := get[map[string]map[string]int](c, "GET", "/access/permissions")
	if p["/vms"]["VM.Backup"] != 1 || p["/vms"]["VM.Console"] != 0 || p["/vms/101"] == nil || p["/vms/101"]["VM.Backup"] != 0 {
		t.Errorf("%v", p)
	}
	if p := get[map[string]map[string]int](c.root(), "GET", "/access/permissions", "path", "/vms"); len(p) != 1 || p["/vms"]["VM.Allocate"] != 1 {
		t.Errorf("%v", p)
	}
	for _, x := range []struct {
		who    *client
		kv     []string
		status int
		reason string
	}{
		{c, []string{"prune-backups", "keep-last=2"}, 200, "OK"}, // Datastore.Allocate
		{c, []string{"ionice", "5"}, 403, "Permission check failed (/, Sys.Modify)"},
		{c, []string{"script", "/x"}, 400, "Parameter verification failed."},
		{c, []string{"job-id", "x"}, 400, "Parameter verification failed."},
		{c.root(), []string{"bwlimit", "5"}, 200, "OK"},
		{c.root(), []string{"dumpdir", "/x"}, 400, "Parameter verification failed."}, // a token of root's is not root
	} {
		a := x.who.do("POST", "/nodes/pve1/vzdump", append([]string{"vmid", "109", "storage", "backup"}, x.kv...)...)
		if a.Status != x.status || a.Reason != x.reason {
			t.Errorf("%v: %d %s %s", x.kv, a.Status, a.Reason, a.Body)
		}
	}
	// All guests but the denied one, silently; named, it ends the job.
	if s, log := c.backup("pve2", "all", "1", "storage", "backup"); s != "OK" || strings.Contains(log, "VM 101 ") || !strings.Contains(log, "VM 105 ") {
		t.Errorf("%s\n%s", s, log)
	}
	if s, log := c.backup("pve2", "vmid", "101,105", "storage", "backup"); !strings.HasPrefix(s, "403 ") || strings.Contains(log, "VM 105 ") {
		t.Errorf("%s\n%s", s, log)
	}
}

func TestFingerprint(t *testing.T) {
	c := open(t)
	var got string
	tr := c.http.Transport.(*http.Transport)
	tr.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
		got = fmt.Sprintf("%X", sha256.Sum256(s.PeerCertificates[0].Raw))
		return nil
	}
	c.do("GET", "/version")
	if got == "" || got != strings.ReplaceAll(c.end.Fingerprint, ":", "") {
		t.Errorf("%s, not %s", got, c.end.Fingerprint)
	}
}

func TestObserve(t *testing.T) {
	var mu sync.Mutex
	var seen []Exchange
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockAuto, Observe: func(x Exchange) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, x)
	}}, "api:GET /nodes=drop")
	c.do("GET", "/cluster/resources", "type", "vm")
	c.do("POST", "/access/ticket", "username", "root@pam", "password", c.end.RootPassword)
	c.do("GET", "/nosuch")
	if _, err := c.try("GET", "/nodes"); err == nil {
		t.Error("not cut")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 4 { // a cut GET may be tried again
		t.Fatalf("%+v", seen)
	}
	if x := seen[0]; x.Method != http.MethodGet || x.Path != "/cluster/resources" || x.Query != "type=vm" || x.Params["type"][0] != "vm" || x.Status != 200 || len(x.Body) == 0 {
		t.Errorf("%+v", x)
	}
	if x := seen[2]; x.Status != 501 || x.Reason != "Method 'GET /nosuch' not implemented" {
		t.Errorf("%+v", x)
	}
	if x := seen[3]; x.Status != 0 {
		t.Errorf("%+v", x)
	}
	if text := fmt.Sprintf("%s %v", "", seen); strings.Contains(text, c.end.TokenSecret) || strings.Contains(text, c.end.RootPassword) {
		t.Error("a secret was shown")
	}
}
