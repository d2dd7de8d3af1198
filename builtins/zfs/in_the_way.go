package zfs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/owner"
	"nixmox/engine/builtin"
)

// InTheWayArgs are the arguments of in_the_way.
type InTheWayArgs struct {
	Snapshot Snapshot `name:"snapshot" scope:"dataset" doc:"the snapshot to go back to"`
}

// InTheWay is what a rollback to a snapshot would lose, and what it would meet.
type InTheWay struct {
	Snapshot  SnapshotIdentity `name:"snapshot" doc:"the snapshot to go back to"`
	Dataset   Dataset          `name:"dataset" doc:"of what it is"`
	Type      string           `name:"type" doc:"filesystem or volume"`
	Free      bool             `name:"free" doc:"nothing is in the way: a rollback loses only what was written since"`
	Later     []LaterSnapshot  `name:"later" doc:"snapshots that were taken since, whoever took them, oldest first"`
	Bookmarks []LaterBookmark  `name:"bookmarks" doc:"bookmarks of later snapshots: where an incremental send may begin"`
	Written   int64            `name:"written" volatile:"true" doc:"bytes that were written since, and would be lost"`
	Guest     int              `name:"guest" doc:"the Proxmox guest whose volume it is by its name; 0 if it is none's"`
	Mounted   bool             `name:"mounted" volatile:"true" doc:"it is mounted, and stays so; files that are open then can no longer be read or written"`
	Below     []Dataset        `name:"below" doc:"datasets below it, which a rollback leaves as they are"`
	Why       []string         `name:"why" doc:"what is in the way, in words"`
	Ways      []Way            `name:"ways" doc:"what could be done: rollback, rollback_destroying, roll_forward, clone"`
}

// LaterSnapshot is one that was taken after the one to go back to.
type LaterSnapshot struct {
	Snapshot Snapshot            `name:"snapshot" doc:"its whole name"`
	GUID     builtin.Later[GUID] `name:"guid" doc:"its identity"`
	Created  time.Time           `name:"created" volatile:"planned" doc:"when it was taken, UTC"`
	Owner    string              `name:"owner" doc:"who took it, as far as its mark and its name tell: nixmox, sanoid, replication or another tool's name, perhaps Proxmox for a guest's, or other"`
	Ours     bool                `name:"ours" doc:"nixmox took it"`
	Holds    []string            `name:"holds" doc:"the names of its holds"`
	Clones   []string            `name:"clones" doc:"datasets that are clones of it"`
}

// LaterBookmark is one of a later snapshot, which may be gone itself.
type LaterBookmark struct {
	Bookmark Bookmark  `name:"bookmark" doc:"its whole name"`
	GUID     GUID      `name:"guid" doc:"the identity of the snapshot that it stands for"`
	Created  time.Time `name:"created" doc:"when that was taken, UTC"`
	Owner    string    `name:"owner" doc:"who made it, as far as its name tells: a tool's name, or other"`
}

// Way is something that could be done to have the old state back.
type Way struct {
	Way      string `name:"way" doc:"rollback; rollback_destroying: zfs.rollback with destroy_later; roll_forward: a clone takes the dataset's place, which stays beside it with all its snapshots; clone: look at the old state beside the new"`
	Possible bool   `name:"possible" doc:"whether it is"`
	Why      string `name:"why" doc:"why it is not"`
}

func (c client) inTheWay(ctx context.Context, a InTheWayArgs) (InTheWay, error) {
	what := "looking what is in the way of " + string(a.Snapshot)
	dataset := a.Snapshot.Dataset()
	var there []listed
	err := c.eachSnapshot(ctx, []Dataset{dataset}, false, false, func(l listed) error { there = append(there, l); return nil })
	if err != nil {
		return InTheWay{}, err
	}
	infos := make([]SnapshotInfo, len(there))
	for i := range there {
		infos[i] = there[i].info()
	}
	infos = sorted(plannedSnapshots(ctx, infos, SnapshotsArgs{Datasets: []Dataset{dataset}}))
	at := slices.IndexFunc(infos, func(s SnapshotInfo) bool { return s.Snapshot == a.Snapshot })
	if at < 0 {
		return InTheWay{}, builtin.Faultf(builtin.NotFound, "%s", what).Saying("there is no such snapshot").Hinting("zfs.snapshots([%q]) lists what there is", dataset)
	}
	around, err := c.datasets(ctx, DatasetsArgs{Under: []Dataset{dataset}, Depth: -1, Type: "any"})
	if err != nil {
		return InTheWay{}, err
	}
	if len(around) == 0 || around[0].Name != dataset {
		return InTheWay{}, builtin.Faultf(builtin.NotFound, "%s", what).Saying(string(dataset) + " is gone").Hinting("zfs.datasets() lists what there is")
	}
	out := InTheWay{
		Snapshot: infos[at].identity(), Dataset: dataset, Type: around[0].Type, Mounted: around[0].Mounted,
		Later: []LaterSnapshot{}, Bookmarks: []LaterBookmark{}, Below: []Dataset{}, Why: []string{},
	}
	if id, isVolume := guestOf(dataset); isVolume {
		out.Guest = int(id)
	}
	for _, d := range around[1:] {
		out.Below = append(out.Below, d.Name)
	}
	if out.Later, err = c.later(ctx, infos[at+1:], there); err != nil {
		return InTheWay{}, err
	}
	if infos[at].Txg.Known() {
		if out.Bookmarks, err = c.laterBookmarks(ctx, dataset, infos[at].Txg.Value); err != nil {
			return InTheWay{}, err
		}
		if out.Written, err = c.writtenSince(ctx, a.Snapshot); err != nil {
			return InTheWay{}, err
		}
	}
	out.assess()
	return out, nil
}

// later says of later snapshots whose they are and what uses them.
func (c client) later(ctx context.Context, infos []SnapshotInfo, there []listed) ([]LaterSnapshot, error) {
	byName := map[Snapshot]listed{}
	for _, l := range there {
		byName[l.snapshot] = l
	}
	var real []listed
	for _, s := range infos {
		if l, ok := byName[s.Snapshot]; ok {
			real = append(real, l)
		}
	}
	held, cloned := inUse(real)
	uses, err := c.uses(ctx, held, cloned)
	if err != nil {
		return nil, err
	}
	out := []LaterSnapshot{}
	for _, s := range infos {
		_, isVolume := guestOf(s.Dataset)
		whose := owner.Of(string(s.Name), s.Ours)
		if whose == "" && isVolume {
			whose = "perhaps Proxmox"
		}
		u := uses[s.Snapshot]
		if s.Holds == 0 {
			u.tags = nil // a plan's call releases them
		} else if len(u.tags) == 0 {
			u.tags = []string{"(planned)"}
		}
		out = append(out, LaterSnapshot{
			Snapshot: s.Snapshot, GUID: s.GUID, Created: s.Created, Owner: cmp.Or(whose, "other"), Ours: s.Ours,
			Holds: append([]string{}, u.tags...), Clones: append([]string{}, u.clones...),
		})
	}
	return out, nil
}

// plannedBookmarksGone is the key of a plan's overlay: names of bookmarks that
// planned rollbacks destroy.
const plannedBookmarksGone = "zfs.bookmarks-gone"

// laterBookmarks are those of snapshots that were taken after a transaction. A
// bookmark of the very snapshot to go back to survives.
func (c client) laterBookmarks(ctx context.Context, of Dataset, txg uint64) ([]LaterBookmark, error) {
	out := []LaterBookmark{}
	gone := builtin.CallFrom(ctx).Run.Planned.Entries(plannedBookmarksGone)
	err := c.rows(ctx, "listing the bookmarks of "+string(of), 4, func(row [][]byte) error {
		t, err := readTxg(row[2])
		if err != nil || t <= txg || slices.Contains(gone, any(Bookmark(row[0]))) {
			return err
		}
		created, err := readTime(row[3], "creation")
		b := LaterBookmark{Bookmark: Bookmark(row[0]), GUID: GUID(row[1]), Created: created}
		_, name, _ := strings.Cut(string(b.Bookmark), "#")
		b.Owner = cmp.Or(owner.Of(name, false), "other")
		out = append(out, b)
		return err
	}, "zfs", "list", "-Hp", "-t", "bookmark", "-d", "1", "-o", "name,guid,createtxg,creation", string(of))
	if err != nil {
		return nil, err
	}
	return out, nil
}

// writtenSince is how much was written since a snapshot.
func (c client) writtenSince(ctx context.Context, s Snapshot) (n int64, err error) {
	what := "looking what was written since " + string(s)
	seen := false
	err = c.rows(ctx, what, 1, func(row [][]byte) error {
		seen = len(row[0]) > 0 && row[0][0] != '-' // which stands for no such snapshot
		n, err = readInt(row[0], "written")
		return err
	}, "zfs", "get", "-Hp", "-o", "value", "written@"+s.Name(), string(s.Dataset()))
	if err == nil && !seen {
		err = builtin.Faultf(builtin.NotFound, "%s", what).Saying("there is no such snapshot").Hinting("zfs.snapshots([%q]) lists what there is", s.Dataset())
	}
	return n, err
}

// held and cloned are the later snapshots that cannot be destroyed.
func (w *InTheWay) held() (out []string) {
	for _, s := range w.Later {
		if len(s.Holds) > 0 {
			out = append(out, fmt.Sprintf("%s is held (%s)", s.Snapshot, some(s.Holds)))
		}
	}
	return out
}

func (w *InTheWay) cloned() (out []string) {
	for _, s := range w.Later {
		if len(s.Clones) > 0 {
			out = append(out, fmt.Sprintf("%s has clones (%s)", s.Snapshot, some(s.Clones)))
		}
	}
	return out
}

// owners are the later snapshots and bookmarks, by whose they are.
func (w *InTheWay) owners() []string {
	of := map[string][]string{}
	for _, s := range w.Later {
		of[s.Owner] = append(of[s.Owner], "@"+s.Snapshot.Name())
	}
	for _, b := range w.Bookmarks {
		_, name, _ := strings.Cut(string(b.Bookmark), "#")
		of[b.Owner] = append(of[b.Owner], "#"+name)
	}
	var out []string
	for _, whose := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf("%s (%s)", some(of[whose]), whose))
	}
	return out
}

func (w *InTheWay) guestSays() string {
	return fmt.Sprintf("it is a volume of the Proxmox guest %d, whose configuration and other volumes would stay as they are", w.Guest)
}

// assess says in words what is in the way, and what could be done.
func (w *InTheWay) assess() {
	if len(w.Later)+len(w.Bookmarks) > 0 {
		w.Why = append(w.Why, fmt.Sprintf("%d later snapshots and %d bookmarks: %s", len(w.Later), len(w.Bookmarks), strings.Join(w.owners(), "; ")))
	}
	w.Why = append(append(w.Why, w.held()...), w.cloned()...)
	var way, destroying, forward string
	if len(w.Later)+len(w.Bookmarks) > 0 {
		way = "later snapshots or bookmarks are in the way"
	}
	destroying = strings.Join(append(w.held(), w.cloned()...), "; ")
	if w.Guest != 0 {
		w.Why = append(w.Why, w.guestSays())
		way, destroying, forward = w.guestSays(), w.guestSays(), w.guestSays()
	}
	switch {
	case !strings.Contains(string(w.Dataset), "/"):
		forward = cmp.Or(forward, "a pool's own dataset cannot be renamed")
	case len(w.Below) > 0:
		forward = cmp.Or(forward, fmt.Sprintf("%d datasets below it would go with it: roll those forward one by one", len(w.Below)))
	}
	w.Free = way == ""
	w.Ways = []Way{
		{"rollback", way == "", way},
		{"rollback_destroying", destroying == "", destroying},
		{"roll_forward", forward == "", forward},
		{"clone", true, ""},
	}
}
