package vzdump

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	marks "nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Archive is a backup of one guest, as the storage's list shows it.
type Archive struct {
	VolID     builtin.Later[builtin.VolID] `name:"volid" doc:"its volume id, STORAGE:backup/NAME"`
	Guest     builtin.VMID                 `name:"guest" doc:"the guest that was backed up"`
	Kind      string                       `name:"kind" doc:"vm or container; empty where the storage does not say"`
	Node      builtin.Node                 `name:"node" doc:"the node that lists it; for a shared storage any that has it"`
	Storage   builtin.StorageID            `name:"storage" doc:"the storage that keeps it"`
	Time      time.Time                    `name:"time" volatile:"" doc:"when the backup began, UTC"`
	Size      int64                        `name:"size" volatile:"" doc:"bytes of the archive as stored"`
	Format    string                       `name:"format" doc:"vma.zst, tar.zst, …"`
	Protected bool                         `name:"protected" doc:"Proxmox will not remove it"`
	Notes     string                       `name:"notes" volatile:"" doc:"the first line of its notes: a list shows no other"`
	Ours      bool                         `name:"ours" doc:"nixmox made it: its notes carry the mark"`
	Run       string                       `name:"run" volatile:"" doc:"the run that made it, if it is ours"`
	Playbook  string                       `name:"playbook" doc:"the playbook of that run"`
	Verified  *time.Time                   `name:"verified" volatile:"" doc:"when it was marked as verified, UTC; None if never"`
	// A field of the archive, not of the backup that made it: it outlives the log.
	Consistency  builtin.Later[string] `name:"consistency" doc:"application (frozen through Windows' VSS), filesystem (frozen by the agent), stopped, suspended, crash (as after a power failure) or unknown; empty if its notes do not say"`
	Verification string                `name:"verification" volatile:"" doc:"what a backup server found when it last verified it: ok or failed; empty if never, or if it is on no such server"`

	mark mark
}

// vzdump is the module's client.
type vzdump struct {
	c    *pve.Client
	seen seen
}

// The keys of a plan's overlay.
const (
	plannedArchives = "vzdump.archives" // Archive
	plannedMarks    = "vzdump.marks"    // plannedMark
	plannedRemovals = "vzdump.removals" // builtin.VolID

	plannedProtections = "vzdump.protections" // plannedProtection
)

// plannedProtection is a protection that a plan has given or taken.
type plannedProtection struct {
	VolID builtin.Later[builtin.VolID]
	On    bool
}

// plannedMark is a verification that a plan has marked.
type plannedMark struct {
	VolID builtin.Later[builtin.VolID]
	At    time.Time
}

// BackupsArgs are the arguments of backups.
type BackupsArgs struct {
	Storage builtin.StorageID `name:"storage" scope:"storage" doc:"the storage to list"`
	Node    builtin.Node      `name:"node" default:"" doc:"the node to ask; empty: any that has a shared storage, all that have a storage of their own"`
	Guests  []builtin.VMID    `name:"guests" default:"" doc:"only of these guests; empty: of all"`
	Ours    bool              `name:"ours" default:"false" doc:"only those that nixmox made"`
}

func (v *vzdump) backups(ctx context.Context, a BackupsArgs) ([]Archive, error) {
	all, err := v.list(ctx, a.Storage, a.Node, a.Guests...)
	if err != nil {
		return nil, err
	}
	all = overlaid(ctx, a.Storage, a.Node, all)
	return slices.DeleteFunc(all, func(x Archive) bool {
		return a.Ours && !x.Ours || len(a.Guests) > 0 && !slices.Contains(a.Guests, x.Guest)
	}), nil
}

// list is every archive of a storage, or those of some guests, oldest first, as
// it really is.
func (v *vzdump) list(ctx context.Context, storage builtin.StorageID, node builtin.Node, guests ...builtin.VMID) ([]Archive, error) {
	if node != "" {
		return v.listOn(ctx, storage, node, guests...)
	}
	s, err := v.storage(ctx, storage)
	if err != nil {
		return nil, err
	}
	nodes, err := v.nodesWith(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.IsShared() {
		return v.listAnywhere(ctx, storage, nodes, guests)
	}
	var all []Archive
	for _, n := range nodes {
		found, err := v.listOn(ctx, storage, n, guests...)
		if f := builtin.AsFault(err); f != nil {
			// A list with a node missing would look like one without its archives.
			return nil, f.Hinting("each node has its own %s, and %s does not answer; name one that does: node = …", storage, n)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	sortArchives(all)
	return all, nil
}

// listAnywhere lists a shared storage on the first node where it is active.
func (v *vzdump) listAnywhere(ctx context.Context, storage builtin.StorageID, nodes []builtin.Node, guests []builtin.VMID) ([]Archive, error) {
	var first error
	for _, n := range nodes {
		found, err := v.listOn(ctx, storage, n, guests...)
		if err == nil {
			return found, nil
		}
		if f := builtin.AsFault(err); f == nil || f.Kind != builtin.Unreachable {
			return nil, err
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

// listOn asks Proxmox for the archives of one guest, or for all: it has no list
// of some.
func (v *vzdump) listOn(ctx context.Context, storage builtin.StorageID, node builtin.Node, guests ...builtin.VMID) ([]Archive, error) {
	filter := pve.ContentFilter{Content: "backup"}
	if len(guests) == 1 {
		filter.VMID = guests[0]
	}
	volumes, err := v.c.Content(ctx, string(node), string(storage), filter)
	if err != nil {
		return nil, err
	}
	wanted := make(map[builtin.VMID]bool, len(guests))
	for _, id := range guests {
		wanted[id] = true
	}
	all := []Archive{}
	for _, volume := range volumes {
		// A backup folder can hold what no vzdump made; without an owner it is nobody's archive.
		if volume.Content == "backup" && volume.VMID >= 100 && (len(guests) == 0 || wanted[builtin.VMID(volume.VMID)]) {
			all = append(all, archiveOf(volume, storage, node))
		}
	}
	sortArchives(all)
	return all, nil
}

func archiveOf(volume pve.Volume, storage builtin.StorageID, node builtin.Node) Archive {
	a := Archive{
		VolID: builtin.Now(builtin.VolID(volume.VolID)), Guest: builtin.VMID(volume.VMID), Kind: pve.KindOf(volume.Subtype),
		Node: node, Storage: storage, Time: volume.CTime.Time, Size: int64(volume.Size), Format: volume.Format,
		Protected: bool(volume.Protected), Verification: volume.Verified(),
	}
	a.Notes, _, _ = strings.Cut(volume.Notes, "\n")
	if a.Kind == "" { // a backup server's list has no subtype, but formats of its own
		a.Kind = pve.KindOf(strings.TrimPrefix(volume.Format, "pbs-"))
	}
	if m, ok := marks.Parse(volume.Notes); ok {
		a.mark, a.Ours, a.Run, a.Playbook, a.Consistency = m, true, m.Run, m.Playbook, builtin.Now(m.Consistency)
		if !m.Verified.IsZero() {
			a.Verified = &m.Verified
		}
	}
	return a
}

var archiveOwner = pattern.Of(`^backup/(?:vzdump-(?:qemu|lxc|openvz)-|vm/|ct/)([1-9][0-9]{2,8})[-/]`)

// guestOf is the guest that an archive's name says, or 0. Lists are asked for
// its archives only: a storage may have many thousands.
func guestOf(volid builtin.VolID) builtin.VMID {
	if m := archiveOwner().FindStringSubmatch(volid.Name()); m != nil {
		return vmid(m[1])
	}
	return 0
}

// guestsNamed are the guests of archives, none (that is, all) where a name does
// not say.
func guestsNamed(volids ...builtin.Later[builtin.VolID]) []builtin.VMID {
	var guests []builtin.VMID
	for _, volid := range volids {
		switch id := guestOf(volid.Value); {
		case !volid.Known() || slices.Contains(guests, id):
		case id == 0:
			return nil
		default:
			guests = append(guests, id)
		}
	}
	return guests
}

// find is the archive of a volume id.
func (v *vzdump) find(ctx context.Context, volid builtin.VolID, node builtin.Node) (Archive, error) {
	all, err := v.list(ctx, volid.Storage(), node, guestsNamed(builtin.Now(volid))...)
	if err != nil {
		return Archive{}, err
	}
	return findIn(byVolID(all), volid)
}

// listed is a storage's list by volume id, of the archives' own guests.
func (v *vzdump) listed(ctx context.Context, storage builtin.StorageID, node builtin.Node, volids []builtin.Later[builtin.VolID]) (map[builtin.VolID][]Archive, error) {
	all, err := v.list(ctx, storage, node, guestsNamed(volids...)...)
	return byVolID(all), err
}

// byVolID: several nodes may each have an archive of one name.
func byVolID(all []Archive) map[builtin.VolID][]Archive {
	out := make(map[builtin.VolID][]Archive, len(all))
	for _, a := range all {
		out[a.VolID.Value] = append(out[a.VolID.Value], a)
	}
	return out
}

func findIn(listed map[builtin.VolID][]Archive, volid builtin.VolID) (Archive, error) {
	switch found := listed[volid]; len(found) {
	case 0:
		return Archive{}, builtin.Faultf(builtin.NotFound, "the archive %s is not in the storage's list", volid).
			Hinting("vzdump.backups(%q) shows what is there; the token needs VM.Backup on the guest to see its archives", volid.Storage())
	case 1:
		return found[0], nil
	default:
		return Archive{}, builtin.Faultf(builtin.Conflict, "the archive %s: %d nodes have one of that name", volid, len(found)).
			Hinting("say which: node = %q", found[0].Node)
	}
}

// storage is the configuration of a storage.
func (v *vzdump) storage(ctx context.Context, id builtin.StorageID) (pve.Storage, error) {
	all, err := v.c.Storages(ctx)
	if err != nil {
		return pve.Storage{}, err
	}
	var names []string
	for _, s := range all {
		if s.Storage == string(id) {
			return s, nil
		}
		names = append(names, s.Storage)
	}
	return pve.Storage{}, builtin.Faultf(builtin.NotFound, "the storage %s", id).
		Saying("there are " + strings.Join(names, ", ")).
		Hinting("the token sees only storages on which it has Datastore.Audit or Datastore.AllocateSpace")
}

// nodesWith are the nodes that have a storage, those that are online first.
func (v *vzdump) nodesWith(ctx context.Context, s pve.Storage) ([]builtin.Node, error) {
	all, err := v.c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var online, others []builtin.Node
	for _, n := range all {
		switch {
		case !s.On(n.Node):
		case n.Online():
			online = append(online, builtin.Node(n.Node))
		default:
			others = append(others, builtin.Node(n.Node))
		}
	}
	if nodes := append(online, others...); len(nodes) > 0 {
		return nodes, nil
	}
	return nil, builtin.Faultf(builtin.NotFound, "the storage %s: no node that this token sees has it", s.Storage)
}

// sortArchives: oldest first, and always the same.
func sortArchives(all []Archive) {
	slices.SortStableFunc(all, func(a, b Archive) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.VolID.Value, b.VolID.Value), cmp.Compare(a.Node, b.Node))
	})
}

// overlaid is a list as a plan's changes would have left it. In a real run it
// is the list.
func overlaid(ctx context.Context, storage builtin.StorageID, node builtin.Node, all []Archive) []Archive {
	plan := builtin.CallFrom(ctx).Run.Planned
	for _, gone := range plan.Entries(plannedRemovals) {
		all = slices.DeleteFunc(all, func(a Archive) bool { return a.VolID.Value == gone })
	}
	for _, entry := range plan.Entries(plannedArchives) {
		if a := entry.(Archive); a.Storage == storage && (node == "" || node == a.Node) {
			all = append(all, a)
		}
	}
	protections, marks := plan.Entries(plannedProtections), plan.Entries(plannedMarks)
	if len(protections)+len(marks) == 0 {
		return all
	}
	at := make(map[builtin.Later[builtin.VolID]][]int, len(all))
	for i := range all {
		at[all[i].VolID] = append(at[all[i].VolID], i)
	}
	for _, entry := range protections {
		p := entry.(plannedProtection)
		for _, i := range at[p.VolID] {
			all[i].Protected = p.On
		}
	}
	for _, entry := range marks {
		m := entry.(plannedMark)
		for _, i := range at[m.VolID] {
			all[i].Verified = &m.At
		}
	}
	return all
}

// plannedArchive is an archive that a plan's call will make.
func plannedArchive(plan *builtin.Overlay, volid builtin.Later[builtin.VolID]) Archive {
	if a, ok := plan.At(plannedKey(volid), 0).(Archive); ok {
		return a
	}
	return Archive{VolID: volid, Ours: true}
}

// plannedKey is the key of one planned archive, beside that of all.
func plannedKey(volid builtin.Later[builtin.VolID]) string {
	return plannedArchives + " " + string(volid.From) + " " + volid.Of
}
