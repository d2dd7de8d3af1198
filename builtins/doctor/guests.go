package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// guests: who is locked, whom nobody backs up, and what backups leave out.
func guests(ctx context.Context, e *examination) bool {
	list, err := e.client.Guests(ctx)
	if err != nil {
		e.unseen(Error, "the guests", err)
		return false
	}
	e.guests = list
	if len(list) == 0 {
		e.add(Warning, "the guests", "there are none, or the token may not see them", e.grant("VM.Audit", "/vms"))
		return false
	}
	e.locked()
	e.uncovered(ctx)
	e.leftOut(ctx)
	return true
}

// lockIsLong is how long a task may hold a guest before it is worth a look.
const lockIsLong = 24 * time.Hour

// locked compares guests' locks with the tasks that run: a lock without a task
// is what a killed one left.
func (e *examination) locked() {
	for _, g := range e.guests {
		if g.Lock == "" {
			continue
		}
		name := "guest " + g.VMID.String()
		if g.Lock == "suspended" { // to disk: a state, and nobody's work
			e.add(Note, name, "it is suspended to disk; a backup needs it running or stopped", "qm resume "+g.VMID.String())
			continue
		}
		look := fmt.Sprintf("on %s: pvenode task list --vmid %s; nixmox never breaks a lock; if surely nothing works on it: %s unlock %s", g.Node, g.VMID, toolOf(g), g.VMID)
		i := slices.IndexFunc(e.nodes, func(n *node) bool { return n.Node.Node == g.Node })
		if i < 0 || !e.nodes[i].Online() || e.nodes[i].silent() || e.nodes[i].tasksErr != nil || e.nodes[i].timeErr != nil {
			e.add(Warning, name, "it is locked ("+g.Lock+"), and which task does that cannot be seen", look)
			continue
		}
		// The task of a whole node's backup names no guest.
		j := slices.IndexFunc(e.nodes[i].tasks, func(t task) bool {
			return t.ID == g.VMID.String() || t.Type == "vzdump" && t.ID == ""
		})
		if j < 0 {
			e.add(Warning, name, "it is locked ("+g.Lock+"), and no running task of "+g.Node+" is about it: whatever locked it may have been cut off", look)
			continue
		}
		held := e.Config.Now().Sub(e.nodes[i].tasks[j].Start.Time).Round(time.Minute)
		if held > lockIsLong {
			e.add(Warning, name, fmt.Sprintf("it has been locked (%s) for %s by the task %s", g.Lock, held, e.nodes[i].tasks[j].Type), look)
		} else {
			e.add(Note, name, fmt.Sprintf("it is locked (%s) by the task %s, for %s now", g.Lock, e.nodes[i].tasks[j].Type, held), "wait for the task; nixmox does, up to its limit")
		}
	}
}

func toolOf(g pve.Guest) string {
	if g.Type == "lxc" {
		return "pct"
	}
	return "qm"
}

// coveredFor is how old the newest verified archive of a guest may be.
const coveredFor = 7 * 24 * time.Hour

// uncovered are guests without a recent archive that was marked as verified.
func (e *examination) uncovered(ctx context.Context) {
	newest := map[builtin.VMID]time.Time{}
	for _, l := range e.archives {
		for _, v := range l.volumes {
			if m, ours := mark.Parse(v.Notes); ours && m.Verified.After(newest[builtin.VMID(v.VMID)]) {
				newest[builtin.VMID(v.VMID)] = m.Verified
			}
		}
	}
	var old []builtin.VMID
	for _, g := range e.guests {
		if !g.Template && e.Config.Now().Sub(newest[g.VMID]) > coveredFor {
			old = append(old, g.VMID)
		}
	}
	if old == nil {
		e.add(OK, "coverage", "every guest has an archive that was verified in the last 7 days", "")
		return
	}
	found := fmt.Sprintf("%s without an archive that nixmox verified in the last 7 days: %s", count(len(old), "guest"), idList(old))
	var jobless []struct {
		VMID pve.Int `json:"vmid"`
	}
	if e.client.Get(ctx, "/cluster/backup-info/not-backed-up", nil, &jobless) == nil { // it takes Sys.Audit on /
		var neither []builtin.VMID
		for _, g := range jobless {
			if slices.Contains(old, builtin.VMID(g.VMID)) {
				neither = append(neither, builtin.VMID(g.VMID))
			}
		}
		if neither != nil {
			found += "; of these in no backup job of Proxmox's either: " + idList(neither)
		}
	}
	e.add(Note, "coverage", found, "nixmox run backup")
}

// readAlways is how many guests' configurations are read without being asked:
// no list has them, and requests shall not grow with the guests.
const readAlways = 50

// leftOut says what of the guests no backup holds.
func (e *examination) leftOut(ctx context.Context) {
	var all []*guestConfig
	var unseen []builtin.VMID
	for _, g := range e.guests {
		answers := slices.ContainsFunc(e.online(), func(n *node) bool { return n.Node.Node == g.Node })
		if !g.Template && answers {
			all = append(all, &guestConfig{guest: g})
		} else if !g.Template {
			unseen = append(unseen, g.VMID)
		}
	}
	if unseen != nil {
		e.notChecked("left out", "the nodes of these guests do not answer: "+idList(unseen), "cure what nodes found")
	}
	if len(all) > readAlways && !e.EveryGuest {
		e.notChecked("left out", fmt.Sprintf("what backups leave out stands in the configurations of %d guests, a request each", len(all)), "nixmox doctor --every-guest")
		return
	}
	each(all, func(c *guestConfig) {
		c.err = e.client.Get(ctx, pve.Path("/nodes/%s/%s/%s/config", c.guest.Node, c.guest.Type, c.guest.VMID.String()), nil, &c.config)
	})
	complete := unseen == nil
	for _, c := range all {
		what := c.leftOut()
		switch {
		case c.err != nil:
			e.unseen(Note, "guest "+c.guest.VMID.String(), c.err)
		case what != nil:
			e.add(Note, "guest "+c.guest.VMID.String(), "backups leave out "+some(what), "save these otherwise; or, for disks of a storage: backup=1 in their options ("+toolOf(c.guest)+" set)")
		default:
			continue
		}
		complete = false
	}
	if complete {
		e.add(OK, "left out", "backups hold every disk of every guest", "")
	}
}

type guestConfig struct {
	guest  pve.Guest
	config map[string]any
	err    error
}

var (
	diskKey  = pattern.Of(`^(ide|sata|scsi|virtio|efidisk|tpmstate)\d+$`)
	mountKey = pattern.Of(`^mp\d+$`)
)

// leftOut: of a VM the disks with backup=0; of a container bind and device
// mounts, always, and the mount points without backup=1 (vzdump(1)).
func (c *guestConfig) leftOut() []string {
	var out []string
	for key, value := range c.config {
		text := fmt.Sprint(value)
		volume, options, _ := strings.Cut(text, ",")
		has := func(option string) bool { return slices.Contains(strings.Split(options, ","), option) }
		switch {
		case c.guest.Type == "qemu" && diskKey().MatchString(key) && has("backup=0") && !has("media=cdrom"):
			out = append(out, key+" (backup=0)")
		case c.guest.Type != "lxc" || !mountKey().MatchString(key):
		case strings.HasPrefix(volume, "/"):
			out = append(out, fmt.Sprintf("%s (%s of the host)", key, volume))
		case !has("backup=1"):
			out = append(out, key+" (no backup=1)")
		}
	}
	slices.Sort(out)
	return out
}

// exclusion says once what no check can see.
func exclusion(_ context.Context, e *examination) bool {
	e.add(Note, "this machine", "runs of nixmox exclude one another on one machine; one on another machine sees only Proxmox's own locks", "run nixmox for one cluster from one machine")
	return true
}
