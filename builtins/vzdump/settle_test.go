package vzdump

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

func TestConnectionLostInTheMiddle(t *testing.T) {
	for _, kind := range []string{"drop", "595", "596"} {
		u := newUser(t, "api:GET /nodes/pve2/tasks/*="+kind+"*9")
		got := must[BackupResult](u, "backup", two)
		if len(got.Archives) != 2 || got.Status.Value != "OK" || u.count("POST", "/vzdump") != 1 {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

func TestLostPostIsFoundAgain(t *testing.T) {
	for _, kind := range []string{"drop", "596"} {
		u := newUser(t, "api:POST /nodes/pve2/vzdump="+kind+"*1")
		got := must[BackupResult](u, "backup", two)
		if len(got.Archives) != 2 || u.count("POST", "/vzdump") != 1 || !slices.Equal(u.handles, []string{got.Task.Value}) {
			t.Errorf("%s: %d posts, handles %v, %+v", kind, u.count("POST", "/vzdump"), u.handles, got)
		}
	}
}

func TestLostPostThatWaitsForAnother(t *testing.T) {
	u := newUser(t)
	ctx, j := u.job(args{"node": "pve1", "guests": ids(106), "storage": "backup"})
	if _, err := u.v.start(ctx, j); err != nil {
		t.Fatal(err)
	}
	ctx, j = u.job(args{"node": "pve1", "guests": ids(100), "storage": "backup"})
	want, err := u.v.start(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	got, err := u.v.lookAfterLostPost(ctx, j, u.lab.Now(), context.DeadlineExceeded)
	if err != nil || got != want {
		t.Errorf("found %v, %v, want %v", got, err, want)
	}
}

func (u *user) job(a args) (context.Context, *job) {
	u.t.Helper()
	c := u.prepare("backup", a)
	ctx := builtin.WithCall(context.Background(), c)
	j, err := u.v.check(ctx, c.Args.(BackupArgs))
	if err != nil {
		u.t.Fatal(err)
	}
	return ctx, j
}

func TestLostPostThatNeverArrived(t *testing.T) {
	u := newUser(t)
	must[BackupResult](u, "backup", two) // a task of this run, but of another place
	ctx, j := u.job(two)
	_, err := u.v.lookAfterLostPost(ctx, j, u.lab.Now(), context.DeadlineExceeded)
	fault(t, err, builtin.Unreachable, "the connection was lost while asking for it", "nothing is known to have been started", "no task of pve2 has this run's mark")
}

func TestRefusedPostIsNotLookedFor(t *testing.T) {
	u := newUser(t, "api:POST /nodes/pve2/vzdump=595")
	_, err := call[BackupResult](u, "backup", two)
	fault(t, err, builtin.Unreachable, "595")
	if n := u.count("POST", "/vzdump") + u.count("GET", "/tasks"); n != 1 {
		t.Errorf("%d requests after the no", n)
	}
}

func TestSettleBackup(t *testing.T) {
	ctx := context.Background()
	u := newUser(t)
	settle := func(c *builtin.Call, handle string) builtin.Settlement[any] {
		t.Helper()
		s, err := c.Func.Settle(ctx, c, handle)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	c := u.prepare("backup", two)
	if s := settle(c, ""); s.State != builtin.NotDone {
		t.Errorf("nothing begun: %+v", s)
	}
	c.Run = &builtin.Run{ID: "nightly-7", Now: u.lab.Now}
	if s := settle(c, ""); s.State != builtin.Unknown || !strings.Contains(s.Why, "nightly-7 began is not known") {
		t.Errorf("nothing begun, in a run of unknown age: %+v", s)
	}
	c.Run = u.run

	args := c.Args.(BackupArgs)
	in := builtin.WithCall(ctx, c)
	j, err := u.v.check(in, args)
	if err != nil {
		t.Fatal(err)
	}
	upid, err := u.v.start(in, j)
	if err != nil {
		t.Fatal(err)
	}
	if s := settle(c, upid.String()); s.State != builtin.Running || s.Handle != upid.String() {
		t.Errorf("running: %+v", s)
	}
	if _, err := u.v.c.Wait(ctx, upid, nil); err != nil {
		t.Fatal(err)
	}
	for _, handle := range []string{upid.String(), "", "UPID:pve2:000000FF:00000000:5F000000:vzdump::nixmox@pve!lab:"} {
		s := settle(c, handle)
		result, _ := s.Result.(BackupResult)
		if s.State != builtin.Done || s.Fault != nil || len(result.Archives) != 2 || result.Task.Value != upid.String() {
			t.Errorf("ended, handle %q: %+v", handle, s)
		}
	}
	must[BackupResult](u, "backup", two)
	if s := settle(u.prepare("backup", two), ""); s.State != builtin.NotDone {
		t.Errorf("another call of the same run: %+v", s)
	}
}

// notExpecting is a failure without the estimate, which is made before the
// task begins and dies with whoever began it.
func notExpecting(f *builtin.Fault) *builtin.Fault {
	partial := f.Partial.(BackupResult)
	partial.Expected = 0
	f.Partial = partial
	return f
}

func TestSettleFailedBackup(t *testing.T) {
	u := newUser(t, "vzdump:105=fail")
	c := u.prepare("backup", two)
	_, err := c.Func.Do(context.Background(), c)
	want := notExpecting(fault(t, err, builtin.Failed))
	s, err := c.Func.Settle(context.Background(), c, u.handles[0])
	if err != nil || s.State != builtin.Done || !reflect.DeepEqual(s.Fault, want) {
		t.Errorf("%+v, %v; want the fault %+v", s, err, want)
	}
}

func TestRunBegan(t *testing.T) {
	at, ok := runBegan("01ARYZ6S41TSV4RRFFQ69G5FAV") // of the ULID specification
	if want := time.UnixMilli(1469918176385).UTC(); !ok || !at.Equal(want) {
		t.Errorf("%v, %v, want %v", at, ok, want)
	}
	for _, id := range []string{"", "nightly", "01ARYZ6S41TSV4RRFFQ69G5FA", "0!ARYZ6S41TSV4RRFFQ69G5FAV", "8ZZZZZZZZZTSV4RRFFQ69G5FAV"} {
		if at, ok := runBegan(id); ok {
			t.Errorf("%q began at %v", id, at)
		}
	}
}

func (u *user) ended(a args) (context.Context, *job, pve.TaskEnd) {
	u.t.Helper()
	ctx, j := u.job(a)
	upid, err := u.v.start(ctx, j)
	if err != nil {
		u.t.Fatal(err)
	}
	end, err := u.v.c.Wait(ctx, upid, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	return ctx, j, end
}

func TestCancelledWhileTheTaskGoesOn(t *testing.T) {
	u := newUser(t, "vzdump:101=hang")
	c := u.prepare("backup", two)
	ctx, cancel := context.WithCancel(context.Background())
	u.run.Handle = func(_ builtin.Call, h string) error { u.handles = append(u.handles, h); cancel(); return nil }
	_, err := c.Func.Do(ctx, c)
	if !errors.Is(err, context.Canceled) || len(u.handles) != 1 {
		t.Fatalf("%v, handles %v", err, u.handles)
	}
	s, err := c.Func.Settle(context.Background(), c, u.handles[0])
	if err != nil || s.State != builtin.Running || s.Handle != u.handles[0] {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSettleByArchivesAlone(t *testing.T) {
	u := newUser(t)
	ctx, j, _ := u.ended(two)
	s, err := u.v.settleByArchives(ctx, j, "", u.lab.Now(), true)
	if err != nil || s.State != builtin.Done || len(s.Result.Archives) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	j.Guests = append(j.Guests, 103)
	if s, err := u.v.settleByArchives(ctx, j, "", u.lab.Now(), true); err != nil || s.State != builtin.Unknown {
		t.Errorf("some: %+v, %v", s, err)
	}
	j.Guests = []builtin.VMID{103}
	if s, err := u.v.settleByArchives(ctx, j, "UPID:x", u.lab.Now(), true); err != nil || s.State != builtin.Unknown {
		t.Errorf("none, though it had begun: %+v, %v", s, err)
	}
	if s, err := u.v.settleByArchives(ctx, j, "", u.lab.Now().AddDate(-1, 0, 0), true); err != nil || s.State != builtin.Unknown {
		t.Errorf("none, and the list is too short: %+v, %v", s, err)
	}
}

func TestLostPostAndNoTaskListEither(t *testing.T) {
	u := newUser(t)
	ctx, j := u.job(two)
	if err := u.lab.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := u.v.lookAfterLostPost(ctx, j, time.Now(), context.DeadlineExceeded)
	fault(t, err, builtin.Unreachable, "nothing is known to have been started", "could not be read either")
}

// A guest that the token may not back up makes two tasks of one call. Whenever
// the run is killed, it is settled as if it had not been.
func TestSettleWithAGuestRefused(t *testing.T) {
	ctx := context.Background()
	u := newUser(t, "vzdump:105=deny")
	c := u.prepare("backup", two)
	settle := func(handle string) builtin.Settlement[any] {
		t.Helper()
		s, err := c.Func.Settle(ctx, c, handle)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	in := builtin.WithCall(ctx, c)
	j, err := u.v.check(in, c.Args.(BackupArgs))
	if err != nil {
		t.Fatal(err)
	}
	first, err := u.v.start(in, j)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.v.c.Wait(ctx, first, nil); err != nil {
		t.Fatal(err)
	}
	for _, handle := range []string{"", first.String()} {
		if s := settle(handle); s.State != builtin.NotDone {
			t.Errorf("killed between the two, handle %q: %+v", handle, s)
		}
	}

	_, err = c.Func.Do(ctx, c) // as the engine does then
	want := notExpecting(fault(t, err, builtin.Failed, "1 of 2 failed: 105", "lacks VM.Backup on /vms/105"))
	if len(u.handles) != 2 || !strings.HasPrefix(u.handles[1], u.handles[0]+" UPID:pve2:") {
		t.Fatalf("handles %q", u.handles)
	}
	for i, handle := range u.handles {
		if s := settle(handle); s.State != builtin.Done || !reflect.DeepEqual(s.Fault, want) {
			t.Errorf("killed after %d: %+v, want the fault %+v", i+1, s, want)
		}
	}
}

func TestSettleWithAGuestRefusedWhileTheOtherRuns(t *testing.T) {
	u := newUser(t, "vzdump:105=deny", "vzdump:101=hang")
	c := u.prepare("backup", two)
	ctx, cancel := context.WithCancel(context.Background())
	u.run.Handle = func(_ builtin.Call, h string) error {
		if u.handles = append(u.handles, h); len(u.handles) == 2 {
			cancel()
		}
		return nil
	}
	if _, err := c.Func.Do(ctx, c); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, handle := range u.handles {
		s, err := c.Func.Settle(context.Background(), c, handle)
		if err != nil || s.State != builtin.Running || s.Handle != u.handles[1] {
			t.Errorf("handle %q: %+v, %v", handle, s, err)
		}
	}
}

// The first task of a call has its mark, too, and is not the lost second.
func TestLostPostOfTheSecondTask(t *testing.T) {
	u := newUser(t, "vzdump:105=deny")
	ctx, j := u.job(two)
	first, err := u.v.start(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.v.follow(ctx, j, first); !j.refuse(first, err) {
		t.Fatal(err)
	}
	_, err = u.v.lookAfterLostPost(ctx, j, u.lab.Now(), context.DeadlineExceeded)
	fault(t, err, builtin.Unreachable, "nothing is known to have been started")
	second, err := u.v.start(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := u.v.lookAfterLostPost(ctx, j, u.lab.Now(), context.DeadlineExceeded); err != nil || got != second {
		t.Errorf("found %v, %v, want %v", got, err, second)
	}
}

func TestSettleOfWhatIsRefusedNow(t *testing.T) {
	u := newUser(t)
	c := u.prepare("backup", args{"node": "pve2", "guests": ids(101), "storage": "backup", "note": "{{bad}}"})
	_, refusal := c.Func.Do(context.Background(), c)
	s, err := c.Func.Settle(context.Background(), c, "")
	if err != nil || s.State != builtin.Done || !reflect.DeepEqual(s.Fault, fault(t, refusal, builtin.Invalid)) {
		t.Errorf("nothing had begun: %+v, %v", s, err)
	}
	if s, err = c.Func.Settle(context.Background(), c, "UPID:x"); err != nil || s.State != builtin.Unknown || !strings.Contains(s.Why, "{{bad}}") {
		t.Errorf("a task had begun: %+v, %v", s, err)
	}
}

func TestSettleAmongMoreTasksThanAreRead(t *testing.T) {
	tasksToRead = 2
	defer func() { tasksToRead = 500 }()
	u := newUser(t)
	c := u.prepare("backup", two)
	for range 2 {
		must[BackupResult](u, "backup", two)
	}
	if s, err := c.Func.Settle(context.Background(), c, ""); err != nil || s.State != builtin.Unknown || !strings.Contains(s.Why, "more than 2") {
		t.Errorf("%+v, %v", s, err)
	}
}
