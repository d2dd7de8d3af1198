// Package retention decides which of a list of dated things stay, which go, and why.
//
// Every prune of nixmox asks it: backup archives, ZFS snapshots, generations of a system. It has to be one package because
// this is where tools of this kind lose data, and a mistake is better found once.
//
// The counting is Proxmox VE's own (mark.go), so that "keep-daily=7" keeps here what it keeps there. What nixmox adds only
// ever makes more stay:
//
//   - Only what is marked as made by nixmox can go. What others made is neither touched nor counted.
//   - What is protected or held never goes, and does not count either, as in Proxmox.
//   - At least a minimum stays in each group, and the newest is part of it.
//   - The newest one marked verified stays, because the ones after it may all be bad.
//   - Something whose date cannot be right stays, because its age is not known.
//   - When the clock looks wrong, nothing is decided at all (clock.go).
//
// Rules count the periods that hold something, not the days on a calendar. A machine that was off for a year, or backups that
// failed for a month, cost nothing: "keep-daily=7" keeps the last seven days on which there was a backup, however long ago.
// For the same reason the present time decides nothing here but whether the clock can be believed.
//
// The package must not know what the things are, where they lie or how they are removed. It is pure: it reads no clock, no
// files and no settings, and the same input in any order gives the same decision. It imports nothing of nixmox.
package retention
