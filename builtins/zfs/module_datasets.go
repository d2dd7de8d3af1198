package zfs

import "nixmox/engine/builtin"

func (c client) datasetFuncs() []builtin.Func {
	return []builtin.Func{
		builtin.NewRead("datasets", "List file systems and volumes, each before what is below it.", c.datasets).With(builtin.Reference{
			Example: "for d in zfs.datasets(under = [\"rpool/data\"], type = \"volume\"):\n    log(\"%s: %d bytes\" % (d.name, d.used))",
			Source:  "zfs-list(8)",
			Errors:  []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed},
		}),
		builtin.NewRead("dataset", "Look at one file system or volume.", c.dataset).With(builtin.Reference{
			Example: "log(\"%d bytes\" % zfs.dataset(\"rpool/data\").available)",
			Source:  "zfs-list(8)",
			Errors:  []builtin.Kind{builtin.NotFound, builtin.Unreachable, builtin.Failed},
		}),
	}
}
