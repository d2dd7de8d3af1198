package proxmox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// GuestArgs name a guest.
type GuestArgs struct {
	Guest builtin.VMID `name:"guest" scope:"guest" doc:"the guest"`
}

// GuestStatus is what status() returns.
type GuestStatus struct {
	Guest    builtin.VMID `name:"guest" doc:"the guest"`
	Name     string       `name:"name" doc:"its name"`
	Node     builtin.Node `name:"node" doc:"where it is"`
	Kind     string       `name:"kind" doc:"vm or container"`
	Status   string       `name:"status" doc:"running, paused or stopped"`
	QMP      string       `name:"qmp" doc:"of a VM, QEMU's own word: running, paused, stopped, prelaunch, io-error, …"`
	Lock     string       `name:"lock" doc:"what Proxmox is doing with it: backup, snapshot, migrate, …; suspended: it is, on disk; or empty"`
	Template bool         `name:"template" doc:"it is a template"`
	Agent    bool         `name:"agent" doc:"of a VM: its configuration says that it has a guest agent"`
	HA       bool         `name:"ha" doc:"the HA manager has it: to start, stop and migrate it is a request to that"`
	HAState  string       `name:"ha_state" doc:"what the HA manager wants of it: started, stopped, …; or empty"`
	PID      int64        `name:"pid" volatile:"" doc:"the process that runs it, or 0"`
	Uptime   int64        `name:"uptime" volatile:"" doc:"seconds since its start"`
	CPU      float64      `name:"cpu" volatile:"" doc:"the part of its processors in use, 0 to 1"`
	Memory   int64        `name:"memory_used" volatile:"" doc:"in use, in bytes"`
}

// The words for a guest's status.
const (
	running = "running"
	paused  = "paused"
	stopped = "stopped"
)

// foundGuest is a guest as a plan has it, and where it really is.
type foundGuest struct {
	pve.Guest
	home string // the node to ask; "" of a guest that is only planned
}

// path is the API's path of the guest.
func (g foundGuest) path(below string) string {
	return pve.Path("/nodes/%s/%s/%s", g.home, g.Type, g.VMID.String()) + below
}

func (g foundGuest) isVM() bool   { return g.Type == "qemu" }
func (g foundGuest) noun() string { return pve.KindOf(g.Type) }

// find is a guest, where it is now.
func (c client) find(ctx context.Context, id builtin.VMID) (foundGuest, error) {
	all, err := c.pve.Guests(ctx)
	if err != nil {
		return foundGuest{}, err
	}
	out := foundGuest{}
	v := view{}
	if i := slices.IndexFunc(all, func(g pve.Guest) bool { return g.VMID == id }); i >= 0 {
		out.home = all[i].Node
		v.guest = &all[i]
	}
	overlay(ctx, id, &v)
	if v.guest == nil {
		return foundGuest{}, builtin.Faultf(builtin.NotFound, "the guest %d", id).
			Hinting("guests() lists what there is; guests on which the token has no VM.Audit are hidden from it")
	}
	out.Guest = *v.guest
	return out, nil
}

func (c client) status(ctx context.Context, args GuestArgs) (GuestStatus, error) {
	g, err := c.find(ctx, args.Guest)
	if err != nil {
		return GuestStatus{}, err
	}
	return c.statusOf(ctx, g)
}

func (c client) statusOf(ctx context.Context, g foundGuest) (GuestStatus, error) {
	out := GuestStatus{Guest: g.VMID, Name: g.Name, Node: builtin.Node(g.Node), Kind: pve.KindOf(g.Type)}
	if g.home == "" {
		out.Status = stopped
		overlay(ctx, g.VMID, &view{status: &out})
		return out, nil
	}
	var raw struct {
		Name, Status, QMPStatus, Lock pve.Text
		Template, Agent               pve.Bool
		PID, Uptime, Mem              pve.Int
		CPU                           pve.Float
		HA                            struct {
			Managed pve.Bool
			State   pve.Text
		}
	}
	if err := c.pve.Get(ctx, g.path("/status/current"), nil, &raw); err != nil {
		return GuestStatus{}, err
	}
	if raw.Name != "" {
		out.Name = string(raw.Name)
	}
	out.Status, out.QMP, out.Lock = string(raw.Status), string(raw.QMPStatus), string(raw.Lock)
	if out.Status == running && out.QMP == paused {
		out.Status = paused
	}
	out.Template, out.Agent, out.HA, out.HAState = bool(raw.Template), bool(raw.Agent), bool(raw.HA.Managed), string(raw.HA.State)
	out.PID, out.Uptime, out.CPU, out.Memory = int64(raw.PID), int64(raw.Uptime), float64(raw.CPU), int64(raw.Mem)
	overlay(ctx, g.VMID, &view{status: &out})
	return out, nil
}

// WaitStatusArgs are the arguments of wait_status().
type WaitStatusArgs struct {
	Guest   builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Status  string           `name:"status" enum:"running,paused,stopped" doc:"the status to wait for"`
	Timeout builtin.Duration `name:"timeout" default:"10m" doc:"how long at most"`
}

func (c client) waitStatus(ctx context.Context, args WaitStatusArgs) (GuestStatus, error) {
	var last GuestStatus
	err := until(ctx, time.Duration(args.Timeout), func() (bool, error) {
		var err error
		last, err = c.status(ctx, GuestArgs{args.Guest})
		if f := builtin.AsFault(err); f != nil && f.Kind == builtin.Unreachable {
			builtin.Report(ctx, builtin.Progress{Step: "waiting until it is " + args.Status + ": " + f.Error()})
			return false, nil // a node that reboots, say
		}
		if err == nil && last.Status != args.Status {
			builtin.Report(ctx, builtin.Progress{Step: "waiting until it is " + args.Status + ": it is " + last.Status})
			if builtin.CallFrom(ctx).Run.Planned != nil {
				stop := builtin.Stopf(builtin.PlanEnds, "wait_status: the guest %d is %s, not %s yet", args.Guest, last.Status, args.Status)
				stop.At = builtin.CallFrom(ctx).At
				return false, stop
			}
		}
		return last.Status == args.Status, err
	})
	if errors.Is(err, errTooLong) {
		seen := last.Status
		if seen == "" {
			seen = "not to be seen"
		}
		return GuestStatus{}, builtin.Faultf(builtin.Timeout, "waiting until the guest %d is %s", args.Guest, args.Status).
			Saying(fmt.Sprintf("after %s it is still %s", args.Timeout, seen)).Hinting("look at its console, or wait longer: timeout = …")
	}
	return last, err
}

var errTooLong = errors.New("it took too long")

// until asks again and again, with growing pauses on the engine's clock.
func until(ctx context.Context, limit time.Duration, so func() (bool, error)) error {
	run := builtin.CallFrom(ctx).Run
	for began, pause := run.Now(), time.Second; ; pause = min(pause*3/2, 15*time.Second) {
		if ok, err := so(); ok || err != nil {
			return err
		}
		left := limit - run.Now().Sub(began)
		if left <= 0 {
			return errTooLong
		}
		if err := builtin.Sleep(ctx, min(pause, left)); err != nil {
			return err
		}
	}
}
