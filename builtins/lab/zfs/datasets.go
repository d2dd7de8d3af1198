package zfs

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func (k *call) create(on options, operands []string) int {
	const grammar = "create [-Pnpuv] [-o property=value] ... <filesystem>\n\tcreate [-Pnpsv] [-b blocksize] [-o property=value] ... -V <size> <volume>"
	if len(operands) != 1 {
		return k.usage("missing filesystem argument", grammar)
	}
	name := operands[0]
	props, ok := k.assignments(on["o"], "cannot create '"+name+"'")
	if !ok {
		return 2
	}
	action := "cannot create '" + name + "'"
	if w := wrongName(name); w != "" || strings.ContainsAny(name, "@#") {
		return k.fail("%s: %s", action, w)
	}
	p, d := k.m.dataset(name)
	parent := name[:max(strings.LastIndexByte(name, '/'), 0)]
	_, above := k.m.dataset(parent)
	switch {
	case d != nil && on.has("p"):
		return 0
	case d != nil:
		return k.fail("%s: dataset already exists", action)
	case p == nil:
		return k.fail("%s: no such pool '%s'", action, strings.Split(name, "/")[0])
	case above == nil && !on.has("p"):
		return k.fail("%s: parent does not exist", action)
	case p.ReadOnly:
		return k.fail("%s: pool is read-only", action)
	}
	if above == nil {
		up := *k
		if exit := up.create(options{"p": {""}}, []string{parent}); exit != 0 {
			return exit
		}
	}
	n := &dataset{Name: name, GUID: k.m.guid(), Created: k.now.Unix(), Props: props}
	if v := on.last("V"); v != "" {
		bytes, err := parseNumber(v)
		if err != nil {
			return k.fail("bad volume size '%s': %v", v, err)
		}
		n.Volume = true
		n.Props["volsize"] = strconv.FormatUint(bytes, 10)
		if !on.has("s") {
			n.Props["refreservation"] = n.Props["volsize"]
		}
	}
	p.Txg++
	n.Txg = p.Txg
	p.add(n)
	if e := n.Props["encryption"]; e != "" && e != "off" && n.Props["keyformat"] == "" {
		p.drop(n)
		return k.fail("%s: Keyformat required for new encryption root.", action)
	}
	remount(p, []*dataset{n})
	return 0
}

func (k *call) set(_ options, operands []string) int {
	if len(operands) < 2 {
		return k.usage("missing property=value argument", "set [-u] <property=value> ... <filesystem|volume|snapshot> ...")
	}
	var pairs []string
	for len(operands) > 0 && strings.Contains(operands[0], "=") {
		pairs, operands = append(pairs, operands[0]), operands[1:]
	}
	for _, name := range operands {
		props, ok := k.assignments(pairs, "cannot set property for '"+name+"'")
		if !ok {
			return 1
		}
		base, separator, snap := split(name)
		p, d := k.m.dataset(base)
		switch {
		case d == nil, separator == "@" && d.snapshot(snap) == nil:
			return k.fail("cannot open '%s': dataset does not exist", name)
		case p.ReadOnly:
			return k.fail("cannot set property for '%s': pool is read-only", name)
		}
		p.Txg++
		if separator == "@" {
			s := d.snapshot(snap)
			for prop, v := range props {
				if !isUser(prop) {
					return k.fail("cannot set property for '%s': this property can not be modified for snapshots", name)
				}
				if s.Props == nil {
					s.Props = map[string]string{}
				}
				s.Props[prop] = v
			}
			continue
		}
		for prop, v := range props {
			switch n, _ := strconv.ParseInt(v, 10, 64); {
			case prop == "volsize" && !d.Volume:
				return k.fail("cannot set property for '%s': 'volsize' does not apply to datasets of this type", name)
			case prop == "quota" && n > 0 && n < p.used(d):
				return k.fail("cannot set property for '%s': size is less than current used or reserved space", name)
			}
			d.Props[prop] = v
		}
		remount(p, p.below(base, -1))
	}
	return 0
}

func (k *call) inherit(on options, operands []string) int {
	if len(operands) < 2 {
		return k.usage("missing property argument", "inherit [-rS] <property> <filesystem|volume|snapshot> ...")
	}
	for _, name := range operands[1:] {
		base, separator, snap := split(name)
		p, d := k.m.dataset(base)
		if d == nil || separator == "@" && d.snapshot(snap) == nil {
			return k.fail("cannot open '%s': dataset does not exist", name)
		}
		p.Txg++
		if separator == "@" {
			delete(d.snapshot(snap).Props, operands[0])
			continue
		}
		sets := []*dataset{d}
		if on.has("r") {
			sets = p.below(base, -1)
		}
		for _, d := range sets {
			delete(d.Props, operands[0])
		}
		remount(p, p.below(base, -1))
	}
	return 0
}

func (k *call) destroy(on options, operands []string) int {
	if len(operands) != 1 {
		return k.usage("missing dataset argument", "destroy [-fnpRrv] <filesystem|volume>\n\tdestroy [-dnpRrv] <filesystem|volume>@<snap>[%<snap>][,...]\n\tdestroy <filesystem|volume>#<bookmark>")
	}
	name := operands[0]
	base, separator, rest := split(name)
	if separator == "@" {
		return k.destroySnapshots(on, base, rest)
	}
	p, d := k.m.dataset(base)
	switch {
	case d == nil:
		return k.fail("cannot open '%s': dataset does not exist", base)
	case separator == "#":
		if d.bookmark(rest) == nil {
			return k.fail("bookmark '%s' does not exist.", name)
		}
		p.Txg++
		d.Bookmarks = slices.DeleteFunc(d.Bookmarks, func(b *bookmark) bool { return b.Name == rest })
		return 0
	case !strings.Contains(name, "/"):
		return k.fail("cannot destroy '%s': operation does not apply to pools\nuse 'zfs destroy -r %s' to destroy all datasets in the pool\nuse 'zpool destroy %s' to destroy the pool itself", name, name, name)
	}
	gone := p.below(name, -1)
	var children, clones []string
	for _, d := range gone {
		if d.Name != name {
			children = append(children, d.Name)
		}
		for _, s := range d.Snapshots {
			children = append(children, d.Name+"@"+s.Name)
			for _, clone := range p.clones(d.Name + "@" + s.Name) {
				if clone != name && !strings.HasPrefix(clone, name+"/") {
					clones = append(clones, clone)
				}
			}
			if len(s.Holds) > 0 && on.has("r") && !on.has("n") {
				return k.fail("cannot destroy '%s@%s': dataset is busy", d.Name, s.Name)
			}
		}
	}
	switch {
	case len(clones) > 0 && !on.has("R"):
		return k.fail("cannot destroy '%s': filesystem has dependent clones\nuse '-R' to destroy the following datasets:\n%s", name, strings.Join(clones, "\n"))
	case len(children) > 0 && !on.has("r") && !on.has("R"):
		return k.fail("cannot destroy '%s': %s has children\nuse '-r' to destroy the following datasets:\n%s", name, p.value(d, "type").value, strings.Join(children, "\n"))
	case p.ReadOnly:
		return k.fail("cannot destroy '%s': pool is read-only", name)
	}
	if on.has("v") {
		for i := len(gone) - 1; i >= 0; i-- {
			for _, s := range gone[i].Snapshots {
				k.printf("destroy\t%s@%s\n", gone[i].Name, s.Name)
			}
			k.printf("destroy\t%s\n", gone[i].Name)
		}
		k.printf("reclaim\t%d\n", p.used(d))
	}
	if on.has("n") {
		return 0
	}
	p.Txg++
	for _, d := range gone {
		p.drop(d)
	}
	return 0
}

func (k *call) clone(on options, operands []string) int {
	if len(operands) != 2 {
		return k.usage("missing source dataset argument", "clone [-p] [-o property=value] ... <snapshot> <filesystem|volume>")
	}
	base, separator, name := split(operands[0])
	p, from := k.m.dataset(base)
	if from == nil || separator != "@" || from.snapshot(name) == nil {
		return k.fail("cannot open '%s': dataset does not exist", operands[0])
	}
	to := operands[1]
	props, ok := k.assignments(on["o"], "cannot create '"+to+"'")
	if !ok {
		return 2
	}
	owner, there := k.m.dataset(to)
	_, above := k.m.dataset(to[:max(strings.LastIndexByte(to, '/'), 0)])
	switch {
	case wrongName(to) != "":
		return k.fail("cannot create '%s': %s", to, wrongName(to))
	case there != nil:
		return k.fail("cannot create '%s': dataset already exists", to)
	case owner != p:
		return k.fail("cannot create '%s': source and target pools differ", to)
	case above == nil:
		return k.fail("cannot create '%s': parent does not exist", to)
	}
	if from.Volume {
		props["volsize"] = from.Props["volsize"]
	}
	p.Txg++
	n := &dataset{Name: to, Volume: from.Volume, GUID: k.m.guid(), Txg: p.Txg, Created: k.now.Unix(), Props: props, Origin: operands[0], Files: maps.Clone(from.snapshot(name).Files)}
	p.add(n)
	remount(p, []*dataset{n})
	return 0
}

func (k *call) promote(_ options, operands []string) int {
	if len(operands) != 1 {
		return k.usage("missing clone filesystem argument", "promote <clone-filesystem>")
	}
	p, d := k.m.dataset(operands[0])
	if d == nil {
		return k.fail("cannot open '%s': dataset does not exist", operands[0])
	}
	if d.Origin == "" {
		return k.fail("cannot promote '%s': not a cloned filesystem", d.Name)
	}
	base, _, name := split(d.Origin)
	_, origin := k.m.dataset(base)
	at := origin.snapshot(name)
	for _, s := range origin.Snapshots {
		if s.Txg <= at.Txg && d.snapshot(s.Name) != nil {
			return k.fail("cannot promote '%s': snapshot name '%s@%s' from origin conflicts with '%s@%s' from target", d.Name, origin.Name, s.Name, d.Name, s.Name)
		}
	}
	p.Txg++
	var moved, left []*snapshot
	for _, s := range origin.Snapshots {
		if s.Txg > at.Txg {
			left = append(left, s)
			continue
		}
		moved = append(moved, s)
		for _, o := range p.Sets { // other clones have their origin here now
			if o.Origin == origin.Name+"@"+s.Name {
				o.Origin = d.Name + "@" + s.Name
			}
		}
	}
	d.Origin, origin.Origin = origin.Origin, d.Name+"@"+name
	origin.Snapshots, d.Snapshots = left, append(moved, d.Snapshots...)
	return 0
}

func (k *call) rename(on options, operands []string) int {
	if len(operands) != 2 {
		return k.usage("missing source dataset argument", "rename [-f] <filesystem|volume|snapshot> <filesystem|volume|snapshot>\n\trename -p [-f] <filesystem|volume> <filesystem|volume>\n\trename -r <snapshot> <snapshot>")
	}
	from, to := operands[0], operands[1]
	base, separator, name := split(from)
	p, d := k.m.dataset(base)
	if d == nil || separator == "@" && d.snapshot(name) == nil {
		return k.fail("cannot open '%s': dataset does not exist", from)
	}
	if w := wrongName(to); w != "" && !strings.HasPrefix(to, "@") {
		return k.fail("cannot rename '%s': %s", from, w)
	}
	if separator == "@" {
		into, _, newName := split(to)
		if into == "" {
			newName = strings.TrimPrefix(to, "@")
		} else if into != base {
			return k.fail("cannot rename to '%s': snapshots must be part of same dataset", to)
		}
		sets := []*dataset{d}
		if on.has("r") {
			sets = p.below(base, -1)
		}
		for _, d := range sets {
			if d.snapshot(newName) != nil {
				return k.fail("cannot rename '%s@%s': dataset already exists", d.Name, name)
			}
		}
		p.Txg++
		for _, d := range sets {
			if s := d.snapshot(name); s != nil {
				s.Name = newName
				for _, o := range p.Sets {
					if o.Origin == d.Name+"@"+name {
						o.Origin = d.Name + "@" + newName
					}
				}
			}
		}
		return 0
	}
	owner, there := k.m.dataset(to)
	_, above := k.m.dataset(to[:max(strings.LastIndexByte(to, '/'), 0)])
	switch {
	case there != nil:
		return k.fail("cannot rename '%s': dataset already exists", from)
	case owner != p:
		return k.fail("cannot rename to '%s': datasets must be within same pool", to)
	case above == nil:
		return k.fail("cannot open '%s': dataset does not exist", to[:max(strings.LastIndexByte(to, '/'), 0)])
	case strings.HasPrefix(to, from+"/"):
		return k.fail("cannot rename '%s': New dataset name cannot be a descendant of current dataset name", from)
	}
	p.Txg++
	moved := p.below(from, -1)
	for _, d := range moved {
		p.drop(d)
	}
	for _, o := range slices.Concat(p.Sets, moved) {
		if rest, ok := strings.CutPrefix(o.Origin, from); ok && (rest[0] == '@' || rest[0] == '/') {
			o.Origin = to + rest
		}
	}
	for _, d := range moved {
		d.Name = to + strings.TrimPrefix(d.Name, from)
		p.add(d)
	}
	remount(p, moved)
	return 0
}

func (k *call) mount(on options, operands []string) int {
	return k.mounted(on, operands, true)
}

func (k *call) unmount(on options, operands []string) int {
	return k.mounted(on, operands, false)
}

func (k *call) mounted(on options, operands []string, want bool) int {
	verb := map[bool]string{true: "mount", false: "unmount"}[want]
	if on.has("a") || len(operands) == 0 {
		return 0
	}
	p, d := k.m.dataset(operands[0])
	switch {
	case d == nil:
		return k.fail("cannot open '%s': dataset does not exist", operands[0])
	case d.Volume:
		return k.fail("cannot open '%s': operation not applicable to datasets of this type", operands[0])
	case want && d.Mounted:
		return k.fail("cannot mount '%s': filesystem already mounted", d.Name)
	case !want && !d.Mounted:
		return k.fail("cannot unmount '%s': not currently mounted", d.Name)
	case want && d.Locked:
		return k.fail("cannot mount '%s': encryption key not loaded", d.Name)
	case want && contains([]string{"none", "legacy"}, p.value(d, "mountpoint").value):
		return k.fail("cannot %s '%s': legacy mountpoint", verb, d.Name)
	}
	p.Txg++
	d.Mounted = want
	return 0
}

func (k *call) loadKey(_ options, operands []string) int { return k.key(operands, false) }

func (k *call) unloadKey(_ options, operands []string) int { return k.key(operands, true) }

func (k *call) key(operands []string, unload bool) int {
	verb := map[bool]string{true: "unload", false: "load"}[unload]
	if len(operands) != 1 {
		return k.usage("Missing dataset argument or -a option", verb+"-key [-rn] [-L <keylocation>] <-a | filesystem|volume>")
	}
	p, d := k.m.dataset(operands[0])
	if d == nil {
		return k.fail("cannot open '%s': dataset does not exist", operands[0])
	}
	root := p.encryption(d)
	switch {
	case root == nil:
		return k.fail("Key %s error: '%s' is not encrypted.", verb, d.Name)
	case root != d:
		return k.fail("Key %s error: Keys must be %sed for encryption root of '%s' (%s).", verb, verb, d.Name, root.Name)
	case unload == d.Locked && unload:
		return k.fail("Key unload error: Key already unloaded for '%s'.", d.Name)
	case unload == d.Locked && !unload, !unload && !d.Locked:
		return k.fail("Key load error: Key already loaded for '%s'.", d.Name)
	}
	below := p.below(d.Name, -1)
	if unload && slices.ContainsFunc(below, func(o *dataset) bool { return o.Mounted }) {
		return k.fail("Key unload error: '%s' is busy.", d.Name)
	}
	if secret := strings.TrimSuffix(k.in, "\n"); !unload && d.Props["lab:key"] != "" && secret != d.Props["lab:key"] {
		return k.fail("Key load error: Incorrect key provided for '%s'.", d.Name)
	}
	p.Txg++
	for _, o := range below {
		o.Locked = unload
	}
	return 0
}

// send writes the things themselves: a stream that the lab's own receive reads.
func (k *call) send(_ options, operands []string) int {
	base, separator, name := split(operands[len(operands)-1])
	_, d := k.m.dataset(base)
	if d == nil || separator != "@" || d.snapshot(name) == nil {
		return k.fail("cannot open '%s': dataset does not exist", operands[len(operands)-1])
	}
	b, err := json.Marshal(d)
	if err != nil {
		return k.fail("cannot send '%s': %v", base, err)
	}
	k.printf("%s\n", b)
	return 0
}

func (k *call) receive(_ options, operands []string) int {
	if len(operands) != 1 {
		return k.usage("missing snapshot argument", "receive [-vMnsFhu] [-o <property>=<value>] ... [-x <property>] ... <filesystem|volume|snapshot>")
	}
	d := &dataset{}
	if err := json.Unmarshal([]byte(k.in), d); err != nil {
		return k.fail("cannot receive: invalid stream (bad magic number)")
	}
	p, there := k.m.dataset(operands[0])
	switch {
	case p == nil:
		return k.fail("cannot receive new filesystem stream: destination '%s' does not exist", operands[0])
	case there != nil:
		return k.fail("cannot receive new filesystem stream: destination '%s' exists\nmust specify -F to overwrite it", operands[0])
	}
	for _, s := range d.Snapshots {
		p.Txg++
		s.Txg, s.Holds = p.Txg, nil
	}
	p.Txg++
	d.Name, d.GUID, d.Txg, d.Origin, d.Bookmarks, d.Created = operands[0], k.m.guid(), p.Txg, "", nil, k.now.Unix()
	p.add(d)
	remount(p, []*dataset{d})
	return 0
}
