package proxmox

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// HA is what ha() returns.
type HA struct {
	Quorate   bool         `name:"quorate" doc:"the cluster can act"`
	Master    string       `name:"master" volatile:"" doc:"the node that decides, or empty where nothing is managed"`
	Nodes     []HANode     `name:"nodes" doc:"the resource managers of the nodes"`
	Resources []HAResource `name:"resources" doc:"the guests that the cluster keeps in a state, by id"`
	Rules     []HARule     `name:"rules" doc:"what binds them to nodes or to one another; groups on Proxmox VE 8"`
}

// HANode is one node in what ha() returns.
type HANode struct {
	Node   builtin.Node `name:"node" doc:"the node"`
	Status string       `name:"status" volatile:"" doc:"active, idle, maintenance mode, old timestamp - dead?, …, in Proxmox's words"`
}

// HAResource is one guest that the cluster keeps in a state.
type HAResource struct {
	Guest       builtin.VMID `name:"guest" doc:"the guest"`
	SID         string       `name:"sid" doc:"its name there, such as vm:100"`
	State       string       `name:"state" doc:"what is asked for: started, stopped, disabled or ignored"`
	Status      string       `name:"status" volatile:"" doc:"what is: started, starting, stopped, error, fence, …"`
	Node        string       `name:"node" volatile:"" doc:"where it is"`
	Group       string       `name:"group" doc:"its group, on Proxmox VE 8; or empty"`
	MaxRestart  int64        `name:"max_restart" doc:"how often a start is tried again on a node"`
	MaxRelocate int64        `name:"max_relocate" doc:"on how many other nodes then"`
	Comment     string       `name:"comment" doc:"what was written beside it"`
}

// HARule is one rule, or on Proxmox VE 8 one group, in what ha() returns.
type HARule struct {
	Name     string   `name:"name" doc:"its name"`
	Kind     string   `name:"kind" doc:"node-affinity, resource-affinity, or group"`
	Guests   []string `name:"guests" doc:"the resources it is about, such as vm:100; of a group none"`
	Nodes    []string `name:"nodes" doc:"nodes, with their priority after a colon"`
	Affinity string   `name:"affinity" doc:"positive (together) or negative (apart), of resource-affinity"`
	Strict   bool     `name:"strict" doc:"on no other nodes, even if these are down"`
	Enabled  bool     `name:"enabled" doc:"it is used"`
	Comment  string   `name:"comment" doc:"what was written beside it"`
}

type rawResource struct {
	SID         string   `json:"sid"`
	State       string   `json:"state"`
	Group       pve.Text `json:"group"`
	MaxRestart  *pve.Int `json:"max_restart"`
	MaxRelocate *pve.Int `json:"max_relocate"`
	Comment     pve.Text `json:"comment"`
}

func (r rawResource) resource() HAResource {
	_, id, _ := strings.Cut(r.SID, ":")
	n, _ := strconv.Atoi(id)
	out := HAResource{Guest: builtin.VMID(n), SID: r.SID, State: requested(r.State), Group: string(r.Group), MaxRestart: 1, MaxRelocate: 1, Comment: string(r.Comment)}
	if r.MaxRestart != nil {
		out.MaxRestart = int64(*r.MaxRestart)
	}
	if r.MaxRelocate != nil {
		out.MaxRelocate = int64(*r.MaxRelocate)
	}
	return out
}

// requested is a state as it is asked for: none is started, and so is enabled,
// its older name.
func requested(state string) string {
	if state == "" || state == "enabled" {
		return "started"
	}
	return state
}

func (c client) ha(ctx context.Context, _ noArgs) (HA, error) {
	var resources []rawResource
	if err := c.pve.Get(ctx, "/cluster/ha/resources", nil, &resources); err != nil {
		return HA{}, err
	}
	var status []struct {
		ID      string   `json:"id"`
		Type    string   `json:"type"`
		Node    pve.Text `json:"node"`
		Status  string   `json:"status"`
		Quorate pve.Bool `json:"quorate"`
		SID     string   `json:"sid"`
		State   string   `json:"state"`
	}
	if err := c.pve.Get(ctx, "/cluster/ha/status/current", nil, &status); err != nil {
		return HA{}, err
	}
	out := HA{Nodes: []HANode{}, Resources: []HAResource{}}
	for _, r := range resources {
		out.Resources = append(out.Resources, r.resource())
	}
	for _, s := range status {
		switch s.Type {
		case "quorum":
			out.Quorate = bool(s.Quorate)
		case "master":
			out.Master = string(s.Node)
		case "lrm": // pve1 (active, Mon Nov 23 12:07:11 2026)
			text := strings.TrimSuffix(strings.TrimPrefix(s.Status, string(s.Node)+" ("), ")")
			text, _, _ = strings.Cut(text, ", ")
			out.Nodes = append(out.Nodes, HANode{Node: builtin.Node(s.Node), Status: text})
		case "service":
			for i := range out.Resources {
				if out.Resources[i].SID == s.SID {
					out.Resources[i].Status, out.Resources[i].Node = s.State, string(s.Node)
				}
			}
		}
	}
	var err error
	if out.Rules, err = c.haRules(ctx); err != nil {
		return HA{}, err
	}
	for i := range out.Resources {
		out.Resources[i].State = plannedHA(ctx, out.Resources[i].Guest, out.Resources[i].State)
	}
	slices.SortFunc(out.Resources, func(a, b HAResource) int { return int(a.Guest) - int(b.Guest) })
	return out, nil
}

// haRules reads the rules; Proxmox VE 8 knows none and has groups.
func (c client) haRules(ctx context.Context) ([]HARule, error) {
	var raw []struct {
		Rule       string   `json:"rule"`
		Group      string   `json:"group"`
		Type       string   `json:"type"`
		Resources  pve.Text `json:"resources"`
		Nodes      pve.Text `json:"nodes"`
		Affinity   pve.Text `json:"affinity"`
		Strict     pve.Bool `json:"strict"`
		Restricted pve.Bool `json:"restricted"`
		Disable    pve.Bool `json:"disable"`
		Comment    pve.Text `json:"comment"`
	}
	err := c.pve.Get(ctx, "/cluster/ha/rules", nil, &raw)
	if e, ok := errors.AsType[*pve.APIError](err); ok && e.Status == http.StatusNotImplemented {
		err = c.pve.Get(ctx, "/cluster/ha/groups", nil, &raw)
	}
	if err != nil {
		return nil, err
	}
	commas := func(text pve.Text) []string {
		return append([]string{}, strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == ' ' || r == ';' })...)
	}
	out := []HARule{}
	for _, r := range raw {
		rule := HARule{
			Name: r.Rule + r.Group, Kind: r.Type, Guests: commas(r.Resources), Nodes: commas(r.Nodes), Affinity: string(r.Affinity),
			Strict: bool(r.Strict || r.Restricted), Enabled: !bool(r.Disable), Comment: string(r.Comment),
		}
		if r.Group != "" {
			rule.Kind = "group"
		}
		out = append(out, rule)
	}
	slices.SortFunc(out, func(a, b HARule) int { return compare(a.Name, b.Name) })
	return out, nil
}

// HASetArgs are the arguments of ha_set().
type HASetArgs struct {
	Guest builtin.VMID `name:"guest" scope:"guest" doc:"the guest, which is managed already"`
	State string       `name:"state" enum:"started,stopped,disabled,ignored" doc:"what to ask for"`
}

func (a HASetArgs) keys() []string { return []string{"guest:" + a.Guest.String()} }

const plannedHAKey = "proxmox ha"

// plannedHA is the state that a guest would be asked to be in.
func plannedHA(ctx context.Context, guest builtin.VMID, state string) string {
	for _, e := range builtin.CallFrom(ctx).Run.Planned.Entries(plannedHAKey) {
		if set := e.(HASetArgs); set.Guest == guest {
			state = set.State
		}
	}
	return state
}

// managed reads the resource of a guest, which Proxmox finds by the bare id.
func (c client) managed(ctx context.Context, guest builtin.VMID) (HAResource, error) {
	var raw rawResource
	err := c.pve.Get(ctx, pve.Path("/cluster/ha/resources/%s", guest.String()), nil, &raw)
	if f := builtin.AsFault(err); f != nil && (f.Kind == builtin.NotFound || strings.Contains(f.Said, "unable to find VM")) {
		f.Kind = builtin.NotFound
		return HAResource{}, f.Hinting("ha() lists what is managed; call(\"POST\", \"/cluster/ha/resources\", sid = \"%d\") adds a guest", guest)
	}
	return raw.resource(), err
}

func (c client) previewHA(ctx context.Context, args HASetArgs) (HAResource, error) {
	r, err := c.managed(ctx, args.Guest)
	if err != nil {
		return HAResource{}, err
	}
	if plan := builtin.CallFrom(ctx).Run.Planned; plan != nil {
		plan.Add(plannedHAKey, args)
	}
	r.State = args.State
	return r, nil
}

func (c client) setHA(ctx context.Context, args HASetArgs) (HAResource, error) {
	r, err := c.managed(ctx, args.Guest)
	if err != nil || r.State == args.State {
		return r, err
	}
	putErr := c.pve.Put(ctx, pve.Path("/cluster/ha/resources/%s", r.SID), map[string]any{"state": args.State}, nil)
	if putErr != nil && !pve.InDoubt(putErr) {
		return HAResource{}, putErr
	}
	switch r, err = c.managed(ctx, args.Guest); {
	case err != nil:
		return HAResource{}, err
	case r.State == args.State:
		return r, nil
	case putErr != nil:
		return HAResource{}, putErr
	}
	return HAResource{}, builtin.Faultf(builtin.Failed, "asking HA for the state %s of the guest %d", args.State, args.Guest).
		Saying("Proxmox took it, and yet it asks for " + r.State).Hinting("does something else change it?")
}

func (c client) settleHA(ctx context.Context, args HASetArgs, _ string) (builtin.Settlement[HAResource], error) {
	r, err := c.managed(ctx, args.Guest)
	if err != nil {
		return builtin.Settlement[HAResource]{}, err
	}
	if r.State != args.State {
		return builtin.Settlement[HAResource]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[HAResource]{State: builtin.Done, Result: r}, nil
}
