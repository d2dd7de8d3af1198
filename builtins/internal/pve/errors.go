package pve

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"nixmox/builtins/internal/pattern"
	"nixmox/engine/builtin"
)

// APIError is an answer of Proxmox that is no success.
type APIError struct {
	Status       int
	Reason       string            // in Proxmox's own words
	Fields       map[string]string // what is wrong with which parameter
	Method, Path string            // the path without its query

	bare bool // a refusal without a body
}

func (e *APIError) Error() string {
	text := fmt.Sprintf("%d %s", e.Status, e.Reason)
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		text += fmt.Sprintf("; %s: %s", name, e.Fields[name])
	}
	return strings.TrimSpace(text)
}

// apiError reads an answer. Bodies are empty on 401, 595 and 596, and HTML
// behind a proxy; then the status line is all there is.
func apiError(req *http.Request, res *http.Response, body []byte) *APIError {
	e := &APIError{Status: res.StatusCode, Method: req.Method, Path: strings.TrimPrefix(req.URL.Path, "/api2/json"), bare: len(body) == 0}
	_, e.Reason, _ = strings.Cut(res.Status, " ")
	var said struct {
		Message Text            `json:"message"`
		Errors  map[string]Text `json:"errors"`
	}
	// The body's message is whole, the status line ends at a line's end.
	if json.Unmarshal(body, &said) == nil && strings.TrimSpace(string(said.Message)) != "" {
		e.Reason = oneLine(string(said.Message))
	}
	for name, text := range said.Errors {
		if e.Fields == nil {
			e.Fields = map[string]string{}
		}
		e.Fields[name] = oneLine(string(text))
	}
	if location := res.Header.Get("Location"); location != "" && e.Status < 400 {
		e.Reason += ": a redirect to " + location
	}
	return e
}

func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

// InDoubt reports, of the error of a change, that it may have been made all
// the same: it was sent, and no answer says what became of it.
func InDoubt(err error) bool {
	if _, ok := errors.AsType[*noLogin](err); ok {
		return false
	}
	if e, ok := errors.AsType[*APIError](err); ok {
		// 595 is a connection that did not come about; with 596 and above the
		// request was on its way. 502 and 504 are a proxy's.
		return e.Method != http.MethodGet && (e.Status >= 596 && e.Status <= 599 || e.Status == 502 || e.Status == 504)
	}
	e, ok := errors.AsType[*noAnswer](err)
	return ok && e.sent
}

// worthAnother reports that the same read may succeed if tried again.
func worthAnother(err error) bool {
	if e, ok := errors.AsType[*APIError](err); ok {
		return e.Status >= 502 && e.Status <= 504 || e.Status >= 595 && e.Status <= 599
	}
	e, ok := errors.AsType[*noAnswer](err)
	return ok && e.again && !untrusted(err)
}

// untrusted reports that the host could not prove who it is.
func untrusted(err error) bool {
	_, pinned := errors.AsType[*FingerprintError](err)
	_, chain := errors.AsType[*tls.CertificateVerificationError](err)
	return pinned || chain
}

// faultOf makes a Fault of what a request ended with.
func (c *Client) faultOf(ctx context.Context, method, path string, err error) error {
	if e, ok := errors.AsType[*noLogin](err); ok {
		if _, ok := errors.AsType[*builtin.Fault](e.err); ok {
			return e
		}
		return &noLogin{c.faultOf(ctx, http.MethodPost, ticketPath, e.err)}
	}
	if e, ok := errors.AsType[*APIError](err); ok {
		clean := *e // calls that waited for the same login share e
		clean.Reason, clean.Fields = c.scrub(e.Reason), maps.Clone(e.Fields)
		for name, text := range clean.Fields {
			clean.Fields[name] = c.scrub(text)
		}
		return c.answered(&clean)
	}
	lost, _ := errors.AsType[*noAnswer](err)
	sent := lost != nil && lost.sent
	if ctx.Err() != nil {
		return c.interrupted(ctx, method, path, sent)
	}
	f := builtin.Faultf(builtin.Unreachable, "%s", c.what(method, path))
	if lost != nil {
		f.Cause = &noAnswer{sent: sent && method != http.MethodGet, again: lost.again, err: c.clean(lost.err)}
	} else {
		f.Kind, f.Cause = builtin.Failed, c.clean(err)
	}
	f.Said = f.Cause.Error()
	switch pin, _ := errors.AsType[*FingerprintError](err); {
	case pin != nil:
		f.Kind = builtin.Forbidden
		return f.Hinting("if the host has a new certificate, compare with `pvenode cert info` on it, then set fingerprint = %q; if not, somebody stands between", pin.Seen)
	case untrusted(err):
		f.Kind = builtin.Forbidden
		verify, _ := errors.AsType[*tls.CertificateVerificationError](err)
		if len(verify.UnverifiedCertificates) > 0 {
			return f.Hinting("compare with `pvenode cert info` on the host, then set fingerprint = %q, or ca_file", fingerprint(verify.UnverifiedCertificates[0]))
		}
	case errors.Is(err, errNotProxmox):
		return f.Hinting("is %s Proxmox VE's API?", c.base.Host)
	case InDoubt(f):
		return f.Hinting("the request was sent and may have been carried out: look before doing it again")
	}
	return f.Hinting("is %s up, and reachable from here?", c.base.Host)
}

// interrupted is a request that its caller gave up.
func (c *Client) interrupted(ctx context.Context, method, path string, sent bool) error {
	cause := &noAnswer{sent: sent && method != http.MethodGet, err: ctx.Err()}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return builtin.Faultf(builtin.Timeout, "%s", c.what(method, path)).Because(cause)
	}
	return fmt.Errorf("%s: %w", c.what(method, path), cause)
}

// senseless is a 2xx answer whose data are not what they should be. A change
// has been made all the same, so its cause counts as in doubt.
func (c *Client) senseless(method, path, said string, err error) error {
	if err == nil {
		err = errors.New(said)
	}
	return builtin.Faultf(builtin.Unreachable, "%s", c.what(method, path)).Saying(c.scrub(said)).
		Because(&noAnswer{sent: method != http.MethodGet, err: c.clean(err)})
}

// answered chooses the kind of a Fault by what Proxmox said.
func (c *Client) answered(e *APIError) error {
	f := builtin.Faultf(builtin.Failed, "%s", c.what(e.Method, e.Path)).Because(e)
	switch e.Status {
	case http.StatusUnauthorized:
		f.Kind = builtin.Forbidden
		switch {
		case e.Path == ticketPath: // Proxmox says no more than that, lest users be guessed
			return f.Hinting("is the password of %s right, and is the user enabled, not expired, and of that realm? See `pveum user list`", c.cfg.User)
		case c.cfg.User != "":
			return f.Hinting("the ticket that %s just got was refused: are the clocks of the cluster's nodes in step?", c.cfg.User)
		}
		return f.Hinting("the token %s is unknown, its secret is wrong, or it has expired: see `pveum user token list %s`",
			c.cfg.TokenID, strings.SplitN(c.cfg.TokenID, "!", 2)[0])
	case http.StatusForbidden:
		f.Kind = builtin.Forbidden
		return f.Hinting("%s", c.privilege(e.Reason))
	case http.StatusBadRequest:
		f.Kind = builtin.Invalid
		if strings.Contains(e.Fields["upid"], "no such task") {
			f.Kind = builtin.NotFound
		}
		return f
	case http.StatusNotImplemented:
		if strings.Contains(e.Reason, "too large") {
			f.Kind = builtin.Invalid
			return f.Hinting("Proxmox takes no more than 512 KiB in one request")
		}
		return f.Hinting("this version of Proxmox VE does not have that call")
	case 502, 503, 504, 595, 596, 597, 598, 599:
		f.Kind = builtin.Unreachable
		if InDoubt(e) {
			return f.Hinting("the request was on its way and may have been carried out: look before doing it again")
		}
		return f.Hinting("are the node and its pvedaemon up? `systemctl status pvedaemon pveproxy`")
	}
	if e.Status < 400 {
		return f.Hinting("nixmox follows no redirects; url must name the Proxmox host itself")
	}
	if kind, hint := kindOfWords(e.Reason); kind != "" {
		f.Kind, f.Hint = kind, hint
	}
	return f
}

// Proxmox answers nearly everything with 500. What it means stands in its
// words, which are its source's and stable; the order matters, since a storage
// whose folder "does not exist or is unreachable" is not gone.
var words = []struct {
	text string
	kind builtin.Kind
	hint string
}{
	{"got lock", builtin.Busy, ""},
	{"is locked", builtin.Busy, "something else works on it: look at the running tasks"},
	{"got timeout", builtin.Busy, "something else holds the lock: look at the running tasks"},
	{"can't lock", builtin.Busy, "something else works on it: look at the running tasks"},
	{"checksum mismatch", builtin.Conflict, "somebody changed it meanwhile: read it again"},
	{"unreachable", builtin.Unreachable, "is the storage mounted on that node?"},
	{"unable to activate storage", builtin.Unreachable, "is the storage up, and mounted on that node?"},
	{"is not online", builtin.Unreachable, "is the storage's server up?"},
	{"no quorum", builtin.Unreachable, "too few nodes of the cluster are up: see `pvecm status`"},
	{"ipcc_send_rec", builtin.Unreachable, "the node's cluster file system is down: `systemctl status pve-cluster`"},
	{"hostname lookup", builtin.Unreachable, "is there a node of that name?"},
	{"address lookup", builtin.Unreachable, "is there a node of that name?"},
	{"no such file or directory", builtin.Failed, ""},
	{"does not exist", builtin.NotFound, ""},
	{"no such", builtin.NotFound, ""},
}

func kindOfWords(reason string) (builtin.Kind, string) {
	lower := strings.ToLower(reason)
	for _, w := range words {
		if strings.Contains(lower, w.text) {
			return w.kind, w.hint
		}
	}
	return "", ""
}

// Permission check failed (/vms/101, VM.Audit), also with A|B for any of them.
var permissionGrammar = pattern.Of(`\((/[^,\s]*), ([A-Za-z.|, ]+)\)`)

// privilege says what to grant. A token with privilege separation, which is
// the default, has only what both its user and itself were given.
func (c *Client) privilege(reason string) string {
	m := permissionGrammar().FindStringSubmatch(reason)
	if m == nil {
		if strings.Contains(reason, "root@pam") {
			return "only root@pam may do this, and not through a token with privilege separation"
		}
		if c.cfg.User != "" {
			return "look at what " + c.cfg.User + " may do: `pveum user permissions`"
		}
		return "look at what the token may do: `pveum user token permissions`"
	}
	grant := fmt.Sprintf("grant %s on %s", strings.ReplaceAll(m[2], "|", " or "), m[1])
	if c.cfg.User != "" {
		return fmt.Sprintf("%s: `pveum acl modify %s --roles ROLE --users %s`", grant, m[1], c.cfg.User)
	}
	return fmt.Sprintf("%s (`pveum acl modify %s --roles ROLE --users/--tokens …`); a token with privilege separation needs its own ACL beside its user's: %s",
		grant, m[1], c.cfg.TokenID)
}

func (c *Client) what(method, path string) string {
	return method + " " + path + " on " + c.base.Host
}

// aTicket is a ticket, also as it stands in a cookie.
var aTicket = pattern.Of(`PVE(?::|%3A)\S+?(?:::|%3A%3A)[A-Za-z0-9+/=%]+`)

// scrub takes secrets out of a text, should a host echo one.
func (c *Client) scrub(text string) string {
	for _, secret := range []Secret{c.cfg.Token, c.cfg.Password} {
		if secret.text != "" {
			text = strings.ReplaceAll(text, secret.text, redacted)
		}
	}
	return aTicket().ReplaceAllString(text, redacted)
}

// clean keeps an error as it is unless its text holds a secret.
func (c *Client) clean(err error) error {
	if text := c.scrub(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}
