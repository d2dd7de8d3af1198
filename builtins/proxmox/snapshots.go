package proxmox

import (
	"cmp"
	"context"
	"slices"
	"time"

	"nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/owner"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Snapshot is one snapshot of a guest in what snapshots() returns.
type Snapshot struct {
	Name        string       `name:"name" doc:"its name"`
	Guest       builtin.VMID `name:"guest" doc:"the guest"`
	Parent      string       `name:"parent" doc:"the snapshot that it was made after; empty for a first one"`
	Children    []string     `name:"children" doc:"those that were made after it"`
	Depth       int          `name:"depth" doc:"how many stand above it in the tree"`
	Current     bool         `name:"current" doc:"the guest's present state comes from it"`
	Time        time.Time    `name:"time" volatile:"" doc:"when it was made, UTC"`
	Description string       `name:"description" volatile:"" doc:"its description, nixmox's mark with it"`
	RAM         bool         `name:"ram" doc:"of a VM: its memory is in it"`
	State       string       `name:"state" doc:"prepare or delete where it is not whole: being made or removed, or left over from that; else empty"`
	Owner       string       `name:"owner" doc:"who made it, as far as name and description tell: nixmox, vzdump, replication, another tool's name, or other"`
	Ours        bool         `name:"ours" doc:"nixmox made it: its description carries the mark"`
	Run         string       `name:"run" volatile:"" doc:"the run that made it, if it is ours"`
	Playbook    string       `name:"playbook" doc:"the playbook of that run"`

	mark   mark.Mark
	config map[string]any // of a planned one: the guest's configuration then
}

func (c client) snapshots(ctx context.Context, args GuestArgs) ([]Snapshot, error) {
	g, err := c.find(ctx, args.Guest)
	if err != nil {
		return nil, err
	}
	return c.snapshotsOf(ctx, g)
}

func (c client) snapshotsOf(ctx context.Context, g foundGuest) ([]Snapshot, error) {
	var raw []struct {
		Name, Parent, Description, SnapState pve.Text
		SnapTime                             pve.Time
		VMState                              pve.Bool
	}
	if g.home != "" {
		if err := c.pve.Get(ctx, g.path("/snapshot"), nil, &raw); err != nil {
			return nil, err
		}
	}
	out := []Snapshot{}
	current := ""
	for _, r := range raw {
		if r.Name == "current" { // stands for the present state
			current = string(r.Parent)
			continue
		}
		s := Snapshot{
			Name: string(r.Name), Guest: g.VMID, Parent: string(r.Parent), Time: r.SnapTime.Time, Description: string(r.Description),
			RAM: bool(r.VMState), State: string(r.SnapState),
		}
		if s.mark, s.Ours = mark.Parse(s.Description); s.Ours {
			s.Run, s.Playbook = s.mark.Run, s.mark.Playbook
		}
		s.Owner = cmp.Or(owner.Of(s.Name, s.Ours), "other")
		out = append(out, s)
	}
	for i := range out {
		out[i].Current = out[i].Name == current
	}
	overlay(ctx, g.VMID, &view{snapshots: &out})
	return asTree(out), nil
}

// asTree orders snapshots by the tree that they are: each after its parent,
// siblings by age, one whose parent is gone as a first one.
func asTree(list []Snapshot) []Snapshot {
	slices.SortStableFunc(list, func(a, b Snapshot) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Name, b.Name)) })
	children := map[string][]int{}
	known := map[string]bool{}
	for _, s := range list {
		known[s.Name] = true
	}
	for i, s := range list {
		parent := s.Parent
		if !known[parent] || parent == s.Name {
			parent = ""
		}
		children[parent] = append(children[parent], i)
	}
	out := make([]Snapshot, 0, len(list))
	seen := map[int]bool{}
	var add func(parent string, depth int)
	add = func(parent string, depth int) {
		for _, i := range children[parent] {
			if seen[i] {
				continue
			}
			seen[i] = true
			s := list[i]
			s.Depth, s.Children = depth, []string{}
			for _, child := range children[s.Name] {
				s.Children = append(s.Children, list[child].Name)
			}
			out = append(out, s)
			add(s.Name, depth+1)
		}
	}
	add("", 0)
	for i, s := range list { // a ring of parents, which a broken configuration may have
		if !seen[i] {
			s.Children = []string{}
			out = append(out, s)
		}
	}
	return out
}

func findSnapshot(list []Snapshot, name string) (Snapshot, bool) {
	i := slices.IndexFunc(list, func(s Snapshot) bool { return s.Name == name })
	if i < 0 {
		return Snapshot{}, false
	}
	return list[i], true
}
