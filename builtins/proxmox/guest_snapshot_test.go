package proxmox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

func names(list []Snapshot) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.Repeat(">", s.Depth)+s.Name)
	}
	return out
}

func TestSnapshotsAsATree(t *testing.T) {
	list := asTree([]Snapshot{
		{Name: "c", Parent: "b", Time: at(3)}, {Name: "b", Parent: "a", Time: at(2)}, {Name: "a", Time: at(1)}, {Name: "d", Parent: "a", Time: at(4)},
		{Name: "orphan", Parent: "gone", Time: at(5)}, {Name: "x", Parent: "y", Time: at(6)}, {Name: "y", Parent: "x", Time: at(7)},
	})
	if got := strings.Join(names(list), " "); got != "a >b >>c >d orphan x y" {
		t.Error(got)
	}
	if !slices.Equal(list[0].Children, []string{"b", "d"}) {
		t.Errorf("%q", list[0].Children)
	}
}

func TestSnapshotNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"before-upgrade": true, "a1": true, "a": false, "1a": false, "a:b": false, "auto_2026-11-23_10:00": false, strings.Repeat("a", 40): true,
		strings.Repeat("a", 41): false, "current": false, "vzdump": false, "pending": false, "__replicate_100-0_1__": false, "x\n": false,
	} {
		var n NewSnapshotName
		if err := n.UnmarshalText([]byte(name)); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	var n SnapshotName // what is there may be named so
	if err := n.UnmarshalText([]byte("vzdump")); err != nil {
		t.Error(err)
	}
}

func TestSnapshotsAndRollback(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	one := do[SnapshotResult](u, "snapshot", args{"guest": 103, "name": "one", "description": "before | the upgrade\nsecond line", "ram": true})
	if !one.RAM || !one.Ours || one.Run != u.run.ID || one.Playbook != "upgrade" || !one.Current ||
		!strings.HasPrefix(one.Description, "before | the upgrade | nixmox: v=1 run="+u.run.ID) || !strings.HasSuffix(one.Description, "\nsecond line") {
		t.Errorf("%+v", one)
	}
	u.refused(builtin.Conflict, "made by nixmox", "snapshot", args{"guest": 103, "name": "one"})
	do[SetResult](u, "set", args{"guest": 103, "tags": "new"})
	do[SnapshotResult](u, "snapshot", args{"guest": 103, "name": "two"})
	if list := do[[]Snapshot](u, "snapshots", args{"guest": 103}); strings.Join(names(list), " ") != "one >two" || !list[1].Current {
		t.Errorf("%+v", list)
	}
	if config := do[map[string]any](u, "config", args{"guest": 103, "snapshot": "one"}); config["tags"] != nil || config["vmstate"] == nil {
		t.Errorf("%v", config)
	}
	// ZFS: what stands in the way is named, by owner, and nothing is done.
	f := u.refused(builtin.Conflict, "two (made by nixmox)", "rollback", args{"guest": 103, "snapshot": "one"})
	if !strings.Contains(f.Hint, `proxmox.delete_snapshot(103, "two")`) {
		t.Error(f.Hint)
	}
	do[DeleteSnapshotResult](u, "delete_snapshot", args{"guest": 103, "name": "two"})
	r := do[RollbackResult](u, "rollback", args{"guest": 103, "snapshot": "one"})
	if r.Status != running || u.guest(103).Config["tags"] != "" {
		t.Errorf("%+v %v", r, u.guest(103).Config)
	}
	// Of another tool, which Proxmox does not know.
	if err := u.lab.AddForeignSnapshot(103, "autosnap_2026-11-23_daily"); err != nil {
		t.Fatal(err)
	}
	u.refused(builtin.Conflict, "zfs list -t snapshot", "rollback", args{"guest": 103, "snapshot": "one"})
	// Of replication, which Proxmox removes by itself, and says so.
	do[SnapshotResult](u, "snapshot", args{"guest": 110, "name": "one"})
	if err := u.lab.AddForeignSnapshot(110, "__replicate_110-0_1795435617__"); err != nil {
		t.Fatal(err)
	}
	if r := do[RollbackResult](u, "rollback", args{"guest": 110, "snapshot": "one", "start": true}); len(r.Warnings.Value) != 1 || !strings.Contains(r.Warnings.Value[0], "__replicate_") {
		t.Errorf("%+v", r)
	}
}

func TestSnapshotRefused(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.refused(builtin.Conflict, "hostpci0", "snapshot", args{"guest": 102, "name": "one", "ram": true})
	u.refused(builtin.Invalid, "container", "snapshot", args{"guest": 101, "name": "one", "ram": true})
	u.refused(builtin.Conflict, "snapshot feature is not available", "snapshot", args{"guest": 107, "name": "one"})
	u.refused(builtin.Conflict, "template", "snapshot", args{"guest": 9000, "name": "one"})
	u.refused(builtin.Invalid, "control characters", "snapshot", args{"guest": 103, "name": "one", "description": "\x1b[2J"})
	u.refused(builtin.NotFound, "no snapshot nix", "rollback", args{"guest": 100, "snapshot": "nix"})
	u.refused(builtin.NotFound, "no snapshot nix", "delete_snapshot", args{"guest": 100, "name": "nix"})
	if u.count("POST")+u.count("DELETE") != 0 {
		t.Error("something was asked for")
	}
	if r := do[SnapshotResult](u, "snapshot", args{"guest": 108, "name": "off", "ram": true}); r.RAM {
		t.Errorf("the memory of a stopped VM: %+v", r)
	}
}

// Between the decision and the deed the world changes: nothing is done.
func TestWhatWasDecidedIsNotThereAnyMore(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		step
		meanwhile []step
	}{
		{step{"rollback", args{"guest": 100, "snapshot": "before-upgrade"}}, []step{{"snapshot", args{"guest": 100, "name": "new"}}}},
		{step{"rollback", args{"guest": 100, "snapshot": "before-upgrade"}}, []step{{"set", args{"guest": 100, "tags": "other"}}}},
		{step{"delete_snapshot", args{"guest": 100, "name": "before-upgrade"}},
			[]step{{"delete_snapshot", args{"guest": 100, "name": "before-upgrade"}}, {"snapshot", args{"guest": 100, "name": "before-upgrade"}}}},
		{step{"destroy", args{"guest": 108}}, []step{{"set", args{"guest": 108, "scsi1": "rpool:8"}}}},
		{step{"destroy", args{"guest": 108}}, []step{{"start", args{"guest": 108}}}},
		{step{"prune_snapshots", args{"guests": []any{100}, "keep": map[string]any{"last": 1}}}, []step{{"snapshot", args{"guest": 100, "name": "new"}}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			c := u.prepare(x.name, x.args)
			d, err := c.Func.Decide(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			c.Decision = d
			for _, m := range x.meanwhile {
				if _, err := u.call(m.name, m.args); err != nil {
					t.Fatal(err)
				}
			}
			before := len(u.lab.Tasks())
			_, err = u.perform(c)
			u.isFault(err, builtin.Conflict, "")
			if len(u.lab.Tasks()) != before {
				t.Error("a task was begun")
			}
		})
	}
}

func TestPruneSnapshots(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	for _, name := range []string{"s1", "s2", "s3", "s4"} {
		do[SnapshotResult](u, "snapshot", args{"guest": 100, "name": name})
		u.lab.Advance(24 * 3600e9)
	}
	prune := args{"guests": []any{100, 103}, "keep": map[string]any{"last": 2}}
	// The first deletion fails: what went is told, and it can be done again.
	u.fault("api:DELETE /nodes/*=500*1")
	f := u.refused(builtin.Failed, "0 of 2 are gone", "prune_snapshots", prune)
	if r := f.Partial.(PruneSnapshotsResult); len(r.Removed) != 0 || len(r.Kept) != 3 {
		t.Errorf("%+v", r)
	}
	// Killed after the first one: the rest, and nothing else, goes.
	c := u.prepare("prune_snapshots", prune)
	c.Decision = must(c.Func.Decide(context.Background(), c))
	do[DeleteSnapshotResult](u, "delete_snapshot", args{"guest": 100, "name": "s1"})
	if s := u.settle(c, ""); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
	out := must(u.perform(c)).(PruneSnapshotsResult)
	if got := names(do[[]Snapshot](u, "snapshots", args{"guest": 100})); strings.Join(got, " ") != "before-upgrade >s3 >>s4" || len(out.Removed) != 2 {
		t.Errorf("%q %+v", got, out)
	}
	if s := u.settle(c, ""); s.State != builtin.Done || s.Fault != nil {
		t.Errorf("%+v", s)
	}
	// What others made is never touched, whatever the rules say.
	if r := do[PruneSnapshotsResult](u, "prune_snapshots", args{"guests": []any{100}, "keep": map[string]any{"last": 1}}); len(r.Removed) != 1 || r.Kept[len(r.Kept)-1].Name != "before-upgrade" {
		t.Errorf("%+v", r)
	}
	// Unless it is told so.
	c = u.prepare("prune_snapshots", args{"guests": []any{100}, "keep": map[string]any{"last": 1}, "unmarked": "before-*"})
	var shown []string
	for _, x := range must(c.Func.Decide(context.Background(), c)).(PruneSnapshotsDecision).Calendar() {
		if x.Group != "guest 100" || x.Time.IsZero() {
			t.Errorf("in the calendar: %+v", x)
		}
		shown = append(shown, fmt.Sprintf("%s %v %s", x.Name, x.Stays, x.Why))
	}
	if want := []string{"s4 true last 1 of 1", "before-upgrade false no rule keeps it: older than the rules reach"}; !slices.Equal(shown, want) {
		t.Errorf("the calendar: %q, want %q", shown, want)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	r := do[SetResult](u, "set", args{"guest": 103, "memory": 2048, "onboot": true, "tags": "edge", "scsi1": "rpool:8", "balloon": nil})
	if !slices.Equal(r.Set, []string{"memory", "scsi1", "tags"}) || !slices.Equal(r.Deleted, []string{"balloon"}) || !slices.Equal(r.Kept, []string{"onboot"}) ||
		!slices.Equal(r.Pending.Value, []string{"balloon", "memory"}) {
		t.Errorf("%+v", r)
	}
	if c := do[map[string]any](u, "config", args{"guest": 103, "pending": false}); c["memory"] != "1024" || c["scsi1"] != "rpool:vm-103-disk-1,size=8G" {
		t.Errorf("%v", c)
	}
	do[PowerResult](u, "reboot", args{"guest": 103})
	if c := do[map[string]any](u, "config", args{"guest": 103, "pending": false}); c["memory"] != "2048" {
		t.Errorf("%v", c)
	}
	// Another hand was faster.
	digest := do[map[string]any](u, "config", args{"guest": 103})["digest"]
	if err := u.lab.ChangeGuest(103, lab.GuestChange{Config: map[string]string{"description": "by hand"}}); err != nil {
		t.Fatal(err)
	}
	u.refused(builtin.Conflict, "digest", "set", args{"guest": 103, "memory": 512, "digest": digest})
	for _, id := range []int{103, 101} {
		g := must(u.c.find(context.Background(), builtin.VMID(id)))
		err := u.c.putConfig(context.Background(), g, map[string]any{"digest": strings.Repeat("0", 40)}, map[string]string{"description": "x"}, nil)
		if f := builtin.AsFault(err); f == nil || f.Kind != builtin.Conflict {
			t.Errorf("%v", err)
		}
	}
	for _, name := range []string{"digest2!", "lock", "delete", "cipassword", "unused0", "skiplock", "force"} {
		u.refused(builtin.Invalid, name, "set", args{"guest": 103, "settings": map[string]any{name: "x"}})
	}
	u.refused(builtin.Invalid, "no setting", "set", args{"guest": 103})
	u.refused(builtin.Invalid, "not defined in schema", "set", args{"guest": 103, "colour": "red"})

	c := u.prepare("set", args{"guest": 103, "memory": 512})
	if _, err := u.perform(c); err != nil {
		t.Fatal(err)
	}
	held := u.handles[len(u.handles)-1]
	if s := u.settle(c, held); s.State != builtin.Done || s.Fault != nil {
		t.Errorf("done: %+v", s)
	}
	if s := u.settle(c, ""); s.State != builtin.NotDone {
		t.Errorf("never sent: %+v", s)
	}
	now := do[map[string]any](u, "config", args{"guest": 103})["digest"].(string)
	disk := u.prepare("set", args{"guest": 103, "scsi2": "rpool:4"})
	if s := u.settle(disk, now); s.State != builtin.NotDone {
		t.Errorf("not done: %+v", s)
	}
	if s := u.settle(disk, held+"x"); s.State != builtin.Unknown {
		t.Errorf("a disk that may have been made: %+v", s)
	}
}

func TestDestroyCloneMigrateRefused(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.refused(builtin.Conflict, "running", "destroy", args{"guest": 103})
	do[SetResult](u, "set", args{"guest": 108, "protection": true})
	u.refused(builtin.Conflict, "protected", "destroy", args{"guest": 108})
	u.refused(builtin.Conflict, "there is a guest 101", "clone", args{"guest": 9000, "new_id": 101})
	u.refused(builtin.Conflict, "no template", "clone", args{"guest": 108, "full": false})
	u.refused(builtin.Invalid, "linked copy", "clone", args{"guest": 9000, "storage": "rpool"})
	u.refused(builtin.NotFound, "pve9", "migrate", args{"guest": 108, "target": "pve9"})
	u.refused(builtin.Conflict, "rpool:vm-103-disk-0", "migrate", args{"guest": 103, "target": "pve1"})
	u.refused(builtin.Conflict, "hostpci0", "migrate", args{"guest": 102, "target": "pve2"})
	u.refused(builtin.Conflict, "running", "migrate", args{"guest": 101, "target": "pve1", "online": false})
	u.refused(builtin.Invalid, "shrink", "resize_disk", args{"guest": 108, "disk": "scsi0", "size": "1G"})
	u.refused(builtin.NotFound, "scsi7", "resize_disk", args{"guest": 108, "disk": "scsi7", "size": "+1G"})
	if n := u.count("POST") + u.count("DELETE"); n != 0 {
		t.Errorf("%d were asked for", n)
	}
	// The id that was free is taken in this moment: the next one is.
	u.fault("task:qmclone=text:unable to create VM 112: config file already exists*1")
	if r := do[CloneResult](u, "clone", args{"guest": 9000, "name": "web3"}); r.Guest.Value != 112 || r.Full || r.Name != "web3" {
		t.Errorf("%+v", r)
	}
	r := do[DestroyResult](u, "destroy", args{"guest": 112})
	if len(r.Disks) != 1 || r.Disks[0].VolID != "rpool:base-9000-disk-0/vm-112-disk-0" || len(r.Warnings.Value) != 0 {
		t.Errorf("%+v", r)
	}
	if _, err := u.call("status", args{"guest": 112}); builtin.AsFault(err) == nil {
		t.Error("it is still there")
	}
}

// A plan knows what it planned, and ends where it cannot know.
func TestPlanEnds(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.planned(func() any {
		do[CloneResult](u, "clone", args{"guest": 9000, "new_id": 300, "name": "web3"})
		if _, err := u.call("guests", args{"select": []any{"web3"}}); err != nil {
			t.Error(err)
		}
		for _, x := range []step{
			{"config", args{"guest": 300}}, {"destroy", args{"guest": 300}}, {"resize_disk", args{"guest": 300, "disk": "scsi0", "size": "+1G"}},
			{"wait_status", args{"guest": 300, "status": "running"}},
		} {
			_, err := u.call(x.name, x.args)
			if stop, ok := errors.AsType[*builtin.Stop](err); !ok || stop.Kind != builtin.PlanEnds {
				t.Errorf("%s: %v", x.name, err)
			}
		}
		u.refused(builtin.Conflict, "there is a guest 300", "clone", args{"guest": 9000, "new_id": 300})
		return nil
	})
}

func at(seconds int64) time.Time { return time.Unix(1_795_000_000+seconds, 0).UTC() }

func FuzzParseSize(f *testing.F) {
	for _, text := range []string{"64G", "+8G", "1.5T", "0", "99999999999999999999", "1e3", "8GiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, more, err := parseSize(text); err == nil && (n < 0 || more != strings.HasPrefix(text, "+")) {
			t.Errorf("%q is %d, %v", text, n, more)
		}
	})
}
