package vzdump

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// RestoreArgs are the arguments of restore.
type RestoreArgs struct {
	VolID   builtin.VolID     `name:"volid" scope:"storage" doc:"the archive"`
	Guest   *builtin.VMID     `name:"guest" default:"" doc:"the id of the new guest, which must be free; None: the next that is"`
	Storage builtin.StorageID `name:"storage" default:"" doc:"where its disks go; empty: to the storages that they were on"`
	Node    builtin.Node      `name:"node" default:"" doc:"where it is restored; empty: where the guest that was backed up is now if that node has the archive, or one that has"`
	Pool    string            `name:"pool" default:"" doc:"the pool that it joins"`
	Unique  bool              `name:"unique" default:"true" doc:"new MAC addresses and a new machine id, since it is a copy; under the id of the guest that was backed up it is none and keeps them"`
	Start   bool              `name:"start" default:"false" doc:"start it, and see that it runs"`
}

func (a RestoreArgs) keys() []string {
	if a.Guest == nil {
		return nil // Proxmox itself gives an id to one only
	}
	return []string{"guest:" + a.Guest.String()}
}

// Restored is a guest that was made of an archive.
type Restored struct {
	Guest    builtin.VMID                     `name:"guest" doc:"its id"`
	Kind     string                           `name:"kind" doc:"vm or container"`
	Node     builtin.Node                     `name:"node" doc:"where it is"`
	Archive  builtin.VolID                    `name:"archive" doc:"what it was made of"`
	Task     builtin.Later[string]            `name:"task" doc:"the UPID of Proxmox's task"`
	Config   builtin.Later[map[string]string] `name:"config" doc:"its configuration, read back"`
	Disks    builtin.Later[[]Disk]            `name:"disks" doc:"its disks, each seen on its storage"`
	LeftOut  []string                         `name:"left_out" doc:"what the guest that was backed up had, and this one has not, or only empty"`
	Warnings builtin.Later[[]string]          `name:"warnings" doc:"what is wrong though it was restored"`
}

// restoration is a restore that was checked and can be started.
type restoration struct {
	volid    builtin.VolID
	guest    builtin.VMID
	kind     string
	node     builtin.Node
	over     bool // a guest is there, and is overwritten
	start    bool
	params   map[string]any
	leftOut  []string
	warnings []string
	before   string // the newest restore of that id before this one, or "-"
}

func (r *restoration) what() string {
	if r.over {
		return fmt.Sprintf("restoring %s over guest %d on %s", r.volid, r.guest, r.node)
	}
	return fmt.Sprintf("restoring %s as guest %d on %s", r.volid, r.guest, r.node)
}

// handle is what is kept of a call: what it chose, and its task once that has
// begun.
func (r *restoration) handle(task string) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s %s", r.guest, r.node, r.before, task))
}

// path is where Proxmox creates guests of that kind; what stands below it.
func (r *restoration) path(below ...string) string {
	kind := "qemu"
	if r.kind == "container" {
		kind = "lxc"
	}
	path := pve.Path("/nodes/%s/"+kind, string(r.node))
	return strings.Join(append([]string{path}, below...), "/")
}

// prepare checks everything that can be before a restore, and reads the
// configuration out of the archive.
func (v *vzdump) prepare(ctx context.Context, a RestoreArgs) (*restoration, error) {
	listed, s, err := v.restorable(ctx, a)
	if err != nil {
		return nil, err
	}
	guests, err := v.c.Guests(ctx)
	if err != nil {
		return nil, err
	}
	r := &restoration{volid: a.VolID, kind: listed.Kind, node: listed.Node, start: a.Start, before: "-"}
	for _, g := range guests {
		if a.Node == "" && g.VMID == listed.Guest && s.IsShared() && s.On(g.Node) {
			r.node = builtin.Node(g.Node)
		}
	}
	archived, config, err := v.configIn(ctx, listed)
	if err != nil {
		return nil, err
	}
	r.leftOut = archived.LeftOut
	if r.guest, err = v.freeID(ctx, a.Guest); err != nil {
		return nil, err
	}
	return r, v.chooseParams(ctx, r, a, config)
}

// restorable is an archive that is there, and the storage that it is on.
func (v *vzdump) restorable(ctx context.Context, a RestoreArgs) (Archive, pve.Storage, error) {
	s, err := v.storage(ctx, a.VolID.Storage())
	if err != nil {
		return Archive{}, s, err
	}
	listed, err := v.find(ctx, a.VolID, a.Node)
	if err == nil && listed.Kind == "" {
		err = builtin.Faultf(builtin.Invalid, "restoring %s", a.VolID).Saying("its name does not say whether it is of a VM or of a container").
			Hinting("Proxmox knows by vzdump-qemu-… and vzdump-lxc-…; rename it on the storage")
	}
	return listed, s, err
}

// freeID is the id asked for, if no guest of the cluster has it, or the next
// that is free. A token does not see all guests; Proxmox asks all.
func (v *vzdump) freeID(ctx context.Context, wanted *builtin.VMID) (builtin.VMID, error) {
	ask := func(query url.Values) (builtin.VMID, error) {
		var text pve.Int
		err := v.c.Get(ctx, "/cluster/nextid", query, &text)
		return builtin.VMID(text), err
	}
	planned := builtin.CallFrom(ctx).Run.Planned.Entries(plannedGuests)
	taken := func(id builtin.VMID) error {
		return builtin.Faultf(builtin.Conflict, "restoring as guest %d", id).Saying("there is a guest of that id").
			Hinting("leave guest out for the next id that is free; vzdump.restore_over replaces a guest")
	}
	if wanted != nil {
		if slices.Contains(planned, any(*wanted)) {
			return 0, taken(*wanted)
		}
		_, err := ask(url.Values{"vmid": {wanted.String()}})
		if e, ok := errors.AsType[*pve.APIError](err); ok && e.Status == 400 {
			return 0, taken(*wanted)
		}
		return *wanted, err
	}
	id, err := ask(nil)
	for ; err == nil && slices.Contains(planned, any(id)); id++ { // the plan's own guests are not there yet
	}
	return id, err
}

// chooseParams makes the parameters of the request. Proxmox puts a container
// that says nothing of storages onto local, whatever it was on; and it lets only
// root restore bind and device mounts, so these are left out, which takes a list
// of all the others (create_vm of PVE::API2::LXC).
func (v *vzdump) chooseParams(ctx context.Context, r *restoration, a RestoreArgs, config guestConfig) error {
	p := map[string]any{"vmid": int(r.guest)}
	content, disks := "images", config.disks()
	targets := map[string]bool{}
	target := func(d disk) string {
		storage, _, _ := strings.Cut(d.VolID, ":")
		if a.Storage != "" {
			storage = string(a.Storage)
		}
		targets[storage] = true
		return storage
	}
	if r.kind == "vm" {
		p["archive"] = string(r.volid)
		for _, d := range disks {
			if d.archived {
				target(d)
			}
		}
		if a.Storage != "" {
			p["storage"] = string(a.Storage)
		}
	} else {
		content = "rootdir"
		p["ostemplate"], p["restore"] = string(r.volid), 1
		mounts := slices.ContainsFunc(disks, func(d disk) bool { return strings.HasPrefix(d.VolID, "/") })
		for _, d := range disks {
			if strings.HasPrefix(d.VolID, "/") {
				continue
			}
			storage := target(d)
			if d.Key == "rootfs" {
				p["storage"] = storage
			}
			if mounts || a.Storage == "" && d.Key != "rootfs" {
				if d.Size == 0 {
					return builtin.Faultf(builtin.Invalid, "%s", r.what()).Saying(d.Key+" of the archived configuration has no size").
						Hinting("restore it by hand: pct restore %d %s --rootfs …", r.guest, r.volid)
				}
				p[d.Key] = d.anew(storage)
				rootfs := disks[slices.IndexFunc(disks, func(d disk) bool { return d.Key == "rootfs" })]
				p["rootfs"] = rootfs.anew(target(rootfs))
			}
		}
	}
	if a.Unique && r.guest != guestOf(r.volid) {
		p["unique"] = 1
	}
	if r.start {
		p["start"] = 1
	}
	if a.Pool != "" {
		p["pool"] = a.Pool
	}
	r.params = p
	return v.checkTargets(ctx, r, content, slices.Sorted(maps.Keys(targets)))
}

// anew is a volume as Proxmox is asked to make it: STORAGE:GIB and its options.
func (d disk) anew(storage string) string {
	text := storage + ":" + strconv.FormatFloat(float64(d.Size)/(1<<30), 'f', -1, 64)
	for _, name := range slices.Sorted(maps.Keys(d.options)) {
		if name != "size" && name != "volume" {
			text += "," + name + "=" + d.options[name]
		}
	}
	return text
}

// checkTargets sees that the storages for the disks are there, and can be used.
func (v *vzdump) checkTargets(ctx context.Context, r *restoration, content string, targets []string) error {
	there, err := v.c.NodeStorages(ctx, string(r.node))
	if err != nil {
		return err
	}
	for _, name := range targets {
		fault := func(kind builtin.Kind, said string) error {
			return builtin.Faultf(kind, "%s", r.what()).Saying("the storage "+name+" "+said).
				Hinting("name one that can take its disks: storage = …; `pvesm status --content %s` on %s lists them", content, r.node)
		}
		i := slices.IndexFunc(there, func(s pve.StorageStatus) bool { return s.Storage == name })
		switch {
		case i < 0:
			return fault(builtin.NotFound, "is not on "+string(r.node)+", or the token may not see it")
		case !slices.Contains(there[i].Content, content):
			return fault(builtin.Invalid, "keeps "+strings.Join(there[i].Content, ", ")+", but no "+content)
		case !bool(there[i].Active):
			return fault(builtin.Unreachable, "is not active there")
		}
	}
	return nil
}

func (v *vzdump) previewRestore(ctx context.Context, a RestoreArgs) (Restored, error) {
	r, err := v.prepare(ctx, a)
	if err != nil {
		return Restored{}, err
	}
	return r.planned(ctx), nil
}

// plannedGuests is the key of the ids that a plan's restores take.
const plannedGuests = "vzdump.guests"

func (r *restoration) planned(ctx context.Context) Restored {
	call := builtin.CallFrom(ctx)
	if plan := call.Run.Planned; plan != nil {
		plan.Add(plannedGuests, r.guest)
	}
	return Restored{
		Guest: r.guest, Kind: r.kind, Node: r.node, Archive: r.volid, LeftOut: r.leftOut,
		Task: builtin.PlannedBy[string](call), Config: builtin.PlannedBy[map[string]string](call),
		Disks: builtin.PlannedBy[[]Disk](call), Warnings: builtin.PlannedBy[[]string](call),
	}
}

// idTries bounds how often another guest may snatch the next free id away.
const idTries = 20

func (v *vzdump) restore(ctx context.Context, a RestoreArgs) (Restored, error) {
	for try := 1; ; try++ {
		r, err := v.prepare(ctx, a)
		if err != nil {
			return Restored{}, err
		}
		out, err := v.carryOut(ctx, r)
		if f := builtin.AsFault(err); a.Guest == nil && f != nil && f.Kind == builtin.Conflict && try < idTries {
			continue
		}
		return out, err
	}
}

// carryOut starts the task, waits for it, and looks at what it made. What was
// chosen is made durable first, so that a resumed run finds it.
func (v *vzdump) carryOut(ctx context.Context, r *restoration) (Restored, error) {
	earlier, err := v.restoresOf(ctx, r)
	if err != nil {
		return Restored{}, err
	}
	if len(earlier) > 0 {
		r.before = earlier[0].String()
	}
	if err := builtin.Hold(ctx, r.handle("")); err != nil {
		return Restored{}, fmt.Errorf("%s: nothing was begun: %w", r.what(), err)
	}
	upid, err := v.startRestore(ctx, r)
	if err != nil {
		return Restored{}, err
	}
	if err := builtin.Hold(ctx, r.handle(upid.String())); err != nil {
		return Restored{}, fmt.Errorf("%s: the task %s has begun and goes on, but could not be recorded: %w", r.what(), upid, err)
	}
	return v.followRestore(ctx, r, upid)
}

// startRestore asks for the task, once.
func (v *vzdump) startRestore(ctx context.Context, r *restoration) (pve.UPID, error) {
	var answer pve.Text
	err := v.c.Post(context.WithoutCancel(ctx), r.path(), r.params, &answer)
	if pve.InDoubt(err) {
		hint := fmt.Sprintf("no task of %s is this restore; look at its task list once more before doing it again", r.node)
		for _, pause := range lookPauses {
			builtin.Report(ctx, builtin.Progress{Step: "the connection was lost while asking for the restore; looking whether it began", Subject: r.guest.String()})
			if err := builtin.Sleep(ctx, pause); err != nil {
				return pve.UPID{}, fmt.Errorf("%s: looking whether it began: %w", r.what(), err)
			}
			found, lookErr := v.restoreTask(ctx, r)
			if lookErr != nil {
				hint = fmt.Sprintf("the task list of %s could not be read either (%v): look at it before doing this again", r.node, lookErr)
			}
			if found != nil {
				return *found, nil
			}
		}
		return pve.UPID{}, builtin.Faultf(builtin.Unreachable, "%s: the connection was lost while asking for it, and nothing is known to have been started", r.what()).
			Because(err).Hinting("%s", hint)
	}
	if e, ok := errors.AsType[*pve.APIError](err); ok && strings.Contains(e.Reason, "already exists") {
		return pve.UPID{}, builtin.Faultf(builtin.Conflict, "%s", r.what()).Because(err).Hinting("nothing was done; somebody took that id meanwhile")
	}
	if err != nil {
		return pve.UPID{}, err
	}
	upid, err := pve.ParseUPID(string(answer))
	if err != nil {
		return pve.UPID{}, builtin.Faultf(builtin.Failed, "%s: Proxmox started no task", r.what()).
			Saying("it answered "+strconv.Quote(string(answer))+" in place of one").Hinting("look at the tasks of %s", r.node)
	}
	return upid, nil
}
