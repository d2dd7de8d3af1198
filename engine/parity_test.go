package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// The two languages: each case is written in both, and must make the same
// calls with the same arguments in the same places, get the same results,
// write the same log and end the same way.

// thing is a result with a field of every kind.
type thing struct {
	Guest  builtin.VMID                 `name:"guest" doc:"d"`
	Name   string                       `name:"name" doc:"d"`
	Whole  bool                         `name:"whole" doc:"d"`
	Ratio  float64                      `name:"ratio" doc:"d"`
	Serial uint64                       `name:"serial" doc:"d"`
	At     time.Time                    `name:"at" doc:"d"`
	Took   builtin.Duration             `name:"took" doc:"d"`
	Key    builtin.Secret               `name:"key" doc:"d"`
	Volume builtin.Later[builtin.VolID] `name:"volume" doc:"d"`
	Seen   *time.Time                   `name:"seen" doc:"d"`
	Tags   []string                     `name:"tags" doc:"d"`
	Limits map[string]int64             `name:"limits" doc:"d"`
	Keep   builtin.Keep                 `name:"keep" doc:"d"`
}

type pair struct {
	Name string `name:"name" doc:"d"`
	N    int64  `name:"n" default:"1" doc:"d"`
}

var aThing = thing{Guest: 100, Name: "n\"", Whole: true, Ratio: 0.5, Serial: 1<<64 - 1, At: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	Took: builtin.Duration(90 * time.Second), Key: builtin.NamedSecret("nas"), Volume: builtin.Now(builtin.VolID("nas:x")), Tags: []string{"b", "a"},
	Limits: map[string]int64{"z": 1, "a": 2, "m": 3}, Keep: builtin.Keep{Daily: 7}}

func things() builtin.Module {
	return builtin.NewModule("m", "Things.",
		builtin.NewRead("thing", "T.", func(context.Context, struct{}) (thing, error) { return aThing, nil }),
		builtin.NewRead("pair", "P.", func(_ context.Context, a pair) (pair, error) { return a, nil }),
		builtin.NewRead("pairs", "P.", func(_ context.Context, a struct {
			Names []string `name:"names" doc:"d"`
		}) ([]pair, error) {
			out := []pair{}
			for i, n := range a.Names {
				out = append(out, pair{n, int64(i)})
			}
			return out, nil
		}),
		builtin.NewRead("take", "T.", func(_ context.Context, a struct {
			Thing  *thing            `name:"thing" default:"" doc:"d"`
			Guests []builtin.VMID    `name:"guests" default:"" doc:"d"`
			Keep   builtin.Keep      `name:"keep" default:"" doc:"d"`
			Limits map[string]int64  `name:"limits" default:"" doc:"d"`
			Text   string            `name:"text" default:"" doc:"d"`
			Number float64           `name:"number" default:"0" doc:"d"`
			Serial uint64            `name:"serial" default:"0" doc:"d"`
			Flag   bool              `name:"flag" default:"false" doc:"d"`
			Wait   builtin.Duration  `name:"wait" default:"1s" doc:"d"`
			Size   builtin.Bytes     `name:"size" default:"0" doc:"d"`
			Key    builtin.Secret    `name:"key" default:"" doc:"d"`
			Rest   map[string]string `name:"rest" default:"" rest:"" doc:"d"`
		}) (struct{}, error) {
			return struct{}{}, nil
		}),
		builtin.NewRead("fail", "F.", func(_ context.Context, a struct {
			Kind string `name:"kind" default:"not_found" doc:"d"`
		}) (struct{}, error) {
			return struct{}{}, builtin.Faultf(builtin.Kind(a.Kind), "look").Saying("host's words").Hinting("look again")
		}),
		builtin.NewChange("fill", "F.", builtin.Op[pair, filled]{
			Preview: func(ctx context.Context, a pair) (filled, error) {
				return filled{Ticket: builtin.PlannedBy[string](builtin.CallFrom(ctx)), Level: a.N}, nil
			},
			Do:       func(_ context.Context, a pair) (filled, error) { return filled{builtin.Now("t-" + a.Name), a.N}, nil },
			NoSettle: "d", Keys: func(pair) []string { return nil },
		}),
		builtin.NewChange("join", "J.", builtin.Op[fillArgs, struct{}]{
			Preview:  func(context.Context, fillArgs) (struct{}, error) { return struct{}{}, nil },
			Do:       func(context.Context, fillArgs) (struct{}, error) { return struct{}{}, nil },
			NoSettle: "d", Keys: func(fillArgs) []string { return nil },
		}),
		builtin.NewPure("twice", "T.", func(_ context.Context, a struct {
			N int64 `name:"n" doc:"d"`
		}) (int64, error) {
			return 2 * a.N, nil
		}),
	)
}

// seen is what somebody outside sees of a run.
type seen struct {
	Calls, Logs []string
	End         string
	Kind        string
	What        string
	Hint        string
	Plan        string
}

func parityEngine(sink event.Sink) *engine.Engine {
	return &engine.Engine{Modules: []builtin.Module{things()}, Limits: language.Limits{Steps: 1e8, Memory: 1 << 32}, Clock: fakeClock(), Sink: sink}
}

// watch runs a playbook and notes what it did.
func watch(t *testing.T, file, text string, plan bool, params map[string]any) seen {
	t.Helper()
	var s seen
	var mu sync.Mutex
	e := parityEngine(func(ev event.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch ev.Type {
		case event.Logged:
			s.Logs = append(s.Logs, ev.Level+" "+ev.Text)
		case event.CallBegan:
			args, err := json.Marshal(ev.Args)
			if err != nil {
				t.Error(err)
			}
			s.Calls = append(s.Calls, fmt.Sprintf("%s %s%s", ev.Place, ev.Call, args))
		case event.CallEnded:
			if ev.Fault != nil {
				s.Calls = append(s.Calls, fmt.Sprintf("%s failed: %s %s", ev.Place, ev.Fault.Kind, ev.Fault.What))
			} else if result, err := json.Marshal(ev.Result); err == nil {
				s.Calls = append(s.Calls, fmt.Sprintf("%s -> %s", ev.Place, result))
			}
		}
	})
	e.LockDir = t.TempDir()
	p, err := e.Load(t.Context(), source.Roots{Playbook: fstest.MapFS{file: &fstest.MapFile{Data: []byte(text)}}}, file)
	if err != nil {
		s.End = "does not check"
		t.Logf("%s: %v", file, err)
		return s
	}
	if params == nil {
		params = map[string]any{}
	}
	for _, x := range p.Params {
		if _, ok := params[x.Name]; !ok {
			params[x.Name] = x.Default
		}
	}
	r := e.Run(t.Context(), p, engine.Options{Params: params, Plan: plan})
	s.End, s.Plan = string(r.End), r.PlanEnds
	if i := strings.Index(s.Plan, ": "); i > 0 && strings.HasPrefix(s.Plan, "p.") {
		s.Plan = s.Plan[i+2:] // lines differ
	}
	switch err := r.Err.(type) { //nolint:errorlint // these are the errors of a run
	case *builtin.Fault:
		s.Kind, s.What, s.Hint = string(err.Kind), err.Error(), err.Hint
		if len(err.Stack) == 0 || !strings.HasPrefix(err.Stack[0].File, "p.") || err.Stack[0].Line == 0 {
			t.Errorf("%s: no place: %+v", file, err)
		}
	case *builtin.Stop:
		s.Kind, s.What, s.Hint = string(err.Kind), err.What, err.Hint
	case nil:
	default:
		t.Errorf("%s: a %T: %v", file, err, err)
	}
	return s
}

const (
	starHead = "needs(m = [\"change\"])\ndef main():\n    "
	luaHead  = "needs{ m = {\"change\"} }\nfunction main(p)\n"
)

func bothSay(t *testing.T, star, lua string, plan bool) seen {
	t.Helper()
	inStar := watch(t, "p.star", starHead+strings.ReplaceAll(strings.TrimSpace(star), "\n", "\n    ")+"\n", plan, nil)
	inLua := watch(t, "p.lua", luaHead+lua+"\nend\n", plan, nil)
	if d := cmp.Diff(inStar, inLua); d != "" {
		t.Errorf("Starlark (-) and Lua (+) differ:\n%s", d)
	}
	return inLua
}

func TestParity(t *testing.T) {
	for _, c := range parityCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := bothSay(t, c.star, c.lua, c.plan)
			if len(s.Calls) == 0 && len(s.Logs) == 0 && s.What == "" && s.Plan == "" {
				t.Error("nothing happened, so this shows nothing")
			}
			if s.End == "does not check" {
				t.Error("neither checks, so this shows nothing")
			}
		})
	}
	if len(parityCases) < 60 {
		t.Errorf("%d cases", len(parityCases))
	}
}
