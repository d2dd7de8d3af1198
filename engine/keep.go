package engine

import (
	"cmp"
	"context"
	"fmt"

	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

type keepArgs struct {
	Rules rulesText `name:"rules" default:"" doc:"the counts as text; more of them may follow by name"`
	builtin.Keep
}

// rulesText is the text of retention's rules. nixmox check finds what is wrong
// in one that stands in a playbook.
type rulesText string

// Describe names the type and its grammar.
func (rulesText) Describe() (string, string) {
	return "keep rules", "last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=2,minimum=1, or in Proxmox's spelling keep-last=3,…"
}

// UnmarshalText takes what retention takes.
func (r *rulesText) UnmarshalText(text []byte) error {
	_, err := retention.ParseRules(string(text))
	*r = rulesText(text)
	return err
}

// keep reads text and counts as one text, so that what contradicts itself is
// found once. A negative count is left to the function that prunes by it.
func keep(_ context.Context, a keepArgs) (builtin.Keep, error) {
	text, k := string(a.Rules), a.Keep
	for _, n := range []struct {
		name  string
		count int
	}{{"last", k.Last}, {"hourly", k.Hourly}, {"daily", k.Daily}, {"weekly", k.Weekly}, {"monthly", k.Monthly}, {"yearly", k.Yearly}} {
		if n.count > 0 {
			text += fmt.Sprintf(",%s=%d", n.name, n.count)
		}
	}
	rules, err := retention.ParseRules(text)
	if err != nil {
		return builtin.Keep{}, builtin.Faultf(builtin.Invalid, "keep").Because(err).Hinting("the text and the counts by name are read as one; nixmox doc keep")
	}
	for _, n := range []struct {
		count *int
		sum   int
	}{{&k.Last, rules.Last}, {&k.Hourly, rules.Hourly}, {&k.Daily, rules.Daily}, {&k.Weekly, rules.Weekly}, {&k.Monthly, rules.Monthly}, {&k.Yearly, rules.Yearly}} {
		*n.count = cmp.Or(n.sum, *n.count)
	}
	k.Minimum = max(k.Minimum, rules.Minimum)
	return k, nil
}
