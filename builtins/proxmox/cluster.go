package proxmox

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Cluster is what cluster() returns.
type Cluster struct {
	Name    string   `name:"name" doc:"the cluster's name; empty on a node that stands alone"`
	Quorate bool     `name:"quorate" doc:"enough nodes are up to change anything; a node that stands alone always is"`
	Version int64    `name:"version" doc:"how often the cluster's configuration has changed"`
	Online  int      `name:"online" doc:"how many nodes are up"`
	Nodes   []Member `name:"nodes" doc:"all nodes, by name"`
}

// Member is one node in what cluster() returns.
type Member struct {
	Name    builtin.Node `name:"name" doc:"the node's name"`
	ID      int64        `name:"id" doc:"its number in the cluster, or 0"`
	Address string       `name:"address" doc:"its IP address"`
	Online  bool         `name:"online" doc:"it is up"`
	Local   bool         `name:"asked" doc:"it is the one that nixmox asks"`
}

func (c client) cluster(ctx context.Context, _ noArgs) (Cluster, error) {
	var raw []struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Quorate pve.Bool `json:"quorate"`
		Version pve.Int  `json:"version"`
		NodeID  pve.Int  `json:"nodeid"`
		IP      pve.Text `json:"ip"`
		Online  pve.Bool `json:"online"`
		Local   pve.Bool `json:"local"`
	}
	if err := c.pve.Get(ctx, "/cluster/status", nil, &raw); err != nil {
		return Cluster{}, err
	}
	out := Cluster{Quorate: true, Nodes: []Member{}}
	for _, e := range raw {
		switch e.Type {
		case "cluster":
			out.Name, out.Quorate, out.Version = e.Name, bool(e.Quorate), int64(e.Version)
		case "node":
			out.Nodes = append(out.Nodes, Member{Name: builtin.Node(e.Name), ID: int64(e.NodeID), Address: string(e.IP), Online: bool(e.Online), Local: bool(e.Local)})
			if e.Online {
				out.Online++
			}
		}
	}
	slices.SortFunc(out.Nodes, func(a, b Member) int { return compare(string(a.Name), string(b.Name)) })
	return out, nil
}

// Tag is one tag in what tags() returns.
type Tag struct {
	Name       string         `name:"name" doc:"the tag"`
	Registered bool           `name:"registered" doc:"only those with Sys.Modify may give it"`
	Guests     []builtin.VMID `name:"guests" doc:"the guests that have it"`
}

func (c client) tags(ctx context.Context, _ noArgs) ([]Tag, error) {
	guests, err := c.pve.Guests(ctx)
	if err != nil {
		return nil, err
	}
	var options struct {
		Allowed    tagList `json:"allowed-tags"`
		Registered tagList `json:"registered-tags"`
	}
	if err := c.pve.Get(ctx, "/cluster/options", nil, &options); err != nil {
		return nil, err
	}
	byName := map[string]*Tag{}
	tag := func(name string) *Tag {
		if byName[name] == nil {
			byName[name] = &Tag{Name: name, Guests: []builtin.VMID{}}
		}
		return byName[name]
	}
	for _, name := range options.Allowed {
		tag(name)
	}
	for _, name := range options.Registered {
		tag(name).Registered = true
	}
	for _, g := range guests {
		for _, name := range g.Tags {
			t := tag(name)
			t.Guests = append(t.Guests, g.VMID)
		}
	}
	out := []Tag{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, *byName[name])
	}
	return out, nil
}

// tagList is a list, or a text with semicolons: Proxmox's schema says the one
// and its code the other.
type tagList []string

func (l *tagList) UnmarshalJSON(data []byte) error {
	var text pve.Text
	if err := text.UnmarshalJSON(data); err == nil {
		*l = strings.FieldsFunc(string(text), func(r rune) bool { return r == ';' })
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

// PermissionsArgs are the arguments of permissions().
type PermissionsArgs struct {
	Path string `name:"path" default:"" doc:"one path of the access control list only, such as /vms/100"`
}

// Permission is one path in what permissions() returns.
type Permission struct {
	Path       string   `name:"path" doc:"on what: /, /vms/100, /storage/backup, …"`
	Privileges []string `name:"privileges" doc:"what the token may do there"`
	Below      []string `name:"below" doc:"those of them that go on below the path"`
}

func (c client) permissions(ctx context.Context, args PermissionsArgs) ([]Permission, error) {
	query := url.Values{}
	if args.Path != "" {
		query.Set("path", args.Path)
	}
	var raw map[string]map[string]pve.Bool
	if err := c.pve.Get(ctx, "/access/permissions", query, &raw); err != nil {
		return nil, err
	}
	out := []Permission{}
	for _, path := range slices.Sorted(maps.Keys(raw)) {
		p := Permission{Path: path, Privileges: slices.Sorted(maps.Keys(raw[path])), Below: []string{}}
		for _, name := range p.Privileges {
			if raw[path][name] {
				p.Below = append(p.Below, name)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func (c client) freeID(ctx context.Context, _ noArgs) (int64, error) {
	var id pve.Int // a string, as recorded, whatever the schema says
	err := c.pve.Get(ctx, "/cluster/nextid", nil, &id)
	return int64(id), err
}

// idList writes guest ids as Proxmox takes them.
func idList(ids []builtin.VMID) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = strconv.Itoa(int(id))
	}
	return strings.Join(out, ",")
}
