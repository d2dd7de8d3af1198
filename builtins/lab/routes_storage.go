package lab

import "strings"

// storageRoutes are the API of storages, their content and its backups.
var storageRoutes = []route{
	{method: "GET", pattern: "/storage", handle: getStorageConfigs, params: []param{{name: "type", enum: strings.Fields("btrfs cephfs cifs dir esxi iscsi iscsidirect lvm lvmthin nfs pbs rbd zfs zfspool")}}},
	{method: "GET", pattern: "/storage/{storage}", handle: getStorageConfig, privilege: "Datastore.Allocate", on: onStore},

	{method: "GET", pattern: "/nodes/{node}/storage", handle: getNodeStorages, params: []param{
		{name: "content", format: contentFormat}, {name: "enabled", kind: boolean}, {name: "format", kind: boolean},
		{name: "storage", format: storageFormat}, {name: "target", format: nodeFormat},
	}},
	{method: "GET", pattern: "/nodes/{node}/storage/{storage}/status", handle: getNodeStorage, privilege: storeAudit, on: onStore},
	{method: "GET", pattern: "/nodes/{node}/storage/{storage}/content", handle: getContent, privilege: storeAudit, on: onStore,
		params: []param{{name: "content", format: contentFormat}, vmidFilter}},
	{method: "GET", pattern: "/nodes/{node}/storage/{storage}/content/{volume...}", handle: getVolume},
	{method: "PUT", pattern: "/nodes/{node}/storage/{storage}/content/{volume...}", handle: putVolume,
		params: []param{{name: "notes"}, {name: "protected", kind: boolean}}},
	{method: "DELETE", pattern: "/nodes/{node}/storage/{storage}/content/{volume...}", handle: deleteVolume,
		params: []param{{name: "delay", kind: integer, min: 1, max: 30}}},
	{method: "GET", pattern: "/nodes/{node}/storage/{storage}/prunebackups", handle: previewPrune, privilege: storeAudit, on: onStore, params: pruneParams},
	{method: "DELETE", pattern: "/nodes/{node}/storage/{storage}/prunebackups", handle: deletePrune, params: pruneParams},

	{method: "POST", pattern: "/nodes/{node}/vzdump", handle: postVzdump, params: vzdumpParams},
	{method: "GET", pattern: "/nodes/{node}/vzdump/defaults", handle: getVzdumpDefaults, params: []param{{name: "storage", format: storageFormat}}},
	{method: "GET", pattern: "/nodes/{node}/vzdump/extractconfig", handle: getExtractConfig, params: []param{{name: "volume", required: true}}},
}
