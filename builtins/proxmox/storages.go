package proxmox

import (
	"context"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// StoragesArgs are the arguments of storages().
type StoragesArgs struct {
	Node builtin.Node `name:"node" default:"" scope:"node" doc:"one node only"`
}

// Storage is one storage on one node in what storages() returns.
type Storage struct {
	Name      builtin.StorageID `name:"name" doc:"the storage's name"`
	Node      builtin.Node      `name:"node" doc:"the node that this entry is about"`
	Kind      string            `name:"kind" doc:"dir, nfs, cifs, zfspool, lvmthin, pbs, …"`
	Path      string            `name:"path" doc:"its folder on the node, of storages that have one"`
	Content   []string          `name:"content" doc:"what it takes: backup, images, iso, rootdir, snippets, vztmpl"`
	Shared    bool              `name:"shared" doc:"all its nodes see the same content"`
	Enabled   bool              `name:"enabled" doc:"it is not switched off"`
	Active    bool              `name:"active" doc:"the node can use it now"`
	Keep      string            `name:"keep" doc:"its own rules for old backups, such as keep-daily=7; or empty"`
	Total     int64             `name:"total" volatile:"" doc:"its size, in bytes"`
	Used      int64             `name:"used" volatile:"" doc:"in use, in bytes"`
	Available int64             `name:"available" volatile:"" doc:"free, in bytes"`
}

func (c client) storages(ctx context.Context, args StoragesArgs) ([]Storage, error) {
	configured, err := c.pve.Storages(ctx)
	if err != nil {
		return nil, err
	}
	online, others, err := c.online(ctx)
	if err != nil {
		return nil, err
	}
	if args.Node != "" {
		node := string(args.Node)
		if err := known(node, online, others); err != nil {
			return nil, err
		}
		// Asked for by name, a node that does not answer is an error.
		online, others = []string{node}, nil
	}
	out := []Storage{}
	for _, node := range online {
		seen, err := c.pve.NodeStorages(ctx, node)
		if err != nil {
			return nil, err
		}
		for _, s := range configured {
			i := slices.IndexFunc(seen, func(st pve.StorageStatus) bool { return st.Storage == s.Storage })
			if i < 0 {
				if s.On(node) { // switched off: the node does not list it
					out = append(out, storageRow(s, node, pve.StorageStatus{}))
				}
				continue
			}
			out = append(out, storageRow(s, node, seen[i]))
		}
	}
	for _, node := range others {
		for _, s := range configured {
			if s.On(node) {
				out = append(out, storageRow(s, node, pve.StorageStatus{}))
			}
		}
	}
	slices.SortFunc(out, func(a, b Storage) int {
		if a.Name != b.Name {
			return strings.Compare(string(a.Name), string(b.Name))
		}
		return strings.Compare(string(a.Node), string(b.Node))
	})
	return out, nil
}

func storageRow(s pve.Storage, node string, seen pve.StorageStatus) Storage {
	return Storage{
		Name: builtin.StorageID(s.Storage), Node: builtin.Node(node), Kind: s.Type, Path: s.Path, Content: s.Content,
		Shared: s.IsShared(), Enabled: !bool(s.Disable), Active: bool(seen.Active), Keep: s.PruneBackups,
		Total: int64(seen.Total), Used: int64(seen.Used), Available: int64(seen.Avail),
	}
}

// ContentArgs are the arguments of content().
type ContentArgs struct {
	Storage builtin.StorageID `name:"storage" scope:"storage" doc:"the storage"`
	Node    builtin.Node      `name:"node" default:"" doc:"the node from which to look"`
	Kind    string            `name:"kind" default:"" enum:"backup,images,rootdir,iso,vztmpl,snippets,import" doc:"one kind only"`
}

// Volume is one volume in what content() returns.
type Volume struct {
	VolID     builtin.VolID `name:"volid" doc:"the volume's id, STORAGE:NAME"`
	Kind      string        `name:"kind" doc:"backup, images (disks of VMs), rootdir (of containers), iso, vztmpl, snippets"`
	Guest     int64         `name:"guest" doc:"the id of the guest it belongs to, or 0"`
	GuestKind string        `name:"guest_kind" doc:"of backups: vm or container"`
	Size      int64         `name:"size" doc:"in bytes"`
	Created   time.Time     `name:"created" doc:"when it was made, UTC"`
	Format    string        `name:"format" doc:"vma.zst, tar.zst, raw, qcow2, subvol, iso, …"`
	Notes     string        `name:"notes" doc:"of backups: its notes"`
	Protected bool          `name:"protected" doc:"Proxmox refuses to remove it"`
	Verified  string        `name:"verified" doc:"what a Proxmox Backup Server's last verification found: ok, failed, or empty"`
	Used      int64         `name:"used" volatile:"" doc:"of disks: what it takes up, in bytes"`
}

func (c client) content(ctx context.Context, args ContentArgs) ([]Volume, error) {
	node, err := c.nodeFor(ctx, string(args.Storage), string(args.Node))
	if err != nil {
		return nil, err
	}
	raw, err := c.pve.Content(ctx, node, string(args.Storage), pve.ContentFilter{Content: args.Kind})
	if err != nil {
		return nil, err
	}
	out := make([]Volume, len(raw))
	for i, v := range raw {
		out[i] = Volume{
			VolID: builtin.VolID(v.VolID), Kind: v.Content, Guest: int64(v.VMID), GuestKind: pve.KindOf(v.Subtype), Size: int64(v.Size),
			Created: v.CTime.Time, Format: v.Format, Notes: v.Notes, Protected: bool(v.Protected), Verified: v.Verified(), Used: int64(v.Used),
		}
	}
	return out, nil
}

// nodeFor is the node from which to look at a storage.
func (c client) nodeFor(ctx context.Context, storage, node string) (string, error) {
	if node != "" {
		return node, nil
	}
	configured, err := c.pve.Storages(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(configured, func(s pve.Storage) bool { return s.Storage == storage })
	if i < 0 {
		return "", builtin.Faultf(builtin.NotFound, "the storage %s", storage).
			Hinting("storages() lists what there is; the token needs Datastore.Audit on it")
	}
	s := configured[i]
	online, others, err := c.online(ctx)
	if err != nil {
		return "", err
	}
	has := func(node string) bool { return s.On(node) }
	up, down := keep(online, has), keep(others, has)
	switch {
	case s.IsShared() && len(up) > 0, len(up) == 1 && len(down) == 0:
		return up[0], nil
	case len(up)+len(down) > 1 && !s.IsShared():
		return "", builtin.Faultf(builtin.Invalid, "the content of the storage %s", storage).
			Saying("each node has a storage of that name, of its own").
			Hinting("say which: node = %q", append(up, down...)[0])
	}
	return "", builtin.Faultf(builtin.Unreachable, "the content of the storage %s", storage).
		Saying("none of its nodes is online: " + strings.Join(down, ", "))
}

func keep(list []string, want func(string) bool) []string {
	var out []string
	for _, s := range list {
		if want(s) {
			out = append(out, s)
		}
	}
	return out
}
