package zfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// NameArgs are the arguments of snapshot_name.
type NameArgs struct {
	Prefix Name      `name:"prefix" doc:"what comes before the time"`
	At     time.Time `name:"at" doc:"the time, as now() gives it"`
}

// snapshotName is in UTC, so that no hour comes twice, and has only what both
// ZFS and Proxmox take.
func snapshotName(_ context.Context, a NameArgs) (string, error) {
	return string(a.Prefix) + "-" + a.At.UTC().Format("20060102T150405Z"), nil
}

// SnapshotArgs are the arguments of snapshot.
type SnapshotArgs struct {
	Datasets  []Dataset `name:"datasets" scope:"dataset" doc:"of what; all in one pool, whose snapshots are then of one moment"`
	Name      Name      `name:"name" doc:"its name after the @"`
	Recursive bool      `name:"recursive" default:"false" deep:"true" doc:"and of all below them"`
	Exclude   []string  `name:"exclude" default:"" doc:"globs of datasets to leave out: rpool/swap, rpool/backup/**"`
	Guests    string    `name:"guests" default:"refuse" enum:"refuse,skip,include" doc:"volumes of Proxmox guests: refuse to go on, leave them out, or snapshot them though Proxmox can then not roll the guests back"`
}

// LeftOut is a dataset that was not snapshotted, and why.
type LeftOut struct {
	Dataset Dataset `name:"dataset" doc:"its name"`
	Reason  string  `name:"reason" doc:"why"`
}

// SnapshotResult is what snapshot took.
type SnapshotResult struct {
	Snapshots []SnapshotInfo `name:"snapshots" doc:"what was taken, all in one transaction"`
	LeftOut   []LeftOut      `name:"left_out" doc:"datasets that were asked for and left out"`
}

// keys: a pool at a time. Locks know nothing of what is below a dataset, and
// none of these changes takes long.
func poolKeys(datasets []Dataset) []string {
	var keys []string
	for _, d := range datasets {
		if key := "pool:" + string(d.Pool()); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (a SnapshotArgs) keys() []string { return poolKeys(a.Datasets) }

func (a SnapshotArgs) what() string {
	return "snapshotting" + strings.TrimPrefix(of(a.Datasets), " of") + " as " + string(a.Name)
}

// targets are the datasets to snapshot, each by its name: with -r, ZFS would
// decide which those are, after they were looked at.
func (c client) targets(ctx context.Context, a SnapshotArgs) (targets []Dataset, left []LeftOut, err error) {
	if len(a.Datasets) == 0 {
		return nil, nil, builtin.Faultf(builtin.Invalid, "snapshotting: no dataset is named").Hinting("name the datasets; zfs.datasets() lists them")
	}
	if keys := poolKeys(a.Datasets); len(keys) > 1 {
		return nil, nil, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying("they are in several pools, and a snapshot is of one moment in one pool only").Hinting("make a call for each pool")
	}
	for _, glob := range a.Exclude {
		if _, err := path.Match(strings.TrimSuffix(glob, "/**"), ""); err != nil {
			return nil, nil, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(fmt.Sprintf("exclude: %q is no glob", glob)).Hinting("rpool/swap, rpool/vm-*, rpool/backup/**")
		}
	}
	depth := 0
	if a.Recursive {
		depth = -1
	}
	all, err := c.datasets(ctx, DatasetsArgs{Under: a.Datasets, Depth: depth, Type: "any"})
	if err != nil {
		return nil, nil, err
	}
	var guests []string
	for _, d := range all {
		guest, isVolume := guestOf(d.Name)
		switch {
		case slices.ContainsFunc(a.Exclude, func(glob string) bool { return matches(glob, d.Name) }):
			left = append(left, LeftOut{d.Name, "excluded"})
		case isVolume && a.Guests == "skip":
			left = append(left, LeftOut{d.Name, "a volume of a Proxmox guest"})
		case isVolume && a.Guests == "refuse":
			if id := strconv.Itoa(int(guest)); !slices.Contains(guests, id) {
				guests = append(guests, id)
			}
		default:
			targets = append(targets, d.Name)
		}
	}
	if len(guests) > 0 {
		return nil, nil, builtin.Faultf(builtin.Conflict, "%s", a.what()).
			Saying("it would be of volumes of Proxmox guests (" + strings.Join(guests[:min(len(guests), 6)], ", ") + "), and Proxmox rolls no guest back over a newer snapshot, whoever took it").
			Hinting("snapshot guests with proxmox.snapshot, leave their volumes out with guests = \"skip\", or take that with guests = \"include\"")
	}
	if len(targets) == 0 {
		return nil, nil, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying("nothing is left to snapshot").Hinting("see exclude and guests")
	}
	for _, d := range targets {
		if err := checkPair(string(d)+"@"+string(a.Name), "@"); err != nil {
			return nil, nil, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(string(d) + ": " + err.Error()).Hinting("take a shorter name")
		}
	}
	return targets, left, nil
}

// matches: a glob as in needs; /** at its end is everything below, too.
func matches(glob string, d Dataset) bool {
	base, deep := strings.CutSuffix(glob, "/**")
	for name := string(d); ; {
		if ok, _ := path.Match(base, name); ok { // targets has seen that it is one
			return true
		}
		i := strings.LastIndexByte(name, '/')
		if !deep || i < 0 {
			return false
		}
		name = name[:i]
	}
}

// guestOf is the guest whose volume it is by its name, as Proxmox's
// ZFSPoolPlugin gives them: vm-100-disk-0, subvol-101-disk-0, base-9000-disk-0,
// vm-100-state-before, vm-100-cloudinit.
func guestOf(d Dataset) (builtin.VMID, bool) {
	name := string(d)[strings.LastIndexByte(string(d), '/')+1:]
	sort, rest, _ := strings.Cut(name, "-")
	id, what, ok := strings.Cut(rest, "-")
	if !ok || !slices.Contains([]string{"vm", "subvol", "base"}, sort) || what == "" {
		return 0, false
	}
	var guest builtin.VMID
	return guest, guest.UnmarshalText([]byte(id)) == nil
}

func (c client) previewSnapshot(ctx context.Context, a SnapshotArgs) (SnapshotResult, error) {
	targets, left, err := c.targets(ctx, a)
	if err != nil {
		return SnapshotResult{}, err
	}
	m, err := newMark(ctx, string(a.Name))
	if err != nil {
		return SnapshotResult{}, err
	}
	there, err := c.snapshots(ctx, SnapshotsArgs{Datasets: targets})
	if err != nil {
		return SnapshotResult{}, err
	}
	call := builtin.CallFrom(ctx)
	out := SnapshotResult{Snapshots: []SnapshotInfo{}, LeftOut: left}
	for _, d := range targets {
		id := Snapshot(string(d) + "@" + string(a.Name))
		if i := slices.IndexFunc(there, func(s SnapshotInfo) bool { return s.Snapshot == id }); i >= 0 {
			return SnapshotResult{}, a.taken(there[i])
		}
		out.Snapshots = append(out.Snapshots, SnapshotInfo{
			Snapshot: id, Dataset: d, Name: a.Name, GUID: builtin.PlannedOneOf[GUID](call, string(id)), Txg: builtin.PlannedOneOf[uint64](call, string(id)),
			Created: call.Run.Now().UTC().Truncate(time.Second), Ours: true, Run: m.Run, Playbook: m.Playbook,
		})
	}
	planned := out.Snapshots
	plan(ctx, func(list []SnapshotInfo, covers func(Dataset) bool) []SnapshotInfo {
		for _, s := range planned {
			if covers(s.Dataset) {
				list = append(list, s)
			}
		}
		return list
	})
	return out, nil
}

func (a SnapshotArgs) taken(s SnapshotInfo) error {
	by := "somebody else"
	if s.Ours {
		by = "the run " + s.Run
	}
	return builtin.Faultf(builtin.Conflict, "%s", a.what()).Saying(fmt.Sprintf("%s is there already, of %s, taken by %s; nothing was taken", s.Snapshot, s.Created.Format(time.RFC3339), by)).
		Hinting("take another name: zfs.snapshot_name(\"auto\", now())")
}

// maxArguments is less than what Linux takes as arguments in all (a quarter of
// the stack's limit, 2 MiB), with room for the rest.
const maxArguments = 1536 << 10

func (c client) snapshot(ctx context.Context, a SnapshotArgs) (SnapshotResult, error) {
	targets, left, err := c.targets(ctx, a)
	if err != nil {
		return SnapshotResult{}, err
	}
	m, err := newMark(ctx, string(a.Name))
	if err != nil {
		return SnapshotResult{}, err
	}
	names, size := make([]Snapshot, len(targets)), 0
	for i, d := range targets {
		names[i] = Snapshot(string(d) + "@" + string(a.Name))
		size += len(names[i]) + 9 // with its pointer and its end
	}
	if size > maxArguments {
		return SnapshotResult{}, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(fmt.Sprintf("%d datasets are more than one command takes", len(targets))).
			Hinting("snapshot them in several calls, which are then of several moments")
	}
	argv := append([]string{"zfs", "snapshot", "-o", snapshotMark + "=" + m.String()}, texts(names)...)
	if _, err := c.output(ctx, a.what(), argv...); err != nil {
		return SnapshotResult{}, err
	}
	there, err := c.existing(ctx, names)
	if err != nil {
		return SnapshotResult{}, err
	}
	out := SnapshotResult{Snapshots: []SnapshotInfo{}, LeftOut: left}
	for _, l := range there {
		if found, ok := l.mark(); ok && found.Run == m.Run && found.Place == m.Place {
			out.Snapshots = append(out.Snapshots, l.info())
		}
	}
	out.Snapshots = sorted(out.Snapshots)
	if len(out.Snapshots) != len(names) {
		f := builtin.Faultf(builtin.Failed, "%s", a.what()).Saying(fmt.Sprintf("ZFS said that it was done, and of %d snapshots %d are there", len(names), len(out.Snapshots))).
			Hinting("does something else destroy snapshots there? zpool history -i says what was done")
		f.Partial = out
		return out, f
	}
	return out, nil
}

// existing looks at snapshots by name. Those that are not there are left out.
func (c client) existing(ctx context.Context, names []Snapshot) ([]listed, error) {
	var out []listed
	argv := append([]string{"zfs", "list", "-Hp", "-t", "snapshot", "-o", strings.Join(listColumns, ",")}, texts(names)...)
	err := c.runner.Stream(ctx, run.Command{Argv: argv}, readSnapshots(listColumns, func(l listed) error {
		out = append(out, l)
		return nil
	}))
	if ended, ok := errors.AsType[*run.Error](err); ok && onlyMissing(ended.Stderr) {
		err = nil
	}
	if err != nil {
		return nil, fault("looking at snapshots"+strings.TrimPrefix(of(names), " of"), err)
	}
	return out, nil
}

// onlyMissing reports whether a list complained of nothing but names that are
// not there.
func onlyMissing(stderr string) bool {
	for line := range strings.Lines(stderr) {
		if !strings.HasSuffix(strings.TrimSpace(line), "dataset does not exist") {
			return false
		}
	}
	return stderr != ""
}

// settleSnapshot: all are taken in one transaction, so one that carries the
// call's mark says that they all were.
func (c client) settleSnapshot(ctx context.Context, a SnapshotArgs, _ string) (builtin.Settlement[SnapshotResult], error) {
	none := builtin.Settlement[SnapshotResult]{}
	m, err := newMark(ctx, string(a.Name))
	if err != nil {
		return none, err
	}
	out := SnapshotResult{Snapshots: []SnapshotInfo{}}
	err = c.eachSnapshot(ctx, a.Datasets, a.Recursive, false, func(l listed) error {
		if found, ok := l.mark(); ok && found.Run == m.Run && found.Place == m.Place && l.snapshot.Name() == string(a.Name) {
			out.Snapshots = append(out.Snapshots, l.info())
		}
		return nil
	})
	if err != nil {
		return none, err
	}
	if len(out.Snapshots) == 0 {
		return builtin.Settlement[SnapshotResult]{State: builtin.NotDone}, nil
	}
	out.Snapshots = sorted(out.Snapshots)
	if _, left, err := c.targets(ctx, a); err == nil {
		out.LeftOut = left
	}
	return builtin.Settlement[SnapshotResult]{State: builtin.Done, Result: out}, nil
}
