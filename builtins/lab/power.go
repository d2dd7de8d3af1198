package lab

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How long starting and stopping takes.
var powerTimes = map[string]time.Duration{
	"qmstart": 3 * time.Second, "qmstop": time.Second, "qmshutdown": 12 * time.Second,
	"vzstart": 2 * time.Second, "vzstop": time.Second, "vzshutdown": 5 * time.Second,
}

// power starts a task that changes whether a guest runs. Whether it can is
// found out in the task, as with Proxmox.
func (c *call) power(typ, task string) (any, error) {
	g, err := c.guestHere(typ)
	if err != nil {
		return nil, err
	}
	if c.params.bool("skiplock", false) && c.who != rootUser {
		return nil, badParameter("skiplock", "Only root may use this option.")
	}
	t := c.startTask(g.Node, task, g.id(), c.who, powerTimes[task])
	t.Force = c.params.bool("forceStop", false)
	return t.upid(), nil
}

var (
	startQemu    = haFirst("qemu", "qmstart", "hastart")
	stopQemu     = haFirst("qemu", "qmstop", "hastop")
	shutdownQemu = haFirst("qemu", "qmshutdown", "hastop")
	startLxc     = haFirst("lxc", "vzstart", "hastart")
	stopLxc      = haFirst("lxc", "vzstop", "hastop")
	shutdownLxc  = haFirst("lxc", "vzshutdown", "hastop")
)

// runPower ends such a task and says how.
func (l *Lab) runPower(t *task, at time.Time) string {
	id, _ := strconv.Atoi(t.ID)
	g := l.st.guest(id)
	if g == nil {
		return fmt.Sprintf("unable to find VM '%d'", id)
	}
	resumed := t.Type == "qmstart" && g.Lock == "suspended"
	if g.Lock != "" && !resumed {
		return g.lockedError()
	}
	switch t.Type {
	case "qmstart", "vzstart":
		switch {
		case g.Template:
			return fmt.Sprintf("you can't start a %s if it's a template", map[string]string{"qemu": "vm", "lxc": "CT"}[g.Type])
		case g.Running:
			return fmt.Sprintf("%s %d already running", g.kindName(), g.VMID)
		}
		if resumed {
			g.Lock = ""
		} else {
			g.applyPending()
		}
		g.Running, g.Since, g.PID = true, at, t.PID+1
	case "vzstop", "vzshutdown":
		if !g.Running {
			return fmt.Sprintf("CT %d not running", g.VMID)
		}
		g.Running = false
		g.applyPending()
	default:
		if !g.Running && t.Type == "qmshutdown" {
			return fmt.Sprintf("VM %d not running", g.VMID)
		}
		g.Running, g.Paused = false, false
		g.applyPending()
	}
	return "OK"
}

// haFirst is a method of power that becomes a request to the HA manager where
// that has the guest.
func haFirst(typ, task, haTask string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		if c.st.ha(g.sid()) == nil || c.params.bool("skiplock", false) {
			return c.power(typ, task)
		}
		return c.guestJob(g, haTask, guestJob{})
	}
}

// finishHA hands the request over. What the manager makes of it comes later,
// in tasks of its own, which root@pam runs.
func finishHA(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	verb := strings.TrimPrefix(t.Type, "ha")
	if verb == "migrate" {
		t.say("Requesting HA migration for %s %d to node %s", g.noun(), g.VMID, j.Node)
		typ := map[string]string{"qemu": "qmigrate", "lxc": "vzmigrate"}[g.Type]
		later := l.st.newTask(g.Node, typ, g.id(), rootUser, at)
		later.Due = at.Add(10 * time.Second)
		later.Guest = &guestJob{Node: j.Node, Online: true, Restart: true, Disks: true}
		return "OK"
	}
	t.say("Requesting HA %s for %s %d", verb, g.noun(), g.VMID)
	prefix := map[string]string{"qemu": "qm", "lxc": "vz"}[g.Type]
	state := "started"
	if verb == "stop" {
		state, verb = "stopped", "shutdown"
	}
	l.st.setHA(g, state)
	later := l.st.newTask(g.Node, prefix+verb, g.id(), rootUser, at)
	later.Due = at.Add(10 * time.Second)
	return "OK"
}

// pausing are suspend and resume of a VM, and reboot of any guest.
func pausing(typ, taskType string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		taskType, j := taskType, guestJob{}
		if taskType == "qmpause" && c.params.bool("todisk", false) {
			taskType = "qmsuspend"
		}
		switch {
		case strings.HasSuffix(taskType, "reboot") && g.Paused:
			return nil, serverError("VM is paused - cannot shutdown")
		case !g.isOn() && (taskType != "qmresume" || g.Lock != "suspended"):
			return nil, serverError("VM %d not running", g.VMID)
		case taskType == "qmsuspend" && c.st.ha(g.sid()) != nil:
			return nil, serverError("Cannot suspend HA managed VM to disk")
		case taskType == "qmsuspend" && len(g.localResources()) > 0:
			return nil, serverError("cannot suspend VM to disk due to passed-through PCI device(s), which lack the possibility to save/restore their internal state")
		}
		return c.guestJob(g, taskType, j)
	}
}

func beginPause(_ *Lab, t *task, g *guest, _ *guestJob) string {
	if g.Lock != "" && (t.Type != "qmresume" || g.Lock != "suspended") {
		return g.lockedError()
	}
	return ""
}

func finishPause(_ *Lab, t *task, g *guest, _ *guestJob, at time.Time) string {
	switch t.Type {
	case "qmpause":
		g.Paused = true
	case "qmsuspend":
		t.say("State saved, quitting")
		g.Running, g.Paused, g.Lock = false, false, "suspended"
	case "qmresume":
		if g.Lock == "suspended" {
			t.say("Resuming suspended VM")
			g.Lock, g.Running, g.Since, g.PID = "", true, at, t.PID+1
			t.say("Resumed VM, removing state")
		}
		g.Paused = false
	default: // reboot
		g.applyPending()
		g.Running, g.Since, g.PID = true, at, t.PID+1
	}
	return "OK"
}
