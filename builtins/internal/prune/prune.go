// Package prune asks the engine's retention what goes and what stays, for the
// functions of all modules that prune. It must not know what the things are.
package prune

import (
	"context"
	"errors"
	"fmt"
	"path"

	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

// Ask is what a prune wants to know.
type Ask struct {
	What     string // what is tried, as a Fault says it
	Function string // whose manual helps with the rules
	Items    []retention.Item
	Keep     builtin.Keep
}

// Decide decides by the engine's own clock: not by the plan's, which may be a
// day old, and not by what a playbook says.
func Decide(ctx context.Context, a Ask) (retention.Decision, error) {
	k := a.Keep
	rules := retention.Rules{
		Last: k.Last, Hourly: k.Hourly, Daily: k.Daily, Weekly: k.Weekly, Monthly: k.Monthly, Yearly: k.Yearly,
		Minimum: k.Minimum,
	}
	decided, err := retention.Decide(a.Items, rules, builtin.CallFrom(ctx).Run.Now())
	if clock, ok := errors.AsType[*retention.ClockError](err); ok {
		return decided, builtin.Faultf(builtin.Conflict, "%s", a.What).Because(clock).Hinting("set the clock right; nothing was removed")
	}
	if err != nil {
		return decided, builtin.Faultf(builtin.Invalid, "%s", a.What).Because(err).Hinting("nixmox doc %s", a.Function)
	}
	return decided, nil
}

// Names is a glob of names that others gave: what has such a name goes by the
// rules, too. Empty, it is nothing: somebody has to say which, at each call.
type Names string

// Describe names the type and its grammar.
func (Names) Describe() (string, string) { return "names", "a glob: autosnap_*, daily-?, * for all" }

// UnmarshalText refuses what is no glob.
func (n *Names) UnmarshalText(text []byte) error {
	if _, err := path.Match(string(text), ""); err != nil {
		return fmt.Errorf("%q is no glob: want autosnap_*, daily-?, or * for all", text)
	}
	*n = Names(text)
	return nil
}

// Match reports whether a name is one of them.
func (n Names) Match(name string) bool {
	ok, err := path.Match(string(n), name)
	return ok && err == nil && n != ""
}
