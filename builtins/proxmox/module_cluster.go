package proxmox

import "nixmox/engine/builtin"

// clusterFuncs are the functions for the cluster: nodes, tasks and all that is no guest and no storage.
func (cl client) clusterFuncs() []builtin.Func {
	return []builtin.Func{
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
		builtin.NewRead("tasks", tasksDoc, cl.tasks).
			With(builtin.Reference{
				Example:    "for task in proxmox.tasks(kind = \"vzdump\", failed = True):\n    log(task.upid + \": \" + task.status)",
				Source:     "GET /nodes/{node}/tasks, pvenode(1)",
				Privileges: []builtin.Privilege{{Name: "Sys.Audit", Path: "/nodes/{node}"}},
				Errors:     always(builtin.NotFound, builtin.Invalid),
			}),
		builtin.NewRead("task", "Look at one task: its state and its log as they are now.", cl.task).
			With(builtin.Reference{
				Example:    "for task in proxmox.tasks(limit = 1):\n    for line in proxmox.task(task.upid).log:\n        log(line)",
				Source:     "GET /nodes/{node}/tasks/{upid}/status and /log, pvenode(1)",
				Privileges: []builtin.Privilege{{Name: "Sys.Audit", Path: "/nodes/{node}"}},
				Errors:     always(builtin.NotFound, builtin.Invalid),
			}),
	}
}

const (
	tasksDoc = `List tasks, running ones too, newest first.

Without a node it asks all nodes that are online. The token needs Sys.Audit on
a node to see tasks of others.`
)
