package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// continueDump is the next event of a backup: progress, trouble or the end.
func (l *Lab) continueDump(t *task, at time.Time) {
	d := t.Job.Dump
	g := l.st.guest(d.VMID)
	d.Step++
	if d.Step == d.Steps/2 || d.Steps < 2 {
		switch d.Fault {
		case "hang":
			t.Due = time.Time{}
			return
		case "fail":
			l.failDump(t, l.sayBroken(t, g), at)
			l.nextGuest(t, at)
			return
		case "text":
			// The worker is gone without a word; what it held is cleaned up.
			l.release(t, g)
			l.endJob(t, d.Text, at)
			return
		}
	}
	if g.Type == "qemu" {
		t.sayProgress(d, g)
	}
	if d.Step < d.Steps {
		t.Due = at.Add(d.Every)
		return
	}
	l.finishDump(t, g, at)
	l.nextGuest(t, at)
}

// sayBroken writes how a backup breaks off, and gives the reason.
func (l *Lab) sayBroken(t *task, g *guest) string {
	if g.Type == "lxc" {
		t.say("INFO: tar: ./var/lib/data: Cannot read: Input/output error")
		t.say("INFO: Total bytes written: 10240 (10KiB, 1MiB/s)")
		t.say("INFO: tar: Exiting with failure status due to previous errors")
		return "command 'set -o pipefail && tar cpf - --totals --one-file-system ./etc/vzdump/pct.conf ./' failed: exit code 2"
	}
	why := "job failed with err -5 - Input/output error"
	t.say("ERROR: %s", why)
	t.say("INFO: aborting backup job")
	t.say("INFO: resuming VM again")
	return why
}

// sayProgress writes a line as PVE::VZDump::QemuServer does.
func (t *task) sayProgress(d *dump, g *guest) {
	percent := 100 * d.Step / d.Steps
	done := g.Disk / 100 * int64(percent)
	if percent == 100 {
		done = g.Disk
	}
	took := d.Every * time.Duration(d.Step)
	t.say("INFO: %3d%% (%s of %s) in %s, read: %s/s, write: %s/s", percent, humanSize(done), humanSize(g.Disk), shortTime(took),
		humanSize(int64(float64(g.Disk/int64(d.Steps))/d.Every.Seconds())), humanSize(speed/4))
}

// finishDump makes the archive and what stands beside it.
func (l *Lab) finishDump(t *task, g *guest, at time.Time) {
	j, d := t.Job, t.Job.Dump
	s := l.st.storage(j.Storage)
	if l.offline(s) {
		l.failDump(t, fmt.Sprintf("unable to open file '%s/dump/%s' - No such file or directory", s.pvePath(), d.Name), at)
		return
	}
	path := l.archivePath(j, t.Node, d.Name)
	size, raw, err := l.writeArchiveFile(path, j, g, d.Started)
	full := l.faults.hit("storage", s.Name, "full") != nil
	if err != nil || full {
		_ = os.Remove(path + ".dat") // no list shows it, and the next of that name writes over it
		why := "No space left on device"
		if !full {
			why = err.Error()
		}
		l.failDump(t, l.sayNoSpace(t, g, why), at)
		return
	}
	if g.Type == "qemu" {
		took := d.Every * time.Duration(d.Steps)
		t.say("INFO: backup is sparse: %s (%d%%) total zero data", humanSize(g.Disk/100*62), 62)
		t.say("INFO: transferred %.2f GiB in %d seconds (%s/s)", float64(g.Disk)/float64(gib), int(took.Seconds()), humanSize(int64(float64(g.Disk)/took.Seconds())))
		if !d.Was {
			t.say("INFO: stopping kvm after backup task")
		}
	} else {
		t.say("INFO: Total bytes written: %d (%s, %sMiB/s)", raw, shortSize(raw)+"iB", "275")
	}
	if err := os.Rename(path+".dat", path); err != nil {
		l.failDump(t, fmt.Sprintf("unable to rename '%s'", d.Name), at)
		return
	}
	if s.Type != "pbs" {
		t.say("INFO: archive file size: %s", logSize(size))
	}
	v, err := l.parseVolume(s, t.Node, "backup/"+d.Name)
	if err != nil {
		l.failDump(t, err.Error(), at)
		return
	}
	l.addMarks(t, v, g)
	if j.Remove {
		t.say("INFO: prune older backups with retention: %s", j.Keep)
		n, failed := l.prune(s, t.Node, j.Keep, g.Type, g.VMID, func(line string) { t.say("INFO: %s", line) })
		t.say("INFO: pruned %d backup(s) not covered by keep-retention policy", n)
		j.Warnings += failed
	}
	l.release(t, g)
	t.say("INFO: Finished Backup of VM %d (%s)", g.VMID, clockTime(at.Sub(d.Started)))
	t.say("INFO: Backup finished at %s", at.Format(time.DateTime))
	l.writeLog(t, at)
	if err := spoil(path, d.Fault); err != nil {
		t.say("WARN: the lab was asked to %s the archive and could not: %v", d.Fault, err)
	}
	j.Dump = nil
}

// addMarks adds notes and protection, which vzdump only warns about when it
// cannot.
func (l *Lab) addMarks(t *task, v *volume, g *guest) {
	j := t.Job
	warn := func(what, why string) {
		t.say("WARN: unable to %s - %s", what, why)
		j.Warnings++
	}
	broken := j.Dump.Fault == "warnings"
	if j.Notes != "" || broken {
		t.say("INFO: adding notes to backup")
		if broken {
			warn("add notes", fmt.Sprintf("close (rename) atomic file '%s.notes' failed: Is a directory", v.pvePath()))
		} else if v.setNotes(notesFor(j.Notes, g)) != nil {
			warn("add notes", "the file cannot be written")
		}
	}
	if j.Protected {
		t.say("INFO: marking backup as protected")
		if err := v.protect(true); err != nil {
			warn("set protected flag", "the file cannot be written")
		}
	}
}

// writeArchiveFile writes the archive under the name that it has until it is
// whole. The second size is what tar counts.
func (l *Lab) writeArchiveFile(path string, j *vzdumpJob, g *guest, at time.Time) (size, raw int64, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, 0, err
	}
	f, err := os.OpenFile(path+".dat", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, 0, err
	}
	err = l.packer.Write(f, j.Compress, func(w io.Writer) error {
		n := &countWriter{w: w}
		err := writeArchive(n, g, at, 6*mib, 512<<10)
		raw = n.n
		return err
	})
	if err == nil {
		var fi os.FileInfo
		if fi, err = f.Stat(); err == nil {
			size = fi.Size()
		}
	}
	return size, raw, errors.Join(err, f.Close())
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// sayNoSpace writes how zstd and vma break off when the storage is full.
func (l *Lab) sayNoSpace(t *task, g *guest, why string) string {
	t.say("INFO: zstd: error 70 : Write error : cannot write block : %s", why)
	if g.Type == "lxc" {
		return "command 'set -o pipefail && tar cpf - --totals ./etc/vzdump/pct.conf ./ | zstd --rsyncable --threads=1' failed: exit code 70"
	}
	why = "vma_queue_write: write error - Broken pipe"
	t.say("ERROR: %s", why)
	t.say("INFO: aborting backup job")
	t.say("INFO: resuming VM again")
	return why
}

// spoil damages a finished archive, of which its task knows nothing.
func spoil(path, fault string) error {
	switch fault {
	case "truncate":
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return writeFile(path, b[:len(b)*3/5], false)
	case "flip":
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		b[len(b)/2] ^= 0x10
		return writeFile(path, b, false)
	}
	return nil
}

// release gives the guest back: unlocked, and running if it ran.
func (l *Lab) release(t *task, g *guest) {
	d := t.Job.Dump
	if g == nil || g.Lock != "backup" || d.Mode == "" {
		return
	}
	g.Lock, g.BackupRun = "", false
	switch {
	case g.Type == "lxc" && d.Mode == "snapshot":
		t.say("INFO: cleanup temporary 'vzdump' snapshot")
		l.dropBackupSnapshot(t, g)
	case g.Type == "lxc" && d.Mode == "stop" && d.Was:
		g.Running, g.Since = true, t.Due
		t.say("INFO: restarting vm")
		t.say("INFO: guest is online again after %d seconds", int(t.Due.Sub(d.Started).Seconds()))
	case g.Type == "qemu" && d.Mode == "suspend":
		t.say("INFO: resume vm")
	}
}

// failDump ends a backup that went wrong. Nothing of it stays but its log.
func (l *Lab) failDump(t *task, why string, at time.Time) {
	j, d := t.Job, t.Job.Dump
	l.release(t, l.st.guest(d.VMID))
	t.say("ERROR: Backup of VM %d failed - %s", d.VMID, why)
	t.say("INFO: Failed at %s", at.Format(time.DateTime))
	l.writeLog(t, at)
	j.Failed++
	j.Dump = nil
}

// writeLog keeps the backup's part of the log beside the archive.
func (l *Lab) writeLog(t *task, at time.Time) {
	d := t.Job.Dump
	if d.Name == "" {
		return // it never got as far as a name
	}
	var b strings.Builder
	for _, line := range t.Log[d.LogFrom:] {
		b.WriteString(at.Format(time.DateTime) + " " + line + "\n")
	}
	// A log that cannot be kept is no reason to fail; vzdump copies it with cp
	// and does not look either.
	_ = os.WriteFile(logPath(l.archivePath(t.Job, t.Node, d.Name)), []byte(b.String()), 0o600)
}

// humanSize is render_bytes of PVE::Format, logSize format_size of
// PVE::VZDump, shortSize what rsync and tar print.
func humanSize(n int64) string {
	f, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

func logSize(n int64) string {
	switch {
	case n < mib:
		return fmt.Sprintf("%dKB", n>>10)
	case n < gib:
		return fmt.Sprintf("%dMB", n/mib)
	}
	return fmt.Sprintf("%.2fGB", float64(n)/float64(gib))
}

func shortSize(n int64) string {
	switch {
	case n < mib:
		return fmt.Sprintf("%dK", n>>10)
	case n < gib:
		return fmt.Sprintf("%.1fM", float64(n)/float64(mib))
	}
	return fmt.Sprintf("%.1fG", float64(n)/float64(gib))
}

func shortTime(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
}

func clockTime(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}
