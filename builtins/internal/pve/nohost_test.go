package pve

import (
	"testing"

	"nixmox/engine/builtin"
)

// Without a host every request says so.
func TestNoHost(t *testing.T) {
	var c *Client
	for name, err := range map[string]error{
		"GET":    c.Get(t.Context(), "/version", nil, nil),
		"POST":   c.Post(t.Context(), "/nodes", nil, nil),
		"PUT":    c.PutSame(t.Context(), "/nodes", nil, nil),
		"DELETE": c.Delete(t.Context(), "/nodes", map[string]any{"force": true}, nil),
	} {
		f := builtin.AsFault(err)
		if f == nil || f.Kind != builtin.Unreachable || f.Said != "no Proxmox VE host is configured" || f.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
