package lab

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/lab/zfs"
)

// freeDiskName is the name of the next volume of a guest (find_free_diskname
// of PVE::Storage::Plugin).
func (l *Lab) freeDiskName(s *storage, g *guest) string {
	prefix := "vm"
	if g.Type == "lxc" && s.zfsPool() != "" {
		prefix = "subvol"
	}
	taken := map[string]bool{}
	take := func(name string) {
		name = path.Base(name)
		if m := zvolName().FindStringSubmatch(name); m != nil && m[2] == g.id() {
			taken[strings.TrimPrefix(name, m[1]+"-")] = true
		}
	}
	for _, v := range l.disks(s, g.Node) {
		take(v.name)
	}
	for _, d := range disksOf(g.Config) {
		_, name, _ := strings.Cut(d.volid, ":")
		take(name)
	}
	for n := 0; ; n++ {
		if rest := fmt.Sprintf("%d-disk-%d", g.VMID, n); !taken[rest] {
			return prefix + "-" + rest
		}
	}
}

// copyZvol makes a volume that is filled from another or from an archive.
func (l *Lab) copyZvol(node string, at time.Time, t *task, v zvol) (wrong string) {
	if wrong = l.createZvol(node, at, t, v); wrong != "" {
		return wrong
	}
	if err := l.write(node, v.filled()); err != nil {
		return err.Error()
	}
	return ""
}

// owned are the volumes that bear a guest's number; others in its
// configuration are not its to destroy.
func (l *Lab) owned(g *guest) []zvol {
	return slices.DeleteFunc(l.allZvols(g), func(v zvol) bool {
		m := zvolName().FindStringSubmatch(path.Base(v.dataset))
		return m == nil || m[2] != strconv.Itoa(g.VMID)
	})
}

// destroyAll destroys a guest's volumes, as many as it can, and says what was
// wrong with the first that it could not.
func (l *Lab) destroyAll(g *guest, at time.Time, t *task) (wrong string) {
	for _, v := range l.owned(g) {
		if said := l.destroyZvol(g.Node, at, t, v); wrong == "" {
			wrong = said
		}
	}
	return wrong
}

// destroyUnused destroys the volume of an entry that is deleted for good.
func (l *Lab) destroyUnused(g *guest, key string) (wrong string) {
	v, ok := l.zvolOf(key, g.config(key))
	if !ok || !slices.ContainsFunc(l.owned(g), func(o zvol) bool { return o.dataset == v.dataset }) {
		return ""
	}
	for _, s := range g.Snapshots {
		used, _ := l.zvols(s.Config)
		if slices.ContainsFunc(used, func(o zvol) bool { return o.dataset == v.dataset }) {
			return fmt.Sprintf("unable to delete '%s' - volume is still in use (snapshot?)", v.volid)
		}
	}
	return l.destroyZvol(g.Node, l.now(), nil, v)
}

// moveZvol is what a migration makes of a volume: it and its snapshots are sent
// to the other node, and destroyed here. A live migration copies a disk without
// its snapshots; the lab keeps them.
func (l *Lab) moveZvol(from, to string, at time.Time, v zvol) (wrong string) {
	const snap = "__migration__"
	if wrong := l.all(from, at, nil, []string{"zfs", "snapshot", v.dataset + "@" + snap}); wrong != "" {
		return wrong
	}
	var stream, stderr bytes.Buffer
	send := zfs.Command{Args: []string{"zfs", "send", "-RpvU", "--", v.dataset + "@" + snap}, Stdin: strings.NewReader(""), Stdout: &stream, Stderr: &stderr, Now: at}
	if exit := l.machines[from].Run(send); exit != 0 {
		return "zfs error: " + strings.TrimSpace(stderr.String())
	}
	stderr.Reset()
	receive := zfs.Command{Args: []string{"zfs", "recv", "-F", "-x", "encryption", "--", v.dataset}, Stdin: &stream, Stdout: &stderr, Stderr: &stderr, Now: at}
	if exit := l.machines[to].Run(receive); exit != 0 {
		return "zfs error: " + strings.TrimSpace(stderr.String())
	}
	if wrong := l.all(to, at, nil, []string{"zfs", "destroy", v.dataset + "@" + snap}); wrong != "" {
		return wrong
	}
	return l.destroyZvol(from, at, nil, v)
}

// adopt gives a guest that was changed by another hand the volumes that its
// configuration names: those it has on the node where it was, and new ones.
func (l *Lab) adopt(g *guest, before string) error {
	there := map[string]bool{}
	for _, node := range []string{before, g.Node} {
		out, _ := l.zfs(node, l.now(), nil, "zfs", "list", "-H", "-o", "name", "-t", "volume,filesystem")
		for line := range strings.Lines(out) {
			there[node+":"+strings.TrimSpace(line)] = true
		}
	}
	for _, v := range l.allZvols(g) {
		wrong := ""
		switch {
		case there[g.Node+":"+v.dataset]:
		case there[before+":"+v.dataset]:
			wrong = l.moveZvol(before, g.Node, l.now(), v)
		default:
			wrong = l.createZvol(g.Node, l.now(), nil, v)
			if wrong == "" && v.isBase() {
				wrong = l.all(g.Node, l.now(), nil, v.snapshotArgs("__base__")...)
			}
		}
		if wrong != "" {
			return fmt.Errorf("the volume %s: %s", v.volid, wrong)
		}
	}
	return nil
}

// makeTemplate renames the disks of a guest to base images, and marks where
// clones begin (create_base).
func (l *Lab) makeTemplate(g *guest) error {
	used, _ := l.zvols(g.Config)
	for _, v := range used {
		if v.isBase() {
			continue
		}
		renamed := v
		renamed.volid = strings.NewReplacer(":vm-", ":base-", ":subvol-", ":basevol-").Replace(v.volid)
		renamed.dataset = strings.NewReplacer("/vm-", "/base-", "/subvol-", "/basevol-").Replace(v.dataset)
		commands := append([][]string{{"zfs", "rename", v.dataset, renamed.dataset}}, renamed.snapshotArgs("__base__")...)
		if wrong := l.all(g.Node, l.now(), nil, commands...); wrong != "" {
			return errors.New(wrong)
		}
		g.Config[v.key] = strings.Replace(fmt.Sprint(g.Config[v.key]), v.volid, renamed.volid, 1)
	}
	return nil
}

// backupSnapshot is what vzdump calls the snapshot of a container that it reads.
const backupSnapshot = "vzdump"

// inBackup are the volumes of a container that a backup takes.
func (l *Lab) inBackup(g *guest) []zvol {
	used, _ := l.zvols(g.Config)
	return slices.DeleteFunc(used, func(v zvol) bool { return v.key != "rootfs" && !strings.Contains(g.config(v.key), ",backup=1") })
}

// snapshotForBackup takes it, where the mode is so. That Proxmox lists it among
// the snapshots of the container, too, while the backup goes on, is left out.
func (l *Lab) snapshotForBackup(t *task, g *guest, at time.Time) (wrong string) {
	if g.Type != "lxc" || t.Job.Dump.Mode != "snapshot" {
		return ""
	}
	for _, v := range l.inBackup(g) {
		if wrong := l.snapshotZvol(g.Node, at, t, v, backupSnapshot); wrong != "" {
			return wrong
		}
		t.Job.Dump.Read = append(t.Job.Dump.Read, v.dataset+"@"+backupSnapshot)
	}
	return ""
}

func (l *Lab) dropBackupSnapshot(t *task, g *guest) {
	for _, name := range t.Job.Dump.Read {
		if _, wrong := l.zfs(g.Node, l.now(), t, "zfs", "destroy", name); wrong != "" {
			t.say("WARN: %s", wrong)
		}
	}
}
