package lab

import (
	"slices"
	"strconv"
	"strings"
)

const (
	qemuGuest = "/nodes/{node}/qemu/{vmid}"
	lxcGuest  = "/nodes/{node}/lxc/{vmid}"

	qemuConfigPrivileges = "VM.Config.Disk|VM.Config.CDROM|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.HWType|VM.Config.Options|VM.Config.Cloudinit"
	lxcConfigPrivileges  = "VM.Config.Disk|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.Options"
)

var (
	snapname     = param{name: "snapname", required: true, format: configFormat, maxLen: 40}
	sourceSnap   = param{name: "snapname", format: configFormat, maxLen: 40}
	description  = param{name: "description"}
	newID        = param{name: "newid", kind: integer, required: true, min: 100, max: 999999999}
	toNode       = param{name: "target", required: true, format: nodeFormat}
	maybeNode    = param{name: "target", format: nodeFormat}
	maybePool    = param{name: "pool", format: poolFormat}
	maybeStorage = param{name: "storage", format: storageFormat}
	fullClone    = param{name: "full", kind: boolean}
	online       = param{name: "online", kind: boolean}
	force        = param{name: "force", kind: boolean}
	feature      = []param{{name: "feature", required: true, enum: []string{"snapshot", "clone", "copy"}}, sourceSnap}
	newSize      = param{name: "size", required: true, format: sizeFormat}
	destroyAll   = []param{{name: "destroy-unreferenced-disks", kind: boolean}, {name: "purge", kind: boolean}}
)

// numberedNames are the names of a kind of disk: scsi0 to scsi30.
func numberedNames(base string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = base + strconv.Itoa(i)
	}
	return out
}

var (
	qemuDisks = slices.Concat(numberedNames("ide", 4), numberedNames("scsi", 31), numberedNames("virtio", 16), numberedNames("sata", 6), []string{"efidisk0", "tpmstate0"})
	lxcDisks  = append([]string{"rootfs"}, numberedNames("mp", 256)...)
)

func resizeJob(c *call) guestJob {
	return guestJob{Disk: c.params.str("disk"), Size: c.params.str("size"), Digest: c.params.str("digest")}
}

func snapshotJob(c *call) guestJob {
	return guestJob{Snapshot: c.v("snapname"), Force: c.params.bool("force", false), Start: c.params.bool("start", false)}
}

// guestChangeRoutes are the API of what changes guests, but for starting and stopping them.
var guestChangeRoutes = slices.Concat(
	[]route{
		{method: "POST", pattern: qemuGuest + "/status/suspend", handle: pausing("qemu", "qmpause"), privilege: "VM.PowerMgmt", on: onVM,
			params: []param{skiplock, {name: "statestorage", format: storageFormat, requires: "todisk"}, {name: "todisk", kind: boolean}}},
		{method: "POST", pattern: qemuGuest + "/status/resume", handle: pausing("qemu", "qmresume"), privilege: "VM.PowerMgmt", on: onVM,
			params: []param{skiplock, {name: "nocheck", kind: boolean}}},

		{method: "PUT", pattern: qemuGuest + "/config", handle: putConfig("qemu"), privilege: qemuConfigPrivileges, on: onVM, config: true, params: qemuOptions.params()},
		{method: "PUT", pattern: lxcGuest + "/config", handle: putConfig("lxc"), privilege: lxcConfigPrivileges, on: onVM, config: true, params: lxcOptions.params()},

		{method: "GET", pattern: qemuGuest + "/migrate", handle: getMigrate, privilege: "VM.Migrate", on: onVM, params: []param{maybeNode}},
		{method: "POST", pattern: qemuGuest + "/migrate", handle: postMigrate("qemu", "qmigrate"), privilege: "VM.Migrate", on: onVM, params: []param{
			toNode, online, force, {name: "bwlimit", kind: integer}, {name: "migration_network"}, {name: "migration_type", enum: []string{"secure", "insecure"}},
			{name: "targetstorage"}, {name: "with-conntrack-state", kind: boolean}, {name: "with-local-disks", kind: boolean},
		}},
		{method: "POST", pattern: lxcGuest + "/migrate", handle: postMigrate("lxc", "vzmigrate"), privilege: "VM.Migrate", on: onVM, params: []param{
			toNode, online, {name: "bwlimit", kind: number}, {name: "restart", kind: boolean}, {name: "target-storage"}, timeout,
		}},
		{method: "POST", pattern: qemuGuest + "/clone", handle: postClone("qemu"), params: []param{
			newID, {name: "bwlimit", kind: integer}, description, {name: "format", enum: []string{"raw", "qcow2", "vmdk"}}, fullClone, {name: "name"},
			maybePool, sourceSnap, maybeStorage, maybeNode,
		}},
		{method: "POST", pattern: lxcGuest + "/clone", handle: postClone("lxc"), params: []param{
			newID, {name: "bwlimit", kind: number}, description, fullClone, {name: "hostname"}, maybePool, sourceSnap, maybeStorage, maybeNode,
		}},
		{method: "PUT", pattern: qemuGuest + "/resize", handle: forkJob("qemu", "resize", resizeJob), privilege: "VM.Config.Disk", on: onVM,
			params: []param{configDigest, {name: "disk", required: true, enum: qemuDisks}, newSize, skiplock}},
		{method: "PUT", pattern: lxcGuest + "/resize", handle: forkJob("lxc", "resize", resizeJob), privilege: "VM.Config.Disk", on: onVM,
			params: []param{configDigest, {name: "disk", required: true, enum: lxcDisks}, newSize}},
		{method: "DELETE", pattern: qemuGuest, handle: deleteGuest("qemu", "qmdestroy"), privilege: "VM.Allocate", on: onVM, params: append([]param{skiplock}, destroyAll...)},
		{method: "DELETE", pattern: lxcGuest, handle: deleteGuest("lxc", "vzdestroy"), privilege: "VM.Allocate", on: onVM, params: append([]param{force}, destroyAll...)},
	},
	forBoth("qemu", "qm"), forBoth("lxc", "vz"),
)

// forBoth are the methods that VMs and containers have alike.
func forBoth(typ, task string) []route {
	guest := strings.Replace(qemuGuest, "qemu", typ, 1)
	create := []param{snapname, description}
	if typ == "qemu" {
		create = append(create, param{name: "vmstate", kind: boolean})
	}
	return []route{
		{method: "GET", pattern: guest + "/pending", handle: getPending(typ), privilege: "VM.Audit", on: onVM},
		{method: "GET", pattern: guest + "/feature", handle: getFeature(typ), privilege: "VM.Audit", on: onVM, params: feature},
		{method: "POST", pattern: guest + "/status/reboot", handle: pausing(typ, task+"reboot"), privilege: "VM.PowerMgmt", on: onVM, params: []param{timeout}},
		{method: "POST", pattern: guest + "/snapshot", handle: postSnapshot(typ, task+"snapshot"), privilege: "VM.Snapshot", on: onVM, params: create},
		{method: "POST", pattern: guest + "/snapshot/{snapname}/rollback", handle: forkJob(typ, task+"rollback", snapshotJob),
			privilege: "VM.Snapshot|VM.Snapshot.Rollback", on: onVM, params: []param{{name: "start", kind: boolean}}},
		{method: "DELETE", pattern: guest + "/snapshot/{snapname}", handle: forkJob(typ, task+"delsnapshot", snapshotJob),
			privilege: "VM.Snapshot", on: onVM, params: []param{force}},
	}
}
