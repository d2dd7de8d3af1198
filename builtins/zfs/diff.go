package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// DiffArgs are the arguments of diff.
type DiffArgs struct {
	Older Snapshot  `name:"older" scope:"dataset" doc:"the snapshot to begin with"`
	Newer *Snapshot `name:"newer" default:"" doc:"a later one of the same file system; None for its present state"`
	Limit int       `name:"limit" default:"1000" doc:"list so many changes at most, and count all; 0 lists all"`
}

// Diff is what changed.
type Diff struct {
	Changes  []Change `name:"changes" volatile:"true" doc:"what changed, in the order in which ZFS meets it"`
	Total    int64    `name:"total" volatile:"true" doc:"how many changes there are, listed or not"`
	Added    int64    `name:"added" volatile:"true" doc:"how many of them are of things that were not there"`
	Removed  int64    `name:"removed" volatile:"true" doc:"how many of them are of things that are gone"`
	Modified int64    `name:"modified" volatile:"true" doc:"how many of them are of things whose content, attributes or links changed"`
	Renamed  int64    `name:"renamed" volatile:"true" doc:"how many of them are of things that were moved"`
}

// Change is what became of one file or other thing.
type Change struct {
	Change  string    `name:"change" doc:"added, removed, modified or renamed"`
	Type    string    `name:"type" doc:"file, directory, symlink, fifo, socket, block, char, door or port"`
	Path    string    `name:"path" doc:"where it is, or was, with the place where the file system is mounted"`
	NewPath string    `name:"new_path" doc:"where it was moved to"`
	Links   int64     `name:"links" doc:"how many hard links it has more, or fewer"`
	Time    time.Time `name:"time" doc:"when its inode changed last, UTC"`
	Escaped bool      `name:"escaped" doc:"a path is not UTF-8, and both are as zfs diff writes them: other bytes as a backslash and four octal digits"`
}

func (a DiffArgs) what() string {
	if a.Newer == nil {
		return "comparing " + string(a.Older) + " with what is now"
	}
	return "comparing " + string(a.Older) + " with " + string(*a.Newer)
}

func (c client) diff(ctx context.Context, a DiffArgs) (Diff, error) {
	if err := c.canDiff(ctx, a); err != nil {
		return Diff{}, err
	}
	// -F the types, -H tabs between the columns, -t the times.
	argv := []string{"zfs", "diff", "-FHt", string(a.Older)}
	if a.Newer != nil {
		argv = append(argv, string(*a.Newer))
	} else {
		argv = append(argv, string(a.Older.Dataset()))
	}
	out := Diff{Changes: []Change{}}
	err := c.runner.Stream(ctx, run.Command{Argv: argv}, func(stdout io.Reader) error {
		return eachChange(stdout, func(ch Change) {
			out.count(ch.Change)
			if a.Limit <= 0 || len(out.Changes) < a.Limit {
				out.Changes = append(out.Changes, ch)
			}
		})
	})
	if err != nil {
		return Diff{}, fault(a.what(), err)
	}
	return out, nil
}

func (d *Diff) count(change string) {
	d.Total++
	switch change {
	case "added":
		d.Added++
	case "removed":
		d.Removed++
	case "renamed":
		d.Renamed++
	default:
		d.Modified++
	}
}

// canDiff looks first: what ZFS says of these cases helps nobody.
func (c client) canDiff(ctx context.Context, a DiffArgs) error {
	of := a.Older.Dataset()
	wrong := func(kind builtin.Kind, said, hint string) error {
		return builtin.Faultf(kind, "%s", a.what()).Saying(said).Hinting("%s", hint)
	}
	if a.Newer != nil && a.Newer.Dataset() != of {
		return wrong(builtin.Invalid, "they are of two datasets", "compare snapshots of one file system")
	}
	d, err := c.dataset(ctx, DatasetArgs{of})
	if err != nil {
		return err
	}
	if d.Type != "filesystem" {
		return wrong(builtin.Invalid, string(of)+" is a volume: ZFS knows nothing of the files in it", "zfs.in_the_way() tells how many bytes were written since; to look inside, make a clone of the snapshot")
	}
	if !d.Mounted {
		return wrong(builtin.Conflict, string(of)+" is not mounted, and ZFS compares mounted file systems only", "mount it: zfs.mount")
	}
	list, err := c.snapshots(ctx, SnapshotsArgs{Datasets: []Dataset{of}})
	if err != nil {
		return err
	}
	older := slices.IndexFunc(list, func(s SnapshotInfo) bool { return s.Snapshot == a.Older })
	newer := len(list)
	if a.Newer != nil {
		newer = slices.IndexFunc(list, func(s SnapshotInfo) bool { return s.Snapshot == *a.Newer })
	}
	switch {
	case older < 0:
		return wrong(builtin.NotFound, string(a.Older)+" does not exist", "zfs.snapshots() lists what there is")
	case newer < 0:
		return wrong(builtin.NotFound, string(*a.Newer)+" does not exist", "zfs.snapshots() lists what there is")
	case newer <= older:
		return wrong(builtin.Invalid, string(*a.Newer)+" is not the later one of the two", "name the older one first")
	case !list[older].GUID.Known() || newer < len(list) && !list[newer].GUID.Known():
		return builtin.Stopf(builtin.PlanEnds, "%s: a snapshot of these is only planned, and what it will hold is not known before", a.what())
	}
	return nil
}

// eachChange reads what zfs diff -FHt writes: for each change a line of time,
// sign, type and path between tabs, then for one that was moved the new path,
// and (+1) where the number of links changed.
func eachChange(r io.Reader, each func(Change)) error {
	lines := lineReader{r: r, buffer: make([]byte, 0, 64<<10)}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		ch, err := readChange(string(line))
		if err != nil {
			return builtin.Faultf(builtin.Invalid, "reading what zfs diff says").Saying(quoted(line) + ": " + err.Error()).
				Hinting("zfs version says which OpenZFS this is; nixmox follows 2.1 to 2.3")
		}
		each(ch)
	}
}

var changeSigns = map[string]string{"+": "added", "-": "removed", "M": "modified", "R": "renamed"}

var changeTypes = map[string]string{"F": "file", "/": "directory", "@": "symlink", "|": "fifo", "=": "socket", "B": "block", "C": "char", ">": "door", "P": "port"}

func readChange(line string) (Change, error) {
	columns := strings.Split(line, "\t")
	if len(columns) < 4 || len(columns) > 5 {
		return Change{}, fmt.Errorf("it has %d columns", len(columns))
	}
	ch := Change{Change: changeSigns[columns[1]], Type: changeTypes[columns[2]]}
	var err error
	switch {
	case ch.Change == "" || ch.Type == "":
		return Change{}, fmt.Errorf("%q of %q is no change that is known", columns[1], columns[2])
	case len(columns) == 5 && ch.Change == "modified":
		ch.Links, err = readLinks(columns[4])
	case len(columns) == 5 != (ch.Change == "renamed"):
		return Change{}, fmt.Errorf("it has %d columns", len(columns))
	}
	if err != nil {
		return Change{}, err
	}
	if ch.Time, err = readStamp(columns[0]); err != nil {
		return Change{}, err
	}
	ch.Path = columns[3]
	if ch.Change == "renamed" {
		ch.NewPath = columns[4]
	}
	return ch, ch.unescape()
}
