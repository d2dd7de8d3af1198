package lab

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// dump is the backup of one guest, while it is made.
type dump struct {
	VMID    int
	Started time.Time
	Name    string // of the archive
	Mode    string
	LogFrom int  // where its part of the task's log begins
	Was     bool // whether the guest ran
	Step    int
	Steps   int
	Every   time.Duration // between steps
	Fault   string        // what is to go wrong with it
	Text    string        // of the fault text
	Read    []string      `json:",omitempty"` // the snapshots that were taken to be read
}

// speed is how fast the lab reads disks, in virtual time.
const speed = 200 * mib

// beginDump starts the backup of a guest. It reports false if that failed at
// once.
func (l *Lab) beginDump(t *task, vmid int, at time.Time) bool {
	j := t.Job
	g := l.st.guest(vmid)
	j.Dump = &dump{VMID: vmid, Started: at, LogFrom: len(t.Log)}
	if g == nil || g.Node != t.Node {
		l.failDump(t, fmt.Sprintf("unable to find VM '%d'", vmid), at)
		return false
	}
	if wrong := l.overLimit(j, g, t.Node); wrong != "" {
		l.failDump(t, wrong, at)
		return false
	}
	// exec_backup_task in PVE::VZDump: to stop it would be the manager's fight.
	if r := l.st.ha(g.sid()); r != nil && r.State == "started" && j.Mode == "stop" {
		l.failDump(t, "Cannot execute a backup with stop mode on a HA managed and enabled Service. Use snapshot mode or disable the Service.", at)
		return false
	}
	d := j.Dump
	// Proxmox names archives by the second and does not see that a name is
	// taken; the lab's clock makes that impossible, but for a copy by hand.
	named := at
	s := l.st.storage(j.Storage)
	if s == nil {
		l.failDump(t, fmt.Sprintf("storage '%s' does not exist", j.Storage), at)
		return false
	}
	if s.Type == "pbs" {
		j.Compress = "0" // the server's chunks are packed, the stream is not
	}
	for d.Name = s.archiveOn(g, named, j.Compress); l.exists(j, t.Node, d.Name); d.Name = s.archiveOn(g, named, j.Compress) {
		named = named.Add(time.Second)
	}
	if f := l.faults.hit("vzdump", g.id(), "fail", "warnings", "text", "hang", "truncate", "flip"); f != nil {
		d.Fault, d.Text = f.Kind, f.Text
	}
	t.say("INFO: Starting Backup of VM %d (%s)", vmid, g.Type)
	t.say("INFO: Backup started at %s", at.Format(time.DateTime))
	t.say("INFO: status = %s", g.status())
	if g.Lock != "" {
		l.failDump(t, g.lockedError(), at)
		return false
	}
	g.Lock = "backup"
	d.Was, d.Mode = g.Running, j.Mode
	if !g.Running {
		d.Mode = "stop"
	}
	l.sayPrepared(t, g)
	if wrong := l.snapshotForBackup(t, g, at); wrong != "" {
		l.failDump(t, wrong, at)
		return false
	}
	if s.Type == "pbs" {
		t.say("INFO: creating Proxmox Backup Server archive '%s'", d.Name)
	} else {
		t.say("INFO: creating vzdump archive '%s/dump/%s'", s.pvePath(), d.Name)
	}
	if archiveIsLZO(j.Compress) {
		l.failDump(t, "lzo archives cannot be written here; choose zstd, gzip or 0 (a limit of the lab, not of Proxmox VE)", at)
		return false
	}
	l.sayStarted(t, g)
	took := max(time.Duration(float64(g.readSize())/float64(speed)*float64(time.Second)), 6*time.Second)
	d.Steps = 2
	if g.Type == "qemu" {
		d.Steps = min(max(2, int(took/(20*time.Second))), 10)
	}
	d.Every = (took / time.Duration(d.Steps)).Round(time.Second)
	t.Due = at.Add(d.Every)
	return true
}

func archiveIsLZO(compress string) bool { return compress == "lzo" || compress == "1" }

// readSize is how much a backup of the guest reads.
func (g *guest) readSize() int64 {
	if g.Type == "lxc" {
		return g.Disk / 3
	}
	return g.Disk
}

// overLimit refuses a backup that may not remove older ones where only so many
// may be kept.
func (l *Lab) overLimit(j *vzdumpJob, g *guest, node string) string {
	keep, _ := parsePrune(j.Keep)
	limit := 0
	for _, n := range keep {
		limit += n
	}
	if j.Remove || limit == 0 {
		return ""
	}
	count := 0
	for _, v := range l.volumes(l.st.storage(j.Storage), node) {
		if v.content == "backup" && v.vmid == g.VMID && v.subtype == g.Type && !v.protected {
			count++
		}
	}
	if count < limit {
		return ""
	}
	return fmt.Sprintf("There is a max backup limit of (%d) enforced by the target storage or the vzdump parameters. Either increase the limit or delete old backups.", limit)
}

func (l *Lab) archivePath(j *vzdumpJob, node, name string) string {
	if s := l.st.storage(j.Storage); s.Type == "pbs" {
		return filepath.Join(l.mountOf(s, node), filepath.FromSlash(name), "archive")
	}
	return filepath.Join(l.mountOf(l.st.storage(j.Storage), node), "dump", name)
}

func (l *Lab) exists(j *vzdumpJob, node, name string) bool {
	_, err := os.Lstat(l.archivePath(j, node, name))
	return err == nil
}

// sayPrepared writes what vzdump writes before it creates the archive, and
// stops or pauses the guest where the mode is so.
func (l *Lab) sayPrepared(t *task, g *guest) {
	j, d := t.Job, t.Job.Dump
	if d.Mode == "snapshot" {
		t.sayGuest(g)
	}
	t.say("INFO: backup mode: %s", d.Mode)
	if j.Bandwidth > 0 {
		t.say("INFO: bandwidth limit: %d KiB/s", j.Bandwidth)
	}
	t.say("INFO: ionice priority: %d", j.IONice)
	if d.Mode != "snapshot" {
		t.sayGuest(g)
	}
	if g.Type == "qemu" && len(g.Snapshots) > 0 {
		t.say("INFO: snapshots found (not included into backup)")
	}
	switch {
	case d.Mode == "stop" && d.Was:
		t.say("INFO: stopping virtual guest")
		if g.Type == "lxc" {
			g.Running = false // until its backup is done; a VM runs on at once
		} else {
			g.Since = d.Started
		}
	case d.Mode == "suspend" && g.Type == "lxc":
		tmp := l.st.storage(j.Storage).pvePath() + "/dump/" + archiveBase(g, d.Started) + ".tmp"
		t.say("INFO: starting first sync /proc/%d/root/ to %s", g.PID, tmp)
		t.say("INFO: first sync finished - transferred %s bytes in %ds", shortSize(g.readSize()), g.readSize()/speed)
		t.say("INFO: suspending guest")
		t.say("INFO: starting final sync /proc/%d/root/ to %s", g.PID, tmp)
		t.say("INFO: final sync finished - transferred 0 bytes in 0s")
		t.say("INFO: resuming guest")
		t.say("INFO: guest is online again after <1 seconds")
	case d.Mode == "suspend":
		t.say("INFO: suspending guest")
	case g.Type == "lxc" && d.Mode == "snapshot":
		t.say("INFO: create storage snapshot 'vzdump'")
	case !d.Was && g.Type == "qemu":
		// QEMU runs for the backup, and the guest shows as running meanwhile.
		g.BackupRun, g.Since, g.PID = true, d.Started, t.PID+1
	}
}

var mountPath = pattern.Of(`,mp=([^,]+)`)

// sayGuest names the guest and what of it is backed up.
func (t *task) sayGuest(g *guest) {
	t.say("INFO: %s Name: %s", g.kindName(), g.Name)
	if g.Type == "lxc" {
		t.say("INFO: including mount point rootfs ('/') in backup")
		for _, key := range slices.Sorted(maps.Keys(g.Config)) {
			line, _ := g.Config[key].(string)
			path := mountPath().FindStringSubmatch(line)
			switch {
			case !mountPoint().MatchString(key) || path == nil:
			case strings.HasPrefix(line, "/dev/"):
				t.say("INFO: excluding device mount point %s ('%s') from backup (not a volume)", key, path[1])
			case strings.HasPrefix(line, "/"):
				t.say("INFO: excluding bind mount point %s ('%s') from backup (not a volume)", key, path[1])
			case strings.Contains(line, ",backup=1"):
				t.say("INFO: including mount point %s ('%s') in backup", key, path[1])
			default:
				t.say("INFO: excluding volume mount point %s ('%s') from backup (disabled)", key, path[1])
			}
		}
		return
	}
	for _, key := range slices.Sorted(maps.Keys(g.Config)) {
		line, _ := g.Config[key].(string)
		if !diskLine().MatchString(line) {
			continue
		}
		volid, _, _ := strings.Cut(line, ",")
		if strings.Contains(line, ",backup=0") {
			t.say("INFO: exclude disk '%s' '%s' (backup=no)", key, volid)
			continue
		}
		size := sizeOption().FindStringSubmatch(line)
		t.say("INFO: include disk '%s' '%s' %s%s", key, volid, size[1], size[2])
	}
}

// sayStarted writes what vzdump writes when QEMU begins to copy.
func (l *Lab) sayStarted(t *task, g *guest) {
	d := t.Job.Dump
	if g.Type == "lxc" {
		return
	}
	if d.Mode == "stop" {
		t.say("INFO: starting kvm to execute backup task")
	}
	// A VM that is suspended cannot answer, and Proxmox takes its agent for dead.
	freeze := d.Mode == "snapshot" && l.sayFreeze(t, g)
	t.say("INFO: starting backup via QMP command")
	if freeze {
		l.sayThaw(t, g)
	}
	t.say("INFO: started backup task '%s'", fixedUUID(t.upid(), g.VMID))
	switch {
	case d.Mode == "snapshot":
		t.say("INFO: resuming VM again")
	case d.Was:
		t.say("INFO: resuming VM again after %d seconds", map[string]int{"stop": 1, "suspend": 4}[d.Mode])
	}
}
