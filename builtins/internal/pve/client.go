package pve

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	proxmox "github.com/luthermonson/go-proxmox"

	"nixmox/engine/builtin"
)

// Client talks to one Proxmox VE host, and through it to its whole cluster. It
// is safe for use by many goroutines at once. Close it at the end. A nil one is
// that of nobody's host: every request ends with a Fault that says so.
type Client struct {
	cfg  Config
	base *url.URL
	lib  *proxmox.Client
	rt   *transport
	// localLink is the symlink by which a Proxmox node knows its own name.
	localLink string
}

// New checks the configuration. It opens nothing: the first call connects.
func New(cfg Config) (*Client, error) {
	base, err := cfg.check()
	if err != nil {
		return nil, err
	}
	rt, err := newTransport(base, cfg)
	if err != nil {
		return nil, err
	}
	lib := proxmox.NewClient(base.String(), proxmox.WithHTTPClient(&http.Client{Transport: rt}), proxmox.WithUserAgent("nixmox"))
	return &Client{cfg: cfg, base: base, lib: lib, rt: rt, localLink: "/etc/pve/local"}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() error {
	c.rt.reads.CloseIdleConnections()
	c.rt.writes.CloseIdleConnections()
	return nil
}

// Host is the host and port that the client talks to.
func (c *Client) Host() string {
	if c == nil {
		return "no host"
	}
	return c.base.Host
}

// Get reads. Without an answer, or with one that says so (502, 503, 504, 595,
// 596), it asks again, three times in all. An answer without data is an error,
// unless out is a *json.RawMessage, which then holds null.
func (c *Client) Get(ctx context.Context, path string, query url.Values, out any) error {
	var err error
	for try := 0; ; try++ {
		if err = c.once(ctx, http.MethodGet, path, query, nil, out); err == nil || try == len(retryWaits) || !worthAnother(err) {
			return err
		}
		if c.cfg.Sleep(ctx, retryWaits[try]) != nil {
			if ctx.Err() == nil {
				return err // the clock stopped, not the caller
			}
			return c.interrupted(ctx, http.MethodGet, path, false)
		}
	}
}

// retryWaits are the pauses before the second and the third try of a read.
var retryWaits = []time.Duration{500 * time.Millisecond, 2 * time.Second}

// Post sends a change, once. Params are sent as JSON; booleans, numbers and
// lists may stand in it as they are. Data that is null leaves out untouched.
// After an error InDoubt tells whether the change may have been made.
func (c *Client) Post(ctx context.Context, path string, params map[string]any, out any) error {
	return c.once(ctx, http.MethodPost, path, nil, params, out)
}

// Put is Post with another method.
func (c *Client) Put(ctx context.Context, path string, params map[string]any, out any) error {
	return c.once(ctx, http.MethodPut, path, nil, params, out)
}

// PutSame is Put of what is the same when it is done twice: a text that is
// set, a flag. It may take a connection that is open and just being closed, so
// more often than after Put nobody knows whether it was made: look, and Put.
// A connection for each costs more than the change.
func (c *Client) PutSame(ctx context.Context, path string, params map[string]any, out any) error {
	return c.once(context.WithValue(ctx, sameKey{}, true), http.MethodPut, path, nil, params, out)
}

// Delete is Post with another method; its params travel in the query, where
// Proxmox looks for them.
func (c *Client) Delete(ctx context.Context, path string, params map[string]any, out any) error {
	query := url.Values{}
	for name, value := range params {
		addQuery(query, name, value)
	}
	return c.once(ctx, http.MethodDelete, path, query, nil, out)
}

// Path makes a path of the API. Each %s of the format becomes a segment,
// escaped: even a volume id with slashes in it stays one segment. It panics on
// a path that could leave the API or a count that does not fit, since both are
// mistakes of the caller's code: segments are checked named types.
func Path(format string, segments ...string) string {
	parts := strings.Split(format, "%s")
	if len(parts) != len(segments)+1 || !strings.HasPrefix(format, "/") {
		panic("pve: " + format + " does not fit its segments")
	}
	var b strings.Builder
	for i, part := range parts {
		b.WriteString(part)
		if i == len(segments) {
			break
		}
		if s := segments[i]; s == "" || s == "." || s == ".." {
			panic("pve: " + format + " with the segment \"" + s + "\"")
		}
		b.WriteString(url.PathEscape(segments[i]))
	}
	return b.String()
}

// once sends one request and decodes its data.
func (c *Client) once(ctx context.Context, method, path string, query url.Values, params map[string]any, out any) error {
	if c == nil {
		return builtin.Faultf(builtin.Unreachable, "%s %s", method, path).Saying("no Proxmox VE host is configured").
			Hinting("configure one (docs/nixmox.toml is a commented example), or try it in the simulated estate with --lab")
	}
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
		panic("pve: " + path + " is no path of the API") // go-proxmox would take it for a URL
	}
	full := path
	if len(query) > 0 {
		full += "?" + query.Encode()
	}
	var body []byte
	if params != nil {
		var err error
		if body, err = json.Marshal(params); err != nil {
			return c.faultOf(ctx, method, path, err)
		}
	}
	var data json.RawMessage
	if err := c.lib.Req(context.WithValue(ctx, answerKey{}, &data), method, full, body, nil); err != nil {
		return c.faultOf(ctx, method, path, err)
	}
	return c.decode(method, path, data, out)
}

func (c *Client) decode(method, path string, data json.RawMessage, out any) error {
	raw, asIs := out.(*json.RawMessage)
	if asIs || out == nil {
		if !json.Valid(data) {
			return c.senseless(method, path, excerpt(data), errNotProxmox)
		}
		if asIs {
			*raw = data
		}
		return nil
	}
	if string(data) == "null" {
		if method != http.MethodGet {
			return nil
		}
		return c.senseless(method, path, "an answer without data", nil)
	}
	var err error
	list := reflect.ValueOf(out).Elem()
	if fields := recordFields(list.Type()); fields != nil {
		err = decodeRecords(data, list, fields)
	} else {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return c.senseless(method, path, err.Error(), err)
	}
	return nil
}
