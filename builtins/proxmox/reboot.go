package proxmox

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// RebootNodeArgs are the arguments of reboot_node().
type RebootNodeArgs struct {
	Node       builtin.Node     `name:"node" scope:"node" doc:"the node"`
	StopGuests bool             `name:"stop_guests" default:"false" doc:"although guests run on it, which Proxmox then shuts down"`
	LoseQuorum bool             `name:"lose_quorum" default:"false" doc:"although the others would be too few without it"`
	Timeout    builtin.Duration `name:"timeout" default:"20m" doc:"how long it may take until the node is back"`
	Wait       bool             `name:"wait" default:"true" doc:"until the node is back; without, nobody looks whether it comes back"`
}

func (a RebootNodeArgs) keys() []string { return []string{"node:" + string(a.Node)} }
func (a RebootNodeArgs) what() string   { return "rebooting the node " + string(a.Node) }

// RebootedNode is what reboot_node() returns.
type RebootedNode struct {
	Node   builtin.Node            `name:"node" doc:"the node"`
	Back   bool                    `name:"back" doc:"it was seen to be up again, with a newer boot; false only if nobody waited"`
	Kernel builtin.Later[string]   `name:"kernel" doc:"the release of the kernel that runs now"`
	Uptime builtin.Later[int64]    `name:"uptime" volatile:"" doc:"seconds since its start"`
	Guests builtin.Later[[]string] `name:"guests" doc:"guests that ran before and do not yet run again"`
}

// boot tells one boot of a node from another: how long it was up at what
// time. Uptime only grows; where it is shorter than it was, or has grown less
// than time has passed, the node has booted. The clock is read after the first
// look and before the later one, so that a slow answer makes no boot.
type boot struct {
	uptime int64
	seen   time.Time
}

const bootMargin = 30 * time.Second

func (b boot) newer(uptime int64, asked time.Time) bool {
	return uptime < b.uptime || asked.Sub(b.seen)-time.Duration(uptime-b.uptime)*time.Second > bootMargin
}

func (b boot) String() string { return fmt.Sprintf("%d@%d", b.uptime, b.seen.Unix()) }

func parseBoot(handle string) (boot, bool) {
	up, seen, ok := strings.Cut(handle, "@")
	uptime, err := strconv.ParseInt(up, 10, 64)
	at, err2 := strconv.ParseInt(seen, 10, 64)
	return boot{uptime, time.Unix(at, 0)}, ok && err == nil && err2 == nil
}

// mayReboot refuses what would take something down that nobody named. It
// returns the guests that run on the node.
func (c client) mayReboot(ctx context.Context, args RebootNodeArgs) ([]string, error) {
	cluster, err := c.cluster(ctx, noArgs{})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(cluster.Nodes, func(m Member) bool { return m.Name == args.Node })
	switch {
	case i < 0:
		return nil, builtin.Faultf(builtin.NotFound, "the node %s", args.Node).Hinting("nodes() lists what there is")
	case !cluster.Nodes[i].Online:
		return nil, builtin.Faultf(builtin.Unreachable, "%s", args.what()).Saying("it is not online")
	}
	if need := len(cluster.Nodes)/2 + 1; cluster.Name != "" && cluster.Online-1 < need && !args.LoseQuorum {
		return nil, builtin.Faultf(builtin.Conflict, "%s", args.what()).
			Saying(fmt.Sprintf("%d of %d nodes are online; without it the cluster would have %d votes of the %d that it needs", cluster.Online, len(cluster.Nodes), cluster.Online-1, need)).
			Hinting("bring the other nodes up first. Without quorum nothing can be started or changed, and HA fences nodes. A QDevice's vote is not counted here; lose_quorum = True does it all the same")
	}
	var active []struct {
		UPID pve.UPID `json:"upid"`
	}
	if err := c.pve.Get(ctx, pve.Path("/nodes/%s/tasks", string(args.Node)), url.Values{"source": {"active"}}, &active); err != nil {
		return nil, err
	}
	if len(active) > 0 {
		return nil, builtin.Faultf(builtin.Busy, "%s", args.what()).Saying("the task " + active[0].UPID.String() + " runs there").
			Hinting("wait for it with wait_task, or end it with stop_task")
	}
	guests, err := c.pve.Guests(ctx)
	if err != nil {
		return nil, err
	}
	running := runningOn(guests, args.Node)
	if len(running) > 0 && !args.StopGuests {
		return nil, builtin.Faultf(builtin.Conflict, "%s", args.what()).Saying("guests run on it: " + strings.Join(running, ", ")).
			Hinting("migrate them, shut them down, or let Proxmox do so: stop_guests = True")
	}
	return running, nil
}

func runningOn(guests []pve.Guest, node builtin.Node) []string {
	out := []string{}
	for _, g := range guests {
		if g.Node == string(node) && g.Status == "running" {
			out = append(out, g.VMID.String())
		}
	}
	return out
}

func (c client) previewReboot(ctx context.Context, args RebootNodeArgs) (RebootedNode, error) {
	if _, err := c.mayReboot(ctx, args); err != nil {
		return RebootedNode{}, err
	}
	call := builtin.CallFrom(ctx)
	if call.Run.Planned != nil {
		call.Run.Planned.Assume("the node " + string(args.Node) + " comes back from its reboot, with the guests that start with it")
	}
	return RebootedNode{
		Node: args.Node, Back: args.Wait, Kernel: builtin.PlannedBy[string](call),
		Uptime: builtin.PlannedBy[int64](call), Guests: builtin.PlannedBy[[]string](call),
	}, nil
}

func (c client) rebootNode(ctx context.Context, args RebootNodeArgs) (RebootedNode, error) {
	if was, ok := parseBoot(builtin.CallFrom(ctx).Handle); ok { // begun before a crash
		asked := c.pve.Now()
		if now, err := c.node(ctx, NodeArgs{Node: args.Node}); err == nil && was.newer(now.Uptime, asked) {
			return c.backAgain(ctx, args, now, nil)
		}
	}
	running, err := c.mayReboot(ctx, args)
	if err != nil {
		return RebootedNode{}, err
	}
	before, err := c.node(ctx, NodeArgs{Node: args.Node})
	if err != nil {
		return RebootedNode{}, err
	}
	was := boot{before.Uptime, c.pve.Now()}
	if err := builtin.Hold(ctx, was.String()); err != nil {
		return RebootedNode{}, err
	}
	// The node may go down before it has answered; whether it boots, is seen.
	err = c.pve.Post(context.WithoutCancel(ctx), pve.Path("/nodes/%s/status", string(args.Node)), map[string]any{"command": "reboot"}, nil)
	if err != nil && !pve.InDoubt(err) {
		return RebootedNode{}, err
	}
	if !args.Wait && err == nil {
		return RebootedNode{Node: args.Node, Back: false, Kernel: builtin.Now(before.Kernel), Uptime: builtin.Now(before.Uptime), Guests: builtin.Now(running)}, nil
	}
	return c.waitForBoot(ctx, args, was, running)
}

// waitForBoot looks until the node is up again and a member of its cluster.
// Nothing but the end of the run stops it looking: while the node that nixmox
// asks reboots, there is no answer, and what its daemons say at first is no
// answer either.
func (c client) waitForBoot(ctx context.Context, args RebootNodeArgs, was boot, running []string) (RebootedNode, error) {
	var now NodeDetail
	said := "it has not gone down yet"
	back, err := c.pve.Until(ctx, time.Duration(args.Timeout), func() (bool, error) {
		asked := c.pve.Now()
		var err error
		if now, err = c.node(ctx, NodeArgs{Node: args.Node}); err == nil && !was.newer(now.Uptime, asked) {
			builtin.Report(ctx, builtin.Progress{Step: args.what() + ": it shuts down"})
			return false, nil
		}
		var cluster Cluster
		if err == nil {
			cluster, err = c.cluster(ctx, noArgs{})
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			said = err.Error()
			builtin.Report(ctx, builtin.Progress{Step: args.what() + ": it is down"})
			return false, nil //nolint:nilerr // it is why there is waiting
		}
		i := slices.IndexFunc(cluster.Nodes, func(m Member) bool { return m.Name == args.Node })
		said = "it is up, and has not joined a quorate cluster yet"
		return i >= 0 && cluster.Nodes[i].Online && (cluster.Quorate || args.LoseQuorum), nil
	})
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return RebootedNode{}, fmt.Errorf("%s, which goes on: %w", args.what(), err)
		}
		return RebootedNode{}, err
	}
	if !back {
		return RebootedNode{}, builtin.Faultf(builtin.Timeout, "%s: it was not back within %v", args.what(), time.Duration(args.Timeout)).Saying(said).
			Hinting("look at its console; a guest that does not shut down holds it up for its own time limit, three minutes by default")
	}
	return c.backAgain(ctx, args, now, running)
}

// backAgain is what to say of a node that has booted.
func (c client) backAgain(ctx context.Context, args RebootNodeArgs, now NodeDetail, ran []string) (RebootedNode, error) {
	guests, err := c.pve.Guests(ctx)
	if err != nil {
		return RebootedNode{}, err
	}
	runs := runningOn(guests, args.Node)
	down := []string{}
	for _, id := range ran {
		if !slices.Contains(runs, id) {
			down = append(down, id)
		}
	}
	return RebootedNode{Node: args.Node, Back: true, Kernel: builtin.Now(now.Kernel), Uptime: builtin.Now(now.Uptime), Guests: builtin.Now(down)}, nil
}

// settleReboot: the node's boot tells. One that does not answer may be booting.
// One that has not booted can be told again, which makes one boot of two.
func (c client) settleReboot(ctx context.Context, args RebootNodeArgs, handle string) (builtin.Settlement[RebootedNode], error) {
	was, ok := parseBoot(handle)
	if !ok { // it is held before the node is asked
		return builtin.Settlement[RebootedNode]{State: builtin.NotDone}, nil
	}
	asked := c.pve.Now()
	now, err := c.node(ctx, NodeArgs{Node: args.Node})
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.Unreachable {
		if asked.Sub(was.seen) < time.Duration(args.Timeout) {
			return builtin.Settlement[RebootedNode]{State: builtin.Running, Handle: handle}, nil
		}
		return builtin.Settlement[RebootedNode]{State: builtin.Unknown, Why: fmt.Sprintf("%s does not answer, longer than %v after it was to be rebooted", args.Node, time.Duration(args.Timeout))}, nil
	}
	if err != nil {
		return builtin.Settlement[RebootedNode]{}, err
	}
	if !was.newer(now.Uptime, asked) {
		return builtin.Settlement[RebootedNode]{State: builtin.NotDone}, nil
	}
	result, err := c.backAgain(ctx, args, now, nil)
	return builtin.Settlement[RebootedNode]{State: builtin.Done, Result: result, Handle: handle}, err
}
