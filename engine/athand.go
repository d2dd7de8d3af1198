package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"nixmox/engine/builtin"
)

// AtHand are the functions that every playbook has without a module. json
// and struct belong to the languages themselves.
func AtHand() []builtin.Func {
	return []builtin.Func{
		builtin.NewPure("log", "Write a line into the run's log.", logLine).
			With(builtin.Reference{Example: `log("two guests are stopped", level = "warning")`}),
		builtin.NewPure("fail", "End the run as failed; attempt catches it.", fail).
			With(builtin.Reference{Example: `r = attempt(lambda: fail("no guest matches", hint = "look at the tags"))`, Errors: []builtin.Kind{builtin.Failed}}),
		builtin.NewPure("attempt", "Call a function and return how it ended: ok, value, error. After a partial failure value is what was done all the same. "+
			"Stop conditions (denied, in doubt, cancelled, limit, diverged) are not caught.", attempt).
			With(builtin.Reference{Example: "r = attempt(lambda: fail(\"no\"))\nlog(\"%s: %s\" % (r.error.kind, r.error.what))"}),
		builtin.NewPure("defer", "Call a function when the run ends, done or failed; the newest first.", deferCall).
			With(builtin.Reference{Example: `defer(lambda: log("the end"))`}),
		builtin.NewPure("retry", "Call a function until it does not fail, some times at most.", retry).
			With(builtin.Reference{Example: `retry(lambda: log("once"), times = 3, wait = "2s")`}),
		builtin.NewPure("parallel", "Call a function for each item, side by side, and return the results in the order of the items. "+
			"All branches finish; then the first error in the order of the items is raised. Items and function are frozen.", parallel).
			With(builtin.Reference{Example: `squares = parallel([1, 2, 3], lambda n: n * n)`}),
		builtin.NewPure("with_lock", "Call a function while holding locks that no other run holds. Not to be nested.", withLock).
			With(builtin.Reference{Example: `with_lock(["guest:100"], lambda: log("alone"))`, Errors: []builtin.Kind{builtin.Busy, builtin.Invalid}}),
		builtin.NewPure("wait_until", "Call a function, which may only read, until it returns something true, and return that.", waitUntil).
			With(builtin.Reference{Example: `wait_until(lambda: True, timeout = "5m", every = "10s")`, Errors: []builtin.Kind{builtin.Timeout}}),
		builtin.NewPure("secret", "A handle of a secret of nixmox's configuration; never its text.", namedSecret).
			With(builtin.Reference{Example: `token = secret("nas")`}),
		builtin.NewPure("keep", "Rules that say how many of a list of dated things stay, by count, as text, or both. All zero keeps everything.", keep).
			With(builtin.Reference{Example: "rules = keep(last = 3, daily = 7, weekly = 4)\nsame = keep(\"last=3,daily=7,weekly=4\")", Errors: []builtin.Kind{builtin.Invalid}}),
		nowFunc, randomFunc, sleepFunc,
	}
}

var (
	nowFunc = builtin.NewRead("now", "The time, UTC. Recorded: a resumed run sees the same.",
		func(ctx context.Context, _ struct{}) (time.Time, error) {
			return builtin.CallFrom(ctx).Run.Now().Truncate(time.Millisecond), nil
		}).
		With(builtin.Reference{Example: `started = now()`})
	randomFunc = builtin.NewRead("random", "A whole number from 0 up to, not including, below. Recorded.", random).
			With(builtin.Reference{Example: `n = random(10)`})
	sleepFunc = builtin.NewRead("sleep", "Wait. In a plan it takes no time.", sleep).
			With(builtin.Reference{Example: `sleep("10ms")`})
)

type logArgs struct {
	Text  string `name:"text" doc:"what to write"`
	Level string `name:"level" default:"info" enum:"debug,info,warning,error" doc:"debug, info, warning or error; warnings are counted"`
}

func logLine(ctx context.Context, a logArgs) (struct{}, error) {
	c := builtin.CallFrom(ctx)
	if c.Run.Log != nil {
		c.Run.Log(*c, a.Level, a.Text)
	}
	return struct{}{}, nil
}

type failArgs struct {
	Message string `name:"message" doc:"what went wrong"`
	Hint    string `name:"hint" default:"" doc:"what to do now"`
	Kind    string `name:"kind" default:"failed" enum:"not_found,invalid,forbidden,busy,timeout,unreachable,conflict,failed" doc:"the fault's kind"`
}

func fail(_ context.Context, a failArgs) (struct{}, error) {
	return struct{}{}, &builtin.Fault{Kind: builtin.Kind(a.Kind), What: a.Message, Hint: a.Hint}
}

type attemptArgs struct {
	Fn builtin.Callback `name:"fn" doc:"a function without parameters"`
}

// Outcome is how an attempt ended.
type Outcome struct {
	OK    bool           `name:"ok" doc:"whether it did not fail"`
	Value builtin.Value  `name:"value" doc:"what it returned; after a failure what was done all the same, or None"`
	Error *builtin.Fault `name:"error" doc:"the fault (kind, what, said, hint), or None"`
}

func attempt(ctx context.Context, a attemptArgs) (Outcome, error) {
	v, err := a.Fn.Call(ctx)
	if err == nil {
		return Outcome{OK: true, Value: v}, nil
	}
	f := builtin.AsFault(err)
	if f == nil || ctx.Err() != nil {
		return Outcome{}, err
	}
	out := Outcome{Error: f}
	if f.Partial != nil {
		out.Value = builtin.NeutralOf(f.Partial)
	}
	return out, nil
}

type deferArgs struct {
	Fn builtin.Callback `name:"fn" doc:"a function without parameters"`
}

func deferCall(ctx context.Context, a deferArgs) (struct{}, error) {
	c := builtin.CallFrom(ctx)
	c.Run.Defer(*c, a.Fn)
	return struct{}{}, nil
}

type retryArgs struct {
	Fn    builtin.Callback `name:"fn" doc:"a function without parameters"`
	Times int              `name:"times" default:"3" doc:"how often at most"`
	Wait  builtin.Duration `name:"wait" default:"1s" doc:"the pause before the second time; it doubles from time to time"`
}

func retry(ctx context.Context, a retryArgs) (builtin.Value, error) {
	for n := 1; ; n++ {
		v, err := a.Fn.Call(ctx)
		if err == nil || builtin.AsFault(err) == nil || n >= a.Times {
			return v, err
		}
		if err := within(ctx, &sleepFunc, sleepArgs{Time: a.Wait}); err != nil {
			return nil, err
		}
		a.Wait *= 2
	}
}

// within makes a call from inside a built-in, at the next place of its branch.
func within(ctx context.Context, f *builtin.Func, args any) error {
	_, err := performWithin(ctx, f, args)
	return err
}

func performWithin(ctx context.Context, f *builtin.Func, args any) (any, error) {
	c, branch := builtin.CallFrom(ctx), builtin.BranchFrom(ctx)
	return c.Run.Perform(ctx, builtin.Call{Place: branch.Next(), Func: f, Args: args, At: c.At, Run: c.Run, Branch: branch})
}

type waitUntilArgs struct {
	Fn      builtin.Callback `name:"fn" doc:"a function without parameters; it may only read"`
	Timeout builtin.Duration `name:"timeout" default:"10m" doc:"how long to wait at most"`
	Every   builtin.Duration `name:"every" default:"5s" doc:"the pause between two looks"`
}

// waitUntil gives each turn a place of its own, with its own recorded time,
// so that a replay takes the same turns.
func waitUntil(ctx context.Context, a waitUntilArgs) (builtin.Value, error) {
	c := builtin.CallFrom(ctx)
	trunk := builtin.BranchFrom(ctx)
	var began time.Time
	for turn := 1; ; turn++ {
		branch := trunk.Fork(c.Place, turn)
		branch.ReadOnly = true
		ctx := builtin.WithBranch(ctx, branch)
		at, err := performWithin(ctx, &nowFunc, struct{}{})
		if err != nil {
			return nil, err
		}
		now := at.(time.Time)
		if turn == 1 {
			began = now
		}
		v, err := a.Fn.Call(ctx)
		if err != nil || a.Fn.True(v) {
			return v, err
		}
		if c.Run.Planned != nil {
			stop := builtin.Stopf(builtin.PlanEnds, "wait_until: what is waited for is not so yet")
			stop.At = c.At
			return nil, stop
		}
		if left := time.Duration(a.Timeout) - now.Sub(began); left <= 0 {
			return nil, builtin.Faultf(builtin.Timeout, "wait_until waited %s in vain", a.Timeout)
		}
		if err := within(ctx, &sleepFunc, sleepArgs{Time: a.Every}); err != nil {
			return nil, err
		}
	}
}

type secretArgs struct {
	Name string `name:"name" doc:"its name in the [secrets] table of the configuration"`
}

func namedSecret(_ context.Context, a secretArgs) (builtin.Secret, error) {
	return builtin.NamedSecret(a.Name), nil
}

type randomArgs struct {
	Below int64 `name:"below" doc:"one more than the largest number that can come"`
}

func random(_ context.Context, a randomArgs) (int64, error) {
	if a.Below <= 0 {
		return 0, builtin.Faultf(builtin.Invalid, "random").Saying(fmt.Sprintf("below is %d, want at least 1", a.Below))
	}
	return rand.Int64N(a.Below), nil
}

type sleepArgs struct {
	Time builtin.Duration `name:"time" doc:"how long"`
}

// sleep records when it will be over, so that a resumed run does not sleep
// from the beginning. A short one is not worth a commit.
func sleep(ctx context.Context, a sleepArgs) (struct{}, error) {
	call := builtin.CallFrom(ctx)
	if call.Run.Planned != nil {
		return struct{}{}, nil
	}
	left := time.Duration(a.Time)
	if wake, err := time.Parse(time.RFC3339Nano, call.Handle); err == nil {
		left = wake.Sub(call.Run.Now())
	} else if left >= time.Second {
		if err := builtin.Hold(ctx, call.Run.Now().Add(left).Format(time.RFC3339Nano)); err != nil {
			return struct{}{}, err
		}
	}
	return struct{}{}, call.Run.Sleep(ctx, left)
}

var errNested = errors.New("it is called inside another with_lock")
