package prune_test

import (
	"testing"
	"time"

	"nixmox/builtins/internal/prune"
	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)
	ctx := builtin.WithCall(t.Context(), &builtin.Call{Run: &builtin.Run{Now: func() time.Time { return now }}})
	items := func(future time.Duration) []retention.Item {
		return []retention.Item{
			{ID: "new", Time: now.Add(future), Ours: true}, {ID: "old", Time: now.AddDate(0, 0, -1), Ours: true}, {ID: "theirs", Time: now.AddDate(0, 0, -2)},
		}
	}
	for _, c := range []struct {
		name    string
		ask     prune.Ask
		removed int
		fault   *builtin.Fault
	}{
		{"ours go", prune.Ask{Items: items(0), Keep: builtin.Keep{Last: 1}}, 1, nil},
		{"a minimum stays", prune.Ask{Items: items(0), Keep: builtin.Keep{Last: 1, Minimum: 2}}, 0, nil},
		{"no rules", prune.Ask{Items: items(0)}, 0, nil},
		{"the clock", prune.Ask{What: "pruning", Items: items(time.Hour), Keep: builtin.Keep{Last: 1}}, 0,
			&builtin.Fault{Kind: builtin.Conflict, What: "pruning", Hint: "set the clock right; nothing was removed"}},
		{"rules that are none", prune.Ask{What: "pruning", Function: "m.prune", Items: items(0), Keep: builtin.Keep{Last: -1}}, 0,
			&builtin.Fault{Kind: builtin.Invalid, What: "pruning", Hint: "nixmox doc m.prune"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := prune.Decide(ctx, c.ask)
			if len(d.Removed()) != c.removed {
				t.Errorf("removes %v, want %d", d.Removed(), c.removed)
			}
			f := builtin.AsFault(err)
			if (f == nil) != (c.fault == nil) || (f == nil) != (err == nil) {
				t.Fatalf("error is %v, want %v", err, c.fault)
			}
			if f != nil && (f.Kind != c.fault.Kind || f.What != c.fault.What || f.Hint != c.fault.Hint || f.Said == "") {
				t.Errorf("fault is %+v, want %+v", f, c.fault)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		match      bool
	}{
		{"", "", false}, {"", "a", false}, {"*", "a", true}, {"autosnap_*", "autosnap_2026", true}, {"autosnap_*", "auto-precious-manual", false}, {"daily-?", "daily-10", false},
	} {
		var n prune.Names
		if err := n.UnmarshalText([]byte(c.glob)); err != nil {
			t.Errorf("%q: %v", c.glob, err)
		} else if n.Match(c.name) != c.match {
			t.Errorf("%q matches %q: %v", c.glob, c.name, !c.match)
		}
	}
	var n prune.Names
	if err := n.UnmarshalText([]byte("a[")); err == nil || n != "" {
		t.Errorf("a[ is taken for a glob: %v", err)
	}
	if prune.Names("a[").Match("a[") {
		t.Error("what is no glob matches")
	}
}
