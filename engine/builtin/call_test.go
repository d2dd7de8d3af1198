package builtin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

type victim struct {
	Name string `name:"name" scope:"site"`
}

// TestFuncPerforms: each part of a definition gets the call's arguments, its
// context finds the call, and Do gets what Decide resolved.
func TestFuncPerforms(t *testing.T) {
	place := func(ctx context.Context) string { return string(builtin.CallFrom(ctx).Place) }
	f := builtin.NewIrreversible("raze", "R.", builtin.IrreversibleOp[victim, int, string]{
		Decide: func(ctx context.Context, a victim) (int, error) { return len(a.Name), nil },
		Preview: func(ctx context.Context, a victim, n int) (string, error) {
			return fmt.Sprint("would ", a.Name, n, place(ctx)), nil
		},
		Do: func(ctx context.Context, a victim, n int) (string, error) {
			return fmt.Sprint("did ", a.Name, n, place(ctx)), nil
		},
		Settle: func(ctx context.Context, a victim, handle string) (builtin.Settlement[string], error) {
			return builtin.Settlement[string]{State: builtin.Done, Result: a.Name, Handle: handle, Why: place(ctx)}, nil
		},
		Keys: func(a victim) []string { return []string{"site:" + a.Name} },
	})
	args, err := f.Bind([]any{"north"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	call := &builtin.Call{Place: "4", Func: &f, Args: args, Run: &builtin.Run{}}
	if call.Decision, err = f.Decide(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	would, errA := f.Preview(t.Context(), call)
	did, errB := f.Do(t.Context(), call)
	settled, errC := f.Settle(t.Context(), call, "h")
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	if would != "would north54" || did != "did north54" {
		t.Errorf("%v, %v", would, did)
	}
	if settled.State != builtin.Done || settled.Result != "north" || settled.Handle != "h" || settled.Why != "4" {
		t.Errorf("settled %+v", settled)
	}
	if keys := f.Keys(args); len(keys) != 1 || keys[0] != "site:north" {
		t.Errorf("keys %v", keys)
	}
	if name, sort, ok := f.ScopeOf(); name != "name" || sort != "site" || !ok {
		t.Errorf("scope %s %s", name, sort)
	}
	read := builtin.NewRead("look", "L.", do[none, none])
	if read.Keys(none{}) != nil {
		t.Error("a read locks something")
	}
}

// TestOutsideARun: a client's test calls a function without an engine.
func TestOutsideARun(t *testing.T) {
	c := builtin.CallFrom(t.Context())
	if c.Run.Now().IsZero() || c.Branch.Next() != "1" {
		t.Errorf("%+v", c)
	}
	builtin.Report(t.Context(), builtin.Progress{Done: 1})
	if err := builtin.Hold(t.Context(), "h"); err != nil {
		t.Error(err)
	}
	if c.Run.Planned.Entries("x") != nil {
		t.Error("a real run has planned things")
	}
}

func TestSecretsShowTheirNameOnly(t *testing.T) {
	run := &builtin.Run{Secret: func(name string) (string, error) { return "hunter2 of " + name, nil }}
	ctx := builtin.WithCall(t.Context(), &builtin.Call{Run: run})
	s := builtin.NamedSecret("nas")
	if text, err := s.Reveal(ctx); err != nil || text != "hunter2 of nas" {
		t.Errorf("%q %v", text, err)
	}
	for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
		if got := fmt.Sprintf(verb, s); strings.Contains(got, "hunter2") || !strings.Contains(got, "nas") {
			t.Errorf("%s shows %s", verb, got)
		}
	}
	_, err := s.Reveal(t.Context())
	if f, ok := errors.AsType[*builtin.Fault](err); !ok || f.Kind != builtin.NotFound || f.Hint == "" {
		t.Errorf("a secret that is not configured: %v", err)
	}
}

func TestAsFault(t *testing.T) {
	mine := builtin.Faultf(builtin.Busy, "guest %d", 100).Saying(" locked\n").Hinting("wait")
	cause := errors.New("broken pipe")
	tests := []struct {
		name string
		err  error
		kind builtin.Kind // "" for none
		text string
	}{
		{"nothing", nil, "", ""},
		{"a fault", mine, builtin.Busy, "guest 100: locked"},
		{"a fault inside", fmt.Errorf("x: %w", mine), builtin.Busy, "guest 100: locked"},
		{"its cause speaks", builtin.Faultf(builtin.Unreachable, "pve").Because(cause), builtin.Unreachable, "pve: broken pipe"},
		{"the host's words go first", builtin.Faultf(builtin.Failed, "pve").Saying("no").Because(cause), builtin.Failed, "pve: no"},
		{"a deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), builtin.Timeout, "x: context deadline exceeded"},
		{"cancelled", context.Canceled, "", ""},
		{"a stop condition", builtin.Stopf(builtin.Denied, "no"), "", ""},
		{"another error", cause, builtin.Failed, "broken pipe"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := builtin.AsFault(tt.err)
			if (f == nil) != (tt.kind == "") || f != nil && (f.Kind != tt.kind || f.Error() != tt.text) {
				t.Errorf("%#v, want %s %q", f, tt.kind, tt.text)
			}
		})
	}
	if !errors.Is(builtin.Faultf(builtin.Failed, "x").Because(cause), cause) {
		t.Error("the cause is lost")
	}
}

func TestOverlay(t *testing.T) {
	o := &builtin.Overlay{}
	o.Add("a", 1)
	o.Add("a", 2)
	o.Assume("that it is whole")
	got := o.Entries("a")
	got[0] = "spoilt"
	if fmt.Sprint(o.Entries("a"), o.Entries("b"), o.Assumed()) != "[1 2] [] [that it is whole]" {
		t.Error(o.Entries("a"), o.Entries("b"), o.Assumed())
	}
}

func TestPositions(t *testing.T) {
	for want, p := range map[string]builtin.Position{"": {}, "a.star": {File: "a.star"}, "a.star:3": {File: "a.star", Line: 3}, "a.star:3:7": {File: "a.star", Line: 3, Col: 7}} {
		if p.String() != want {
			t.Errorf("%+v prints as %q, want %q", p, p.String(), want)
		}
	}
}
