package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"
)

// state is everything about the estate that is not a file of a storage.
type state struct {
	Version  int
	Offset   time.Duration // the lab's clock minus the real one
	Boot     time.Time     // when the nodes came up
	East     time.Duration `json:",omitempty"` // of the nodes' local time, by which they prune
	LastPID  int
	Nodes    []*node
	Guests   []*guest
	Storages []*storage
	Pools    []*pool
	Tasks    []*task // oldest first
	Users    []*user
	Roles    map[string][]string // the estate's own, with their privileges
	ACL      []aclEntry
	HA       []*haResource
	ZFS      map[string]uint64 `json:",omitempty"` // by node, the number of the file that has it
}

const stateVersion = 2

type node struct {
	Name   string
	ID     int
	IP     string
	CPUs   int
	Memory int64
	Disk   int64

	Boot       time.Time // when it came up
	Down       bool      `json:",omitempty"` // it reboots
	Refreshed  time.Time // the last apt-get update; zero for long ago
	Repository []repository
}

type guest struct {
	VMID      int
	Type      string // qemu or lxc
	Node      string
	Name      string
	Tags      string // as Proxmox keeps them: a;b
	Pool      string `json:",omitempty"`
	Template  bool   `json:",omitempty"`
	Running   bool
	BackupRun bool   `json:",omitempty"` // a stopped VM that runs for its backup only
	Lock      string `json:",omitempty"`
	Since     time.Time
	PID       int
	Cores     int
	Memory    int64 // bytes
	Disk      int64 // bytes, of the disks a backup takes
	Config    map[string]any
	Snapshots []snapshot `json:",omitempty"`
	Paused    bool       `json:",omitempty"` // a running VM whose CPUs stand still
	// Pending are changes of the configuration that wait for the next start; nil removes the entry.
	Pending map[string]any `json:",omitempty"`
	Frozen  bool           `json:",omitempty"` // its file systems, by the agent
}

type snapshot struct {
	Name, Description, Parent string
	Time                      int64
	RAM                       bool           `json:",omitempty"`
	State                     string         `json:",omitempty"` // prepare or delete while it is not whole
	Config                    map[string]any `json:",omitempty"` // as the guest's was
}

type storage struct {
	Name    string
	Type    string // dir or zfspool
	Content []string
	Shared  bool
	Prune   string `json:",omitempty"` // its prune-backups
	Total   int64
	Used    int64 // before what the lab's files take
}

type pool struct {
	ID, Comment string
	Storages    []string
}

func (g *guest) id() string { return strconv.Itoa(g.VMID) }

// digest stands for the SHA-1 that Proxmox takes of a configuration.
func (g *guest) digest() string { return sha1Hex(g.configText() + fmt.Sprint(g.Pending, g.Snapshots)) }

// keepTasks is how many tasks the estate remembers; Proxmox's own index of
// tasks is bounded too.
const keepTasks = 1000

func (s *state) encode() ([]byte, error) {
	if over := len(s.Tasks) - keepTasks; over > 0 {
		s.Tasks = slices.DeleteFunc(s.Tasks, func(t *task) bool {
			drop := over > 0 && !t.running()
			if drop {
				over--
			}
			return drop
		})
	}
	return json.Marshal(s)
}

// loadState reads the saved state; nil if there is none yet.
func loadState(f *folder) (*state, error) {
	b, err := os.ReadFile(f.path(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading the lab: %w", err)
	}
	s := &state{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // a configuration's numbers come back as they were
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("loading the lab from %s: %w (start anew with a fresh lab)", f.path(stateFile), err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("the lab in %s is of version %d, this program has version %d: start anew with a fresh lab", f.dir, s.Version, stateVersion)
	}
	return s, nil
}

func (s *state) node(name string) *node {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

func (s *state) guest(vmid int) *guest {
	for _, g := range s.Guests {
		if g.VMID == vmid {
			return g
		}
	}
	return nil
}

func (s *state) storage(name string) *storage {
	for _, st := range s.Storages {
		if st.Name == name {
			return st
		}
	}
	return nil
}

func (s *state) pool(id string) *pool {
	for _, p := range s.Pools {
		if p.ID == id {
			return p
		}
	}
	return nil
}
