package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The words are those of PVE::AbstractConfig and PVE::Storage::ZFSPoolPlugin.

func postSnapshot(typ, task string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		name := c.params.str("snapname")
		if name == "current" {
			return nil, serverError("unable to use snapshot name 'current' (reserved name)")
		}
		if strings.HasPrefix(name, "pending") { // a section of the configuration file has that name
			return nil, serverError("unable to use snapshot name '%s' (reserved name)", name)
		}
		return c.guestJob(g, task, guestJob{Snapshot: name, Text: c.params.str("description"), RAM: c.params.bool("vmstate", false)})
	}
}

func beginSnapshot(l *Lab, t *task, g *guest, j *guestJob) string {
	switch {
	case g.Template:
		return "you can't take a snapshot if it's a template"
	case g.Lock != "":
		return g.lockedError()
	case g.snapshot(j.Snapshot) != nil:
		return fmt.Sprintf("snapshot name '%s' already used", j.Snapshot)
	case !g.canSnapshot():
		return "snapshot feature is not available"
	}
	if j.RAM && g.Running {
		for _, key := range slices.Sorted(maps.Keys(g.Config)) {
			if strings.HasPrefix(key, "hostpci") || strings.HasPrefix(key, "virtiofs") {
				return fmt.Sprintf("Cannot snapshot-live VM with passed-through PCI device(s) (%s)", key)
			}
		}
	}
	config := maps.Clone(g.Config)
	for key := range config {
		if key == "description" || strings.HasPrefix(key, "unused") {
			delete(config, key)
		}
	}
	s := snapshot{
		Name: j.Snapshot, Description: j.Text, Parent: g.config("parent"), Time: t.Start.Unix(), RAM: j.RAM && g.Running, State: "prepare", Config: config,
	}
	if s.RAM {
		if wrong := l.createZvol(g.Node, l.now(), t, l.memoryZvol(g, s.Name)); wrong != "" {
			return wrong
		}
	}
	g.Snapshots = append(g.Snapshots, s)
	return ""
}

// canSnapshot: a container with a bind mount or a device has volumes that
// cannot be snapshotted.
func (g *guest) canSnapshot() bool {
	for key, value := range g.Config {
		if strings.HasPrefix(key, "mp") && strings.HasPrefix(fmt.Sprint(value), "/") {
			return false
		}
	}
	return true
}

func finishSnapshot(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	s := g.snapshot(j.Snapshot)
	if s == nil {
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	}
	if s.RAM {
		t.say("saving VM state and RAM using storage 'rpool'")
		t.say("completed saving the VM state in 2s, saved %.2f MiB", float64(g.memoryUsed())/float64(mib))
	}
	for _, d := range disksOf(s.Config) {
		if g.Type == "qemu" {
			t.say("snapshotting 'drive-%s' (%s)", d.key, d.volid)
		}
	}
	used, _ := l.zvols(s.Config)
	for i, v := range used {
		wrong := l.snapshotZvol(g.Node, at, t, v, s.Name)
		if wrong == "" {
			continue
		}
		t.say("snapshot create failed: starting cleanup")
		for _, done := range used[:i] {
			if wrong := l.all(g.Node, at, t, []string{"zfs", "destroy", done.dataset + "@" + s.Name}); wrong != "" {
				t.say("%s", wrong)
			}
		}
		return wrong // and what was prepared is undone
	}
	s.State = ""
	g.Config["parent"] = j.Snapshot
	return "OK"
}

func beginDeleteSnapshot(l *Lab, t *task, g *guest, j *guestJob) string {
	s := g.snapshot(j.Snapshot)
	switch {
	case s == nil:
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	case g.Lock != "":
		return g.lockedError()
	case g.Template:
		return "you can't delete a snapshot if vm is a template"
	}
	s.State = "delete"
	return ""
}

func finishDeleteSnapshot(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	gone := g.snapshot(j.Snapshot)
	if gone == nil {
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	}
	if wrong := l.deleteZvolSnapshots(t, g, gone, j.Force, at); wrong != "" {
		return wrong
	}
	parent := gone.Parent
	for i := range g.Snapshots {
		if g.Snapshots[i].Parent == j.Snapshot {
			g.Snapshots[i].Parent = parent
		}
	}
	if g.config("parent") == j.Snapshot {
		delete(g.Config, "parent")
		if parent != "" {
			g.Config["parent"] = parent
		}
	}
	g.Snapshots = slices.DeleteFunc(g.Snapshots, func(s snapshot) bool { return s.Name == j.Snapshot })
	return "OK"
}

// deleteZvolSnapshots takes from the snapshot volume by volume, as it goes. By
// force, what cannot be destroyed is only complained about.
func (l *Lab) deleteZvolSnapshots(t *task, g *guest, s *snapshot, force bool, at time.Time) (wrong string) {
	if s.RAM {
		if wrong := l.destroyZvol(g.Node, at, nil, l.memoryZvol(g, s.Name)); wrong != "" && !force {
			return wrong
		}
		s.RAM = false
	}
	if s.Config == nil { // of the estate's history
		s.Config = maps.Clone(g.Config)
	}
	used, _ := l.zvols(s.Config)
	for _, v := range used {
		wrong := l.all(g.Node, at, t, []string{"zfs", "destroy", v.dataset + "@" + s.Name})
		switch {
		case wrong != "" && !force:
			return wrong
		case wrong != "":
			t.say("%s", wrong)
		default:
			delete(s.Config, v.key)
		}
	}
	return ""
}

func beginRollback(l *Lab, t *task, g *guest, j *guestJob) string {
	s := g.snapshot(j.Snapshot)
	switch {
	case g.Template:
		return "you can't rollback if vm is a template"
	case s == nil:
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	}
	config := s.Config
	if config == nil {
		config = g.Config
	}
	used, _ := l.zvols(config)
	if wrong := l.removeReplications(t, g, used, s.Name); wrong != "" {
		return wrong
	}
	for _, v := range used {
		if _, wrong := l.newerThan(g.Node, l.now(), v, s.Name); wrong != "" {
			return wrong
		}
	}
	switch {
	case s.State != "":
		return fmt.Sprintf("unable to rollback to incomplete snapshot (snapstate = %s)", s.State)
	case g.Lock != "":
		return g.lockedError()
	}
	g.Running, g.Paused = false, false
	return ""
}

// removeReplications removes what replication left in the way, unless more than
// that is.
func (l *Lab) removeReplications(t *task, g *guest, used []zvol, snap string) (wrong string) {
	replications := map[string][]string{}
	for _, v := range used {
		blockers, wrong := l.newerThan(g.Node, l.now(), v, snap)
		for _, name := range blockers {
			if !strings.HasPrefix(name, "__replicate_") {
				return wrong
			}
		}
		replications[v.volid] = blockers
	}
	for _, v := range used {
		for _, name := range replications[v.volid] {
			t.say("WARN: removing replication snapshot '%s@%s'", v.volid, name)
			if wrong := l.all(g.Node, l.now(), t, []string{"zfs", "destroy", v.dataset + "@" + name}); wrong != "" {
				return wrong
			}
		}
	}
	return ""
}

func finishRollback(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	s := g.snapshot(j.Snapshot)
	if s == nil {
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	}
	config := s.Config
	if config == nil {
		config = g.Config
	}
	used, _ := l.zvols(config)
	for _, v := range used {
		if wrong := l.rollbackZvol(g.Node, at, t, v, s.Name); wrong != "" {
			return wrong
		}
	}
	if s.Config != nil {
		config := maps.Clone(s.Config)
		for key, value := range g.Config {
			if key == "description" || strings.HasPrefix(key, "unused") {
				config[key] = value
			}
		}
		keepUnused(config, disksOf(g.Config))
		g.Config, g.Pending = config, nil
		g.readConfig()
	}
	g.Config["parent"] = s.Name
	if s.RAM || j.Start {
		g.Running, g.Since, g.PID = true, at, t.PID+1
	}
	return "OK"
}

// keepUnused gives entries to the disks that a configuration does not name.
func keepUnused(config map[string]any, disks []disk) {
	named := disksOf(config)
	for _, d := range disks {
		if slices.ContainsFunc(named, func(o disk) bool { return o.volid == d.volid }) {
			continue
		}
		n := 0
		for config[fmt.Sprintf("unused%d", n)] != nil {
			n++
		}
		config[fmt.Sprintf("unused%d", n)] = d.volid
	}
}
