package pve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// attemptLimit bounds one request from dialling to the last byte. Proxmox
	// gives up on its own workers after 30 s (596), so more is a dead line.
	attemptLimit = 90 * time.Second
	// maxAnswer bounds an answer's body. 50 000 volumes are about 12 MiB.
	maxAnswer = 64 << 20
	// Proxmox cuts a connection that was idle for 5 s.
	idleLimit = 4 * time.Second
)

// transport signs requests, and lets nothing but whole 2xx answers with data
// through to go-proxmox, which would take a 595 for a success, lose the words
// of a 403, follow a redirect with the token in hand, and let 19 of 20 fail
// that log in at once.
type transport struct {
	base   *url.URL
	reads  *http.Transport
	writes *http.Transport
	token  string // the Authorization header of an API token
	login  *login // or nil
}

func newTransport(base *url.URL, cfg Config) (*transport, error) {
	tlsc, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	reads := &http.Transport{
		Proxy:                  nil, // never from the environment: the token would travel there
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        tlsc,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        idleLimit,
		MaxIdleConnsPerHost:    32, // a playbook's branches read at once, and a handshake costs more than a read
		MaxResponseHeaderBytes: 1 << 20,
	}
	// A change gets a connection of its own: one that Proxmox is just closing
	// would swallow the request, and nobody could tell whether it was read.
	writes := reads.Clone()
	writes.DisableKeepAlives = true
	t := &transport{base: base, reads: reads, writes: writes}
	if cfg.User == "" {
		t.token = "PVEAPIToken=" + cfg.TokenID + "=" + cfg.Token.text
	} else {
		t.login = newLogin(cfg, t.askForTicket)
	}
	return t, nil
}

// noAnswer is a request without an answer that makes sense.
type noAnswer struct {
	sent  bool // it may have reached the host, which may have acted on it
	again bool // the line failed: the same read may get through
	err   error
}

func (e *noAnswer) Error() string { return e.err.Error() }
func (e *noAnswer) Unwrap() error { return e.err }

// RoundTrip is http.RoundTripper. The answer it gives has no body: the data
// are where answerKey says.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != t.base.Scheme || req.URL.Host != t.base.Host {
		return nil, fmt.Errorf("refused to send a request to %s: it is not the configured host", req.URL.Host)
	}
	data, err := t.sendSigned(req)
	if err != nil {
		return nil, err
	}
	*req.Context().Value(answerKey{}).(*json.RawMessage) = data
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
}

// sendSigned sends a request in the token's name, or with a ticket: the one
// that is held, and once more with a new one if that was refused.
func (t *transport) sendSigned(req *http.Request) (json.RawMessage, error) {
	if t.login == nil {
		signed := req.Clone(req.Context())
		signed.Header.Set("Authorization", t.token)
		return t.send(signed)
	}
	held, err := t.login.ticket(req.Context(), nil)
	if err != nil {
		return nil, err
	}
	data, err := t.send(held.sign(req))
	if refused, _ := errors.AsType[*APIError](err); refused == nil || !mayHaveExpired(refused) {
		return data, err
	}
	if held, err = t.login.ticket(req.Context(), held); err != nil {
		return nil, err
	}
	again := held.sign(req)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return t.send(again)
}

// send sends a request once. It reads the whole body before it answers, so
// that a line cut in the middle is an error here and nowhere else.
func (t *transport) send(req *http.Request) (json.RawMessage, error) {
	var sent atomic.Bool
	ctx, cancel := context.WithTimeoutCause(req.Context(), attemptLimit, fmt.Errorf("no answer within %v", attemptLimit))
	defer cancel()
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	lost := func(err error) error {
		e := &noAnswer{sent: sent.Load(), again: ctx.Err() == nil, err: err}
		if ctx.Err() != nil && req.Context().Err() == nil {
			e.err = context.Cause(ctx) // our own limit, not the caller's
		}
		return e
	}
	senseless := func(err error) error { return &noAnswer{sent: true, err: err} }
	pool := t.writes
	if req.Method == http.MethodGet || ctx.Value(sameKey{}) != nil {
		pool = t.reads
	}
	res, err := pool.RoundTrip(req.WithContext(traced))
	if err != nil {
		return nil, lost(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := readBody(res)
	if res.StatusCode < 200 || res.StatusCode > 299 {
		// Whatever is left of the body, the status line says it all.
		return nil, apiError(req, res, body)
	}
	if err != nil {
		return nil, lost(err)
	}
	if len(body) > maxAnswer {
		return nil, senseless(fmt.Errorf("the answer is longer than %d MiB", maxAnswer>>20))
	}
	data, ok := dataOf(body)
	if !ok {
		return nil, senseless(fmt.Errorf("%w: %s", errNotProxmox, excerpt(body)))
	}
	if keep, ok := req.Context().Value(besideKey{}).(*json.RawMessage); ok {
		*keep = body
	}
	return data, nil
}

// sameKey marks, in a request's context, a change that may be made twice.
type sameKey struct{}

// answerKey finds, in a request's context, the *json.RawMessage that RoundTrip
// leaves the answer's data in. The answer's body would be decoded three times
// over in go-proxmox before we saw it.
type answerKey struct{}

// readBody reads one byte more than maxAnswer, so that too much is seen.
func readBody(res *http.Response) ([]byte, error) {
	var body bytes.Buffer
	if n := res.ContentLength; n > 0 && n <= maxAnswer {
		body.Grow(int(n) + bytes.MinRead) // else it would grow once more to see the end
	}
	_, err := body.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	return body.Bytes(), err
}

var errNotProxmox = errors.New("the answer is not one of Proxmox's API")

func excerpt(body []byte) string {
	text := strings.Join(strings.Fields(string(body)), " ")
	switch {
	case text == "":
		return "it is empty"
	case len(text) > 120:
		text = strings.ToValidUTF8(text[:120], "") + "…"
	}
	return text
}
