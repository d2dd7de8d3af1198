package pve

import (
	"context"
	"encoding/json"
	"net/url"
	"time"
)

// Now is the client's clock.
func (c *Client) Now() time.Time { return c.cfg.Now() }

// Until looks until there is an end, with pauses like Wait's. It reports
// whether that came before the time limit, on the client's clock.
func (c *Client) Until(ctx context.Context, limit time.Duration, look func() (end bool, err error)) (bool, error) {
	deadline := c.cfg.Now().Add(limit)
	for pause := c.cfg.Poll; ; pause = min(pause*3/2, max(slowestPoll, c.cfg.Poll)) {
		end, err := look()
		if end || err != nil {
			return end, err
		}
		if c.cfg.Now().After(deadline) {
			return false, nil
		}
		if err := c.cfg.Sleep(ctx, pause); err != nil {
			return false, err
		}
	}
}

type besideKey struct{}

// GetBeside is Get, and what stands beside the data: Proxmox adds there what
// is no part of a list, such as changes that are not applied yet.
func (c *Client) GetBeside(ctx context.Context, path string, query url.Values, out, beside any) error {
	var body json.RawMessage
	if err := c.Get(context.WithValue(ctx, besideKey{}, &body), path, query, out); err != nil {
		return err
	}
	return json.Unmarshal(body, beside)
}
