package zfs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// What is destroyed here is destroyed by its whole name: never by a range with
// %, which takes what lies between two names whoever took it; never recursively
// (-r, -R), deferred (-d) or by force (-f).

const (
	// maxArgument is MAX_ARG_STRLEN of Linux without its NUL, and with room to
	// spare: one argument, such as a list with commas, is at most 128 KiB.
	maxArgument = 127 << 10
	// maxTogether bounds what one command destroys. ZFS does that in one
	// transaction, and nothing else is written to the pool meanwhile.
	maxTogether = 1000
	// fewNames is how many snapshots are looked at by name. What ZFS says of
	// those that are missing is then kept whole (run.Error keeps 64 KiB).
	fewNames = 200
)

// destroyArguments are the arguments DATASET@A,B,C that name snapshots, in
// their order. Each is one command's.
func destroyArguments(snapshots []Snapshot) []string {
	var out []string
	var b strings.Builder
	var dataset Dataset
	together := 0
	for _, s := range snapshots {
		name := s.Name()
		if together > 0 && s.Dataset() == dataset && together < maxTogether && b.Len()+1+len(name) <= maxArgument {
			b.WriteByte(',')
			b.WriteString(name)
			together++
			continue
		}
		if together > 0 {
			out = append(out, b.String())
			b.Reset()
		}
		dataset, together = s.Dataset(), 1
		b.WriteString(string(s))
	}
	if together > 0 {
		out = append(out, b.String())
	}
	return out
}

// remove destroys snapshots, which somebody just looked at, in their order,
// and returns how many bytes ZFS reckoned that this sets free. It stops at the
// first failure. What went, the caller reads back.
func (c client) remove(ctx context.Context, what string, snapshots []Snapshot) (reclaim int64, err error) {
	done := 0
	for _, argument := range destroyArguments(snapshots) {
		done += strings.Count(argument, ",") + 1
		builtin.Report(ctx, builtin.Progress{Step: fmt.Sprintf("destroying %d of %d snapshots", done, len(snapshots)), Percent: 100 * float64(done) / float64(len(snapshots))})
		n, err := c.destroyList(ctx, what, "-vp", argument)
		if err != nil {
			return reclaim, err
		}
		reclaim += n
	}
	return reclaim, nil
}

// runEnds reports an error after which nobody can say yet what became of a
// command: it was stopped itself, because the run is, or ran out of time.
func runEnds(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || builtin.AsFault(err) == nil)
}

// reclaim is what ZFS reckons that destroying the snapshots sets free. Those
// that a plan's calls would take first are of no size yet.
func (c client) reclaim(ctx context.Context, what string, snapshots []SnapshotIdentity) (sum int64, err error) {
	var known []Snapshot
	for _, s := range snapshots {
		if s.GUID.Known() {
			known = append(known, s.Snapshot)
		}
	}
	for _, argument := range destroyArguments(known) {
		n, err := c.destroyList(ctx, what+" (a preview)", "-nvp", argument)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// destroyList is zfs destroy with options under which it says what it does.
func (c client) destroyList(ctx context.Context, what, options, argument string) (reclaim int64, err error) {
	if !strings.Contains(argument, "@") {
		return 0, builtin.Faultf(builtin.Invalid, "%s", what).Saying(quoted([]byte(argument)) + " names no snapshot").Hinting("this is a defect of nixmox; nothing was destroyed")
	}
	out, err := c.output(ctx, what, "zfs", "destroy", options, argument)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(out)) {
		if size, ok := strings.CutPrefix(strings.TrimSpace(line), "reclaim\t"); ok {
			n, err := readInt([]byte(size), "reclaim")
			if err != nil {
				return 0, err
			}
			reclaim += n
		}
	}
	return reclaim, nil
}

// present are those of the snapshots that there are. What a list that ended
// well does not have is not there; and what a missing dataset had, neither.
func (c client) present(ctx context.Context, snapshots []Snapshot) ([]listed, error) {
	if len(snapshots) == 0 {
		return nil, nil
	}
	if len(snapshots) <= fewNames {
		return c.existing(ctx, snapshots)
	}
	asked := make(map[Snapshot]bool, len(snapshots))
	for _, s := range snapshots {
		asked[s] = true
	}
	var out []listed
	keep := func(l listed) error {
		if asked[l.snapshot] {
			out = append(out, l)
		}
		return nil
	}
	datasets := datasetsOf(snapshots)
	err := c.eachSnapshot(ctx, datasets, false, false, keep)
	if !isMissing(err) {
		return out, err
	}
	out = nil
	for _, d := range datasets {
		if err := c.eachSnapshot(ctx, []Dataset{d}, false, false, keep); err != nil && !isMissing(err) {
			return nil, err
		}
	}
	return out, nil
}

func isMissing(err error) bool {
	f, ok := errors.AsType[*builtin.Fault](err)
	return ok && f.Kind == builtin.NotFound && (strings.Contains(f.Said, "does not exist") || strings.Contains(f.Said, "could not find any snapshots"))
}

func namesOf(list []SnapshotIdentity) []Snapshot {
	out := make([]Snapshot, len(list))
	for i := range list {
		out[i] = list[i].Snapshot
	}
	return out
}

// stillThere are those decided, in their order, that a list has. other is a
// decided name that is another snapshot's there, "" if none is.
func stillThere(decided []SnapshotIdentity, list iter.Seq2[Snapshot, uint64]) (left []SnapshotIdentity, other Snapshot) {
	guids := make(map[Snapshot]uint64, len(decided))
	for _, s := range decided {
		guids[s.Snapshot] = 0
	}
	for s, guid := range list {
		if _, asked := guids[s]; asked {
			guids[s] = guid
		}
	}
	for _, s := range decided {
		switch guid := guids[s.Snapshot]; {
		case guid == 0: // no snapshot has that
		case s.GUID.Value == guidText(guid):
			left = append(left, s)
		default:
			other = s.Snapshot
		}
	}
	return left, other
}

// byName are names and identities of a list.
func byName(list []listed) iter.Seq2[Snapshot, uint64] {
	return func(yield func(Snapshot, uint64) bool) {
		for i := range list {
			if !yield(list[i].snapshot, list[i].guid) {
				return
			}
		}
	}
}

// without are those decided that are not left.
func without(decided, left []SnapshotIdentity) []SnapshotIdentity {
	still := make(map[Snapshot]bool, len(left))
	for i := range left {
		still[left[i].Snapshot] = true
	}
	return slices.DeleteFunc(slices.Clone(decided), func(s SnapshotIdentity) bool { return still[s.Snapshot] })
}

// use is what keeps a snapshot from being destroyed.
type use struct {
	tags   []string // of holds
	clones []string
}

func (u use) String() string {
	switch {
	case len(u.tags) > 0 && len(u.clones) > 0:
		return "held: " + some(u.tags) + "; clone: " + some(u.clones)
	case len(u.tags) > 0:
		return "held: " + some(u.tags)
	}
	return "clone: " + some(u.clones)
}

// uses are what keeps snapshots from being destroyed, of those that ZFS counts
// holds or clones of. A count without a name is one, too: that it went
// meanwhile, nobody has seen.
func (c client) uses(ctx context.Context, held, cloned []Snapshot) (map[Snapshot]use, error) {
	out := map[Snapshot]use{}
	if len(held) > 0 {
		holds, err := c.holdsOf(ctx, held, false)
		if err != nil {
			return nil, err
		}
		tags := map[Snapshot][]string{}
		for _, h := range holds {
			tags[h.Snapshot] = append(tags[h.Snapshot], h.Tag)
		}
		for _, s := range held {
			out[s] = use{tags: orSomebody(tags[s])}
		}
	}
	clones, err := c.clonesOf(ctx, cloned)
	if err != nil {
		return nil, err
	}
	for _, s := range cloned {
		out[s] = use{tags: out[s].tags, clones: orSomebody(clones[s])}
	}
	return out, nil
}

// inUse are those of a list that ZFS counts holds or clones of.
func inUse(list []listed) (held, cloned []Snapshot) {
	for i := range list {
		if list[i].holds > 0 {
			held = append(held, list[i].snapshot)
		}
		if list[i].clones > 0 {
			cloned = append(cloned, list[i].snapshot)
		}
	}
	return held, cloned
}

func orSomebody(names []string) []string {
	if len(names) == 0 {
		return []string{"(not shown)"}
	}
	return names
}

// clonesOf are the clones of snapshots.
func (c client) clonesOf(ctx context.Context, snapshots []Snapshot) (map[Snapshot][]string, error) {
	out := map[Snapshot][]string{}
	for chunk := range slices.Chunk(snapshots, 5000) {
		argv := append([]string{"zfs", "get", "-Hp", "-o", "name,value", "clones"}, texts(chunk)...)
		err := c.rows(ctx, "looking for clones"+of(chunk), 2, func(row [][]byte) error {
			if value := text(row[1]); value != "" {
				out[Snapshot(row[0])] = strings.Split(value, ",")
			}
			return nil
		}, argv...)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// free answers with a fault where holds or clones keep one of the snapshots.
// ZFS's own preview is silent about both. infos are the same snapshots as a
// plan sees them.
func (c client) free(ctx context.Context, what string, infos []SnapshotInfo, list []listed) error {
	held, cloned := inUse(list)
	uses, err := c.uses(ctx, held, cloned)
	if err != nil {
		return err
	}
	for i := range infos {
		_, known := uses[infos[i].Snapshot]
		switch {
		case infos[i].Holds > 0 && !known:
			uses[infos[i].Snapshot] = use{tags: []string{"a hold that is planned"}}
		case infos[i].Holds == 0 && known:
			uses[infos[i].Snapshot] = use{clones: uses[infos[i].Snapshot].clones} // its holds would be released
		}
	}
	var holders, clones []string
	for _, s := range slices.Sorted(maps.Keys(uses)) {
		if tags := uses[s].tags; len(tags) > 0 {
			holders = append(holders, fmt.Sprintf("%s (%s)", s, some(tags)))
		}
		if names := uses[s].clones; len(names) > 0 {
			clones = append(clones, fmt.Sprintf("%s (%s)", s, some(names)))
		}
	}
	switch {
	case len(holders) > 0:
		return builtin.Faultf(builtin.Busy, "%s", what).Saying(fmt.Sprintf("%d are held: %s; nothing was destroyed", len(holders), some(holders))).
			Hinting("zfs.release() releases a hold, once whoever took it needs it no more")
	case len(clones) > 0:
		return builtin.Faultf(builtin.Busy, "%s", what).Saying(fmt.Sprintf("%d have clones: %s; nothing was destroyed", len(clones), some(clones))).
			Hinting("promote the clones, or destroy them first")
	}
	return nil
}

// some is a list for a message, shortened.
func some(words []string) string {
	const few = 5
	if len(words) <= few {
		return strings.Join(words, ", ")
	}
	return strings.Join(words[:few], ", ") + fmt.Sprintf(" and %d more", len(words)-few)
}
