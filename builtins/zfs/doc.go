// Package zfs is the module zfs: the pools, datasets and snapshots of a
// machine with OpenZFS 2.1 or later, by its commands zfs and zpool.
//
// It knows the grammar of OpenZFS's names, what its commands print and how
// they fail. It must not know Proxmox, the engine or the languages; of guests
// it knows only how Proxmox names their volumes, because a snapshot of one
// keeps Proxmox from rolling that guest back. How retention counts,
// engine/retention knows; how programs are started, builtins/internal/run.
package zfs
