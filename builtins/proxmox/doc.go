// Package proxmox is the module proxmox of playbooks: what is in a cluster of
// Proxmox VE, and what an administrator changes about it. Nodes, guests and
// their configuration, storages and what they hold, tasks, pools, updates, high
// availability, and the rest of the API through get and call.
//
// It is a thin client over builtins/internal/pve and must know nothing of
// backups or the languages; how retention counts, engine/retention knows. What
// lists makes a number of requests that grows with the nodes, never with the
// guests. What changes a guest waits for Proxmox's own lock on it, is found
// again by its task (change.go), and is read back.
//
// Two things of Proxmox shape it. Lists are silently cut to what the token may
// see, so a list that is empty where something was named is an error here. And
// the cluster's list of guests lags: what it does not know of a new guest is
// asked of the guest's own node.
package proxmox
