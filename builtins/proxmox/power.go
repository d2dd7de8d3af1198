package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// PowerArgs are the arguments of start(), stop() and resume().
type PowerArgs struct {
	Guest builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Wait  builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on it"`
}

// ShutdownArgs are the arguments of shutdown().
type ShutdownArgs struct {
	Guest   builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Timeout builtin.Duration `name:"timeout" default:"3m" doc:"how long the guest has to shut down"`
	Force   bool             `name:"force" default:"false" doc:"stop it if it has not shut down by then"`
	Wait    builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on it"`
}

// RebootArgs are the arguments of reboot().
type RebootArgs struct {
	Guest   builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Timeout builtin.Duration `name:"timeout" default:"3m" doc:"how long the guest has to shut down"`
	Wait    builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on it"`
}

// SuspendArgs are the arguments of suspend().
type SuspendArgs struct {
	Guest  builtin.VMID     `name:"guest" scope:"guest" doc:"the VM"`
	ToDisk bool             `name:"to_disk" default:"false" doc:"write its memory to disk and end its process; the next start resumes it"`
	Wait   builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on it"`
}

// PowerResult is what starting, stopping and the like come to.
type PowerResult struct {
	Guest   builtin.VMID `name:"guest" doc:"the guest"`
	Node    builtin.Node `name:"node" doc:"where it is"`
	Status  string       `name:"status" doc:"what it is now: running, paused or stopped"`
	Changed bool         `name:"changed" doc:"it was not so before"`
	taskPart
}

// power is one way to change whether and how a guest runs.
type power struct {
	verb   string // of the API: start
	doing  string // starting
	to     string // the status that it comes to
	qemu   []string
	lxc    []string
	params map[string]any
	limit  time.Duration // for the guest to shut down; 0: it is not asked to
	force  bool
	wait   time.Duration
	guest  builtin.VMID
}

func startPower(a PowerArgs) power {
	return power{verb: "start", doing: "starting", to: running, qemu: []string{"qmstart", "hastart"}, lxc: []string{"vzstart", "hastart"}, guest: a.Guest, wait: time.Duration(a.Wait)}
}

func stopPower(a PowerArgs) power {
	return power{verb: "stop", doing: "stopping", to: stopped, qemu: []string{"qmstop", "hastop"}, lxc: []string{"vzstop", "hastop"}, guest: a.Guest, wait: time.Duration(a.Wait)}
}

func shutdownPower(a ShutdownArgs) power {
	p := power{verb: "shutdown", doing: "shutting down", to: stopped, qemu: []string{"qmshutdown", "hastop"}, lxc: []string{"vzshutdown", "hastop"},
		guest: a.Guest, wait: time.Duration(a.Wait), limit: time.Duration(a.Timeout), force: a.Force}
	p.params = map[string]any{"timeout": seconds(a.Timeout)}
	if a.Force {
		p.params["forceStop"] = true
	}
	return p
}

func rebootPower(a RebootArgs) power {
	return power{verb: "reboot", doing: "rebooting", to: running, qemu: []string{"qmreboot"}, lxc: []string{"vzreboot"}, guest: a.Guest,
		wait: time.Duration(a.Wait), limit: time.Duration(a.Timeout), params: map[string]any{"timeout": seconds(a.Timeout)}}
}

func suspendPower(a SuspendArgs) power {
	p := power{verb: "suspend", doing: "suspending", to: paused, qemu: []string{"qmpause"}, guest: a.Guest, wait: time.Duration(a.Wait)}
	if a.ToDisk {
		p.to, p.qemu, p.params = stopped, []string{"qmsuspend"}, map[string]any{"todisk": true}
	}
	return p
}

func resumePower(a PowerArgs) power {
	return power{verb: "resume", doing: "resuming", to: running, qemu: []string{"qmresume"}, guest: a.Guest, wait: time.Duration(a.Wait)}
}

// seconds are whole ones, one at least: 0 would be Proxmox's default.
func seconds(d builtin.Duration) int {
	return max(1, int(time.Duration(d).Round(time.Second)/time.Second))
}

// powerOp is such a function, of the arguments that say which.
func powerOp[A any](c client, of func(A) power) builtin.Op[A, PowerResult] {
	return builtin.Op[A, PowerResult]{
		Preview: func(ctx context.Context, a A) (PowerResult, error) { return c.previewPower(ctx, of(a)) },
		Do:      func(ctx context.Context, a A) (PowerResult, error) { return c.power(ctx, of(a)) },
		Settle: func(ctx context.Context, a A, text string) (builtin.Settlement[PowerResult], error) {
			p := of(a)
			request := pve.TaskRequest{What: p.what(), Guest: p.guest, Types: slices.Concat(p.qemu, p.lxc)}
			return settleChange(ctx, c, request, text, func(end pve.TaskEnd, h handle) (PowerResult, error) {
				return c.powered(ctx, p, end, h.note)
			})
		},
		Keys: func(a A) []string { return guestKey(of(a).guest) },
	}
}

func (p power) what() string { return fmt.Sprintf("%s the guest %d", p.doing, p.guest) }

// check says how the guest is, and whether that is all that is wanted. What
// Proxmox would refuse, or let run into a time-out, is refused here.
func (c client) checkPower(ctx context.Context, p power) (g foundGuest, s GuestStatus, already bool, err error) {
	if g, err = c.find(ctx, p.guest); err != nil {
		return
	}
	if s, err = c.statusOf(ctx, g); err != nil {
		return
	}
	refuse := func(said, hint string) error {
		return builtin.Faultf(builtin.Conflict, "%s", p.what()).Saying(said).Hinting("%s", hint)
	}
	onDisk := s.Lock == "suspended"
	switch {
	case !g.isVM() && p.lxc == nil:
		err = builtin.Faultf(builtin.Invalid, "%s", p.what()).Saying("it is a container, and Proxmox can "+p.verb+" VMs only").
			Hinting("shut it down: proxmox.shutdown(%d)", p.guest)
	case p.verb == "start" && s.Template:
		err = refuse("it is a template", "clone it, and start the clone: proxmox.clone")
	case p.verb == "start" && s.Status == paused:
		err = refuse("it is paused", fmt.Sprintf("proxmox.resume(%d)", p.guest))
	case p.verb == "shutdown" && s.Status == paused && !p.force, p.verb == "reboot" && s.Status == paused:
		err = refuse("it is paused, and would hear of it only once it is resumed", fmt.Sprintf("resume it first: proxmox.resume(%d)", p.guest))
	case p.verb == "reboot" && s.Status == stopped, p.verb == "suspend" && s.Status == stopped && !onDisk, p.verb == "resume" && s.Status == stopped && !onDisk:
		err = refuse("it is not running", fmt.Sprintf("proxmox.start(%d)", p.guest))
	case p.verb == "reboot":
	case p.verb == "suspend" && p.to == stopped && s.Status != stopped:
		err = c.checkToDisk(ctx, p, g, s)
	case p.verb == "suspend" && p.to == stopped:
		already = onDisk
	default:
		already = s.Status == p.to
	}
	return
}

// checkToDisk: the memory of a device of the host is out of reach.
func (c client) checkToDisk(ctx context.Context, p power, g foundGuest, s GuestStatus) error {
	config, err := c.configOf(ctx, g, "", false)
	if err != nil {
		return err
	}
	if keys := noRAM(config); len(keys) > 0 {
		return builtin.Faultf(builtin.Conflict, "%s to disk", p.what()).Saying("it has "+strings.Join(keys, ", ")+", whose state cannot be saved").
			Hinting("suspend it in memory, or shut it down: proxmox.shutdown(%d)", p.guest)
	}
	if s.HA {
		return builtin.Faultf(builtin.Conflict, "%s to disk", p.what()).Saying("the HA manager has it, and would start it again").Hinting("shut it down instead: proxmox.shutdown(%d)", p.guest)
	}
	return nil
}

func (c client) previewPower(ctx context.Context, p power) (PowerResult, error) {
	g, s, already, err := c.checkPower(ctx, p)
	if err != nil {
		return PowerResult{}, err
	}
	if already {
		return PowerResult{Guest: p.guest, Node: builtin.Node(g.Node), Status: s.Status, taskPart: noTask()}, nil
	}
	plan(ctx, p.guest, func(v *view) {
		status := p.to
		if status == paused {
			status = running // in lists it is
		}
		if v.guest != nil {
			v.guest.Status = status
		}
		if v.status == nil {
			return
		}
		v.status.Status, v.status.Lock = p.to, ""
		if v.status.Kind == "vm" {
			v.status.QMP = p.to
		}
		if p.verb == "suspend" && p.to == stopped {
			v.status.Lock = "suspended"
		}
	})
	return PowerResult{Guest: p.guest, Node: builtin.Node(g.Node), Status: p.to, Changed: true, taskPart: plannedTask(ctx)}, nil
}

func noTask() taskPart { return taskPart{builtin.Now(""), builtin.Now([]string{})} }

func (c client) power(ctx context.Context, p power) (PowerResult, error) {
	g, s, already, err := c.checkPower(ctx, p)
	if err != nil {
		return PowerResult{}, err
	}
	if already {
		return PowerResult{Guest: p.guest, Node: builtin.Node(g.Node), Status: s.Status, taskPart: noTask()}, nil
	}
	change := guestChange{what: p.what(), guest: g, types: slices.Concat(p.qemu, p.lxc), wait: p.wait, note: strconv.FormatInt(s.PID, 10)}
	if p.limit > 0 {
		change.limit = p.limit + hostMargin
	}
	if p.verb == "resume" || p.verb == "start" {
		change.free = "suspended"
	}
	change.send = func(ctx context.Context, out *json.RawMessage) error {
		return c.pve.Post(ctx, g.path("/status/"+p.verb), p.params, out)
	}
	end, err := c.make(ctx, change)
	if err != nil {
		return PowerResult{}, err
	}
	return c.powered(ctx, p, end, change.note)
}

// hostMargin is how much longer than the host's own limit we wait for it.
const hostMargin = 2 * time.Minute

// powered looks whether the guest is as it shall be. A request to the HA
// manager ends at once, and a reboot when the guest is down: then it is waited
// for. pid is the process from before.
func (c client) powered(ctx context.Context, p power, end pve.TaskEnd, pid string) (PowerResult, error) {
	var s GuestStatus
	err := until(ctx, p.limit+hostMargin, func() (bool, error) {
		var err error
		if s, err = c.status(ctx, GuestArgs{p.guest}); err != nil {
			return false, err
		}
		so := s.Status == p.to && (p.verb != "reboot" || strconv.FormatInt(s.PID, 10) != pid)
		if !so {
			builtin.Report(ctx, builtin.Progress{Step: "the task has ended; the guest is " + s.Status})
		}
		return so, nil
	})
	if errors.Is(err, errTooLong) {
		return PowerResult{}, builtin.Faultf(builtin.Failed, "%s: the task ended well, but the guest is %s", p.what(), s.Status).
			Saying(end.ExitStatus).Hinting("look at it: proxmox.status(%d), and at the task: pvenode task log %s", p.guest, end.UPID)
	}
	if err != nil {
		return PowerResult{}, err
	}
	return PowerResult{Guest: p.guest, Node: s.Node, Status: s.Status, Changed: true, taskPart: taskOf(end)}, nil
}
