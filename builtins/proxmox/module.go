package proxmox

import (
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Module is the module proxmox, over one cluster.
func Module(c *pve.Client) builtin.Module {
	cl := client{pve: c}
	return builtin.NewModule("proxmox", "What is in a cluster of Proxmox VE: nodes, guests, storages, tasks. It only reads.",
		builtin.NewRead("version", "The version of the Proxmox VE host.", cl.version).
			With(builtin.Reference{
				Example: `log(proxmox.version().version)`,
				Source:  "GET /version",
				Errors:  always(),
			}),
		builtin.NewRead("nodes", "List the cluster's nodes, by name.", cl.nodes).
			With(builtin.Reference{
				Example: "for node in proxmox.nodes():\n    log(node.name + \" is \" + node.status)",
				Source:  "GET /nodes",
				Errors:  always(),
			}),
		builtin.NewRead("guests", guestsDoc, cl.guests).
			With(builtin.Reference{
				Example: "for guest in proxmox.guests(select = [\"@prod\", \"-103\"]):\n    log(guest.name + \" on \" + guest.node)",
				Source:  "GET /cluster/resources, GET /nodes/{node}/qemu, pvesh(1)",
				Errors:  always(builtin.NotFound, builtin.Invalid),
			}),
		builtin.NewRead("config", configDoc, cl.config).
			With(builtin.Reference{
				Example: "log(proxmox.config(100)[\"memory\"])",
				Source:  "GET /nodes/{node}/qemu/{vmid}/config, qm.conf(5), pct.conf(5)",
				Errors:  always(builtin.NotFound),
			}),
		builtin.NewRead("storages", storagesDoc, cl.storages).
			With(builtin.Reference{
				Example: "for storage in proxmox.storages():\n    if not storage.active:\n        log(storage.name + \" is down on \" + storage.node)",
				Source:  "GET /storage, GET /nodes/{node}/storage, pvesm(1)",
				Errors:  always(builtin.NotFound),
			}),
		builtin.NewRead("content", contentDoc, cl.content).
			With(builtin.Reference{
				Example: "for volume in proxmox.content(\"backup\", kind = \"backup\"):\n    log(volume.volid)",
				Source:  "GET /nodes/{node}/storage/{storage}/content, pvesm(1)",
				Errors:  always(builtin.NotFound, builtin.Invalid),
			}),
		builtin.NewRead("tasks", tasksDoc, cl.tasks).
			With(builtin.Reference{
				Example: "for task in proxmox.tasks(kind = \"vzdump\", failed = True):\n    log(task.upid + \": \" + task.status)",
				Source:  "GET /nodes/{node}/tasks, pvenode(1)",
				Errors:  always(builtin.NotFound, builtin.Invalid),
			}),
		builtin.NewRead("task", "Look at one task: its state and its log as they are now.", cl.task).
			With(builtin.Reference{
				Example: "for task in proxmox.tasks(limit = 1):\n    for line in proxmox.task(task.upid).log:\n        log(line)",
				Source:  "GET /nodes/{node}/tasks/{upid}/status and /log, pvenode(1)",
				Errors:  always(builtin.NotFound, builtin.Invalid),
			}),
	)
}

// always are the kinds of Fault that any request may end with, and then some.
func always(more ...builtin.Kind) []builtin.Kind {
	return append(more, builtin.Forbidden, builtin.Unreachable, builtin.Timeout, builtin.Failed)
}

const (
	guestsDoc = `List guests, VMs and containers, by id.

Templates are left out unless asked for. Each selector must match something; so
a mistyped one fails and never selects nothing in silence. One that starts with
'-' takes away; with nothing but those, they take away from all.`

	configDoc = `Read a guest's configuration as a dict, each value as Proxmox sends it.

Changes that wait for the guest's next start are in it.`

	storagesDoc = `List storages, one entry for each node that may use them, by name and node.

On a node that does not answer a storage counts as not active.`

	contentDoc = `List what is in a storage, by volume id.

A storage that the nodes do not share needs the node's name, unless one node
only has it. Backups show up if the token has VM.Backup on their guest.`

	tasksDoc = `List tasks, running ones too, newest first.

Without a node it asks all nodes that are online. The token needs Sys.Audit on
a node to see tasks of others.`
)
