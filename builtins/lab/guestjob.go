package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// guestJob is what a task does to a guest. Like the task it is data only.
type guestJob struct {
	Begun    bool   // the guest is locked, and what takes the time goes on
	Snapshot string `json:",omitempty"`
	Text     string `json:",omitempty"` // a description
	RAM      bool   `json:",omitempty"`
	Start    bool   `json:",omitempty"` // after a rollback
	Force    bool   `json:",omitempty"`
	Purge    bool   `json:",omitempty"`
	NewID    int    `json:",omitempty"`
	Name     string `json:",omitempty"`
	Node     string `json:",omitempty"` // the target
	Storage  string `json:",omitempty"`
	Pool     string `json:",omitempty"`
	Full     bool   `json:",omitempty"`
	Online   bool   `json:",omitempty"`
	Restart  bool   `json:",omitempty"`
	Disks    bool   `json:",omitempty"` // local ones are migrated, too
	Disk     string `json:",omitempty"`
	Size     string `json:",omitempty"`
	Digest   string `json:",omitempty"`
}

// guestTask is how one type of task goes. begin says what is wrong, "" if
// nothing is; finish does it and says how the task ends.
type guestTask struct {
	lock   string // Proxmox's own, while it goes on
	takes  time.Duration
	begin  func(*Lab, *task, *guest, *guestJob) string
	finish func(*Lab, *task, *guest, *guestJob, time.Time) string
}

// guestTaskOf knows them by type, those of containers by the names of VMs'.
func guestTaskOf(taskType string) guestTask {
	kind := strings.TrimPrefix(strings.TrimPrefix(taskType, "qm"), "vz")
	switch kind {
	case "snapshot":
		return guestTask{"snapshot", 2 * time.Second, beginSnapshot, finishSnapshot}
	case "delsnapshot":
		return guestTask{"snapshot-delete", 2 * time.Second, beginDeleteSnapshot, finishDeleteSnapshot}
	case "rollback":
		return guestTask{"rollback", 5 * time.Second, beginRollback, finishRollback}
	case "clone":
		return guestTask{"", 30 * time.Second, beginClone, finishClone} // the copy is locked, not the source
	case "igrate", "migrate": // qmigrate, vzmigrate
		return guestTask{"migrate", 20 * time.Second, beginMigrate, finishMigrate}
	case "destroy":
		return guestTask{"destroyed", 3 * time.Second, beginDestroy, finishDestroy}
	case "resize":
		return guestTask{"", time.Second, beginResize, finishResize}
	case "pause", "resume", "suspend", "reboot":
		return guestTask{"", 3 * time.Second, beginPause, finishPause}
	}
	return guestTask{"", time.Second, nil, finishHA} // hastart, hastop, hamigrate
}

// guestJob starts a task that changes a guest. Nearly all that can be wrong
// is found out in the task, as with Proxmox.
func (c *call) guestJob(g *guest, taskType string, j guestJob) (any, error) {
	t := c.startTask(g.Node, taskType, g.id(), c.who, 100*time.Millisecond)
	t.Guest = &j
	return t.upid(), nil
}

// forkJob is a method that does nothing but start such a task.
func forkJob(typ, taskType string, read func(*call) guestJob) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		return c.guestJob(g, taskType, read(c))
	}
}

// runGuestJob lets the next event of such a task happen.
func (l *Lab) runGuestJob(t *task, at time.Time) {
	j, kind := t.Guest, guestTaskOf(t.Type)
	id, _ := strconv.Atoi(t.ID)
	g := l.st.guest(id)
	if g == nil {
		t.end(fmt.Sprintf("unable to find VM '%s'", t.ID), at)
		return
	}
	if t.Aborted || j.Begun && l.spoiled(t, at) {
		if t.Aborted {
			t.end("interrupted by signal", at)
		}
		if j.Begun && !t.running() {
			l.undoGuestJob(t, g)
		}
		return
	}
	if !j.Begun {
		if kind.begin != nil {
			if wrong := kind.begin(l, t, g, j); wrong != "" {
				t.end(wrong, at)
				return
			}
		}
		if kind.lock != "" {
			g.Lock = kind.lock
		}
		j.Begun, t.Due = true, at.Add(kind.takes)
		return
	}
	status := kind.finish(l, t, g, j, at)
	t.end(status, at)
	if status != "OK" {
		l.undoGuestJob(t, g)
	} else if kind.lock != "" {
		g.Lock = ""
	}
}

// undoGuestJob takes away what a task left that failed half way. What Proxmox
// does not undo stays locked: a deletion, a rollback, a guest half destroyed.
func (l *Lab) undoGuestJob(t *task, g *guest) {
	switch guestTaskOf(t.Type).lock {
	case "snapshot-delete", "rollback", "destroyed", "":
	default:
		g.Lock = ""
	}
	g.Snapshots = slices.DeleteFunc(g.Snapshots, func(s snapshot) bool {
		if s.State == "prepare" && s.RAM {
			l.destroyZvol(g.Node, l.now(), t, l.memoryZvol(g, s.Name))
		}
		return s.State == "prepare"
	})
	l.st.Guests = slices.DeleteFunc(l.st.Guests, func(n *guest) bool {
		gone := n.VMID == t.Guest.NewID
		if gone {
			l.destroyAll(n, l.now(), t)
		}
		return gone
	})
}

// spoiled has a task fail or hang that a fault is meant for.
func (l *Lab) spoiled(t *task, at time.Time) bool {
	f := l.faults.hit("task", t.Type, "fail", "text", "hang")
	switch {
	case f == nil:
		return false
	case f.Kind == "hang":
		t.Due = time.Time{}
	case f.Kind == "text":
		t.end(f.Text, at)
	default:
		t.end("command failed: exit code 1", at)
	}
	return true
}

var resizeText = pattern.Of(`^\+?\d+(\.\d+)?[KMGT]?$`)

func sizeFormat(s string) string {
	if !resizeText().MatchString(s) {
		return "value does not match the regex pattern"
	}
	return ""
}

// disk is an entry of a configuration that names a volume of a storage.
type disk struct{ key, volid string }

var diskKey = pattern.Of(`^(?:(?:ide|sata|scsi|virtio|efidisk|tpmstate|mp|unused)\d+|rootfs)$`)

// diskOrder is the order in which Proxmox goes through the disks of a guest.
func diskOrder(key string) int {
	return slices.Index([]string{"rootfs", "mp", "ide", "scsi", "virtio", "sata", "efidisk", "tpmstate", "unused"}, strings.TrimRight(key, "0123456789"))
}

// disksOf are the volumes of a configuration, in that order.
func disksOf(config map[string]any) []disk {
	var out []disk
	for key, value := range config {
		text := fmt.Sprint(value)
		volid, _, _ := strings.Cut(text, ",")
		if diskKey().MatchString(key) && diskLine().MatchString(text) {
			out = append(out, disk{key, volid})
		}
	}
	slices.SortFunc(out, func(a, b disk) int {
		if c := cmp.Compare(diskOrder(a.key), diskOrder(b.key)); c != 0 {
			return c
		}
		return cmp.Or(len(a.key)-len(b.key), strings.Compare(a.key, b.key)) // scsi2 before scsi10
	})
	return out
}

func (g *guest) snapshot(name string) *snapshot {
	for i := range g.Snapshots {
		if g.Snapshots[i].Name == name {
			return &g.Snapshots[i]
		}
	}
	return nil
}
