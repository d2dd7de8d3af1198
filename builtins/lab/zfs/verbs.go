package zfs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const version = "zfs-2.3.9-lab\nzfs-kmod-2.3.9-lab\n"

func (k *call) version(options, []string) int { k.printf("%s", version); return 0 }

func zfsVerbs() map[string]verb {
	all := map[string]verb{
		"list":       {"DHprd:o:t:s:S:j", listGrammar, (*call).list, false},
		"get":        {"Hprd:o:t:s:", getGrammar, (*call).get, false},
		"create":     {"b:Pno:psuvV:", "create [-Pnpuv] [-o property=value] ... <filesystem>", (*call).create, true},
		"set":        {"u", "set [-u] <property=value> ... <filesystem|volume|snapshot> ...", (*call).set, true},
		"inherit":    {"rS", "inherit [-rS] <property> <filesystem|volume|snapshot> ...", (*call).inherit, true},
		"snapshot":   {"ro:", "snapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...", (*call).snapshot, true},
		"destroy":    {"vpndfrR", "destroy [-fnpRrv] <filesystem|volume>", (*call).destroy, true},
		"hold":       {"r", "hold [-r] <tag> <snapshot> ...", (*call).hold, true},
		"release":    {"r", "release [-r] <tag> <snapshot> ...", (*call).release, true},
		"holds":      {"rHp", "holds [-rHp] <snapshot> ...", (*call).holds, false},
		"bookmark":   {"", "bookmark <snapshot|bookmark> <newbookmark>", (*call).bookmark, true},
		"rollback":   {"rRf", "rollback [-rRf] <snapshot>", (*call).rollback, true},
		"diff":       {"FHth", "diff [-FHth] <snapshot> [snapshot|filesystem]", (*call).diff, false},
		"clone":      {"o:p", "clone [-p] [-o property=value] ... <snapshot> <filesystem|volume>", (*call).clone, true},
		"promote":    {"", "promote <clone-filesystem>", (*call).promote, true},
		"rename":     {"pruf", "rename [-f] <filesystem|volume|snapshot> <filesystem|volume|snapshot>", (*call).rename, true},
		"mount":      {"afvlRO:o:", "mount [-flvO] [-o opts] <-a|-R filesystem|filesystem>", (*call).mount, true},
		"unmount":    {"afu", "unmount [-fu] <-a | filesystem|mountpoint>", (*call).unmount, true},
		"load-key":   {"rnL:a", "load-key [-rn] [-L <keylocation>] <-a | filesystem|volume>", (*call).loadKey, true},
		"unload-key": {"ra", "unload-key [-r] <-a | filesystem|volume>", (*call).unloadKey, true},
		"send":       {"DnPpVvi:I:RswbhLceUX:t:", "send [-DLPbcehnpsVvw] [-i|-I snapshot] [-R [-X dataset[,dataset]...]] <snapshot>", (*call).send, false},
		"receive":    {"o:x:dehMnuvFsA", "receive [-vMnsFhu] [-o <property>=<value>] ... <filesystem|volume|snapshot>", (*call).receive, true},
		"version":    {"", "version", (*call).version, false},
	}
	for alias, name := range map[string]string{"snap": "snapshot", "recv": "receive", "umount": "unmount", "--version": "version", "-V": "version"} {
		all[alias] = all[name]
	}
	return all
}

func zpoolVerbs() map[string]verb {
	all := map[string]verb{
		"list":    {"gHLo:pPT:v", "list [-gHLpPv] [-o property[,...]] [-T d|u] [pool] ... ", (*call).poolList, false},
		"get":     {"Hpo:", "get [-Hp] [-o \"all\" | field[,...]] <\"all\" | property[,...]> <pool> ...", (*call).poolGet, false},
		"status":  {"cdDegiLpPstvxT:", "status [-DdegiLPpstvx] [-T d|u] [pool] ...", (*call).poolStatus, false},
		"create":  {"dfno:O:m:R:t:", "create [-fnd] [-o property=value] ... <pool> <vdev> ...", (*call).poolCreate, true},
		"destroy": {"f", "destroy [-f] <pool>", (*call).poolDestroy, true},
		"scrub":   {"spwe", "scrub [-e | -s | -p | -C] [-w] <pool> ...", (*call).poolScrub, true},
		"history": {"il", "history [-il] [<pool>] ...", (*call).poolHistory, false},
		"version": {"", "version", (*call).version, false},
	}
	all["--version"], all["-V"] = all["version"], all["version"]
	return all
}

// poolValue is a property of a pool; ok is false where there is none of the name.
func (p *pool) poolValue(name string) (value string, ok bool) {
	used := p.used(p.Sets[0])
	switch name {
	case "name":
		return p.Name, true
	case "guid", "load_guid":
		return strconv.FormatUint(p.GUID, 10), true
	case "size":
		return number(p.Size), true
	case "allocated":
		return number(used), true
	case "free":
		return number(p.Size - used), true
	case "capacity":
		return number(100 * used / max(p.Size, 1)), true
	case "health":
		return p.Health, true
	case "fragmentation", "freeing", "leaked", "expandsize", "checkpoint":
		return map[string]string{"fragmentation": "0", "freeing": "0", "leaked": "0"}[name], true
	case "dedupratio":
		return "1.00", true
	case "readonly":
		return map[bool]string{true: "on", false: "off"}[p.ReadOnly], true
	case "altroot":
		return "-", true
	case "ashift", "autotrim", "autoexpand", "comment", "bootfs", "failmode", "cachefile", "multihost":
		if v, ok := p.Props[name]; ok {
			return v, true
		}
		return map[string]string{"ashift": "0", "autotrim": "off", "autoexpand": "off", "comment": "-", "bootfs": "-", "failmode": "wait", "cachefile": "-", "multihost": "off"}[name], true
	}
	return "", false
}

var poolColumns = strings.Fields("name size allocated free checkpoint expandsize fragmentation capacity dedupratio health altroot")

var poolShort = map[string]string{"alloc": "allocated", "cap": "capacity", "frag": "fragmentation", "dedup": "dedupratio"}

func (k *call) pools(names []string) (out []*pool, ok bool) {
	if len(names) == 0 {
		return k.m.st.Pools, true
	}
	ok = true
	for _, name := range names {
		p := k.m.pool(name)
		if p == nil {
			k.fail("cannot open '%s': no such pool", name)
			ok = false
			continue
		}
		out = append(out, p)
	}
	return out, ok
}

func (k *call) poolList(on options, operands []string) int {
	columns := poolColumns
	if o := on.last("o"); o != "" {
		columns = nil
		for name := range strings.SplitSeq(o, ",") {
			if long, ok := poolShort[name]; ok {
				name = long
			}
			columns = append(columns, name)
		}
	}
	list, ok := k.pools(operands)
	var rows [][]string
	if !on.has("H") {
		head := []string{}
		for _, c := range columns {
			for short, long := range poolShort {
				if long == c {
					c = short
				}
			}
			head = append(head, strings.ToUpper(c))
		}
		rows = append(rows, head)
	}
	for _, p := range list {
		row := []string{}
		for _, c := range columns {
			v, known := p.poolValue(c)
			if !known {
				return k.usage("bad property list: invalid property '"+c+"'", "list [-gHLpPv] [-o property[,...]] [-T d|u] [pool] ... ")
			}
			row = append(row, poolShown(c, v, on.has("p")))
		}
		rows = append(rows, row)
	}
	switch {
	case len(list) == 0 && ok:
		k.printf("no pools available\n")
	case on.has("H"):
		for _, row := range rows {
			k.printf("%s\n", strings.Join(row, "\t"))
		}
	case len(list) > 0:
		k.table(rows)
	}
	if !ok {
		return 1
	}
	return 0
}

func poolShown(name, value string, exact bool) string {
	if value == "" {
		return "-"
	}
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case exact || err != nil && name != "dedupratio":
		return value
	case name == "capacity" || name == "fragmentation":
		return value + "%"
	case name == "dedupratio":
		return value + "x"
	case name == "size" || name == "allocated" || name == "free" || name == "freeing" || name == "leaked":
		return size(n, false)
	}
	return value
}

func (k *call) poolGet(on options, operands []string) int {
	if len(operands) == 0 {
		return k.usage("missing property argument", "get [-Hp] [-o \"all\" | field[,...]] <\"all\" | property[,...]> <pool> ...")
	}
	list, ok := k.pools(operands[1:])
	names := strings.Split(operands[0], ",")
	if operands[0] == "all" {
		names = append(slices.Clone(poolColumns[1:]), "guid", "ashift", "autotrim", "readonly", "comment", "failmode")
	}
	for _, p := range list {
		for _, name := range names {
			v, known := p.poolValue(name)
			if !known {
				return k.usage("bad property list: invalid property '"+name+"'", "get [-Hp] <\"all\" | property[,...]> <pool> ...")
			}
			row := map[string]string{"name": p.Name, "property": name, "value": poolShown(name, v, on.has("p")), "source": "-"}
			var cells []string
			for field := range strings.SplitSeq(orElse(on.last("o"), "name,property,value,source"), ",") {
				cells = append(cells, row[field])
			}
			k.printf("%s\n", strings.Join(cells, "\t"))
		}
	}
	if !ok {
		return 1
	}
	return 0
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (k *call) poolStatus(_ options, operands []string) int {
	list, ok := k.pools(operands)
	if len(list) == 0 && ok {
		k.printf("no pools available\n")
	}
	for i, p := range list {
		if i > 0 {
			k.printf("\n")
		}
		k.printf("  pool: %s\n state: %s\n", p.Name, p.Health)
		if p.Health == "DEGRADED" {
			k.printf("status: One or more devices could not be used because the label is missing or\n\tinvalid.  Sufficient replicas exist for the pool to continue\n\tfunctioning in a degraded state.\naction: Replace the device using 'zpool replace'.\n   see: https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-4J\n")
		}
		k.scanText(p)
		k.printf("config:\n\n")
		width := len(p.Name)
		type row struct {
			depth       int
			name, state string
		}
		rows := []row{{0, p.Name, p.Health}}
		depth, count := 1, 0
		for _, v := range p.Vdevs {
			if v == "mirror" || strings.HasPrefix(v, "raidz") {
				rows = append(rows, row{1, fmt.Sprintf("%s-%d", v, count), p.Health})
				depth, count = 2, count+1
				continue
			}
			rows = append(rows, row{depth, v, "ONLINE"})
		}
		if last := len(rows) - 1; p.Health == "DEGRADED" {
			rows[last].state = "UNAVAIL"
		}
		for _, r := range rows {
			width = max(width, 2*r.depth+len(r.name))
		}
		k.printf("\t%-*s  STATE     READ WRITE CKSUM\n", width, "NAME")
		for _, r := range rows {
			k.printf("\t%-*s  %-8s  %4d  %4d  %4d\n", width, strings.Repeat("  ", r.depth)+r.name, r.state, 0, 0, 0)
		}
		k.printf("\nerrors: No known data errors\n")
	}
	if !ok {
		return 1
	}
	return 0
}

func (k *call) scanText(p *pool) {
	k.advance(p)
	const layout = "Mon Jan _2 15:04:05 2006"
	began, ended := time.Unix(p.Scan.Began, 0).UTC(), time.Unix(p.Scan.Ended, 0).UTC()
	switch p.Scan.State {
	case "finished":
		d := ended.Sub(began)
		k.printf("  scan: scrub repaired 0B in %02d:%02d:%02d with 0 errors on %s\n", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, ended.Format(layout))
	case "running":
		k.printf("  scan: scrub in progress since %s\n\t0B / 24K scanned, 0B / 24K issued\n\t0B repaired, 0.00%% done, no estimated completion time\n", began.Format(layout))
	case "paused":
		k.printf("  scan: scrub paused since %s\n\tscrub started on %s\n\t0B / 24K scanned, 0B / 24K issued\n\t0B repaired, 0.00%% done\n", ended.Format(layout), began.Format(layout))
	case "canceled":
		k.printf("  scan: scrub canceled on %s\n", ended.Format(layout))
	}
}

// scrubTime is how long a scrub takes.
const scrubTime = 10 * time.Minute

// advance ends a scrub whose time is over.
func (k *call) advance(p *pool) {
	if end := p.Scan.Began + int64(scrubTime/time.Second); p.Scan.State == "running" && k.now.Unix() >= end {
		p.Scan.State, p.Scan.Ended = "finished", end
		k.m.changed++
	}
}

func (k *call) poolScrub(on options, operands []string) int {
	list, ok := k.pools(operands)
	if !ok || len(list) == 0 {
		return 1
	}
	for _, p := range list {
		k.advance(p)
		running := p.Scan.State == "running"
		switch {
		case on.has("s") && running || on.has("s") && p.Scan.State == "paused":
			p.Scan.State, p.Scan.Ended = "canceled", k.now.Unix()
		case on.has("s"):
			return k.fail("cannot cancel scrubbing %s: there is no active scrub", p.Name)
		case on.has("p") && running:
			p.Scan.State, p.Scan.Ended = "paused", k.now.Unix()
		case on.has("p"):
			return k.fail("cannot pause scrubbing %s: there is no active scrub", p.Name)
		case running:
			return k.fail("cannot scrub %s: currently scrubbing; use 'zpool scrub -s' to cancel scrub", p.Name)
		default:
			p.Scan = scan{Function: "scrub", State: "running", Began: k.now.Unix()}
		}
	}
	return 0
}

func (k *call) poolCreate(on options, operands []string) int {
	if len(operands) < 2 {
		return k.usage("missing vdev specification", "create [-fnd] [-o property=value] ... <pool> <vdev> ...")
	}
	name := operands[0]
	if w := wrongName(name); w != "" || strings.Contains(name, "/") {
		return k.fail("cannot create '%s': invalid character in pool name", name)
	}
	if k.m.pool(name) != nil {
		return k.fail("cannot create '%s': pool already exists", name)
	}
	p := &pool{Name: name, GUID: k.m.guid(), Txg: 4, Health: "ONLINE", Props: map[string]string{}}
	redundant := ""
	for _, v := range operands[1:] {
		if v == "mirror" || strings.HasPrefix(v, "raidz") {
			redundant = v
		} else if bytes, ok := k.m.st.Disks[v]; !ok {
			return k.fail("cannot open '%s': no such device in /dev\nmust be a full path or shorthand device name", v)
		} else if redundant == "mirror" && p.Size > 0 {
			p.Size = min(p.Size, bytes)
		} else {
			p.Size += bytes
		}
		p.Vdevs = append(p.Vdevs, v)
	}
	for _, o := range on["o"] {
		key, value, _ := strings.Cut(o, "=")
		p.Props[key] = value
	}
	props, ok := k.assignments(on["O"], "cannot create '"+name+"'")
	if !ok {
		return 2
	}
	d := &dataset{Name: name, GUID: k.m.guid(), Txg: 1, Created: k.now.Unix(), Props: props}
	k.m.st.Pools = append(k.m.st.Pools, p)
	slices.SortFunc(k.m.st.Pools, func(a, b *pool) int { return strings.Compare(a.Name, b.Name) })
	p.add(d)
	remount(p, p.Sets)
	return 0
}

func (k *call) poolDestroy(_ options, operands []string) int {
	list, ok := k.pools(operands)
	if !ok || len(operands) != 1 {
		return 1
	}
	k.m.st.Pools = slices.DeleteFunc(k.m.st.Pools, func(p *pool) bool { return p == list[0] })
	return 0
}
