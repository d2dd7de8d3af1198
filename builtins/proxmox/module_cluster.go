package proxmox

import (
	"slices"

	"nixmox/engine/builtin"
)

// clusterFuncs are the functions for the cluster: nodes, tasks and all that is no guest and no storage.
func (cl client) clusterFuncs() []builtin.Func {
	return slices.Concat(cl.clusterReads(), cl.nodeReads(), cl.taskFuncs(), cl.clusterChanges())
}

func on(path string, names ...string) []builtin.Privilege {
	out := make([]builtin.Privilege, len(names))
	for i, name := range names {
		out[i] = builtin.Privilege{Name: name, Path: path}
	}
	return out
}

func (cl client) clusterReads() []builtin.Func {
	return []builtin.Func{
		builtin.NewRead("version", "The version of the Proxmox VE host.", cl.version).
			With(builtin.Reference{
				Example: `log(proxmox.version().version)`,
				Source:  "GET /version",
				Errors:  always(),
			}),
		builtin.NewRead("nodes", "List the cluster's nodes, by name.", cl.nodes).
			With(builtin.Reference{
				Example:    "for node in proxmox.nodes():\n    log(node.name + \" is \" + node.status)",
				Source:     "GET /nodes",
				Errors:     always(),
				Privileges: on("/nodes", "Sys.Audit"),
			}),
		builtin.NewRead("cluster", "The cluster's name, its nodes, and whether they are enough to change anything.", cl.cluster).
			With(builtin.Reference{
				Example:    "if not proxmox.cluster().quorate:\n    fail(\"no quorum\")",
				Source:     "GET /cluster/status, pvecm(1)",
				Errors:     always(),
				Privileges: on("/", "Sys.Audit"),
			}),
		builtin.NewRead("pools", "List the resource pools and what is in them, by name.", cl.pools).
			With(builtin.Reference{
				Example:    "for pool in proxmox.pools():\n    log(\"%s: %s\" % (pool.name, pool.guests))",
				Source:     "GET /pools",
				Errors:     always(),
				Privileges: on("/pool", "Pool.Audit"),
			}),
		builtin.NewRead("tags", "List the tags, registered ones and those in use, with the guests that have them.", cl.tags).
			With(builtin.Reference{
				Example:    "for tag in proxmox.tags():\n    log(\"%s: %s\" % (tag.name, tag.guests))",
				Source:     "GET /cluster/options, GET /cluster/resources",
				Errors:     always(),
				Privileges: slices.Concat(on("/", "Sys.Audit"), on("/vms", "VM.Audit")),
			}),
		builtin.NewRead("ha", haDoc, cl.ha).
			With(builtin.Reference{
				Example:    "for r in proxmox.ha().resources:\n    log(\"%s: %s, asked for %s\" % (r.sid, r.status, r.state))",
				Source:     "GET /cluster/ha/status/current, /cluster/ha/resources, /cluster/ha/rules, ha-manager(1)",
				Errors:     always(),
				Privileges: on("/", "Sys.Audit"),
			}),
		builtin.NewRead("permissions", permissionsDoc, cl.permissions).
			With(builtin.Reference{
				Example: "for p in proxmox.permissions():\n    log(\"%s: %s\" % (p.path, p.privileges))",
				Source:  "GET /access/permissions, pveum(1)",
				Errors:  always(builtin.Invalid),
			}),
		builtin.NewRead("next_id", nextIDDoc, cl.freeID).
			With(builtin.Reference{
				Example: "log(\"%d is free\" % proxmox.next_id())",
				Source:  "GET /cluster/nextid",
				Errors:  always(),
			}),
		builtin.NewRead("get", getDoc, cl.get).
			With(builtin.Reference{
				Example: "for entry in proxmox.get(\"/nodes/pve1/tasks\", limit = 3):\n    log(entry[\"upid\"])",
				Source:  "every GET of Proxmox's API; https://pve.proxmox.com/pve-docs/api-viewer/",
				Errors:  always(builtin.Invalid, builtin.NotFound, builtin.Busy),
			}),
	}
}

func (cl client) nodeReads() []builtin.Func {
	audit := on("/nodes/{node}", "Sys.Audit")
	errors := always(builtin.NotFound)
	return []builtin.Func{
		builtin.NewRead("node", "Look at one node: version, kernel, load, memory, root file system, how it boots.", cl.node).
			With(builtin.Reference{
				Example:    "node = proxmox.node(\"pve1\")\nlog(\"%s runs %s\" % (node.version, node.kernel))",
				Source:     "GET /nodes/{node}/status",
				Errors:     errors,
				Privileges: audit,
			}),
		builtin.NewRead("networks", networksDoc, cl.networks).
			With(builtin.Reference{
				Example:    "for i in proxmox.networks(\"pve1\").interfaces:\n    log(\"%s: %s %s\" % (i.name, i.ports, i.addresses))",
				Source:     "GET /nodes/{node}/network, interfaces(5)",
				Errors:     errors,
				Privileges: audit,
			}),
		builtin.NewRead("services", "List the services of a node, by name.", cl.services).
			With(builtin.Reference{
				Example:    "for s in proxmox.services(\"pve1\"):\n    if s.active == \"failed\":\n        log(s.name + \" has failed\")",
				Source:     "GET /nodes/{node}/services, systemctl(1)",
				Errors:     errors,
				Privileges: audit,
			}),
		builtin.NewRead("subscription", "Whether a node has a valid subscription.", cl.subscription).
			With(builtin.Reference{
				Example: "log(proxmox.subscription(\"pve1\").status)",
				Source:  "GET /nodes/{node}/subscription, pvesubscription(1)",
				Errors:  errors,
			}),
		builtin.NewRead("certificates", "List the certificates of a node's API, with the days they are good for.", cl.certificates).
			With(builtin.Reference{
				Example: "for c in proxmox.certificates(\"pve1\"):\n    if c.days < 14:\n        fail(\"%s ends in %d days\" % (c.file, c.days))",
				Source:  "GET /nodes/{node}/certificates/info, pvenode(1)",
				Errors:  errors,
			}),
		builtin.NewRead("repositories", repositoriesDoc, cl.repositories).
			With(builtin.Reference{
				Example:    "for text in proxmox.repositories(\"pve1\").warnings:\n    log(text, level = \"warning\")",
				Source:     "GET /nodes/{node}/apt/repositories, sources.list(5)",
				Errors:     errors,
				Privileges: audit,
			}),
		builtin.NewRead("updates", updatesDoc, cl.updates).
			With(builtin.Reference{
				Example:    "for p in proxmox.updates(\"pve1\").packages:\n    log(\"%s: %s to %s\" % (p.name, p.old, p.new))",
				Source:     "GET /nodes/{node}/apt/update and /apt/versions, pveupgrade(1)",
				Errors:     errors,
				Privileges: on("/nodes/{node}", "Sys.Audit", "Sys.Modify"),
			}),
	}
}

func (cl client) taskFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewRead("tasks", tasksDoc, cl.tasks).
			With(builtin.Reference{
				Example:    "for task in proxmox.tasks(kind = \"vzdump\", failed = True):\n    log(task.upid + \": \" + task.status)",
				Source:     "GET /nodes/{node}/tasks, pvenode(1)",
				Errors:     always(builtin.NotFound, builtin.Invalid),
				Privileges: on("/nodes", "Sys.Audit"),
			}),
		builtin.NewRead("task", "Look at one task: its state and its log as they are now.", cl.task).
			With(builtin.Reference{
				Example:    "for task in proxmox.tasks(limit = 1):\n    for line in proxmox.task(task.upid).log:\n        log(line)",
				Source:     "GET /nodes/{node}/tasks/{upid}/status and /log, pvenode(1)",
				Errors:     always(builtin.NotFound, builtin.Invalid),
				Privileges: on("/nodes", "Sys.Audit"),
			}),
		builtin.NewRead("wait_task", waitTaskDoc, cl.waitTask).
			With(builtin.Reference{
				Example:    "for task in proxmox.tasks():\n    if task.running:\n        proxmox.wait_task(task.upid, timeout = \"30m\")",
				Source:     "GET /nodes/{node}/tasks/{upid}/status and /log, pvenode(1)",
				Errors:     always(builtin.NotFound, builtin.Invalid),
				Privileges: on("/nodes", "Sys.Audit"),
			}),
		builtin.NewChange("stop_task", stopTaskDoc,
			builtin.Op[StopTaskArgs, StoppedTask]{Preview: cl.previewStop, Do: cl.stopTask, Settle: cl.settleStop, Keys: StopTaskArgs.keys}).
			With(builtin.Reference{
				Example:    "for task in proxmox.tasks(kind = \"vzdump\"):\n    if task.running:\n        proxmox.stop_task(task.upid)",
				Source:     "DELETE /nodes/{node}/tasks/{upid}, pvenode(1)",
				Errors:     always(builtin.NotFound, builtin.Invalid),
				Privileges: on("/nodes", "Sys.Modify"),
			}),
	}
}

func (cl client) clusterChanges() []builtin.Func {
	return []builtin.Func{
		builtin.NewChange("add_to_pool", "Put guests and storages into a resource pool; what is in it already stays there.", cl.addToPool()).
			With(builtin.Reference{
				Example:    "proxmox.add_to_pool(\"production\", guests = [103], storages = [\"media\"])",
				Source:     "PUT /pools",
				Errors:     always(builtin.NotFound, builtin.Invalid, builtin.Conflict),
				Privileges: slices.Concat(on("/pool/{pool}", "Pool.Allocate", "Pool.Audit"), on("/vms", "VM.Allocate|Permissions.Modify", "VM.Audit")),
			}),
		builtin.NewChange("remove_from_pool", "Take guests and storages out of a resource pool; nothing else is done to them.", cl.removeFromPool()).
			With(builtin.Reference{
				Example:    "proxmox.remove_from_pool(\"production\", guests = [105])",
				Source:     "PUT /pools",
				Errors:     always(builtin.NotFound, builtin.Invalid),
				Privileges: slices.Concat(on("/pool/{pool}", "Pool.Allocate", "Pool.Audit"), on("/vms", "VM.Allocate|Permissions.Modify")),
			}),
		builtin.NewChange("ha_set", haSetDoc,
			builtin.Op[HASetArgs, HAResource]{Preview: cl.previewHA, Do: cl.setHA, Settle: cl.settleHA, Keys: HASetArgs.keys}).
			With(builtin.Reference{
				Example:    "proxmox.ha_set(110, \"ignored\")",
				Source:     "PUT /cluster/ha/resources/{sid}, ha-manager(1)",
				Errors:     always(builtin.NotFound, builtin.Invalid),
				Privileges: on("/", "Sys.Audit", "Sys.Console"),
			}),
		builtin.NewChange("refresh_updates", refreshDoc,
			builtin.Op[NodeArgs, RefreshResult]{Preview: cl.previewRefresh, Do: cl.refreshUpdates, Settle: cl.settleRefresh, Keys: NodeArgs.keys}).
			With(builtin.Reference{
				Example:    "log(\"%d packages can be updated\" % proxmox.refresh_updates(\"pve1\").packages)",
				Source:     "POST /nodes/{node}/apt/update, apt-get(8)",
				Errors:     always(builtin.NotFound),
				Privileges: on("/nodes/{node}", "Sys.Modify"),
			}),
		builtin.NewChange("reboot_node", rebootDoc,
			builtin.Op[RebootNodeArgs, RebootedNode]{Preview: cl.previewReboot, Do: cl.rebootNode, Settle: cl.settleReboot, Keys: RebootNodeArgs.keys}).
			With(builtin.Reference{
				Example:    "done = proxmox.reboot_node(\"pve3\", stop_guests = True)\nlog(\"it runs \" + done.kernel)",
				Source:     "POST /nodes/{node}/status",
				Errors:     always(builtin.NotFound, builtin.Conflict, builtin.Busy),
				Privileges: slices.Concat(on("/nodes/{node}", "Sys.PowerMgmt", "Sys.Audit"), on("/", "Sys.Audit"), on("/vms", "VM.Audit")),
			}),
		builtin.NewIrreversible("call", callDoc,
			builtin.IrreversibleOp[CallArgs, CallDecision, CallResult]{Decide: cl.decideCall, Preview: cl.previewCall, Do: cl.call, Settle: cl.settleCall, Keys: CallArgs.keys}).
			With(builtin.Reference{
				Example: "proxmox.call(\"POST\", \"/pools\", poolid = \"spare\", comment = \"for tests\")\nproxmox.call(\"DELETE\", \"/pools\", poolid = \"spare\")",
				Source:  "every POST, PUT and DELETE of Proxmox's API; https://pve.proxmox.com/pve-docs/api-viewer/",
				Errors:  always(builtin.Invalid, builtin.NotFound, builtin.Busy, builtin.Conflict),
			}),
	}
}

const (
	tasksDoc = `List tasks, running ones too, newest first.

Without a node it asks all nodes that are online. The token needs Sys.Audit on
a node to see tasks of others.`

	waitTaskDoc = `Follow a running task to its end, and show each line of its log.

A task that ends badly is an error, with the last lines of the log; its value
is the whole task. In a plan nothing is waited for: a task that still runs ends
the plan.`

	stopTaskDoc = `Tell a running task to end, and wait until it has.

A task that had ended already is no error. What it had done by then stays done.`

	haDoc = `The state of high availability: managers, managed guests, rules.

Proxmox VE 8 has groups in place of rules; they are listed as rules of the kind
group.`

	haSetDoc = `Ask high availability for another state of a guest that it manages.

It returns once Proxmox has noted the state; the manager acts on it within some
ten seconds, and ha() shows when it has.`

	permissionsDoc = `What the token may do, by path of the access control list.

A token with privilege separation may only do what both it and its user were
given. Paths that are not listed have what the path above them passes on.`

	nextIDDoc = `The lowest guest id that is free.

Another who asks at the same time gets the same one.`

	getDoc = `Read anything that Proxmox's API can tell, as dicts, lists and plain values.

The need's glob is for the path, and a * in it stands for one part: needs(proxmox
= ["get:/nodes/*/status"]). What comes is as Proxmox sends it, numbers as text
now and then, and it is kept in the record of the run.`

	callDoc = `Call anything that Proxmox's API can do and no other function does.

It may destroy, and so is covered by its own name only: needs(proxmox =
["call:/nodes/*/network"]), where a * stands for one part of the path. For PUT
and DELETE what is at the path is read first; if that is another thing when it
comes to the call, it is a conflict. Where Proxmox begins a task, the call waits for
its end, and fails when the task does. A plan ends there, since nobody
knows what the call does. Give secrets as secret("NAME").`

	networksDoc = `The network of a node: bridges, bonds, VLANs and cards, and changes not yet applied.

Changes that are pending are shown to those with Sys.Audit on the node.`

	repositoriesDoc = `The package repositories of a node, and what is wrong with them.

The enterprise repository without a valid subscription is named as what it is:
apt-get update fails with 401 then.`

	updatesDoc = `List the packages of a node that are older than in its repositories.

The list is as old as the node's last apt-get update: refresh_updates() makes it
new. Proxmox's API does not install packages, and does not tell which others an
installation would remove: on the node, read apt-get --simulate dist-upgrade
first, and install nothing where it would remove proxmox-ve, pve-manager or the
running kernel. The warnings name what leads there: repositories that do not
fit, a major upgrade, packages half gone.`

	refreshDoc = `Have a node fetch its package lists anew: apt-get update.

It installs nothing; Proxmox's API cannot.`

	rebootDoc = `Reboot a node, and wait until it is up again and back in its cluster.

It refuses while a task or a guest runs on the node, or where the other nodes
would be too few for a quorum, unless told. That the node is back is seen by its
uptime. The node that nixmox asks may be rebooted, too.`
)
