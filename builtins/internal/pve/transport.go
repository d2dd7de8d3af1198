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

// transport lets nothing but whole 2xx answers with data through to
// go-proxmox, which would take a 595 for a success, lose the words of a 403,
// and follow a redirect with the token in hand.
type transport struct {
	host   string
	reads  *http.Transport
	writes *http.Transport
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
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: 1 << 20,
	}
	// A change gets a connection of its own: one that Proxmox is just closing
	// would swallow the request, and nobody could tell whether it was read.
	writes := reads.Clone()
	writes.DisableKeepAlives = true
	return &transport{host: base.Host, reads: reads, writes: writes}, nil
}

// noAnswer is a request without an answer that makes sense.
type noAnswer struct {
	sent  bool // it may have reached the host, which may have acted on it
	again bool // the line failed: the same read may get through
	err   error
}

func (e *noAnswer) Error() string { return e.err.Error() }
func (e *noAnswer) Unwrap() error { return e.err }

// RoundTrip is http.RoundTripper. It reads the whole body before it answers,
// so that a line cut in the middle is an error here and nowhere else.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || req.URL.Host != t.host {
		return nil, fmt.Errorf("refused to send a request to %s: it is not the configured host", req.URL.Host)
	}
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
	if req.Method == http.MethodGet {
		pool = t.reads
	}
	res, err := pool.RoundTrip(req.WithContext(traced))
	if err != nil {
		return nil, lost(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
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
	if err := hasData(body); err != nil {
		return nil, senseless(err)
	}
	if keep, ok := req.Context().Value(besideKey{}).(*json.RawMessage); ok {
		*keep = body
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

var errNotProxmox = errors.New("the answer is not one of Proxmox's API")

// hasData refuses what is not {"data": …}: an empty body, a proxy's HTML.
func hasData(body []byte) error {
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(body, &envelope); err != nil {
		return fmt.Errorf("%w: %s", errNotProxmox, excerpt(body))
	}
	if _, ok := envelope["data"]; !ok {
		return fmt.Errorf("%w: %s", errNotProxmox, excerpt(body))
	}
	return nil
}

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
