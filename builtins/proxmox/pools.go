package proxmox

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// PoolID is the name of a resource pool.
type PoolID string

// Describe names the type and its grammar.
func (PoolID) Describe() (string, string) {
	return "pool", "letters, digits, '-', '_' and '.', with '/' between a pool and one inside it"
}

// Pattern is the grammar of the name.
func (PoolID) Pattern() string { return poolGrammar().String() }

// UnmarshalText follows pve-poolid of Proxmox's JSON schema.
func (p *PoolID) UnmarshalText(text []byte) error {
	if !poolGrammar().Match(text) {
		return fmt.Errorf("%q is no pool: want letters, digits, '-', '_' and '.'", text)
	}
	*p = PoolID(text)
	return nil
}

// Pool is one resource pool in what pools() returns.
type Pool struct {
	Name     PoolID         `name:"name" doc:"the pool's name"`
	Comment  string         `name:"comment" doc:"what was written beside it"`
	Guests   []builtin.VMID `name:"guests" doc:"the guests in it, by id"`
	Storages []string       `name:"storages" doc:"the storages in it, by name"`
}

func (c client) pools(ctx context.Context, _ noArgs) ([]Pool, error) {
	var raw []struct {
		PoolID PoolID `json:"poolid"`
	}
	if err := c.pve.Get(ctx, "/pools", nil, &raw); err != nil {
		return nil, err
	}
	out := []Pool{}
	for _, r := range raw {
		p, err := c.pool(ctx, r.PoolID)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	planned := plannedPools(ctx)
	for i := range out {
		for _, change := range planned {
			change.apply(&out[i])
		}
	}
	slices.SortFunc(out, func(a, b Pool) int { return compare(string(a.Name), string(b.Name)) })
	return out, nil
}

// pool reads one pool, as it really is.
func (c client) pool(ctx context.Context, id PoolID) (Pool, error) {
	var raw []struct {
		PoolID  PoolID   `json:"poolid"`
		Comment pve.Text `json:"comment"`
		Members []struct {
			VMID    pve.Int  `json:"vmid"`
			Storage pve.Text `json:"storage"`
		} `json:"members"`
	}
	err := c.pve.Get(ctx, "/pools", url.Values{"poolid": {string(id)}}, &raw)
	if err == nil && len(raw) != 1 {
		err = builtin.Faultf(builtin.NotFound, "the pool %s", id)
	}
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return Pool{}, f.Hinting("pools() lists what there is; the token needs Pool.Audit on it")
	}
	if err != nil {
		return Pool{}, err
	}
	out := Pool{Name: raw[0].PoolID, Comment: string(raw[0].Comment), Guests: []builtin.VMID{}, Storages: []string{}}
	for _, m := range raw[0].Members {
		switch {
		case m.VMID != 0:
			out.Guests = append(out.Guests, builtin.VMID(m.VMID))
		case m.Storage != "" && !slices.Contains(out.Storages, string(m.Storage)):
			out.Storages = append(out.Storages, string(m.Storage))
		}
	}
	slices.Sort(out.Guests)
	slices.Sort(out.Storages)
	return out, nil
}

// AddToPoolArgs are the arguments of add_to_pool().
type AddToPoolArgs struct {
	Pool     PoolID              `name:"pool" scope:"pool" doc:"the pool"`
	Guests   []builtin.VMID      `name:"guests" default:"" doc:"guests that shall be in it"`
	Storages []builtin.StorageID `name:"storages" default:"" doc:"storages that shall be in it"`
	Move     bool                `name:"move" default:"false" doc:"take guests out of the pool that they are in"`
}

// RemoveFromPoolArgs are the arguments of remove_from_pool().
type RemoveFromPoolArgs struct {
	Pool     PoolID              `name:"pool" scope:"pool" doc:"the pool"`
	Guests   []builtin.VMID      `name:"guests" default:"" doc:"guests that shall not be in it"`
	Storages []builtin.StorageID `name:"storages" default:"" doc:"storages that shall not be in it"`
}

// poolChange is what one call changes about one pool, or would in a plan.
type poolChange struct {
	Pool     PoolID
	Guests   []builtin.VMID
	Storages []builtin.StorageID
	Move     bool
	Remove   bool
}

func (a AddToPoolArgs) change() poolChange {
	return poolChange{Pool: a.Pool, Guests: a.Guests, Storages: a.Storages, Move: a.Move}
}

func (a RemoveFromPoolArgs) change() poolChange {
	return poolChange{Pool: a.Pool, Guests: a.Guests, Storages: a.Storages, Remove: true}
}

func (a AddToPoolArgs) keys() []string      { return []string{"pool:" + string(a.Pool)} }
func (a RemoveFromPoolArgs) keys() []string { return []string{"pool:" + string(a.Pool)} }

func (ch poolChange) what() string {
	verb := "adding to"
	if ch.Remove {
		verb = "removing from"
	}
	return verb + " the pool " + string(ch.Pool)
}

// apply does to a list what the change does to the world.
func (ch poolChange) apply(p *Pool) {
	switch {
	case p.Name == ch.Pool && !ch.Remove:
		p.Guests = append(p.Guests, ch.Guests...)
		for _, s := range ch.Storages {
			p.Storages = append(p.Storages, string(s))
		}
		slices.Sort(p.Guests)
		slices.Sort(p.Storages)
		p.Guests, p.Storages = slices.Compact(p.Guests), slices.Compact(p.Storages)
	case p.Name == ch.Pool:
		p.Guests = slices.DeleteFunc(p.Guests, func(id builtin.VMID) bool { return slices.Contains(ch.Guests, id) })
		p.Storages = slices.DeleteFunc(p.Storages, func(s string) bool { return slices.Contains(ch.Storages, builtin.StorageID(s)) })
	case !ch.Remove: // a guest is in one pool at most
		p.Guests = slices.DeleteFunc(p.Guests, func(id builtin.VMID) bool { return slices.Contains(ch.Guests, id) })
	}
}

const plannedPoolKey = "proxmox pools"

func plannedPools(ctx context.Context) []poolChange {
	var out []poolChange
	for _, e := range builtin.CallFrom(ctx).Run.Planned.Entries(plannedPoolKey) {
		out = append(out, e.(poolChange))
	}
	return out
}

// inPlannedPools gives guests the pools that they would be in.
func inPlannedPools(ctx context.Context, guests []pve.Guest) {
	for _, ch := range plannedPools(ctx) {
		for i := range guests {
			switch g := &guests[i]; {
			case !slices.Contains(ch.Guests, g.VMID):
			case !ch.Remove:
				g.Pool = string(ch.Pool)
			case g.Pool == string(ch.Pool):
				g.Pool = ""
			}
		}
	}
}

// missing is what of the change is still to be made. A plan counts what was
// planned before.
func (c client) missing(ctx context.Context, ch poolChange) (poolChange, Pool, error) {
	if len(ch.Guests)+len(ch.Storages) == 0 {
		return ch, Pool{}, builtin.Faultf(builtin.Invalid, "%s", ch.what()).Saying("neither guests nor storages were named")
	}
	p, err := c.pool(ctx, ch.Pool)
	if err != nil {
		return ch, p, err
	}
	for _, planned := range plannedPools(ctx) {
		planned.apply(&p)
	}
	todo := ch
	todo.Guests, todo.Storages = nil, nil
	for _, id := range ch.Guests {
		if slices.Contains(p.Guests, id) == ch.Remove {
			todo.Guests = append(todo.Guests, id)
		}
	}
	for _, s := range ch.Storages {
		if slices.Contains(p.Storages, string(s)) == ch.Remove {
			todo.Storages = append(todo.Storages, s)
		}
	}
	if ch.Remove || len(todo.Guests) == 0 {
		return todo, p, nil
	}
	// Proxmox takes ids that no guest has, and a guest of another pool only
	// if it may be moved.
	guests, err := c.pve.Guests(ctx)
	if err != nil {
		return todo, p, err
	}
	inPlannedPools(ctx, guests)
	for _, id := range todo.Guests {
		i := slices.IndexFunc(guests, func(g pve.Guest) bool { return g.VMID == id })
		switch {
		case i < 0:
			return todo, p, builtin.Faultf(builtin.NotFound, "%s: the guest %d", ch.what(), id).
				Hinting("guests() lists what there is; guests on which the token has no VM.Audit are hidden from it")
		case guests[i].Pool != "" && !ch.Move:
			return todo, p, builtin.Faultf(builtin.Conflict, "%s: the guest %d", ch.what(), id).Saying("it is in the pool " + guests[i].Pool).
				Hinting("move = True takes it out of there")
		}
	}
	return todo, p, nil
}

func (c client) previewPool(ctx context.Context, ch poolChange) (Pool, error) {
	todo, p, err := c.missing(ctx, ch)
	if err != nil {
		return Pool{}, err
	}
	todo.apply(&p)
	if plan := builtin.CallFrom(ctx).Run.Planned; plan != nil {
		plan.Add(plannedPoolKey, todo)
	}
	return p, nil
}

func (c client) changePool(ctx context.Context, ch poolChange) (Pool, error) {
	todo, p, err := c.missing(ctx, ch)
	if err != nil || len(todo.Guests)+len(todo.Storages) == 0 {
		return p, err
	}
	params := map[string]any{"poolid": string(ch.Pool)}
	if len(todo.Guests) > 0 {
		params["vms"] = idList(todo.Guests)
	}
	if len(todo.Storages) > 0 {
		names := make([]string, len(todo.Storages))
		for i, s := range todo.Storages {
			names[i] = string(s)
		}
		params["storage"] = strings.Join(names, ",")
	}
	if ch.Remove {
		params["delete"] = 1
	}
	if ch.Move {
		params["allow-move"] = 1
	}
	putErr := c.pve.Put(ctx, "/pools", params, nil)
	if putErr != nil && !pve.InDoubt(putErr) {
		return Pool{}, putErr
	}
	// Read back; after a lost answer this is what settles it.
	todo, p, err = c.missing(ctx, ch)
	switch {
	case err != nil:
		return Pool{}, err
	case len(todo.Guests)+len(todo.Storages) == 0:
		return p, nil
	case putErr != nil:
		return Pool{}, putErr
	}
	return Pool{}, builtin.Faultf(builtin.Failed, "%s", ch.what()).Saying(fmt.Sprintf("Proxmox took it, and yet it is not so: guests %v, storages %v", todo.Guests, todo.Storages)).
		Hinting("does something else change the pool?")
}

func (c client) settlePool(ctx context.Context, ch poolChange) (builtin.Settlement[Pool], error) {
	todo, p, err := c.missing(ctx, ch)
	if err != nil {
		return builtin.Settlement[Pool]{}, err
	}
	if len(todo.Guests)+len(todo.Storages) > 0 { // what is there already is left out when it is done again
		return builtin.Settlement[Pool]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[Pool]{State: builtin.Done, Result: p}, nil
}

func (c client) addToPool() builtin.Op[AddToPoolArgs, Pool] {
	return builtin.Op[AddToPoolArgs, Pool]{
		Preview: func(ctx context.Context, a AddToPoolArgs) (Pool, error) { return c.previewPool(ctx, a.change()) },
		Do:      func(ctx context.Context, a AddToPoolArgs) (Pool, error) { return c.changePool(ctx, a.change()) },
		Settle: func(ctx context.Context, a AddToPoolArgs, _ string) (builtin.Settlement[Pool], error) {
			return c.settlePool(ctx, a.change())
		},
		Keys: AddToPoolArgs.keys,
	}
}

func (c client) removeFromPool() builtin.Op[RemoveFromPoolArgs, Pool] {
	return builtin.Op[RemoveFromPoolArgs, Pool]{
		Preview: func(ctx context.Context, a RemoveFromPoolArgs) (Pool, error) { return c.previewPool(ctx, a.change()) },
		Do:      func(ctx context.Context, a RemoveFromPoolArgs) (Pool, error) { return c.changePool(ctx, a.change()) },
		Settle: func(ctx context.Context, a RemoveFromPoolArgs, _ string) (builtin.Settlement[Pool], error) {
			return c.settlePool(ctx, a.change())
		},
		Keys: RemoveFromPoolArgs.keys,
	}
}
