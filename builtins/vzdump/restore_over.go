package vzdump

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// RestoreOverArgs are the arguments of restore_over.
type RestoreOverArgs struct {
	VolID      builtin.VolID     `name:"volid" doc:"the archive"`
	Guest      builtin.VMID      `name:"guest" scope:"guest" doc:"the guest that it replaces, which must be stopped"`
	Storage    builtin.StorageID `name:"storage" default:"" doc:"where its disks go; empty: to the storages that they were on"`
	Unverified bool              `name:"unverified" default:"false" doc:"take an archive, too, of which nobody has marked that it is whole"`
	Start      bool              `name:"start" default:"false" doc:"start it then, and see that it runs"`
}

func (a RestoreOverArgs) keys() []string { return []string{"guest:" + a.Guest.String()} }

// Overwritten is the guest that goes, and the archive that comes in its place.
type Overwritten struct {
	Guest       builtin.VMID  `name:"guest" doc:"the guest whose disks and configuration go"`
	Name        string        `name:"name" doc:"its name"`
	Kind        string        `name:"kind" doc:"vm or container"`
	Node        builtin.Node  `name:"node" doc:"where it is"`
	Digest      string        `name:"digest" doc:"Proxmox's digest of its configuration"`
	Disks       []Disk        `name:"disks" doc:"its disks, all of which go, those that the archive does not have as well"`
	Snapshots   []string      `name:"snapshots" doc:"its snapshots, which go too"`
	Archive     builtin.VolID `name:"archive" doc:"what it is made of anew"`
	ArchiveTime time.Time     `name:"archive_time" doc:"when that backup began, UTC"`
	ArchiveSize int64         `name:"archive_size" doc:"bytes of it"`
}

// overwrite resolves what a restore over a guest destroys, by identity.
func (v *vzdump) overwrite(ctx context.Context, a RestoreOverArgs) (*restoration, Overwritten, error) {
	what := fmt.Sprintf("restoring %s over guest %d", a.VolID, a.Guest)
	conflict := func(said, hint string, args ...any) error {
		return builtin.Faultf(builtin.Conflict, "%s: nothing was done", what).Saying(said).Hinting(hint, args...)
	}
	guests, err := v.c.Guests(ctx)
	if err != nil {
		return nil, Overwritten{}, err
	}
	i := slices.IndexFunc(guests, func(g pve.Guest) bool { return g.VMID == a.Guest })
	if i < 0 {
		return nil, Overwritten{}, builtin.Faultf(builtin.NotFound, "%s", what).Saying("there is no such guest").
			Hinting("vzdump.restore makes a new one")
	}
	node := builtin.Node(guests[i].Node)
	args := RestoreArgs{VolID: a.VolID, Storage: a.Storage, Node: node, Unique: true}
	listed, _, err := v.restorable(ctx, args)
	if err != nil {
		return nil, Overwritten{}, err
	}
	r := &restoration{volid: a.VolID, guest: a.Guest, kind: listed.Kind, node: node, over: true, start: a.Start, before: "-"}
	switch {
	case pve.KindOf(guests[i].Type) != listed.Kind:
		return nil, Overwritten{}, conflict(fmt.Sprintf("the guest is a %s, and the archive is of a %s", pve.KindOf(guests[i].Type), listed.Kind), "restore it to an id of its own: vzdump.restore")
	case listed.Verified == nil && listed.Verification != "ok" && !a.Unverified:
		return nil, Overwritten{}, conflict("the archive is not marked as verified, and the guest may be the only whole copy", "vzdump.verify and vzdump.mark first; or say unverified = True")
	}
	d := Overwritten{Guest: a.Guest, Name: guests[i].Name, Kind: listed.Kind, Node: node, Archive: a.VolID, ArchiveTime: listed.Time, ArchiveSize: listed.Size, Disks: []Disk{}, Snapshots: []string{}}
	config, err := v.config(ctx, r)
	if err != nil {
		return nil, d, err
	}
	if err := v.mayGo(ctx, r, config, conflict); err != nil {
		return nil, d, err
	}
	d.Digest = config.values["digest"]
	for _, x := range config.disks() {
		d.Disks = append(d.Disks, x.Disk)
	}
	var snapshots []struct {
		Name string `json:"name"`
	}
	if err := v.c.Get(ctx, r.path(a.Guest.String(), "snapshot"), nil, &snapshots); err != nil {
		return nil, d, err
	}
	for _, s := range snapshots {
		if s.Name != "current" {
			d.Snapshots = append(d.Snapshots, s.Name)
		}
	}
	archived, archivedConfig, err := v.configIn(ctx, listed)
	if err != nil {
		return nil, d, err
	}
	r.leftOut = archived.LeftOut
	if err := v.chooseParams(ctx, r, args, archivedConfig); err != nil {
		return nil, d, err
	}
	r.params["force"] = 1
	return r, d, nil
}

// mayGo refuses what Proxmox would refuse only inside the task, when it is late.
func (v *vzdump) mayGo(ctx context.Context, r *restoration, config guestConfig, conflict func(said, hint string, args ...any) error) error {
	var now struct {
		Status string `json:"status"`
	}
	if err := v.c.Get(ctx, r.path(r.guest.String(), "status", "current"), nil, &now); err != nil {
		return err
	}
	plan := builtin.CallFrom(ctx).Run.Planned
	switch lock := config.values["lock"]; {
	case config.values["protection"] == "1":
		return conflict("the guest is protected", "if that is meant no more: its option protection, off")
	case lock != "":
		return builtin.Faultf(builtin.Busy, "%s: nothing was done", r.what()).Saying("the guest is locked ("+lock+")").
			Hinting("something works on it: look at the tasks of %s, and wait for its end", r.node)
	case now.Status != "stopped" && plan == nil:
		return conflict("the guest is "+now.Status, "shut it down first")
	case now.Status != "stopped":
		plan.Assume(fmt.Sprintf("guest %d, which is %s, is stopped by then", r.guest, now.Status))
	}
	return nil
}

func (v *vzdump) decideRestoreOver(ctx context.Context, a RestoreOverArgs) (Overwritten, error) {
	_, d, err := v.overwrite(ctx, a)
	return d, err
}

func (v *vzdump) previewRestoreOver(ctx context.Context, a RestoreOverArgs, d Overwritten) (Restored, error) {
	r, _, err := v.overwrite(ctx, a)
	if err != nil {
		return Restored{}, err
	}
	return r.planned(ctx), nil
}

func (v *vzdump) restoreOver(ctx context.Context, a RestoreOverArgs, decided Overwritten) (Restored, error) {
	r, now, err := v.overwrite(ctx, a)
	if err != nil {
		return Restored{}, err
	}
	if !reflect.DeepEqual(now, decided) {
		return Restored{}, builtin.Faultf(builtin.Conflict, "%s: guest or archive have changed since it was decided", r.what()).
			Saying(fmt.Sprintf("decided on %+v, and now it is %+v", decided, now)).Hinting("nothing was done; do it again, and it is decided anew")
	}
	return v.carryOut(ctx, r)
}
