package pve

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// subfolders are where a directory storage keeps what (Proxmox's
// PVE/Storage/Plugin.pm), by the first part of a volume's name.
var subfolders = map[string]string{
	"backup": "dump", "iso": "template/iso", "vztmpl": "template/cache", "snippets": "snippets", "import": "import",
}

// LocalFile is where this machine can read the file of a volume, given by its
// name without the storage (backup/vzdump-….vma.zst): below a configured mount
// of "node/storage" or "storage", or below the storage's own path where this
// machine is that node, or any node that has the storage if it is shared. The
// file is looked at, and lies inside the folder, symlinks followed.
//
// Everything that keeps this machine from looking is unreachable, a file that
// is not there as well: whether an archive exists, Proxmox's list says, and an
// empty folder may be one where nothing is mounted.
func (c *Client) LocalFile(ctx context.Context, node, storage, volumeName string) (string, error) {
	if err := new(builtin.VolID).UnmarshalText([]byte(storage + ":" + volumeName)); err != nil {
		return "", builtin.Faultf(builtin.Invalid, "the volume %s:%s", storage, volumeName).Because(err)
	}
	kind, rest, _ := strings.Cut(volumeName, "/")
	folder, known := subfolders[kind]
	if !known || rest == "" {
		return "", builtin.Faultf(builtin.Invalid, "the volume %s:%s", storage, volumeName).Saying("it is no file of its own")
	}
	root, ok := c.cfg.Mounts[node+"/"+storage]
	if !ok {
		root, ok = c.cfg.Mounts[storage]
	}
	if !ok {
		var err error
		if root, folder, err = c.ownFolder(ctx, node, storage, kind, folder); err != nil {
			return "", err
		}
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return "", c.cannotLook(node, storage, volumeName).Because(err)
	}
	defer func() { _ = dir.Close() }()
	name := filepath.Join(folder, rest)
	info, err := dir.Stat(name)
	switch {
	case err != nil:
		return "", c.cannotLook(node, storage, volumeName).Because(err).
			Hinting("Proxmox lists it; is %s the storage's folder, the one that has %s in it, and is it mounted?", root, folder)
	case !info.Mode().IsRegular():
		return "", c.cannotLook(node, storage, volumeName).Saying(filepath.Join(root, name) + " is no regular file")
	}
	return filepath.Join(root, name), nil
}

// ownFolder is the storage's path where this machine is a node that has it.
func (c *Client) ownFolder(ctx context.Context, node, storage, kind, folder string) (root, sub string, err error) {
	here := c.localNode()
	if here == "" {
		return "", "", c.cannotLook(node, storage, kind).Saying("this machine is no Proxmox node")
	}
	storages, err := c.Storages(ctx)
	if err != nil {
		return "", "", err
	}
	i := slices.IndexFunc(storages, func(s Storage) bool { return s.Storage == storage })
	if i < 0 {
		return "", "", builtin.Faultf(builtin.NotFound, "the storage %s", storage).
			Hinting("storages() lists what there is; the token needs Datastore.Audit on it")
	}
	s := storages[i]
	root = s.Path
	switch s.Type {
	case "dir", "btrfs":
	case "nfs", "cifs", "cephfs", "glusterfs": // Proxmox mounts them itself
		if root == "" {
			root = "/mnt/pve/" + s.Storage
		}
	default:
		return "", "", c.cannotLook(node, storage, kind).Saying("a storage of type " + s.Type + " keeps no files")
	}
	if here != node && (!s.IsShared() || !s.On(here)) {
		return "", "", c.cannotLook(node, storage, kind).Saying("its files are on " + node + ", and this machine is " + here)
	}
	if !filepath.IsAbs(root) {
		return "", "", c.cannotLook(node, storage, kind).Saying("its path is not known")
	}
	for _, entry := range s.ContentDirs {
		if name, dir, _ := strings.Cut(entry, "="); name == kind {
			folder = strings.TrimPrefix(filepath.Clean(dir), "/")
		}
	}
	return root, folder, nil
}

func (c *Client) cannotLook(node, storage, what string) *builtin.Fault {
	return builtin.Faultf(builtin.Unreachable, "cannot look at %s of the storage %s on %s", what, storage, node).
		Hinting("mount the storage's folder on this machine and name it in [proxmox.mounts]: %q = \"/its/folder\"", node+"/"+storage)
}
