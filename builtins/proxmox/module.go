package proxmox

import (
	"slices"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Module is the module proxmox, over one cluster.
func Module(c *pve.Client) builtin.Module {
	cl := client{pve: c}
	return builtin.NewModule("proxmox", "A cluster of Proxmox VE: nodes, guests and their snapshots, storages, tasks, pools, updates, high availability.",
		slices.Concat(cl.clusterFuncs(), cl.guestFuncs(), cl.storageFuncs())...)
}

// always are the kinds of Fault that any request may end with, and then some.
func always(more ...builtin.Kind) []builtin.Kind {
	return append(more, builtin.Forbidden, builtin.Unreachable, builtin.Timeout, builtin.Failed)
}
