package lab

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An Exchange is one request and its answer, for tests. What authenticates is
// not in it.
type Exchange struct {
	Method string
	Path   string // below /api2/json
	Query  string
	Params map[string][]string // from query and body together; passwords replaced
	Status int                 // 0 when the connection was cut without an answer
	Reason string
	Body   []byte
}

const (
	apiPrefix = "/api2/json"
	maxPost   = 512 << 10 // PVE::APIServer::AnyEvent, limit_max_post
	slowFor   = 2 * time.Second
)

func (l *Lab) newServer() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(l.serve),
		IdleTimeout:       5 * time.Second, // as pveproxy
		ReadHeaderTimeout: 30 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{l.cert.pair}, MinVersion: tls.VersionTLS12},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // pveproxy speaks HTTP/1.1 only
		// Clients that cut connections are what the lab is for, and no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// call is a request that has been understood.
type call struct {
	*Lab
	who    principal
	method string
	path   string
	vars   map[string]string
	params params
}

func (c *call) v(name string) string { return c.vars[name] }

func (c *call) vmid() int {
	n, _ := strconv.Atoi(c.vars["vmid"])
	return n
}

// serve answers one request.
func (l *Lab) serve(w http.ResponseWriter, r *http.Request) {
	if !l.enter() {
		panic(http.ErrAbortHandler) // Close is waiting for the others
	}
	defer l.done.Done()
	path, ok := strings.CutPrefix(r.URL.Path, apiPrefix)
	if !ok {
		path = r.URL.Path
	}
	x := Exchange{Method: r.Method, Path: path, Query: r.URL.RawQuery}
	cut := false
	data, err := func() (any, error) {
		if !ok {
			return nil, serverError("no such file '%s'", path)
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxPost+1))
		if err != nil {
			return nil, serverError("reading the request failed")
		}
		if len(body) > maxPost {
			return nil, &apiError{Status: 501, Reason: "for data too large", NoBreak: true}
		}
		p, err := parseParams(r.URL.RawQuery, r.Header.Get("Content-Type"), body)
		x.Params = shown(p)
		if err != nil {
			return nil, err
		}
		f := l.faults.hit("api", r.Method+" "+path, "595", "596", "500", "403", "401", "drop", "slow")
		if f != nil && f.Kind == "slow" {
			select {
			case <-time.After(slowFor):
			case <-r.Context().Done():
			case <-l.stopped:
			}
			f = nil
		}
		if f != nil && !f.performs() {
			return nil, f.answer(path)
		}
		data, err := l.perform(r, path, p)
		if f != nil {
			cut = f.Kind == "drop"
			return nil, f.answer(path)
		}
		return data, err
	}()
	var body []byte
	no := &apiError{Status: 200, Reason: "OK"}
	switch {
	case err == nil:
		body = encodeAnswer(data)
	case errors.As(err, &no):
		body = no.body()
	default:
		no = serverError("%v", err)
		body = no.body()
	}
	x.Status, x.Reason, x.Body = no.Status, no.statusReason(), body
	if cut {
		x.Status, x.Reason, x.Body = 0, "", nil
	}
	if l.opt.Observe != nil {
		l.opt.Observe(x)
	}
	switch {
	case cut:
		panic(http.ErrAbortHandler) // net/http's way to cut a connection
	case err == nil:
		setHeaders(w.Header())
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // a client that is gone is none of the lab's troubles
	default:
		refuse(w, no, body)
	}
}

// enter says whether the lab still takes requests; whoever enters must leave
// with done.Done. net/http itself forgets connections that are hijacked.
func (l *Lab) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.done.Add(1)
	}
	return !l.closed
}

// performs says whether the request is performed although its answer is lost.
// 596 is what pveproxy says when the connection to the daemon breaks, which
// may have done the work already.
func (f *Fault) performs() bool { return f.Kind == "drop" || f.Kind == "596" }

// answer is the answer that an api fault gives.
func (f *Fault) answer(path string) error {
	switch f.Kind {
	case "595":
		return &apiError{Status: 595, Reason: "Connection refused", NoBody: true}
	case "403":
		return forbidden(path, "Sys.Audit")
	case "401":
		return unauthorized("Authentication failed!")
	case "500":
		return serverError("got no worker upid - start worker failed")
	}
	return &apiError{Status: 596, Reason: "Broken pipe", NoBody: true}
}

// perform finds the method and calls it, in the order of checks that
// PVE::HTTPServer's rest_handler has: ticket, method, privileges, node,
// parameters.
func (l *Lab) perform(r *http.Request, path string, p params) (any, error) {
	c := &call{Lab: l, method: r.Method, path: path, params: p}
	if l.isDown() {
		panic(http.ErrAbortHandler) // nobody listens where the API is asked
	}
	rt, vars := findRoute(r.Method, path)
	c.vars = vars
	if rt == nil || !rt.world {
		who, err := l.authenticate(r)
		if err != nil {
			return nil, err
		}
		c.who = who
	}
	if rt == nil {
		return nil, notImplemented(r.Method, path)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.lastPoll = time.Now() }()
	l.catchUp()
	if rt.privilege != "" {
		where := rt.on
		for k, v := range vars {
			where = strings.ReplaceAll(where, "{"+k+"}", v)
		}
		for k := range p { // a pool's name may be a parameter
			where = strings.ReplaceAll(where, "{"+k+"}", p.str(k))
		}
		if err := l.need(c.who, where, strings.Split(rt.privilege, "|")...); err != nil {
			return nil, err
		}
	}
	if name, ok := vars["node"]; ok {
		n := l.st.node(name)
		if n == nil {
			return nil, serverError("hostname lookup '%s' failed - failed to get address info for: %s: Name or service not known", name, name)
		}
		if n.Down { // pveproxy of the node that was asked cannot connect to it
			l.step(true)
			return nil, &apiError{Status: 595, Reason: "No route to host", NoBody: true}
		}
	}
	if err := c.checkParams(rt); err != nil {
		return nil, err
	}
	data, err := rt.handle(c)
	if r.Method == http.MethodGet {
		l.step(true) // after the answer: whoever looks first sees the task run
		return data, err
	}
	l.poke()
	if saveErr := l.save(); err == nil && saveErr != nil {
		return nil, saveErr
	}
	return data, err
}

// checkParams checks the parameters, those in the path included.
func (c *call) checkParams(rt *route) error {
	all := params{}
	spec := rt.params
	for k, v := range c.vars {
		all[k] = []string{v}
		spec = append(spec[:len(spec):len(spec)], pathParam(k))
	}
	for k, v := range c.params {
		if _, ok := c.vars[k]; !ok {
			all[k] = v
		}
	}
	if c.method != http.MethodGet {
		delete(all, "CSRFPreventionToken") // taken out before the check, PVE::APIServer
	}
	return all.check(spec)
}

func pathParam(name string) param {
	switch name {
	case "vmid":
		return param{name: name, kind: integer, required: true, min: 100, max: 999999999}
	case "storage":
		return param{name: name, required: true, format: storageFormat}
	case "snapname":
		return param{name: name, required: true, format: configFormat, maxLen: 40}
	case "node":
		return param{name: name, required: true, format: nodeFormat}
	case "userid":
		return param{name: name, required: true, format: userFormat, maxLen: 64}
	case "sid":
		return param{name: name, required: true, format: sidFormat}
	case "poolid":
		return param{name: name, required: true, format: poolFormat}
	}
	return param{name: name, required: true}
}

func setHeaders(h http.Header) {
	h.Set("Content-Type", "application/json;charset=UTF-8")
	h.Set("Cache-Control", "max-age=0")
	h.Set("Pragma", "no-cache")
	h.Set("Server", "pve-api-daemon/3.0")
}

// refuse writes an answer with words of its own in the status line, which
// net/http has no way to do, and closes the connection, as pveproxy does after
// every error.
func refuse(w http.ResponseWriter, e *apiError, body []byte) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "", e.Status)
		return
	}
	defer func() { _ = conn.Close() }()
	// A client that is gone, or goes meanwhile, gets no answer, which it knows.
	if conn.SetDeadline(time.Now().Add(10*time.Second)) != nil || writeRefusal(buf.Writer, e, body) != nil {
		return
	}
	if tc, ok := conn.(*tls.Conn); ok && tc.CloseWrite() == nil {
		lingering(conn)
	}
}

func writeRefusal(w *bufio.Writer, e *apiError, body []byte) error {
	_, _ = fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", e.Status, e.statusReason())
	h := http.Header{}
	setHeaders(h)
	h.Set("Connection", "close")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if e.NoBody {
		h.Del("Content-Type")
	}
	// A bufio.Writer keeps its first error for Flush.
	_ = h.Write(w)
	_, _ = w.WriteString("\r\n")
	_, _ = w.Write(body)
	return w.Flush()
}

// lingering reads what the client may still send, so that the kernel does not
// reset the connection under an answer that is not read yet.
func lingering(conn net.Conn) {
	if conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)) == nil {
		_, _ = io.Copy(io.Discard, conn) // it ends with the deadline's error, or the client's end
	}
}

// shown is p for Observe.
func shown(p params) map[string][]string {
	m := map[string][]string{}
	for k, v := range p {
		if strings.Contains(k, "password") || k == "CSRFPreventionToken" {
			v = []string{"(hidden)"}
		}
		m[k] = append([]string(nil), v...)
	}
	return m
}

// jsonNumber is for values that Proxmox sends as a number of so many digits.
func jsonNumber(f float64) json.Number {
	return json.Number(strconv.FormatFloat(f, 'g', 15, 64))
}
