// Package vzdump is the module of the same name: it backs guests up with
// Proxmox's vzdump, lists and verifies the archives, marks those that were
// verified, and prunes by rules.
//
// The first rule of nixmox is at home here: a backup counts when its archive
// was seen in the storage's list, and not when a task said OK. What happened
// to each guest is read from the task's log (tasklog.go), because nothing else
// tells; what is ours is read from the archive's notes (mark.go).
//
// The package speaks to Proxmox through builtins/internal/pve alone. It must
// not know HTTP, tokens, where storages are mounted, how an archive is built
// inside (the package archive does), how retention counts (engine/retention
// does), or anything of runs and journals beyond what a builtin.Call tells.
package vzdump
