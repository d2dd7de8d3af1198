package zfs

import (
	"context"
	"fmt"
	"time"

	"nixmox/engine/builtin"
)

// ScrubArgs are the arguments of scrub.
type ScrubArgs struct {
	Pool   Pool   `name:"pool" scope:"pool" doc:"its name"`
	Action string `name:"action" default:"start" enum:"start,pause,stop" doc:"start one, or go on with one that is paused; pause it; stop it"`
}

func (a ScrubArgs) what() string {
	return map[string]string{"start": "starting", "pause": "pausing", "stop": "stopping"}[a.Action] + " a scrub of " + string(a.Pool)
}

func (a ScrubArgs) keys() []string { return []string{"pool:" + string(a.Pool)} }

// scrubbing reports whether a scrub is under way, or paused.
func (s Scan) scrubbing() bool {
	return s.Kind == "scrub" && (s.State == "scanning" || s.State == "paused")
}

// checkScrub looks whether the action can be, as zpool scrub would.
func (c client) checkScrub(ctx context.Context, a ScrubArgs) (PoolStatus, error) {
	now, err := c.poolStatus(ctx, PoolArgs{Pool: a.Pool})
	if err != nil {
		return now, err
	}
	pools, err := c.pools(ctx, PoolsArgs{Names: []Pool{a.Pool}})
	if err != nil {
		return now, err
	}
	f := builtin.Faultf(builtin.Conflict, "%s", a.what()).Hinting("zfs.pool_status(%q).scan", a.Pool)
	if len(pools) != 1 || pools[0].ReadOnly {
		// zpool scrub would hang there, and no signal ends it (seen on 2.3.9).
		return now, f.Saying("it was imported read-only").Hinting("import it anew: zpool export, zpool import")
	}
	switch s := now.Scan; {
	case a.Action == "start" && s.Kind == "resilver" && s.State == "scanning":
		f.Kind = builtin.Busy
		return now, f.Saying("it is being resilvered")
	case a.Action == "start" && s.scrubbing() && s.State == "scanning":
		f.Kind = builtin.Busy
		return now, f.Saying("it is being scrubbed already")
	case a.Action == "pause" && s.scrubbing() && s.State == "paused":
		return now, f.Saying("it is paused already")
	case a.Action != "start" && !s.scrubbing():
		return now, f.Saying("there is no scrub under way")
	}
	return now, nil
}

// scrubState is which scan it is and how it stands: a handle.
func scrubState(s Scan) string {
	if s.scrubbing() {
		return s.Kind + " " + s.State + " " + s.Began.Format(time.RFC3339)
	}
	return s.Kind + " " + s.State + " " + s.Ended.Format(time.RFC3339)
}

// asAsked reports whether a scan is as the action leaves it. One that was begun
// may have ended by now.
func (a ScrubArgs) asAsked(s Scan) bool {
	switch a.Action {
	case "start":
		return s.Kind == "scrub"
	case "pause":
		return s.State != "scanning"
	}
	return !s.scrubbing()
}

func (c client) previewScrub(ctx context.Context, a ScrubArgs) (Scan, error) {
	now, err := c.checkScrub(ctx, a)
	if err != nil {
		return Scan{}, err
	}
	s := now.Scan
	switch {
	case a.Action == "start" && s.scrubbing():
		s.State, s.Ended = "scanning", time.Time{}
	case a.Action == "start":
		s = Scan{Kind: "scrub", State: "scanning", Began: builtin.CallFrom(ctx).Run.Now().UTC()}
	case a.Action == "pause":
		s.State = "paused"
	default:
		s.State = "canceled"
	}
	s.planned = true
	if planned := builtin.CallFrom(ctx).Run.Planned; planned != nil {
		planned.Add(plannedScans, plannedScrub{a.Pool, s})
	}
	return s, nil
}

// plannedScrub is a scrub as a planned call would have left it.
type plannedScrub struct {
	pool Pool
	scan Scan
}

// plannedScan is a pool's status with the scrub that a plan would have begun or ended.
func plannedScan(ctx context.Context, s PoolStatus) PoolStatus {
	for _, entry := range builtin.CallFrom(ctx).Run.Planned.Entries(plannedScans) {
		if planned := entry.(plannedScrub); planned.pool == s.Pool {
			s.Scan = planned.scan
		}
	}
	return s
}

func (c client) scrub(ctx context.Context, a ScrubArgs) (Scan, error) {
	before, err := c.checkScrub(ctx, a)
	if err != nil {
		return Scan{}, err
	}
	if err := builtin.Hold(ctx, scrubState(before.Scan)); err != nil {
		return Scan{}, err
	}
	argv := []string{"zpool", "scrub"}
	switch a.Action {
	case "pause":
		argv = append(argv, "-p")
	case "stop":
		argv = append(argv, "-s")
	}
	if _, err := c.output(ctx, a.what(), append(argv, string(a.Pool))...); err != nil {
		return Scan{}, err
	}
	after, err := c.poolStatus(ctx, PoolArgs{Pool: a.Pool})
	if err != nil {
		return Scan{}, err
	}
	if !a.asAsked(after.Scan) {
		return after.Scan, builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("ZFS said that it was done, and then: " + after.Scan.Text).
			Hinting("does something else scrub it? zpool history -i says what was done")
	}
	return after.Scan, nil
}

// settleScrub: the handle is how it stood before.
func (c client) settleScrub(ctx context.Context, a ScrubArgs, handle string) (builtin.Settlement[Scan], error) {
	now, err := c.poolStatus(ctx, PoolArgs{Pool: a.Pool})
	if err != nil || handle == "" || scrubState(now.Scan) == handle || !a.asAsked(now.Scan) {
		return builtin.Settlement[Scan]{State: builtin.NotDone}, err
	}
	return builtin.Settlement[Scan]{State: builtin.Done, Result: now.Scan}, nil
}

// WaitScrubArgs are the arguments of wait_scrub.
type WaitScrubArgs struct {
	Pool    Pool             `name:"pool" scope:"pool" doc:"its name"`
	Timeout builtin.Duration `name:"timeout" default:"24h" doc:"how long to wait; the scrub itself goes on after that"`
}

// scrubLook is how often the status is looked at while a scrub goes on, after
// the first looks, which are closer together.
const scrubLook = 10 * time.Second

// waitScrub waits for a scrub or resilver to end. In a plan it takes for
// granted that one which is only planned finds nothing.
func (c client) waitScrub(ctx context.Context, a WaitScrubArgs) (Scan, error) {
	what := "waiting for the scrub of " + string(a.Pool)
	run := builtin.CallFrom(ctx).Run
	deadline := run.Now().Add(time.Duration(a.Timeout))
	for wait := time.Second / 4; ; wait = min(2*wait, scrubLook) {
		status, err := c.poolStatus(ctx, PoolArgs{Pool: a.Pool})
		if err != nil {
			return Scan{}, err
		}
		s := status.Scan
		if plan := run.Planned; plan != nil && s.State == "scanning" {
			if !s.planned {
				return Scan{}, builtin.Stopf(builtin.PlanEnds, "%s is being scrubbed, and a plan waits for nothing", a.Pool)
			}
			plan.Assume(fmt.Sprintf("the scrub of %s finds no error", a.Pool))
			s.State, s.Percent = "finished", 100
		}
		f := builtin.Faultf(builtin.Failed, "%s", what).Saying(s.Text)
		f.Partial = s
		switch {
		case s.State == "finished" && s.Errors == 0:
			return s, nil
		case s.State == "finished":
			return s, f.Hinting("zfs.pool_status(%q).damaged lists what is damaged for good", a.Pool)
		case s.State != "scanning":
			f.Kind = builtin.Conflict
			return s, f.Hinting("there is none to wait for: zfs.scrub(%q) starts one, or goes on with it", a.Pool)
		case !run.Now().Before(deadline):
			f.Kind = builtin.Timeout
			return s, f.Hinting("it goes on; wait longer, or look later: zfs.pool_status(%q).scan", a.Pool)
		}
		builtin.Report(ctx, builtin.Progress{Subject: string(a.Pool), Step: s.Kind, Percent: s.Percent})
		if err := builtin.Sleep(ctx, wait); err != nil {
			return Scan{}, err
		}
	}
}
