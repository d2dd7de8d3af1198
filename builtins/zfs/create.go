package zfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"nixmox/builtins/internal/mark"
	"nixmox/engine/builtin"
)

// CreateArgs are the arguments of create.
type CreateArgs struct {
	Dataset    Dataset            `name:"dataset" scope:"dataset" doc:"its whole name"`
	Size       builtin.Bytes      `name:"size" default:"0" doc:"of a volume, which ZFS rounds up to whole blocks; 0 makes a file system"`
	Sparse     bool               `name:"sparse" default:"false" doc:"set no space aside for the volume"`
	Properties map[string]Setting `name:"properties" default:"" doc:"what it is to have from the beginning: {\"compression\": \"zstd\", \"mountpoint\": \"none\"}"`
	Parents    bool               `name:"parents" default:"false" doc:"make what is missing above it, too, without the properties"`
	Key        builtin.Secret     `name:"key" default:"" doc:"of one that is encrypted with keylocation=prompt: secret(\"NAME\")"`
}

func (a CreateArgs) what() string { return "creating " + string(a.Dataset) }

func (a CreateArgs) keys() []string { return poolKeys([]Dataset{a.Dataset}) }

// Made is a dataset that a call made.
type Made struct {
	Dataset DatasetInfo `name:"dataset" doc:"as it was read back"`
	Parents []Dataset   `name:"parents" doc:"what was made above it"`
}

// place is where a new dataset is to be.
type place struct {
	above   DatasetInfo // the nearest that is there
	missing []Dataset   // what is to be made between them, the uppermost first
}

// placeFor finds out that a dataset can be made: it is not there, and what it
// is to be in is, or shall be made.
func (c client) placeFor(ctx context.Context, what string, name Dataset, parents bool) (place, error) {
	var out place
	line := []Dataset{name}
	for i := strings.LastIndexByte(string(name), '/'); i >= 0; i = strings.LastIndexByte(string(name[:i]), '/') {
		line = append(line, name[:i])
	}
	if len(line) == 1 {
		return out, builtin.Faultf(builtin.Invalid, "%s", what).Saying(string(name) + " would be a pool").Hinting("a pool is made by hand: zpool create")
	}
	there, err := c.existingDatasets(ctx, line)
	if err != nil {
		return out, err
	}
	byName := map[Dataset]DatasetInfo{}
	for _, d := range there {
		byName[d.Name] = d
	}
	if d, taken := byName[name]; taken {
		by := "somebody else"
		if d.Ours {
			by = "the run " + d.Run
		}
		return out, builtin.Faultf(builtin.Conflict, "%s", what).Saying(fmt.Sprintf("%s is there already, made by %s", name, by)).Hinting("take another name, or see what it is: zfs.dataset(%q)", name)
	}
	for _, d := range line[1:] {
		var found bool
		if out.above, found = byName[d]; found {
			break
		}
		out.missing = append([]Dataset{d}, out.missing...)
	}
	switch {
	case out.above.Name == "":
		return out, builtin.Faultf(builtin.NotFound, "%s", what).Saying("there is no pool " + string(name.Pool())).Hinting("zfs.pools() lists what there is; zpool import shows what could be imported")
	case len(out.missing) > 0 && !parents:
		return out, builtin.Faultf(builtin.NotFound, "%s", what).Saying("there is no " + string(out.missing[0])).Hinting("make it, too: parents = True")
	case out.above.Type != "filesystem":
		return out, builtin.Faultf(builtin.Invalid, "%s", what).Saying(fmt.Sprintf("%s is a volume, which holds no datasets", out.above.Name)).Hinting("take a name below a file system")
	}
	return out, nil
}

// planned is the place with what is missing made, in a plan.
func (p place) planned(ctx context.Context) (above DatasetInfo, made []DatasetInfo) {
	above = p.above
	for _, d := range p.missing {
		above = plannedDataset(ctx, above, d, nil)
		made = append(made, above)
	}
	return above, made
}

// makeParents makes what is missing above a dataset. ZFS would do it itself
// (-p), and leave no mark on them.
func (c client) makeParents(ctx context.Context, what string, p place) error {
	for _, d := range p.missing {
		m, err := newMark(ctx, string(d))
		if err != nil {
			return err
		}
		if _, err := c.output(ctx, what+": making "+string(d), "zfs", "create", "-o", datasetMark+"="+m.String(), string(d)); err != nil {
			return err
		}
	}
	return nil
}

func (c client) checkCreate(ctx context.Context, a CreateArgs) (place, error) {
	if err := checkSettings(a.what(), a.Properties); err != nil {
		return place{}, err
	}
	if a.Size == 0 && a.Sparse {
		return place{}, builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying("sparse is for volumes").Hinting("give a size")
	}
	return c.placeFor(ctx, a.what(), a.Dataset, a.Parents)
}

func (a CreateArgs) argv(m mark.Mark, options ...string) []string {
	argv := append([]string{"zfs", "create"}, options...)
	if a.Size > 0 {
		argv = append(argv, "-V", strconv.FormatInt(int64(a.Size), 10))
	}
	if a.Sparse {
		argv = append(argv, "-s")
	}
	argv = append(argv, "-o", datasetMark+"="+m.String())
	return append(append(argv, settingArguments("-o", a.Properties)...), string(a.Dataset))
}

// previewCreate has ZFS look at the properties, where what the dataset is to be
// in is there already.
func (c client) previewCreate(ctx context.Context, a CreateArgs) (Made, error) {
	p, err := c.checkCreate(ctx, a)
	if err != nil {
		return Made{}, err
	}
	m, err := newMark(ctx, string(a.Dataset))
	if err != nil {
		return Made{}, err
	}
	if len(p.missing) == 0 && len(plannedDatasets(ctx)) == 0 {
		if _, err := c.output(ctx, a.what()+" (a dry run)", a.argv(m, "-nP")...); err != nil {
			return Made{}, err
		}
	}
	above, made := p.planned(ctx)
	settings := maps.Clone(a.Properties)
	d := plannedDataset(ctx, above, a.Dataset, settings)
	if a.Size > 0 {
		d.Type, d.Size, d.Mountpoint = "volume", int64(a.Size), ""
	}
	made = append(made, d)
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo { return append(list, made...) })
	return Made{Dataset: d, Parents: p.names()}, nil
}

func (p place) names() []Dataset { return append([]Dataset{}, p.missing...) }

func (c client) create(ctx context.Context, a CreateArgs) (Made, error) {
	p, err := c.checkCreate(ctx, a)
	if err != nil {
		return Made{}, err
	}
	m, err := newMark(ctx, string(a.Dataset))
	if err != nil {
		return Made{}, err
	}
	if err := c.makeParents(ctx, a.what(), p); err != nil {
		return Made{}, err
	}
	if a.Key.Name() == "" {
		_, err = c.output(ctx, a.what(), a.argv(m)...)
	} else {
		err = c.withKey(ctx, a.what(), a.Key, a.argv(m)...)
	}
	return c.readMade(ctx, a.what(), a.Dataset, err)
}

// readMade reads back what the call of this context made. Where ZFS says that it
// failed, there may be something all the same: created and not mounted, say.
func (c client) readMade(ctx context.Context, what string, name Dataset, failure error) (Made, error) {
	if runEnds(ctx, failure) {
		return Made{}, failure // the run ends: resume looks what came of it
	}
	out, found, err := c.findMade(ctx, name)
	switch f := builtin.AsFault(failure); {
	case err != nil:
		return Made{}, err
	case f != nil && found:
		f.Partial = out
		f.What += ": it is there now"
		return out, f
	case f != nil:
		return Made{}, f
	case !found:
		return Made{}, builtin.Faultf(builtin.Failed, "%s", what).Saying("ZFS said that it was done, and it is not there").
			Hinting("does something else destroy or rename datasets there? zpool history -i says what was done")
	}
	return out, nil
}

// findMade looks for what the call of this context made: it carries its mark.
func (c client) findMade(ctx context.Context, name Dataset) (out Made, found bool, err error) {
	call := builtin.CallFrom(ctx)
	line := []Dataset{}
	for i := range len(name) {
		if name[i] == '/' {
			line = append(line, name[:i])
		}
	}
	there, err := c.existingDatasets(ctx, append(line, name))
	if err != nil {
		return Made{}, false, err
	}
	out.Parents = []Dataset{}
	for _, d := range there {
		if !d.Ours || d.mark.Run != call.Run.ID || d.mark.Place != string(call.Place) {
			continue
		}
		if d.Name == name {
			out.Dataset, found = d, true
		} else {
			out.Parents = append(out.Parents, d.Name)
		}
	}
	slices.Sort(out.Parents)
	return out, found, nil
}

// settleMade: what the call made carries its mark.
func (c client) settleMade(ctx context.Context, name Dataset) (builtin.Settlement[Made], error) {
	out, found, err := c.findMade(ctx, name)
	if err != nil {
		return builtin.Settlement[Made]{}, err
	}
	if !found {
		return builtin.Settlement[Made]{State: builtin.NotDone}, nil
	}
	return builtin.Settlement[Made]{State: builtin.Done, Result: out}, nil
}

func (c client) settleCreate(ctx context.Context, a CreateArgs, _ string) (builtin.Settlement[Made], error) {
	return c.settleMade(ctx, a.Dataset)
}
