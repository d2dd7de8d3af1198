package proxmox

import "nixmox/engine/builtin"

// guestFuncs are the functions for guests.
func (cl client) guestFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewRead("guests", guestsDoc, cl.guests).
			With(builtin.Reference{
				Example:    "for guest in proxmox.guests(select = [\"@prod\", \"-103\"]):\n    log(guest.name + \" on \" + guest.node)",
				Source:     "GET /cluster/resources, GET /nodes/{node}/qemu, pvesh(1)",
				Privileges: []builtin.Privilege{{Name: "VM.Audit", Path: "/vms/{guest}"}},
				Errors:     always(builtin.NotFound, builtin.Invalid),
			}),
		builtin.NewRead("config", configDoc, cl.config).
			With(builtin.Reference{
				Example:    "log(proxmox.config(100)[\"memory\"])",
				Source:     "GET /nodes/{node}/qemu/{vmid}/config, qm.conf(5), pct.conf(5)",
				Privileges: []builtin.Privilege{{Name: "VM.Audit", Path: "/vms/{guest}"}},
				Errors:     always(builtin.NotFound),
			}),
	}
}

const (
	guestsDoc = `List guests, VMs and containers, by id.

Templates are left out unless asked for. Each selector must match something; so
a mistyped one fails and never selects nothing in silence. One that starts with
'-' takes away; with nothing but those, they take away from all.`

	configDoc = `Read a guest's configuration as a dict, each value as Proxmox sends it.

Changes that wait for the guest's next start are in it.`
)
