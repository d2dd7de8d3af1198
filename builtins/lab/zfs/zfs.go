// Package zfs stands in for the lab's ZFS machine until that is written: the
// few commands that the lab's Proxmox uses, and no checks.
package zfs

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Machine is one machine's pools.
type Machine struct {
	mu   sync.Mutex
	data data
}

type data struct {
	Sets    []*set
	Counter uint64
}

type set struct {
	Name, Type string
	Txg        uint64
	Creation   int64
	Props      map[string]string
}

// Command is one use of zfs or zpool.
type Command struct {
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            time.Time
}

// New is a machine without a pool.
func New(string) *Machine { return &Machine{} }

// Seed and AddDisk are of the real one.
func (m *Machine) Seed(uint64) {}

// AddDisk gives the machine a disk.
func (m *Machine) AddDisk(string, int64) {}

// Changed grows with each change.
func (m *Machine) Changed() uint64 { m.mu.Lock(); defer m.mu.Unlock(); return m.data.Counter }

// MarshalJSON is how it is kept.
func (m *Machine) MarshalJSON() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return json.Marshal(m.data)
}

// UnmarshalJSON reads it.
func (m *Machine) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.data) }

// Run performs a command.
func (m *Machine) Run(c Command) int {
	if len(c.Args) > 1 && (c.Args[1] == "recv" || c.Args[1] == "receive") {
		return m.receive(c)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.run(c); err != nil {
		_, _ = fmt.Fprintln(c.Stderr, err)
		return 1
	}
	return 0
}

func (m *Machine) find(name string) *set {
	for _, s := range m.data.Sets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (m *Machine) below(name string) []*set {
	var out []*set
	for _, s := range m.data.Sets {
		if s.Name == name || strings.HasPrefix(s.Name, name+"/") || strings.HasPrefix(s.Name, name+"@") {
			out = append(out, s)
		}
	}
	return out
}

func (m *Machine) add(c Command, name, typ string, props map[string]string) error {
	if m.find(name) != nil {
		return fmt.Errorf("cannot create '%s': dataset already exists", name)
	}
	m.data.Counter++
	m.data.Sets = append(m.data.Sets, &set{name, typ, m.data.Counter, c.Now.Unix(), props})
	return nil
}

func flags(args []string, valued string) (on map[string][]string, rest []string) {
	on = map[string][]string{}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return on, append(rest, args[i+1:]...)
		}
		if len(a) < 2 || a[0] != '-' {
			rest = append(rest, a)
			continue
		}
		for j := 1; j < len(a); j++ {
			f := a[j : j+1]
			if !strings.Contains(valued, f) {
				on[f] = append(on[f], "")
				continue
			}
			v := a[j+1:]
			if v == "" {
				i++
				v = args[i]
			}
			on[f] = append(on[f], v)
			break
		}
	}
	return on, rest
}

func properties(list []string) map[string]string {
	out := map[string]string{}
	for _, p := range list {
		k, v, _ := strings.Cut(p, "=")
		out[k] = v
	}
	return out
}

func bytesOf(s string) string {
	if n, err := strconv.ParseInt(strings.TrimSuffix(s, "k"), 10, 64); err == nil && strings.HasSuffix(s, "k") {
		return strconv.FormatInt(n<<10, 10)
	}
	return s
}

func (m *Machine) run(c Command) error {
	if c.Args[0] == "zpool" {
		if c.Args[1] == "create" {
			_, rest := flags(c.Args[2:], "oO")
			return m.add(c, rest[0], "filesystem", map[string]string{})
		}
		return fmt.Errorf("zpool %s: not in the stub", c.Args[1])
	}
	args := c.Args[2:]
	switch c.Args[1] {
	case "create":
		on, rest := flags(args, "oVb")
		p, typ := properties(on["o"]), "filesystem"
		if v := on["V"]; v != nil {
			p["volsize"], typ = bytesOf(v[0]), "volume"
		}
		for k := range p {
			p[k] = bytesOf(p[k])
		}
		return m.add(c, rest[0], typ, p)
	case "snapshot":
		on, rest := flags(args, "o")
		for _, name := range rest {
			base, snap, _ := strings.Cut(name, "@")
			for _, s := range m.below(base) {
				if s.Type != "snapshot" && (s.Name == base || on["r"] != nil) {
					if m.find(s.Name+"@"+snap) != nil {
						return fmt.Errorf("cannot create snapshot '%s@%s': dataset already exists", s.Name, snap)
					}
				}
			}
			for _, s := range m.below(base) {
				if s.Type != "snapshot" && (s.Name == base || on["r"] != nil) {
					if err := m.add(c, s.Name+"@"+snap, "snapshot", map[string]string{}); err != nil {
						return err
					}
				}
			}
		}
		return nil
	case "destroy":
		on, rest := flags(args, "")
		name := rest[0]
		if m.find(name) == nil && strings.Contains(name, "@") {
			return fmt.Errorf("could not find any snapshots to destroy; check snapshot names.")
		}
		if m.find(name) == nil {
			return fmt.Errorf("cannot open '%s': dataset does not exist", name)
		}
		gone := m.below(name)
		if len(gone) > 1 && on["r"] == nil {
			return fmt.Errorf("cannot destroy '%s': filesystem has children", name)
		}
		for _, s := range m.data.Sets {
			for _, g := range gone {
				if s.Props["origin"] == g.Name && !slices.Contains(gone, s) {
					return fmt.Errorf("cannot destroy '%s': filesystem has dependent clones", name)
				}
			}
		}
		m.data.Counter++
		m.data.Sets = slices.DeleteFunc(m.data.Sets, func(s *set) bool { return slices.Contains(gone, s) })
		return nil
	case "rollback":
		name := args[0]
		at := m.find(name)
		if at == nil {
			return fmt.Errorf("cannot open '%s': snapshot does not exist", name)
		}
		base, _, _ := strings.Cut(name, "@")
		for _, s := range m.data.Sets {
			if strings.HasPrefix(s.Name, base+"@") && s.Txg > at.Txg {
				return fmt.Errorf("cannot rollback to '%s': more recent snapshots or bookmarks exist", name)
			}
		}
		m.data.Counter++
		return nil
	case "rename":
		m.data.Counter++
		for _, s := range m.data.Sets {
			if rest, ok := strings.CutPrefix(s.Props["origin"], args[0]+"@"); ok {
				s.Props["origin"] = args[1] + "@" + rest
			}
		}
		for _, s := range m.below(args[0]) {
			s.Name = args[1] + strings.TrimPrefix(s.Name, args[0])
		}
		return nil
	case "clone":
		on, rest := flags(args, "o")
		from := m.find(rest[0])
		if from == nil {
			return fmt.Errorf("cannot open '%s': dataset does not exist", rest[0])
		}
		base, _, _ := strings.Cut(rest[0], "@")
		p := properties(on["o"])
		p["origin"] = rest[0]
		if v := m.find(base).Props["volsize"]; v != "" {
			p["volsize"] = v
		}
		return m.add(c, rest[1], m.find(base).Type, p)
	case "set":
		s := m.find(args[1])
		if s == nil {
			return fmt.Errorf("cannot open '%s': dataset does not exist", args[1])
		}
		m.data.Counter++
		k, v, _ := strings.Cut(args[0], "=")
		s.Props[k] = bytesOf(v)
		return nil
	case "get":
		_, rest := flags(args, "o")
		s := m.find(rest[1])
		if s == nil {
			return fmt.Errorf("cannot open '%s': dataset does not exist", rest[1])
		}
		for p := range strings.SplitSeq(rest[0], ",") {
			_, _ = fmt.Fprintln(c.Stdout, s.value(p))
		}
		return nil
	case "mount", "unmount":
		return nil
	case "list":
		on, rest := flags(args, "otsSd")
		columns, types := []string{"name"}, []string{"filesystem", "volume"}
		if v := on["o"]; v != nil {
			columns = strings.Split(v[0], ",")
		}
		if v := on["t"]; v != nil {
			types = strings.Split(v[0], ",")
		}
		sets := m.data.Sets
		if len(rest) > 0 {
			if m.find(rest[0]) == nil {
				return fmt.Errorf("cannot open '%s': dataset does not exist", rest[0])
			}
			sets = m.below(rest[0])
		}
		for _, s := range sets {
			if slices.Contains(types, s.Type) || slices.Contains(types, "all") {
				line := []string{}
				for _, c := range columns {
					line = append(line, s.value(c))
				}
				_, _ = fmt.Fprintln(c.Stdout, strings.Join(line, "\t"))
			}
		}
		return nil
	case "send":
		_, rest := flags(args, "iI")
		base, _, _ := strings.Cut(rest[0], "@")
		return json.NewEncoder(c.Stdout).Encode(m.below(base))
	}
	return fmt.Errorf("zfs %s: not in the stub", c.Args[1])
}

func (s *set) value(name string) string {
	switch name {
	case "name":
		return s.Name
	case "type":
		return s.Type
	case "creation":
		return strconv.FormatInt(s.Creation, 10)
	case "refquota":
		if s.Props["refquota"] == "" && s.Type == "filesystem" {
			return "none"
		}
	}
	if v := s.Props[name]; v != "" {
		return v
	}
	return "-"
}

func (m *Machine) receive(c Command) int {
	var sets []*set
	if err := json.NewDecoder(c.Stdin).Decode(&sets); err != nil {
		_, _ = fmt.Fprintln(c.Stderr, "cannot receive:", err)
		return 1
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, rest := flags(c.Args[2:], "x")
	from := sets[0].Name
	for _, s := range sets {
		m.data.Counter++
		s.Name, s.Txg = rest[0]+strings.TrimPrefix(s.Name, from), m.data.Counter
		m.data.Sets = append(m.data.Sets, s)
	}
	return 0
}
