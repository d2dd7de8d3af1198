package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// withKey runs a command that reads a key from its standard input, and nowhere
// else does the key go: not into arguments, the environment, a file or a log.
func (c client) withKey(ctx context.Context, what string, key builtin.Secret, argv ...string) error {
	text, err := key.Reveal(ctx)
	if err != nil {
		return err
	}
	_, err = c.input(ctx, what, strings.NewReader(text), argv...)
	return err
}

// LoadKeyArgs are the arguments of load_key.
type LoadKeyArgs struct {
	Dataset   Dataset        `name:"dataset" scope:"dataset" doc:"the encrypted dataset whose key it is"`
	Key       builtin.Secret `name:"key" default:"" doc:"secret(\"NAME\"): the passphrase, or the key in hexadecimal; without it, the key is read from where keylocation says"`
	Recursive bool           `name:"recursive" default:"false" deep:"true" doc:"and those of all below it that have keys of their own; with key, it must be that of each"`
}

func (a LoadKeyArgs) what() string { return "loading the key of " + string(a.Dataset) }

func (a LoadKeyArgs) keys() []string { return poolKeys([]Dataset{a.Dataset}) }

// KeyResult is what load_key and unload_key left.
type KeyResult struct {
	Dataset Dataset   `name:"dataset" doc:"the dataset that was named"`
	Roots   []Dataset `name:"roots" doc:"the datasets whose keys were loaded, or unloaded; not those that were so already"`
}

// keyRoots are the datasets with keys of their own (encryptionroot), and which
// of them are locked.
func (c client) keyRoots(ctx context.Context, what string, d Dataset, recursive bool) (roots, locked []Dataset, err error) {
	real, err := c.realName(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	if real == "" {
		stop := builtin.Stopf(builtin.PlanEnds, "the dataset %s is only planned, and its key is not known before", d)
		stop.At = builtin.CallFrom(ctx).At
		return nil, nil, stop
	}
	argv := []string{"zfs", "list", "-Hp", "-t", "filesystem,volume", "-o", "name,encryptionroot,keystatus"}
	if recursive {
		argv = append(argv, "-r")
	}
	root := ""
	err = c.rows(ctx, what, 3, func(row [][]byte) error {
		name := Dataset(row[0])
		if name == real {
			root = text(row[1])
		}
		if string(row[1]) != string(name) {
			return nil
		}
		name = d + name[len(real):]
		roots = append(roots, name)
		if string(row[2]) == "unavailable" {
			locked = append(locked, name)
		}
		return nil
	}, append(argv, string(real))...)
	switch {
	case err != nil:
		return nil, nil, err
	case len(roots) == 0 && root != "":
		return nil, nil, builtin.Faultf(builtin.Invalid, "%s", what).Saying("its key is that of "+root).Hinting("name that one: %s", root)
	case len(roots) == 0:
		return nil, nil, builtin.Faultf(builtin.Invalid, "%s", what).Saying("it is not encrypted").Hinting("zfs.dataset(%q).encryption", d)
	}
	return roots, locked, nil
}

func (a LoadKeyArgs) argv(root Dataset, options ...string) []string {
	argv := append([]string{"zfs", "load-key"}, options...)
	if a.Key.Name() != "" {
		argv = append(argv, "-L", "prompt")
	}
	return append(argv, string(root))
}

// load loads one key, or has ZFS try it (-n).
func (c client) load(ctx context.Context, a LoadKeyArgs, root Dataset, options ...string) error {
	what := "loading the key of " + string(root)
	if a.Key.Name() != "" {
		return c.withKey(ctx, what, a.Key, a.argv(root, options...)...)
	}
	_, err := c.output(ctx, what, a.argv(root, options...)...)
	return err
}

// previewLoadKey has ZFS try the key of each that is locked.
func (c client) previewLoadKey(ctx context.Context, a LoadKeyArgs) (KeyResult, error) {
	_, locked, err := c.keyRoots(ctx, a.what(), a.Dataset, a.Recursive)
	if err != nil {
		return KeyResult{}, err
	}
	for _, root := range locked {
		real, err := c.realName(ctx, root)
		if err != nil {
			return KeyResult{}, err
		}
		if err := c.load(ctx, a, real, "-n"); err != nil {
			return KeyResult{}, err
		}
	}
	planLocked(ctx, locked, false)
	return KeyResult{a.Dataset, append([]Dataset{}, locked...)}, nil
}

// planLocked: what has its key from above is locked and unlocked with it. ZFS
// says which that is only where it is loaded, so that names must do.
func planLocked(ctx context.Context, roots []Dataset, locked bool) {
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo {
		for i := range list {
			d := &list[i]
			if d.Encryption != "" && slices.ContainsFunc(roots, func(root Dataset) bool { return d.Name.In(root) }) {
				d.Locked = locked
			}
		}
		return list
	})
}

func (c client) loadKey(ctx context.Context, a LoadKeyArgs) (KeyResult, error) {
	_, locked, err := c.keyRoots(ctx, a.what(), a.Dataset, a.Recursive)
	if err != nil {
		return KeyResult{}, err
	}
	var failure error
	for _, root := range locked {
		if failure = c.load(ctx, a, root); failure != nil {
			break
		}
	}
	return c.readKeys(ctx, a.what(), a.Dataset, a.Recursive, locked, false, failure)
}

// readKeys reads back which keys are loaded now, and were not, or the other way
// round. A failure carries what was done all the same.
func (c client) readKeys(ctx context.Context, what string, d Dataset, recursive bool, concerned []Dataset, locked bool, failure error) (KeyResult, error) {
	f := builtin.AsFault(failure)
	if runEnds(ctx, failure) {
		return KeyResult{}, failure // the run ends: resume looks what came of it
	}
	_, now, err := c.keyRoots(ctx, what, d, recursive)
	if err != nil {
		return KeyResult{}, err
	}
	out := KeyResult{Dataset: d, Roots: []Dataset{}}
	for _, root := range concerned {
		if slices.Contains(now, root) == locked {
			out.Roots = append(out.Roots, root)
		}
	}
	if f == nil && len(out.Roots) < len(concerned) {
		f = builtin.Faultf(builtin.Failed, "%s", what).Saying(fmt.Sprintf("ZFS said that it was done, and of %d keys it is so for %d", len(concerned), len(out.Roots))).
			Hinting("does something else load and unload keys there? zfs get -r keystatus says how it is now")
	}
	if f != nil {
		f.Partial = out
		return out, f
	}
	return out, nil
}

// settleKeys: the keys are loaded or they are not, and to ask again does no harm.
func (c client) settleLoadKey(ctx context.Context, a LoadKeyArgs, _ string) (builtin.Settlement[KeyResult], error) {
	roots, locked, err := c.keyRoots(ctx, a.what(), a.Dataset, a.Recursive)
	if err != nil || len(locked) > 0 {
		return builtin.Settlement[KeyResult]{State: builtin.NotDone}, err
	}
	return builtin.Settlement[KeyResult]{State: builtin.Done, Result: KeyResult{a.Dataset, roots}}, nil
}

// UnloadKeyArgs are the arguments of unload_key.
type UnloadKeyArgs struct {
	Dataset   Dataset `name:"dataset" scope:"dataset" doc:"the encrypted dataset whose key it is; what uses it must be unmounted"`
	Recursive bool    `name:"recursive" default:"false" deep:"true" doc:"and those of all below it that have keys of their own"`
}

func (a UnloadKeyArgs) what() string { return "unloading the key of " + string(a.Dataset) }

func (a UnloadKeyArgs) keys() []string { return poolKeys([]Dataset{a.Dataset}) }

// unlocked are the keys that are loaded, the deepest first.
func (c client) unlocked(ctx context.Context, a UnloadKeyArgs) ([]Dataset, error) {
	roots, locked, err := c.keyRoots(ctx, a.what(), a.Dataset, a.Recursive)
	out := slices.DeleteFunc(slices.Clone(roots), func(d Dataset) bool { return slices.Contains(locked, d) })
	slices.Reverse(out)
	return out, err
}

func (c client) previewUnloadKey(ctx context.Context, a UnloadKeyArgs) (KeyResult, error) {
	loaded, err := c.unlocked(ctx, a)
	if err != nil {
		return KeyResult{}, err
	}
	list, err := c.datasets(ctx, DatasetsArgs{Under: []Dataset{a.Dataset}, Depth: -1, Type: "filesystem"})
	if err != nil {
		return KeyResult{}, err
	}
	for _, d := range list {
		if d.Mounted && d.Encryption != "" && slices.ContainsFunc(loaded, func(root Dataset) bool { return d.Name.In(root) }) && (a.Recursive || d.Name == a.Dataset) {
			return KeyResult{}, builtin.Faultf(builtin.Busy, "%s", a.what()).Saying(string(d.Name)+" is mounted").Hinting("zfs.unmount(%q)", d.Name)
		}
	}
	planLocked(ctx, loaded, true)
	return KeyResult{a.Dataset, append([]Dataset{}, loaded...)}, nil
}

func (c client) unloadKey(ctx context.Context, a UnloadKeyArgs) (KeyResult, error) {
	loaded, err := c.unlocked(ctx, a)
	if err != nil {
		return KeyResult{}, err
	}
	var failure error
	for _, root := range loaded {
		if _, failure = c.output(ctx, "unloading the key of "+string(root), "zfs", "unload-key", string(root)); failure != nil {
			break
		}
	}
	return c.readKeys(ctx, a.what(), a.Dataset, a.Recursive, loaded, true, failure)
}

func (c client) settleUnloadKey(ctx context.Context, a UnloadKeyArgs, _ string) (builtin.Settlement[KeyResult], error) {
	loaded, err := c.unlocked(ctx, a)
	if err != nil || len(loaded) > 0 {
		return builtin.Settlement[KeyResult]{State: builtin.NotDone}, err
	}
	roots, _, err := c.keyRoots(ctx, a.what(), a.Dataset, a.Recursive)
	return builtin.Settlement[KeyResult]{State: builtin.Done, Result: KeyResult{a.Dataset, roots}}, err
}
