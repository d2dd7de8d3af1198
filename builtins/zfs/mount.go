package zfs

import (
	"context"
	"fmt"
	"slices"

	"nixmox/engine/builtin"
)

// MountResult is what mount and unmount left.
type MountResult struct {
	Dataset    Dataset   `name:"dataset" doc:"the file system"`
	Mountpoint string    `name:"mountpoint" doc:"where it is to be mounted"`
	Mounted    bool      `name:"mounted" doc:"whether it is"`
	Below      []Dataset `name:"below" doc:"what is below it and was unmounted with it"`
}

// checkMount looks at the file system. What is asked of it may be so already.
func (c client) checkMount(ctx context.Context, what string, d Dataset) (DatasetInfo, error) {
	info, err := c.dataset(ctx, DatasetArgs{Dataset: d})
	if err != nil {
		return info, err
	}
	f := builtin.Faultf(builtin.Invalid, "%s", what)
	switch {
	case info.Type != "filesystem":
		return info, f.Saying("it is a volume, which is not mounted").Hinting("its device is /dev/zvol/%s", d)
	case info.Mountpoint == "none" || info.Mountpoint == "legacy":
		return info, f.Saying("its mountpoint is "+info.Mountpoint).Hinting("zfs.set(%q, mountpoint = \"/…\"); one that is legacy is mount(8)'s and /etc/fstab's", d)
	}
	return info, nil
}

func (c client) previewMount(ctx context.Context, a DatasetArgs) (MountResult, error) {
	what := "mounting " + string(a.Dataset)
	d, err := c.checkMount(ctx, what, a.Dataset)
	if err == nil && d.Locked {
		err = builtin.Faultf(builtin.Forbidden, "%s", what).Saying("its key is not loaded").Hinting("zfs.load_key(%q)", a.Dataset)
	}
	if err != nil {
		return MountResult{}, err
	}
	planMounted(ctx, []Dataset{a.Dataset}, true)
	return MountResult{a.Dataset, d.Mountpoint, true, []Dataset{}}, nil
}

func planMounted(ctx context.Context, datasets []Dataset, mounted bool) {
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo {
		for i := range list {
			if slices.Contains(datasets, list[i].Name) {
				list[i].Mounted = mounted
			}
		}
		return list
	})
}

func (c client) mount(ctx context.Context, a DatasetArgs) (MountResult, error) {
	what := "mounting " + string(a.Dataset)
	d, err := c.checkMount(ctx, what, a.Dataset)
	if err != nil {
		return MountResult{}, err
	}
	if !d.Mounted {
		if _, err := c.output(ctx, what, "zfs", "mount", string(a.Dataset)); err != nil {
			return MountResult{}, err
		}
	}
	return c.readMounted(ctx, what, a, true, nil)
}

func (c client) readMounted(ctx context.Context, what string, a DatasetArgs, want bool, below []Dataset) (MountResult, error) {
	d, err := c.dataset(ctx, a)
	if err != nil {
		return MountResult{}, err
	}
	if d.Mounted != want {
		return MountResult{}, builtin.Faultf(builtin.Failed, "%s", what).Saying(fmt.Sprintf("ZFS said that it was done, and mounted is %v", d.Mounted)).
			Hinting("does something else mount and unmount there? findmnt -t zfs says what is mounted")
	}
	return MountResult{a.Dataset, d.Mountpoint, d.Mounted, append([]Dataset{}, below...)}, nil
}

// settleMount: it is mounted or it is not, and to ask again does no harm.
func (c client) settleMount(ctx context.Context, a DatasetArgs, _ string) (builtin.Settlement[MountResult], error) {
	return c.settleMounted(ctx, a, true)
}

func (c client) settleMounted(ctx context.Context, a DatasetArgs, want bool) (builtin.Settlement[MountResult], error) {
	d, err := c.dataset(ctx, a)
	if err != nil || d.Mounted != want {
		return builtin.Settlement[MountResult]{State: builtin.NotDone}, err
	}
	return builtin.Settlement[MountResult]{State: builtin.Done, Result: MountResult{a.Dataset, d.Mountpoint, d.Mounted, []Dataset{}}}, nil
}

// mountedBelow is what zfs unmount takes with the dataset.
func (c client) mountedBelow(ctx context.Context, d Dataset) ([]Dataset, error) {
	list, err := c.datasets(ctx, DatasetsArgs{Under: []Dataset{d}, Depth: -1, Type: "filesystem"})
	out := []Dataset{}
	for _, below := range list {
		if below.Mounted && below.Name != d {
			out = append(out, below.Name)
		}
	}
	return out, err
}

func (c client) previewUnmount(ctx context.Context, a DatasetArgs) (MountResult, error) {
	d, err := c.checkMount(ctx, "unmounting "+string(a.Dataset), a.Dataset)
	if err != nil {
		return MountResult{}, err
	}
	below := []Dataset{}
	if d.Mounted {
		if below, err = c.mountedBelow(ctx, a.Dataset); err != nil {
			return MountResult{}, err
		}
	}
	planMounted(ctx, append(slices.Clone(below), a.Dataset), false)
	return MountResult{a.Dataset, d.Mountpoint, false, below}, nil
}

func (c client) unmount(ctx context.Context, a DatasetArgs) (MountResult, error) {
	what := "unmounting " + string(a.Dataset)
	d, err := c.checkMount(ctx, what, a.Dataset)
	if err != nil {
		return MountResult{}, err
	}
	if !d.Mounted {
		return c.readMounted(ctx, what, a, false, nil)
	}
	before, err := c.mountedBelow(ctx, a.Dataset)
	if err != nil {
		return MountResult{}, err
	}
	if _, err := c.output(ctx, what, "zfs", "unmount", string(a.Dataset)); err != nil {
		return MountResult{}, err
	}
	after, err := c.mountedBelow(ctx, a.Dataset)
	if err != nil {
		return MountResult{}, err
	}
	gone := slices.DeleteFunc(before, func(d Dataset) bool { return slices.Contains(after, d) })
	return c.readMounted(ctx, what, a, false, gone)
}

func (c client) settleUnmount(ctx context.Context, a DatasetArgs, _ string) (builtin.Settlement[MountResult], error) {
	return c.settleMounted(ctx, a, false)
}
