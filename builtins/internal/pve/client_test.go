package pve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

// go-proxmox takes every status but 400, 401, 403, 500 and 501 for a success
// (libraries: bug 1); a DELETE on a node that is down "succeeds".
func TestNoStatusPassesForSuccess(t *testing.T) {
	var status atomic.Int64
	bodies := []string{"", `{"data":null}`, `{"data":"UPID:x"}`, "<html>Bad gateway</html>"}
	var body atomic.Value
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, int(status.Load()), "what it says", body.Load().(string))
	}))
	kinds := map[int]builtin.Kind{
		301: builtin.Failed, 302: builtin.Failed, 400: builtin.Invalid, 401: builtin.Forbidden, 403: builtin.Forbidden,
		404: builtin.Failed, 429: builtin.Failed, 500: builtin.Failed, 501: builtin.Failed,
		502: builtin.Unreachable, 503: builtin.Unreachable, 504: builtin.Unreachable,
		595: builtin.Unreachable, 596: builtin.Unreachable, 599: builtin.Unreachable,
	}
	ctx := context.Background()
	for code, kind := range kinds {
		for _, b := range bodies {
			status.Store(int64(code))
			body.Store(b)
			var raw json.RawMessage
			for name, err := range map[string]error{
				"GET": c.Get(ctx, "/x", nil, nil), "GET out": c.Get(ctx, "/x", nil, &raw), "DELETE": c.Delete(ctx, "/x", nil, nil),
				"PUT": c.Put(ctx, "/x", nil, nil), "POST": c.Post(ctx, "/x", map[string]any{"a": 1}, &raw),
			} {
				f := builtin.AsFault(err)
				if f == nil || f.Kind != kind {
					t.Fatalf("%d %s %q: want %s, got %v", code, name, b, kind, err)
				}
				if api, ok := errors.AsType[*APIError](err); !ok || api.Status != code || api.Path != "/x" {
					t.Errorf("%d %s: %+v", code, name, api)
				}
				doubt := !strings.HasPrefix(name, "GET") && (code == 502 || code == 504 || code == 596 || code == 599)
				if InDoubt(err) != doubt {
					t.Errorf("%d %s: in doubt %v", code, name, InDoubt(err))
				}
			}
		}
	}
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	var body atomic.Value
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body.Load().(string)) }))
	ctx := context.Background()
	for _, b := range []string{"", "<html>hello", "[]", `{"success":1}`, `{"data":`, "null"} {
		body.Store(b)
		var list []Node
		fault(t, c.Get(ctx, "/nodes", nil, &list), builtin.Unreachable)
		fault(t, c.Get(ctx, "/nodes", nil, nil), builtin.Unreachable)
		if err := c.Delete(ctx, "/x", nil, nil); !InDoubt(err) {
			t.Errorf("%q: it may have been deleted: %v", b, err)
		}
	}
	// null is no list, and no text.
	body.Store(`{"data":null}`)
	var list []Node
	fault(t, c.Get(ctx, "/nodes", nil, &list), builtin.Unreachable)
	if err := c.Get(ctx, "/nodes", nil, nil); err != nil {
		t.Error("nobody asked for the data:", err)
	}
	raw := json.RawMessage("x")
	if err := c.Get(ctx, "/nodes", nil, &raw); err != nil || string(raw) != "null" {
		t.Error(string(raw), err)
	}
	upid := "untouched"
	if err := c.Delete(ctx, "/x", nil, &upid); err != nil || upid != "untouched" {
		t.Error("a DELETE that finished in time answers null:", upid, err)
	}
	// A write's answer of the wrong shape: it was made.
	body.Store(`{"data":{"a":1}}`)
	if err := c.Post(ctx, "/x", nil, &upid); !InDoubt(err) {
		t.Error(err)
	}
}

// bug 2: 401 and 403 were one error without Proxmox's words.
func TestForbiddenSaysWhichPrivilege(t *testing.T) {
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, 403, "Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)", "")
	}))
	f := fault(t, c.Get(context.Background(), "/x", nil, nil), builtin.Forbidden)
	for _, want := range []string{"Datastore.Audit or Datastore.AllocateSpace", "on /storage/local", "its own ACL", "root@pam!tok"} {
		if !strings.Contains(f.Hint, want) {
			t.Errorf("%q is not in the hint %q", want, f.Hint)
		}
	}
}

func TestKindsByWords(t *testing.T) {
	for reason, kind := range map[string]builtin.Kind{
		"VM is locked (backup)": builtin.Busy,
		"can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout": builtin.Busy,
		"storage 'x' does not exist":                                          builtin.NotFound,
		"no such VM ('999')":                                                  builtin.NotFound,
		"unable to activate storage 'nas' - directory '/mnt/pve/nas' does not exist or is unreachable": builtin.Unreachable,
		"storage 'nas' is not online":                     builtin.Unreachable,
		"cluster not ready - no quorum?":                  builtin.Unreachable,
		"ipcc_send_rec[1] failed: Connection refused":     builtin.Unreachable,
		"can't open '/dev/x' - No such file or directory": builtin.Failed,
		"checksum mismatch (file change by other user?)":  builtin.Conflict,
		"VM 101 already running":                          builtin.Failed,
	} {
		c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 500, reason, "") }))
		f := fault(t, c.Get(context.Background(), "/x", nil, nil), kind)
		if !strings.Contains(f.Said, reason) || !strings.Contains(f.What, "GET /x on 127.0.0.1:") {
			t.Errorf("%q: %q said %q", reason, f.What, f.Said)
		}
	}
}

func TestReadsAreTriedThreeTimes(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"596":     func(w http.ResponseWriter) { answer(w, 596, "Broken pipe", "") },
		"595":     func(w http.ResponseWriter) { answer(w, 595, "Connection refused", "") },
		"502":     func(w http.ResponseWriter) { answer(w, 502, "Bad gateway", "<html>") },
		"dropped": drop,
		"cut body": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"data"`)
		},
		"no answer!": func(w http.ResponseWriter) { answer(w, 503, "", "") },
	} {
		var n atomic.Int64
		bad := int64(2)
		c, clk := host(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1) <= bad {
				fail(w)
				return
			}
			data(w, map[string]any{"release": "9.2"})
		}))
		v, err := c.Version(context.Background())
		if err != nil || v.Release != "9.2" || n.Load() != 3 || len(clk.slept) != 2 || clk.slept[0] >= clk.slept[1] {
			t.Errorf("%s: %v %v after %d tries, slept %v", name, v, err, n.Load(), clk.slept)
		}
		n.Store(-10)
		bad = 100
		_, err = c.Version(context.Background())
		fault(t, err, builtin.Unreachable)
		// Go's own transport repeats a read that died on a kept connection.
		if tries := n.Load() + 10; tries != 3 && (name != "dropped" || tries != 4) {
			t.Errorf("%s: %d tries", name, n.Load()+10)
		}
	}
}

// bug 9: a POST whose connection dropped reached the server three times.
func TestChangesAreSentOnce(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"dropped": drop,
		"596":     func(w http.ResponseWriter) { answer(w, 596, "Broken pipe", "") },
		"502":     func(w http.ResponseWriter) { answer(w, 502, "Bad gateway", "") },
	} {
		var n atomic.Int64
		c, clk := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				data(w, []any{})
				return
			}
			_, _ = io.ReadAll(r.Body)
			n.Add(1)
			fail(w)
		}))
		ctx := context.Background()
		// A connection kept alive by a read is what tempts clients to retry.
		if err := c.Get(ctx, "/nodes", nil, nil); err != nil {
			t.Fatal(err)
		}
		for i, send := range []func() error{
			func() error { return c.Post(ctx, "/nodes/a/vzdump", map[string]any{"vmid": 100}, nil) },
			func() error { return c.Put(ctx, "/x", map[string]any{}, nil) },
			func() error { return c.Delete(ctx, "/x", nil, nil) },
		} {
			err := send()
			f := fault(t, err, builtin.Unreachable)
			if n.Load() != int64(i+1) || !InDoubt(err) || !strings.Contains(f.Hint, "look before doing it again") {
				t.Errorf("%s %d: %d requests, in doubt %v, %q", name, i, n.Load(), InDoubt(err), f.Hint)
			}
		}
		if len(clk.slept) != 0 {
			t.Error(clk.slept)
		}
	}
}

func TestNotSentIsNotInDoubt(t *testing.T) {
	c, _, srv := hostWith(t, http.NotFoundHandler(), nil)
	srv.Close()
	err := c.Post(context.Background(), "/x", nil, nil)
	fault(t, err, builtin.Unreachable)
	if InDoubt(err) {
		t.Error("nothing was listening:", err)
	}
}

// bug 7: since=1790000000 was sent as 1.79e+09; bug 8: nothing was escaped.
func TestWhatIsSent(t *testing.T) {
	var got *http.Request
	var body []byte
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		data(w, []any{})
	}))
	ctx := context.Background()
	_, err := c.Tasks(ctx, "pve1", TaskFilter{
		VMID: 101, Type: "vzdump", Failed: true, Since: time.Unix(1790000000, 0), Until: time.Unix(1790000001, 0), Source: "all", Start: 3, Limit: 100000, User: "a@pve",
	})
	want := "errors=1&limit=100000&since=1790000000&source=all&start=3&typefilter=vzdump&until=1790000001&userfilter=a%40pve&vmid=101"
	if err != nil || got.URL.RawQuery != want {
		t.Errorf("%v %s", err, got.URL.RawQuery)
	}
	volume := "local:backup/vzdump-qemu-101 ?#%.vma.zst"
	err = c.Delete(ctx, Path("/nodes/%s/storage/%s/content/%s", "pve1", "local", volume), map[string]any{"delay": 5, "since": 1790000000, "force": true, "x": []string{"a", "b"}}, nil)
	if err != nil || !strings.HasSuffix(got.URL.EscapedPath(), "/content/local:backup%2Fvzdump-qemu-101%20%3F%23%25.vma.zst") ||
		got.URL.RawQuery != "delay=5&force=1&since=1790000000&x=a&x=b" || len(body) != 0 {
		t.Errorf("%v %s %s", err, got.URL.EscapedPath(), got.URL.RawQuery)
	}
	err = c.Post(ctx, "/nodes/pve1/vzdump", map[string]any{"vmid": "100,101", "since": 1790000000, "remove": false}, nil)
	if err != nil || string(body) != `{"remove":false,"since":1790000000,"vmid":"100,101"}` {
		t.Errorf("%v %s", err, body)
	}
}

func TestPathRefuses(t *testing.T) {
	for name, do := range map[string]func(){
		"too few":  func() { Path("/nodes/%s/%s", "a") },
		"too many": func() { Path("/nodes", "a") },
		"dots":     func() { Path("/nodes/%s", "..") },
		"empty":    func() { Path("/nodes/%s/x", "") },
		"relative": func() { Path("nodes") },
		"other URL": func() {
			c, _ := host(t, http.NotFoundHandler())
			_ = c.Get(context.Background(), "https://evil.example/", nil, nil)
		},
		"query": func() { c, _ := host(t, http.NotFoundHandler()); _ = c.Get(context.Background(), "/x?y=1", nil, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error(name, "passed")
				}
			}()
			do()
		}()
	}
}

func TestBoundedAnswer(t *testing.T) {
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":"`)
		block := strings.Repeat("x", 1<<20)
		for range 65 {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
	}))
	f := fault(t, c.Get(context.Background(), "/x", nil, nil), builtin.Unreachable)
	if !strings.Contains(f.Said, "64 MiB") {
		t.Error(f)
	}
}

func TestCancelled(t *testing.T) {
	release := make(chan struct{})
	started := make(chan struct{}, 10)
	c, clk := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		started <- struct{}{}
		<-release
	}))
	defer close(release)
	for _, method := range []string{"GET", "POST"} {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-started; cancel() }()
		err := c.once(ctx, method, "/x", nil, nil, nil)
		if !errors.Is(err, context.Canceled) || builtin.AsFault(err) != nil || InDoubt(err) != (method == "POST") {
			t.Errorf("%s: %v, in doubt %v", method, err, InDoubt(err))
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	f := fault(t, c.Get(ctx, "/x", nil, nil), builtin.Timeout)
	if !errors.Is(f, context.DeadlineExceeded) || len(clk.slept) != 0 {
		t.Error(f, clk.slept)
	}
}

// bug 10: concurrent first calls failed, and a version was a data race.
func TestConcurrent(t *testing.T) {
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { data(w, map[string]any{"version": "9"}) }))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := c.Version(context.Background()); err != nil || v.Version != "9" {
				t.Error(v, err)
			}
			if err := c.Put(context.Background(), "/x", map[string]any{"a": 1}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Proxmox cuts what is idle for 5 s; a change never rides on an old connection.
func TestConnections(t *testing.T) {
	remotes := map[string]int{}
	var mu sync.Mutex
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		remotes[r.Method+r.RemoteAddr]++
		mu.Unlock()
		data(w, 1)
	}))
	for range 3 {
		_ = c.Get(context.Background(), "/x", url.Values{}, nil)
		_ = c.Post(context.Background(), "/x", nil, nil)
	}
	if len(remotes) != 4 {
		t.Errorf("want one connection for reads and one for each change: %v", remotes)
	}
	if rt := c.rt.reads; rt.IdleConnTimeout >= 5*time.Second || rt.MaxIdleConnsPerHost < 16 || rt.TLSClientConfig.ClientSessionCache == nil || rt.TLSClientConfig.MinVersion < 0x0303 {
		t.Error("limits")
	}
}

// Proxmox closes after every error and after 5 s without a request, whether or
// not it says so before. The next request comes through all the same, and a
// change is sent once.
func TestCutConnections(t *testing.T) {
	var changes atomic.Int64
	c, clk := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			changes.Add(1)
		}
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 10\r\n\r\n{\"data\":1}")
		_ = buf.Flush()
		_ = conn.Close()
	}))
	ctx := context.Background()
	for range 5 {
		if err := c.Get(ctx, "/x", nil, nil); err != nil {
			t.Error(err)
		}
		if err := c.Post(ctx, "/x", nil, nil); err != nil {
			t.Error(err)
		}
	}
	if changes.Load() != 5 || len(clk.slept) != 0 {
		t.Error(changes.Load(), clk.slept)
	}
}

// Proxmox says 501 of a body above 512 KiB, as it does of an unknown method.
func TestTooMuchInOneRequest(t *testing.T) {
	reason := "for data too large"
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 501, reason, "") }))
	f := fault(t, c.Post(context.Background(), "/x", nil, nil), builtin.Invalid)
	if !strings.Contains(f.Hint, "512 KiB") {
		t.Error(f.Hint)
	}
	reason = "Method 'POST /x' not implemented"
	f = fault(t, c.Post(context.Background(), "/x", nil, nil), builtin.Failed)
	if !strings.Contains(f.Hint, "does not have that call") {
		t.Error(f.Hint)
	}
}

// bug 13: go-proxmox can print requests and bodies, with the passwords in them.
func TestNothingIsPrinted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = w, w
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answer(w, 400, "no", `{"errors":{"x":"y"}}`)
			return
		}
		data(w, "done")
	}))
	_ = c.Get(context.Background(), "/x", nil, nil)
	_ = c.Post(context.Background(), "/nodes/pve1/qemu/100/agent/set-user-password", map[string]any{"password": testPassword}, nil)
	_ = w.Close()
	printed, err := io.ReadAll(r)
	if err != nil || len(printed) != 0 {
		t.Errorf("%s %v", printed, err)
	}
}
