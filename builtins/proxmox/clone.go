package proxmox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// CloneArgs are the arguments of clone().
type CloneArgs struct {
	Guest       builtin.VMID      `name:"guest" scope:"guest" doc:"the guest or template to copy"`
	NewID       *builtin.VMID     `name:"new_id" default:"" doc:"the copy's id; None for the next that is free"`
	Name        GuestName         `name:"name" default:"" doc:"the copy's name; empty for Proxmox's own"`
	Full        *bool             `name:"full" default:"" doc:"copy all disks; False: link them to the template's; None: link those of templates, copy others"`
	Storage     builtin.StorageID `name:"storage" default:"" doc:"where the disks of a full copy go; empty: where the guest's own are"`
	Target      builtin.Node      `name:"target" default:"" doc:"another node, which the guest's storages must be shared with"`
	Pool        PoolID            `name:"pool" default:"" doc:"the resource pool that takes the copy"`
	Snapshot    SnapshotName      `name:"snapshot" default:"" doc:"copy the guest as it was at that snapshot"`
	Description string            `name:"description" default:"" doc:"the copy's description"`
	Bandwidth   builtin.Bytes     `name:"bandwidth" default:"0" doc:"bytes a second at most; 0 for Proxmox's own limit"`
	Wait        builtin.Duration  `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

// GuestName is the name of a guest: a DNS name.
type GuestName string

// Describe names the type and its grammar.
func (GuestName) Describe() (string, string) { return "guest name", "a DNS name" }

var guestNameGrammar = pattern.Of(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

// Pattern is the grammar of the name.
func (GuestName) Pattern() string { return guestNameGrammar().String() }

// UnmarshalText follows dns-name of Proxmox's JSON schema.
func (n *GuestName) UnmarshalText(text []byte) error {
	if !guestNameGrammar().Match(text) || len(text) > 253 {
		return fmt.Errorf("%q is no name of a guest: want a DNS name, of letters, digits, '-' and '.'", text)
	}
	*n = GuestName(text)
	return nil
}

func (a CloneArgs) what() string {
	if a.NewID != nil {
		return fmt.Sprintf("cloning the guest %d as %d", a.Guest, *a.NewID)
	}
	return fmt.Sprintf("cloning the guest %d", a.Guest)
}

func (a CloneArgs) keys() []string {
	keys := guestKey(a.Guest)
	if a.NewID != nil {
		keys = append(keys, guestKey(*a.NewID)...)
	}
	return keys
}

// CloneResult is the copy.
type CloneResult struct {
	Guest  builtin.Later[builtin.VMID] `name:"guest" doc:"the copy's id"`
	Source builtin.VMID                `name:"source" doc:"the guest that was copied"`
	Name   string                      `name:"name" doc:"the copy's name"`
	Node   builtin.Node                `name:"node" doc:"where it is"`
	Kind   string                      `name:"kind" doc:"vm or container"`
	Full   bool                        `name:"full" doc:"its disks are its own, not linked to a template's"`
	taskPart
}

var cloneTypes = []string{"qmclone", "vzclone"}

// checkClone is what the copy will be.
func (c client) checkClone(ctx context.Context, a CloneArgs) (g foundGuest, r CloneResult, config map[string]any, err error) {
	if g, err = c.find(ctx, a.Guest); err != nil {
		return
	}
	if config, err = c.configOf(ctx, g, a.Snapshot, false); err != nil {
		return
	}
	refuse := func(kind builtin.Kind, said, hint string) error {
		return builtin.Faultf(kind, "%s", a.what()).Saying(said).Hinting("%s", hint)
	}
	full := !g.Template
	if a.Full != nil {
		full = *a.Full
	}
	r = CloneResult{Source: a.Guest, Name: string(a.Name), Node: builtin.Node(g.Node), Kind: g.noun(), Full: full}
	if a.Target != "" {
		r.Node = a.Target
	}
	if r.Name == "" { // as Proxmox names it
		r.Name = map[bool]string{true: "Copy-of-VM-", false: "Copy-of-CT-"}[g.isVM()] + settingText(config[nameKey(g)])
	}
	switch {
	case !full && a.Storage != "":
		err = refuse(builtin.Invalid, "the disks of a linked copy are where the template's are", "leave storage out, or full = True")
	case !full && !g.Template && (a.Snapshot == "" || g.isVM()):
		err = refuse(builtin.Conflict, "it is no template, and disks can be linked to a template's only", "full = True")
	}
	if err != nil || a.NewID == nil {
		return
	}
	if _, findErr := c.find(ctx, *a.NewID); findErr == nil {
		err = refuse(builtin.Conflict, fmt.Sprintf("there is a guest %d", *a.NewID), "choose another id, or leave it out for the next that is free")
	} else if f := builtin.AsFault(findErr); f == nil || f.Kind != builtin.NotFound {
		err = findErr
	}
	return
}

func nameKey(g foundGuest) string {
	if g.isVM() {
		return "name"
	}
	return "hostname"
}

func (c client) previewClone(ctx context.Context, a CloneArgs) (CloneResult, error) {
	g, r, config, err := c.checkClone(ctx, a)
	if err != nil {
		return CloneResult{}, err
	}
	r.taskPart = plannedTask(ctx)
	if a.NewID == nil {
		r.Guest = builtin.PlannedBy[builtin.VMID](builtin.CallFrom(ctx))
		return r, nil
	}
	r.Guest = builtin.Now(*a.NewID)
	plan(ctx, *a.NewID, func(v *view) {
		row := g.Guest
		row.VMID, row.Name, row.Node, row.Status, row.Template, row.Pool = *a.NewID, r.Name, string(r.Node), stopped, false, string(a.Pool)
		row.Lock, row.Uptime, row.CPU, row.Mem = "", 0, 0, 0
		v.guest = &row
		if v.status != nil && g.isVM() {
			v.status.QMP = stopped
			v.show("agent", settingText(config["agent"]), 1)
		}
		for key, value := range config {
			if v.config == nil || slices.Contains([]string{"template", "parent", "digest", "lock", "snaptime", "vmstate"}, key) || diskKey().MatchString(key) {
				continue
			}
			v.config[key] = value
		}
		if v.config != nil {
			v.config[nameKey(g)] = r.Name
			if a.Description != "" {
				v.config["description"] = a.Description
			}
		}
	})
	return r, nil
}

// clone makes the copy. The id that is the next free one may be taken by
// somebody else in this moment: then the next one is asked for again.
func (c client) clone(ctx context.Context, a CloneArgs) (CloneResult, error) {
	for try := 1; ; try++ {
		g, r, _, err := c.checkClone(ctx, a)
		if err != nil {
			return CloneResult{}, err
		}
		id := a.NewID
		if id == nil {
			if id, err = c.nextID(ctx); err != nil {
				return CloneResult{}, err
			}
		}
		change := guestChange{what: a.what(), guest: g, types: cloneTypes, wait: time.Duration(a.Wait), note: id.String()}
		change.send = func(ctx context.Context, out *json.RawMessage) error {
			return c.pve.Post(ctx, g.path("/clone"), a.params(g, *id), out)
		}
		end, err := c.make(ctx, change)
		if f := builtin.AsFault(err); f != nil && a.NewID == nil && try < 5 && idTaken(f.Said) {
			continue
		}
		if err != nil {
			return CloneResult{}, err
		}
		return c.cloned(ctx, a, end, *id, r.Full)
	}
}

func idTaken(said string) bool {
	return strings.Contains(said, "config file already exists") || strings.Contains(said, "already exists on node")
}

func (c client) nextID(ctx context.Context) (*builtin.VMID, error) {
	var text pve.Text
	if err := c.pve.Get(ctx, "/cluster/nextid", url.Values{}, &text); err != nil {
		return nil, err
	}
	var id builtin.VMID
	return &id, id.UnmarshalText([]byte(text))
}

func (a CloneArgs) params(g foundGuest, id builtin.VMID) map[string]any {
	params := map[string]any{"newid": int(id)}
	name := "name"
	if !g.isVM() {
		name = "hostname"
	}
	for key, value := range map[string]string{
		name: string(a.Name), "storage": string(a.Storage), "target": string(a.Target), "pool": string(a.Pool), "snapname": string(a.Snapshot), "description": a.Description,
	} {
		if value != "" {
			params[key] = value
		}
	}
	if a.Full != nil {
		params["full"] = *a.Full
	}
	if a.Bandwidth > 0 {
		params["bwlimit"] = max(1, int64(a.Bandwidth)/1024)
	}
	return params
}

// cloned reads back that the copy is there, and that nothing works on it any more.
func (c client) cloned(ctx context.Context, a CloneArgs, end pve.TaskEnd, id builtin.VMID, full bool) (CloneResult, error) {
	bad := func(said string) (CloneResult, error) {
		return CloneResult{}, builtin.Faultf(builtin.Failed, "%s: the task ended with %q, but %s", a.what(), end.ExitStatus, said).
			Hinting("the whole log: pvenode task log %s on %s", end.UPID, end.UPID.Node)
	}
	n, err := c.find(ctx, id)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return bad(fmt.Sprintf("there is no guest %d that the token sees", id))
	}
	if err != nil {
		return CloneResult{}, err
	}
	config, err := c.configOf(ctx, n, "", true)
	if err != nil {
		return CloneResult{}, err
	}
	name := settingText(config[nameKey(n)])
	switch {
	case config["lock"] != nil:
		return bad(fmt.Sprintf("%d is locked (%s)", id, settingText(config["lock"])))
	case a.Name != "" && name != string(a.Name):
		return bad(fmt.Sprintf("%d is called %q", id, name))
	}
	return CloneResult{Guest: builtin.Now(id), Source: a.Guest, Name: name, Node: builtin.Node(n.Node), Kind: n.noun(), Full: full, taskPart: taskOf(end)}, nil
}

func (c client) settleClone(ctx context.Context, a CloneArgs, text string) (builtin.Settlement[CloneResult], error) {
	request := pve.TaskRequest{What: a.what(), Guest: a.Guest, Types: cloneTypes}
	return settleChange(ctx, c, request, text, func(end pve.TaskEnd, h handle) (CloneResult, error) {
		id, err := strconv.Atoi(h.note)
		if err != nil {
			return CloneResult{}, builtin.Faultf(builtin.Failed, "%s: the record of it is damaged", a.what()).Because(err).Hinting("look at proxmox.guests()")
		}
		full := !slices.ContainsFunc(end.Log, func(line string) bool { return strings.HasPrefix(line, "create linked clone") })
		return c.cloned(ctx, a, end, builtin.VMID(id), full)
	})
}
