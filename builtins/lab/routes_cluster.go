package lab

import "strings"

// haParams are what a resource can be given, new or not.
var haParams = []param{
	{name: "state", enum: []string{"started", "stopped", "enabled", "disabled", "ignored"}}, {name: "comment", maxLen: 4096}, {name: "group", format: configFormat},
	{name: "failback", kind: boolean}, {name: "max_relocate", kind: integer}, {name: "max_restart", kind: integer},
}

// clusterRoutes are the API of access, of the cluster and its pools, of nodes and their tasks.
var clusterRoutes = []route{
	{method: "GET", pattern: "/version", handle: getVersion},
	{method: "POST", pattern: "/access/ticket", handle: postTicket, world: true, params: []param{
		{name: "username", required: true, maxLen: 64}, {name: "password", required: true}, {name: "otp"}, {name: "realm", maxLen: 32},
		{name: "new-format", kind: boolean}, {name: "tfa-challenge"}, {name: "path", maxLen: 64, requires: "privs"}, {name: "privs", maxLen: 64, requires: "path"},
	}},
	{method: "GET", pattern: "/access/permissions", handle: getPermissions, params: []param{{name: "path"}, {name: "userid"}}},

	{method: "GET", pattern: "/access/users", handle: getUsers, params: []param{{name: "enabled", kind: boolean}, {name: "full", kind: boolean}}},
	{method: "POST", pattern: "/access/users", handle: postUser, params: []param{
		{name: "userid", required: true, maxLen: 64, format: userFormat}, {name: "password", maxLen: 64}, {name: "comment", maxLen: 2048}, {name: "email", maxLen: 254},
		{name: "enable", kind: boolean}, {name: "expire", kind: integer}, {name: "firstname", maxLen: 1024}, {name: "lastname", maxLen: 1024}, {name: "groups"}, {name: "keys"},
	}},
	{method: "DELETE", pattern: "/access/users/{userid}", handle: deleteUser},
	{method: "GET", pattern: "/access/users/{userid}/token", handle: getTokens},
	{method: "POST", pattern: "/access/users/{userid}/token/{tokenid}", handle: postToken, params: []param{{name: "comment"}, {name: "expire", kind: integer}, {name: "privsep", kind: boolean}}},
	{method: "PUT", pattern: "/access/users/{userid}/token/{tokenid}", handle: putToken, params: []param{
		{name: "comment"}, {name: "expire", kind: integer}, {name: "privsep", kind: boolean}, {name: "regenerate", kind: boolean}, {name: "delete"},
	}},
	{method: "DELETE", pattern: "/access/users/{userid}/token/{tokenid}", handle: deleteToken},
	{method: "GET", pattern: "/access/roles", handle: getRoles},
	{method: "POST", pattern: "/access/roles", handle: postRole, privilege: "Sys.Modify", on: "/access", params: []param{{name: "roleid", required: true}, {name: "privs"}}},
	{method: "GET", pattern: "/access/acl", handle: getACL},
	{method: "PUT", pattern: "/access/acl", handle: putACL, params: []param{
		{name: "path", required: true}, {name: "roles", required: true}, {name: "users"}, {name: "tokens"}, {name: "groups"},
		{name: "propagate", kind: boolean}, {name: "delete", kind: boolean},
	}},

	{method: "GET", pattern: "/cluster/options", handle: getOptions},
	{method: "GET", pattern: "/cluster/ha/status/current", handle: getHAStatus, privilege: "Sys.Audit", on: "/"},
	{method: "GET", pattern: "/cluster/ha/resources", handle: getHAResources, privilege: "Sys.Audit", on: "/", params: []param{{name: "type", enum: []string{"ct", "vm"}}}},
	{method: "POST", pattern: "/cluster/ha/resources", handle: postHAResource, privilege: "Sys.Console", on: "/", params: append(
		[]param{{name: "sid", required: true, format: sidFormat}, {name: "type", enum: []string{"ct", "vm"}}}, haParams...)},
	{method: "GET", pattern: "/cluster/ha/resources/{sid}", handle: getHAResource, privilege: "Sys.Audit", on: "/"},
	{method: "PUT", pattern: "/cluster/ha/resources/{sid}", handle: putHAResource, privilege: "Sys.Console", on: "/",
		params: append([]param{{name: "delete", maxLen: 4096}, {name: "digest", maxLen: 64}}, haParams...)},
	{method: "DELETE", pattern: "/cluster/ha/resources/{sid}", handle: deleteHAResource, privilege: "Sys.Console", on: "/", params: []param{{name: "purge", kind: boolean}}},
	{method: "GET", pattern: "/cluster/ha/rules", handle: getHARules, privilege: "Sys.Audit", on: "/",
		params: []param{{name: "resource"}, {name: "type", enum: []string{"node-affinity", "resource-affinity"}}}},

	{method: "GET", pattern: "/cluster/status", handle: getClusterStatus, privilege: "Sys.Audit", on: "/"},
	{method: "GET", pattern: "/cluster/resources", handle: getResources, params: []param{{name: "type", enum: []string{"vm", "storage", "node", "sdn"}}}},
	{method: "GET", pattern: "/cluster/tasks", handle: getClusterTasks},
	{method: "GET", pattern: "/cluster/backup-info/not-backed-up", handle: getNotBackedUp, privilege: "Sys.Audit", on: "/"},
	{method: "GET", pattern: "/cluster/nextid", handle: getNextID, params: []param{vmidFilter}},

	{method: "GET", pattern: "/pools", handle: getPools, params: []param{{name: "poolid", format: poolFormat}, {name: "type", enum: guestTypes, requires: "poolid"}}},
	{method: "POST", pattern: "/pools", handle: postPool, privilege: "Pool.Allocate", on: "/pool/{poolid}", params: []param{{name: "poolid", required: true, format: poolFormat}, {name: "comment"}}},
	{method: "PUT", pattern: "/pools", handle: putPool, privilege: "Pool.Allocate", on: "/pool/{poolid}", params: []param{
		{name: "poolid", required: true, format: poolFormat}, {name: "comment"}, {name: "vms", format: vmidListFormat}, {name: "storage"},
		{name: "delete", kind: boolean}, {name: "allow-move", kind: boolean},
	}},
	{method: "DELETE", pattern: "/pools", handle: deletePool, privilege: "Pool.Allocate", on: "/pool/{poolid}", params: []param{{name: "poolid", required: true, format: poolFormat}}},
	{method: "GET", pattern: "/pools/{poolid}", handle: getPool, privilege: "Pool.Audit", on: "/pool/{poolid}", params: []param{{name: "type", enum: guestTypes}}},

	{method: "GET", pattern: "/nodes", handle: getNodes},
	{method: "GET", pattern: "/nodes/{node}/version", handle: getVersion},
	{method: "GET", pattern: "/nodes/{node}/status", handle: getNodeStatus, privilege: "Sys.Audit", on: onNode},
	{method: "POST", pattern: "/nodes/{node}/status", handle: postNodeStatus, privilege: "Sys.PowerMgmt", on: onNode,
		params: []param{{name: "command", required: true, enum: []string{"reboot", "shutdown"}}}},
	{method: "GET", pattern: "/nodes/{node}/network", handle: getNetwork, params: []param{{name: "type", enum: strings.Fields(
		"bridge bond eth alias vlan fabric OVSBridge OVSBond OVSPort OVSIntPort vnet any_bridge any_local_bridge include_sdn")}}},
	{method: "GET", pattern: "/nodes/{node}/services", handle: getServices, privilege: "Sys.Audit", on: onNode},
	{method: "GET", pattern: "/nodes/{node}/subscription", handle: getSubscription},
	{method: "GET", pattern: "/nodes/{node}/certificates/info", handle: getCertificates},
	{method: "GET", pattern: "/nodes/{node}/apt/update", handle: getUpdates, privilege: "Sys.Modify", on: onNode},
	{method: "POST", pattern: "/nodes/{node}/apt/update", handle: postAptUpdate, privilege: "Sys.Modify", on: onNode,
		params: []param{{name: "notify", kind: boolean}, {name: "quiet", kind: boolean}}},
	{method: "GET", pattern: "/nodes/{node}/apt/versions", handle: getVersions, privilege: "Sys.Audit", on: onNode},
	{method: "GET", pattern: "/nodes/{node}/apt/repositories", handle: getRepositories, privilege: "Sys.Audit", on: onNode},
	{method: "POST", pattern: "/nodes/{node}/apt/repositories", handle: postRepository, privilege: "Sys.Modify", on: onNode, params: []param{
		{name: "path", required: true}, {name: "index", kind: integer, required: true}, {name: "enabled", kind: boolean}, {name: "digest", maxLen: 80},
	}},
	{method: "PUT", pattern: "/nodes/{node}/apt/repositories", handle: putRepository, privilege: "Sys.Modify", on: onNode,
		params: []param{{name: "handle", required: true}, {name: "digest", maxLen: 80}}},
	{method: "GET", pattern: "/nodes/{node}/time", handle: getNodeTime, privilege: "Sys.Audit", on: onNode},

	{method: "GET", pattern: "/nodes/{node}/tasks", handle: getTasks, params: []param{
		startAt, {name: "limit", kind: integer}, {name: "since", kind: integer}, {name: "until", kind: integer}, vmidFilter,
		{name: "typefilter"}, {name: "userfilter"}, {name: "errors", kind: boolean}, {name: "statusfilter", format: taskStatusFormat},
		{name: "source", enum: []string{"archive", "active", "all"}},
	}},
	{method: "GET", pattern: "/nodes/{node}/tasks/{upid}/status", handle: getTaskStatus},
	{method: "GET", pattern: "/nodes/{node}/tasks/{upid}/log", handle: getTaskLog, params: []param{startAt, {name: "limit", kind: integer}, {name: "download", kind: boolean}}},
	{method: "DELETE", pattern: "/nodes/{node}/tasks/{upid}", handle: deleteTask},
}
