package reference_test

import (
	"context"
	"time"

	"nixmox/engine/builtin"
)

// Coin is a named type without a pattern, Ore one with.
type Coin string

func (Coin) Describe() (string, string) { return "coin", "heads or tails" }

// UnmarshalText takes anything: these tests are about words.
func (c *Coin) UnmarshalText(text []byte) error { *c = Coin(text); return nil }

// Place is nested in Find and in the arguments of dig.
type Place struct {
	Name  string     `name:"name" doc:"what it is called"`
	Depth int64      `name:"depth" default:"10" doc:"how deep it lies"`
	Seen  *time.Time `name:"seen" volatile:"" doc:"when somebody was there; None if never"`
}

// Find has every type of a result.
type Find struct {
	ID     builtin.Later[builtin.VolID] `name:"id" doc:"the volume that holds it"`
	Place  Place                        `name:"place" doc:"where it was"`
	Others []Place                      `name:"others" doc:"where it was not"`
	Weight map[string]float64           `name:"weight" doc:"by metal | by sieve"`
	Serial uint64                       `name:"serial" doc:"its number"`
	Took   builtin.Duration             `name:"took" volatile:"" doc:"how long it took"`
	At     time.Time                    `name:"at" doc:"when"`
	Whole  bool                         `name:"whole" doc:"whether it is whole"`
	State  string                       `name:"state" enum:"clean,dirty" doc:"how it looks"`
	Any    builtin.Value                `name:"any" doc:"what the function returned"`
}

type digArgs struct {
	Guests  []builtin.VMID               `name:"guests" scope:"guest" doc:"who digs. Each digs for itself, and this text is long enough to be wrapped."`
	Storage builtin.StorageID            `name:"storage" doc:"where finds go"`
	Node    builtin.Node                 `name:"node" default:"" doc:"on which node; empty: any"`
	Volume  builtin.Later[builtin.VolID] `name:"volume" default:"" doc:"an earlier find"`
	Coin    Coin                         `name:"coin" default:"heads" doc:"how to decide"`
	Mode    string                       `name:"mode" default:"spade" enum:"spade,drill" doc:"with what"`
	Marks   []string                     `name:"marks" default:"a,b" enum:"a,b,c" doc:"labels"`
	Keep    builtin.Keep                 `name:"keep" default:"" doc:"which finds stay"`
	Place   *Place                       `name:"place" default:"" doc:"where; None: everywhere"`
	Limits  map[string]int64             `name:"limits" default:"" doc:"by metal"`
	Wait    builtin.Duration             `name:"wait" default:"90s" doc:"how long at most"`
	Size    builtin.Bytes                `name:"size" default:"4GiB" doc:"how large at most"`
	Number  int64                        `name:"number" default:"3" doc:"how many"`
	Ratio   float64                      `name:"ratio" default:"0.5" doc:"how much of each"`
	Dry     bool                         `name:"dry" default:"true" doc:"only where it is dry"`
	Since   *time.Time                   `name:"since" default:"" doc:"not before"`
	Key     builtin.Secret               `name:"key" default:"" doc:"of the store"`
	Check   builtin.Callback             `name:"check" default:"" doc:"called for each find"`
	Extra   builtin.Value                `name:"extra" default:"" doc:"passed on to check"`
}

type razeArgs struct {
	Site string `name:"site" scope:"site" doc:"which site"`
}

func never[A, R any](context.Context, A) (R, error) { panic("the reference calls nothing") }

func modules() []builtin.Module {
	mine := builtin.NewModule("mine", "Digs for things. It has every type there is.\n\nA second paragraph.",
		builtin.NewPure("depth_of", "How deep a place lies.", never[struct {
			Place Place `name:"place" doc:"which place"`
		}, int64]),
		builtin.NewRead("finds", "List finds. Newest first.", never[struct{}, []Find]).
			With(builtin.Reference{Errors: []builtin.Kind{builtin.NotFound, builtin.Unreachable}}),
		builtin.NewChange("dig", "Dig for something. It takes a while.", builtin.Op[digArgs, Find]{
			Preview: never[digArgs, Find], Do: never[digArgs, Find], Keys: func(digArgs) []string { return nil },
			Settle: func(context.Context, digArgs, string) (builtin.Settlement[Find], error) { panic("not called") },
		}).With(builtin.Reference{Source: "mine(8)", Errors: []builtin.Kind{builtin.Busy},
			Privileges: []builtin.Privilege{{Name: "Mine.Dig|Mine.Admin", Path: "/sites/{storage}"}},
			Example:    "f = mine.dig([100], \"store\")\nlog(f.place.name)\n"}),
		builtin.NewIrreversible("raze", "Raze a site.", builtin.IrreversibleOp[razeArgs, int, struct{}]{
			Decide:   never[razeArgs, int],
			Preview:  func(context.Context, razeArgs, int) (struct{}, error) { panic("not called") },
			Do:       func(context.Context, razeArgs, int) (struct{}, error) { panic("not called") },
			NoSettle: "rubble looks alike",
			Keys:     func(razeArgs) []string { return nil },
		}))
	moon := builtin.NewModule("moon", "Phases of the moon.", builtin.NewRead("phase", "Today's phase.", never[struct{}, *Coin]))
	return []builtin.Module{mine, moon}
}

func atHand() []builtin.Func {
	return []builtin.Func{
		builtin.NewPure("again", "Call a function again.", never[struct {
			Fn builtin.Callback `name:"fn" doc:"a function"`
		}, builtin.Value]),
		builtin.NewRead("clock", "The time.", never[struct{}, time.Time]),
	}
}
