package proxmox

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// ResizeArgs are the arguments of resize_disk().
type ResizeArgs struct {
	Guest builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Disk  DiskName         `name:"disk" doc:"which: scsi0, rootfs, …"`
	Size  DiskSize         `name:"size" doc:"its new size, or with '+' how much it grows; a disk never shrinks"`
	Wait  builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

func (a ResizeArgs) what() string {
	return fmt.Sprintf("resizing %s of the guest %d to %s", a.Disk, a.Guest, a.Size)
}

// ResizeResult is what resize_disk() did.
type ResizeResult struct {
	Guest   builtin.VMID  `name:"guest" doc:"the guest"`
	Disk    DiskName      `name:"disk" doc:"which disk"`
	VolID   builtin.VolID `name:"volid" doc:"its volume"`
	Before  int64         `name:"before" doc:"its size before, in bytes"`
	Size    int64         `name:"size" doc:"its size now, in bytes"`
	Changed bool          `name:"changed" doc:"it was smaller before"`
	taskPart
}

func (c client) checkResize(ctx context.Context, a ResizeArgs) (foundGuest, map[string]any, ResizeResult, error) {
	none := func(err error) (foundGuest, map[string]any, ResizeResult, error) {
		return foundGuest{}, nil, ResizeResult{}, err
	}
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return none(err)
	}
	if g.home == "" {
		return none(endsPlan(ctx, a.Guest, "which volumes it will have"))
	}
	config, err := c.configOf(ctx, g, "", true)
	if err != nil {
		return none(err)
	}
	d, ok := diskOf(config, a.Disk)
	if !ok {
		return none(builtin.Faultf(builtin.NotFound, "%s", a.what()).Saying("it has no disk "+string(a.Disk)).Hinting("proxmox.config(%d) shows them", a.Guest))
	}
	size, more, err := parseSize(string(a.Size))
	if err != nil {
		return none(builtin.Faultf(builtin.Invalid, "%s", a.what()).Because(err).Hinting("such as 64G or +8G"))
	}
	if more {
		size += d.Size
	}
	switch {
	case d.Size == 0:
		return none(builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying("its configuration does not say how large it is").Hinting("qm rescan, or pct rescan, writes it there"))
	case size < d.Size:
		return none(builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(fmt.Sprintf("it has %d bytes, and Proxmox cannot shrink a disk", d.Size)).Hinting("give a size of that at least, or +8G, say"))
	}
	return g, config, ResizeResult{Guest: a.Guest, Disk: a.Disk, VolID: d.VolID, Before: d.Size, Size: size, Changed: size > d.Size, taskPart: noTask()}, nil
}

func diskOf(config map[string]any, name DiskName) (Disk, bool) {
	for _, d := range disksOf(config) {
		if d.Key == string(name) {
			return d, true
		}
	}
	return Disk{}, false
}

func (c client) previewResize(ctx context.Context, a ResizeArgs) (ResizeResult, error) {
	_, _, r, err := c.checkResize(ctx, a)
	if err != nil || !r.Changed {
		return r, err
	}
	r.taskPart = plannedTask(ctx)
	plan(ctx, a.Guest, func(v *view) {
		if v.guest != nil && v.guest.MaxDisk == r.Before { // lists show the first disk
			v.guest.MaxDisk = r.Size
		}
		if line, ok := v.config[string(a.Disk)].(string); ok {
			v.config[string(a.Disk)] = sizeOption().ReplaceAllString(line, ",size="+strconv.FormatInt(r.Size/1024, 10)+"K")
		}
	})
	return r, nil
}

// resize asks for a whole size, never for so much more: so to ask twice does
// no harm.
func (c client) resize(ctx context.Context, a ResizeArgs) (ResizeResult, error) {
	g, config, r, err := c.checkResize(ctx, a)
	if err != nil || !r.Changed {
		return r, err
	}
	params := map[string]any{"disk": string(a.Disk), "size": strconv.FormatInt(r.Size, 10), "digest": config["digest"]}
	change := guestChange{what: a.what(), guest: g, types: []string{"resize"}, wait: time.Duration(a.Wait), note: fmt.Sprintf("%d,%d", r.Before, r.Size)}
	change.send = func(ctx context.Context, out *json.RawMessage) error {
		return c.pve.Put(ctx, g.path("/resize"), params, out)
	}
	end, err := c.make(ctx, change)
	if err != nil {
		return ResizeResult{}, err
	}
	return c.resized(ctx, a, end, r.Before, r.Size)
}

func (c client) resized(ctx context.Context, a ResizeArgs, end pve.TaskEnd, before, size int64) (ResizeResult, error) {
	config, err := c.config(ctx, ConfigArgs{Guest: a.Guest, Pending: true})
	if err != nil {
		return ResizeResult{}, err
	}
	d, _ := diskOf(config, a.Disk)
	if d.Size < size {
		return ResizeResult{}, builtin.Faultf(builtin.Failed, "%s: the task ended with %q, but it has %d bytes, not %d", a.what(), end.ExitStatus, d.Size, size).
			Hinting("the whole log: pvenode task log %s on %s", end.UPID, end.UPID.Node)
	}
	return ResizeResult{Guest: a.Guest, Disk: a.Disk, VolID: d.VolID, Before: before, Size: d.Size, Changed: true, taskPart: taskOf(end)}, nil
}

func (c client) settleResize(ctx context.Context, a ResizeArgs, text string) (builtin.Settlement[ResizeResult], error) {
	request := pve.TaskRequest{What: a.what(), Guest: a.Guest, Types: []string{"resize"}}
	return settleChange(ctx, c, request, text, func(end pve.TaskEnd, h handle) (ResizeResult, error) {
		var before, size int64
		if _, err := fmt.Sscanf(h.note, "%d,%d", &before, &size); err != nil {
			return ResizeResult{}, builtin.Faultf(builtin.Failed, "%s: the record of it is damaged", a.what()).Because(err).Hinting("look at proxmox.config(%d)", a.Guest)
		}
		return c.resized(ctx, a, end, before, size)
	})
}
