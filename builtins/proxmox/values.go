package proxmox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"math/big"
	"net/url"

	"nixmox/engine/builtin"
)

func compare(a, b string) int { return cmp.Compare(a, b) }

// dict reads an object of the API into values that languages know, numbers
// with all their digits.
func (c client) dict(ctx context.Context, path string, query url.Values) (map[string]any, error) {
	var raw json.RawMessage
	if err := c.pve.Get(ctx, path, query, &raw); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil || out == nil {
		return nil, builtin.Faultf(builtin.Unreachable, "GET %s on %s", path, c.pve.Host()).Saying("want an object, got something else").Because(err)
	}
	for key, value := range out {
		out[key] = neutral(value)
	}
	return out, nil
}

func neutral(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if n, ok := new(big.Int).SetString(v.String(), 10); ok {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String() // out of range: as text, none of it lost
		}
		return f
	case []any:
		for i := range v {
			v[i] = neutral(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = neutral(v[key])
		}
	}
	return v
}
