package pve

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// Version is what GET /version says.
type Version struct {
	Version string `json:"version"`
	Release string `json:"release"`
	RepoID  string `json:"repoid"`
}

// Version is the version of the host's Proxmox VE.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var out Version
	return out, c.Get(ctx, "/version", nil, &out)
}

// Node is a node of the cluster. Sizes are in bytes, Uptime in seconds, CPU is
// the part of all cores in use, from 0 to 1.
type Node struct {
	Node           string `json:"node"`
	Status         string `json:"status"` // online, offline, unknown
	Uptime         Int    `json:"uptime"`
	CPU            Float  `json:"cpu"`
	MaxCPU         Int    `json:"maxcpu"`
	Mem            Int    `json:"mem"`
	MaxMem         Int    `json:"maxmem"`
	Disk           Int    `json:"disk"`
	MaxDisk        Int    `json:"maxdisk"`
	SSLFingerprint string `json:"ssl_fingerprint"`
}

// Online reports that the node answers.
func (n Node) Online() bool { return n.Status == "online" }

// Nodes lists the cluster's nodes by name; a token sees the ones it may.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var out []Node
	if err := c.Get(ctx, "/nodes", nil, &out); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Node, b.Node) })
	return out, nil
}

// Guest is a VM or a container, as the cluster last heard of it: a few seconds
// ago. A guest that is newer than that has no name yet and the status unknown.
type Guest struct {
	VMID     builtin.VMID
	Name     string
	Node     string
	Type     string // qemu or lxc
	Status   string // running, stopped, …
	Tags     []string
	Pool     string
	Template bool
	Lock     string // backup, snapshot, …: what Proxmox itself is doing with it
	Uptime   int64  // seconds
	CPU      float64
	MaxCPU   int64
	Mem      int64 // bytes
	MaxMem   int64
	MaxDisk  int64
	Disk     int64 // bytes in use; of containers only
}

type rawGuest struct {
	VMID     Int   `json:"vmid"`
	Name     Text  `json:"name"`
	Node     Text  `json:"node"`
	Type     Text  `json:"type"`
	Status   Text  `json:"status"`
	Tags     Text  `json:"tags"`
	Pool     Text  `json:"pool"`
	Template Bool  `json:"template"`
	Lock     Text  `json:"lock"`
	Uptime   Int   `json:"uptime"`
	CPU      Float `json:"cpu"`
	MaxCPU   Int   `json:"maxcpu"`
	Mem      Int   `json:"mem"`
	MaxMem   Int   `json:"maxmem"`
	MaxDisk  Int   `json:"maxdisk"`
	Disk     Int   `json:"disk"`
}

// Guests lists all guests of the cluster by id, in one request. A token sees
// those it has VM.Audit on, and nothing says which others there are.
func (c *Client) Guests(ctx context.Context) ([]Guest, error) {
	var raw []rawGuest
	if err := c.Get(ctx, "/cluster/resources", url.Values{"type": {"vm"}}, &raw); err != nil {
		return nil, err
	}
	out := make([]Guest, 0, len(raw))
	for _, g := range raw {
		if g.Type != "qemu" && g.Type != "lxc" {
			continue
		}
		out = append(out, Guest{
			VMID: builtin.VMID(g.VMID), Name: string(g.Name), Node: string(g.Node), Type: string(g.Type),
			Status: string(g.Status), Tags: splitTags(string(g.Tags)), Pool: string(g.Pool),
			Template: bool(g.Template), Lock: string(g.Lock), Uptime: int64(g.Uptime), CPU: float64(g.CPU),
			MaxCPU: int64(g.MaxCPU), Mem: int64(g.Mem), MaxMem: int64(g.MaxMem), MaxDisk: int64(g.MaxDisk), Disk: int64(g.Disk),
		})
	}
	slices.SortFunc(out, func(a, b Guest) int { return int(a.VMID) - int(b.VMID) })
	return out, nil
}

// splitTags takes every separator that Proxmox takes.
func splitTags(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
}

// KindOf is what Proxmox's names of its two sorts of guest, in all spellings,
// are called here: vm or container; "" for anything else.
func KindOf(proxmoxType string) string {
	switch proxmoxType {
	case "qemu", "vm":
		return "vm"
	case "lxc", "ct", "openvz":
		return "container"
	}
	return ""
}
