package lab

import (
	"fmt"
	"time"
)

// How long a node takes to shut its guests down, and from then on to be up
// again.
const (
	stopAllTime = 20 * time.Second
	bootTime    = 90 * time.Second
)

func (n *node) status() string {
	if n.Down {
		return "offline"
	}
	return "online"
}

// quorate: more than half of the nodes are up, each with one vote.
func (s *state) quorate() bool {
	up := 0
	for _, n := range s.Nodes {
		up += bit(!n.Down)
	}
	return up > len(s.Nodes)/2
}

// apiNode is the node whose pveproxy the lab's address is.
func (s *state) apiNode() *node { return s.Nodes[0] }

// isDown says that the node that is asked reboots. Asking is looking: time goes
// on by it.
func (l *Lab) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.catchUp()
	if !l.st.apiNode().Down {
		return false
	}
	l.step(true)
	l.lastPoll = time.Now()
	return true
}

// postNodeStatus reboots a node. It answers at once with nothing; what follows
// shows in the tasks stopall and startall, which systemd starts.
func postNodeStatus(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	if c.params.str("command") != "reboot" {
		return nil, serverError("the lab's nodes have nobody to switch them on again")
	}
	for _, t := range c.st.Tasks {
		if t.Node == n.Name && t.Type == "stopall" && t.running() {
			return nil, nil
		}
	}
	c.startTask(n.Name, "stopall", "", rootUser, stopAllTime)
	return nil, nil
}

// runStopAll ends what runs on a node, and the node.
func (l *Lab) runStopAll(t *task, at time.Time) {
	n := l.st.node(t.Node)
	for _, g := range l.st.Guests {
		if g.Node == n.Name && g.Running {
			t.say("Stopping %s %d (timeout = 180 seconds)", g.kindName(), g.VMID)
			g.Running = false
		}
	}
	t.end("OK", at)
	for _, other := range l.st.Tasks {
		if other.Node == n.Name && other.running() {
			other.Aborted, other.Due = true, at
		}
	}
	n.Down = true
	up := at.Add(bootTime)
	start := l.st.newTask(n.Name, "startall", "", rootUser, up)
	start.Due = up
}

// runStartAll brings a node up, and the guests that start with it.
func (l *Lab) runStartAll(t *task, at time.Time) string {
	n := l.st.node(t.Node)
	n.Down, n.Boot = false, at
	for _, g := range l.st.Guests {
		if g.Node == n.Name && !g.Template && !g.Running && g.config("onboot") == "1" {
			t.say("Starting %s %d", g.kindName(), g.VMID)
			g.Running, g.Since, g.PID = true, at, t.PID+g.VMID
		}
	}
	return "OK"
}

func (c *call) nodeQuorumText(n *node) string {
	if c.st.quorate() {
		return "OK"
	}
	return fmt.Sprintf("No quorum on node '%s'!", n.Name)
}
