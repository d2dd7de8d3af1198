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
	g.Snapshots = append(g.Snapshots, snapshot{
		Name: j.Snapshot, Description: j.Text, Parent: g.config("parent"), Time: t.Start.Unix(), RAM: j.RAM && g.Running, State: "prepare", Config: config,
	})
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

func finishSnapshot(l *Lab, t *task, g *guest, j *guestJob, _ time.Time) string {
	s := g.snapshot(j.Snapshot)
	if s == nil {
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	}
	if s.RAM {
		t.say("saving VM state and RAM using storage 'rpool'")
		t.say("completed saving the VM state in 2s, saved %.2f MiB", float64(g.memoryUsed())/float64(mib))
	}
	for _, d := range disksOf(g.Config) {
		if g.Type == "qemu" && !strings.HasPrefix(d.key, "unused") {
			t.say("snapshotting 'drive-%s' (%s)", d.key, d.volid)
		}
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

func finishDeleteSnapshot(l *Lab, t *task, g *guest, j *guestJob, _ time.Time) string {
	gone := g.snapshot(j.Snapshot)
	if gone == nil {
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
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
	if disks := disksOf(config); len(disks) > 0 {
		later := func(at int64) bool { return at > s.Time }
		for _, o := range g.Snapshots {
			if o.Name != s.Name && (later(o.Time) || o.Time == s.Time && g.after(o.Name, s.Name)) {
				return fmt.Sprintf("can't rollback, '%s' is not most recent snapshot on '%s'", s.Name, disks[0].volid)
			}
		}
		g.Foreign = slices.DeleteFunc(g.Foreign, func(f foreignSnapshot) bool {
			replication := f.Time >= s.Time && strings.HasPrefix(f.Name, "__replicate_")
			if replication {
				t.say("WARN: removing replication snapshot '%s@%s'", disks[0].volid, f.Name)
			}
			return replication
		})
		for _, f := range g.Foreign {
			if f.Time >= s.Time {
				return fmt.Sprintf("can't rollback, '%s' is not most recent snapshot on '%s'", s.Name, disks[0].volid)
			}
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

// after says whether one snapshot was made after another.
func (g *guest) after(one, other string) bool {
	index := func(name string) int {
		return slices.IndexFunc(g.Snapshots, func(s snapshot) bool { return s.Name == name })
	}
	return index(one) > index(other)
}

func finishRollback(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	s := g.snapshot(j.Snapshot)
	if s == nil {
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	}
	if s.Config != nil {
		config := maps.Clone(s.Config)
		for key, value := range g.Config {
			if key == "description" || strings.HasPrefix(key, "unused") {
				config[key] = value
			}
		}
		g.Config, g.Pending = config, nil
		g.readConfig()
	}
	g.Config["parent"] = s.Name
	if s.RAM || j.Start {
		g.Running, g.Since, g.PID = true, at, t.PID+1
	}
	return "OK"
}
