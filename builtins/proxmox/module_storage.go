package proxmox

import "nixmox/engine/builtin"

// storageFuncs are the functions for storages and what is in them.
func (cl client) storageFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewRead("storages", storagesDoc, cl.storages).
			With(builtin.Reference{
				Example: "for storage in proxmox.storages():\n    if not storage.active:\n        log(storage.name + \" is down on \" + storage.node)",
				Source:  "GET /storage, GET /nodes/{node}/storage, pvesm(1)",
				Errors:  always(builtin.NotFound),

				Privileges: on("/storage", "Datastore.Audit|Datastore.AllocateSpace"),
			}),
		builtin.NewRead("content", contentDoc, cl.content).
			With(builtin.Reference{
				Example: "for volume in proxmox.content(\"backup\", kind = \"backup\"):\n    log(volume.volid)",
				Source:  "GET /nodes/{node}/storage/{storage}/content, pvesm(1)",
				Errors:  always(builtin.NotFound, builtin.Invalid),

				Privileges: on("/storage/{storage}", "Datastore.Audit|Datastore.AllocateSpace"),
			}),
	}
}

const (
	storagesDoc = `List storages, one entry for each node that may use them, by name and node.

On a node that does not answer a storage counts as not active.`

	contentDoc = `List what is in a storage, by volume id.

A storage that the nodes do not share needs the node's name, unless one node
only has it. Backups show up if the token has VM.Backup on their guest.`
)
