package pve

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nixmox/builtins/internal/pvetest"
	"nixmox/engine/builtin"
)

// history is shared by the labs of all tests.
var history string

func TestMain(m *testing.M) {
	var err error
	if history, err = os.MkdirTemp("", "nixmox-history-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(history); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

const testSecret = "5ec7e7-0f-the-token"

// clock is time that passes only while somebody sleeps.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
	// wake, if set, is called at each sleep with how often there was one.
	wake func(n int)
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	n, wake := len(c.slept), c.wake
	c.mu.Unlock()
	if wake != nil {
		wake(n)
	}
	return ctx.Err()
}

// host serves a handler as a Proxmox host would, over TLS and pinned.
func host(t testing.TB, handler http.Handler) (*Client, *clock) {
	t.Helper()
	c, clk, _ := hostWith(t, handler, nil)
	return c, clk
}

func hostWith(t testing.TB, handler http.Handler, change func(*Config)) (*Client, *clock, *httptest.Server) {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{quickCertificate()}}
	srv.StartTLS()
	clk := newClock()
	cfg := Config{
		URL: srv.URL, TokenID: "root@pam!tok", Token: NewSecret(testSecret), Fingerprint: fingerprint(srv.Certificate()),
		Sleep: clk.Sleep, Now: clk.Now,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); srv.Close() })
	return c, clk, srv
}

// quickCertificate is one for all hosts. httptest's own is of RSA, whose
// handshakes take most of the time of these tests.
var quickCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a host"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"example.com"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// answer writes a raw answer, since Go's server knows neither Proxmox's
// reasons nor its statuses. Proxmox closes the connection after an error.
func answer(w http.ResponseWriter, status int, reason, body string) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = conn.Close() }()
	writeAnswer(buf.Writer, status, reason, body)
}

func writeAnswer(w *bufio.Writer, status int, reason, body string) {
	_, _ = fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s", status, reason, len(body), body)
	_ = w.Flush()
}

func data(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"data": v})
}

func drop(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.Close()
}

func fault(t *testing.T, err error, kind builtin.Kind) *builtin.Fault {
	t.Helper()
	f := builtin.AsFault(err)
	if f == nil || f.Kind != kind {
		t.Fatalf("want a fault %s, got %#v", kind, err)
	}
	return f
}

// params are a map, or pairs where a key came twice.
type params map[string]any

func (p *params) UnmarshalJSON(text []byte) error {
	var pairs [][2]any
	if json.Unmarshal(text, &pairs) != nil {
		return json.Unmarshal(text, (*map[string]any)(p))
	}
	*p = params{}
	for _, pair := range pairs {
		key := pair[0].(string)
		list, _ := (*p)[key].([]any)
		(*p)[key] = append(list, pair[1])
	}
	return nil
}

// serve answers what the real host answered.
func serve(w http.ResponseWriter, e pvetest.Recording) {
	body := string(e.Response.Body)
	if body == "null" {
		body = ""
	}
	if e.Response.Status == 200 {
		_, _ = w.Write([]byte(body))
		return
	}
	answer(w, e.Response.Status, e.Response.Reason, body)
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func mustParse(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}
