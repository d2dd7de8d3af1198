package proxmox

import (
	"slices"

	"nixmox/engine/builtin"
)

// guestFuncs are the functions for guests.
func (cl client) guestFuncs() []builtin.Func {
	return slices.Concat(cl.guestReads(), cl.powerFuncs(), cl.guestChanges(), cl.snapshotFuncs())
}

// onGuest are privileges on the guest that a call is about.
func onGuest(names ...string) []builtin.Privilege {
	out := []builtin.Privilege{{Name: "VM.Audit", Path: "/vms/{guest}"}}
	for _, name := range names {
		out = append(out, builtin.Privilege{Name: name, Path: "/vms/{guest}"})
	}
	return out
}

func (cl client) guestReads() []builtin.Func {
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
				Example: "log(proxmox.config(100)[\"memory\"])",
				Source:  "GET /nodes/{node}/qemu/{vmid}/config, qm.conf(5), pct.conf(5)",
				Errors:  always(builtin.NotFound), Privileges: onGuest(),
			}),
		builtin.NewRead("status", "Look at a guest: whether it runs, what Proxmox is doing with it, what its HA manager wants.", cl.status).
			With(builtin.Reference{
				Example: "log(proxmox.status(100).status)",
				Source:  "GET /nodes/{node}/qemu/{vmid}/status/current, qm(1), pct(1)",
				Errors:  always(builtin.NotFound), Privileges: onGuest(),
			}),
		builtin.NewRead("wait_status", "Wait until a guest is running, paused or stopped.", cl.waitStatus).
			With(builtin.Reference{
				Example: "proxmox.wait_status(100, \"running\", timeout = \"5m\")",
				Source:  "GET /nodes/{node}/qemu/{vmid}/status/current",
				Errors:  always(builtin.NotFound, builtin.Invalid), Privileges: onGuest(),
			}),
		builtin.NewRead("snapshots", snapshotsDoc, cl.snapshots).
			With(builtin.Reference{
				Example: "for s in proxmox.snapshots(100):\n    log(\"  \" * s.depth + s.name + \", made by \" + s.owner)",
				Source:  "GET /nodes/{node}/qemu/{vmid}/snapshot",
				Errors:  always(builtin.NotFound), Privileges: onGuest(),
			}),
	}
}

func (cl client) powerFuncs() []builtin.Func {
	reference := func(example, path string) builtin.Reference {
		return builtin.Reference{
			Example: example, Source: "POST /nodes/{node}/qemu/{vmid}/status/" + path + ", qm(1), pct(1)",
			Errors: always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy), Privileges: onGuest("VM.PowerMgmt"),
		}
	}
	return []builtin.Func{
		builtin.NewChange("start", "Start a guest. One that runs already is left alone.", powerOp(cl, startPower)).
			With(reference("proxmox.start(108)", "start")),
		builtin.NewChange("shutdown", shutdownDoc, powerOp(cl, shutdownPower)).
			With(reference("proxmox.shutdown(103, timeout = \"5m\", force = True)", "shutdown")),
		builtin.NewChange("stop", "Stop a guest at once, as if its power were cut. Rather shut it down.", powerOp(cl, stopPower)).
			With(reference("proxmox.stop(103)", "stop")),
		builtin.NewChange("reboot", "Shut a guest down and start it again, with the changes of its configuration that waited for that.", powerOp(cl, rebootPower)).
			With(reference("proxmox.reboot(100)", "reboot")),
		builtin.NewChange("suspend", "Halt a VM, in memory or, to_disk, on disk.", powerOp(cl, suspendPower)).
			With(reference("proxmox.suspend(106)", "suspend")),
		builtin.NewChange("resume", "Let a suspended VM go on. One that runs is left alone.", powerOp(cl, resumePower)).
			With(reference("proxmox.suspend(110)\nproxmox.resume(110)", "resume")),
	}
}

func (cl client) guestChanges() []builtin.Func {
	return []builtin.Func{
		builtin.NewChange("set", setDoc, builtin.Op[SetArgs, SetResult]{
			Preview: cl.previewSet, Do: cl.set, Settle: cl.settleSet, Keys: func(a SetArgs) []string { return guestKey(a.Guest) },
		}).With(builtin.Reference{
			Example:    "done = proxmox.set(108, memory = 4096, onboot = True, description = None)\nlog(\"waits for the next start: %s\" % done.pending)",
			Source:     "PUT /nodes/{node}/qemu/{vmid}/config, qm.conf(5), pct.conf(5)",
			Errors:     always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy),
			Privileges: onGuest("VM.Config.Disk|VM.Config.CDROM|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.HWType|VM.Config.Options|VM.Config.Cloudinit"),
		}),
		builtin.NewChange("resize_disk", "Make a disk larger. The file system in it is the guest's own affair.", builtin.Op[ResizeArgs, ResizeResult]{
			Preview: cl.previewResize, Do: cl.resize, Settle: cl.settleResize, Keys: func(a ResizeArgs) []string { return guestKey(a.Guest) },
		}).With(builtin.Reference{
			Example: "grown = proxmox.resize_disk(108, \"scsi0\", \"+4G\")\nlog(\"%s has %s bytes\" % (grown.volid, grown.size))",
			Source:  "PUT /nodes/{node}/qemu/{vmid}/resize, qm(1), pct(1)",
			Errors:  always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy), Privileges: onGuest("VM.Config.Disk"),
		}),
		builtin.NewChange("migrate", migrateDoc, builtin.Op[MigrateArgs, MigrateResult]{
			Preview: cl.previewMigrate, Do: cl.migrate, Settle: cl.settleMigrate, Keys: func(a MigrateArgs) []string { return guestKey(a.Guest) },
		}).With(builtin.Reference{
			Example: "proxmox.migrate(108, \"pve2\", local_disks = True)",
			Source:  "POST /nodes/{node}/qemu/{vmid}/migrate, qm(1), pct(1)",
			Errors:  always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy), Privileges: onGuest("VM.Migrate"),
		}),
		builtin.NewChange("clone", cloneDoc, builtin.Op[CloneArgs, CloneResult]{
			Preview: cl.previewClone, Do: cl.clone, Settle: cl.settleClone, Keys: CloneArgs.keys,
		}).With(builtin.Reference{
			Example:    "copy = proxmox.clone(9000, name = \"web3\")\nlog(\"the copy is %s\" % copy.guest)",
			Source:     "POST /nodes/{node}/qemu/{vmid}/clone, qm(1), pct(1)",
			Errors:     always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy),
			Privileges: append(onGuest("VM.Clone"), builtin.Privilege{Name: "VM.Allocate", Path: "/vms/{new_id}"}, builtin.Privilege{Name: "Datastore.AllocateSpace", Path: "/storage/{storage}"}),
		}),
		builtin.NewIrreversible("destroy", destroyDoc, builtin.IrreversibleOp[DestroyArgs, DestroyDecision, DestroyResult]{
			Decide: cl.decideDestroy, Preview: cl.previewDestroy, Do: cl.destroy, Settle: cl.settleDestroy, Keys: func(a DestroyArgs) []string { return guestKey(a.Guest) },
		}).With(builtin.Reference{
			Example: "proxmox.stop(108)\nfor disk in proxmox.destroy(108).disks:\n    log(disk.volid)",
			Source:  "DELETE /nodes/{node}/qemu/{vmid}, qm(1), pct(1)",
			Errors:  always(builtin.NotFound, builtin.Conflict, builtin.Busy), Privileges: onGuest("VM.Allocate"),
		}),
	}
}

func (cl client) snapshotFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewChange("snapshot", snapshotDoc, builtin.Op[SnapshotArgs, SnapshotResult]{
			Preview: cl.previewSnapshot, Do: cl.snapshot, Settle: cl.settleSnapshot, Keys: func(a SnapshotArgs) []string { return guestKey(a.Guest) },
		}).With(builtin.Reference{
			Example: "proxmox.snapshot(103, \"before-upgrade\", description = \"before the upgrade\")",
			Source:  "POST /nodes/{node}/qemu/{vmid}/snapshot, qm(1), pct(1)",
			Errors:  always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy), Privileges: onGuest("VM.Snapshot"),
		}),
		builtin.NewIrreversible("rollback", rollbackDoc, builtin.IrreversibleOp[RollbackArgs, RollbackDecision, RollbackResult]{
			Decide: cl.decideRollback, Preview: cl.previewRollback, Do: cl.rollback, Settle: cl.settleRollback, Keys: func(a RollbackArgs) []string { return guestKey(a.Guest) },
		}).With(builtin.Reference{
			Example: "proxmox.rollback(100, \"before-upgrade\", start = True)",
			Source:  "POST /nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback, PVE::Storage::ZFSPoolPlugin",
			Errors:  always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy), Privileges: onGuest("VM.Snapshot|VM.Snapshot.Rollback"),
		}),
		builtin.NewIrreversible("delete_snapshot", "Delete a snapshot of a guest, whoever made it. What was made after it stays.",
			builtin.IrreversibleOp[DeleteSnapshotArgs, SnapshotIdentity, DeleteSnapshotResult]{
				Decide: cl.decideDeleteSnapshot, Preview: cl.previewDeleteSnapshot, Do: cl.deleteSnapshot, Settle: cl.settleDeleteSnapshot,
				Keys: func(a DeleteSnapshotArgs) []string { return guestKey(a.Guest) },
			}).With(builtin.Reference{
			Example: "proxmox.delete_snapshot(100, \"before-upgrade\")",
			Source:  "DELETE /nodes/{node}/qemu/{vmid}/snapshot/{snapname}, qm(1), pct(1)",
			Errors:  always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy), Privileges: onGuest("VM.Snapshot"),
		}),
		builtin.NewIrreversible("prune_snapshots", pruneSnapshotsDoc, builtin.IrreversibleOp[PruneSnapshotsArgs, PruneSnapshotsDecision, PruneSnapshotsResult]{
			Decide: cl.decidePruneSnapshots, Preview: cl.previewPruneSnapshots, Do: cl.pruneSnapshots, Settle: cl.settlePruneSnapshots, Keys: PruneSnapshotsArgs.keys,
		}).With(builtin.Reference{
			Example:    "for s in proxmox.prune_snapshots([100, 103], keep(last = 3)).removed:\n    log(\"%s of %s: %s\" % (s.name, s.guest, s.reason))",
			Source:     "DELETE /nodes/{node}/qemu/{vmid}/snapshot/{snapname}, package engine/retention",
			Errors:     always(builtin.NotFound, builtin.Conflict, builtin.Invalid, builtin.Busy),
			Privileges: []builtin.Privilege{{Name: "VM.Audit", Path: "/vms/{guests}"}, {Name: "VM.Snapshot", Path: "/vms/{guests}"}},
		}),
	}
}

const (
	guestsDoc = `List guests, VMs and containers, by id.

Templates are left out unless asked for. Each selector must match something; so
a mistyped one fails and never selects nothing in silence. One that starts with
'-' takes away; with nothing but those, they take away from all.`

	configDoc = `Read a guest's configuration as a dict, each value as Proxmox sends it.

Changes that wait for the guest's next start are in it, unless pending = False.`

	snapshotsDoc = `List a guest's snapshots as the tree that they are: each after its parent.

The present state is no entry; the snapshot that it comes from has current set.`

	shutdownDoc = `Ask a guest to shut down, and wait until it has.

It has so long as timeout says; then, with force, it is stopped.`

	setDoc = `Set entries of a guest's configuration; None takes one away.

All are set at once, or none. What somebody else changed meanwhile is a
conflict. Changes that a running guest cannot take wait for its next start and
are listed as pending. A disk that is taken away stays as an unused one.`

	migrateDoc = `Move a guest to another node.

A running VM goes on running meanwhile, a running container is restarted.`

	cloneDoc = `Copy a guest or a template.

Templates' disks are linked, others' copied, unless said otherwise.`

	destroyDoc = `Destroy a guest with its disks and snapshots. Its backups stay.

A guest that runs, and one that is protected, is refused.`

	snapshotDoc = `Take a snapshot of a guest.

Its description carries nixmox's mark, with run and playbook, so that
prune_snapshots knows it again.`

	rollbackDoc = `Roll a guest back to a snapshot: what has changed since is lost.

A running guest is stopped for it. On ZFS only the newest snapshot can be rolled
back to, whoever made it: what stands in the way is named, and nothing is done.`

	pruneSnapshotsDoc = `Delete the snapshots of guests that nixmox made and no rule keeps.

What is not whole and the newest always stay; what others made stays,
unless unmarked names it.`
)
