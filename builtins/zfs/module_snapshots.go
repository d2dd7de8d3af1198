package zfs

import "nixmox/engine/builtin"

func (c client) snapshotFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewRead("snapshots", "List snapshots: by dataset, each dataset's oldest first, in the order of creation.", c.snapshots).With(builtin.Reference{
			Example: "for s in zfs.snapshots([\"rpool/data\"], recursive = True, newest = 1):\n    log(\"%s of %s\" % (s.snapshot, s.created))",
			Source:  "zfs-list(8)",
			Errors:  []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed},
		}),
	}
}
