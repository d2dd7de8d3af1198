package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// haResource is a guest that the cluster keeps running.
type haResource struct {
	SID         string // vm:110 or ct:101
	State       string // what is asked for
	Comment     string `json:",omitempty"`
	MaxRestart  int64
	MaxRelocate int64
}

var sidGrammar = pattern.Of(`^(?:(vm|ct):)?([1-9][0-9]{2,8})$`)

func sidFormat(s string) string {
	if !sidGrammar().MatchString(s) {
		return fmt.Sprintf("value '%s' does not look like a valid HA resource ID or VM ID", s)
	}
	return ""
}

// sid writes a guest's id as the HA stack does; a bare VMID will do.
func (c *call) sid(text string) (string, *guest, error) {
	m := sidGrammar().FindStringSubmatch(text)
	if m == nil {
		return "", nil, badParameter("sid", "%s", "invalid format - "+sidFormat(text))
	}
	id, _ := strconv.Atoi(m[2])
	g := c.st.guest(id)
	if g == nil {
		return "", nil, serverError("unable to find VM '%d' in cluster", id)
	}
	kind := map[string]string{"qemu": "vm", "lxc": "ct"}[g.Type]
	if m[1] != "" && m[1] != kind {
		return "", nil, serverError("%s '%d' does not exist", m[1], id)
	}
	return kind + ":" + m[2], g, nil
}

func (s *state) ha(sid string) *haResource {
	for _, r := range s.HA {
		if r.SID == sid {
			return r
		}
	}
	return nil
}

// setHA has the manager asked for a state of a guest; empty takes the guest
// out of its hands.
func (s *state) setHA(g *guest, state string) {
	switch r := s.ha(g.sid()); {
	case state == "":
		s.HA = slices.DeleteFunc(s.HA, func(x *haResource) bool { return x == r })
	case r == nil:
		s.HA = append(s.HA, &haResource{SID: g.sid(), State: state, MaxRestart: 1, MaxRelocate: 1})
	default:
		r.State = state
	}
}

func (g *guest) sid() string {
	return map[string]string{"qemu": "vm", "lxc": "ct"}[g.Type] + ":" + g.id()
}

// haOf is what a guest's status says of HA.
func (c *call) haOf(g *guest) obj {
	r := c.st.ha(g.sid())
	if r == nil {
		return obj{"managed": 0}
	}
	return obj{"managed": 1, "state": r.crmState(g)}
}

// crmState is what the manager makes of the asked state.
func (r *haResource) crmState(g *guest) string {
	switch r.State {
	case "ignored":
		return "ignored"
	case "started", "enabled":
		if g.Running {
			return "started"
		}
		return "starting"
	}
	if g.Running {
		return "stopping"
	}
	return map[string]string{"disabled": "disabled"}[r.State] + map[bool]string{true: "stopped"}[r.State == "stopped"]
}

func (r *haResource) fields(s *state) obj {
	kind, _, _ := strings.Cut(r.SID, ":")
	o := obj{"sid": r.SID, "type": kind, "state": r.State, "max_restart": r.MaxRestart, "max_relocate": r.MaxRelocate, "digest": s.haDigest()}
	if r.Comment != "" {
		o["comment"] = r.Comment
	}
	return o
}

func (s *state) haDigest() string {
	text := ""
	for _, r := range s.HA {
		text += r.SID + r.State + r.Comment
	}
	return sha1Hex(text)
}

func getHAStatus(c *call) (any, error) {
	api, now := c.st.apiNode(), c.now()
	quorate := c.st.quorate()
	shown := now.Format("Mon Jan _2 15:04:05 2006")
	out := []obj{{"id": "quorum", "type": "quorum", "node": api.Name, "quorate": bit(quorate), "status": c.nodeQuorumText(api)}}
	out = append(out, obj{"id": "master", "type": "master", "node": api.Name, "timestamp": now.Unix(), "status": fmt.Sprintf("%s (active, %s)", api.Name, shown)})
	for _, n := range c.st.Nodes {
		mode := "idle"
		for _, r := range c.st.HA {
			if g := c.st.guest(r.vmid()); g != nil && g.Node == n.Name {
				mode = "active"
			}
		}
		if n.Down {
			mode = "old timestamp - dead?"
		}
		out = append(out, obj{"id": "lrm:" + n.Name, "type": "lrm", "node": n.Name, "timestamp": now.Unix(), "status": fmt.Sprintf("%s (%s, %s)", n.Name, mode, shown)})
	}
	out = append(out, obj{"id": "fencing", "type": "fencing", "node": api.Name, "armed-state": "armed", "status": "armed (CRM watchdog active)"})
	for _, r := range c.st.HA {
		g := c.st.guest(r.vmid())
		if g == nil {
			continue
		}
		state := r.crmState(g)
		out = append(out, obj{
			"id": "service:" + r.SID, "type": "service", "sid": r.SID, "node": g.Node, "state": state, "crm_state": state, "request_state": r.State,
			"max_restart": r.MaxRestart, "max_relocate": r.MaxRelocate, "status": fmt.Sprintf("%s (%s, %s)", r.SID, g.Node, state),
		})
	}
	return out, nil
}

func (r *haResource) vmid() int {
	_, id, _ := strings.Cut(r.SID, ":")
	n, _ := strconv.Atoi(id)
	return n
}

func getHAResources(c *call) (any, error) {
	out := []obj{}
	for _, r := range c.st.HA {
		if kind, _, _ := strings.Cut(r.SID, ":"); !c.params.has("type") || c.params.str("type") == kind {
			out = append(out, r.fields(c.st))
		}
	}
	return out, nil
}

func (c *call) namedHA() (*haResource, *guest, error) {
	sid, g, err := c.sid(c.v("sid"))
	if err != nil {
		return nil, nil, err
	}
	r := c.st.ha(sid)
	if r == nil {
		return nil, nil, serverError("no such resource '%s'", sid)
	}
	return r, g, nil
}

func getHAResource(c *call) (any, error) {
	r, _, err := c.namedHA()
	if err != nil {
		return nil, err
	}
	return r.fields(c.st), nil
}

func postHAResource(c *call) (any, error) {
	sid, g, err := c.sid(c.params.str("sid"))
	if err != nil {
		return nil, err
	}
	if c.st.ha(sid) != nil {
		return nil, serverError("create resource failed: resource ID '%s' already defined", sid)
	}
	r := &haResource{SID: sid, State: "started", MaxRestart: c.params.int("max_restart", 1), MaxRelocate: c.params.int("max_relocate", 1), Comment: c.params.str("comment")}
	c.st.HA = append(c.st.HA, r)
	c.requestHA(r, g, c.params.str("state"))
	return nil, nil
}

func putHAResource(c *call) (any, error) {
	r, g, err := c.namedHA()
	if err != nil {
		return nil, err
	}
	if d := c.params.str("digest"); d != "" && d != c.st.haDigest() {
		return nil, serverError("update resource failed: detected modified configuration - file changed by other user? Try again.")
	}
	if c.params.has("comment") {
		r.Comment = c.params.str("comment")
	}
	r.MaxRestart, r.MaxRelocate = c.params.int("max_restart", r.MaxRestart), c.params.int("max_relocate", r.MaxRelocate)
	c.requestHA(r, g, c.params.str("state"))
	return nil, nil
}

func deleteHAResource(c *call) (any, error) {
	r, _, err := c.namedHA()
	if err != nil {
		return nil, err
	}
	c.st.HA = slices.DeleteFunc(c.st.HA, func(x *haResource) bool { return x == r })
	return nil, nil
}

// requestHA asks for a state. The node's resource manager acts on it within
// ten seconds, in a task of root's.
func (c *call) requestHA(r *haResource, g *guest, state string) {
	if state == "" {
		return
	}
	if state == "enabled" {
		state = "started"
	}
	r.State = state
	prefix := map[string]string{"qemu": "qm", "lxc": "vz"}[g.Type]
	switch {
	case state == "started" && !g.Running:
		c.startTask(g.Node, prefix+"start", g.id(), rootUser, 10*time.Second)
	case (state == "stopped" || state == "disabled") && g.Running:
		c.startTask(g.Node, prefix+"shutdown", g.id(), rootUser, 10*time.Second)
	}
}

func getHARules(c *call) (any, error) {
	rule := obj{
		"rule": "monitor-home", "type": "node-affinity", "resources": "vm:110", "nodes": "pve2,pve3:2", "strict": 0, "order": 1,
		"comment": "near the switch", "digest": sha1Hex("rules"),
	}
	if t := c.params.str("type"); t != "" && t != rule["type"] {
		return []obj{}, nil
	}
	if r := c.params.str("resource"); r != "" && r != rule["resources"] {
		return []obj{}, nil
	}
	return []obj{rule}, nil
}
