package pve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"nixmox/engine/builtin"
)

const (
	ticketPath = "/access/ticket"
	// ticketLife is how long Proxmox takes a ticket (PVE::AccessControl); until
	// then it serves as a password for the next one. renewAfter leaves time for
	// a host that is away for a while.
	ticketLife = 2 * time.Hour
	renewAfter = time.Hour
)

// ticket is what a login gave.
type ticket struct {
	text, csrf string
	since      time.Time // by our clock, so that the host's may differ
}

// sign makes a request in the ticket's name. Only changes need the CSRF token.
func (t *ticket) sign(req *http.Request) *http.Request {
	signed := req.Clone(req.Context())
	signed.Header.Set("Cookie", "PVEAuthCookie="+url.QueryEscape(t.text))
	if req.Method != http.MethodGet {
		signed.Header.Set("CSRFPreventionToken", t.csrf)
	}
	return signed
}

// mayHaveExpired reports of a refusal that the same request may be sent once
// more with a new ticket. Proxmox looks at the ticket before it looks for the
// method, let alone calls it (auth_handler in PVE::HTTPServer, called by
// authenticate_and_handle_request of PVE::APIServer::AnyEvent), and says 401
// without a body. Hence a change that got such an answer has not been made. A
// 401 that the method itself raises has a body, and its change is not repeated.
func mayHaveExpired(e *APIError) bool {
	return e.Status == http.StatusUnauthorized && (e.Method == http.MethodGet || e.bare)
}

// noLogin is a login that did not come about: the request for whose sake it was
// tried has never been sent.
type noLogin struct{ err error }

func (e *noLogin) Error() string { return e.err.Error() }
func (e *noLogin) Unwrap() error { return e.err }

// login keeps one user's ticket. However many calls need one, one at a time
// asks for it, and the others get what it got, be it a ticket or an error: a
// refusal takes 3 s and may lock the user out.
type login struct {
	user     string
	password Secret
	now      func() time.Time
	ask      func(ctx context.Context, user, password string) (*ticket, error)

	held  atomic.Pointer[ticket]
	turn  chan struct{} // holds one: whose turn it is to ask
	tries atomic.Int64  // how often somebody asked
	// What the last try ended with, unless its caller gave up.
	failed error
}

func newLogin(cfg Config, ask func(ctx context.Context, user, password string) (*ticket, error)) *login {
	return &login{user: cfg.User, password: cfg.Password, now: cfg.Now, ask: ask, turn: make(chan struct{}, 1)}
}

// ticket gives a ticket that is good for a while, and is not the refused one.
func (l *login) ticket(ctx context.Context, refused *ticket) (*ticket, error) {
	if t := l.fresh(refused); t != nil {
		return t, nil
	}
	before := l.tries.Load()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, &noLogin{&noAnswer{err: ctx.Err()}}
	}
	if t := l.fresh(refused); t != nil {
		return t, nil
	}
	if l.failed != nil && l.tries.Load() != before {
		return nil, l.failed
	}
	t, err := l.renew(ctx, refused)
	if err == nil {
		l.held.Store(t)
	} else {
		err = &noLogin{err}
	}
	if l.failed = err; ctx.Err() != nil {
		l.failed = nil
	}
	l.tries.Add(1)
	return t, err
}

func (l *login) fresh(refused *ticket) *ticket {
	if t := l.held.Load(); t != nil && t != refused && l.age(t) >= 0 && l.age(t) < renewAfter {
		return t
	}
	return nil
}

func (l *login) age(t *ticket) time.Duration { return l.now().Sub(t.since) }

// renew logs in with the ticket that is held, while that is good, so that the
// password travels as seldom as can be, and otherwise with the password.
func (l *login) renew(ctx context.Context, refused *ticket) (*ticket, error) {
	if t := l.held.Load(); t != nil && t != refused && l.age(t) < ticketLife {
		renewed, err := l.askAs(ctx, t.text)
		if e, ok := errors.AsType[*APIError](err); !ok || e.Status != http.StatusUnauthorized {
			return renewed, err
		}
	}
	return l.askAs(ctx, l.password.text)
}

func (l *login) askAs(ctx context.Context, password string) (*ticket, error) {
	asked := l.now() // the ticket is younger than that
	t, err := l.ask(ctx, l.user, password)
	if err == nil {
		t.since = asked
	}
	return t, err
}

// askForTicket logs in.
func (t *transport) askForTicket(ctx context.Context, user, password string) (*ticket, error) {
	body, err := json.Marshal(map[string]string{"username": user, "password": password})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base.String()+ticketPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	data, err := t.send(req)
	if err != nil {
		return nil, err
	}
	var said struct {
		Ticket  Text `json:"ticket"`
		CSRF    Text `json:"CSRFPreventionToken"`
		NeedTFA Bool `json:"NeedTFA"`
	}
	if err := json.Unmarshal(data, &said); err != nil {
		return nil, &noAnswer{sent: true, err: errNotProxmox} // without its words: a ticket may be in them
	}
	if bool(said.NeedTFA) || strings.HasPrefix(string(said.Ticket), "PVE:!tfa!") {
		return nil, builtin.Faultf(builtin.Forbidden, "logging in to %s as %s", t.base.Host, user).
			Saying("the account wants a second factor").
			Hinting("make an API token (`pveum user token add %s NAME`), which needs none, and set token_id and token_file instead of user", user)
	}
	if said.Ticket == "" || said.CSRF == "" {
		return nil, &noAnswer{sent: true, err: errors.New("the host answered the login without a ticket")}
	}
	return &ticket{text: string(said.Ticket), csrf: string(said.CSRF)}, nil
}
