package vzdump

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"nixmox/engine/builtin"
)

// wrongOption is what is wrong with the options of a backup, "" if nothing is.
func (a BackupArgs) wrongOption() string {
	switch {
	case a.Threads != nil && *a.Threads < 0:
		return fmt.Sprintf("threads = %d: want 0 or more", *a.Threads)
	case a.Threads != nil && a.Compress != "zstd" && a.Compress != "gzip":
		return fmt.Sprintf("threads = %d: only zstd and gzip have threads, not %s", *a.Threads, a.Compress)
	case a.Workers < 0 || a.Workers > 256:
		return fmt.Sprintf("workers = %d: want 0 to 256", a.Workers)
	case a.IONice != nil && (*a.IONice < 0 || *a.IONice > 8):
		return fmt.Sprintf("ionice = %d: want 0 to 8", *a.IONice)
	case a.Bandwidth != 0 && a.Bandwidth < 1<<10:
		return fmt.Sprintf("bandwidth = %d: want 1KiB or more, in bytes a second", a.Bandwidth)
	}
	for _, path := range a.ExcludePaths {
		if path == "" || !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) {
			return fmt.Sprintf("exclude_paths: %q is no glob of a path", path)
		}
	}
	return ""
}

// options are the parameters of POST /nodes/{node}/vzdump that say how. What
// was not asked for is left out: to name ionice, bwlimit or performance at all
// takes Sys.Modify on / (vzdump's own check), and what the node's vzdump.conf
// says shall hold. Only root may set dumpdir, tmpdir, script
// and job-id, so no token of nixmox's does. prune-backups is not there either:
// vzdump prunes before anything can be verified.
func (a BackupArgs) options() map[string]any {
	compress := a.Compress
	if compress == "none" {
		compress = "0"
	}
	p := map[string]any{"storage": string(a.Storage), "mode": a.Mode, "compress": compress, "remove": 0}
	set := func(name string, is bool, value any) {
		if is {
			p[name] = value
		}
	}
	set("protected", a.Protected, 1)
	set("exclude-path", len(a.ExcludePaths) > 0, a.ExcludePaths)
	set("stdexcludes", !a.StandardExcludes, 0)
	set("fleecing", a.Fleecing != "", "enabled=1,storage="+string(a.Fleecing))
	set("pbs-change-detection-mode", a.ChangeDetection != "", a.ChangeDetection)
	if a.Threads != nil && a.Compress == "zstd" {
		p["zstd"] = *a.Threads
	} else if a.Threads != nil { // pigz's 0 is gzip with its one thread, its 1 half of the cores
		p["pigz"] = *a.Threads
		if *a.Threads < 2 {
			p["pigz"] = 1 - *a.Threads
		}
	}
	set("performance", a.Workers != 0, fmt.Sprintf("max-workers=%d", a.Workers))
	set("bwlimit", a.Bandwidth != 0, int64(a.Bandwidth)>>10)
	if a.IONice != nil {
		p["ionice"] = *a.IONice
	}
	if a.LockWait != nil {
		p["lockwait"] = minutes(*a.LockWait)
	}
	if a.StopWait != nil {
		p["stopwait"] = minutes(*a.StopWait)
	}
	set("notification-mode", a.Notifications != "auto", a.Notifications)
	return p
}

// minutes are whole ones, rounded up.
func minutes(d builtin.Duration) int64 {
	return int64((time.Duration(d) + time.Minute - 1) / time.Minute)
}
