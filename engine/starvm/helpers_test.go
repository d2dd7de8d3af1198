package starvm

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// thing is a result with a field of every kind.
type thing struct {
	Guest  builtin.VMID                 `name:"guest"`
	Name   string                       `name:"name"`
	Whole  bool                         `name:"whole"`
	Ratio  float64                      `name:"ratio"`
	Serial uint64                       `name:"serial"`
	At     time.Time                    `name:"at"`
	Took   builtin.Duration             `name:"took"`
	Key    builtin.Secret               `name:"key"`
	Volume builtin.Later[builtin.VolID] `name:"volume"`
	Seen   *time.Time                   `name:"seen"`
	Tags   []string                     `name:"tags"`
	Limits map[string]int64             `name:"limits"`
	Keep   builtin.Keep                 `name:"keep"`
	Any    builtin.Value                `name:"any"`
}

type flat struct {
	Name string `name:"name"`
	N    int64  `name:"n"`
}

type anyArgs struct {
	Value builtin.Value `name:"value"`
}

type fnArgs struct {
	Fn    builtin.Callback `name:"fn"`
	Items []builtin.Value  `name:"items" default:""`
}

var theThing = thing{Guest: 100, Name: "n\"", Whole: true, Ratio: 0.5, Serial: 1<<64 - 1, At: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	Took: builtin.Duration(90 * time.Second), Key: builtin.NamedSecret("nas"), Volume: builtin.Now(builtin.VolID("nas:x")), Tags: []string{"b", "a"},
	Limits: map[string]int64{"z": 1, "a": 2, "m": 3}, Keep: builtin.Keep{Daily: 7}}

// probe is the world of these tests: what the playbook handed over, and what
// it logged.
type probe struct {
	mu     sync.Mutex
	got    []any // neutral arguments of take
	places []builtin.Place
	at     []builtin.Position
	logs   []string
}

func (p *probe) modules() []builtin.Module {
	note := func(ctx context.Context) {
		c := builtin.CallFrom(ctx)
		p.places, p.at = append(p.places, c.Place), append(p.at, c.At)
	}
	return []builtin.Module{builtin.NewModule("m", "M.",
		builtin.NewRead("thing", "T.", func(context.Context, struct{}) (thing, error) { return theThing, nil }),
		builtin.NewRead("planned", "T.", func(context.Context, struct{}) (thing, error) {
			t := theThing
			t.Volume = builtin.Later[builtin.VolID]{From: "7"}
			return t, nil
		}),
		builtin.NewRead("flat", "F.", func(_ context.Context, a flat) (flat, error) { return a, nil }),
		builtin.NewRead("flats", "F.", func(_ context.Context, a flat) ([]flat, error) { return []flat{a}, nil }),
		builtin.NewRead("other", "O.", func(_ context.Context, a flat) (struct {
			Name string `name:"name"`
			N    int64  `name:"n"`
		}, error) {
			return a, nil
		}),
		builtin.NewRead("take", "T.", func(ctx context.Context, a thing) (struct{}, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			note(ctx)
			p.got = append(p.got, builtin.NeutralOf(a))
			return struct{}{}, nil
		}),
		builtin.NewRead("look", "L.", func(ctx context.Context, _ anyArgs) (struct{}, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			note(ctx)
			return struct{}{}, nil
		}),
		builtin.NewRead("items", "I.", func(_ context.Context, a struct {
			Items []int64 `name:"items"`
		}) (int64, error) {
			return int64(len(a.Items)), nil
		}))}
}

// atHand are the least that these tests need of what the engine has at hand.
func (p *probe) atHand() []builtin.Func {
	return []builtin.Func{
		builtin.NewPure("log", "L.", func(ctx context.Context, a struct {
			Text string `name:"text"`
		}) (struct{}, error) {
			c := builtin.CallFrom(ctx)
			if c.Run.Log != nil {
				c.Run.Log(*c, "info", a.Text)
			}
			return struct{}{}, nil
		}),
		builtin.NewPure("same", "S.", func(_ context.Context, a anyArgs) (builtin.Value, error) { return a.Value, nil }),
		builtin.NewPure("do", "D.", func(ctx context.Context, a fnArgs) (builtin.Value, error) { return a.Fn.Call(ctx, a.Items...) }),
		builtin.NewPure("parallel", "P.", func(ctx context.Context, a fnArgs) ([]builtin.Value, error) {
			c, trunk := builtin.CallFrom(ctx), builtin.BranchFrom(ctx)
			out, errs := make([]builtin.Value, len(a.Items)), make([]error, len(a.Items))
			branches := make([]func(context.Context) (builtin.Value, error), len(a.Items))
			for i, item := range a.Items {
				branches[i] = a.Fn.Fork(trunk.Fork(c.Place, i+1), item)
			}
			var all sync.WaitGroup
			for i, branch := range branches {
				all.Go(func() { out[i], errs[i] = branch(ctx) })
			}
			all.Wait()
			for _, err := range errs {
				if err != nil {
					return nil, err
				}
			}
			return out, nil
		}),
	}
}

func (p *probe) definitions() language.Definitions {
	return language.Definitions{Modules: p.modules(), AtHand: p.atHand(), Limits: language.Limits{Steps: 1e8}}
}

func (p *probe) run() *builtin.Run {
	return &builtin.Run{ID: "r",
		Perform: func(ctx context.Context, c builtin.Call) (any, error) { return c.Func.Do(ctx, &c) },
		Log: func(c builtin.Call, _, text string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.logs, p.at = append(p.logs, text), append(p.at, c.At)
		}}
}

func load(ctx context.Context, d language.Definitions, text string) (*language.Playbook, error) {
	root := fstest.MapFS{"p.star": &fstest.MapFile{Data: []byte(text)}}
	return Load(ctx, d, source.Roots{Playbook: root}, "p.star")
}

// run runs a playbook whose main has the body given.
func run(ctx context.Context, body string) (*probe, error) { return evaluate(ctx, body, nil) }

// plan runs it as a plan.
func plan(ctx context.Context, body string) (*probe, error) {
	return evaluate(ctx, body, &builtin.Overlay{})
}

func evaluate(ctx context.Context, body string, planned *builtin.Overlay) (*probe, error) {
	p := &probe{}
	text := "def main():\n    " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") + "\n"
	playbook, err := load(ctx, p.definitions(), text)
	if err != nil {
		return p, fmt.Errorf("it does not load: %w", err)
	}
	r := p.run()
	r.Planned = planned
	return p, playbook.Main(builtin.WithBranch(ctx, builtin.NewBranch()), r, nil)
}
