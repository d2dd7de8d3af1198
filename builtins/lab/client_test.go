package lab

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nixmox/builtins/lab/command"
)

// history is shared by the labs of all tests.
var history string

func TestMain(m *testing.M) {
	command.Intercept()
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

// client talks to a lab as a plain HTTP client, and keeps what it saw.
type client struct {
	t    testing.TB
	lab  *Lab
	end  Endpoint
	http *http.Client
	auth string
}

type answer struct {
	Status int
	Reason string
	Body   []byte
	Data   json.RawMessage
	Total  int
	Errors map[string]string
	Closed bool
}

// open opens a fresh lab and starts it. Its tasks go on only when the test
// looks, however slow the machine is.
func open(t testing.TB, faults ...string) *client {
	t.Helper()
	c := openWith(t, Options{Dir: t.TempDir(), Clock: ClockAuto}, faults...)
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	c.lab.idle = time.Hour
	return c
}

func openWith(t testing.TB, o Options, faults ...string) *client {
	t.Helper()
	for _, s := range faults {
		f, err := ParseFault(s)
		if err != nil {
			t.Fatal(err)
		}
		o.Faults = append(o.Faults, f)
	}
	o.Brief, o.History = true, history
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	end, err := l.Start()
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	c := &client{t: t, lab: l, end: end, http: &http.Client{Transport: tr}}
	c.auth = "PVEAPIToken=" + end.TokenID + "=" + end.TokenSecret
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// root is the same client with root's token.
func (c *client) root() *client {
	d := *c
	d.auth = "PVEAPIToken=" + c.end.RootTokenID + "=" + c.end.RootTokenSecret
	return &d
}

// try makes a request; its parameters are k, v, k, v …
func (c *client) try(method, path string, kv ...string) (answer, error) {
	form := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		form.Add(kv[i], kv[i+1])
	}
	u := c.end.URL + apiPrefix + path
	var body io.Reader
	if method == "GET" || method == "DELETE" {
		if len(form) > 0 {
			u += "?" + form.Encode()
		}
	} else {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, u, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return c.send(req)
}

func (c *client) send(req *http.Request) (answer, error) {
	if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: res.StatusCode, Reason: strings.TrimPrefix(res.Status, res.Status[:4]), Body: b, Closed: res.Close}
	var parsed struct {
		Data   json.RawMessage
		Total  int
		Errors map[string]string
	}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &parsed); err != nil {
			c.t.Fatalf("%s %s: %v in %s", req.Method, req.URL, err, b)
		}
	}
	a.Data, a.Total, a.Errors = parsed.Data, parsed.Total, parsed.Errors
	return a, nil
}

func (c *client) do(method, path string, kv ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, kv...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// get makes a request that must succeed and decodes its data.
func get[T any](c *client, method, path string, kv ...string) T {
	c.t.Helper()
	a := c.do(method, path, kv...)
	var v T
	if a.Status != 200 {
		c.t.Fatalf("%s %s: %d %s %s", method, path, a.Status, a.Reason, a.Body)
	}
	if err := json.Unmarshal(a.Data, &v); err != nil {
		c.t.Fatalf("%s %s: %v in %s", method, path, err, a.Data)
	}
	return v
}

type taskStatus struct {
	Status, ExitStatus, Type, ID, UPID string
	Start                              int64 `json:"starttime"`
}

func (c *client) status(upid string) taskStatus {
	c.t.Helper()
	node := strings.Split(upid, ":")[1]
	return get[taskStatus](c, "GET", "/nodes/"+node+"/tasks/"+upid+"/status")
}

// wait polls until the task ends and gives its exit status and its log.
func (c *client) wait(upid string) (string, string) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s := c.status(upid)
		if s.Status == "stopped" {
			return s.ExitStatus, c.log(upid)
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s does not end; its log:\n%s", upid, c.log(upid))
		}
	}
}

func (c *client) log(upid string) string {
	c.t.Helper()
	node := strings.Split(upid, ":")[1]
	var b strings.Builder
	for _, l := range get[[]struct{ T string }](c, "GET", "/nodes/"+node+"/tasks/"+upid+"/log", "limit", "0") {
		b.WriteString(l.T + "\n")
	}
	return b.String()
}

// backup starts a vzdump and waits for it.
func (c *client) backup(node string, kv ...string) (status, log string) {
	c.t.Helper()
	return c.wait(get[string](c, "POST", "/nodes/"+node+"/vzdump", kv...))
}

type content struct {
	VolID, Format, Subtype, Notes, Content string
	Size, CTime                            int64
	VMID                                   int
	Protected                              int
}

func (c *client) backups(node, store, vmid string) []content {
	c.t.Helper()
	return get[[]content](c, "GET", "/nodes/"+node+"/storage/"+store+"/content", "content", "backup", "vmid", vmid)
}

func postJSON(c *client, path string, v any) answer {
	b, _ := json.Marshal(v)
	req, _ := http.NewRequest(http.MethodPost, c.end.URL+apiPrefix+path, bytes.NewReader(b))
	req.Header.Set("Content-Type", "application/json")
	a, err := c.send(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// guest is a copy of a guest as it is now.
func (c *client) guest(vmid int) guest {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	return *c.lab.st.guest(vmid)
}
