package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// MigrateArgs are the arguments of migrate().
type MigrateArgs struct {
	Guest      builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Target     builtin.Node     `name:"target" doc:"the node to go to"`
	Online     bool             `name:"online" default:"true" doc:"a running VM goes on running, a running container is restarted; without, a running guest stays where it is"`
	LocalDisks bool             `name:"local_disks" default:"false" doc:"of a running VM: disks on storages that the nodes do not share are copied"`
	Bandwidth  builtin.Bytes    `name:"bandwidth" default:"0" doc:"bytes a second at most; 0 for Proxmox's own limit"`
	Wait       builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

func (a MigrateArgs) what() string {
	return fmt.Sprintf("migrating the guest %d to %s", a.Guest, a.Target)
}

// MigrateResult is where a migration came to.
type MigrateResult struct {
	Guest   builtin.VMID `name:"guest" doc:"the guest"`
	Source  builtin.Node `name:"source" doc:"the node it came from"`
	Node    builtin.Node `name:"node" doc:"the node it is on"`
	Status  string       `name:"status" doc:"running, paused or stopped"`
	Changed bool         `name:"changed" doc:"it was not there before"`
	taskPart
}

var migrateTypes = []string{"qmigrate", "vzmigrate", "hamigrate"}

func (c client) checkMigrate(ctx context.Context, a MigrateArgs) (g foundGuest, s GuestStatus, err error) {
	if g, err = c.find(ctx, a.Guest); err != nil {
		return
	}
	online, others, err := c.online(ctx)
	if err != nil {
		return
	}
	if err = known(string(a.Target), online, others); err != nil {
		return
	}
	if s, err = c.statusOf(ctx, g); err != nil || g.Node == string(a.Target) {
		return
	}
	refuse := func(said, hint string, args ...any) error {
		return builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(said).Hinting(hint, args...)
	}
	for _, down := range others {
		if down == string(a.Target) {
			return g, s, refuse(down+" is not online", "choose another node")
		}
	}
	if s.Status != stopped && !a.Online {
		return g, s, refuse("it is "+s.Status, "online = True, or shut it down first: proxmox.shutdown(%d)", a.Guest)
	}
	if !g.isVM() || g.home == "" || g.home == string(a.Target) {
		return
	}
	var raw struct {
		LocalResources []pve.Text `json:"local_resources"`
		LocalDisks     []struct {
			VolID pve.Text `json:"volid"`
			CDROM pve.Bool `json:"cdrom"`
		} `json:"local_disks"`
		NotAllowed map[string]struct {
			Storages []pve.Text `json:"unavailable_storages"`
		} `json:"not_allowed_nodes"`
	}
	if err = c.pve.Get(ctx, g.path("/migrate"), nil, &raw); isLocked(err) {
		return g, s, nil // it is waited for; then Proxmox has the last word
	} else if err != nil {
		return
	}
	var disks []string
	for _, d := range raw.LocalDisks {
		if !d.CDROM {
			disks = append(disks, string(d.VolID))
		}
	}
	switch missing := raw.NotAllowed[string(a.Target)].Storages; {
	case len(raw.LocalResources) > 0:
		err = refuse("it uses what only "+g.home+" has: "+texts(raw.LocalResources), "a VM with devices of its host stays on it")
	case len(missing) > 0:
		err = refuse(string(a.Target)+" has not its storages "+texts(missing), "choose another node")
	case s.Status != stopped && len(disks) > 0 && !a.LocalDisks:
		err = refuse("the nodes do not share its disks: "+strings.Join(disks, ", "), "local_disks = True copies them")
	}
	return
}

func texts(list []pve.Text) string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = string(t)
	}
	return strings.Join(out, ", ")
}

func (c client) previewMigrate(ctx context.Context, a MigrateArgs) (MigrateResult, error) {
	g, s, err := c.checkMigrate(ctx, a)
	if err != nil {
		return MigrateResult{}, err
	}
	if g.Node == string(a.Target) {
		return MigrateResult{Guest: a.Guest, Source: a.Target, Node: a.Target, Status: s.Status, taskPart: noTask()}, nil
	}
	plan(ctx, a.Guest, func(v *view) {
		if v.guest != nil {
			v.guest.Node = string(a.Target)
		}
		if v.status != nil {
			v.status.Node = a.Target
		}
	})
	return MigrateResult{Guest: a.Guest, Source: builtin.Node(g.Node), Node: a.Target, Status: s.Status, Changed: true, taskPart: plannedTask(ctx)}, nil
}

func (c client) migrate(ctx context.Context, a MigrateArgs) (MigrateResult, error) {
	g, s, err := c.checkMigrate(ctx, a)
	if err != nil {
		return MigrateResult{}, err
	}
	if g.Node == string(a.Target) {
		return MigrateResult{Guest: a.Guest, Source: a.Target, Node: a.Target, Status: s.Status, taskPart: noTask()}, nil
	}
	params := map[string]any{"target": string(a.Target)}
	switch {
	case s.Status == stopped:
	case g.isVM():
		params["online"] = true
		if a.LocalDisks {
			params["with-local-disks"] = true
		}
	default:
		params["restart"] = true
	}
	if a.Bandwidth > 0 {
		params["bwlimit"] = max(1, int64(a.Bandwidth)/1024)
	}
	change := guestChange{what: a.what(), guest: g, types: migrateTypes, wait: time.Duration(a.Wait), note: g.home + "," + s.Status}
	change.send = func(ctx context.Context, out *json.RawMessage) error {
		return c.pve.Post(ctx, g.path("/migrate"), params, out)
	}
	end, err := c.make(ctx, change)
	if err != nil {
		return MigrateResult{}, err
	}
	return c.migrated(ctx, a, end, change.note)
}

// haMargin is how long the HA manager has for what it was asked: it looks
// every ten seconds, and memory and disks take their time.
const haMargin = time.Hour

// migrated waits until the guest is there and as it was; note is where it was
// and how.
func (c client) migrated(ctx context.Context, a MigrateArgs, end pve.TaskEnd, note string) (MigrateResult, error) {
	from, before, _ := strings.Cut(note, ",")
	limit := hostMargin
	if end.UPID.Type == "hamigrate" {
		limit = haMargin
	}
	var s GuestStatus
	err := until(ctx, limit, func() (bool, error) {
		var err error
		s, err = c.status(ctx, GuestArgs{a.Guest})
		if f := builtin.AsFault(err); f != nil && f.Kind != builtin.Forbidden {
			return false, nil // it is on neither node for a moment
		}
		return s.Node == a.Target && s.Status == before, err
	})
	if errors.Is(err, errTooLong) {
		return MigrateResult{}, builtin.Faultf(builtin.Failed, "%s: the task ended with %q, but the guest is %s on %s", a.what(), end.ExitStatus, s.Status, s.Node).
			Hinting("it was %s: look at proxmox.status(%d), and at the task: pvenode task log %s on %s", before, a.Guest, end.UPID, end.UPID.Node)
	}
	if err != nil {
		return MigrateResult{}, err
	}
	return MigrateResult{Guest: a.Guest, Source: builtin.Node(from), Node: s.Node, Status: s.Status, Changed: true, taskPart: taskOf(end)}, nil
}

func (c client) settleMigrate(ctx context.Context, a MigrateArgs, text string) (builtin.Settlement[MigrateResult], error) {
	request := pve.TaskRequest{What: a.what(), Guest: a.Guest, Types: migrateTypes}
	return settleChange(ctx, c, request, text, func(end pve.TaskEnd, h handle) (MigrateResult, error) { return c.migrated(ctx, a, end, h.note) })
}
