package zfs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// property is one that a dataset has: its exact value (- for none) and source.
type property struct {
	value  string
	source string // local, default, inherited from X, or -
}

// setting is a property that can be set.
type setting struct {
	name, standard string
	inherits       bool
	number         bool   // a size; 0 is none
	words          string // the values there are, "" for any
}

// settable are the properties that can be set: their defaults, and whether
// what is below inherits them.
var settable = []setting{
	{"acltype", "off", true, false, "off posix posixacl nfsv4"},
	{"atime", "on", true, false, "on off"},
	{"canmount", "on", false, false, "on off noauto"},
	{"checksum", "on", true, false, ""},
	{"compression", "on", true, false, compressions},
	{"copies", "1", true, false, "1 2 3"},
	{"dedup", "off", true, false, ""},
	{"devices", "on", true, false, "on off"},
	{"exec", "on", true, false, "on off"},
	{"keyformat", "none", false, false, "none raw hex passphrase"},
	{"keylocation", "none", false, false, ""},
	{"logbias", "latency", true, false, "latency throughput"},
	{"mountpoint", "", true, false, ""},
	{"pbkdf2iters", "350000", false, false, ""},
	{"primarycache", "all", true, false, "all none metadata"},
	{"quota", "0", false, true, ""},
	{"readonly", "off", true, false, "on off"},
	{"recordsize", "131072", true, true, ""},
	{"refquota", "0", false, true, ""},
	{"refreservation", "0", false, true, ""},
	{"relatime", "on", true, false, "on off"},
	{"reservation", "0", false, true, ""},
	{"setuid", "on", true, false, "on off"},
	{"snapdir", "hidden", true, false, "hidden visible disabled"},
	{"snapdev", "hidden", true, false, "hidden visible"},
	{"sync", "standard", true, false, "standard always disabled"},
	{"volblocksize", "16384", false, true, ""},
	{"volsize", "", false, true, ""},
	{"xattr", "on", true, false, "on off dir sa"},
}

const compressions = "on off lzjb gzip gzip-1 gzip-2 gzip-3 gzip-4 gzip-5 gzip-6 gzip-7 gzip-8 gzip-9 zle lz4 zstd zstd-1 zstd-3 zstd-6 zstd-9 zstd-19 zstd-fast"

// fileSystemOnly and volumeOnly are of one sort of dataset.
const (
	fileSystemOnly = " acltype atime canmount devices exec mountpoint quota recordsize refquota relatime setuid snapdir xattr "
	volumeOnly     = " volblocksize volsize "
)

var readOnlyProperties = strings.Fields("type creation used available referenced compressratio mounted origin createtxg guid usedbysnapshots usedbydataset usedbychildren " +
	"usedbyrefreservation userrefs written logicalused logicalreferenced clones defer_destroy keystatus encryptionroot objsetid receive_resume_token encryption numclones name")

func isUser(name string) bool { return strings.Contains(name, ":") }

// checkProperty is the exact value of one that is to be set, or what is wrong.
func checkProperty(name, value string) (exact, wrong string) {
	if isUser(name) {
		switch {
		case len(name) > 255:
			return "", fmt.Sprintf("property name '%s' is too long", name)
		case strings.ToLower(name) != name || strings.ContainsAny(name, " =/"):
			return "", fmt.Sprintf("invalid property '%s'", name)
		case len(value) > 8191:
			return "", fmt.Sprintf("property value '%s' is too long", value)
		}
		return value, ""
	}
	for _, p := range settable {
		if p.name != name {
			continue
		}
		if p.number {
			if value == "none" || value == "auto" {
				return "0", ""
			}
			n, err := parseNumber(value)
			if err != nil {
				return "", err.Error()
			}
			return strconv.FormatUint(n, 10), ""
		}
		if p.words != "" && !contains(strings.Fields(p.words), value) {
			return "", fmt.Sprintf("'%s' must be one of '%s'", name, strings.ReplaceAll(p.words, " ", " | "))
		}
		return value, ""
	}
	if name == "encryption" {
		if value == "on" {
			value = "aes-256-gcm"
		}
		return value, ""
	}
	if contains(readOnlyProperties, name) {
		return "", fmt.Sprintf("'%s' is readonly", name)
	}
	return "", fmt.Sprintf("invalid property '%s'", name)
}

func isProperty(name string) bool {
	if isUser(name) || contains(readOnlyProperties, name) {
		return true
	}
	for _, p := range settable {
		if p.name == name {
			return true
		}
	}
	return false
}

// value is a property of a dataset.
func (p *pool) value(d *dataset, name string) property {
	none := property{"-", "-"}
	switch name {
	case "name":
		return property{d.Name, "-"}
	case "type":
		if d.Volume {
			return property{"volume", "-"}
		}
		return property{"filesystem", "-"}
	case "guid":
		return property{strconv.FormatUint(d.GUID, 10), "-"}
	case "createtxg":
		return property{strconv.FormatUint(d.Txg, 10), "-"}
	case "creation":
		return property{number(d.Created), "-"}
	case "used":
		return property{number(p.used(d)), "-"}
	case "available":
		return property{number(p.available(d)), "-"}
	case "referenced", "usedbydataset", "logicalreferenced":
		return property{number(sizeOf(d.Files)), "-"}
	case "usedbysnapshots":
		return property{number(d.usedBySnapshots()), "-"}
	case "usedbychildren":
		return property{number(p.used(d) - d.own()), "-"}
	case "usedbyrefreservation", "objsetid":
		return property{"0", "-"}
	case "logicalused":
		return property{number(d.own()), "-"}
	case "written":
		return property{number(d.writtenSince(d.lastTxg())), "-"}
	case "compressratio":
		return property{"1.00", "-"}
	case "mounted":
		if d.Volume {
			return none
		}
		if d.Mounted {
			return property{"yes", "-"}
		}
		return property{"no", "-"}
	case "origin":
		if d.Origin == "" {
			return none
		}
		return property{d.Origin, "-"}
	case "encryption":
		if e := p.encryption(d); e != nil {
			return property{e.Props["encryption"], "-"}
		}
		return property{"off", "default"}
	case "encryptionroot", "keystatus":
		e := p.encryption(d)
		switch {
		case e == nil:
			return none
		case name == "encryptionroot":
			return property{e.Name, "-"}
		case d.Locked:
			return property{"unavailable", "-"}
		}
		return property{"available", "-"}
	case "receive_resume_token", "userrefs", "clones", "defer_destroy", "numclones":
		return none
	}
	if txg, ok := strings.CutPrefix(name, "written@"); ok {
		if s := d.snapshot(txg); s != nil {
			return property{number(d.writtenSince(s.Txg)), "-"}
		}
		return none
	}
	return p.inherited(d, name)
}

// inherited looks for a property where it is set, here or above.
func (p *pool) inherited(d *dataset, name string) property {
	if v, ok := d.Props[name]; ok {
		return property{v, "local"}
	}
	inherits, standard := isUser(name), "-"
	for _, s := range settable {
		if s.name == name {
			if d.Volume && strings.Contains(fileSystemOnly, " "+name+" ") || !d.Volume && strings.Contains(volumeOnly, " "+name+" ") {
				return property{"-", "-"}
			}
			inherits, standard = s.inherits, s.standard
		}
	}
	for above := d.Name; inherits && strings.Contains(above, "/"); {
		above = above[:strings.LastIndexByte(above, '/')]
		o := p.set(above)
		if o == nil {
			break
		}
		if v, ok := o.Props[name]; ok {
			if name == "mountpoint" && strings.HasPrefix(v, "/") {
				v = strings.TrimSuffix(v, "/") + d.Name[len(above):]
			}
			return property{v, "inherited from " + above}
		}
	}
	if name == "mountpoint" {
		return property{"/" + d.Name, "default"}
	}
	if standard == "-" {
		return property{"-", "-"}
	}
	return property{standard, "default"}
}

// ofSnapshot is a property of a snapshot.
func (p *pool) ofSnapshot(d *dataset, s *snapshot, name string) property {
	full := d.Name + "@" + s.Name
	switch name {
	case "name":
		return property{full, "-"}
	case "type":
		return property{"snapshot", "-"}
	case "guid":
		return property{strconv.FormatUint(s.GUID, 10), "-"}
	case "createtxg":
		return property{strconv.FormatUint(s.Txg, 10), "-"}
	case "creation":
		return property{number(s.Created), "-"}
	case "used":
		return property{number(d.usedBy(s)), "-"}
	case "referenced", "logicalreferenced":
		return property{number(sizeOf(s.Files)), "-"}
	case "written":
		before := uint64(0)
		for _, o := range d.Snapshots {
			if o.Txg < s.Txg {
				before = o.Txg
			}
		}
		return property{number(newer(s.Files, before)), "-"}
	case "userrefs":
		return property{strconv.Itoa(len(s.Holds)), "-"}
	case "clones":
		return property{strings.Join(p.clones(full), ","), "-"}
	case "numclones":
		return property{strconv.Itoa(len(p.clones(full))), "-"}
	case "defer_destroy":
		return property{"off", "-"}
	case "compressratio":
		return property{"1.00", "-"}
	case "volsize", "encryption", "mlslabel", "primarycache", "exec", "devices", "setuid", "xattr", "acltype":
		return p.value(d, name)
	}
	if !isUser(name) {
		return property{"-", "-"}
	}
	if v, ok := s.Props[name]; ok {
		return property{v, "local"}
	}
	if v := p.inherited(d, name); v.value != "-" {
		if v.source == "local" {
			v.source = "inherited from " + d.Name
		}
		return v
	}
	return property{"-", "-"}
}

func (d *dataset) ofBookmark(b *bookmark, name string) property {
	switch name {
	case "name":
		return property{d.Name + "#" + b.Name, "-"}
	case "type":
		return property{"bookmark", "-"}
	case "guid":
		return property{strconv.FormatUint(b.GUID, 10), "-"}
	case "createtxg":
		return property{strconv.FormatUint(b.Txg, 10), "-"}
	case "creation":
		return property{number(b.Created), "-"}
	}
	return property{"-", "-"}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// empty is what a dataset without files takes.
const empty = 24 << 10

func sizeOf(files map[string]file) int64 { return empty + newer(files, 0) }

// newer is the size of what was written after a transaction.
func newer(files map[string]file, txg uint64) int64 {
	var n int64
	for _, f := range files {
		if f.Txg > txg {
			n += f.Size
		}
	}
	return n
}

func (d *dataset) lastTxg() uint64 {
	if len(d.Snapshots) == 0 {
		return 0
	}
	return d.Snapshots[len(d.Snapshots)-1].Txg
}

func (d *dataset) writtenSince(txg uint64) int64 { return newer(d.Files, txg) }

// own is what a dataset and its snapshots take.
func (d *dataset) own() int64 { return sizeOf(d.Files) + d.usedBySnapshots() }

// usedBySnapshots is the size of what only snapshots hold.
func (d *dataset) usedBySnapshots() int64 {
	seen := map[string]bool{}
	for path, f := range d.Files {
		seen[fmt.Sprint(path, f.Txg)] = true
	}
	var n int64
	for _, s := range d.Snapshots {
		for path, f := range s.Files {
			if key := fmt.Sprint(path, f.Txg); !seen[key] {
				seen[key] = true
				n += f.Size
			}
		}
	}
	return n
}

// usedBy is the size of what only one snapshot holds.
func (d *dataset) usedBy(s *snapshot) int64 {
	var n int64
	for path, f := range s.Files {
		same := func(files map[string]file) bool { o, ok := files[path]; return ok && o == f }
		if !same(d.Files) && !slices.ContainsFunc(d.Snapshots, func(o *snapshot) bool { return o != s && same(o.Files) }) {
			n += f.Size
		}
	}
	return n
}

func (p *pool) used(d *dataset) int64 {
	var n int64
	for _, o := range p.below(d.Name, -1) {
		n += o.own()
	}
	return n
}

// available is what may still be written: what the pool has, or a quota leaves.
func (p *pool) available(d *dataset) int64 {
	left := p.Size - p.used(p.Sets[0])
	for name := d.Name; ; name = name[:strings.LastIndexByte(name, '/')] {
		if o := p.set(name); o != nil {
			if quota, _ := strconv.ParseInt(o.Props["quota"], 10, 64); quota > 0 {
				left = min(left, quota-p.used(o))
			}
		}
		if !strings.Contains(name, "/") {
			break
		}
	}
	return max(left, 0)
}

// encryption is the dataset whose key opens another, nil if it is not encrypted.
func (p *pool) encryption(d *dataset) *dataset {
	for name := d.Name; ; name = name[:strings.LastIndexByte(name, '/')] {
		if o := p.set(name); o != nil && o.Props["encryption"] != "" && o.Props["encryption"] != "off" {
			return o
		}
		if !strings.Contains(name, "/") {
			return nil
		}
	}
}
