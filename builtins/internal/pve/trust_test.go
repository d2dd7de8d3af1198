package pve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"nixmox/engine/builtin"
)

// bug 8: the token went to whatever host a path named.
func TestTokenStaysWithTheHost(t *testing.T) {
	var stolen atomic.Bool
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Store(true) }))
	defer other.Close()
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	f := fault(t, c.Get(context.Background(), "/x", nil, nil), builtin.Failed)
	if !strings.Contains(f.Said, other.URL) {
		t.Error(f)
	}
	req, _ := http.NewRequest(http.MethodGet, other.URL, nil)
	if res, err := c.rt.RoundTrip(req); err == nil {
		_ = res.Body.Close()
		t.Error("another host was asked")
	}
	req, _ = http.NewRequest(http.MethodGet, "http://"+c.Host(), nil)
	if res, err := c.rt.RoundTrip(req); err == nil {
		_ = res.Body.Close()
		t.Error("without TLS")
	}
	if stolen.Load() {
		t.Error("the other host was asked")
	}
}

func TestNoProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { data(w, 1) }))
	if c.rt.reads.Proxy != nil || c.rt.writes.Proxy != nil {
		t.Error("a proxy is used")
	}
}

func TestTokenIsNeverPrinted(t *testing.T) {
	token := NewSecret(testSecret)
	cfg := Config{TokenID: "a@b!c", Token: token}
	asJSON, _ := json.Marshal(cfg.Token)
	text, _ := token.MarshalText()
	for _, got := range []string{
		fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s %q %x %d", token, token, token, token, token, token, token),
		fmt.Sprintf("%v %+v %#v", cfg, cfg, &cfg), string(asJSON), string(text), token.GoString(),
	} {
		if strings.Contains(got, "5ec7e7") || strings.Contains(got, "356563376537") {
			t.Errorf("%s", got)
		}
	}
	// A host that echoes it.
	for _, handler := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 400, "no "+testSecret, `{"errors":{"x":"`+testSecret+`"}}`)
		},
		func(w http.ResponseWriter, _ *http.Request) { answer(w, 403, "no "+testSecret, "") },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, testSecret) },
		func(w http.ResponseWriter, _ *http.Request) { data(w, testSecret) },
		func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(conn, testSecret+"\r\n\r\n")
			_ = conn.Close()
		},
	} {
		c, _ := host(t, handler)
		var n Int
		err := c.Get(context.Background(), "/x", nil, &n)
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), testSecret) {
				t.Errorf("%T %v", e, e)
			}
		}
		if f := builtin.AsFault(err); f == nil || strings.Contains(f.Said+f.Hint+f.What, testSecret) {
			t.Errorf("%+v", f)
		}
	}
}

func TestTrust(t *testing.T) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { data(w, map[string]any{}) })
	ctx := context.Background()
	_, _, srv := hostWith(t, ok, nil)
	real := fingerprint(srv.Certificate())
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeCert(t, ca, srv)
	other := strings.Repeat("AB:", 31) + "AB"
	for name, test := range map[string]struct {
		change func(*Config)
		hint   string
	}{
		"as Proxmox shows it": {change: func(c *Config) { c.Fingerprint = real }},
		"bare and lower case": {change: func(c *Config) { c.Fingerprint = strings.ToLower(strings.ReplaceAll(real, ":", "")) }},
		"ca file":             {change: func(c *Config) { c.Fingerprint, c.CAFile = "", ca }},
		"another":             {change: func(c *Config) { c.Fingerprint = other }, hint: real},
		"system roots":        {change: func(c *Config) { c.Fingerprint = "" }, hint: real},
	} {
		// Handlers run only for those who were trusted with the token.
		var asked atomic.Int64
		c, _, _ := hostWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); ok(w, r) }), test.change)
		err := c.Get(ctx, "/version", nil, nil)
		if test.hint == "" {
			if err != nil || asked.Load() != 1 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		f := fault(t, err, builtin.Forbidden)
		if asked.Load() != 0 || !strings.Contains(f.Hint, test.hint) || !strings.Contains(f.Hint, "pvenode cert info") {
			t.Errorf("%s: asked %d times: %+v", name, asked.Load(), f)
		}
		if pin, ok := errors.AsType[*FingerprintError](err); name == "another" && (!ok || pin.Expected != other || pin.Seen != real) {
			t.Errorf("%+v", pin)
		}
	}
}

func TestConfig(t *testing.T) {
	good := func() Config {
		return Config{URL: "https://pve.example", TokenID: "nixmox@pve!runs", Token: NewSecret("x")}
	}
	for name, change := range map[string]func(*Config){
		"http":             func(c *Config) { c.URL = "http://pve.example:8006" },
		"no url":           func(c *Config) { c.URL = "" },
		"a path":           func(c *Config) { c.URL = "https://pve.example/pve" },
		"a query":          func(c *Config) { c.URL = "https://pve.example?x" },
		"a password":       func(c *Config) { c.URL = "https://root:pw@pve.example" },
		"broken":           func(c *Config) { c.URL = "https://root:pw@pve example" },
		"no token name":    func(c *Config) { c.TokenID = "root@pam" },
		"a line's end":     func(c *Config) { c.TokenID = "root@pam!a\nb" },
		"no secret":        func(c *Config) { c.Token = Secret{} },
		"secret, line end": func(c *Config) { c.Token = NewSecret("a\r\nX: y") },
		"short print":      func(c *Config) { c.Fingerprint = "AA:BB" },
		"both":             func(c *Config) { c.Fingerprint, c.CAFile = strings.Repeat("ab", 32), "/x" },
		"no such ca":       func(c *Config) { c.CAFile = "/no/such/file" },
		"no certificate":   func(c *Config) { c.CAFile = "/dev/null" },
		"mount: relative":  func(c *Config) { c.Mounts = map[string]string{"backup": "mnt"} },
		"mount: name":      func(c *Config) { c.Mounts = map[string]string{"../x": "/mnt"} },
		"mount: node":      func(c *Config) { c.Mounts = map[string]string{"-n/backup": "/mnt"} },
		"local node":       func(c *Config) { c.LocalNode = "a/b" },
		"token and user":   func(c *Config) { c.User, c.Password = "root@pam", NewSecret("x") },
		"no realm":         func(c *Config) { c.TokenID, c.User, c.Password = "", "root", NewSecret("x") },
		"no password":      func(c *Config) { c.TokenID, c.User = "", "root@pam" },
		"neither":          func(c *Config) { c.TokenID = "" },
	} {
		cfg := good()
		change(&cfg)
		_, err := New(cfg)
		f := fault(t, err, builtin.Invalid)
		if strings.Contains(f.Error(), "pw") {
			t.Errorf("%s: %v", name, f)
		}
	}
	for text, want := range map[string]string{
		"https://pve.example": "pve.example:8006", "https://[::1]": "[::1]:8006", "https://pve.example:443/": "pve.example:443", "https://pve.example:8006/api2/json": "pve.example:8006",
	} {
		cfg := good()
		cfg.URL, cfg.Mounts = text, map[string]string{"backup": "/mnt", "pve1/local": "/mnt"}
		c, err := New(cfg)
		if err != nil || c.Host() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func writeCert(t *testing.T, path string, srv *httptest.Server) {
	t.Helper()
	if err := os.WriteFile(path, pemOf(srv.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
}
