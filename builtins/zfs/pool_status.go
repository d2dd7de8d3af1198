package zfs

import (
	"context"
	"time"

	"nixmox/engine/builtin"
)

// PoolStatus is what zpool status says of a pool.
type PoolStatus struct {
	Pool       Pool     `name:"pool" doc:"its name"`
	State      string   `name:"state" doc:"ONLINE, DEGRADED, FAULTED, SUSPENDED, UNAVAIL …"`
	Status     string   `name:"status" doc:"what is the matter, in ZFS's own words; empty if nothing is"`
	Action     string   `name:"action" doc:"what to do about it, in ZFS's own words"`
	See        string   `name:"see" doc:"where more stands about it"`
	Scan       Scan     `name:"scan" doc:"the last scrub or resilver"`
	Rebuilds   []Scan   `name:"rebuilds" doc:"sequential resilvers, which are of one device each"`
	Removal    string   `name:"removal" volatile:"true" doc:"of a device that is removed, or was, in ZFS's own words; empty for none"`
	Checkpoint string   `name:"checkpoint" volatile:"true" doc:"the pool's checkpoint, in ZFS's own words; empty for none"`
	Expansion  string   `name:"expansion" volatile:"true" doc:"of a raidz that is widened, or was, in ZFS's own words; empty for none"`
	Devices    []Device `name:"devices" doc:"the pool itself and, each below what it is part of, its devices"`
	Errors     string   `name:"errors" doc:"about data, in ZFS's own words: No known data errors; empty where it does not say"`
	Damaged    []string `name:"damaged" doc:"what is damaged for good: files, DATASET:<OBJECT> where a file has no name any more, <metadata>"`
}

// Scan is a scrub or a resilver.
type Scan struct {
	Kind     string           `name:"kind" doc:"scrub, resilver, error scrub; empty if there was none"`
	State    string           `name:"state" doc:"none, scanning, paused, finished, canceled; unknown where text has words that nixmox does not know"`
	Device   string           `name:"device" doc:"of a sequential resilver: what is rebuilt"`
	Began    time.Time        `name:"began" volatile:"true" doc:"when, UTC; not known of one that was canceled"`
	Ended    time.Time        `name:"ended" volatile:"true" doc:"when it ended or was paused, UTC"`
	Errors   int64            `name:"errors" doc:"how many could not be repaired, once it has ended"`
	Repaired int64            `name:"repaired" volatile:"true" doc:"bytes, rounded as ZFS shows them"`
	Percent  float64          `name:"percent" volatile:"true" doc:"how much of it is done"`
	Left     builtin.Duration `name:"left" volatile:"true" doc:"how long it still takes, as ZFS reckons; 0 if it cannot tell"`
	Text     string           `name:"text" volatile:"true" doc:"in ZFS's own words"`

	planned bool
}

// Device is a line of a pool's configuration.
type Device struct {
	Name     string `name:"name" doc:"its path, or mirror-0, raidz1-0 …; the pool's name for the first"`
	Depth    int64  `name:"depth" doc:"0 for the pool, 1 for what it is made of …"`
	Role     string `name:"role" doc:"data, special, dedup, logs, cache or spares"`
	State    string `name:"state" doc:"ONLINE, DEGRADED, FAULTED, OFFLINE, UNAVAIL, REMOVED; AVAIL or INUSE for a spare"`
	Read     int64  `name:"read" volatile:"true" doc:"errors of reading"`
	Write    int64  `name:"write" volatile:"true" doc:"errors of writing"`
	Checksum int64  `name:"checksum" volatile:"true" doc:"errors of checksums"`
	Note     string `name:"note" volatile:"true" doc:"what else ZFS says of it: too many errors, (resilvering), was /dev/…"`
}

// PoolArgs names one pool.
type PoolArgs struct {
	Pool Pool `name:"pool" scope:"pool" doc:"its name"`
}

func (c client) poolStatus(ctx context.Context, a PoolArgs) (PoolStatus, error) {
	what := "looking at the pool " + string(a.Pool)
	out, err := c.output(ctx, what, "zpool", "status", "-pPv", string(a.Pool))
	if err != nil {
		return PoolStatus{}, err
	}
	s, err := parseStatus(string(out))
	if err != nil {
		return s, builtin.Faultf(builtin.Invalid, "%s", what).Because(err).Hinting("nixmox follows OpenZFS 2.1 to 2.3; zfs version says which this is")
	}
	return plannedScan(ctx, s), nil
}
