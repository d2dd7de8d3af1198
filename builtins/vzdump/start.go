package vzdump

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// start asks for the task, once. What Proxmox does with a second POST of the
// same is a second backup.
func (v *vzdump) start(ctx context.Context, j *job) (pve.UPID, error) {
	params := j.options()
	params["vmid"], params["notes-template"] = strings.ReplaceAll(idList(j.Guests), " ", ""), j.template
	asked := builtin.CallFrom(ctx).Run.Now()
	var answer pve.Text
	// A run that is cancelled in this moment still learns which task it left.
	if err := v.c.Post(context.WithoutCancel(ctx), pve.Path("/nodes/%s/vzdump", string(j.Node)), params, &answer); err != nil {
		if pve.InDoubt(err) {
			return v.lookAfterLostPost(ctx, j, asked, err)
		}
		return pve.UPID{}, err
	}
	upid, err := pve.ParseUPID(string(answer))
	if err != nil {
		// For guests of another node vzdump has nothing to do, and says OK
		// (PVE::API2::VZDump): they were migrated since the check.
		return pve.UPID{}, builtin.Faultf(builtin.Failed, "%s: Proxmox started no task", j.what()).
			Saying("it answered "+strconv.Quote(string(answer))+" in place of a task").
			Hinting("it does so where no guest is on %s: look where they are now", j.Node)
	}
	return upid, nil
}

// lookPauses are the pauses before each look for a task whose POST was lost:
// half a minute in all, which is what pveproxy gives its workers.
var lookPauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// lostLooks are how many looks may get no answer, and lookPause is the pause
// before each further one.
const lookPause, lostLooks = 10 * time.Second, 30

// lookAfterLostPost finds the task all the same, or says that none is known.
// One that waits for another backup has not said yet whose it is: it is waited
// for, which ends at the latest with vzdump's own limit.
func (v *vzdump) lookAfterLostPost(ctx context.Context, j *job, asked time.Time, lost error) (pve.UPID, error) {
	f := builtin.Faultf(builtin.Unreachable, "%s: the connection was lost while asking for it, and nothing is known to have been started", j.what()).
		Because(lost).Hinting("no task of %s has this run's mark, but for %d that made nothing; look at its task list once more before doing it again", j.Node, len(j.over))
	step := "the connection was lost while asking for the backup; looking whether it began"
	for looks, failures := 0, 0; looks < len(lookPauses); {
		builtin.Report(ctx, builtin.Progress{Step: step})
		pause := lookPauses[looks]
		if failures > 0 {
			pause = lookPause
		}
		if err := builtin.Sleep(ctx, pause); err != nil {
			return pve.UPID{}, fmt.Errorf("%s: looking whether it began: %w", j.what(), err)
		}
		found, err := v.findTask(ctx, j, asked)
		switch {
		case err != nil:
			if failures++; failures == lostLooks {
				return pve.UPID{}, f.Hinting("the task list of %s could not be read either (%v): look at it before doing this again", j.Node, err)
			}
		case found.ours:
			return found.upid, nil
		case found.waiting:
			step = fmt.Sprintf("the connection was lost while asking for the backup; %s waits for another backup and may be it", found.upid)
			looks = len(lookPauses) - 1 // one last look once it has shown itself
		default:
			looks++
		}
	}
	return pve.UPID{}, f
}
