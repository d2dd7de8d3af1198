package lab

// clusterRoutes are the API of access, of the cluster and its pools, of nodes and their tasks.
var clusterRoutes = []route{
	{method: "GET", pattern: "/version", handle: getVersion},
	{method: "POST", pattern: "/access/ticket", handle: postTicket, world: true, params: []param{
		{name: "username", required: true, maxLen: 64}, {name: "password", required: true}, {name: "otp"}, {name: "realm", maxLen: 32},
		{name: "new-format", kind: boolean}, {name: "tfa-challenge"}, {name: "path", maxLen: 64, requires: "privs"}, {name: "privs", maxLen: 64, requires: "path"},
	}},
	{method: "GET", pattern: "/access/permissions", handle: getPermissions, params: []param{{name: "path"}, {name: "userid"}}},

	{method: "GET", pattern: "/cluster/status", handle: getClusterStatus, privilege: "Sys.Audit", on: "/"},
	{method: "GET", pattern: "/cluster/resources", handle: getResources, params: []param{{name: "type", enum: []string{"vm", "storage", "node", "sdn"}}}},
	{method: "GET", pattern: "/cluster/tasks", handle: getClusterTasks},
	{method: "GET", pattern: "/cluster/backup-info/not-backed-up", handle: getNotBackedUp, privilege: "Sys.Audit", on: "/"},
	{method: "GET", pattern: "/cluster/nextid", handle: getNextID, params: []param{vmidFilter}},

	{method: "GET", pattern: "/pools", handle: getPools, params: []param{{name: "poolid", format: poolFormat}, {name: "type", enum: guestTypes, requires: "poolid"}}},
	{method: "GET", pattern: "/pools/{poolid}", handle: getPool, privilege: "Pool.Audit", on: "/pool/{poolid}", params: []param{{name: "type", enum: guestTypes}}},

	{method: "GET", pattern: "/nodes", handle: getNodes},
	{method: "GET", pattern: "/nodes/{node}/version", handle: getVersion},
	{method: "GET", pattern: "/nodes/{node}/status", handle: getNodeStatus, privilege: "Sys.Audit", on: onNode},
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
