package lab

// guestRoutes are the API of guests, VMs and containers.
var guestRoutes = []route{
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
