package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/internal/pvetest"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// user calls the module as a playbook in a run does, against a lab.
type user struct {
	t     *testing.T
	lab   *lab.Lab
	c     client
	mod   builtin.Module
	run   *builtin.Run
	place int
	slept func() // after each pause

	mu       sync.Mutex
	requests []lab.Exchange
	handles  []string
	steps    []string
}

func newUser(t *testing.T, faults ...string) *user {
	t.Helper()
	u := &user{t: t}
	o := lab.Options{Dir: t.TempDir(), Clock: lab.ClockAuto, Brief: true, History: history, Observe: func(x lab.Exchange) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.requests = append(u.requests, x)
	}}
	l := must(lab.Open(o))
	u.lab = l
	end := must(l.Start())
	u.c = client{must(pve.New(pve.Config{
		URL: end.URL, TokenID: end.TokenID, Token: pve.NewSecret(end.TokenSecret), Fingerprint: end.Fingerprint, Now: l.Now, Sleep: u.sleep,
	}))}
	t.Cleanup(func() {
		u.fitsTheSchema()
		if err := errors.Join(u.c.pve.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, text := range faults {
		u.fault(text)
	}
	u.mod = Module(u.c.pve)
	u.run = &builtin.Run{
		ID: "01TESTTESTTESTTESTTESTTEST", Playbook: "upgrade", Now: l.Now, Sleep: u.sleep,
		Handle:   func(_ builtin.Call, h string) error { u.handles = append(u.handles, h); return nil },
		Progress: func(_ builtin.Call, p builtin.Progress) { u.steps = append(u.steps, p.Step) },
	}
	return u
}

// sleep lets the lab's time pass, and with it what happens in it.
func (u *user) sleep(ctx context.Context, d time.Duration) error {
	u.lab.Advance(d)
	if u.slept != nil {
		u.slept()
	}
	return ctx.Err()
}

func (u *user) fault(text string) {
	u.t.Helper()
	if err := u.lab.AddFault(must(lab.ParseFault(text))); err != nil {
		u.t.Fatal(err)
	}
}

// fitsTheSchema holds every request and every good answer against both schemas.
func (u *user) fitsTheSchema() {
	for _, version := range []string{"9.2.11", "8.4.5"} {
		schema := pvetest.Schema(u.t, version)
		for _, x := range u.requests {
			if x.Status == 400 {
				continue // what a test asked for wrongly on purpose
			}
			if err := schema.CheckRequest(x.Method, x.Path, x.Params); err != nil {
				u.t.Errorf("%s: %s %s %v: %v", version, x.Method, x.Path, x.Params, err)
			}
			var body struct{ Data json.RawMessage }
			if x.Status == 200 && json.Unmarshal(x.Body, &body) == nil && version == "9.2.11" {
				if err := schema.CheckAnswer(x.Method, x.Path, body.Data); err != nil {
					u.t.Errorf("%s %s: %v", x.Method, x.Path, err)
				}
			}
		}
	}
}

type args map[string]any

// prepare makes a call of neutral values, as a language does.
func (u *user) prepare(name string, a args) *builtin.Call {
	u.t.Helper()
	f, ok := u.mod.Func(name)
	if !ok {
		u.t.Fatalf("no function %s", name)
	}
	var named []builtin.Named
	for k, v := range a {
		named = append(named, builtin.Named{Name: k, Value: asNeutral(v)})
	}
	bound, err := f.Bind(nil, named)
	if err != nil {
		u.t.Fatal(err)
	}
	u.place++
	return &builtin.Call{Place: builtin.Place(fmt.Sprint(u.place)), Func: f, Args: bound, Run: u.run, Branch: builtin.NewBranch()}
}

// call makes a call, or previews it where the run is a plan.
func (u *user) call(name string, a args) (any, error) {
	u.t.Helper()
	return u.perform(u.prepare(name, a))
}

func (u *user) perform(c *builtin.Call) (any, error) {
	ctx := context.Background()
	if c.Func.Effect == builtin.Irreversible && c.Decision == nil {
		d, err := c.Func.Decide(ctx, c)
		if err != nil {
			return nil, err
		}
		// As it comes back from the journal.
		c.Decision = must(c.Func.Decision.Decode(must(json.Marshal(builtin.Typed{Type: c.Func.Decision, Value: d}))))
	}
	do := c.Func.Do
	if u.run.Planned != nil && c.Func.Effect.Alters() {
		do = c.Func.Preview
	}
	out, err := do(ctx, c)
	if err == nil {
		c.Func.Result.Neutral(out)
	}
	return out, err
}

func do[R any](u *user, name string, a args) R {
	u.t.Helper()
	out, err := u.call(name, a)
	if err != nil {
		f := builtin.AsFault(err)
		u.t.Fatalf("%s: %v; hint: %s", name, err, f.Hint)
	}
	return out.(R)
}

// refused makes a call that must fail, and say all a user needs.
func (u *user) refused(kind builtin.Kind, says, name string, a args) *builtin.Fault {
	u.t.Helper()
	_, err := u.call(name, a)
	return u.isFault(err, kind, says)
}

func (u *user) isFault(err error, kind builtin.Kind, says string) *builtin.Fault {
	u.t.Helper()
	f, ok := errors.AsType[*builtin.Fault](err)
	if !ok {
		u.t.Fatalf("want a fault of kind %s, got %v", kind, err)
	}
	if text := f.Error() + " | " + f.Hint; f.Kind != kind || f.Hint == "" || !strings.Contains(text, says) {
		u.t.Errorf("want %s with %q, got %s: %s", kind, says, f.Kind, text)
	}
	return f
}

// settle asks what became of a call whose run was killed.
func (u *user) settle(c *builtin.Call, handle string) builtin.Settlement[any] {
	u.t.Helper()
	s, err := c.Func.Settle(context.Background(), c, handle)
	if err != nil {
		u.t.Fatal(err)
	}
	return s
}

// planned makes the same calls in a plan, and gives their results.
func (u *user) planned(calls ...func() any) []any {
	u.t.Helper()
	place := u.place
	before := string(must(u.lab.State()))
	u.run.Planned = &builtin.Overlay{}
	defer func() { u.run.Planned, u.place = nil, place }()
	var out []any
	for _, call := range calls {
		out = append(out, call())
	}
	if after := string(must(u.lab.State())); after != before {
		u.t.Error("the plan changed something")
	}
	return out
}

// stable is a result without what plan and run may differ in.
func stable(t *builtin.Type, v any) any {
	return stableValue(t.Neutral(v))
}

func stableValue(v any) any {
	switch v := v.(type) {
	case *builtin.Record:
		out := map[string]any{}
		for i, f := range v.Type.Fields {
			if !f.Volatile && !f.VolatilePlanned && !f.Type.Later {
				out[f.Name] = stableValue(v.Values[i])
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = stableValue(v[i])
		}
		return out
	}
	return v
}

type step struct {
	name string
	args args
}

// samePlanAndRun makes calls in a plan, then in earnest, and compares.
func (u *user) samePlanAndRun(calls ...step) {
	u.t.Helper()
	var planned, done []any
	each := func(into *[]any) func() any {
		return func() any {
			for _, x := range calls {
				f, _ := u.mod.Func(x.name)
				out, err := u.call(x.name, x.args)
				if err != nil {
					u.t.Fatalf("%s %v (plan: %v): %v", x.name, x.args, u.run.Planned != nil, err)
				}
				*into = append(*into, stable(f.Result, out))
			}
			return nil
		}
	}
	u.planned(each(&planned))
	each(&done)()
	for i, x := range calls {
		if !reflect.DeepEqual(planned[i], done[i]) {
			u.t.Errorf("%s %v:\nplan %v\nrun  %v", x.name, x.args, planned[i], done[i])
		}
	}
}

// asNeutral spares tests to write int64(108).
func asNeutral(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = asNeutral(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[k] = asNeutral(v[k])
		}
		return out
	}
	return v
}
