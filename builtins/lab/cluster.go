package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func getVersion(*call) (any, error) {
	return obj{"version": "9.2.11", "repoid": "14a22df35955d97d", "release": "9.2"}, nil
}

func getNodes(c *call) (any, error) {
	out := []obj{}
	for _, n := range c.st.Nodes {
		o := obj{"node": n.Name, "type": "node", "id": "node/" + n.Name, "status": n.status(), "level": "", "ssl_fingerprint": c.cert.fingerprint}
		if !n.Down && c.may(c.who, "/nodes/"+n.Name, "Sys.Audit") {
			c.addUsage(o, n)
		}
		out = append(out, o)
	}
	return out, nil
}

// addUsage adds what only an auditor of the node gets to see.
func (c *call) addUsage(o obj, n *node) {
	mem := 2 * gib
	for _, g := range c.st.Guests {
		if g.Node == n.Name && g.Running {
			mem += g.memoryUsed()
		}
	}
	o["cpu"], o["maxcpu"] = jsonNumber(0.03*float64(n.ID)), n.CPUs
	o["mem"], o["maxmem"] = mem, n.Memory
	o["disk"], o["maxdisk"] = 14*gib, n.Disk
	o["uptime"] = int64(c.now().Sub(n.Boot).Seconds())
}

func getClusterStatus(c *call) (any, error) {
	out := []obj{{"type": "cluster", "id": "cluster", "name": clusterName, "version": 3, "nodes": len(c.st.Nodes), "quorate": bit(c.st.quorate())}}
	for _, n := range c.st.Nodes {
		out = append(out, obj{"type": "node", "id": "node/" + n.Name, "name": n.Name, "nodeid": n.ID, "ip": n.IP, "online": bit(!n.Down), "local": bit(n.ID == 1), "level": ""})
	}
	return out, nil
}

const clusterName = "lab"

// ipccDown is what a node says of every list when its cluster file system is
// down.
func (c *call) ipccDown() error {
	if c.faults.hit("list", "guests", "fail") != nil {
		return serverError("ipcc_send_rec[1] failed: Connection refused")
	}
	return nil
}

func getResources(c *call) (any, error) {
	if err := c.ipccDown(); err != nil {
		return nil, err
	}
	want := c.params.str("type")
	out := []obj{}
	if want == "" || want == "vm" {
		for _, g := range c.st.Guests {
			if c.may(c.who, "/vms/"+g.id(), "VM.Audit") {
				out = append(out, c.guestResource(g))
			}
		}
	}
	if want == "" || want == "node" {
		for _, n := range c.st.Nodes {
			o := obj{"node": n.Name, "type": "node", "id": "node/" + n.Name, "status": n.status(), "level": "", "cgroup-mode": 2}
			if !n.Down && c.may(c.who, "/nodes/"+n.Name, "Sys.Audit") {
				c.addUsage(o, n)
			}
			out = append(out, o)
		}
	}
	if want == "" || want == "storage" {
		for _, n := range c.st.Nodes {
			for _, s := range c.st.Storages {
				if !c.seesStorage(s) {
					continue
				}
				used, total := c.storageSpace(s, n.Name)
				o := obj{
					"type": "storage", "storage": s.Name, "node": n.Name, "id": "storage/" + n.Name + "/" + s.Name, "plugintype": s.Type,
					"content": strings.Join(s.Content, ","), "shared": bit(s.Shared), "status": "available", "disk": used, "maxdisk": total,
				}
				if c.offline(s) {
					o["status"], o["disk"], o["maxdisk"] = "unknown", 0, 0
				}
				out = append(out, o)
			}
		}
	}
	if want == "" || want == "sdn" {
		for _, n := range c.st.Nodes {
			if want == "" && c.may(c.who, "/sdn/zones/localnetwork", "SDN.Audit") {
				out = append(out, obj{"type": "network", "network-type": "zone", "network": "localnetwork", "node": n.Name, "id": "network/" + n.Name + "/zone/localnetwork", "status": "ok"})
			}
		}
	}
	return out, nil
}

func getNextID(c *call) (any, error) {
	if c.params.has("vmid") {
		id := int(c.params.int("vmid", 0))
		if c.st.guest(id) != nil {
			return nil, badParameter("vmid", "VM %d already exists", id)
		}
		return strconv.Itoa(id), nil
	}
	id := 100
	for c.st.guest(id) != nil {
		id++
	}
	return strconv.Itoa(id), nil // a string, as recorded, whatever the schema says
}

func getNodeTime(c *call) (any, error) {
	now := c.now().Unix()
	if c.faults.hit("clock", c.v("node"), "skew") != nil {
		now += clockSkew
	}
	zone := "UTC"
	if hours := int(c.st.East.Hours()); hours != 0 {
		zone = fmt.Sprintf("Etc/GMT%+d", -hours) // POSIX counts westward
	}
	return obj{"time": now, "localtime": now + int64(c.st.East.Seconds()), "timezone": zone}, nil
}

// clockSkew is how many seconds a clock with the fault skew is ahead.
const clockSkew = 90

func getNodeStatus(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	o := obj{}
	c.addUsage(o, n)
	used := o["mem"].(int64)
	kernel := obj{"sysname": "Linux", "machine": "x86_64", "release": kernelRelease, "version": "#1 SMP PREEMPT_DYNAMIC"}
	return obj{
		"uptime": o["uptime"], "cpu": o["cpu"], "idle": 0, "wait": 0, "loadavg": []string{"0.42", "0.37", "0.31"},
		"pveversion": "pve-manager/9.2.11/14a22df35955d97d", "kversion": "Linux 6.17.13-2-pve #1 SMP PREEMPT_DYNAMIC",
		"current-kernel": kernel, "boot-info": obj{"mode": "efi", "secureboot": 0}, "ksm": obj{"shared": 0},
		"memory":  obj{"total": n.Memory, "used": used, "free": n.Memory - used, "available": n.Memory - used},
		"swap":    obj{"total": 0, "used": 0, "free": 0},
		"rootfs":  obj{"total": n.Disk, "used": 14 * gib, "free": n.Disk - 14*gib, "avail": n.Disk - 14*gib},
		"cpuinfo": obj{"cpus": n.CPUs, "cores": n.CPUs, "sockets": 1, "model": "AMD EPYC", "vendor": "AuthenticAMD", "mhz": "2596.124", "hvm": "1", "user_hz": 100, "family": "26", "flags": "fpu vme sse sse2 svm"},
	}, nil
}

func getPools(c *call) (any, error) {
	out := []obj{}
	for _, p := range c.st.Pools {
		if c.params.has("poolid") && c.params.str("poolid") != p.ID || !c.may(c.who, "/pool/"+p.ID, "Pool.Audit") {
			continue
		}
		o := obj{"poolid": p.ID, "comment": p.Comment}
		if c.params.has("poolid") {
			o["members"] = c.members(p)
		}
		out = append(out, o)
	}
	if c.params.has("poolid") && len(out) == 0 {
		return nil, serverError("pool '%s' does not exist", c.params.str("poolid"))
	}
	return out, nil
}

func getPool(c *call) (any, error) {
	p := c.st.pool(c.v("poolid"))
	if p == nil {
		return nil, serverError("pool '%s' does not exist", c.v("poolid"))
	}
	return obj{"comment": p.Comment, "members": c.members(p)}, nil
}

// members lists what is in a pool, of one type if the request says so.
func (c *call) members(p *pool) []obj {
	want := c.params.str("type")
	out := []obj{}
	for _, g := range c.st.Guests {
		if g.Pool == p.ID && (want == "" || want == g.Type) {
			out = append(out, c.guestResource(g))
		}
	}
	for _, name := range p.Storages {
		if want == "" || want == "storage" {
			n := c.st.Nodes[0].Name
			out = append(out, obj{"type": "storage", "storage": name, "node": n, "id": "storage/" + n + "/" + name})
		}
	}
	return out
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
