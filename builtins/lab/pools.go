package lab

import "slices"

func postPool(c *call) (any, error) {
	id := c.params.str("poolid")
	if c.st.pool(id) != nil {
		return nil, serverError("create pool failed: pool '%s' already exists", id)
	}
	c.st.Pools = append(c.st.Pools, &pool{ID: id, Comment: c.params.str("comment")})
	return nil, nil
}

func deletePool(c *call) (any, error) {
	p := c.st.pool(c.params.str("poolid"))
	if p == nil {
		return nil, serverError("delete pool failed: pool '%s' does not exist", c.params.str("poolid"))
	}
	for _, g := range c.st.Guests {
		if g.Pool == p.ID {
			return nil, serverError("delete pool failed: pool '%s' is not empty (contains VM %d)", p.ID, g.VMID)
		}
	}
	if len(p.Storages) > 0 {
		return nil, serverError("delete pool failed: pool '%s' is not empty (contains storage '%s')", p.ID, p.Storages[0])
	}
	c.st.Pools = slices.DeleteFunc(c.st.Pools, func(x *pool) bool { return x == p })
	c.st.ACL = slices.DeleteFunc(c.st.ACL, func(e aclEntry) bool { return e.Path == "/pool/"+p.ID })
	return nil, nil
}

// putPool puts guests and storages into a pool or takes them out: all of them,
// or none where one cannot.
func putPool(c *call) (any, error) {
	p := c.st.pool(c.params.str("poolid"))
	if p == nil {
		return nil, serverError("update pools failed: pool '%s' does not exist", c.params.str("poolid"))
	}
	remove := c.params.bool("delete", false)
	var guests []*guest
	for _, id := range splitList(c.params.str("vms")) {
		if err := c.mayModify(c.who, "/vms/"+id); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(c.st.Guests, func(g *guest) bool { return g.id() == id })
		switch {
		case remove && (i < 0 || c.st.Guests[i].Pool != p.ID):
			return nil, serverError("update pools failed: VM %s is not a pool member", id)
		case i < 0:
			continue // Proxmox takes ids that nobody has; the lab has nowhere to keep them
		case !remove && c.st.Guests[i].Pool == p.ID:
			return nil, serverError("update pools failed: VM %s is already a pool member", id)
		case !remove && c.st.Guests[i].Pool != "":
			was := c.st.Guests[i].Pool
			if !c.params.bool("allow-move", false) {
				return nil, serverError("update pools failed: VM %s belongs already to pool '%s' and allow-move is not set", id, was)
			}
			if err := c.need(c.who, "/pool/"+was, "Pool.Allocate"); err != nil {
				return nil, err
			}
		}
		guests = append(guests, c.st.Guests[i])
	}
	storages := slices.Clone(p.Storages)
	for _, name := range splitList(c.params.str("storage")) {
		if err := c.mayModify(c.who, "/storage/"+name); err != nil {
			return nil, err
		}
		has := slices.Contains(storages, name)
		switch {
		case remove && !has:
			return nil, serverError("update pools failed: Storage '%s' is not a pool member", name)
		case remove:
			storages = slices.DeleteFunc(storages, func(s string) bool { return s == name })
		case has:
			return nil, serverError("update pools failed: Storage '%s' is already a pool member", name)
		default:
			storages = append(storages, name)
		}
	}
	p.Storages = storages
	for _, g := range guests {
		g.Pool = p.ID
		if remove {
			g.Pool = ""
		}
	}
	if c.params.has("comment") {
		p.Comment = c.params.str("comment")
	}
	return nil, nil
}
