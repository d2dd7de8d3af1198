// Package owner tells by the name of a snapshot which tool took it. It must not
// know what the snapshot is of.
package owner

import "strings"

// tools are those that name their snapshots in a way of their own.
var tools = []struct{ prefix, owner string }{
	{"vzdump", "vzdump"}, {"__replicate_", "replication"}, {"__migration__", "migration"}, {"__", "Proxmox"}, {"autosnap_", "sanoid"},
	{"syncoid_", "syncoid"}, {"zfs-auto-snap", "zfs-auto-snapshot"}, {"zrepl_", "zrepl"}, {"pyznap_", "pyznap"},
}

// Of is nixmox for what is ours, a tool's name, or "" where no name tells.
func Of(name string, ours bool) string {
	if ours {
		return "nixmox"
	}
	for _, t := range tools {
		if strings.HasPrefix(name, t.prefix) {
			return t.owner
		}
	}
	return ""
}
