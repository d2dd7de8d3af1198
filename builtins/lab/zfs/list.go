package zfs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// entry is a thing that list and get show.
type entry struct {
	name string
	get  func(property string) property
	sort string // filesystem, volume, snapshot, bookmark
	txg  uint64
	at   int64
}

func (p *pool) entry(d *dataset) entry {
	sort := "filesystem"
	if d.Volume {
		sort = "volume"
	}
	return entry{d.Name, func(n string) property { return p.value(d, n) }, sort, d.Txg, d.Created}
}

func (p *pool) snapshotEntry(d *dataset, s *snapshot) entry {
	return entry{d.Name + "@" + s.Name, func(n string) property { return p.ofSnapshot(d, s, n) }, "snapshot", s.Txg, s.Created}
}

var sorts = map[string][]string{
	"filesystem": {"filesystem"}, "fs": {"filesystem"}, "volume": {"volume"}, "vol": {"volume"}, "snapshot": {"snapshot"}, "snap": {"snapshot"},
	"bookmark": {"bookmark"}, "all": {"filesystem", "volume", "snapshot", "bookmark"},
}

// chosen are the things that the operands and -r, -d and -t name. With ok
// false the command is to end with 1, after what was found.
func (k *call) chosen(on options, operands []string, standard string) (out []entry, ok bool) {
	types := map[string]bool{}
	words := on.last("t")
	if words == "" {
		words = standard
	}
	for word := range strings.SplitSeq(words, ",") {
		for _, s := range sorts[word] {
			types[s] = true
		}
		if sorts[word] == nil {
			k.fail("cannot open '%s': invalid type", word)
			return nil, false
		}
	}
	depth, ok := 0, true
	if on.has("r") {
		depth = -1
	}
	if d := on.last("d"); d != "" {
		n, err := strconv.Atoi(d)
		if err != nil || n < 0 {
			k.fail("invalid depth")
			return nil, false
		}
		depth = n
	}
	if len(operands) == 0 {
		for _, p := range k.m.st.Pools {
			operands = append(operands, p.Name)
		}
		if !on.has("d") {
			depth = -1
		}
	}
	for _, name := range operands {
		base, separator, rest := split(name)
		p, d := k.m.dataset(base)
		switch {
		case wrongName(name) != "":
			k.fail("cannot open '%s': %s", name, wrongName(name))
			ok = false
		case d == nil, separator == "@" && d.snapshot(rest) == nil, separator == "#" && d.bookmark(rest) == nil:
			k.fail("cannot open '%s': dataset does not exist", name)
			ok = false
		case separator == "@":
			out = append(out, p.snapshotEntry(d, d.snapshot(rest)))
		case separator == "#":
			b := d.bookmark(rest)
			out = append(out, entry{name, func(n string) property { return d.ofBookmark(b, n) }, "bookmark", b.Txg, b.Created})
		default:
			out = append(out, below(p, d, types, depth, on.has("t") && !on.has("r") && !on.has("d"))...)
		}
	}
	return out, ok
}

// below are a dataset's things of the types, as deep as asked for: a snapshot
// is one deeper than what it is of.
func below(p *pool, top *dataset, types map[string]bool, depth int, flat bool) (out []entry) {
	if flat && !types["filesystem"] && !types["volume"] {
		depth = 1 // zfs list -t snapshot DATASET lists the dataset's own
	}
	for _, d := range p.below(top.Name, depth) {
		deep := strings.Count(d.Name[len(top.Name):], "/")
		e := p.entry(d)
		if types[e.sort] {
			out = append(out, e)
		}
		if depth >= 0 && deep+1 > depth {
			continue
		}
		if types["snapshot"] {
			for _, s := range d.Snapshots {
				out = append(out, p.snapshotEntry(d, s))
			}
		}
		if types["bookmark"] {
			for _, b := range d.Bookmarks {
				out = append(out, entry{d.Name + "#" + b.Name, func(n string) property { return d.ofBookmark(b, n) }, "bookmark", b.Txg, b.Created})
			}
		}
	}
	return out
}

var standardColumns = []string{"name", "used", "available", "referenced", "mountpoint"}

var shortNames = map[string]string{"avail": "available", "refer": "referenced", "volblock": "volblocksize", "rdonly": "readonly", "usedsnap": "usedbysnapshots", "usedds": "usedbydataset",
	"usedchild": "usedbychildren", "lused": "logicalused", "lrefer": "logicalreferenced", "refreserv": "refreservation", "reserv": "reservation", "recsize": "recordsize", "compress": "compression"}

func columnsOf(text string, standard []string) []string {
	if text == "" {
		return standard
	}
	var out []string
	for name := range strings.SplitSeq(text, ",") {
		if long, ok := shortNames[name]; ok {
			name = long
		}
		if name == "space" {
			out = append(out, "name", "available", "used", "usedbysnapshots", "usedbydataset", "usedbyrefreservation", "usedbychildren")
			continue
		}
		out = append(out, name)
	}
	return out
}

func (k *call) list(on options, operands []string) int {
	columns := columnsOf(on.last("o"), standardColumns)
	for _, c := range columns {
		if !isProperty(c) && !strings.HasPrefix(c, "written@") {
			return k.usage("bad property list: invalid property '"+c+"'", listGrammar)
		}
	}
	entries, ok := k.chosen(on, operands, "filesystem,volume")
	for letter, down := range map[string]bool{"s": false, "S": true} {
		for _, by := range on[letter] {
			sortBy(entries, columnsOf(by, nil)[0], down)
		}
	}
	var rows [][]string
	if !on.has("H") {
		head := []string{}
		for _, c := range columns {
			head = append(head, heading(c))
		}
		rows = append(rows, head)
	}
	for _, e := range entries {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = shown(c, e.get(c).value, on.has("p"))
		}
		rows = append(rows, row)
	}
	if len(entries) == 0 && ok {
		fmt.Fprintln(k.err, "no datasets available")
		return 0
	}
	if on.has("H") {
		for _, row := range rows {
			k.out.WriteString(strings.Join(row, "\t"))
			k.out.WriteByte('\n')
		}
	} else if len(entries) > 0 {
		k.table(rows)
	}
	if !ok {
		return 1
	}
	return 0
}

func sortBy(entries []entry, column string, down bool) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		if down {
			a, b = b, a
		}
		switch column {
		case "createtxg":
			return compare(a.txg, b.txg)
		case "creation":
			return compare(a.at, b.at)
		}
		x, y := a.get(column).value, b.get(column).value
		n, errX := strconv.ParseInt(x, 10, 64)
		m, errY := strconv.ParseInt(y, 10, 64)
		if errX == nil && errY == nil {
			return compare(n, m)
		}
		return strings.Compare(x, y)
	})
}

func compare[T int64 | uint64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// numbers are shown shortened without -p.
var numbers = strings.Fields("used available referenced usedbysnapshots usedbydataset usedbychildren usedbyrefreservation logicalused logicalreferenced written quota refquota reservation refreservation volsize volblocksize recordsize")

// shown is a value as list and get print it.
func shown(name, value string, exact bool) string {
	switch {
	case exact || value == "-":
		return value
	case name == "creation":
		n, _ := strconv.ParseInt(value, 10, 64)
		return date(n)
	case name == "compressratio":
		return value + "x"
	case slices.Contains(numbers, name) || strings.HasPrefix(name, "written@"):
		n, _ := strconv.ParseInt(value, 10, 64)
		if n == 0 && (strings.HasSuffix(name, "quota") || strings.HasSuffix(name, "reservation")) {
			return "none"
		}
		return size(n, false)
	}
	return value
}

var headings = map[string]string{"available": "AVAIL", "referenced": "REFER"}

func heading(name string) string {
	if h, ok := headings[name]; ok {
		return h
	}
	return strings.ToUpper(name)
}

// table writes columns as wide as they need to be; the first and the last to the left.
func (k *call) table(rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			switch {
			case i == len(row)-1:
				k.out.WriteString(cell)
			case i == 0:
				fmt.Fprintf(k.out, "%-*s  ", width[i], cell)
			default:
				fmt.Fprintf(k.out, "%*s  ", width[i], cell)
			}
		}
		k.out.WriteByte('\n')
	}
}

const (
	listGrammar = "list [-Hp] [-r|-d max] [-o property[,...]] [-s property]...\n\t    [-S property]... [-t type[,...]] [filesystem|volume|snapshot] ..."
	getGrammar  = "get [-rHp] [-d max] [-o \"all\" | field[,...]]\n\t    [-t type[,...]] [-s source[,...]]\n\t    <\"all\" | property[,...]> [filesystem|volume|snapshot|bookmark] ..."
)

var allProperties = append(slices.Clone(readOnlyProperties), func() []string {
	var out []string
	for _, p := range settable {
		out = append(out, p.name)
	}
	return out
}()...)

func (k *call) get(on options, operands []string) int {
	if len(operands) == 0 {
		return k.usage("missing property argument", getGrammar)
	}
	asked := columnsOf(operands[0], nil)
	for _, name := range asked {
		if name != "all" && !isProperty(name) && !strings.HasPrefix(name, "written@") {
			return k.usage("bad property list: invalid property '"+name+"'", getGrammar)
		}
	}
	fields := []string{"name", "property", "value", "source"}
	if o := on.last("o"); o != "" && o != "all" {
		fields = strings.Split(o, ",")
	}
	entries, ok := k.chosen(on, operands[1:], "all")
	var rows [][]string
	if !on.has("H") {
		head := []string{}
		for _, f := range fields {
			head = append(head, strings.ToUpper(f))
		}
		rows = append(rows, head)
	}
	for _, e := range entries {
		for _, name := range k.named(asked, e) {
			v := e.get(name)
			if s := on.last("s"); s != "" && !sourceIn(v.source, s) {
				continue
			}
			row := []string{}
			for _, f := range fields {
				row = append(row, map[string]string{"name": e.name, "property": name, "value": shown(name, v.value, on.has("p")), "source": v.source}[f])
			}
			rows = append(rows, row)
		}
	}
	if on.has("H") {
		for _, row := range rows {
			k.printf("%s\n", strings.Join(row, "\t"))
		}
	} else {
		k.table(rows)
	}
	if !ok {
		return 1
	}
	return 0
}

// named are the properties to show of a thing: for all, those that it has.
func (k *call) named(asked []string, e entry) []string {
	if asked[0] != "all" {
		return asked
	}
	var out []string
	for _, name := range allProperties {
		if name != "name" && e.get(name).value != "-" {
			out = append(out, name)
		}
	}
	seen := map[string]bool{}
	for _, p := range k.m.st.Pools {
		for _, d := range p.Sets {
			for name := range d.Props {
				seen[name] = true
			}
			for _, s := range d.Snapshots {
				for name := range s.Props {
					seen[name] = true
				}
			}
		}
	}
	var own []string
	for name := range seen {
		if isUser(name) && e.get(name).value != "-" {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	return append(out, own...)
}

func sourceIn(source, wanted string) bool {
	word, _, _ := strings.Cut(source, " ")
	if word == "-" {
		word = "none"
	}
	return slices.Contains(strings.Split(wanted, ","), word)
}
