package vzdump

import (
	"context"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// ProtectArgs are the arguments of protect.
type ProtectArgs struct {
	VolID builtin.Later[builtin.VolID] `name:"volid" scope:"storage" doc:"the archive"`
	On    bool                         `name:"on" default:"true" doc:"False takes the protection away, of nixmox's own archives only"`
	Node  builtin.Node                 `name:"node" default:"" doc:"the node that has it; needed only where several have one of that name"`
}

func (a ProtectArgs) keys() []string { return volumeKeys(a.VolID) }

// volumeKeys are the locks of archives; in a plan, which locks nothing, those
// to come have none.
func volumeKeys(volids ...builtin.Later[builtin.VolID]) []string {
	var keys []string
	for _, volid := range volids {
		if volid.Known() {
			keys = append(keys, "volume:"+string(volid.Value))
		}
	}
	return keys
}

func (a ProtectArgs) what() string {
	if a.On {
		return "protecting the archive " + string(a.VolID.Value)
	}
	return "taking the protection from the archive " + string(a.VolID.Value)
}

// protectable is the archive. To protect harms nobody; a protection that
// others gave is theirs to take away.
func (v *vzdump) protectable(ctx context.Context, a ProtectArgs) (Archive, error) {
	listed, err := v.find(ctx, a.VolID.Value, a.Node)
	if err == nil && !a.On && listed.Protected && !listed.Ours {
		err = builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying("it is not nixmox's own: its notes carry no mark").
			Hinting("whoever protected it may take that away: pvesh set %s --protected 0", volumePath(listed))
	}
	return listed, err
}

func (v *vzdump) previewProtect(ctx context.Context, a ProtectArgs) (Archive, error) {
	plan := builtin.CallFrom(ctx).Run.Planned
	out := plannedArchive(plan, a.VolID)
	if a.VolID.Known() {
		var err error
		if out, err = v.protectable(ctx, a); err != nil {
			return Archive{}, err
		}
	}
	if plan != nil {
		plan.Add(plannedProtections, plannedProtection{a.VolID, a.On})
	}
	out.Protected = a.On
	return out, nil
}

func (v *vzdump) protect(ctx context.Context, a ProtectArgs) (Archive, error) {
	listed, err := v.protectable(ctx, a)
	if err != nil || listed.Protected == a.On {
		return listed, err
	}
	flag := 0
	if a.On {
		flag = 1
	}
	putErr := v.c.PutSame(ctx, volumePath(listed), map[string]any{"protected": flag}, nil)
	if putErr != nil && !pve.InDoubt(putErr) {
		return Archive{}, putErr
	}
	now, err := v.find(ctx, a.VolID.Value, listed.Node)
	switch {
	case err != nil:
		return Archive{}, err
	case now.Protected == a.On:
		return now, nil
	case putErr != nil:
		return Archive{}, putErr
	}
	return Archive{}, builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("Proxmox said OK, and its list says otherwise").
		Hinting("does something else change it? See vzdump.backups(%q)", a.VolID.Value.Storage())
}

// settleProtect: the list says it, and to do it again does the same.
func (v *vzdump) settleProtect(ctx context.Context, a ProtectArgs, _ string) (builtin.Settlement[Archive], error) {
	listed, err := v.find(ctx, a.VolID.Value, a.Node)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return builtin.Settlement[Archive]{State: builtin.Done, Fault: f}, nil
	}
	if err != nil {
		return builtin.Settlement[Archive]{}, err
	}
	if listed.Protected == a.On {
		return builtin.Settlement[Archive]{State: builtin.Done, Result: listed}, nil
	}
	return builtin.Settlement[Archive]{State: builtin.NotDone}, nil
}
