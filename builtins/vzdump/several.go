package vzdump

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// FailedArchive is an archive with which something could not be done.
type FailedArchive struct {
	VolID builtin.VolID `name:"volid" doc:"the archive"`
	Guest builtin.VMID  `name:"guest" doc:"the guest that was backed up, as the archive's name says"`
	Said  string        `name:"said" doc:"why, and what to do"`
}

// failures are what went wrong with some of several archives.
type failures struct {
	list  []FailedArchive
	first *builtin.Fault
	mixed bool // they are of several kinds
}

// add notes what went wrong with one. What ends the whole call comes back: a
// stop, or that the run was ended.
func (f *failures) add(ctx context.Context, volid builtin.VolID, err error) error {
	fault := builtin.AsFault(err)
	if fault == nil || ctx.Err() != nil {
		return err
	}
	if f.first == nil {
		f.first = fault
	}
	f.mixed = f.mixed || fault.Kind != f.first.Kind
	said := fault.Error()
	if fault.Hint != "" {
		said += " (" + fault.Hint + ")"
	}
	f.list = append(f.list, FailedArchive{VolID: volid, Guest: guestOf(volid), Said: said})
	return nil
}

// fault is the error of the call, nil where nothing went wrong: the one fault
// where one archive was asked for. partial is what the call would have returned.
func (f *failures) fault(what string, of int, partial any) error {
	if f.first == nil {
		return nil
	}
	out := *f.first
	if of > 1 {
		var said []string
		for _, x := range f.list {
			said = append(said, x.Said)
		}
		out.What, out.Said = fmt.Sprintf("%s: %d of %d failed", what, len(f.list), of), strings.Join(said, "; ")
		out.Hint = "what was done with the others is in the error's value"
	}
	if f.mixed {
		out.Kind = builtin.Failed
	}
	out.Partial = partial
	return &out
}

// inStorage refuses archives of another storage than the one that is named,
// which is the one that needs and approvals speak of, and none at all.
func inStorage(what string, storage builtin.StorageID, volids []builtin.Later[builtin.VolID]) error {
	if len(volids) == 0 {
		return builtin.Faultf(builtin.Invalid, "%s: no archive is named", what).
			Hinting("a list that is empty is more often a mistake than a wish; leave the call out where there is nothing to do")
	}
	for i, volid := range volids {
		if volid.Known() && volid.Value.Storage() != storage {
			return builtin.Faultf(builtin.Invalid, "%s", what).Saying(string(volid.Value) + " is on another").
				Hinting("one call for each storage")
		}
		if slices.Contains(volids[:i], volid) {
			return builtin.Faultf(builtin.Invalid, "%s", what).Saying(laterText(volid) + " is named twice").
				Hinting("once is enough")
		}
	}
	return nil
}
