package lab

import "strings"

// route is one method of the API.
type route struct {
	method  string
	pattern string // {name} is one part of the path, {name...} all the rest
	handle  func(*call) (any, error)
	params  []param
	// The privilege that the method needs, as its schema's permissions say, or
	// several with | of which one is enough, and the path it is needed on.
	// Methods without check for themselves what concerns whom.
	privilege, on string
	world         bool // needs no ticket
}

const (
	storeAudit = "Datastore.Audit|Datastore.AllocateSpace"
	onVM       = "/vms/{vmid}"
	onStore    = "/storage/{storage}"
	onNode     = "/nodes/{node}"
)

var (
	vmidFilter  = param{name: "vmid", kind: integer, min: 100, max: 999999999}
	snapFilter  = []param{{name: "current", kind: boolean}, {name: "snapshot", format: configFormat, maxLen: 40}}
	startAt     = param{name: "start", kind: integer}
	skiplock    = param{name: "skiplock", kind: boolean}
	keepActive  = param{name: "keepActive", kind: boolean}
	forceStop   = param{name: "forceStop", kind: boolean}
	timeout     = param{name: "timeout", kind: integer}
	overrule    = param{name: "overrule-shutdown", kind: boolean}
	migrated    = param{name: "migratedfrom", format: nodeFormat}
	pruneParams = []param{{name: "prune-backups", format: pruneFormat}, {name: "type", enum: []string{"qemu", "lxc"}}, vmidFilter}
	guestTypes  = []string{"qemu", "lxc", "storage"}
)

// routes is the API as far as the lab has it.
var routes = []route{
	{method: "GET", pattern: "/version", handle: getVersion},
	{method: "POST", pattern: "/access/ticket", handle: postTicket, world: true, params: []param{
		{name: "username", required: true, maxLen: 64}, {name: "password", required: true}, {name: "otp"}, {name: "realm", maxLen: 32},
		{name: "new-format", kind: boolean}, {name: "tfa-challenge"}, {name: "path", maxLen: 64, requires: "privs"}, {name: "privs", maxLen: 64, requires: "path"},
	}},
	{method: "GET", pattern: "/access/permissions", handle: getPermissions, params: []param{{name: "path"}, {name: "userid"}}},

	{method: "GET", pattern: "/cluster/status", handle: getClusterStatus, privilege: "Sys.Audit", on: "/"},
	{method: "GET", pattern: "/cluster/resources", handle: getResources, params: []param{{name: "type", enum: []string{"vm", "storage", "node", "sdn"}}}},
	{method: "GET", pattern: "/cluster/tasks", handle: getClusterTasks},
	{method: "GET", pattern: "/cluster/nextid", handle: getNextID, params: []param{vmidFilter}},

	{method: "GET", pattern: "/pools", handle: getPools, params: []param{{name: "poolid", format: poolFormat}, {name: "type", enum: guestTypes, requires: "poolid"}}},
	{method: "GET", pattern: "/pools/{poolid}", handle: getPool, privilege: "Pool.Audit", on: "/pool/{poolid}", params: []param{{name: "type", enum: guestTypes}}},
	{method: "GET", pattern: "/storage", handle: getStorageConfigs, params: []param{{name: "type", enum: strings.Fields("btrfs cephfs cifs dir esxi iscsi iscsidirect lvm lvmthin nfs pbs rbd zfs zfspool")}}},
	{method: "GET", pattern: "/storage/{storage}", handle: getStorageConfig, privilege: "Datastore.Allocate", on: onStore},

	{method: "GET", pattern: "/nodes", handle: getNodes},
	{method: "GET", pattern: "/nodes/{node}/status", handle: getNodeStatus, privilege: "Sys.Audit", on: onNode},
	{method: "GET", pattern: "/nodes/{node}/time", handle: getNodeTime, privilege: "Sys.Audit", on: onNode},

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

	{method: "GET", pattern: "/nodes/{node}/tasks", handle: getTasks, params: []param{
		startAt, {name: "limit", kind: integer}, {name: "since", kind: integer}, {name: "until", kind: integer}, vmidFilter,
		{name: "typefilter"}, {name: "userfilter"}, {name: "errors", kind: boolean}, {name: "statusfilter", format: taskStatusFormat},
		{name: "source", enum: []string{"archive", "active", "all"}},
	}},
	{method: "GET", pattern: "/nodes/{node}/tasks/{upid}/status", handle: getTaskStatus},
	{method: "GET", pattern: "/nodes/{node}/tasks/{upid}/log", handle: getTaskLog, params: []param{startAt, {name: "limit", kind: integer}, {name: "download", kind: boolean}}},
	{method: "DELETE", pattern: "/nodes/{node}/tasks/{upid}", handle: deleteTask},

	{method: "POST", pattern: "/nodes/{node}/vzdump", handle: postVzdump, params: vzdumpParams},
	{method: "GET", pattern: "/nodes/{node}/vzdump/defaults", handle: getVzdumpDefaults, params: []param{{name: "storage", format: storageFormat}}},
	{method: "GET", pattern: "/nodes/{node}/vzdump/extractconfig", handle: getExtractConfig, params: []param{{name: "volume", required: true}}},

	{method: "GET", pattern: "/nodes/{node}/qemu", handle: getQemu, params: []param{{name: "full", kind: boolean}}},
	{method: "GET", pattern: "/nodes/{node}/qemu/{vmid}/status/current", handle: getQemuStatus, privilege: "VM.Audit", on: onVM},
	{method: "GET", pattern: "/nodes/{node}/qemu/{vmid}/config", handle: getQemuConfig, privilege: "VM.Audit", on: onVM, params: snapFilter},
	{method: "GET", pattern: "/nodes/{node}/qemu/{vmid}/snapshot", handle: getQemuSnapshots, privilege: "VM.Audit", on: onVM},
	{method: "POST", pattern: "/nodes/{node}/qemu/{vmid}/status/start", handle: startQemu, privilege: "VM.PowerMgmt", on: onVM, params: []param{
		skiplock, timeout, migrated, {name: "force-cpu"}, {name: "machine"}, {name: "migration_network"}, {name: "migration_type", enum: []string{"secure", "insecure"}},
		{name: "nets-host-mtu"}, {name: "stateuri", maxLen: 128}, {name: "targetstorage"}, {name: "with-conntrack-state", kind: boolean},
	}},
	{method: "POST", pattern: "/nodes/{node}/qemu/{vmid}/status/stop", handle: stopQemu, privilege: "VM.PowerMgmt", on: onVM,
		params: []param{skiplock, timeout, keepActive, overrule, migrated}},
	{method: "POST", pattern: "/nodes/{node}/qemu/{vmid}/status/shutdown", handle: shutdownQemu, privilege: "VM.PowerMgmt", on: onVM,
		params: []param{skiplock, timeout, keepActive, forceStop}},

	{method: "GET", pattern: "/nodes/{node}/lxc", handle: getLxc},
	{method: "GET", pattern: "/nodes/{node}/lxc/{vmid}/status/current", handle: getLxcStatus, privilege: "VM.Audit", on: onVM},
	{method: "GET", pattern: "/nodes/{node}/lxc/{vmid}/config", handle: getLxcConfig, privilege: "VM.Audit", on: onVM, params: snapFilter},
	{method: "GET", pattern: "/nodes/{node}/lxc/{vmid}/snapshot", handle: getLxcSnapshots, privilege: "VM.Audit", on: onVM},
	{method: "POST", pattern: "/nodes/{node}/lxc/{vmid}/status/start", handle: startLxc, privilege: "VM.PowerMgmt", on: onVM,
		params: []param{skiplock, {name: "debug", kind: boolean}}},
	{method: "POST", pattern: "/nodes/{node}/lxc/{vmid}/status/stop", handle: stopLxc, privilege: "VM.PowerMgmt", on: onVM, params: []param{skiplock, overrule}},
	{method: "POST", pattern: "/nodes/{node}/lxc/{vmid}/status/shutdown", handle: shutdownLxc, privilege: "VM.PowerMgmt", on: onVM, params: []param{timeout, forceStop}},
}

// findRoute finds the method for a path, and what the path's variables are.
func findRoute(method, path string) (*route, map[string]string) {
	for i := range routes {
		if r := &routes[i]; r.method == method {
			if vars, ok := matchPath(r.pattern, path); ok {
				return r, vars
			}
		}
	}
	return nil, nil
}

func matchPath(pattern, path string) (map[string]string, bool) {
	want := strings.Split(strings.Trim(pattern, "/"), "/")
	got := strings.Split(strings.Trim(path, "/"), "/")
	vars := map[string]string{}
	for i, w := range want {
		if i >= len(got) || got[i] == "" {
			return nil, false
		}
		name, isVar := strings.CutPrefix(w, "{")
		name, isRest := strings.CutSuffix(name, "...}")
		switch {
		case isVar && isRest:
			vars[name] = strings.Join(got[i:], "/")
			return vars, true
		case isVar:
			vars[strings.TrimSuffix(name, "}")] = got[i]
		case w != got[i]:
			return nil, false
		}
	}
	return vars, len(want) == len(got)
}
