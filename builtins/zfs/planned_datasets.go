package zfs

import (
	"context"
	"path"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// What a plan's changes would have left of datasets, pools and properties.

const (
	plannedDatasetChanges  = "zfs.datasets"
	plannedPropertyChanges = "zfs.properties"
	plannedScans           = "zfs.scans"
)

// datasetChange alters the list of all datasets as a planned call would have
// altered what is listed.
type datasetChange func(list []DatasetInfo) []DatasetInfo

func planDatasets(ctx context.Context, change datasetChange) {
	if planned := builtin.CallFrom(ctx).Run.Planned; planned != nil {
		planned.Add(plannedDatasetChanges, change)
	}
}

func plannedDatasets(ctx context.Context) []any {
	return builtin.CallFrom(ctx).Run.Planned.Entries(plannedDatasetChanges)
}

// datasetsThen lists datasets as the plan's changes would have left them. It
// asks for all there are: what the names meant before the changes, only they say.
func (c client) datasetsThen(ctx context.Context, a DatasetsArgs, changes []any) ([]DatasetInfo, error) {
	all, err := c.datasetsNow(ctx, DatasetsArgs{Depth: -1, Type: "any"})
	if err != nil {
		return nil, err
	}
	for _, change := range changes {
		all = asTree(change.(datasetChange)(all))
	}
	for _, d := range a.Under {
		if !slices.ContainsFunc(all, func(have DatasetInfo) bool { return have.Name == d }) {
			return nil, builtin.Faultf(builtin.NotFound, "listing datasets%s", of(a.Under)).Saying("in this plan there would be no " + string(d) + " by now").
				Hinting("zfs.datasets() lists what there is")
		}
	}
	deep := func(d Dataset) int { return strings.Count(string(d), "/") }
	return slices.DeleteFunc(all, func(d DatasetInfo) bool {
		within := len(a.Under) == 0 && (a.Depth < 0 || deep(d.Name) <= a.Depth) || slices.ContainsFunc(a.Under, func(top Dataset) bool {
			return d.Name.In(top) && (a.Depth < 0 || deep(d.Name)-deep(top) <= a.Depth)
		})
		return !within || a.Type != "any" && d.Type != a.Type
	}), nil
}

// realName is what ZFS calls a dataset now that the plan's changes may have
// renamed; "" for one that is only planned.
func (c client) realName(ctx context.Context, d Dataset) (Dataset, error) {
	changes := plannedDatasets(ctx)
	if len(changes) == 0 {
		return d, nil
	}
	then, err := c.dataset(ctx, DatasetArgs{Dataset: d})
	if err != nil || !then.GUID.Known() {
		return "", err
	}
	now, err := c.datasetsNow(ctx, DatasetsArgs{Depth: -1, Type: "any"})
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(now, func(have DatasetInfo) bool { return have.GUID == then.GUID })
	if i < 0 {
		return "", nil
	}
	return now[i].Name, nil
}

// plannedDataset is a dataset that the call of this context will make below
// its parent, with what it gets from there.
func plannedDataset(ctx context.Context, parent DatasetInfo, name Dataset, properties map[string]Setting) DatasetInfo {
	call := builtin.CallFrom(ctx)
	d := DatasetInfo{
		Name: name, GUID: builtin.PlannedOneOf[GUID](call, string(name)), Txg: builtin.PlannedOneOf[uint64](call, string(name)),
		Created: call.Run.Now().UTC(), Type: "filesystem", Available: parent.Available, ReadOnly: parent.ReadOnly, Encryption: parent.Encryption,
		Mountpoint: parent.Mountpoint, Ours: true, Run: call.Run.ID, Playbook: call.Run.Playbook,
	}
	if strings.HasPrefix(d.Mountpoint, "/") {
		d.Mountpoint = path.Join(d.Mountpoint, path.Base(string(name)))
	}
	d.with(properties)
	return d
}

// with is the dataset after its properties were set.
func (d *DatasetInfo) with(properties map[string]Setting) {
	for name, value := range properties {
		switch name {
		case "mountpoint":
			d.Mountpoint = string(value)
		case "readonly":
			d.ReadOnly = value == "on"
		case "quota":
			d.Quota, _ = value.bytes()
		case "reservation":
			d.Reserved, _ = value.bytes()
		case "volsize":
			d.Size, _ = value.bytes()
		case "encryption":
			if d.Encryption = string(value); value == "off" {
				d.Encryption = ""
			}
		}
	}
}

// propertyChange is of a property that a planned call would have changed.
type propertyChange struct {
	dataset Dataset
	name    string
	to      Setting
	inherit bool // from what is above: to what, only the run will know
}

// propertiesThen are properties of a dataset as the plan's changes would have
// left them.
func propertiesThen(ctx context.Context, of Target, list map[string]Property) error {
	call := builtin.CallFrom(ctx)
	for _, entry := range call.Run.Planned.Entries(plannedPropertyChanges) {
		change := entry.(propertyChange)
		current, asked := list[change.name]
		at := string(of) == string(change.dataset)
		switch {
		case !asked || !of.Dataset().In(change.dataset) || !at && !handedDown(current.Source, change):
		case change.inherit:
			stop := builtin.Stopf(builtin.PlanEnds, "what %s of %s is, once it is inherited again, is not known before", change.name, of)
			stop.At = call.At
			return stop
		case at:
			list[change.name] = Property{Value: string(change.to), Source: "local"}
		default:
			list[change.name] = Property{Value: string(change.to), Source: "inherited from " + string(change.dataset)}
		}
	}
	return nil
}

// handedDown reports whether a property of that source, of something below,
// would change with the one above.
func handedDown(source string, change propertyChange) bool {
	from, inherited := strings.CutPrefix(source, "inherited from ")
	if inherited {
		return change.dataset.In(Dataset(from))
	}
	own := PropertyName(change.name).own() && source == "-"
	return own || source == "default" && !slices.Contains(notHandedDown, change.name)
}

// notHandedDown are the properties of one dataset that could be set and stand
// for it alone (zfsprops(7)).
var notHandedDown = []string{"quota", "refquota", "reservation", "refreservation", "volsize", "canmount", "snapshot_limit", "filesystem_limit"}

// snapshotsThen hands on all snapshots that a plan's changes may have made
// those of the datasets asked for. These are looked for first, so that a name
// that is no dataset is an error as without a plan.
func (c client) snapshotsThen(ctx context.Context, a SnapshotsArgs, each func(listed) error) error {
	if _, err := c.datasets(ctx, DatasetsArgs{Under: a.Datasets, Type: "any"}); err != nil {
		return err
	}
	return c.eachSnapshot(ctx, nil, false, a.Sizes, each)
}

// within are the snapshots of a list that were asked for.
func within(list []SnapshotInfo, a SnapshotsArgs) []SnapshotInfo {
	return slices.DeleteFunc(list, func(s SnapshotInfo) bool {
		return len(a.Datasets) > 0 && !slices.ContainsFunc(a.Datasets, func(d Dataset) bool { return s.Dataset == d || a.Recursive && s.Dataset.In(d) })
	})
}
