package main

import (
	"errors"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// describe takes an error apart: what went wrong, where in a playbook, and
// what to do about it. Several problems are joined, each with its place.
func describe(err error) (what, at, hint string) {
	if list, ok := errors.AsType[source.Problems](err); ok {
		if len(list) == 1 {
			return describe(list[0])
		}
		text := ""
		for i, p := range list {
			if i > 0 {
				text += "\n"
			}
			text += p.Error()
			if p.Hint != "" {
				text += "\n  hint: " + p.Hint
			}
		}
		return text, "", ""
	}
	if p, ok := errors.AsType[*source.Problem](err); ok {
		return p.What, p.At.String(), p.Hint
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		what, at, hint = describe(u.err)
		if u.hint != "" {
			hint = u.hint
		}
		return what, at, hint
	}
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		return stop.What, stop.At.String(), stop.Hint
	}
	if f, ok := errors.AsType[*builtin.Fault](err); ok {
		if n := len(f.Stack); n > 0 {
			at = f.Stack[n-1].String()
		}
		return f.Error(), at, f.Hint
	}
	return err.Error(), "", ""
}
