package lab

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/lab/zfs"
)

// zfsDir is where the file systems of the nodes have their contents.
const zfsDir = "zfs"

// machine is the ZFS of one node.
type machine struct {
	*zfs.Machine
	saved uint64 // what its count of changes was when it was saved
}

func (m *machine) isSaved() bool { return m.Changed() == m.saved }

// machineFile is where a node's ZFS is kept. Each save makes a new one, with a
// number that the state has: so both are of one moment, whenever the process
// is killed.
func (l *Lab) machineFile(node string, number uint64) string {
	return l.folder.path(fmt.Sprintf("zfs-%s-%d.json", node, number))
}

// loadMachines reads the ZFS of each node, or makes it, with the volumes of
// the guests that are there.
func (l *Lab) loadMachines() error {
	l.machines = map[string]*machine{}
	if l.st.ZFS == nil {
		l.st.ZFS = map[string]uint64{}
	}
	kept := []string{}
	for _, n := range l.st.Nodes {
		number, known := l.st.ZFS[n.Name]
		if !known {
			if err := l.addMachine(n.Name); err != nil {
				return err
			}
			continue
		}
		m := l.newMachine(n.Name)
		path := l.machineFile(n.Name, number)
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, m.Machine)
		}
		if err != nil {
			return fmt.Errorf("loading the ZFS of the lab's %s: %w (start anew with a fresh lab)", n.Name, err)
		}
		m.saved = m.Changed()
		kept = append(kept, path)
	}
	// What else there is was written and never became part of a state.
	found, err := filepath.Glob(l.folder.path("zfs-*.json*"))
	for _, path := range found {
		if !slices.Contains(kept, path) {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

func (l *Lab) newMachine(node string) *machine {
	m := &machine{Machine: zfs.New(l.folder.path(filepath.Join(zfsDir, node)))}
	l.machines[node] = m
	return m
}

// saveMachines writes what has changed. The files that it replaces go when the
// state is written, too.
func (l *Lab) saveMachines() error {
	for _, n := range l.st.Nodes {
		m := l.machines[n.Name]
		changed := m.Changed()
		if old, known := l.st.ZFS[n.Name]; known {
			if changed == m.saved {
				continue
			}
			l.replaced = append(l.replaced, l.machineFile(n.Name, old))
		}
		b, err := json.Marshal(m.Machine)
		if err != nil {
			return err
		}
		number := l.st.ZFS[n.Name] + 1
		if err := writeFile(l.machineFile(n.Name, number), b, !l.opt.Brief); err != nil {
			return err
		}
		l.st.ZFS[n.Name], m.saved = number, changed
	}
	return nil
}

// removeReplaced removes the files that no state names any more.
func (l *Lab) removeReplaced() error {
	var errs []error
	for _, path := range l.replaced {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	l.replaced = nil
	return errors.Join(errs...)
}

var poolDisks = [2]string{"/dev/disk/by-id/ata-LAB_SSD_0001-part3", "/dev/disk/by-id/ata-LAB_SSD_0002-part3"}

// poolSize makes of two disks the pool that storages are said to have.
const poolSize = 930 * gib

// Proxmox's installer makes rpool/ROOT/pve-1, rpool/data and rpool/var-lib-vz;
// the others are the administrator's.
var installed = [][]string{
	{"zpool", "create", "-o", "ashift=12", "-O", "compression=on", "-O", "relatime=on", "rpool", "mirror", poolDisks[0], poolDisks[1]},
	{"zfs", "create", "rpool/ROOT"},
	{"zfs", "create", "rpool/data"},
	{"zfs", "create", "-o", "acltype=posixacl", "-o", "mountpoint=/", "rpool/ROOT/pve-1"},
	{"zfs", "create", "-o", "mountpoint=/var/lib/vz", "rpool/var-lib-vz"},
	{"zfs", "create", "-o", "com.sun:auto-snapshot=false", "rpool/backup"},
	{"zfs", "create", "rpool/share"},
	{"zfs", "create", "-o", "quota=200G", "rpool/share/windows"},
}

// aged is a command that was given at some time, or what was written then.
type aged struct {
	at      time.Time
	args    []string
	written written
}

// written is so much in a file system, or on a volume. A second one in the
// same part of it takes the first one's place.
type written struct {
	dataset, part string
	size          int64
}

// contents are what lies in the pool of a node beside the guests.
var contents = []written{
	{"rpool/ROOT/pve-1", "usr", 9 * gib}, {"rpool/var-lib-vz", "template", 5 * gib}, {"rpool/backup", "hosts", 40 * gib},
	{"rpool/share", "home", 70 * gib}, {"rpool/share/windows", "Users", 130 * gib},
}

// addMachine makes the ZFS of a node: pools, and the volumes and snapshots
// that its guests name, each of the time that it is from.
func (l *Lab) addMachine(node string) error {
	begin := l.st.Boot.AddDate(-1, 0, 0)
	var list []aged
	for _, args := range installed {
		list = append(list, aged{at: begin, args: args})
	}
	for _, w := range contents {
		list = append(list, aged{at: begin, written: w})
	}
	for _, s := range l.st.Storages {
		if pool := s.zfsPool(); pool != "" && pool != dataPool {
			list = append(list, aged{at: begin, args: []string{"zfs", "create", pool}})
		}
	}
	for _, g := range l.st.Guests {
		if g.Node == node {
			list = append(list, l.historyOf(g, begin.Add(time.Duration(g.VMID)*time.Minute))...)
		}
	}
	slices.SortStableFunc(list, func(a, b aged) int { return cmp.Compare(a.at.Unix(), b.at.Unix()) })
	m := l.newMachine(node)
	m.Seed(binary.BigEndian.Uint64([]byte(sha1Hex(node))))
	for _, disk := range poolDisks {
		m.AddDisk(disk, poolSize)
	}
	for _, c := range list {
		if c.args == nil {
			if err := l.write(node, c.written); err != nil {
				return fmt.Errorf("making the ZFS of the lab's %s: %w", node, err)
			}
			continue
		}
		if _, said := l.zfs(node, c.at, nil, c.args...); said != "" {
			return fmt.Errorf("making the ZFS of the lab's %s: %s: %s", node, strings.Join(c.args, " "), said)
		}
	}
	return nil
}

// write puts content in its place.
func (l *Lab) write(node string, w written) error {
	return l.machines[node].Write(w.dataset, w.part, w.size)
}

// zfs gives a command on a node, as Proxmox's storage plugin does. What is
// wrong is said in its words, "" if nothing is; other complaints go to the
// log of the task, if there is one.
func (l *Lab) zfs(node string, at time.Time, t *task, args ...string) (out, wrong string) {
	var stdout, stderr bytes.Buffer
	exit := l.machines[node].Run(zfs.Command{Args: args, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Now: at})
	lines := strings.Split(strings.TrimRight(stderr.String(), "\n"), "\n")
	last := lines[len(lines)-1]
	if t != nil {
		for _, line := range lines[:len(lines)-1] {
			t.say("%s", line)
		}
	}
	switch {
	case exit == 0:
		if t != nil && last != "" {
			t.say("%s", last)
		}
		return stdout.String(), ""
	case last == "":
		return "", fmt.Sprintf("zfs error: exit code %d", exit)
	}
	return "", "zfs error: " + last
}
