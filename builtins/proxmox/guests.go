package proxmox

import (
	"context"
	"maps"
	"slices"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// GuestsArgs are the arguments of guests().
type GuestsArgs struct {
	Select    []Selector `name:"select" default:"all" doc:"which ones"`
	Templates bool       `name:"templates" default:"false" doc:"templates, too"`
}

// Guest is one guest in what guests() returns.
type Guest struct {
	ID         builtin.VMID `name:"id" doc:"the guest's id"`
	Name       string       `name:"name" doc:"its name; empty if its node does not answer"`
	Node       builtin.Node `name:"node" doc:"where it is"`
	Kind       string       `name:"kind" doc:"vm or container"`
	Status     string       `name:"status" doc:"running, stopped, …; unknown if its node does not answer"`
	Tags       []string     `name:"tags" doc:"its tags, in Proxmox's order"`
	Pool       string       `name:"pool" doc:"its resource pool, or empty"`
	Template   bool         `name:"template" doc:"it is a template"`
	Lock       string       `name:"lock" doc:"what Proxmox is doing with it: backup, snapshot, migrate, …; or empty"`
	Cores      int64        `name:"cores" doc:"its processors"`
	Memory     int64        `name:"memory" doc:"its memory, in bytes"`
	Disk       int64        `name:"disk" doc:"the size of its first disk, in bytes"`
	Uptime     int64        `name:"uptime" volatile:"" doc:"seconds since its start"`
	CPU        float64      `name:"cpu" volatile:"" doc:"the part of its processors in use, 0 to 1"`
	MemoryUsed int64        `name:"memory_used" volatile:"" doc:"in use, in bytes"`
}

func (c client) guests(ctx context.Context, args GuestsArgs) ([]Guest, error) {
	selection, err := parseSelection(args.Select)
	if err != nil {
		return nil, err
	}
	all, err := c.pve.Guests(ctx)
	if err != nil {
		return nil, err
	}
	all = plannedGuests(ctx, all)
	inPlannedPools(ctx, all)
	if err := c.completeNew(ctx, all); err != nil && selection.byName() {
		return nil, err // a guest without a name might be one that is meant
	}
	chosen, err := selection.choose(all, args.Templates)
	if err != nil {
		return nil, err
	}
	out := make([]Guest, len(chosen))
	for i, g := range chosen {
		out[i] = Guest{
			ID: g.VMID, Name: g.Name, Node: builtin.Node(g.Node), Kind: pve.KindOf(g.Type), Status: g.Status, Tags: g.Tags, Pool: g.Pool,
			Template: g.Template, Lock: g.Lock, Cores: g.MaxCPU, Memory: g.MaxMem, Disk: g.MaxDisk, Uptime: g.Uptime, CPU: g.CPU, MemoryUsed: g.Mem,
		}
	}
	return out, nil
}

// completeNew fills in what the cluster's list does not have yet: the name of
// a guest, its state, and that it is a template. The list is what the nodes
// last told one another, every ten seconds or so; a node's own list is exact,
// and one request each gets it for all guests of one sort on one node.
func (c client) completeNew(ctx context.Context, all []pve.Guest) error {
	type list struct{ node, kind string }
	wanted := map[list][]*pve.Guest{}
	for i := range all {
		if g := &all[i]; g.Name == "" {
			key := list{g.Node, g.Type}
			wanted[key] = append(wanted[key], g)
		}
	}
	keys := slices.SortedFunc(maps.Keys(wanted), func(a, b list) int {
		if a.node != b.node {
			return compare(a.node, b.node)
		}
		return compare(a.kind, b.kind)
	})
	var first error
	for _, key := range keys {
		var onNode []struct {
			VMID     pve.Int  `json:"vmid"`
			Name     pve.Text `json:"name"`
			Status   pve.Text `json:"status"`
			Template pve.Bool `json:"template"`
		}
		if err := c.pve.Get(ctx, pve.Path("/nodes/%s/%s", key.node, key.kind), nil, &onNode); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		for _, g := range wanted[key] {
			for _, o := range onNode {
				if builtin.VMID(o.VMID) == g.VMID {
					g.Name, g.Status, g.Template = string(o.Name), string(o.Status), bool(o.Template)
				}
			}
		}
	}
	return first
}
