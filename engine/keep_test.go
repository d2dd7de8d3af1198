package engine_test

import (
	"testing"

	"nixmox/engine/builtin"
)

func TestKeepSaysWhatIsWrong(t *testing.T) {
	const joined = "the text and the counts by name are read as one; nixmox doc keep"
	for _, c := range []struct{ name, star, lua, want, hint string }{
		{"no such rule", `keep("last=3,dayly=7")`, `keep("last=3,dayly=7")`,
			`keep: rules: retention rules "last=3,dayly=7": there is no "dayly"; known are last, hourly, daily, weekly, monthly, yearly, minimum and keep-all`, "nixmox doc keep"},
		{"a number", `keep(3)`, `keep(3)`,
			`keep: rules: retention rules "3": there is no "3"; known are last, hourly, daily, weekly, monthly, yearly, minimum and keep-all; so many of the newest are last=3`, "nixmox doc keep"},
		{"twice", `keep("daily=7", daily = 3)`, `keep("daily=7", {daily = 3})`, `keep: retention rules "daily=7,daily=3": daily is given twice`, joined},
		{"all and some", `keep("keep-all=1", daily = 3)`, `keep("keep-all=1", {daily = 3})`,
			`keep: retention rules "keep-all=1,daily=3": keep-all cannot stand beside counts; leave out one or the other`, joined},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := bothSay(t, c.star, c.lua, false)
			if s.What != c.want || s.Kind != string(builtin.Invalid) || s.Hint != c.hint {
				t.Errorf("said %s: %s\n%s\nwant %s\n%s", s.Kind, s.What, s.Hint, c.want, c.hint)
			}
		})
	}
}
