package proxmox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// SnapshotArgs are the arguments of snapshot().
type SnapshotArgs struct {
	Guest       builtin.VMID     `name:"guest" scope:"guest" doc:"the guest"`
	Name        NewSnapshotName  `name:"name" doc:"its name"`
	Description string           `name:"description" default:"" doc:"stands in its description, before nixmox's mark"`
	RAM         bool             `name:"ram" default:"false" doc:"of a running VM: with its memory, so that a rollback goes on where it was"`
	Wait        builtin.Duration `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

// SnapshotResult is what snapshot() made.
type SnapshotResult struct {
	Snapshot
	taskPart
}

var snapshotTypes = []string{"qmsnapshot", "vzsnapshot"}

func (a SnapshotArgs) what() string {
	return fmt.Sprintf("snapshotting the guest %d as %s", a.Guest, a.Name)
}

// noRAM are the entries of a configuration that keep a VM's memory out of a
// snapshot: devices of the host, and memory that nobody but the guest can read
// (PVE::QemuMigrate::Helpers, check_non_migratable_resources).
func noRAM(config map[string]any) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if strings.HasPrefix(key, "hostpci") || strings.HasPrefix(key, "virtiofs") || key == "amd-sev" || key == "intel-tdx" || key == "ivshmem" {
			out = append(out, key)
		}
	}
	return out
}

// descriptionOf is the description of a snapshot: what the playbook says, the
// mark at the end of its first line, then the other lines.
func (a SnapshotArgs) descriptionOf(m mark.Mark) (string, error) {
	if !utf8.ValidString(a.Description) || strings.ContainsFunc(a.Description, func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }) {
		return "", builtin.Faultf(builtin.Invalid, "%s: the description has control characters, or is no valid UTF-8", a.what()).Hinting("change it")
	}
	first, rest, more := strings.Cut(strings.TrimSpace(a.Description), "\n")
	text := m.String()
	if first != "" {
		text = first + " | " + text
	}
	if more {
		text += "\n" + rest
	}
	return text, nil
}

// plannedSnapshot is the snapshot that will be there, once all has been looked at.
func (c client) plannedSnapshot(ctx context.Context, a SnapshotArgs) (foundGuest, Snapshot, error) {
	none := func(err error) (foundGuest, Snapshot, error) { return foundGuest{}, Snapshot{}, err }
	call := builtin.CallFrom(ctx)
	m := mark.Mark{Run: call.Run.ID, Place: string(call.Place), Playbook: call.Run.Playbook}
	text, err := a.descriptionOf(m)
	if err != nil {
		return none(err)
	}
	if m.Run == "" {
		return none(builtin.Faultf(builtin.Invalid, "%s: outside a run, so it could not be told from others", a.what()).Hinting("snapshots are made in runs: nixmox run …"))
	}
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return none(err)
	}
	s, err := c.statusOf(ctx, g)
	if err != nil {
		return none(err)
	}
	list, err := c.snapshotsOf(ctx, g)
	if err != nil {
		return none(err)
	}
	if err := c.checkSnapshot(ctx, a, g, s, list); err != nil {
		return none(err)
	}
	out := Snapshot{
		Name: string(a.Name), Guest: a.Guest, Children: []string{}, Current: true, Time: call.Run.Now().UTC(), Description: text,
		RAM: a.RAM && s.Status != stopped, Owner: "nixmox", Ours: true, Run: m.Run, Playbook: m.Playbook, mark: m,
	}
	for _, o := range list {
		if o.Current {
			out.Parent, out.Depth = o.Name, o.Depth+1
		}
	}
	return g, out, nil
}

func (c client) checkSnapshot(ctx context.Context, a SnapshotArgs, g foundGuest, s GuestStatus, list []Snapshot) error {
	fault := func(kind builtin.Kind, said string) *builtin.Fault {
		return builtin.Faultf(kind, "%s", a.what()).Saying(said)
	}
	if old, taken := findSnapshot(list, string(a.Name)); taken {
		return fault(builtin.Conflict, fmt.Sprintf("there is one of that name, of %s, made by %s", old.Time.Format(time.RFC3339), old.Owner)).
			Hinting("choose another name; proxmox.snapshots(%d) lists those that are taken", a.Guest)
	}
	if s.Template {
		return fault(builtin.Conflict, "it is a template").Hinting("a template does not change: there is nothing to snapshot")
	}
	if a.RAM && !g.isVM() {
		return fault(builtin.Invalid, "it is a container, and the memory of containers cannot be saved").Hinting("leave ram out")
	}
	if a.RAM {
		config, err := c.configOf(ctx, g, "", false)
		if err != nil {
			return err
		}
		if keys := noRAM(config); len(keys) > 0 {
			return fault(builtin.Conflict, "it has "+strings.Join(keys, ", ")+", whose state cannot be saved with its memory").
				Hinting("leave ram out; to be at rest the VM must be shut down")
		}
	}
	if g.home == "" {
		return nil // it is only planned
	}
	var feature struct{ HasFeature pve.Bool }
	if err := c.pve.Get(ctx, g.path("/feature"), url.Values{"feature": {"snapshot"}}, &feature); err != nil {
		return err
	}
	if !feature.HasFeature {
		return fault(builtin.Conflict, "snapshot feature is not available").
			Hinting("one of its volumes is on a storage without snapshots, or is a folder or device of the host: proxmox.config(%d)", a.Guest)
	}
	return nil
}

func (c client) previewSnapshot(ctx context.Context, a SnapshotArgs) (SnapshotResult, error) {
	g, s, err := c.plannedSnapshot(ctx, a)
	if err != nil {
		return SnapshotResult{}, err
	}
	if s.config, err = c.configOf(ctx, g, "", false); err != nil {
		return SnapshotResult{}, err
	}
	plan(ctx, a.Guest, func(v *view) {
		if v.config != nil {
			v.config["parent"] = s.Name
		}
		if v.snapshots == nil {
			return
		}
		for i := range *v.snapshots {
			(*v.snapshots)[i].Current = false
		}
		*v.snapshots = append(*v.snapshots, s)
	})
	return SnapshotResult{s, plannedTask(ctx)}, nil
}

func (c client) snapshot(ctx context.Context, a SnapshotArgs) (SnapshotResult, error) {
	g, s, err := c.plannedSnapshot(ctx, a)
	if err != nil {
		return SnapshotResult{}, err
	}
	params := map[string]any{"snapname": s.Name, "description": s.Description}
	if s.RAM {
		params["vmstate"] = true
	}
	end, err := c.make(ctx, guestChange{what: a.what(), guest: g, types: snapshotTypes, wait: time.Duration(a.Wait),
		send: func(ctx context.Context, out *json.RawMessage) error {
			return c.pve.Post(ctx, g.path("/snapshot"), params, out)
		}})
	if err != nil {
		return SnapshotResult{}, err
	}
	return c.snapshotMade(ctx, a, end)
}

// snapshotMade reads back that the snapshot is there, whole, and this call's.
func (c client) snapshotMade(ctx context.Context, a SnapshotArgs, end pve.TaskEnd) (SnapshotResult, error) {
	list, err := c.snapshots(ctx, GuestArgs{a.Guest})
	if err != nil {
		return SnapshotResult{}, err
	}
	call := builtin.CallFrom(ctx)
	s, ok := findSnapshot(list, string(a.Name))
	bad := func(said string) (SnapshotResult, error) {
		return SnapshotResult{}, builtin.Faultf(builtin.Failed, "%s: the task ended with %q, but %s", a.what(), end.ExitStatus, said).
			Hinting("the whole log: pvenode task log %s on %s", end.UPID, end.UPID.Node)
	}
	switch {
	case !ok:
		return bad("there is no such snapshot")
	case s.mark.Run != call.Run.ID || s.mark.Place != string(call.Place):
		return bad("the one of that name is another one")
	case s.State != "":
		return bad("it is not whole (" + s.State + ")")
	}
	return SnapshotResult{s, taskOf(end)}, nil
}

func (c client) settleSnapshot(ctx context.Context, a SnapshotArgs, text string) (builtin.Settlement[SnapshotResult], error) {
	request := pve.TaskRequest{What: a.what(), Guest: a.Guest, Types: snapshotTypes}
	return settleChange(ctx, c, request, text, func(end pve.TaskEnd, _ handle) (SnapshotResult, error) { return c.snapshotMade(ctx, a, end) })
}
