package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What is here is the other hand: whoever changes an estate beside Proxmox's
// API, as administrators, other tools and bad disks do. Tests are its users.

// A GuestChange says what shall become of a guest. What is nil stays as it is
// or, of a new guest, is as usual.
type GuestChange struct {
	Kind     string // qemu or lxc; only of a new guest, qemu when empty
	Node     *string
	Name     *string
	Running  *bool
	Template *bool
	Lock     *string // "" unlocks
	HA       *string // the state that its HA manager is asked for: started or stopped; "": not managed
	Pool     *string
	Tags     []string          // nil: as they are
	Config   map[string]string // entries of the configuration; an empty one removes it
}

// ChangeGuest changes a guest, or adds it if there is none with that id.
func (l *Lab) ChangeGuest(id int, c GuestChange) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.st.guest(id)
	isNew := g == nil
	switch {
	case isNew && (id < 100 || id > 999999999):
		return fmt.Errorf("adding guest %d: Proxmox numbers guests from 100 on", id)
	case isNew && c.Kind == "lxc":
		g = ct(id, l.st.Nodes[0].Name, fmt.Sprintf("ct%d", id), "", "debian", 1, 1, 4)
	case isNew && (c.Kind == "qemu" || c.Kind == ""):
		g = vm(id, l.st.Nodes[0].Name, fmt.Sprintf("vm%d", id), "", 1, 1, 4)
	case isNew:
		return fmt.Errorf("adding guest %d: %q is no kind of guest: there are qemu and lxc", id, c.Kind)
	case c.Kind != "" && c.Kind != g.Type:
		return fmt.Errorf("changing guest %d: it is of kind %s and stays so; remove it first", id, g.Type)
	}
	if c.Node != nil && l.st.node(*c.Node) == nil {
		return fmt.Errorf("guest %d: there is no node %q", id, *c.Node)
	}
	if c.Pool != nil && *c.Pool != "" && l.st.pool(*c.Pool) == nil {
		return fmt.Errorf("guest %d: there is no pool %q", id, *c.Pool)
	}
	before := g.Node
	if isNew {
		g.Running, g.Since, g.PID = true, l.now(), 1000+id
		l.st.Guests = append(l.st.Guests, g)
	}
	c.apply(g, l.now())
	if err := l.adopt(g, before); err != nil {
		return fmt.Errorf("guest %d: %w", id, err)
	}
	if g.Template {
		if err := l.makeTemplate(g); err != nil {
			return fmt.Errorf("guest %d: making a template of it: %w", id, err)
		}
	}
	if c.HA != nil {
		l.st.setHA(g, *c.HA)
	}
	return l.save()
}

func (c GuestChange) apply(g *guest, now time.Time) {
	set(&g.Node, c.Node)
	set(&g.Lock, c.Lock)
	set(&g.Pool, c.Pool)
	if c.Name != nil {
		g.Name = *c.Name
		g.Config[map[string]string{"qemu": "name", "lxc": "hostname"}[g.Type]] = g.Name
	}
	if c.Tags != nil {
		g.Tags = strings.Join(c.Tags, ";")
		g.Config["tags"] = g.Tags
	}
	if c.Template != nil {
		g.Template = *c.Template
		delete(g.Config, "template")
		if g.Template {
			g.Config["template"], g.Running = 1, false
		}
	}
	if c.Running != nil && *c.Running != g.Running {
		g.Running, g.Since = *c.Running, now
	}
	for key, value := range c.Config {
		if g.Config[key] = value; value == "" {
			delete(g.Config, key)
		}
	}
}

// AddForeignSnapshot snapshots a guest's volumes beside Proxmox, as replication,
// other tools and people do.
func (l *Lab) AddForeignSnapshot(id int, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.st.guest(id)
	if g == nil {
		return fmt.Errorf("snapshotting guest %d: there is none", id)
	}
	used, _ := l.zvols(g.Config)
	args := []string{"zfs", "snapshot"}
	for _, v := range used {
		args = append(args, v.dataset+"@"+name)
	}
	if wrong := l.all(g.Node, l.now(), nil, args); wrong != "" {
		return fmt.Errorf("snapshotting guest %d: %s", id, wrong)
	}
	return l.save()
}

func set[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// RemoveGuest removes a guest. Its archives stay, as they do in Proxmox.
func (l *Lab) RemoveGuest(id int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.st.guest(id)
	if g == nil {
		return fmt.Errorf("removing guest %d: there is none", id)
	}
	if wrong := l.destroyAll(g, l.now(), nil); wrong != "" {
		return fmt.Errorf("removing guest %d: %s", id, wrong)
	}
	l.st.Guests = slices.DeleteFunc(l.st.Guests, func(o *guest) bool { return o == g })
	return l.save()
}

// AddFault has something go wrong from now on.
func (l *Lab) AddFault(f Fault) error {
	l.faults.add(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applyGuestFaults()
	return l.save()
}

func (f *faults) add(x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.used = append(f.list, x), append(f.used, 0)
}

// ClearFaults has everything go well from now on. Locks that faults gave to
// guests stay.
func (l *Lab) ClearFaults() {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	l.faults.list, l.faults.used = nil, nil
}

// SetTime sets the clock. Forward, everything happens that happens until then;
// back is what a clock does that was wrong, and no task may run meanwhile.
func (l *Lab) SetTime(t time.Time) error {
	if d := t.Sub(l.Now()); d >= 0 {
		l.Advance(d)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.anyRunning() {
		return fmt.Errorf("setting the clock back to %s: a task is running", t.Format(time.RFC3339))
	}
	l.st.Offset += t.Sub(l.now())
	if err := l.writeClock(); err != nil {
		return err
	}
	return l.save()
}

// A GuestState is a guest as it is.
type GuestState struct {
	ID                int
	Kind, Node, Name  string
	Running, Template bool
	Lock, Pool        string
	Tags              []string
	Config            map[string]string
	Snapshots         []string
}

// Guests are all guests, by id.
func (l *Lab) Guests() []GuestState {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]GuestState, 0, len(l.st.Guests))
	for _, g := range l.st.Guests {
		s := GuestState{ID: g.VMID, Kind: g.Type, Node: g.Node, Name: g.Name, Running: g.Running, Template: g.Template, Lock: g.Lock, Pool: g.Pool,
			Tags: splitList(g.Tags), Config: map[string]string{}}
		for key := range g.Config {
			s.Config[key] = g.config(key)
		}
		for _, snap := range g.Snapshots {
			s.Snapshots = append(s.Snapshots, snap.Name)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b GuestState) int { return a.ID - b.ID })
	return out
}

// A TaskState is a task as it is.
type TaskState struct {
	UPID, Node, Kind, ID, User string
	Begin, End                 time.Time // End is zero while it runs
	Status                     string
	Log                        []string
}

// Tasks are all tasks that the estate remembers, oldest first.
func (l *Lab) Tasks() []TaskState {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]TaskState, 0, len(l.st.Tasks))
	for _, t := range l.st.Tasks {
		out = append(out, TaskState{UPID: t.upid(), Node: t.Node, Kind: t.Type, ID: t.ID, User: string(t.User), Begin: t.Start, End: t.End,
			Status: t.Status, Log: slices.Clone(t.Log)})
	}
	return out
}

// State is everything about the estate but the files of its storages, as it is
// kept: what has changed nothing leaves it byte for byte as it was.
func (l *Lab) State() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.st.encode()
}

// StopTasks stops what runs, as an administrator does from the list of tasks.
func (l *Lab) StopTasks() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.st.Tasks {
		if t.running() && !t.Aborted {
			t.Aborted, t.Due = true, l.now().Add(time.Second)
		}
	}
	l.poke()
}

// MoveOn lets backups that hang go on, as when a storage answers again.
func (l *Lab) MoveOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.st.Tasks {
		if t.running() && t.Job != nil && t.Job.Dump != nil && t.Job.Dump.Fault == "hang" {
			t.Job.Dump.Fault, t.Due = "", l.now().Add(time.Second)
		}
	}
	l.poke()
}

// SetStorage changes how full a storage is and what it keeps by itself;
// nil stays as it is.
func (l *Lab) SetStorage(name string, prune *string, used *int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.st.storage(name)
	if s == nil {
		return fmt.Errorf("changing the storage %q: there is none", name)
	}
	if prune != nil {
		if _, wrong := parsePrune(*prune); wrong != "" {
			return fmt.Errorf("changing the storage %q: %s", name, wrong)
		}
	}
	if used != nil && s.zfsPool() != "" {
		return fmt.Errorf("changing the storage %q: its pool says how full it is: write to that", name)
	}
	set(&s.Prune, prune)
	set(&s.Used, used)
	return l.save()
}

// AddNode joins another node to the cluster, like the last one that is there, with its own folder of every storage that is not shared.
func (l *Lab) AddNode(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if said := nodeFormat(name); said != "" {
		return fmt.Errorf("adding node %q: %s", name, said)
	}
	if l.st.node(name) != nil {
		return fmt.Errorf("adding node %s: it is there", name)
	}
	last := l.st.Nodes[len(l.st.Nodes)-1]
	if last.ID == 240 {
		return fmt.Errorf("adding node %s: the lab's network has no address left", name)
	}
	n := &node{Name: name, ID: last.ID + 1, IP: fmt.Sprintf("192.0.2.%d", 11+last.ID), CPUs: last.CPUs, Memory: last.Memory, Disk: last.Disk, Boot: l.now(), Repository: firstRepositories()}
	l.st.Nodes = append(l.st.Nodes, n)
	if err := errors.Join(l.makeFolders(), l.addMachine(name)); err != nil {
		return fmt.Errorf("adding node %s: %w", name, err)
	}
	return l.save()
}
