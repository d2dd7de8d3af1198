package lab

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/lab/archive"
)

// mounts says where the files of the storages are, see Endpoint.Mounts.
func (l *Lab) mounts() map[string]string {
	m := map[string]string{}
	for _, s := range l.st.Storages {
		switch {
		case !s.keepsFiles(), s.Type == "pbs": // a backup server's chunks are nobody's to read
		case s.Shared:
			m[s.Name] = l.mountOf(s, "")
		default:
			for _, n := range l.st.Nodes {
				m[n.Name+"/"+s.Name] = l.mountOf(s, n.Name)
			}
		}
	}
	return m
}

func (l *Lab) mountOf(s *storage, node string) string {
	if s.Shared {
		node = "shared"
	}
	return filepath.Join(l.folder.dir, mountsDir, node, s.Name)
}

// pvePath is where the storage is by its own word; it is what the API and the
// logs show.
func (s *storage) pvePath() string {
	if s.Name == "local" {
		return "/var/lib/vz"
	}
	return "/mnt/pve/" + s.Name
}

// keepsFiles says whether the lab keeps what is on the storage in files: those
// of a directory or a mounted share, and what a backup server makes of chunks.
func (s *storage) keepsFiles() bool {
	return slices.Contains([]string{"dir", "nfs", "cifs", "pbs"}, s.Type)
}

// devicePath is where a disk shows on its node.
func (s *storage) devicePath(volid string) string {
	_, name, _ := strings.Cut(volid, ":")
	if s.Type == "lvmthin" {
		return "/dev/" + s.Name + "/" + name
	}
	own := path.Base(name) // a linked clone's begins with its base's
	if strings.Contains(own, "vol-") {
		return "/" + s.zfsPool() + "/" + own
	}
	return "/dev/zvol/" + s.zfsPool() + "/" + own
}

func (s *storage) holds(content string) bool { return slices.Contains(s.Content, content) }

// archiveName is how vzdump names an archive: by the local time of the node,
// which is UTC in the lab.
func archiveName(g *guest, at time.Time, compress string) string {
	ext := ".vma"
	if g.Type == "lxc" {
		ext = ".tar"
	}
	return archiveBase(g, at) + ext + archive.Suffix(compress)
}

// archiveOn is what an archive is called on a storage: a backup server has
// snapshots by time in groups by guest.
func (s *storage) archiveOn(g *guest, at time.Time, compress string) string {
	if s.Type != "pbs" {
		return archiveName(g, at, compress)
	}
	return fmt.Sprintf("%s/%d/%s", map[string]string{"qemu": "vm", "lxc": "ct"}[g.Type], g.VMID, at.UTC().Format(time.RFC3339))
}

func archiveBase(g *guest, at time.Time) string {
	return fmt.Sprintf("vzdump-%s-%d-%s", g.Type, g.VMID, at.UTC().Format("2006_01_02-15_04_05"))
}

// The names that Proxmox's dir plugin knows (PVE::Storage::Plugin,
// parse_volname). None lets a slash into the last part.
var (
	backupName  = pattern.Of(`^backup/([^/]+\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst))?))$`)
	isoName     = pattern.Of(`^iso/([^/]+\.(?i:iso|img))$`)
	pbsName     = pattern.Of(`^backup/(vm|ct)/([1-9][0-9]{2,8})/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$`)
	vztmplName  = pattern.Of(`^vztmpl/([^/]+\.tar\.(?:gz|xz|zst|bz2))$`)
	diskName    = pattern.Of(`^(?:(?:base|basevol)-\d+-[^\s/]+/)?(vm|base|subvol|basevol)-([1-9][0-9]{2,8})-[^\s/]+$`)
	vzdumpName  = pattern.Of(`^vzdump-(qemu|lxc|openvz)-([1-9][0-9]{2,8})-(?:(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)\.)?.*$`)
	archiveTail = pattern.Of(`\.((?:tar|vma)(?:\.(?:gz|lzo|zst))?|tgz)$`)
)

// volume is a thing on a storage.
type volume struct {
	store     *storage
	name      string // backup/vzdump-…
	content   string // backup, iso, vztmpl, images, rootdir
	file      string // where it really is; empty for disks
	vmid      int    // its owner, 0 if it has none
	subtype   string // of a backup: qemu or lxc
	parent    string // of a linked clone: the snapshot that it is of
	format    string
	ctime     int64
	standard  bool // a backup whose name carries its date
	size      int64
	protected bool
	notes     string // its first line, as lists have it
	verified  string // what a backup server found when it verified it: ok or failed
}

func (v *volume) id() string { return v.store.Name + ":" + v.name }

// parseVolume takes a volume's name apart; it need not exist.
func (l *Lab) parseVolume(s *storage, node, name string) (*volume, error) {
	v := &volume{store: s, name: name}
	if s.Type == "pbs" {
		m := pbsName().FindStringSubmatch(name)
		if m == nil {
			return nil, serverError("unable to parse PBS volume name '%s'", name)
		}
		at, err := time.Parse(time.RFC3339, m[3])
		if err != nil {
			return nil, serverError("unable to parse PBS volume name '%s'", name)
		}
		v.content, v.format, v.ctime, v.standard = "backup", "pbs-"+m[1], at.Unix(), true
		v.vmid, _ = strconv.Atoi(m[2])
		v.subtype = map[string]string{"vm": "qemu", "ct": "lxc"}[m[1]]
		v.file = filepath.Join(l.mountOf(s, node), filepath.FromSlash(strings.TrimPrefix(name, "backup/")), "archive")
		return v, nil
	}
	if !s.keepsFiles() {
		m := diskName().FindStringSubmatch(name)
		if m == nil {
			return nil, serverError("unable to parse zfs volume name '%s'", name)
		}
		v.vmid, _ = strconv.Atoi(m[2])
		v.content, v.format = "images", "raw"
		if strings.HasSuffix(m[1], "vol") {
			v.content, v.format = "rootdir", "subvol"
		}
		return v, nil
	}
	dir := l.mountOf(s, node)
	switch {
	case backupName().MatchString(name):
		base := backupName().FindStringSubmatch(name)[1]
		v.content, v.file = "backup", filepath.Join(dir, "dump", base)
		v.format = archiveTail().FindStringSubmatch(base)[1]
		if m := vzdumpName().FindStringSubmatch(base); m != nil {
			v.subtype = m[1]
			v.vmid, _ = strconv.Atoi(m[2])
			if t, err := time.Parse("2006_01_02-15_04_05", m[3]); err == nil {
				v.ctime, v.standard = t.Unix(), true
			}
		}
	case isoName().MatchString(name):
		v.content, v.format, v.file = "iso", "iso", filepath.Join(dir, "template/iso", isoName().FindStringSubmatch(name)[1])
	case vztmplName().MatchString(name):
		base := vztmplName().FindStringSubmatch(name)[1]
		v.content, v.format, v.file = "vztmpl", "t"+strings.TrimPrefix(filepath.Ext(base), "."), filepath.Join(dir, "template/cache", base)
	default:
		return nil, serverError("unable to parse directory volume name '%s'", name)
	}
	return v, nil
}

// look reads what the file tells. It reports whether the file is there.
func (v *volume) look() bool {
	fi, err := os.Lstat(v.file)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	v.size = fi.Size()
	if v.ctime == 0 {
		v.ctime = fi.ModTime().Unix()
	}
	if v.content == "backup" {
		notes, _ := os.ReadFile(v.file + ".notes")
		v.notes, _, _ = strings.Cut(string(notes), "\n")
		_, err := os.Lstat(v.file + ".protected")
		v.protected = err == nil
		state, _ := os.ReadFile(v.file + ".verified")
		v.verified = string(state)
	}
	return true
}

// remove deletes the file and what stands beside it.
func (v *volume) remove() error {
	if err := os.Remove(v.file); err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, side := range []string{logPath(v.file), v.file + ".notes", v.file + ".verified"} {
		if err := os.Remove(side); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// logPath is where the log of an archive is: beside it, without its endings.
func logPath(file string) string {
	return archiveTail().ReplaceAllString(file, "") + ".log"
}

// fileFormat is how the file is really packed.
func (v *volume) fileFormat() string {
	switch v.format {
	case "pbs-vm":
		return "vma"
	case "pbs-ct":
		return "tar"
	}
	return v.format
}

// used is what the file takes on its disk.
func (v *volume) used() int64 {
	fi, err := os.Lstat(v.file)
	if err != nil {
		return 0
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return fi.Size()
}

// volumes lists what is on a storage, as seen from a node: the real files,
// and the disks that guests declare.
func (l *Lab) volumes(s *storage, node string) []*volume {
	var list []*volume
	if !s.keepsFiles() {
		list = l.disks(s, node)
	}
	if s.Type == "pbs" {
		found, _ := filepath.Glob(filepath.Join(l.mountOf(s, node), "*", "*", "*", "archive"))
		for _, file := range found {
			rel, _ := filepath.Rel(l.mountOf(s, node), filepath.Dir(file))
			if v, err := l.parseVolume(s, node, "backup/"+filepath.ToSlash(rel)); err == nil && v.look() {
				list = append(list, v)
			}
		}
	}
	for _, sub := range []struct{ content, dir, prefix string }{
		{"backup", "dump", "backup/"}, {"iso", "template/iso", "iso/"}, {"vztmpl", "template/cache", "vztmpl/"},
	} {
		if !s.keepsFiles() || s.Type == "pbs" || !s.holds(sub.content) {
			continue
		}
		entries, _ := os.ReadDir(filepath.Join(l.mountOf(s, node), sub.dir))
		for _, e := range entries {
			if v, err := l.parseVolume(s, node, sub.prefix+e.Name()); err == nil && v.look() {
				list = append(list, v)
			}
		}
	}
	slices.SortFunc(list, func(a, b *volume) int { return cmp.Compare(a.name, b.name) })
	return list
}

var diskLine = pattern.Of(`^([a-zA-Z][a-zA-Z0-9\-_.]*):((?:(?:base|basevol)-\d+-disk-\d+/)?(?:vm|base|subvol|basevol)-\d+-disk-\d+)(?:,|$)`)

// disks lists the volumes on a storage of blocks: what lies in the pool where
// it is of ZFS, else what the node's guests declare.
func (l *Lab) disks(s *storage, node string) []*volume {
	if s.zfsPool() != "" {
		return l.zfsVolumes(s, node)
	}
	var list []*volume
	for _, g := range l.st.Guests {
		if g.Node != node {
			continue
		}
		for _, value := range g.Config {
			text, _ := value.(string)
			m := diskLine().FindStringSubmatch(text)
			if m == nil || m[1] != s.Name {
				continue
			}
			v, err := l.parseVolume(s, node, m[2])
			if err != nil {
				continue
			}
			v.ctime = l.st.Boot.Unix()
			v.size = diskSize(text)
			list = append(list, v)
		}
	}
	return list
}

var sizeOption = pattern.Of(`(?:^|,)size=(\d+)([MG])\b`)

// diskSize is the size that a line of a configuration declares.
func diskSize(line string) int64 {
	m := sizeOption().FindStringSubmatch(line)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	if m[2] == "G" {
		return n * gib
	}
	return n * mib
}
