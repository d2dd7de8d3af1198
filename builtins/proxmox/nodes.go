package proxmox

import (
	"context"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

type client struct{ pve *pve.Client }

type noArgs struct{}

// Version is what version() returns.
type Version struct {
	Version string `name:"version" doc:"such as 9.2.11"`
	Release string `name:"release" doc:"such as 9.2"`
	RepoID  string `name:"repoid" doc:"the commit it was built from"`
}

func (c client) version(ctx context.Context, _ noArgs) (Version, error) {
	v, err := c.pve.Version(ctx)
	return Version(v), err
}

// Node is one node in what nodes() returns.
type Node struct {
	Name        builtin.Node `name:"name" doc:"the node's name"`
	Status      string       `name:"status" doc:"online, offline, or unknown"`
	Uptime      int64        `name:"uptime" volatile:"" doc:"seconds since its start"`
	CPU         float64      `name:"cpu" volatile:"" doc:"the part of all its processors in use, 0 to 1"`
	Cores       int64        `name:"cores" doc:"its processors, threads counted"`
	Memory      int64        `name:"memory" doc:"its memory, in bytes"`
	MemoryUsed  int64        `name:"memory_used" volatile:"" doc:"in use, in bytes"`
	Disk        int64        `name:"disk" volatile:"" doc:"the size of its root file system, in bytes"`
	DiskUsed    int64        `name:"disk_used" volatile:"" doc:"in use, in bytes"`
	Fingerprint string       `name:"fingerprint" doc:"SHA-256 of its certificate"`
}

func (c client) nodes(ctx context.Context, _ noArgs) ([]Node, error) {
	raw, err := c.pve.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Node, len(raw))
	for i, n := range raw {
		out[i] = Node{
			Name: builtin.Node(n.Node), Status: n.Status, Uptime: int64(n.Uptime), CPU: float64(n.CPU), Cores: int64(n.MaxCPU),
			Memory: int64(n.MaxMem), MemoryUsed: int64(n.Mem), Disk: int64(n.MaxDisk), DiskUsed: int64(n.Disk), Fingerprint: n.SSLFingerprint,
		}
	}
	return out, nil
}

// online are the names of the nodes that answer; others are those that don't.
func (c client) online(ctx context.Context) (online, others []string, err error) {
	nodes, err := c.pve.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range nodes {
		if n.Online() {
			online = append(online, n.Node)
		} else {
			others = append(others, n.Node)
		}
	}
	return online, others, nil
}

// known makes a misspelt node a not_found. Proxmox would say that it could not
// look up a host name, which a node that is down may look like as well.
func known(node string, online, others []string) error {
	for _, n := range append(online, others...) {
		if n == node {
			return nil
		}
	}
	return builtin.Faultf(builtin.NotFound, "the node %s", node).Hinting("nodes() lists what there is")
}
