package lab

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/lab/archive"
	"nixmox/builtins/lab/archive/archivetest"
)

// restoreJob is what a qmrestore or vzrestore task was asked to do.
type restoreJob struct {
	Archive, Storage, Pool string
	Disks                  map[string]string // of a container, where the request lists them itself
	Unique, Start, Over    bool
	Step                   int
}

func restoreQemu(c *call) (any, error) { return c.restore("qemu", "archive") }
func restoreLxc(c *call) (any, error)  { return c.restore("lxc", "ostemplate") }

// restore checks in the order of create_vm of PVE::API2::Qemu and ::LXC.
func (c *call) restore(typ, from string) (any, error) {
	p, id := c.params, int(c.params.int("vmid", 0))
	volid, path := p.str(from), fmt.Sprintf("/vms/%d", id)
	if volid == "" || typ == "lxc" && !p.bool("restore", false) {
		return nil, serverError("the lab creates guests from backups only")
	}
	old := c.st.guest(id)
	switch {
	case c.may(c.who, path, "VM.Allocate"), p.has("pool") && c.may(c.who, "/pool/"+p.str("pool"), "VM.Allocate"):
	case p.bool("force", false) && old != nil && c.may(c.who, path, "VM.Backup"):
	default:
		return nil, forbidden(path, "VM.Allocate")
	}
	if p.has("pool") && c.st.pool(p.str("pool")) == nil {
		return nil, serverError("pool '%s' does not exist", p.str("pool"))
	}
	v, err := c.backupVolume(volid)
	if err != nil {
		return nil, err
	}
	if s := p.str("storage"); s != "" {
		if err := c.need(c.who, "/storage/"+s, "Datastore.AllocateSpace"); err != nil {
			return nil, err
		}
	}
	emsg := fmt.Sprintf("unable to restore %s %d - ", map[string]string{"qemu": "VM", "lxc": "CT"}[typ], id)
	if old != nil && (!p.bool("force", false) || old.Node != c.v("node") || old.Type != typ) {
		return nil, serverError("%s%s %d already exists on node '%s'", emsg, old.kindName(), id, old.Node)
	}
	job := &restoreJob{Archive: v.id(), Storage: p.str("storage"), Pool: p.str("pool"), Unique: p.bool("unique", false), Start: p.bool("start", false), Over: old != nil}
	if typ == "lxc" {
		if job.Storage == "" {
			job.Storage = "local" // whatever the archive's container was on
		}
		for key := range p {
			if key == "rootfs" || mountPoint().MatchString(key) {
				if job.Disks == nil {
					job.Disks = map[string]string{}
				}
				job.Disks[key] = p.str(key)
			}
		}
		if s := c.st.storage(job.Storage); job.Disks == nil && (s == nil || !s.holds("rootdir")) {
			return nil, badParameter("storage", "storage '%s' does not support container directories", job.Storage)
		}
	}
	t := c.startTask(c.v("node"), map[string]string{"qemu": "qmrestore", "lxc": "vzrestore"}[typ], strconv.Itoa(id), c.who, time.Second)
	t.Restore = job
	if old == nil {
		c.st.Guests = append(c.st.Guests, &guest{VMID: id, Type: typ, Node: c.v("node"), Lock: "create", Config: map[string]any{}})
	}
	return t.upid(), nil
}

var mountPoint = pattern.Of(`^mp\d+$`)

// backupVolume is the backup that a request names by its volume id.
func (c *call) backupVolume(volid string) (*volume, error) {
	store, name, ok := strings.Cut(volid, ":")
	if !ok || storageFormat(store) != "" {
		return nil, serverError("unable to parse volume ID '%s'", volid)
	}
	s := c.st.storage(store)
	if s == nil {
		return nil, serverError("storage '%s' does not exist", store)
	}
	v, err := c.parseVolume(s, c.v("node"), name)
	if err != nil {
		return nil, err
	}
	if err := c.access(v); err != nil {
		return nil, err
	}
	if c.offline(s) {
		return nil, serverError("%s", s.offlineError())
	}
	if v.content != "backup" || !v.look() {
		return nil, serverError("volume '%s' does not exist", volid)
	}
	return v, nil
}

// runRestore lets the next event of a restore happen: the archive's beginning
// and half of it, then its end.
func (l *Lab) runRestore(t *task, at time.Time) {
	j := t.Restore
	id, _ := strconv.Atoi(t.ID)
	g := l.st.guest(id)
	fail := func(why string) {
		emsg := fmt.Sprintf("unable to restore %s %d - ", map[string]string{"qmrestore": "VM", "vzrestore": "CT"}[t.Type], id)
		switch {
		case g != nil && j.Over:
			g.Lock = ""
		case g != nil:
			l.destroyAll(g, at, t)
			l.st.Guests = slices.DeleteFunc(l.st.Guests, func(x *guest) bool { return x == g })
		}
		t.end(emsg+why, at)
	}
	switch {
	case g == nil:
		t.end(fmt.Sprintf("Configuration file 'nodes/%s/%s.conf' does not exist", t.Node, t.ID), at)
	case t.Aborted:
		fail("interrupted by signal")
	case l.faults.hit("restore", t.ID, "hang") != nil:
		t.Due = time.Time{}
	case j.Over && j.Step == 0 && g.Running:
		fail(map[string]string{"qemu": "vm is running", "lxc": "can't overwrite running container"}[g.Type])
	case j.Over && j.Step == 0 && g.Lock != "":
		fail(g.lockedError())
	case j.Over && j.Step == 0 && g.config("protection") == "1":
		fail("protection mode enabled")
	default:
		if why := l.restoreStep(t, g, at); why != "" {
			fail(why)
		}
	}
}

// restoreStep does the next part of the work and says why it failed, if it did.
func (l *Lab) restoreStep(t *task, g *guest, at time.Time) string {
	j := t.Restore
	store, name, _ := strings.Cut(j.Archive, ":")
	v, err := l.parseVolume(l.st.storage(store), t.Node, name)
	if err != nil || !v.look() {
		return "volume '" + j.Archive + "' does not exist"
	}
	config, damage := v.read()
	from := parseConfig(config)
	if j.Step++; j.Step == 1 {
		if j.Over { // what it had is gone from here on
			if wrong := l.destroyAll(g, at, t); wrong != "" && g.Type == "lxc" {
				return wrong
			}
			maps.DeleteFunc(g.Config, func(_ string, x any) bool { s, _ := x.(string); return diskLine().MatchString(s) })
			g.Snapshots, g.Lock = nil, "create"
		}
		t.sayRestoreBegins(v, config)
		t.Due = at.Add(3 * time.Second)
		return ""
	}
	if l.faults.hit("restore", t.ID, "fail") != nil {
		damage = errors.New("input/output error")
	}
	if why := l.allocate(t, g, from, at); why != "" {
		return why
	}
	if damage != nil {
		l.destroyAll(g, at, t)
		maps.DeleteFunc(g.Config, func(string, any) bool { return true })
		t.sayDamaged(v)
		if g.Type == "lxc" {
			return "command 'tar xpf - --totals' failed: exit code 2"
		}
		return "command 'set -o pipefail && " + v.unpacker() + "vma extract -v -r /var/tmp/vzdumptmp.fifo - /var/tmp/vzdumptmp' failed: got signal 5"
	}
	t.sayRestored(v, g)
	g.Name, g.Tags, g.Lock, g.Pool = g.config(map[string]string{"qemu": "name", "lxc": "hostname"}[g.Type]), g.config("tags"), "", j.Pool
	g.Cores, _ = strconv.Atoi(g.config("cores"))
	memory, _ := strconv.ParseInt(g.config("memory"), 10, 64)
	g.Memory, g.Template = memory*mib, g.config("template") == "1"
	if j.Start {
		t.say("Execute autostart")
		typ := map[string]string{"qemu": "qmstart", "lxc": "vzstart"}[g.Type]
		l.st.newTask(t.Node, typ, t.ID, t.User, at).Due = at.Add(powerTimes[typ])
	}
	t.end("OK", at)
	return ""
}

// allocate gives the guest the configuration of the archive, with disks of its
// own.
func (l *Lab) allocate(t *task, g *guest, from map[string]any, at time.Time) string {
	j := t.Restore
	g.Config, g.Disk = from, 0
	delete(g.Config, "parent")
	delete(g.Config, "lock")
	keys := slices.Sorted(maps.Keys(from))
	if j.Disks != nil {
		for _, key := range keys {
			if _, given := j.Disks[key]; key == "rootfs" && !given || mountPoint().MatchString(key) && !given {
				delete(g.Config, key)
			}
		}
	}
	made := map[string]any{}
	for _, key := range keys {
		line, _ := from[key].(string)
		if strings.HasPrefix(line, "/") && mountPoint().MatchString(key) && j.Disks == nil {
			if t.User != rootUser {
				return fmt.Sprintf("restoring '%s' to bind mount is only possible for root", key)
			}
			continue
		}
		m := diskLine().FindStringSubmatch(line)
		if m == nil || g.Config[key] == nil {
			continue
		}
		store, rest := m[1], strings.TrimPrefix(line, m[1]+":"+m[2])
		if j.Storage != "" {
			store = j.Storage
		}
		if given := j.Disks[key]; given != "" {
			var gigabytes string
			gigabytes, rest, _ = strings.Cut(given, ",")
			store, gigabytes, _ = strings.Cut(gigabytes, ":")
			if rest = ",size=" + gigabytes + "G" + rest; !strings.HasSuffix(rest, "G") {
				rest = strings.Replace(rest, "G", "G,", 1)
			}
		}
		s := l.st.storage(store)
		content := map[string]string{"qemu": "images", "lxc": "rootdir"}[g.Type]
		if s == nil {
			return fmt.Sprintf("storage '%s' does not exist", store)
		}
		if !s.holds(content) {
			return fmt.Sprintf("storage '%s' does not support content-type '%s'", store, content)
		}
		volid := store + ":" + l.freeDiskName(s, &guest{VMID: g.VMID, Type: g.Type, Node: g.Node, Config: made})
		made[key] = volid
		if v, ok := l.zvolOf(key, volid+rest); ok {
			if wrong := l.copyZvol(g.Node, at, t, v); wrong != "" {
				return wrong
			}
		}
		g.Config[key] = volid + rest
		g.Disk += diskSize(rest)
		if g.Type == "qemu" {
			t.say("new volume ID is '%s'", volid)
			t.say("map 'drive-%s' to '%s' (write zeros = 0)", key, s.devicePath(volid))
		}
	}
	if j.Unique {
		for _, key := range slices.Sorted(maps.Keys(g.Config)) {
			if line, ok := g.Config[key].(string); ok && netKey().MatchString(key) {
				i, _ := strconv.Atoi(key[3:])
				g.Config[key] = macAddress().ReplaceAllString(line, fmt.Sprintf("BC:24:11:%02X:%02X:%02X", 0x80|g.VMID>>16&127, g.VMID>>8&255, (g.VMID+i)&255))
			}
		}
		if g.Config["smbios1"] != nil {
			g.Config["smbios1"] = "uuid=" + fixedUUID("smbios", g.VMID)
		}
	}
	if g.Config["vmgenid"] != nil {
		g.Config["vmgenid"] = fixedUUID("restored", g.VMID)
	}
	return ""
}

var (
	netKey     = pattern.Of(`^net\d+$`)
	macAddress = pattern.Of(`(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}`)
)

// read gives the configuration in an archive, and what is wrong with it: as a
// restore does, it reads all of it.
func (v *volume) read() (config string, damage error) {
	f, err := os.Open(v.file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	format := v.fileFormat()
	if config, err = archive.ReadConfig(io.LimitReader(f, 64*mib), format); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return config, err
	}
	return config, archivetest.Prove(f, format)
}

// parseConfig reads the file of a configuration. What begins a section is a
// snapshot's, and stays out.
func parseConfig(text string) map[string]any {
	out := map[string]any{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "[") {
			break
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		out[key] = value
		// As the API gives them: numbers, but for what the schema calls text.
		if n, err := strconv.Atoi(value); err == nil && !slices.Contains([]string{"name", "hostname", "tags", "agent"}, key) &&
			(key != "memory" || !strings.Contains(text, "scsihw: ")) {
			out[key] = n
		}
	}
	return out
}

func (v *volume) unpacker() string {
	switch _, ending, _ := strings.Cut(v.format, "."); ending {
	case "zst":
		return "zstd -q -d -c " + v.pvePath() + " | "
	case "gz":
		return "zcat " + v.pvePath() + " | "
	}
	return ""
}

// sayRestoreBegins writes what vma and PVE::LXC::Create write first.
func (t *task) sayRestoreBegins(v *volume, config string) {
	if t.Type == "vzrestore" {
		t.say("recovering backed-up configuration from '%s'", v.id())
		return
	}
	t.say("restore vma archive: %svma extract -v -r /var/tmp/vzdumptmp%d.fifo - /var/tmp/vzdumptmp%d", v.unpacker(), t.PID, t.PID)
	t.say("CFG: size: %d name: qemu-server.conf", len(config))
	n := 0
	for _, line := range strings.Split(config, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		if size := diskSize(value); diskLine().MatchString(value) && size > 0 {
			n++
			t.say("DEV: dev_id=%d size: %d devname: drive-%s", n, size, key)
		}
	}
	t.say("CTIME: %s", time.Unix(v.ctime, 0).UTC().Format("Mon Jan _2 15:04:05 2006"))
}

func (t *task) sayDamaged(v *volume) {
	if t.Type == "vzrestore" {
		t.say("restoring '%s' now..", v.id())
		t.say("extracting archive '%s'", v.pvePath())
		t.say("tar: Unexpected EOF in archive")
		t.say("tar: Error is not recoverable: exiting now")
		return
	}
	t.say("progress 1%% (read 10747904 bytes, duration 0 sec)")
	t.say("vma: restore failed - short vma extent (1056256 < 3801600)")
}

func (t *task) sayRestored(v *volume, g *guest) {
	if t.Type == "vzrestore" {
		t.say("restoring '%s' now..", v.id())
		t.say("extracting archive '%s'", v.pvePath())
		t.say("Total bytes read: %d (%siB, 307MiB/s)", v.size, shortSize(v.size))
		t.say("merging backed-up and given configuration..")
		return
	}
	for percent := 1; percent <= 100; percent++ {
		t.say("progress %d%% (read %d bytes, duration %d sec)", percent, g.Disk/100*int64(percent), percent/20)
	}
	t.say("total bytes read %d, sparse bytes %d (62%%)", g.Disk, g.Disk/100*62)
	t.say("space reduction due to 4K zero blocks 46.1%%")
	t.say("rescan volumes...")
}
