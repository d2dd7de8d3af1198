// Package zfs is the OpenZFS of a simulated machine: the commands zfs and zpool
// with the grammar, the words and the exit statuses of OpenZFS 2.3, on pools
// that exist in memory.
//
// It must know nothing of Proxmox and nothing of nixmox: it is what nixmox's
// module zfs is held against, and is itself held against real pools.
package zfs

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Machine is the ZFS of one machine. Its methods may be called from any goroutine.
type Machine struct {
	mu      sync.Mutex
	st      state
	changed uint64
}

type state struct {
	Seed  uint64 // of the next GUID
	Disks map[string]int64
	Pools []*pool
}

type pool struct {
	Name     string
	GUID     uint64
	Txg      uint64
	Size     int64
	Health   string
	ReadOnly bool     `json:",omitempty"`
	Vdevs    []string // as zpool create took them
	Props    map[string]string
	Scan     scan
	Sets     []*dataset // sorted as a tree
	History  []string   `json:",omitempty"` // as zpool history -i prints it
}

type scan struct {
	Function string `json:",omitempty"` // scrub
	State    string `json:",omitempty"` // running, finished, canceled, paused
	Began    int64  `json:",omitempty"`
	Ended    int64  `json:",omitempty"`
}

type dataset struct {
	Name      string
	Volume    bool `json:",omitempty"`
	GUID      uint64
	Txg       uint64
	Created   int64
	Props     map[string]string // set here, exact values
	Origin    string            `json:",omitempty"`
	Snapshots []*snapshot       `json:",omitempty"` // by txg
	Bookmarks []*bookmark       `json:",omitempty"`
	Mounted   bool              `json:",omitempty"`
	Locked    bool              `json:",omitempty"`
	Files     map[string]file   `json:",omitempty"`
}

type snapshot struct {
	Name    string
	GUID    uint64
	Txg     uint64
	Created int64
	Props   map[string]string `json:",omitempty"`
	Holds   []hold            `json:",omitempty"`
	Files   map[string]file   `json:",omitempty"`
}

type hold struct {
	Tag string
	At  int64
}

type bookmark struct {
	Name    string
	GUID    uint64 // the snapshot's
	Txg     uint64
	Created int64
}

// file is what a file system holds: its content is not kept, only that it is
// the same or another.
type file struct {
	Size int64
	Txg  uint64 // when it was written
}

// Command is one use of zfs or zpool.
type Command struct {
	Args           []string // Args[0] is zfs or zpool
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            time.Time
}

// New is a machine without a pool.
func New(string) *Machine { return &Machine{st: state{Disks: map[string]int64{}}} }

// Seed makes the GUIDs to come those of a number.
func (m *Machine) Seed(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.st.Seed = n
}

// AddDisk gives the machine a disk of a size in bytes, for zpool create.
func (m *Machine) AddDisk(path string, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.st.Disks[path] = size
}

// Changed grows with each change.
func (m *Machine) Changed() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// MarshalJSON is how a machine is kept.
func (m *Machine) MarshalJSON() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return json.Marshal(m.st)
}

// UnmarshalJSON reads what was kept.
func (m *Machine) UnmarshalJSON(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return json.Unmarshal(b, &m.st)
}

// Write writes a file into a file system, or over a volume (path is then of
// no meaning).
func (m *Machine) Write(name, path string, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, d := m.dataset(name)
	if d == nil {
		return fmt.Errorf("cannot open '%s': dataset does not exist", name)
	}
	if d.Locked || p.ReadOnly || p.value(d, "readonly").value == "on" {
		return fmt.Errorf("%s/%s: Read-only file system", p.value(d, "mountpoint").value, path)
	}
	if size > p.available(d) {
		return fmt.Errorf("%s/%s: No space left on device", p.value(d, "mountpoint").value, path)
	}
	m.changed++
	p.Txg++
	if d.Files == nil {
		d.Files = map[string]file{}
	}
	d.Files[path] = file{size, p.Txg}
	return nil
}

// SetHealth gives a pool a state, such as DEGRADED.
func (m *Machine) SetHealth(pool, health string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pool(pool); p != nil {
		m.changed++
		p.Health = health
	}
}

// Run performs a command and returns its exit status. It does not hold the
// machine while it waits for its input or writes its output.
func (m *Machine) Run(c Command) (exit int) {
	var out, complaints strings.Builder
	in := ""
	if len(c.Args) > 1 && slices.Contains([]string{"recv", "receive", "load-key", "create"}, c.Args[1]) && c.Stdin != nil {
		b, err := io.ReadAll(c.Stdin)
		if err != nil {
			return 1
		}
		in = string(b)
	}
	m.mu.Lock()
	k := &call{m: m, args: c.Args, now: c.Now, in: in, out: &out, err: &complaints}
	exit = k.perform()
	m.mu.Unlock()
	if _, err := io.WriteString(c.Stderr, complaints.String()); err != nil {
		return 1
	}
	if _, err := io.WriteString(c.Stdout, out.String()); err != nil {
		return 1
	}
	return exit
}

func (m *Machine) pool(name string) *pool {
	for _, p := range m.st.Pools {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// dataset is the file system or volume of a name, and its pool.
func (m *Machine) dataset(name string) (*pool, *dataset) {
	top, _, _ := strings.Cut(name, "/")
	p := m.pool(top)
	if p == nil {
		return nil, nil
	}
	return p, p.set(name)
}

func (p *pool) set(name string) *dataset {
	i, ok := slices.BinarySearchFunc(p.Sets, name, func(d *dataset, name string) int { return compareTree(d.Name, name) })
	if !ok {
		return nil
	}
	return p.Sets[i]
}

func (p *pool) add(d *dataset) {
	i, _ := slices.BinarySearchFunc(p.Sets, d.Name, func(d *dataset, name string) int { return compareTree(d.Name, name) })
	p.Sets = slices.Insert(p.Sets, i, d)
}

func (p *pool) drop(d *dataset) {
	p.Sets = slices.DeleteFunc(p.Sets, func(o *dataset) bool { return o == d })
}

// below are a dataset and all below it; depth -1 is without a limit.
func (p *pool) below(name string, depth int) []*dataset {
	var out []*dataset
	for _, d := range p.Sets {
		if d.Name == name || strings.HasPrefix(d.Name, name+"/") && (depth < 0 || strings.Count(d.Name[len(name):], "/") <= depth) {
			out = append(out, d)
		}
	}
	return out
}

// compareTree puts what is below a name right after it.
func compareTree(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

func (d *dataset) snapshot(name string) *snapshot {
	for _, s := range d.Snapshots {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (d *dataset) bookmark(name string) *bookmark {
	for _, b := range d.Bookmarks {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// clones are the datasets whose origin a snapshot is.
func (p *pool) clones(full string) []string {
	var out []string
	for _, d := range p.Sets {
		if d.Origin == full {
			out = append(out, d.Name)
		}
	}
	return out
}

// guid is a new identity. SplitMix64: the same seed gives the same ones.
func (m *Machine) guid() uint64 {
	m.st.Seed += 0x9e3779b97f4a7c15
	z := m.st.Seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
