package lab

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// memoryUsed is made up, but the same at every look.
func (g *guest) memoryUsed() int64 {
	if !g.Running {
		return 0
	}
	return g.Memory / 2
}

// isOn says whether a process runs for the guest; that of a backup of a
// stopped VM counts.
func (g *guest) isOn() bool { return g.Running || g.BackupRun }

func (g *guest) status() string {
	if g.isOn() {
		return "running"
	}
	return "stopped"
}

func (g *guest) cpuUsed() any {
	if !g.Running {
		return 0
	}
	return jsonNumber(0.01 * float64(1+g.VMID%7))
}

func (g *guest) uptime(now time.Time) int64 {
	if !g.isOn() {
		return 0
	}
	return max(0, int64(now.Sub(g.Since).Seconds()))
}

// usage is what all answers about a guest have in common.
func (c *call) usage(g *guest) obj {
	o := obj{
		"vmid": g.VMID, "name": g.Name, "status": g.status(), "cpu": g.cpuUsed(), "mem": g.memoryUsed(), "maxmem": g.Memory,
		"disk": 0, "maxdisk": g.Disk, "diskread": 0, "diskwrite": 0, "netin": 0, "netout": 0, "uptime": g.uptime(c.now()),
	}
	if g.Running {
		o["diskread"], o["diskwrite"], o["netin"], o["netout"] = g.Disk/64, g.Disk/128, int64(g.VMID)*mib, int64(g.VMID)*mib/2
		if g.Type == "lxc" {
			o["disk"] = g.Disk / 3
		}
	}
	if g.Tags != "" {
		o["tags"] = g.Tags
	}
	if g.Lock != "" {
		o["lock"] = g.Lock
	}
	return o
}

func (c *call) guestResource(g *guest) obj {
	o := c.usage(g)
	o["id"], o["type"], o["node"] = g.Type+"/"+g.id(), g.Type, g.Node
	o["maxcpu"], o["template"], o["memhost"] = g.Cores, bit(g.Template), g.memoryUsed()
	if g.Pool != "" {
		o["pool"] = g.Pool
	}
	if r := c.st.ha(g.sid()); r != nil {
		o["hastate"] = r.crmState(g)
	}
	if c.st.node(g.Node).Down { // nobody tells
		o["status"] = "unknown"
	}
	return o
}

// statusOf is an entry of the lists under /nodes, and the bigger part of
// status/current. full says to ask QEMU, too.
func (c *call) statusOf(g *guest, full bool) obj {
	o := c.usage(g)
	o["cpus"] = g.Cores
	if g.Template {
		o["template"] = 1
	}
	if g.Type == "lxc" {
		o["type"], o["swap"], o["maxswap"] = "lxc", 0, 512*mib
		if g.Running {
			o["pid"] = g.PID
		}
		return o
	}
	o["memhost"] = g.memoryUsed()
	if g.isOn() {
		o["pid"] = g.PID
		for _, what := range []string{"cpu", "io", "memory"} {
			o["pressure"+what+"some"], o["pressure"+what+"full"] = 0, 0
		}
	}
	if !full {
		delete(o, "diskread")
		delete(o, "diskwrite")
		return o
	}
	switch {
	case g.BackupRun && !g.Running:
		o["qmpstatus"] = "prelaunch" // started for its backup, its CPUs never ran
	case g.Paused:
		o["qmpstatus"] = "paused"
	case g.Running:
		o["qmpstatus"] = "running"
	default:
		o["qmpstatus"] = "stopped"
		return o
	}
	o["running-qemu"], o["running-machine"] = "10.0.13", "pc-i440fx-10.0+pve0"
	if m := g.config("machine"); m != "" {
		o["running-machine"] = m + "+pve0"
	}
	return o
}

func (c *call) guestList(typ string) (any, error) {
	if err := c.ipccDown(); err != nil {
		return nil, err
	}
	out := []obj{}
	for _, g := range c.st.Guests {
		if g.Type == typ && g.Node == c.v("node") && c.may(c.who, "/vms/"+g.id(), "VM.Audit") {
			o := c.statusOf(g, c.params.bool("full", false))
			out = append(out, o)
		}
	}
	return out, nil
}

func getQemu(c *call) (any, error) { return c.guestList("qemu") }
func getLxc(c *call) (any, error)  { return c.guestList("lxc") }

// guestHere finds the guest that a request names; a guest of the other type or
// on another node is not there.
func (c *call) guestHere(typ string) (*guest, error) {
	g := c.st.guest(c.vmid())
	if g == nil || g.Type != typ || g.Node != c.v("node") {
		dir := map[string]string{"qemu": "qemu-server", "lxc": "lxc"}[typ]
		return nil, serverError("Configuration file 'nodes/%s/%s/%d.conf' does not exist", c.v("node"), dir, c.vmid())
	}
	return g, nil
}

func getQemuStatus(c *call) (any, error) {
	g, err := c.guestHere("qemu")
	if err != nil {
		return nil, err
	}
	o := c.statusOf(g, true)
	o["ha"] = c.haOf(g)
	if strings.HasPrefix(g.config("agent"), "1") {
		o["agent"] = 1
	}
	if g.isOn() {
		o["clipboard"] = nil
	}
	return o, nil
}

func getLxcStatus(c *call) (any, error) {
	g, err := c.guestHere("lxc")
	if err != nil {
		return nil, err
	}
	o := c.statusOf(g, true)
	o["ha"] = c.haOf(g)
	if g.Running {
		for _, what := range []string{"cpu", "io", "memory"} {
			o["pressure"+what+"some"], o["pressure"+what+"full"] = "0.00", "0.00" // strings, as recorded
		}
	}
	return o, nil
}

func (c *call) guestConfig(typ string) (any, error) {
	g, err := c.guestHere(typ)
	if err != nil {
		return nil, err
	}
	name := c.params.str("snapshot")
	if name == "" {
		o := g.nextConfig()
		if c.params.bool("current", false) {
			o = maps.Clone(g.Config)
		}
		o["digest"] = g.digest()
		if g.Lock != "" {
			o["lock"] = g.Lock
		}
		return o, nil
	}
	s := g.snapshot(name)
	if s == nil {
		return nil, serverError("snapshot '%s' does not exist", name)
	}
	o := maps.Clone(s.Config)
	if o == nil { // of the estate's history
		o = maps.Clone(g.Config)
	}
	o["digest"], o["snaptime"] = g.digest(), s.Time
	delete(o, "parent")
	if s.Parent != "" {
		o["parent"] = s.Parent
	}
	if s.Description != "" {
		o["description"] = s.Description
	}
	if s.RAM {
		o["vmstate"] = fmt.Sprintf("rpool:vm-%d-state-%s", g.VMID, s.Name)
	}
	return o, nil
}

func getQemuConfig(c *call) (any, error) { return c.guestConfig("qemu") }
func getLxcConfig(c *call) (any, error)  { return c.guestConfig("lxc") }

func (c *call) guestSnapshots(typ string) (any, error) {
	g, err := c.guestHere(typ)
	if err != nil {
		return nil, err
	}
	out := []obj{}
	for _, s := range g.Snapshots {
		o := obj{"name": s.Name, "description": s.Description, "snaptime": s.Time}
		if typ == "qemu" {
			o["vmstate"] = bit(s.RAM)
		}
		if s.Parent != "" {
			o["parent"] = s.Parent
		}
		if s.State != "" {
			o["snapstate"] = s.State
		}
		out = append(out, o)
	}
	now := obj{"name": "current", "description": "You are here!", "digest": g.digest(), "running": bit(g.Running)}
	if parent := g.config("parent"); parent != "" {
		now["parent"] = parent
	}
	return append(out, now), nil
}

func getQemuSnapshots(c *call) (any, error) { return c.guestSnapshots("qemu") }
func getLxcSnapshots(c *call) (any, error)  { return c.guestSnapshots("lxc") }

// kindName is how Proxmox calls a guest in messages.
func (g *guest) kindName() string {
	if g.Type == "lxc" {
		return "CT"
	}
	return "VM"
}

func (g *guest) lockedError() string { return fmt.Sprintf("%s is locked (%s)", g.kindName(), g.Lock) }
