package zfs

import "nixmox/engine/builtin"

func (c client) poolFuncs() []builtin.Func {
	reads := []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed}
	return []builtin.Func{
		builtin.NewRead("pools", "List the pools that are imported: health, size, how full.", c.pools).With(builtin.Reference{
			Example: "for p in zfs.pools():\n    if p.health != \"ONLINE\" or p.capacity > 80:\n        log(\"%s is %s and %d %% full\" % (p.name, p.health, p.capacity))",
			Source:  "zpool-list(8)",
			Errors:  reads,
		}),
		builtin.NewRead("pool_status", "Look at one pool: what is the matter with it, its last scrub, its devices and their errors, and what is damaged for good.", c.poolStatus).With(builtin.Reference{
			Example: "status = zfs.pool_status(\"rpool\")\nfor d in status.devices:\n    if d.read + d.write + d.checksum > 0:\n        log(\"%s has errors\" % d.name)",
			Source:  "zpool-status(8)",
			Errors:  append([]builtin.Kind{builtin.Invalid}, reads...),
		}),
		builtin.NewRead("pool_properties", "Read properties of a pool.", c.poolProperties).With(builtin.Reference{
			Example: "log(zfs.pool_properties(\"rpool\", [\"autotrim\"])[\"autotrim\"].value)",
			Source:  "zpool-get(8), zpoolprops(7)",
			Errors:  reads,
		}),
		builtin.NewChange("scrub", "Start, pause or stop a scrub, which reads all of a pool and repairs what it can. It returns at once; zfs.wait_scrub waits for the end.",
			builtin.Op[ScrubArgs, Scan]{Preview: c.previewScrub, Do: c.scrub, Settle: c.settleScrub, Keys: ScrubArgs.keys},
		).With(builtin.Reference{
			Example: "zfs.scrub(\"rpool\")",
			Source:  "zpool-scrub(8)",
			Errors:  append([]builtin.Kind{builtin.Busy, builtin.Conflict, builtin.Forbidden}, reads...),
		}),
		builtin.NewRead("wait_scrub", "Wait until a scrub or resilver has ended. An error if it was stopped or paused, or found what it could not repair. A plan waits for nothing and takes for granted that a planned scrub finds nothing.", c.waitScrub).With(builtin.Reference{
			Example: "zfs.scrub(\"rpool\")\nlog(\"repaired: %d bytes\" % zfs.wait_scrub(\"rpool\", timeout = \"12h\").repaired)",
			Source:  "zpool-status(8)",
			Errors:  append([]builtin.Kind{builtin.Conflict, builtin.Timeout}, reads...),
		}),
	}
}
