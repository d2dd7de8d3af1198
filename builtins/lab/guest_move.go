package lab

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// Cloning, migrating, resizing and destroying, in the words of PVE::API2::Qemu,
// PVE::QemuMigrate and PVE::API2::LXC.

func (g *guest) noun() string { return map[string]string{"qemu": "VM", "lxc": "CT"}[g.Type] }

func postClone(typ string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		newid, pool := c.params.str("newid"), c.params.str("pool")
		if err := c.need(c.who, "/vms/"+c.v("vmid"), "VM.Clone"); err != nil {
			return nil, err
		}
		if err := c.need(c.who, "/vms/"+newid, "VM.Allocate"); err != nil {
			return nil, err
		}
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		j := guestJob{
			Snapshot: c.params.str("snapname"), Text: c.params.str("description"), NewID: int(c.params.int("newid", 0)), Node: c.params.str("target"),
			Name: c.params.str(map[string]string{"qemu": "name", "lxc": "hostname"}[typ]), Storage: c.params.str("storage"), Pool: pool,
			Full: c.params.bool("full", !g.Template),
		}
		if wrong := c.cloneProblem(g, &j); wrong != "" {
			return nil, serverError("%s", wrong)
		}
		return c.guestJob(g, map[string]string{"qemu": "qmclone", "lxc": "vzclone"}[typ], j)
	}
}

// cloneProblem is looked at before the task and in it.
func (l *Lab) cloneProblem(g *guest, j *guestJob) string {
	switch {
	case j.Pool != "" && l.st.pool(j.Pool) == nil:
		return fmt.Sprintf("pool '%s' does not exist", j.Pool)
	case j.Node != "" && l.st.node(j.Node) == nil:
		return fmt.Sprintf("no such cluster node '%s'", j.Node)
	case j.Storage != "" && l.st.storage(j.Storage) == nil:
		return fmt.Sprintf("storage '%s' does not exist", j.Storage)
	case g.Lock != "":
		return g.lockedError()
	case j.Snapshot != "" && g.snapshot(j.Snapshot) == nil:
		return fmt.Sprintf("snapshot '%s' does not exist", j.Snapshot)
	case j.Storage != "" && !j.Full:
		return "parameter 'storage' not allowed for linked clones"
	case j.Node != "" && j.Node != g.Node && len(disksOf(g.Config)) > 0:
		return fmt.Sprintf("can't clone VM to node '%s' (VM uses local storage)", j.Node)
	case l.st.guest(j.NewID) != nil:
		if g.Type == "lxc" {
			o := l.st.guest(j.NewID)
			return fmt.Sprintf("unable to create CT %d: %s %d already exists on node '%s'", j.NewID, o.noun(), o.VMID, o.Node)
		}
		return fmt.Sprintf("unable to create VM %d: config file already exists", j.NewID)
	case !j.Full && (!g.Template || j.Snapshot != ""):
		for _, d := range disksOf(g.Config) {
			if _, zfs := l.zvolOf(d.key, d.volid); zfs || j.Snapshot == "" { // ZFS clones base images only
				return fmt.Sprintf("Linked clone feature is not supported for '%s' (%s)", d.volid, d.key)
			}
		}
	}
	return ""
}

// cloneDisk makes the volume that a clone has for one of its source, and gives
// the entry that names it.
func (l *Lab) cloneDisk(t *task, n *guest, full bool, d disk, line string) (newLine, wrong string) {
	store, name, _ := strings.Cut(d.volid, ":")
	name = path.Base(name)
	own := l.freeDiskName(l.st.storage(store), n)
	newLine = store + ":" + own + strings.TrimPrefix(line, d.volid)
	v, isZFS := l.zvolOf(d.key, newLine)
	switch {
	case !isZFS:
		return newLine, ""
	case full:
		return newLine, l.copyZvol(n.Node, l.now(), t, v)
	}
	from, _ := l.zvolOf(d.key, line)
	return store + ":" + name + "/" + own + strings.TrimPrefix(line, d.volid), l.cloneZvol(n.Node, l.now(), t, from, v)
}

func beginClone(l *Lab, t *task, g *guest, j *guestJob) string {
	if wrong := l.cloneProblem(g, j); wrong != "" {
		return wrong
	}
	source := g.Config
	if s := g.snapshot(j.Snapshot); s != nil && s.Config != nil {
		source = s.Config
	}
	n := *g
	n.VMID, n.Running, n.Paused, n.Template, n.Lock, n.Snapshots, n.Pending, n.Pool = j.NewID, false, false, false, "clone", nil, nil, j.Pool
	if j.Node != "" {
		n.Node = j.Node
	}
	disks := disksOf(source)
	n.Config = map[string]any{}
	for key, value := range source {
		if key != "template" && key != "parent" && !slices.ContainsFunc(disks, func(d disk) bool { return d.key == key }) {
			n.Config[key] = value
		}
	}
	for _, d := range disks {
		if strings.HasPrefix(d.key, "unused") {
			continue
		}
		line, wrong := l.cloneDisk(t, &n, j.Full, d, fmt.Sprint(source[d.key]))
		if wrong != "" {
			l.destroyAll(&n, l.now(), t)
			return "clone failed: " + wrong
		}
		n.Config[d.key] = line
	}
	if mac, ok := n.Config["net0"].(string); ok {
		n.Config["net0"] = macText().ReplaceAllString(mac, fmt.Sprintf("BC:24:11:FF:%02X:%02X", j.NewID>>8&255, j.NewID&255))
	}
	name := j.Name
	if name == "" && g.Type == "qemu" {
		name = "Copy-of-VM-" + g.Name
	} else if name == "" {
		name = "Copy-of-CT-" + g.Name
	}
	n.Config[map[string]string{"qemu": "name", "lxc": "hostname"}[g.Type]] = name
	if j.Text != "" {
		n.Config["description"] = j.Text
	}
	n.readConfig()
	l.st.Guests = append(l.st.Guests, &n)
	if g.Type == "qemu" {
		t.say("creating a clone of VM %d with ID %d", g.VMID, j.NewID)
	}
	return ""
}

var macText = pattern.Of(`(?:[0-9A-F]{2}:){5}[0-9A-F]{2}`)

func finishClone(l *Lab, t *task, g *guest, j *guestJob, _ time.Time) string {
	n := l.st.guest(j.NewID)
	if n == nil {
		return fmt.Sprintf("clone failed: unable to find configuration file for VM %d", j.NewID)
	}
	how := "linked"
	if j.Full {
		how = "full"
	}
	for _, d := range disksOf(g.Config) {
		if g.Type == "lxc" {
			t.say("create %s clone of mountpoint %s (%s)", how, d.key, d.volid)
		} else {
			t.say("create %s clone of drive %s (%s)", how, d.key, d.volid)
		}
		if j.Full {
			t.say("transferred %.1f GiB of %.1f GiB (100.00%%)", float64(g.Disk)/float64(gib), float64(g.Disk)/float64(gib))
		}
	}
	n.Lock = ""
	return "OK"
}

func postMigrate(typ, task string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		j := guestJob{Node: c.params.str("target"), Online: c.params.bool("online", false), Restart: c.params.bool("restart", false), Disks: c.params.bool("with-local-disks", false)}
		switch {
		case j.Node == g.Node:
			return nil, badParameter("target", "target is local node.")
		case c.st.node(j.Node) == nil:
			return nil, serverError("no such cluster node '%s'", j.Node)
		case g.Lock != "":
			return nil, serverError("%s", g.lockedError())
		case typ == "qemu" && g.Running && !j.Online:
			return nil, serverError("can't migrate running VM without --online")
		case c.st.ha(g.sid()) != nil:
			return c.guestJob(g, "hamigrate", j)
		}
		return c.guestJob(g, task, j)
	}
}

// localResources are what binds a VM to its node.
func (g *guest) localResources() []string {
	out := []string{}
	for _, key := range slices.Sorted(maps.Keys(g.Config)) {
		if strings.HasPrefix(key, "hostpci") || strings.HasPrefix(key, "virtiofs") {
			out = append(out, key)
		}
	}
	return out
}

func getMigrate(c *call) (any, error) {
	g, err := c.guestHere("qemu")
	if err != nil {
		return nil, err
	}
	if g.Lock != "" {
		return nil, serverError("%s", g.lockedError())
	}
	disks, allowed := []obj{}, []string{}
	for _, d := range disksOf(g.Config) {
		disks = append(disks, obj{"volid": d.volid, "size": diskSize(g.config(d.key)), "cdrom": 0, "is_unused": bit(strings.HasPrefix(d.key, "unused"))})
	}
	for _, n := range c.st.Nodes {
		if n.Name != g.Node {
			allowed = append(allowed, n.Name)
		}
	}
	return obj{
		"running": bit(g.Running), "allowed_nodes": allowed, "not_allowed_nodes": obj{}, "local_disks": disks, "local_resources": g.localResources(),
		"mapped-resources": []string{}, "mapped-resource-info": obj{}, "has-dbus-vmstate": 1,
	}, nil
}

func beginMigrate(l *Lab, t *task, g *guest, j *guestJob) string {
	t.logAt(l.now(), "starting migration of %s %d to node '%s' (%s)", g.noun(), g.VMID, j.Node, l.st.node(j.Node).IP)
	fail := func(why string) string {
		t.logAt(l.now(), "ERROR: migration aborted (duration 00:00:00): %s", why)
		return "migration aborted"
	}
	resources := g.localResources()
	switch {
	case g.Lock != "":
		return g.lockedError()
	case len(resources) > 0:
		return fail(fmt.Sprintf("can't migrate VM which uses local devices: %s", strings.Join(resources, ", ")))
	case g.Type == "lxc" && g.Running && !j.Restart:
		return fail("can't migrate running container without --online or --restart")
	case g.Type == "qemu" && g.Running && !j.Disks && len(disksOf(g.Config)) > 0:
		return fail("can't live migrate attached local disks without with-local-disks option")
	}
	for _, d := range disksOf(g.Config) {
		t.logAt(l.now(), "found local disk '%s' (attached)", d.volid)
	}
	for _, v := range l.allZvols(g) {
		if v.base != "" {
			return fail(fmt.Sprintf("can't migrate '%s' as it's a clone of '%s'", v.volid, v.base))
		}
	}
	return ""
}

func finishMigrate(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	if g.Running && g.Type == "lxc" {
		t.logAt(at, "start container on target node")
		g.Since = at
	}
	for _, v := range l.allZvols(g) {
		if wrong := l.moveZvol(g.Node, j.Node, at, v); wrong != "" {
			t.logAt(at, "ERROR: storage migration for '%s' to storage 'rpool' failed - %s", v.volid, wrong)
			return "migration aborted"
		}
	}
	g.Node = j.Node
	t.logAt(at, "migration finished successfully (duration 00:00:20)")
	return "OK"
}

// logAt is a line that begins with the node's local time, as a migration's do.
func (t *task) logAt(at time.Time, format string, a ...any) {
	t.say(at.UTC().Format("2006-01-02 15:04:05 ")+format, a...)
}

func deleteGuest(typ, task string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		j := guestJob{Purge: c.params.bool("purge", false), Force: c.params.bool("force", false)}
		if wrong := c.destroyProblem(g, &j); wrong != "" {
			return nil, serverError("%s", wrong)
		}
		return c.guestJob(g, task, j)
	}
}

// destroyProblem is looked at before the task and in it.
func (l *Lab) destroyProblem(g *guest, j *guestJob) string {
	switch {
	case g.config("protection") == "1":
		return fmt.Sprintf("can't remove %s %d - protection mode enabled", g.noun(), g.VMID)
	case l.st.ha(g.sid()) != nil && !j.Purge && g.Type == "qemu":
		return fmt.Sprintf("unable to remove VM %d - used in HA resources and purge parameter not set.", g.VMID)
	case l.st.ha(g.sid()) != nil && !j.Purge:
		return fmt.Sprintf("unable to remove CT %d - used in HA resources and purge parameter not set.", g.VMID)
	case g.Running && g.Type == "qemu":
		return fmt.Sprintf("VM %d is running - destroy failed", g.VMID)
	case g.Running && !j.Force:
		return fmt.Sprintf("unable to destroy CT %d - container is running", g.VMID)
	}
	return ""
}

func beginDestroy(l *Lab, t *task, g *guest, j *guestJob) string {
	if g.Lock != "" {
		return g.lockedError()
	}
	if wrong := l.destroyProblem(g, j); wrong != "" {
		return wrong
	}
	for _, v := range l.allZvols(g) {
		if v.isBase() && len(l.clonesOf(g.Node, l.now(), v)) > 0 {
			return fmt.Sprintf("base volume '%s' is still in use by linked cloned", v.volid)
		}
	}
	return ""
}

func finishDestroy(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	if wrong := l.destroyAll(g, at, t); wrong != "" && g.Type == "lxc" {
		return wrong
	}
	l.st.Guests = slices.DeleteFunc(l.st.Guests, func(o *guest) bool { return o.VMID == g.VMID })
	if j.Purge {
		l.st.setHA(g, "")
		t.say("purging %s %d from related configurations..", g.noun(), g.VMID)
	}
	return "OK"
}

func beginResize(l *Lab, t *task, g *guest, j *guestJob) string {
	line := g.config(j.Disk)
	switch {
	case j.Digest != "" && j.Digest != g.digest():
		return "checksum mismatch (file change by other user?)"
	case line == "":
		return fmt.Sprintf("disk '%s' does not exist", j.Disk)
	case g.Lock != "":
		return g.lockedError()
	}
	size, before := wantedSize(j.Size, diskSize(line)), diskSize(line)
	if size < before {
		return "shrinking disks is not supported"
	}
	return ""
}

// wantedSize reads 64G, +10G or a number of bytes.
func wantedSize(text string, now int64) int64 {
	more := strings.HasPrefix(text, "+")
	text = strings.TrimPrefix(text, "+")
	unit := int64(1)
	if i := strings.IndexByte("KMGT", text[len(text)-1]); i >= 0 {
		unit, text = 1<<(10*(i+1)), text[:len(text)-1]
	}
	var n float64
	_, _ = fmt.Sscan(text, &n) // the parameter's format has been checked
	size := int64(n * float64(unit))
	if more {
		size += now
	}
	return size
}

func finishResize(l *Lab, t *task, g *guest, j *guestJob, at time.Time) string {
	line := g.config(j.Disk)
	size := wantedSize(j.Size, diskSize(line))
	if v, ok := l.zvolOf(j.Disk, line); ok {
		if wrong := l.resizeZvol(g.Node, at, t, v, size); wrong != "" {
			return wrong
		}
	}
	text := fmt.Sprintf("%dM", (size+mib-1)/mib)
	if size%gib == 0 {
		text = fmt.Sprintf("%dG", size/gib)
	}
	g.Config[j.Disk] = sizeOption().ReplaceAllStringFunc(line, func(old string) string {
		prefix, _, _ := strings.Cut(old, "size=")
		return prefix + "size=" + text
	})
	if first := bootDisks[j.Disk]; first {
		g.Disk = size
	}
	return "OK"
}

var bootDisks = map[string]bool{"scsi0": true, "rootfs": true}
