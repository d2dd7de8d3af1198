package pve

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"nixmox/engine/builtin"
)

// Storage is an entry of the cluster's storage.cfg.
type Storage struct {
	Storage      string `json:"storage"`
	Type         string `json:"type"` // dir, nfs, zfspool, pbs, …
	Path         string `json:"path"` // of directories
	Shared       Bool   `json:"shared"`
	Content      CSV    `json:"content"`
	Nodes        CSV    `json:"nodes"` // none: all
	Disable      Bool   `json:"disable"`
	PruneBackups string `json:"prune-backups"` // keep-last=3,keep-daily=7; "" if nothing is set
	ContentDirs  CSV    `json:"content-dirs"`  // backup=dump, …, where the folders were renamed
	Server       string `json:"server"`
	Export       string `json:"export"`
	Pool         string `json:"pool"`
	Datastore    string `json:"datastore"`
}

// On reports that a node may use the storage.
func (s Storage) On(node string) bool { return len(s.Nodes) == 0 || slices.Contains(s.Nodes, node) }

// IsShared reports that all its nodes see the same content: what is configured
// so, and the types that cannot be otherwise (Proxmox's PVE/Storage/Plugin.pm).
func (s Storage) IsShared() bool {
	return bool(s.Shared) || slices.Contains([]string{"nfs", "cifs", "cephfs", "glusterfs", "pbs", "rbd", "iscsi", "iscsidirect", "zfs", "esxi"}, s.Type)
}

// StorageStatus is a storage as a node sees it; sizes in bytes.
type StorageStatus struct {
	Storage string `json:"storage"`
	Type    string `json:"type"`
	Content CSV    `json:"content"`
	Shared  Bool   `json:"shared"`
	Enabled Bool   `json:"enabled"`
	Active  Bool   `json:"active"` // it can be used there, now
	Total   Int    `json:"total"`
	Used    Int    `json:"used"`
	Avail   Int    `json:"avail"`
}

// CSV is a list that Proxmox writes as one string, in no particular order.
type CSV []string

// UnmarshalJSON sorts it, so that equal lists are equal.
func (l *CSV) UnmarshalJSON(data []byte) error {
	text, err := scalar(data)
	if err != nil {
		return err
	}
	*l = strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == ';' || r == ' ' })
	slices.Sort(*l)
	return nil
}

// Storages lists the configured storages by name; a token sees the ones it may.
func (c *Client) Storages(ctx context.Context) ([]Storage, error) {
	var out []Storage
	if err := c.Get(ctx, "/storage", nil, &out); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Storage) int { return strings.Compare(a.Storage, b.Storage) })
	return out, nil
}

// NodeStorages lists the storages of a node by name, with what they hold. It
// makes Proxmox look at each of them, so a hanging one makes it slow.
func (c *Client) NodeStorages(ctx context.Context, node string) ([]StorageStatus, error) {
	var out []StorageStatus
	if err := c.Get(ctx, Path("/nodes/%s/storage", node), nil, &out); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b StorageStatus) int { return strings.Compare(a.Storage, b.Storage) })
	return out, nil
}

// Volume is a disk image, an archive, an ISO: anything in a storage.
type Volume struct {
	VolID        string          `json:"volid"`
	Content      string          `json:"content"` // backup, images, rootdir, iso, vztmpl, snippets
	Size         Int             `json:"size"`    // bytes
	Used         Int             `json:"used"`    // bytes
	CTime        Time            `json:"ctime"`
	Format       string          `json:"format"`  // vma.zst, tar.zst, raw, qcow2, …
	Subtype      string          `json:"subtype"` // of backups: qemu or lxc
	VMID         Int             `json:"vmid"`    // 0: none
	Notes        string          `json:"notes"`
	Protected    Bool            `json:"protected"`
	Encrypted    Text            `json:"encrypted"` // pbs: 1, or the key's fingerprint
	Verification json.RawMessage `json:"verification"`
	Parent       Text            `json:"parent"`
}

// Verified is what a backup server found when it last verified the volume: ok,
// failed, or "" if it never did. Other storages verify nothing.
func (v Volume) Verified() string {
	var said struct {
		State string `json:"state"`
	}
	_ = json.Unmarshal(v.Verification, &said) // absent or null: never
	return said.State
}

// ContentFilter says which volumes to list; zero fields do not filter.
type ContentFilter struct {
	Content string // backup, images, rootdir, iso, vztmpl, snippets
	VMID    builtin.VMID
}

// Content lists what is in a storage, seen from a node, by volume id. A token
// sees the backups of guests that it has VM.Backup on.
func (c *Client) Content(ctx context.Context, node, storage string, filter ContentFilter) ([]Volume, error) {
	query := url.Values{}
	if filter.Content != "" {
		query.Set("content", filter.Content)
	}
	if filter.VMID != 0 {
		query.Set("vmid", strconv.Itoa(int(filter.VMID)))
	}
	var out []Volume
	if err := c.Get(ctx, Path("/nodes/%s/storage/%s/content", node, storage), query, &out); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Volume) int { return strings.Compare(a.VolID, b.VolID) })
	return out, nil
}
