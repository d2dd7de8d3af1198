package lab

// clusterCases are the requests about access, the cluster and its nodes, in an
// order in which each finds what it needs.
var clusterCases = []conformCase{
	{method: "GET", path: "/access/users", label: "/access/users"},
	{method: "POST", path: "/access/users", params: []string{"userid", "bk@pve", "password", "secret12"}, label: "/access/users", root: true},
	{method: "POST", path: "/access/users/bk@pve/token/job", label: "/access/users/bk@pve/token/job", root: true},
	{method: "GET", path: "/access/users/bk@pve/token", root: true},
	{method: "PUT", path: "/access/acl", params: []string{"path", "/vms/101", "roles", "PVEVMAdmin", "tokens", "bk@pve!job"}, label: "/access/acl", root: true},
	{method: "GET", path: "/access/acl", root: true},
	{method: "PUT", path: "/access/users/bk@pve/token/job", params: []string{"expire", "1"}, label: "/access/users/bk@pve/token/job", root: true},
	{method: "DELETE", path: "/access/users/bk@pve/token/job", root: true},
	{method: "DELETE", path: "/access/users/bk@pve", label: "/access/users/bk@pve", root: true},
	{method: "GET", path: "/access/roles"},
	{method: "POST", path: "/access/roles", params: []string{"roleid", "Reader", "privs", "VM.Audit,Sys.Audit"}, root: true},

	{method: "GET", path: "/cluster/options", label: "/cluster/options"},
	{method: "GET", path: "/cluster/ha/status/current", label: "/cluster/ha/status/current"},
	{method: "GET", path: "/cluster/ha/resources"},
	{method: "GET", path: "/cluster/ha/resources", params: []string{"type", "ct"}},
	{method: "POST", path: "/cluster/ha/resources", params: []string{"sid", "ct:101", "state", "started", "max_restart", "2"}},
	{method: "PUT", path: "/cluster/ha/resources/ct:101", params: []string{"state", "stopped", "comment", "x"}},
	{method: "GET", path: "/cluster/ha/resources/ct:101"},
	{method: "DELETE", path: "/cluster/ha/resources/ct:101"},
	{method: "GET", path: "/cluster/ha/rules"},

	{method: "POST", path: "/pools", params: []string{"poolid", "spare", "comment", "x"}},
	{method: "PUT", path: "/pools", params: []string{"poolid", "spare", "vms", "103,105", "allow-move", "1", "storage", "media"}},
	{method: "GET", path: "/pools", params: []string{"poolid", "spare", "type", "lxc"}},
	{method: "PUT", path: "/pools", params: []string{"poolid", "spare", "vms", "103,105", "delete", "1", "storage", "media"}},
	{method: "DELETE", path: "/pools", params: []string{"poolid", "spare"}},

	{method: "GET", path: "/nodes/pve1/network"},
	{method: "GET", path: "/nodes/pve3/network", params: []string{"type", "any_bridge"}},
	{method: "GET", path: "/nodes/pve1/services"},
	{method: "GET", path: "/nodes/pve1/subscription"}, // recorded as a fault of its own
	{method: "GET", path: "/nodes/pve1/certificates/info"},
	{method: "GET", path: "/nodes/pve1/apt/update"}, // recorded as empty
	{method: "GET", path: "/nodes/pve1/apt/versions", label: "/nodes/pve1/apt/versions"},
	{method: "GET", path: "/nodes/pve1/apt/repositories"},
	{method: "POST", path: "/nodes/pve1/apt/repositories", params: []string{"path", debianFile, "index", "1", "enabled", "0"}},
	{method: "PUT", path: "/nodes/pve1/apt/repositories", params: []string{"handle", "no-subscription"}},
	{method: "POST", path: "/nodes/pve1/apt/update", label: "/nodes/pve1/apt/update"},
	{method: "POST", path: "/nodes/pve2/status", params: []string{"command", "reboot"}},
}

// clusterExceptions are added to exceptions: fields that the recording has and
// the lab has not, or the other way round.
var clusterExceptions = map[string]string{
	"hastate": "the recorded guests are not managed", "realm-type": "as recorded", "timestamp": "the recorded node had no manager",
	"sid": "the recorded node had no resources", "crm_state": "as before", "request_state": "as before", "state": "as before",
	"max_restart": "as before", "max_relocate": "as before", "ManagerVersion": "the recorded list ends before it", "RunningKernel": "as before",
}
