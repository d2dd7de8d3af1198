package proxmox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// APIPath is a path of Proxmox's API, as in the API viewer.
type APIPath string

// Describe names the type and its grammar.
func (APIPath) Describe() (string, string) {
	return "API path", "as in Proxmox's API viewer: /nodes/pve1/status; no query, nothing escaped"
}

// UnmarshalText refuses whatever would be another path to Proxmox than it is
// to a need's glob.
func (p *APIPath) UnmarshalText(text []byte) error {
	rest, ok := strings.CutPrefix(string(text), "/")
	if !ok {
		return fmt.Errorf("%q is no path of the API: want /version, /nodes/NODE/status, …", text)
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%q is no path of the API: %q may not stand in it", text, part)
		}
	}
	if strings.HasPrefix(rest, "api2/") {
		return fmt.Errorf("%q is no path of the API: leave /api2/json out", text)
	}
	for _, c := range rest {
		if strings.ContainsRune(`%?#\<>"`, c) || c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return fmt.Errorf("%q is no path of the API: it has the character %q; parameters are arguments of their own", text, c)
		}
	}
	*p = APIPath(text)
	return nil
}

// escaped is the path as it goes over the line.
func (p APIPath) escaped() string {
	parts := strings.Split(string(p), "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// GetArgs are the arguments of get().
type GetArgs struct {
	Path   APIPath        `name:"path" scope:"path" doc:"what to read; in needs, * stands for one part of it: get:/nodes/*/status"`
	Params map[string]any `name:"params" default:"" rest:"" doc:"its parameters, by name; those with '-' as **{\"name\": value}"`
}

func (c client) get(ctx context.Context, args GetArgs) (any, error) {
	params, err := c.sendable(ctx, "reading "+string(args.Path), args.Params)
	if err != nil {
		return nil, err
	}
	return c.value(ctx, args.Path, params)
}

// value reads whatever there is, as values that languages know.
func (c client) value(ctx context.Context, path APIPath, params map[string]any) (any, error) {
	query := url.Values{}
	for name, v := range params {
		list, isList := v.([]string)
		if !isList {
			list = []string{queryText(v)}
		}
		query[name] = list
	}
	var raw json.RawMessage
	if err := c.pve.Get(ctx, path.escaped(), query, &raw); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out any
	if err := dec.Decode(&out); err != nil {
		return nil, builtin.Faultf(builtin.Unreachable, "GET %s on %s", path, c.pve.Host()).Because(err)
	}
	return neutral(out), nil
}

func queryText(v any) string {
	if b, ok := v.(bool); ok {
		return map[bool]string{true: "1", false: "0"}[b]
	}
	return fmt.Sprint(v)
}

// sendable makes of a call's parameters what Proxmox takes; secrets are
// revealed here and nowhere before.
func (c client) sendable(ctx context.Context, what string, params map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		bad := func(said string) error {
			return builtin.Faultf(builtin.Invalid, "%s", what).Saying(name + ": " + said)
		}
		switch v := params[name].(type) {
		case nil:
		case bool, int64, *big.Int, float64, string:
			if _, isText := v.(string); isText && isSecretName(name) {
				return nil, plainSecret(what, name)
			}
			out[name] = v
		case builtin.Secret:
			text, err := v.Reveal(ctx)
			if err != nil {
				return nil, err
			}
			out[name] = text
		case []any:
			list := []string{}
			for _, e := range v {
				switch e.(type) {
				case bool, int64, *big.Int, float64, string:
					list = append(list, queryText(e))
				default:
					return nil, bad("a list of " + builtin.NeutralName(e))
				}
			}
			out[name] = list
		default:
			return nil, bad("Proxmox takes text, numbers, booleans and lists of them, and this is " + builtin.NeutralName(v))
		}
	}
	return out, nil
}

// isSecretName knows the parameters of Proxmox's API that hold a secret.
func isSecretName(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.HasSuffix(name, "-key") ||
		slices.Contains([]string{"encryption-key", "privkey", "key", "token", "otp"}, name)
}

// CallArgs are the arguments of call().
type CallArgs struct {
	Method string         `name:"method" enum:"POST,PUT,DELETE" doc:"what to do there"`
	Path   APIPath        `name:"path" scope:"path" doc:"where; in needs, * stands for one part of it: call:/nodes/*/network"`
	Params map[string]any `name:"params" default:"" rest:"" doc:"its parameters, by name; those with '-' as **{\"name\": value}"`
}

// keys: nobody knows what the call touches, so two calls of one path wait for
// one another.
func (a CallArgs) keys() []string { return []string{"path:" + string(a.Path)} }

func (a CallArgs) what() string { return a.Method + " " + string(a.Path) }

// CallDecision is what a call() would do, and on what.
type CallDecision struct {
	Method string            `name:"method" doc:"what would be done"`
	Path   string            `name:"path" doc:"where"`
	Params map[string]string `name:"params" doc:"with which parameters; secrets by their name"`
	Found  bool              `name:"found" doc:"of PUT and DELETE: the path can be read"`
	Before any               `name:"before" doc:"what is there now, usage aside"`
}

// CallResult is what call() returns.
type CallResult struct {
	Data   any      `name:"data" doc:"what Proxmox answered"`
	Task   string   `name:"task" doc:"the UPID of the task that it began, or empty"`
	Status string   `name:"status" doc:"how that ended: OK, or WARNINGS: n; or empty"`
	Log    []string `name:"log" doc:"that task's log"`
}

func (c client) decideCall(ctx context.Context, args CallArgs) (CallDecision, error) {
	d := CallDecision{Method: args.Method, Path: string(args.Path), Params: map[string]string{}}
	for name, v := range args.Params {
		text, err := builtin.MarshalNeutral(v)
		if err != nil {
			return d, builtin.Faultf(builtin.Invalid, "%s", args.what()).Because(err)
		}
		d.Params[name] = strings.Trim(string(text), `"`)
		if s, ok := v.(builtin.Secret); ok {
			d.Params[name] = s.String()
		} else if _, isText := v.(string); isText && isSecretName(name) {
			return d, plainSecret(args.what(), name)
		}
	}
	if args.Method == http.MethodPost {
		return d, nil // it makes something; what is at the path is a list or nothing
	}
	var err error
	d.Before, err = c.value(ctx, args.Path, nil)
	switch f := builtin.AsFault(err); {
	case err == nil:
		d.Found, d.Before = true, withoutUsage(d.Before)
	case f == nil || f.Kind == builtin.Unreachable || f.Kind == builtin.Timeout:
		return d, err
	}
	return d, nil // nothing to be read there, or not by this token
}

func plainSecret(what, name string) error {
	return builtin.Faultf(builtin.Invalid, "%s", what).Saying(name + " is given in plain text, which the journal would keep").
		Hinting("name it in the [secrets] of the configuration and pass secret(\"NAME\")")
}

// usage are fields that change from one look to the next, and say nothing of
// what a thing is.
var usage = []string{
	"cpu", "mem", "memhost", "uptime", "disk", "diskread", "diskwrite", "netin", "netout", "used", "avail", "total", "used_fraction", "pid", "time", "localtime",
	"loadavg", "wait", "idle", "ballooninfo", "blockstat", "nics",
}

func withoutUsage(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutUsage(v[i])
		}
	case map[string]any:
		for name := range v {
			if slices.Contains(usage, name) || strings.HasPrefix(name, "pressure") {
				delete(v, name)
				continue
			}
			v[name] = withoutUsage(v[name])
		}
	}
	return v
}

// previewCall ends the plan: what the call makes of the world only Proxmox
// knows, and so nothing that follows can be foretold.
func (c client) previewCall(ctx context.Context, args CallArgs, d CallDecision) (CallResult, error) {
	if _, err := c.sendable(ctx, args.what(), args.Params); err != nil {
		return CallResult{}, err
	}
	text := make([]string, 0, len(d.Params))
	for _, name := range slices.Sorted(maps.Keys(d.Params)) {
		text = append(text, name+" = "+d.Params[name])
	}
	stop := builtin.Stopf(builtin.PlanEnds, "%s with %d parameters (%s) would be called; what that does to the world, no plan knows", args.what(), len(d.Params), strings.Join(text, ", "))
	stop.At = builtin.CallFrom(ctx).At
	return CallResult{}, stop
}

func (c client) call(ctx context.Context, args CallArgs, d CallDecision) (CallResult, error) {
	now, err := c.decideCall(ctx, args)
	if err != nil {
		return CallResult{}, err
	}
	before, errBefore := builtin.MarshalNeutral(d.Before)
	after, errAfter := builtin.MarshalNeutral(now.Before)
	if d.Found != now.Found || errBefore != nil || errAfter != nil || !bytes.Equal(before, after) {
		return CallResult{}, builtin.Faultf(builtin.Conflict, "%s", args.what()).
			Saying(fmt.Sprintf("what is there has changed since this was decided: it was %.300s and is %.300s", before, after)).Hinting("look at it, and decide again")
	}
	params, err := c.sendable(ctx, args.what(), args.Params)
	if err != nil {
		return CallResult{}, err
	}
	send := map[string]func(context.Context, string, map[string]any, any) error{"POST": c.pve.Post, "PUT": c.pve.Put, "DELETE": c.pve.Delete}[args.Method]
	var raw json.RawMessage
	// A run that is cancelled in this moment still learns which task it left.
	if err := send(context.WithoutCancel(ctx), args.Path.escaped(), params, &raw); err != nil {
		return CallResult{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var data any
	if err := dec.Decode(&data); err != nil {
		return CallResult{}, builtin.Faultf(builtin.Unreachable, "%s", args.what()).Because(err)
	}
	out := CallResult{Data: neutral(data), Log: []string{}}
	text, _ := data.(string)
	if _, noTask := pve.ParseUPID(text); noTask != nil {
		return out, nil //nolint:nilerr // most answers are no task
	}
	upid, err := c.hold(ctx, text)
	if err != nil {
		return CallResult{}, err
	}
	return c.followCall(ctx, args, upid)
}

func (c client) followCall(ctx context.Context, args CallArgs, upid pve.UPID) (CallResult, error) {
	end, err := c.follow(ctx, upid, 0)
	if err != nil {
		return CallResult{}, err
	}
	out := CallResult{Data: upid.String(), Task: upid.String(), Status: end.ExitStatus, Log: append([]string{}, end.Log...)}
	if !end.OK {
		f := failedTask(end, args.what())
		f.Partial = out
		return CallResult{}, f
	}
	return out, nil
}

func (c client) settleCall(ctx context.Context, args CallArgs, handle string) (builtin.Settlement[CallResult], error) {
	return settleTask(ctx, c, handle, func(upid pve.UPID) (CallResult, error) { return c.followCall(ctx, args, upid) },
		builtin.Settlement[CallResult]{State: builtin.Unknown, Why: "whether " + args.what() + " was carried out, only a look at what it is about can tell"})
}
