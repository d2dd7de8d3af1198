package lab

import (
	"fmt"
	"strconv"
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

func startQemu(c *call) (any, error)    { return c.power("qemu", "qmstart") }
func stopQemu(c *call) (any, error)     { return c.power("qemu", "qmstop") }
func shutdownQemu(c *call) (any, error) { return c.power("qemu", "qmshutdown") }
func startLxc(c *call) (any, error)     { return c.power("lxc", "vzstart") }
func stopLxc(c *call) (any, error)      { return c.power("lxc", "vzstop") }
func shutdownLxc(c *call) (any, error)  { return c.power("lxc", "vzshutdown") }

// runPower ends such a task and says how.
func (l *Lab) runPower(t *task, at time.Time) string {
	id, _ := strconv.Atoi(t.ID)
	g := l.st.guest(id)
	if g == nil {
		return fmt.Sprintf("unable to find VM '%d'", id)
	}
	if g.Lock != "" {
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
		g.Running, g.Since, g.PID = true, at, t.PID+1
	case "vzstop", "vzshutdown":
		if !g.Running {
			return fmt.Sprintf("CT %d not running", g.VMID)
		}
		g.Running = false
	default:
		if !g.Running && t.Type == "qmshutdown" {
			return fmt.Sprintf("VM %d not running", g.VMID)
		}
		g.Running = false
	}
	return "OK"
}
