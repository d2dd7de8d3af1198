package vzdump

import (
	"context"
	"errors"
	"slices"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// restoresOf are the restores to the guest's id that its node knows, newest first.
func (v *vzdump) restoresOf(ctx context.Context, r *restoration) ([]pve.UPID, error) {
	tasks, err := v.c.Tasks(ctx, string(r.node), pve.TaskFilter{VMID: r.guest, Source: "all", Limit: tasksToRead})
	if err != nil {
		return nil, err
	}
	var out []pve.UPID
	for _, t := range tasks {
		if t.UPID.Type == "qmrestore" || t.UPID.Type == "vzrestore" {
			out = append(out, t.UPID)
		}
	}
	return out, nil
}

// restoreTask is the task of this call: the restore to its id that was not
// there before, and is of its archive. nil if there is none.
func (v *vzdump) restoreTask(ctx context.Context, r *restoration) (*pve.UPID, error) {
	all, err := v.restoresOf(ctx, r)
	if err != nil || len(all) == 0 || all[0].String() == r.before {
		return nil, err
	}
	lines, err := v.c.TaskLog(ctx, all[0])
	if err != nil {
		return nil, err
	}
	name := r.volid.Name()[strings.IndexByte(r.volid.Name(), '/')+1:]
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, name) }) {
		return nil, nil
	}
	return &all[0], nil
}

// parseRestoreHandle reads GUEST NODE BEFORE [UPID], as restoration.handle wrote it.
func parseRestoreHandle(handle string) (r *restoration, task *pve.UPID, ok bool) {
	parts := strings.Fields(handle)
	if len(parts) != 3 && len(parts) != 4 {
		return nil, nil, false
	}
	r = &restoration{before: parts[2]}
	if r.guest.UnmarshalText([]byte(parts[0])) != nil || r.node.UnmarshalText([]byte(parts[1])) != nil {
		return nil, nil, false
	}
	if len(parts) == 4 {
		upid, err := pve.ParseUPID(parts[3])
		return r, &upid, err == nil
	}
	return r, nil, true
}

// settleRestore follows the task that the call began, if it did.
func (v *vzdump) settleRestore(ctx context.Context, volid builtin.VolID, handle string, over, start bool) (builtin.Settlement[Restored], error) {
	notDone := builtin.Settlement[Restored]{State: builtin.NotDone}
	if handle == "" {
		return notDone, nil // it is written before anything is asked for
	}
	r, task, ok := parseRestoreHandle(handle)
	if !ok {
		return unknown[Restored]("the handle %q is not one that this version of nixmox wrote", handle), nil
	}
	r.volid, r.over, r.start, r.kind = volid, over, start, "vm"
	if strings.Contains(volid.Name(), "vzdump-lxc-") || strings.Contains(volid.Name(), "/ct/") {
		r.kind = "container"
	}
	if task == nil {
		found, err := v.restoreTask(ctx, r)
		if err != nil {
			return builtin.Settlement[Restored]{}, err
		}
		task = found
	}
	if task == nil {
		_, err := v.config(ctx, r)
		switch {
		case over || goneFromCluster(err):
			return notDone, nil
		case err != nil:
			return builtin.Settlement[Restored]{}, err
		}
		return unknown[Restored]("guest %d is on %s, and no task of this call is known that made it", r.guest, r.node), nil
	}
	info, err := v.c.Task(ctx, *task)
	if err != nil {
		return builtin.Settlement[Restored]{}, err
	}
	if info.Running {
		return builtin.Settlement[Restored]{State: builtin.Running, Handle: r.handle(task.String())}, nil
	}
	if listed, err := v.find(ctx, volid, ""); err == nil {
		if archived, _, err := v.configIn(ctx, listed); err == nil {
			r.leftOut = archived.LeftOut
		}
	}
	out, err := v.followRestore(ctx, r, *task)
	s := builtin.Settlement[Restored]{State: builtin.Done, Result: out, Handle: r.handle(task.String())}
	if f, ok := errors.AsType[*builtin.Fault](err); ok && (f.Partial != nil || f.Kind == builtin.Failed) {
		s.Fault, err = f, nil
	}
	return s, err
}

func (v *vzdump) settleRestoreNew(ctx context.Context, a RestoreArgs, handle string) (builtin.Settlement[Restored], error) {
	return v.settleRestore(ctx, a.VolID, handle, false, a.Start)
}

func (v *vzdump) settleRestoreOver(ctx context.Context, a RestoreOverArgs, handle string) (builtin.Settlement[Restored], error) {
	return v.settleRestore(ctx, a.VolID, handle, true, a.Start)
}
