package vzdump

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// keepAsProxmox keeps what nixmox would remove and Proxmox, asked for its own
// preview with the same rules, would keep. The two may differ: Proxmox counts
// days and weeks by the node's local time, nixmox by UTC. What is kept too much
// goes with a later prune; what is removed too much does not come back.
//
// It is one request for each node whose archives would go. A plan's archives to
// come are unknown to Proxmox, and would change what it keeps: their groups are
// left to the run, which may keep more than the plan shows, never less.
func (v *vzdump) keepAsProxmox(ctx context.Context, a PruneArgs, d *PruneDecision) error {
	rules := proxmoxRules(a.Keep)
	if len(d.Remove) == 0 || rules == "" {
		return nil
	}
	planned := map[builtin.VMID]bool{}
	for _, x := range d.Stay {
		planned[x.Guest] = planned[x.Guest] || !x.VolID.Known()
	}
	type at struct {
		node  builtin.Node
		volid builtin.VolID
	}
	keeps, asked := map[at]bool{}, map[builtin.Node]bool{}
	for _, x := range d.Remove {
		if planned[x.Guest] {
			continue
		}
		if asked[x.Node] {
			continue
		}
		asked[x.Node] = true
		var marks []struct {
			VolID builtin.VolID `json:"volid"`
			Mark  string        `json:"mark"`
		}
		path := pve.Path("/nodes/%s/storage/%s/prunebackups", string(x.Node), string(a.Storage))
		if err := v.c.Get(ctx, path, url.Values{"prune-backups": {rules}}, &marks); err != nil {
			return err
		}
		for _, m := range marks {
			keeps[at{x.Node, m.VolID}] = m.Mark == "keep"
		}
	}
	d.Remove = slices.DeleteFunc(d.Remove, func(x Verdict) bool {
		if planned[x.Guest] || !keeps[at{x.Node, x.VolID.Value}] {
			return false
		}
		x.Reason = "Proxmox's own preview keeps it (by local time, perhaps)"
		d.Stay = append(d.Stay, x)
		return true
	})
	return nil
}

// proxmoxRules are rules as prune-backups takes them; "" if they keep all.
func proxmoxRules(k builtin.Keep) string {
	var rules []string
	for _, r := range []struct {
		name  string
		count int
	}{{"last", k.Last}, {"hourly", k.Hourly}, {"daily", k.Daily}, {"weekly", k.Weekly}, {"monthly", k.Monthly}, {"yearly", k.Yearly}} {
		if r.count > 0 {
			rules = append(rules, fmt.Sprintf("keep-%s=%d", r.name, r.count))
		}
	}
	return strings.Join(rules, ",")
}
