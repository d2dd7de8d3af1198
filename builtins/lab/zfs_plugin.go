package lab

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// What is here is PVE::Storage::ZFSPoolPlugin: the commands that Proxmox gives
// for the volumes of guests, and its words where they fail.

// dataPool is the dataset under which the storage rpool has its volumes.
const dataPool = "rpool/data"

// zfsPool is the dataset under which a storage has its volumes; "" if it is
// none of ZFS.
func (s *storage) zfsPool() string {
	switch {
	case s.Type != "zfspool":
		return ""
	case s.Name == "rpool":
		return dataPool
	}
	return "rpool/" + s.Name
}

// zvol is a volume of a guest on a storage of ZFS.
type zvol struct {
	key     string // of the guest's configuration
	volid   string
	dataset string
	base    string // the name of the base volume that it is a clone of; "" if it is none
	size    int64
}

// subvol says whether it is a file system, as containers have it.
func (v zvol) subvol() bool {
	return strings.Contains(v.dataset, "/subvol-") || strings.Contains(v.dataset, "/basevol-")
}

// isBase says whether it is a template's.
func (v zvol) isBase() bool {
	return strings.Contains(v.dataset, "/base-") || strings.Contains(v.dataset, "/basevol-")
}

// zvolOf makes one of an entry of a configuration, if it is one.
func (l *Lab) zvolOf(key, line string) (zvol, bool) {
	volid, _, _ := strings.Cut(line, ",")
	store, name, ok := strings.Cut(volid, ":")
	s := l.st.storage(store)
	if !ok || s == nil || s.zfsPool() == "" || !diskName().MatchString(name) {
		return zvol{}, false
	}
	base, own, isClone := strings.Cut(name, "/")
	if !isClone {
		base, own = "", name
	}
	return zvol{key: key, volid: volid, dataset: s.zfsPool() + "/" + own, base: base, size: diskSize(line)}, true
}

// zvols are the volumes that a configuration uses, in the order in which
// Proxmox goes through them; unused ones are apart.
func (l *Lab) zvols(config map[string]any) (used, unused []zvol) {
	for _, d := range disksOf(config) {
		line := fmt.Sprint(config[d.key])
		v, ok := l.zvolOf(d.key, line)
		switch {
		case !ok || strings.Contains(line, "media=cdrom"):
		case strings.HasPrefix(d.key, "unused"):
			unused = append(unused, v)
		default:
			used = append(used, v)
		}
	}
	return used, unused
}

// allZvols are all volumes that a guest has: those that only a snapshot names,
// and saved memory, too.
func (l *Lab) allZvols(g *guest) []zvol {
	used, unused := l.zvols(g.Config)
	out := append(used, unused...)
	add := func(list ...zvol) {
		for _, v := range list {
			known := false
			for _, o := range out {
				known = known || o.dataset == v.dataset
			}
			if !known {
				out = append(out, v)
			}
		}
	}
	pending, _ := l.zvols(g.Pending)
	add(pending...)
	for _, s := range g.Snapshots {
		more, _ := l.zvols(s.Config)
		add(more...)
		if s.RAM {
			add(l.memoryZvol(g, s.Name))
		}
	}
	return out
}

// memoryZvol is where a snapshot has a VM's memory.
func (l *Lab) memoryZvol(g *guest, snap string) zvol {
	name := fmt.Sprintf("vm-%d-state-%s", g.VMID, snap)
	return zvol{key: "vmstate", volid: "rpool:" + name, dataset: dataPool + "/" + name, size: 2*g.Memory + 500*mib}
}

// filled is what a volume holds that was in use for a while.
func (v zvol) filled() written { return written{v.dataset, "content", v.size / 4} }

// createArgs are the command of zfs_create_zvol or zfs_create_subvol.
func (v zvol) createArgs() []string {
	size := v.size
	if size == 0 {
		size = gib // the configuration does not say
	}
	kib := strconv.FormatInt((size+1023)/1024, 10) + "k"
	if v.subvol() {
		return []string{"zfs", "create", "-o", "acltype=posixacl", "-o", "xattr=sa", "-o", "refquota=" + kib, v.dataset}
	}
	if mibs := (size + mib - 1) / mib; size%mib != 0 {
		kib = strconv.FormatInt(mibs*1024, 10) + "k"
	}
	return []string{"zfs", "create", "-s", "-V", kib, v.dataset}
}

// snapshotArgs are the commands of volume_snapshot.
func (v zvol) snapshotArgs(snap string) [][]string {
	list := [][]string{{"zfs", "snapshot", v.dataset + "@" + snap}}
	if v.subvol() { // a rollback does not bring the quota back, so it is written down
		list = append(list, []string{"zfs", "set", "pve-storage:refquota=" + strconv.FormatInt(v.size, 10), v.dataset + "@" + snap})
	}
	return list
}

// historyOf are the commands that made what a guest has.
func (l *Lab) historyOf(g *guest, begin time.Time) []aged {
	var list []aged
	add := func(at time.Time, commands ...[]string) {
		for _, args := range commands {
			list = append(list, aged{at: at, args: args})
		}
	}
	for _, v := range l.allZvols(g) {
		add(begin, v.createArgs())
		list = append(list, aged{at: begin, written: v.filled()})
		if v.isBase() {
			add(begin, v.snapshotArgs("__base__")...)
		}
	}
	for _, s := range g.Snapshots {
		config := s.Config
		if config == nil {
			config = g.Config
		}
		used, _ := l.zvols(config)
		for _, v := range used {
			at := time.Unix(s.Time, 0).UTC()
			add(at, v.snapshotArgs(s.Name)...)
			list = append(list, aged{at: at.Add(time.Hour), written: written{v.dataset, "since", v.size / 16}})
		}
	}
	return list
}

// all gives commands until one fails.
func (l *Lab) all(node string, at time.Time, t *task, commands ...[]string) (wrong string) {
	for _, args := range commands {
		if _, wrong = l.zfs(node, at, t, args...); wrong != "" {
			return wrong
		}
	}
	return ""
}

func (l *Lab) createZvol(node string, at time.Time, t *task, v zvol) (wrong string) {
	return l.all(node, at, t, v.createArgs())
}

// destroyZvol is zfs_delete_zvol: what is not there counts as destroyed.
func (l *Lab) destroyZvol(node string, at time.Time, t *task, v zvol) (wrong string) {
	_, wrong = l.zfs(node, at, nil, "zfs", "destroy", "-r", v.dataset)
	if strings.Contains(wrong, "dataset does not exist") {
		return ""
	}
	if wrong != "" && t != nil {
		t.say("%s", wrong)
	}
	return wrong
}

// snapshotZvol writes down the quota as it is, which need not be what the
// configuration says.
func (l *Lab) snapshotZvol(node string, at time.Time, t *task, v zvol, snap string) (wrong string) {
	if v.subvol() {
		v.size, _ = strconv.ParseInt(l.property(node, at, "refquota", v.dataset), 10, 64)
	}
	return l.all(node, at, t, v.snapshotArgs(snap)...)
}

func (l *Lab) property(node string, at time.Time, name, dataset string) string {
	out, _ := l.zfs(node, at, nil, "zfs", "get", "-o", "value", "-Hp", name, dataset)
	return strings.TrimSpace(out)
}

// newerThan lists what volume_rollback_is_possible looks at: the snapshots of
// any origin that stand in the way.
func (l *Lab) newerThan(node string, at time.Time, v zvol, snap string) (blockers []string, wrong string) {
	out, wrong := l.zfs(node, at, nil, "zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", "-s", "creation", v.dataset)
	if wrong != "" {
		return nil, wrong
	}
	found := false
	for line := range strings.Lines(out) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), "@")
		switch {
		case name == snap:
			found = true
		case found:
			blockers = append(blockers, name)
		}
	}
	switch {
	case !found:
		wrong = fmt.Sprintf("can't rollback, snapshot '%s' does not exist on '%s'", snap, v.volid)
	case len(blockers) > 0:
		wrong = fmt.Sprintf("can't rollback, '%s' is not most recent snapshot on '%s'", snap, v.volid)
	}
	return blockers, wrong
}

// rollbackZvol is volume_snapshot_rollback. That it unmounts a container's
// file system, to be mounted at the next start, is left out: nothing here has
// a cache to forget.
func (l *Lab) rollbackZvol(node string, at time.Time, t *task, v zvol, snap string) (wrong string) {
	if wrong = l.all(node, at, t, []string{"zfs", "rollback", v.dataset + "@" + snap}); wrong != "" || !v.subvol() {
		return wrong
	}
	quota := l.property(node, at, "pve-storage:refquota", v.dataset+"@"+snap)
	if isDigits(quota) {
		return l.all(node, at, t, []string{"zfs", "set", "refquota=" + quota, v.dataset})
	}
	if quota != "-" {
		t.say("property for refquota tracking contained unknown value '%s'", quota)
	}
	return ""
}

func (l *Lab) resizeZvol(node string, at time.Time, t *task, v zvol, size int64) (wrong string) {
	kib := size / 1024
	attribute := "refquota"
	if !v.subvol() {
		attribute, kib = "volsize", (kib+1023)/1024*1024
	}
	return l.all(node, at, t, []string{"zfs", "set", fmt.Sprintf("%s=%dk", attribute, kib), v.dataset})
}

// cloneZvol makes a linked clone of a base volume.
func (l *Lab) cloneZvol(node string, at time.Time, t *task, from, to zvol) (wrong string) {
	args := []string{"zfs", "clone", from.dataset + "@__base__", to.dataset}
	if from.subvol() {
		args = append(args, "-o", "refquota="+l.property(node, at, "refquota", from.dataset))
	}
	return l.all(node, at, t, args)
}

// clonesOf are the volumes that are clones of a base volume
// (volume_is_base_and_used).
func (l *Lab) clonesOf(node string, at time.Time, v zvol) []string {
	out, _ := l.zfs(node, at, nil, "zfs", "list", "-H", "-o", "name,origin", "-t", "volume,filesystem", "-d1", path.Dir(v.dataset))
	var clones []string
	for line := range strings.Lines(out) {
		name, origin, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if origin == v.dataset+"@__base__" {
			clones = append(clones, name)
		}
	}
	return clones
}

// poolSpace is zfs_get_pool_stats.
func (l *Lab) poolSpace(s *storage, node string) (used, total int64) {
	available, rest, _ := strings.Cut(l.property(node, l.now(), "available,used", s.zfsPool()), "\n")
	free, _ := strconv.ParseInt(available, 10, 64)
	used, _ = strconv.ParseInt(rest, 10, 64)
	return used, used + free
}

var zvolName = pattern.Of(`^(vm|base|subvol|basevol)-(\d+)-\S+$`)

// zfsVolumes is zfs_list_zvol: what lies in the pool, whether or not a guest
// names it.
func (l *Lab) zfsVolumes(s *storage, node string) []*volume {
	var list []*volume
	out, _ := l.zfs(node, l.now(), nil, "zfs", "list", "-o", "name,volsize,origin,type,refquota", "-t", "volume,filesystem", "-d1", "-Hp", s.zfsPool())
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 5 {
			continue
		}
		name, inPool := strings.CutPrefix(f[0], s.zfsPool()+"/")
		m := zvolName().FindStringSubmatch(name)
		if !inPool || m == nil {
			continue
		}
		v := &volume{store: s, name: name, content: "images", format: "raw"}
		v.vmid, _ = strconv.Atoi(m[2])
		size := f[1]
		if f[3] == "filesystem" {
			v.content, v.format, size = "rootdir", "subvol", f[4]
		}
		v.size, _ = strconv.ParseInt(size, 10, 64) // "none" is 0, as there
		if f[2] != "-" {
			v.parent = strings.TrimPrefix(f[2], s.zfsPool()+"/")
			if base, ok := strings.CutSuffix(v.parent, "@__base__"); ok {
				v.name = base + "/" + name
			}
		}
		list = append(list, v)
	}
	return list
}
