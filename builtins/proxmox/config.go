package proxmox

import (
	"context"
	"encoding/json"
	"net/url"

	"nixmox/engine/builtin"
)

// ConfigArgs are the arguments of config().
type ConfigArgs struct {
	Guest    builtin.VMID `name:"guest" scope:"guest" doc:"the guest"`
	Pending  bool         `name:"pending" default:"true" doc:"with the changes that wait for its next start; without: as it is now"`
	Snapshot SnapshotName `name:"snapshot" default:"" doc:"as it was at that snapshot"`
}

func (c client) config(ctx context.Context, args ConfigArgs) (map[string]any, error) {
	g, err := c.find(ctx, args.Guest)
	if err != nil {
		return nil, err
	}
	if g.home == "" {
		return nil, endsPlan(ctx, args.Guest, "its configuration")
	}
	return c.configOf(ctx, g, args.Snapshot, args.Pending)
}

func (c client) configOf(ctx context.Context, g foundGuest, snapshot SnapshotName, pending bool) (map[string]any, error) {
	out := map[string]any{}
	query := url.Values{}
	switch {
	case snapshot != "":
		query.Set("snapshot", string(snapshot))
	case !pending:
		query.Set("current", "1")
	}
	if g.home != "" {
		var err error
		if out, err = c.dict(ctx, g.path("/config"), query); err != nil {
			return nil, err
		}
	}
	if snapshot == "" {
		overlay(ctx, g.VMID, &view{config: out})
	}
	return out, nil
}

// pendingOf are the entries of a configuration that wait for the guest's next start.
func (c client) pendingOf(ctx context.Context, g foundGuest) ([]string, error) {
	var raw []struct {
		Key     string          `json:"key"`
		Pending json.RawMessage `json:"pending"`
		Delete  json.RawMessage `json:"delete"`
	}
	if err := c.pve.Get(ctx, g.path("/pending"), nil, &raw); err != nil {
		return nil, err
	}
	out := []string{}
	for _, entry := range raw {
		if entry.Pending != nil || entry.Delete != nil {
			out = append(out, entry.Key)
		}
	}
	return out, nil
}
