package vzdump

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	marks "nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// askTheGuest adds what the log of a VM's backup does not say, and its
// configuration does: that Windows was frozen through VSS, and which devices
// are passed through, so that nothing of them is in the archive. It is one
// request a VM, since no list of Proxmox's has it.
func (v *vzdump) askTheGuest(ctx context.Context, node builtin.Node, made *Made) (warnings []string) {
	if made.Kind != "vm" {
		return nil
	}
	var raw map[string]pve.Text
	if err := v.c.Get(ctx, pve.Path("/nodes/%s/qemu/%s/config", string(node), made.Guest.String()), nil, &raw); err != nil {
		return []string{fmt.Sprintf("guest %d: its configuration could not be read (%v), so its passed-through devices are not listed as left out", made.Guest, err)}
	}
	values := make(map[string]string, len(raw))
	for key, value := range raw {
		values[key] = string(value)
	}
	c := guestConfig{kind: "vm", values: values}
	if made.Consistency.Value == consistencyFilesystem && c.isWindows() {
		made.Consistency = builtin.Now(consistencyApplication)
	}
	made.LeftOut = builtin.Now(append(slices.Clone(made.LeftOut.Value), c.passedThrough()...))
	return nil
}

// frozenWarnings asks the agent whether a guest that was not seen thawed is
// frozen still: everything that writes in it then hangs.
func (v *vzdump) frozenWarnings(ctx context.Context, node builtin.Node, id builtin.VMID) []string {
	thaw := fmt.Sprintf("thaw it: qm guest cmd %d fsfreeze-thaw", id)
	var said struct {
		Result string `json:"result"`
	}
	err := v.c.Post(ctx, pve.Path("/nodes/%s/qemu/%s/agent/fsfreeze-status", string(node), id.String()), map[string]any{}, &said)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("guest %d: whether it is still frozen could not be seen (%v); if so, %s", id, err, thaw)}
	case said.Result == "frozen":
		return []string{fmt.Sprintf("guest %d is still frozen, and whatever writes in it hangs; %s", id, thaw)}
	}
	return nil
}

// recordLimit is how long the consistency of a task's archives may take to be
// written, even if nobody waits for the run any more.
const recordLimit = 30 * time.Second

// recordConsistency writes the consistency of each archive into its mark, so
// that the list tells it when the task's log is long gone, and sees that it is
// there. The archives are those that this very task made a moment ago. Who
// interrupts the run meanwhile waits for it: the call has ended then, and no
// resumed run would do it.
func (v *vzdump) recordConsistency(ctx context.Context, j *job, archives []Made) (warnings []string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer done()
	warn := func(a *Made, why error) {
		warnings = append(warnings, fmt.Sprintf("guest %d: its consistency (%s) could not be written into the notes of %s: %v", a.Guest, a.Consistency.Value, a.VolID.Value, why))
	}
	var written []*Made
	for i := range archives {
		a := &archives[i]
		if !a.Ours || a.mark.Consistency == a.Consistency.Value || a.Consistency.Value == consistencyUnknown {
			continue
		}
		notes, err := a.Notes, error(nil)
		if strings.Contains(j.Note, "\n") { // a list shows the first line only
			notes, err = v.notes(ctx, a.Archive)
		}
		if err == nil {
			err = v.c.PutSame(ctx, volumePath(a.Archive), map[string]any{"notes": marks.WithConsistency(notes, a.Consistency.Value)}, nil)
		}
		if err != nil && !pve.InDoubt(err) {
			warn(a, err)
			continue
		}
		written = append(written, a)
	}
	if len(written) == 0 {
		return warnings
	}
	listed, err := v.listOn(ctx, j.Storage, j.Node, j.Guests...)
	byID := map[builtin.VolID]Archive{}
	for _, x := range listed {
		byID[x.VolID.Value] = x
	}
	for _, a := range written {
		now, there := byID[a.VolID.Value]
		switch {
		case err != nil:
			warn(a, err)
		case !there || now.mark.Consistency != a.Consistency.Value:
			warn(a, fmt.Errorf("its notes are %q after they were written", now.Notes))
		default:
			a.Archive = now
		}
	}
	return warnings
}
