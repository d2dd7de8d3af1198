package engine

import (
	"errors"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// Exit codes of nixmox, for every command.
const (
	ExitDone        = 0   // done and verified
	ExitFailed      = 1   // tried, and did not succeed
	ExitUsage       = 2   // flags, arguments, configuration
	ExitCheck       = 3   // the playbook does not check
	ExitDenied      = 4   // its needs, or a grant, do not cover a call
	ExitInDoubt     = 5   // a change was begun, nobody can tell whether it ended
	ExitBusy        = 6   // locked by somebody else
	ExitTimeout     = 7   // it took longer than it was given
	ExitLimit       = 8   // steps or memory of a playbook
	ExitInterrupted = 130 // Ctrl-C
)

var stopExits = map[builtin.StopKind]int{
	builtin.Denied: ExitDenied, builtin.InDoubt: ExitInDoubt, builtin.Cancelled: ExitInterrupted, builtin.Limit: ExitLimit,
	builtin.Diverged: ExitFailed, builtin.TimedOut: ExitTimeout, builtin.PlanEnds: ExitDone,
	builtin.Unwritten: ExitFailed, builtin.Moved: ExitFailed, builtin.Died: ExitFailed,
}

// ExitCode is the exit code that an error stands for.
func ExitCode(err error) int {
	if err == nil {
		return ExitDone
	}
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		return stopExits[stop.Kind]
	}
	if _, ok := errors.AsType[source.Problems](err); ok {
		return ExitCheck
	}
	if _, ok := errors.AsType[*source.Problem](err); ok {
		return ExitCheck
	}
	if f, ok := errors.AsType[*builtin.Fault](err); ok {
		switch f.Kind {
		case builtin.Busy:
			return ExitBusy
		case builtin.Timeout:
			return ExitTimeout
		}
	}
	return ExitFailed
}
