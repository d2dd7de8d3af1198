package zfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (k *call) snapshot(on options, operands []string) int {
	if len(operands) == 0 {
		return k.usage("missing snapshot argument", "snapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...")
	}
	props, ok := k.assignments(on["o"], "cannot create snapshots")
	if !ok {
		return 2
	}
	for name := range props {
		if !isUser(name) {
			return k.fail("cannot create snapshots : invalid property '%s'", name)
		}
	}
	type target struct {
		p    *pool
		d    *dataset
		name string
	}
	var targets []target
	for _, full := range operands {
		base, separator, name := split(full)
		if separator != "@" || wrongName(full) != "" {
			said := wrongName(full)
			if separator != "@" {
				said = "missing '@' delimiter in snapshot name"
			}
			return k.fail("cannot create snapshot '%s': %s", full, said)
		}
		p, d := k.m.dataset(base)
		if d == nil {
			return k.fail("cannot open '%s': dataset does not exist\nusage:\n\tsnapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...", base) + 1
		}
		list := []*dataset{d}
		if on.has("r") {
			list = p.below(base, -1)
		}
		for _, d := range list {
			targets = append(targets, target{p, d, name})
		}
	}
	wrong := 0
	for i, t := range targets {
		full := t.d.Name + "@" + t.name
		switch {
		case t.p != targets[0].p:
			return k.fail("cannot create snapshots : pool dataset mismatch") // lzc_snapshot takes those of one
		case slices.ContainsFunc(targets[:i], func(o target) bool { return o.d == t.d }):
			return k.fail("cannot create snapshots : multiple snapshots of same fs not allowed")
		case wrongName(full) != "":
			wrong = k.fail("cannot create snapshot '%s': %s", full, wrongName(full))
		case t.p.ReadOnly:
			wrong = k.fail("cannot create snapshot '%s': pool is read-only", full)
		case t.d.snapshot(t.name) != nil:
			wrong = k.fail("cannot create snapshot '%s': dataset already exists", full)
		}
	}
	if wrong != 0 {
		if len(targets) > 1 {
			fmt.Fprintln(k.err, "no snapshots were created")
		}
		return wrong
	}
	p := targets[0].p
	p.Txg++
	for _, t := range targets {
		t.d.Snapshots = append(t.d.Snapshots, &snapshot{Name: t.name, GUID: k.m.guid(), Txg: p.Txg, Created: k.now.Unix(), Props: maps.Clone(props), Files: maps.Clone(t.d.Files)})
	}
	return 0
}

// namedSnapshots are those of DATASET@A,B%C: single ones, and ranges.
func (d *dataset) namedSnapshots(list string) (out []*snapshot, missing []string) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "%")
		if !isRange {
			if s := d.snapshot(part); s != nil {
				out = append(out, s)
			} else {
				missing = append(missing, part)
			}
			continue
		}
		inside := from == ""
		for _, s := range d.Snapshots {
			inside = inside || s.Name == from
			if inside {
				out = append(out, s)
			}
			if s.Name == to {
				break
			}
		}
	}
	return out, missing
}

func (k *call) destroySnapshots(on options, base, list string) int {
	p, d := k.m.dataset(base)
	if d == nil {
		return k.fail("cannot open '%s': dataset does not exist", base)
	}
	sets := []*dataset{d}
	if on.has("r") {
		sets = p.below(base, -1)
	}
	type victim struct {
		d *dataset
		s *snapshot
	}
	var victims []victim
	for _, d := range sets {
		found, _ := d.namedSnapshots(list)
		for _, s := range found {
			victims = append(victims, victim{d, s})
		}
	}
	if len(victims) == 0 {
		return k.fail("could not find any snapshots to destroy; check snapshot names.")
	}
	var reclaim int64
	for _, v := range victims {
		reclaim += v.d.usedBy(v.s)
		if on.has("v") && on.has("p") {
			k.printf("destroy\t%s@%s\n", v.d.Name, v.s.Name)
		} else if on.has("v") {
			k.printf("%s %s@%s\n", map[bool]string{true: "would destroy", false: "will destroy"}[on.has("n")], v.d.Name, v.s.Name)
		}
	}
	if on.has("v") && on.has("p") {
		k.printf("reclaim\t%d\n", reclaim)
	} else if on.has("v") {
		k.printf("%s %s\n", map[bool]string{true: "would reclaim", false: "will reclaim"}[on.has("n")], size(reclaim, false))
	}
	if on.has("n") {
		return 0
	}
	wrong := 0
	for _, v := range victims {
		full := v.d.Name + "@" + v.s.Name
		switch clones := p.clones(full); {
		case len(v.s.Holds) > 0 && !on.has("d"):
			wrong = k.fail("cannot destroy snapshot %s: it's being held. Run 'zfs holds -r %s' to see holders.", full, full)
		case len(clones) > 0 && !on.has("d"):
			wrong = k.fail("cannot destroy '%s': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n%s", full, strings.Join(clones, "\n"))
		case p.ReadOnly:
			wrong = k.fail("cannot destroy snapshots: pool is read-only")
		}
	}
	if wrong != 0 { // one call of the kernel destroys all of a command's, or none
		return wrong
	}
	gone := map[*snapshot]bool{}
	for _, v := range victims {
		gone[v.s] = true
	}
	for _, d := range sets {
		d.Snapshots = slices.DeleteFunc(d.Snapshots, func(s *snapshot) bool { return gone[s] })
	}
	p.Txg++
	return 0
}

// ofNames are snapshots by their full names, with -r also those of the same
// name below.
func (k *call) ofNames(on options, names []string, action string) (p *pool, out []*snapshot, full []string, exit int) {
	for _, name := range names {
		base, separator, rest := split(name)
		if separator != "@" {
			return nil, nil, nil, k.fail("'%s' is not a snapshot", name)
		}
		owner, d := k.m.dataset(base)
		if d == nil || d.snapshot(rest) == nil && !on.has("r") {
			return nil, nil, nil, k.fail("%s", fmt.Sprintf(action, name)+": dataset does not exist")
		}
		sets := []*dataset{d}
		if on.has("r") {
			sets = owner.below(base, -1)
		}
		for _, d := range sets {
			if s := d.snapshot(rest); s != nil {
				p, out, full = owner, append(out, s), append(full, d.Name+"@"+rest)
			}
		}
	}
	return p, out, full, 0
}

func (k *call) hold(on options, operands []string) int {
	if len(operands) < 2 {
		return k.usage("missing tag argument", "hold [-r] <tag> <snapshot> ...")
	}
	tag := operands[0]
	if strings.HasPrefix(tag, ".") {
		return k.fail("tag may not start with '.'")
	}
	p, list, full, exit := k.ofNames(on, operands[1:], "cannot open '%s'")
	if exit != 0 {
		return exit
	}
	for i, s := range list {
		if slices.ContainsFunc(s.Holds, func(h hold) bool { return h.Tag == tag }) {
			return k.fail("cannot hold snapshot '%s': tag already exists on this dataset", full[i])
		}
	}
	p.Txg++
	for i, s := range list {
		s.Holds = append(s.Holds, hold{tag, k.now.Unix()})
		k.note(p, "hold %s (%d) tag=%s temp=0 refs=%d", full[i], s.Txg, tag, len(s.Holds))
	}
	return 0
}

func (k *call) release(on options, operands []string) int {
	if len(operands) < 2 {
		return k.usage("missing tag argument", "release [-r] <tag> <snapshot> ...")
	}
	tag := operands[0]
	p, list, full, exit := k.ofNames(on, operands[1:], "cannot open '%s'")
	if exit != 0 {
		return exit
	}
	for i, s := range list {
		if !slices.ContainsFunc(s.Holds, func(h hold) bool { return h.Tag == tag }) {
			return k.fail("cannot release hold from snapshot '%s': no such tag on this dataset", full[i])
		}
	}
	p.Txg++
	for i, s := range list {
		s.Holds = slices.DeleteFunc(s.Holds, func(h hold) bool { return h.Tag == tag })
		k.note(p, "release %s (%d) tag=%s refs=%d", full[i], s.Txg, tag, len(s.Holds))
	}
	return 0
}

func (k *call) holds(on options, operands []string) int {
	_, list, full, exit := k.ofNames(on, operands, "cannot open '%s'")
	if exit != 0 {
		return exit
	}
	rows := [][]string{}
	if !on.has("H") {
		rows = append(rows, []string{"NAME", "TAG", "TIMESTAMP"})
	}
	for i, s := range list {
		for _, h := range s.Holds {
			at := date(h.At)
			if on.has("p") {
				at = number(h.At)
			}
			rows = append(rows, []string{full[i], h.Tag, at})
		}
	}
	for _, row := range rows {
		k.printf("%s\n", strings.Join(row, "\t"))
	}
	return 0
}

func (k *call) bookmark(_ options, operands []string) int {
	if len(operands) != 2 {
		return k.usage("missing bookmark argument", "bookmark <snapshot|bookmark> <newbookmark>")
	}
	base, _, name := split(operands[0])
	p, d := k.m.dataset(base)
	if d == nil || d.snapshot(name) == nil {
		return k.fail("cannot create bookmark '%s': dataset does not exist", operands[1])
	}
	to, _, mark := split(operands[1])
	if to != base && to != "" {
		return k.fail("cannot create bookmark '%s': bookmark is in a different dataset", operands[1])
	}
	if d.bookmark(mark) != nil {
		return k.fail("cannot create bookmark '%s': bookmark exists", operands[1])
	}
	s := d.snapshot(name)
	p.Txg++
	d.Bookmarks = append(d.Bookmarks, &bookmark{mark, s.GUID, s.Txg, s.Created})
	slices.SortStableFunc(d.Bookmarks, func(a, b *bookmark) int { return strings.Compare(a.Name, b.Name) })
	return 0
}

func (k *call) rollback(on options, operands []string) int {
	if len(operands) != 1 {
		return k.usage("missing dataset argument", "rollback [-rRf] <snapshot>")
	}
	full := operands[0]
	base, _, name := split(full)
	p, d := k.m.dataset(base)
	if d == nil || d.snapshot(name) == nil {
		return k.fail("cannot open '%s': dataset does not exist", full)
	}
	to := d.snapshot(name)
	var later, held []string
	for _, s := range d.Snapshots {
		if s.Txg > to.Txg {
			later = append(later, d.Name+"@"+s.Name)
			if clones := p.clones(d.Name + "@" + s.Name); on.has("r") && len(clones) > 0 && !on.has("R") {
				return k.fail("cannot rollback to '%s': clones of previous snapshots exist\nuse '-R' to force deletion of the following clones and dependents:\n%s", full, strings.Join(clones, "\n"))
			}
			if len(s.Holds) > 0 {
				held = append(held, d.Name+"@"+s.Name)
			}
		}
	}
	for _, b := range d.Bookmarks {
		if b.Txg > to.Txg {
			later = append(later, d.Name+"#"+b.Name)
		}
	}
	switch {
	case len(later) > 0 && !on.has("r") && !on.has("R"):
		return k.fail("cannot rollback to '%s': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\n%s", full, strings.Join(later, "\n"))
	case len(held) > 0:
		return k.fail("cannot destroy '%s': dataset is busy", held[0])
	case p.ReadOnly:
		return k.fail("cannot rollback '%s': pool is read-only", base)
	}
	p.Txg++
	d.Snapshots = slices.DeleteFunc(d.Snapshots, func(s *snapshot) bool { return s.Txg > to.Txg })
	d.Bookmarks = slices.DeleteFunc(d.Bookmarks, func(b *bookmark) bool { return b.Txg > to.Txg })
	d.Files = maps.Clone(to.Files)
	k.note(p, "clone swap %s/%%rollback (%d) parent=%s", d.Name, p.Txg, d.Name[strings.LastIndexByte(d.Name, '/')+1:])
	k.note(p, "destroy %s/%%rollback (%d) (bptree, mintxg=%d)", d.Name, p.Txg, to.Txg)
	return 0
}

func (k *call) diff(on options, operands []string) int {
	if len(operands) == 0 || len(operands) > 2 {
		return k.usage("must provide at least one snapshot name", "diff [-FHth] <snapshot> [snapshot|filesystem]")
	}
	base, _, name := split(operands[0])
	p, d := k.m.dataset(base)
	switch {
	case d == nil:
		return k.fail("cannot open '%s': dataset does not exist", base)
	case d.Volume:
		return k.fail("cannot open '%s': operation not applicable to datasets of this type", base)
	case !d.Mounted:
		return k.fail("Cannot diff an unmounted snapshot: operation not applicable to datasets of this type")
	case d.snapshot(name) == nil:
		return k.fail("Unable to obtain diffs: No such file or directory")
	}
	before, after := d.snapshot(name).Files, d.Files
	if len(operands) == 2 {
		if other, separator, snap := split(operands[1]); separator == "@" {
			if other != base || d.snapshot(snap) == nil {
				return k.fail("Not an earlier snapshot from the same fs: invalid name")
			}
			if d.snapshot(snap).Txg <= d.snapshot(name).Txg {
				return k.fail("Unable to obtain diffs: \n   Not an earlier snapshot from the same fs")
			}
			after = d.snapshot(snap).Files
		}
	}
	at := p.value(d, "mountpoint").value + "/"
	paths := map[string]bool{}
	for path := range before {
		paths[path] = true
	}
	for path := range after {
		paths[path] = true
	}
	line := func(txg uint64, sign, sort, path string) {
		if on.has("t") {
			k.printf("%d.000000000\t", d.Created+int64(txg))
		}
		k.printf("%s\t", sign)
		if on.has("F") {
			k.printf("%s\t", sort)
		}
		for i := range len(path) {
			if c := path[i]; c > ' ' && c != '\\' && c < 0x7f {
				k.out.WriteByte(c)
			} else {
				k.printf("\\%04o", c)
			}
		}
		k.printf("\n")
	}
	listed := false // the directory in which something came or went
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		old, was := before[path]
		now, is := after[path]
		switch {
		case was && is && old != now:
			line(now.Txg, "M", "F", at+path)
		case !is:
			line(old.Txg, "-", "F", at+path)
		case !was:
			line(now.Txg, "+", "F", at+path)
		}
		listed = listed || was != is
	}
	if listed {
		line(p.Txg, "M", "/", at)
	}
	return 0
}
