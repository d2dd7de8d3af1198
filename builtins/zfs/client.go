package zfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// client speaks with the ZFS of one machine.
type client struct {
	runner *run.Runner
}

// output runs a command that is short and says little. what is what a Fault
// says was tried.
func (c client) output(ctx context.Context, what string, argv ...string) ([]byte, error) {
	out, err := c.runner.Output(ctx, run.Command{Argv: argv})
	if err != nil {
		return out, fault(what, err)
	}
	return out, nil
}

// input is output for a command that reads a key.
func (c client) input(ctx context.Context, what string, stdin io.Reader, argv ...string) ([]byte, error) {
	out, err := c.runner.Output(ctx, run.Command{Argv: argv, Stdin: stdin})
	if err != nil {
		return out, fault(what, err)
	}
	return out, nil
}

// rows runs a command that prints a line for each thing, columns between
// tabs (-H), and hands them on while it runs: a list of 100,000 snapshots is
// never in memory as text. The columns are of the line's own memory, which the
// next line takes over.
func (c client) rows(ctx context.Context, what string, columns int, each func(row [][]byte) error, argv ...string) error {
	err := c.runner.Stream(ctx, run.Command{Argv: argv}, func(stdout io.Reader) error {
		return eachRow(stdout, columns, each)
	})
	if err != nil {
		return fault(what, err)
	}
	return nil
}

// fault says of a command's end what it was for. What ZFS said decides the
// kind: its commands have one status for everything (1; 2 for a usage that it
// does not know, which is our defect or an OpenZFS that is too old).
func fault(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if f, ok := errors.AsType[*builtin.Fault](err); ok {
		return f
	}
	if missing, ok := errors.AsType[*run.MissingError](err); ok {
		return builtin.Faultf(builtin.NotFound, "%s", what).Because(missing).
			Hinting("run nixmox on a machine with OpenZFS (Debian: zfsutils-linux), or in the simulated estate with --lab")
	}
	ended, ok := errors.AsType[*run.Error](err)
	if !ok {
		return builtin.Faultf(builtin.Failed, "%s", what).Because(err).Hinting("see what the machine's log says: journalctl -k")
	}
	f := builtin.Faultf(builtin.Failed, "%s", what).Saying(ended.Error())
	f.Cause = err
	for _, w := range words {
		if strings.Contains(ended.Stderr, w.says) {
			f.Kind = w.kind
			return f.Hinting("%s", w.hint)
		}
	}
	if ended.Exit == 2 {
		return f.Hinting("this OpenZFS does not know the command %q: nixmox needs 2.1 or later (zfs version)", strings.Join(ended.Argv[:min(2, len(ended.Argv))], " "))
	}
	return f.Hinting("see zpool status and the machine's log: journalctl -k")
}

// words are what OpenZFS says (lib/libzfs/libzfs_util.c, libzfs_error_description
// and its callers), the first that fits.
var words = []struct {
	says string
	kind builtin.Kind
	hint string
}{
	{"dataset does not exist", builtin.NotFound, "zfs.datasets() lists what there is"},
	{"could not find any snapshots", builtin.NotFound, "zfs.snapshots() lists what there is"},
	{"no such pool", builtin.NotFound, "zfs.pools() lists what there is; zpool import shows what could be imported"},
	{"does not exist", builtin.NotFound, "zfs.datasets() and zfs.snapshots() list what there is"},
	{"no such tag", builtin.NotFound, "zfs.holds() lists the holds"},
	{"dataset already exists", builtin.Conflict, "take another name, or see what is there with zfs.datasets() and zfs.snapshots()"},
	{"bookmark exists", builtin.Conflict, "take another name, or see zfs.bookmarks()"},
	{"already exists", builtin.Conflict, "take another name"},
	{"tag already exists", builtin.Conflict, "zfs.holds() lists the holds"},
	{"it's being held", builtin.Busy, "zfs.holds() shows the holds, zfs.release() releases them"},
	{"dataset is busy", builtin.Busy, "see what uses it: zfs.holds(), its clones, mounts and open files (fuser -vm), a zfs send or receive"},
	{"pool or dataset is busy", builtin.Busy, "see what uses it: mounts and open files (fuser -vm)"},
	{"currently scrubbing", builtin.Busy, "zfs.pool_status() shows how far it is"},
	{"permission denied", builtin.Forbidden, "run nixmox as root, or have it allowed: zfs allow"},
	{"Permission denied", builtin.Forbidden, "run nixmox as root, or have it allowed: zfs allow"},
	{"out of space", builtin.Failed, "the pool or a quota is full: zfs.pools(), zfs.dataset(NAME).available"},
	{"has dependent clones", builtin.Busy, "promote the clones (zfs.promote), or destroy them first"},
	{"has children", builtin.Conflict, "see what is in it: zfs.datasets() and zfs.snapshots()"},
	{"conflicting snapshot", builtin.Conflict, "give one of the two another name: zfs.rename_snapshot()"},
	{"currently resilvering", builtin.Busy, "zfs.pool_status() shows how far it is"},
	{"encryption key not loaded", builtin.Forbidden, "zfs.load_key() loads it"},
	{"invalid property", builtin.Invalid, "the properties are those of zfsprops(7); one's own have a colon in their names"},
	{"must be", builtin.Invalid, "zfsprops(7) says what it may be"},
	{"is readonly", builtin.Invalid, "zfsprops(7) says what can be set, and when"},
	{"read-only property", builtin.Invalid, "zfsprops(7) says what can be set"},
	{"property is read-only", builtin.Invalid, "zfsprops(7) says what can be set"},
	{"not apply to datasets of this type", builtin.Invalid, "zfsprops(7) says what file systems have, and what volumes"},
	{"doesn't apply to datasets of this type", builtin.Invalid, "zfsprops(7) says what file systems have, and what volumes"},
	{"bad numeric value", builtin.Invalid, "give a number, with K, M, G or T if you like"},
	{"invalid numeric suffix", builtin.Invalid, "give a number, with K, M, G or T if you like"},
	{"numeric value is too large", builtin.Invalid, "give a smaller one"},
	{"cannot be inherited", builtin.Invalid, "set it: zfs.set(NAME, quota = \"none\"), say"},
	{"name is too long", builtin.Invalid, "the whole name of a snapshot, with its dataset, has at most 255 characters"},
	{"dataset is read-only", builtin.Failed, "zfs.dataset(NAME).readonly, or the pool was imported read-only"},
	{"Key load error", builtin.Forbidden, "it is not the key, or not of the format that the dataset's keyformat says"},
	{"Key unload error", builtin.Busy, "unmount what uses the key first"},
	{"pool I/O is currently suspended", builtin.Unreachable, "the pool lost its devices: zpool status, then zpool clear"},
	{"/dev/zfs and /proc/self/mounts", builtin.Unreachable, "load the kernel's module: modprobe zfs"},
}

// eachRow hands on the lines of r, each taken apart at its tabs. A line with
// another number of columns is an error: then a value holds what no list can
// show, and to guess which column that was could destroy the wrong thing.
func eachRow(r io.Reader, columns int, each func(row [][]byte) error) error {
	row := make([][]byte, columns)
	lines := lineReader{r: r, buffer: make([]byte, 0, 64<<10)}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n := bytes.Count(line, []byte{'\t'}) + 1; n != columns {
			return builtin.Faultf(builtin.Invalid, "reading a list of ZFS").Saying("the line " + quoted(line) + " has other columns than were asked for").
				Hinting("does a property of it hold a tab or a line break? zfs get all shows it")
		}
		for i := range row {
			row[i], line, _ = bytes.Cut(line, []byte{'\t'})
		}
		if err := each(row); err != nil {
			return err
		}
	}
}
