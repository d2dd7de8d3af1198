package pve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nixmox/builtins/internal/pvetest"
	"nixmox/engine/builtin"
)

const testPassword = "corr3ct-horse"

// gate is a host that knows one user, root@pam, and tickets of two hours.
type gate struct {
	mu     sync.Mutex
	now    func() time.Time
	life   time.Duration
	issued map[string]time.Time // by ticket
	logins []string             // what they were made with: password or ticket
	wrong  int                  // logins refused
	// instead, if set, answers a login.
	instead func(w http.ResponseWriter) bool
	asked   []string // methods of what got through the gate
	bodies  []string
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.URL.Path == "/api2/json/access/ticket" {
		g.login(w, r)
		return
	}
	cookie, err := r.Cookie("PVEAuthCookie")
	if err != nil || r.Header.Get("Authorization") != "" {
		answer(w, 401, "No ticket", "")
		return
	}
	ticket, _ := url.QueryUnescape(cookie.Value)
	if at, ok := g.issued[ticket]; !ok || g.now().Sub(at) >= g.life {
		answer(w, 401, "permission denied - invalid PVE ticket", "")
		return
	}
	if r.Method != http.MethodGet && r.Header.Get("CSRFPreventionToken") != "csrf of "+ticket {
		answer(w, 401, "Permission denied - invalid csrf token", "")
		return
	}
	body, _ := io.ReadAll(r.Body)
	g.asked, g.bodies = append(g.asked, r.Method), append(g.bodies, string(body))
	if r.URL.Path == "/api2/json/handler" { // a method that says 401 itself
		answer(w, 401, "authentication failure", `{"data":null,"message":"authentication failure\n"}`)
		return
	}
	data(w, map[string]any{"release": "9.2"})
}

func (g *gate) login(w http.ResponseWriter, r *http.Request) {
	var said struct{ Username, Password string }
	_ = json.NewDecoder(r.Body).Decode(&said)
	at, isTicket := g.issued[said.Password]
	switch {
	case g.instead != nil && g.instead(w):
		return
	case isTicket && g.now().Sub(at) < g.life:
		g.logins = append(g.logins, "ticket")
	case said.Username == "root@pam" && said.Password == testPassword:
		g.logins = append(g.logins, "password")
	default:
		g.wrong++
		answer(w, 401, "authentication failure", `{"data":null,"message":"authentication failure\n"}`)
		return
	}
	ticket := fmt.Sprintf("PVE:root@pam:%08X::a+b/%d==", g.now().Unix(), len(g.logins))
	g.issued[ticket] = g.now()
	data(w, map[string]any{"ticket": ticket, "CSRFPreventionToken": "csrf of " + ticket, "username": "root@pam"})
}

func behindGate(t *testing.T, change func(*Config)) (*Client, *clock, *gate) {
	t.Helper()
	g := &gate{life: 2 * time.Hour, issued: map[string]time.Time{}}
	c, clk, _ := hostWith(t, g, func(cfg *Config) {
		cfg.TokenID, cfg.Token, cfg.User, cfg.Password = "", Secret{}, "root@pam", NewSecret(testPassword)
		g.now = cfg.Now
		if change != nil {
			change(cfg)
		}
	})
	return c, clk, g
}

func (g *gate) expect(t *testing.T, logins string, wrong int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := strings.Join(g.logins, " "); got != logins || g.wrong != wrong {
		t.Errorf("logins: %q, %d wrong; want %q, %d", got, g.wrong, logins, wrong)
	}
}

func TestLogin(t *testing.T) {
	c, clk, g := behindGate(t, nil)
	ctx := context.Background()
	use := func() {
		t.Helper()
		if v, err := c.Version(ctx); err != nil || v.Release != "9.2" {
			t.Fatal(v, err)
		}
		for _, err := range []error{c.Post(ctx, "/x", map[string]any{"a": 1}, nil), c.Put(ctx, "/x", nil, nil), c.Delete(ctx, "/x", nil, nil)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	use()
	use()
	g.expect(t, "password", 0)
	advance(clk, 59*time.Minute)
	use()
	g.expect(t, "password", 0)
	advance(clk, time.Minute)
	use()
	g.expect(t, "password ticket", 0)
	// Away for longer than a ticket lives: it is no password any more.
	advance(clk, 3*time.Hour)
	use()
	g.expect(t, "password ticket password", 0)
	// A clock that goes back makes a ticket's age unknown.
	advance(clk, -time.Minute)
	use()
	g.expect(t, "password ticket password ticket", 0)
}

func advance(clk *clock, d time.Duration) {
	clk.mu.Lock()
	clk.now = clk.now.Add(d)
	clk.mu.Unlock()
}

// Bug 10: of 20 first calls at once, 19 failed in go-proxmox.
func TestFirstCallsAtOnceLogInOnce(t *testing.T) {
	c, clk, g := behindGate(t, nil)
	all := func() (failed int) {
		var wg sync.WaitGroup
		errs := make(chan error, 20)
		for range 20 {
			wg.Go(func() { _, err := c.Version(context.Background()); errs <- err })
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				failed++
			}
		}
		return failed
	}
	if failed := all(); failed != 0 {
		t.Error(failed, "failed")
	}
	g.expect(t, "password", 0)
	advance(clk, 61*time.Minute)
	if failed := all(); failed != 0 {
		t.Error(failed, "failed")
	}
	g.expect(t, "password ticket", 0)
}

// A wrong password is not tried once for each call that waits for a ticket.
func TestAWrongPasswordIsTriedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tried, refuse := 0, make(chan struct{})
		l := newLogin(Config{User: "root@pam", Now: time.Now}, func(context.Context, string, string) (*ticket, error) {
			tried++
			<-refuse
			return nil, &APIError{Status: 401}
		})
		errs := make([]error, 20)
		for i := range errs {
			go func() { _, errs[i] = l.ticket(t.Context(), nil) }()
		}
		synctest.Wait() // all of them wait now, one for the answer
		close(refuse)
		synctest.Wait()
		for _, err := range errs {
			if _, ok := errors.AsType[*APIError](err); !ok {
				t.Error(err)
			}
		}
		if tried != 1 {
			t.Error(tried, "logins")
		}
		// Later calls do not live on that answer.
		if _, err := l.ticket(t.Context(), nil); err == nil || tried != 2 {
			t.Error(err, tried)
		}
	})
}

func TestAWrongPassword(t *testing.T) {
	c, _, g := behindGate(t, func(cfg *Config) { cfg.Password = NewSecret("a wrong one") })
	f := fault(t, c.Get(context.Background(), "/version", nil, nil), builtin.Forbidden)
	if !strings.Contains(f.Hint, "password of root@pam") || !strings.Contains(f.What, ticketPath) || !strings.Contains(f.Said, "authentication failure") {
		t.Errorf("%+v", f)
	}
	g.expect(t, "", 1)
}

// The host drops a ticket before its time, as after a change of its key.
func TestARefusedTicketIsReplacedOnce(t *testing.T) {
	c, _, g := behindGate(t, nil)
	ctx := context.Background()
	forget := func() { g.mu.Lock(); clear(g.issued); g.asked, g.bodies = nil, nil; g.mu.Unlock() }
	if _, err := c.Version(ctx); err != nil {
		t.Fatal(err)
	}
	forget()
	if _, err := c.Version(ctx); err != nil {
		t.Error(err)
	}
	g.expect(t, "password password", 0)
	forget()
	// The 401 came before the method was called, so the change is sent again:
	// it reaches the method once, whole.
	if err := c.Post(ctx, "/nodes/pve1/vzdump", map[string]any{"vmid": 101}, nil); err != nil {
		t.Error(err)
	}
	if len(g.asked) != 1 || g.bodies[0] != `{"vmid":101}` {
		t.Errorf("%v %v", g.asked, g.bodies)
	}
	g.expect(t, "password password password", 0)
	// Refused again and again: once more, not for ever.
	g.life = 0
	f := fault(t, c.Get(ctx, "/x", nil, nil), builtin.Forbidden)
	g.expect(t, "password password password password", 0)
	if !strings.Contains(f.Hint, "clocks") {
		t.Error(f.Hint)
	}
}

// A 401 of the method itself: it was called, who knows what it did.
func TestAMethodsOwn401IsNotRepeated(t *testing.T) {
	c, _, g := behindGate(t, nil)
	fault(t, c.Post(context.Background(), "/handler", nil, nil), builtin.Forbidden)
	if len(g.asked) != 1 {
		t.Error(g.asked)
	}
	g.expect(t, "password", 0)
}

// A change whose login fails was not made, whatever the login met with.
func TestAFailedLoginIsNotInDoubt(t *testing.T) {
	c, clk, g := behindGate(t, nil)
	ctx := context.Background()
	for name, test := range map[string]struct {
		fail func(w http.ResponseWriter)
		kind builtin.Kind
	}{
		"596":       {func(w http.ResponseWriter) { answer(w, 596, "Broken pipe", "") }, builtin.Unreachable},
		"dropped":   {drop, builtin.Unreachable},
		"no ticket": {func(w http.ResponseWriter) { data(w, map[string]any{}) }, builtin.Unreachable},
		"null":      {func(w http.ResponseWriter) { data(w, nil) }, builtin.Unreachable},
		"a list":    {func(w http.ResponseWriter) { data(w, []any{"PVE:x@y:0::abc"}) }, builtin.Unreachable},
	} {
		g.instead = func(w http.ResponseWriter) bool { test.fail(w); return true }
		err := c.Post(ctx, "/nodes/pve1/vzdump", nil, nil)
		fault(t, err, test.kind)
		if InDoubt(err) || len(g.asked) != 0 || strings.Contains(err.Error(), "PVE:") {
			t.Errorf("%s: in doubt %v, asked %v: %v", name, InDoubt(err), g.asked, err)
		}
	}
	// A read tries again, its login with it.
	n := 0
	g.instead = func(w http.ResponseWriter) bool {
		if n++; n < 3 {
			answer(w, 596, "Broken pipe", "")
		}
		return n < 3
	}
	if _, err := c.Version(ctx); err != nil || n != 3 || len(clk.slept) != 2 {
		t.Error(err, n, clk.slept)
	}
}

func TestCancelledLogin(t *testing.T) {
	c, _, g := behindGate(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	g.instead = func(w http.ResponseWriter) bool { cancel(); drop(w); return true }
	if err := c.Post(ctx, "/x", nil, nil); !errors.Is(err, context.Canceled) || InDoubt(err) {
		t.Error(err)
	}
	// Another caller is not told of it.
	g.instead = nil
	if _, err := c.Version(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestSecondFactor(t *testing.T) {
	for name, said := range map[string]map[string]any{
		"NeedTFA": {"NeedTFA": 1, "ticket": "PVE:!tfa!%7B%7D:0::x", "CSRFPreventionToken": "y"},
		"ticket":  {"ticket": "PVE:!tfa!%7B%7D:0::x", "CSRFPreventionToken": "y"},
	} {
		c, _, g := behindGate(t, nil)
		g.instead = func(w http.ResponseWriter) bool { data(w, said); return true }
		f := fault(t, c.Get(context.Background(), "/x", nil, nil), builtin.Forbidden)
		if !strings.Contains(f.Said, "second factor") || !strings.Contains(f.Hint, "pveum user token add root@pam") || len(g.asked) != 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestPasswordAndTicketAreNeverPrinted(t *testing.T) {
	c, _, g := behindGate(t, nil)
	ctx := context.Background()
	secrets := []string{testPassword, "PVE:root", "a+b/"}
	check := func(err error) {
		t.Helper()
		for e := err; e != nil; e = errors.Unwrap(e) {
			for _, secret := range secrets {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), secret) {
					t.Errorf("%T %v", e, e)
				}
			}
		}
		if f := builtin.AsFault(err); f == nil {
			t.Errorf("%v", err)
		}
	}
	for _, echo := range []string{testPassword, "PVE:root@pam:00000000::a+b/1==", "PVE%3Aroot@pam%3A00000000%3A%3Aa+b/1=="} {
		g.instead = func(w http.ResponseWriter) bool {
			answer(w, 400, "no "+echo, `{"errors":{"x":"`+echo+`"}}`)
			return true
		}
		check(c.Get(ctx, "/x", nil, nil))
	}
	g.instead = nil
	if text := fmt.Sprintf("%v %+v %#v", c.cfg, c.cfg, c.cfg); strings.Contains(text, testPassword) {
		t.Error(text)
	}
}

// The recorded answers to logins, good and bad.
func TestRecordedLogins(t *testing.T) {
	all := pvetest.Recorded(t)
	for label, kind := range map[string]builtin.Kind{
		"ticket ok": "", "ticket renewed with ticket as password": "", "ticket bad password": builtin.Forbidden, "ticket unknown realm": builtin.Forbidden,
	} {
		e := pvetest.Find(t, all, label)
		c, _, g := behindGate(t, nil)
		g.instead = func(w http.ResponseWriter) bool { serve(w, e); return true }
		got, err := c.rt.askForTicket(context.Background(), "root@pam", testPassword)
		if kind == "" {
			if err != nil || !strings.HasPrefix(got.text, "PVE:root@pam:") || got.csrf == "" {
				t.Errorf("%s: %+v %v", label, got, err)
			}
			continue
		}
		fault(t, c.Get(context.Background(), "/x", nil, nil), kind)
	}
	// What is refused before the method is called has no body.
	for _, label := range []string{"no auth", "POST without csrf", "POST bad csrf"} {
		e := pvetest.Find(t, all, label)
		req, _ := http.NewRequest(e.Request.Method, "https://x"+e.Request.Path, nil)
		body := []byte(e.Response.Body)
		if string(body) == "null" {
			body = nil
		}
		refused := apiError(req, &http.Response{StatusCode: e.Response.Status, Status: "401 " + e.Response.Reason}, body)
		if !mayHaveExpired(refused) {
			t.Errorf("%s: %+v", label, refused)
		}
	}
}
