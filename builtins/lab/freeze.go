package lab

import "strings"

// getFreezeStatus asks the guest's agent whether its file systems are frozen.
func getFreezeStatus(c *call) (any, error) {
	g, err := c.guestHere("qemu")
	switch {
	case err != nil:
		return nil, err
	case !strings.HasPrefix(g.config("agent"), "1") && !strings.Contains(g.config("agent"), "enabled=1"):
		return nil, serverError("No QEMU guest agent configured")
	case !g.isOn():
		return nil, serverError("VM %d is not running", g.VMID)
	case c.agentDown(g):
		return nil, serverError("QEMU guest agent is not running")
	case g.Frozen:
		return obj{"result": "frozen"}, nil
	}
	return obj{"result": "thawed"}, nil
}

// agentDown says whether the guest's agent does not answer: never, or late,
// which is not yet.
func (l *Lab) agentDown(g *guest) bool { return l.faults.hit("agent", g.id(), "down", "late") != nil }

// sayFreeze writes what vzdump writes when it freezes, and sayThaw what it
// writes when it thaws. Neither fails the backup when the agent says no.
func (l *Lab) sayFreeze(t *task, g *guest) (asked bool) {
	agent := g.config("agent")
	switch {
	case g.Type == "lxc" || t.Job.Dump.Mode == "stop" || agent == "" || strings.HasPrefix(agent, "0"):
		return false
	case strings.Contains(agent, "freeze-fs-on-backup=0") || strings.Contains(agent, "guest-fsfreeze=0"):
		t.say("INFO: skipping guest filesystem freeze - disabled in VM options")
		return false
	case l.agentDown(g):
		t.say("INFO: skipping guest filesystem freeze - agent configured but not running?")
		return false
	case g.Frozen:
		t.say("INFO: skipping guest filesystem freeze - already frozen")
		return false
	}
	t.say("INFO: issuing guest-agent 'fs-freeze' command")
	if l.faults.hit("agent", g.id(), "freeze") != nil {
		t.say("ERROR: VM %d qga command 'guest-fsfreeze-freeze' failed - unable to freeze guest fs - failed to freeze /data: Device or resource busy", g.VMID)
	} else {
		g.Frozen = true
	}
	return true
}

func (l *Lab) sayThaw(t *task, g *guest) {
	t.say("INFO: issuing guest-agent 'fs-thaw' command")
	if l.faults.hit("agent", g.id(), "thaw") != nil {
		t.say("ERROR: VM %d qga command 'guest-fsfreeze-thaw' failed - got timeout", g.VMID)
		return
	}
	g.Frozen = false
}
