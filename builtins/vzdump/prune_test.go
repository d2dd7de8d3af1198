package vzdump

import (
	"context"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

func keep(counts map[string]any) any { return counts }

var pruneTwo = args{"storage": "backup", "guests": ids(101, 106), "keep": keep(map[string]any{"last": int64(2)})}

func reasons(list []Verdict) string {
	var b strings.Builder
	for _, x := range list {
		b.WriteString(x.VolID.Value.Name() + ": " + x.Reason + "\n")
	}
	return b.String()
}

func TestPruneByRules(t *testing.T) {
	u := newUser(t)
	before := must[[]Archive](u, "backups", args{"storage": "backup"})
	got := must[PruneResult](u, "prune", pruneTwo)
	after := must[[]Archive](u, "backups", args{"storage": "backup"})
	// Of ten archives of each, five are ours, and two stay by the rules.
	if len(got.Removed) != 6 || len(got.Kept) != 14 || len(after) != len(before)-6 {
		t.Fatalf("removed\n%skept\n%s%d of %d are left", reasons(got.Removed), reasons(got.Kept), len(after), len(before))
	}
	for _, a := range before {
		there := slices.ContainsFunc(after, func(b Archive) bool { return b.VolID == a.VolID })
		if removed := slices.ContainsFunc(got.Removed, func(v Verdict) bool { return v.VolID == a.VolID }); removed == there {
			t.Errorf("%s: removed %v, there %v", a.VolID.Value, removed, there)
		} else if removed && (!a.Ours || a.Protected || a.Guest != 101 && a.Guest != 106) {
			t.Errorf("removed %+v", a)
		}
	}
	// A second run has nothing to do, and after a new backup one goes.
	if again := must[PruneResult](u, "prune", pruneTwo); len(again.Removed) != 0 {
		t.Errorf("the second run removed\n%s", reasons(again.Removed))
	}
	must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup"})
	if again := must[PruneResult](u, "prune", pruneTwo); len(again.Removed) != 1 || again.Removed[0].Guest != 101 {
		t.Errorf("after one more backup it removed\n%s", reasons(again.Removed))
	}
}

func TestNewestVerifiedStays(t *testing.T) {
	u := newUser(t)
	ours := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(101), "ours": true})
	volid := string(ours[1].VolID.Value)
	u.mark(u.verify(volid))
	got := must[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101), "keep": keep(map[string]any{"last": int64(1)})})
	if len(got.Removed) != 3 || !strings.Contains(reasons(got.Kept), ours[1].VolID.Value.Name()+": newest verified\n") {
		t.Errorf("removed\n%skept\n%s", reasons(got.Removed), reasons(got.Kept))
	}
}

// Told so, prune removes what others made, too, and never what is protected.
func TestUnmarkedArchivesGoWhenTold(t *testing.T) {
	u := newUser(t)
	of := args{"storage": "backup", "guests": ids(101)}
	before := must[[]Archive](u, "backups", of)
	theirs := slices.IndexFunc(before, func(a Archive) bool { return !a.Ours })
	must[Archive](u, "protect", args{"volid": string(before[theirs].VolID.Value)})
	_, d := u.decided(args{"storage": "backup", "guests": ids(101), "keep": keep(map[string]any{"last": int64(1)}), "unmarked": "vzdump-lxc-*"})
	if len(d.Remove) != len(before)-2 || len(d.Stay) != 2 {
		t.Errorf("removes\n%skeeps\n%s", reasons(d.Remove), reasons(d.Stay))
	}
	var shown []string
	for _, x := range d.Calendar() {
		if x.Group != "guest 101" || x.Time.IsZero() || !strings.HasPrefix(x.Name, "vzdump-lxc-101-") {
			t.Errorf("in the calendar: %+v", x)
		}
		if x.Stays {
			shown = append(shown, x.Why)
		}
	}
	if want := []string{"last 1 of 1", "protected: protected in Proxmox"}; !slices.Equal(shown, want) {
		t.Errorf("stays: %q, want %q", shown, want)
	}
	must[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101), "keep": keep(map[string]any{"last": int64(1)}), "unmarked": "vzdump-lxc-*"})
	if after := must[[]Archive](u, "backups", of); len(after) != 2 {
		t.Errorf("%d archives are left", len(after))
	}
}

func TestAllZeroKeepsAll(t *testing.T) {
	u := newUser(t)
	if got := must[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101), "keep": map[string]any{}}); len(got.Removed) != 0 {
		t.Errorf("removed\n%s", reasons(got.Removed))
	}
}

// decided is a prune that was decided on and is not made yet.
func (u *user) decided(a args) (*builtin.Call, PruneDecision) {
	u.t.Helper()
	c := u.prepare("prune", a)
	d, err := c.Func.Decide(context.Background(), c)
	if err != nil {
		u.t.Fatal(err)
	}
	c.Decision = d
	return c, d.(PruneDecision)
}

func TestListThatChangedIsAConflict(t *testing.T) {
	for name, change := range map[string]func(u *user, d PruneDecision) error{
		"a new archive": func(u *user, _ PruneDecision) error {
			must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup"})
			return nil
		},
		"one that stays is gone":              func(u *user, d PruneDecision) error { return os.Remove(u.fileOf(d.Stay[3])) },
		"one that goes is gone, out of order": func(u *user, d PruneDecision) error { return os.Remove(u.fileOf(d.Remove[1])) },
		"one that goes is another one":        func(u *user, d PruneDecision) error { return replace(u.fileOf(d.Remove[0]), "0123456789") },
		"one that goes is protected now": func(u *user, d PruneDecision) error {
			return os.WriteFile(u.fileOf(d.Remove[4])+".protected", nil, 0o600)
		},
		"one that goes is verified now": func(u *user, d PruneDecision) error {
			volid := string(d.Remove[2].VolID.Value)
			u.mark(u.verify(volid))
			return nil
		},
		"one that goes is not ours any more": func(u *user, d PruneDecision) error { return os.Remove(u.fileOf(d.Remove[4]) + ".notes") },
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			c, d := u.decided(pruneTwo)
			if err := change(u, d); err != nil {
				t.Fatal(err)
			}
			_, err := c.Func.Do(context.Background(), c)
			fault(t, err, builtin.Conflict, "the list has changed since it was decided what goes", "nothing was removed")
			if n := u.deletes(); n != 0 {
				t.Errorf("%d archives were removed", n)
			}
		})
	}
}

func (u *user) fileOf(x Verdict) string {
	return u.file(Archive{VolID: x.VolID, Node: x.Node, Storage: x.VolID.Value.Storage()})
}

func (u *user) deletes() (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range u.requests {
		if x.Method == http.MethodDelete {
			n++
		}
	}
	return n
}

func TestPruneGoesOnWhereItWasKilled(t *testing.T) {
	ctx := context.Background()
	u := newUser(t)
	c, d := u.decided(pruneTwo)
	settle := func() builtin.Settlement[any] {
		s, err := c.Func.Settle(ctx, c, "")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := settle(); s.State != builtin.NotDone {
		t.Errorf("nothing removed: %+v", s)
	}
	for _, x := range d.Remove[:2] {
		if err := os.Remove(u.fileOf(x)); err != nil {
			t.Fatal(err)
		}
	}
	if s := settle(); s.State != builtin.NotDone {
		t.Errorf("two removed: %+v", s)
	}
	out, err := c.Func.Do(ctx, c)
	if err != nil || len(out.(PruneResult).Removed) != 6 || u.deletes() != 4 {
		t.Errorf("%d deletes, %+v, %v", u.deletes(), out, err)
	}
	if s := settle(); s.State != builtin.Done || !reflect.DeepEqual(s.Result, out) {
		t.Errorf("all removed: %+v", s)
	}
	// A journal keeps the decision as neutral values.
	f := builtin.NewPure("keep", "", func(_ context.Context, a struct {
		D PruneDecision `name:"d"`
	}) (PruneDecision, error) {
		return a.D, nil
	})
	bound, err := f.Bind([]any{f.Result.Neutral(d)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := f.Do(ctx, &builtin.Call{Args: bound}); err != nil || !reflect.DeepEqual(kept, d) {
		t.Errorf("the decision came back as %+v, %v", kept, err)
	}

	c, d = u.decided(args{"storage": "backup", "guests": ids(104, 105), "keep": map[string]any{"last": int64(2)}})
	if err := os.Remove(u.fileOf(d.Remove[1])); err != nil {
		t.Fatal(err)
	}
	if s := settle(); s.State != builtin.Unknown || s.Why == "" {
		t.Errorf("another one removed: %+v", s)
	}
}

func TestFailureInTheMiddle(t *testing.T) {
	u := newUser(t, "api:DELETE /nodes/*=500*1")
	c, d := u.decided(pruneTwo)
	_, err := c.Func.Do(context.Background(), c)
	f := fault(t, err, builtin.Failed, "stopped at "+string(d.Remove[0].VolID.Value), "0 of 6 are gone")
	if p := f.Partial.(PruneResult); len(p.Removed) != 0 || len(p.Kept) != len(d.Stay) {
		t.Errorf("partial %+v", p)
	}

	u = newUser(t)
	c, d = u.decided(pruneTwo)
	third := u.fileOf(d.Remove[2]) // becomes undeletable just before its turn
	u.run.Progress = func(_ builtin.Call, p builtin.Progress) {
		if strings.Contains(p.Step, "(3 of 6)") {
			if err := os.WriteFile(third+".protected", nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	_, err = c.Func.Do(context.Background(), c)
	f = fault(t, err, builtin.Failed, "2 of 6 are gone", "cannot remove protected volume")
	if p := f.Partial.(PruneResult); len(p.Removed) != 2 {
		t.Errorf("partial %+v", p)
	}
}

func TestClockThatLooksWrong(t *testing.T) {
	u := newUser(t)
	for name, now := range map[string]time.Time{"1970": time.Unix(0, 0), "last year": u.lab.Now().AddDate(0, 0, -40)} {
		u.run.Now = func() time.Time { return now }
		_, err := call[PruneResult](u, "prune", pruneTwo)
		if err == nil {
			t.Errorf("%s: pruned", name)
			continue
		}
		fault(t, err, builtin.Conflict, "clock looks wrong")
	}
	// It may also go wrong after the decision.
	u.run.Now = u.lab.Now
	c, _ := u.decided(pruneTwo)
	u.run.Now = func() time.Time { return time.Unix(0, 0) }
	_, err := c.Func.Do(context.Background(), c)
	fault(t, err, builtin.Conflict, "clock looks wrong")
	if u.deletes() != 0 {
		t.Error("something was removed")
	}
}

func TestPruneRefuses(t *testing.T) {
	u := newUser(t)
	_, err := call[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(), "keep": map[string]any{"last": int64(1)}})
	fault(t, err, builtin.Invalid, "no guest is named")
	_, err = call[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101), "keep": map[string]any{"last": int64(-1)}})
	fault(t, err, builtin.Invalid, "last")
}

// A folder that two nodes mount, and that nobody marked as shared, is listed
// twice: of the two entries of an archive none is one too many.
func TestOneFileListedByTwoNodes(t *testing.T) {
	u := newUser(t)
	for range 3 {
		must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "local"})
	}
	if err := os.RemoveAll(u.end.Mounts["pve3/local"]); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(u.end.Mounts["pve2/local"], u.end.Mounts["pve3/local"]); err != nil {
		t.Fatal(err)
	}
	rule := args{"storage": "local", "guests": ids(101), "keep": keep(map[string]any{"last": int64(2)})}
	_, err := call[PruneResult](u, "prune", rule)
	fault(t, err, builtin.Conflict, "pve2 and pve3 both list local:backup/vzdump-lxc-101-", "--shared 1")
	if u.deletes() != 0 {
		t.Error("something was removed")
	}
	rule["node"] = "pve3"
	if got := must[PruneResult](u, "prune", rule); len(got.Removed) != 1 || len(got.Kept) != 2 {
		t.Errorf("removed\n%skept\n%s", reasons(got.Removed), reasons(got.Kept))
	}
}

// A plan over a whole playbook: back up, verify, mark, prune.
func TestPlan(t *testing.T) {
	u := newUser(t)
	u.run.Planned = &builtin.Overlay{}
	made := must[BackupResult](u, "backup", two)
	if made.Task.Known() || made.Archives[0].VolID.Known() || made.Archives[0].Consistency.Known() || !made.Archives[0].Ours {
		t.Errorf("%+v", made)
	}
	listed := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(101)})
	if len(listed) != 11 || listed[10].VolID.Known() {
		t.Errorf("%d archives, the last %+v", len(listed), listed[len(listed)-1])
	}
	for _, a := range made.Archives {
		opaque := builtin.Opaque{From: a.VolID.From, Of: a.VolID.Of}
		v := u.verify(opaque)
		if !v.Assumed || !v.Whole || v.Read.Known() {
			t.Errorf("%+v", v)
		}
		marked := u.mark(v)
		if marked.Verified == nil {
			t.Errorf("%+v", marked)
		}
	}
	if n := len(u.run.Planned.Assumed()); n != 2 { // one for each verify
		t.Errorf("%d assumptions", n)
	}
	plan := must[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101, 105), "keep": map[string]any{"last": int64(2)}})
	// The planned one pushes one more of the five out.
	if len(plan.Removed) != 8 || u.deletes() != 0 || u.count("POST", "/vzdump") != 0 || u.count("PUT", "") != 0 {
		t.Errorf("%d deletes; removed\n%s", u.deletes(), reasons(plan.Removed))
	}
	if left := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(101), "ours": true}); len(left) != 2 || left[1].Verified == nil {
		t.Errorf("in the plan are left %+v", left)
	}

	// The run does what the plan said.
	u.run.Planned, u.place = nil, 0
	made = must[BackupResult](u, "backup", two)
	for _, a := range made.Archives {
		v := u.verify(a.VolID.Value)
		u.mark(v)
	}
	done := must[PruneResult](u, "prune", args{"storage": "backup", "guests": ids(101, 105), "keep": map[string]any{"last": int64(2)}})
	if reasons(done.Removed) != reasons(plan.Removed) {
		t.Errorf("the plan removed\n%sthe run removed\n%s", reasons(plan.Removed), reasons(done.Removed))
	}
}

func TestPlannedMarkOfAnArchiveThatIsThere(t *testing.T) {
	u := newUser(t)
	u.run.Planned = &builtin.Overlay{}
	a := u.newest(101)
	v := u.verify(a.VolID.Value)
	marked := u.mark(v)
	if marked.Verified == nil || !marked.Verified.Equal(v.Time) || u.count("PUT", "") != 0 {
		t.Errorf("%+v", marked)
	}
	if again := u.newest(101); again.Verified == nil {
		t.Errorf("later in the plan: %+v", again)
	}
}

// What was to stay and vanished meanwhile is not passed over in silence.
func TestWhatStaysIsLookedForInTheEnd(t *testing.T) {
	u := newUser(t)
	c, d := u.decided(pruneTwo)
	u.run.Progress = func(builtin.Call, builtin.Progress) { os.Remove(u.fileOf(d.Stay[0])) }
	_, err := c.Func.Do(context.Background(), c)
	f := fault(t, err, builtin.Failed, "6 of 6 are gone, and 13 of 14 that were to stay are there")
	if p := f.Partial.(PruneResult); len(p.Removed) != 6 || len(p.Kept) != 13 {
		t.Errorf("partial %+v", p)
	}
	s, err := c.Func.Settle(context.Background(), c, "")
	if err != nil || s.State != builtin.Done || s.Fault == nil {
		t.Errorf("settled %+v, %v", s, err)
	}
}
