package proxmox

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// Everything that is previewed comes to what was previewed.
func TestPlanIsTheRun(t *testing.T) {
	t.Parallel()
	t.Run("power", func(t *testing.T) {
		t.Parallel()
		newUser(t).samePlanAndRun(
			step{"start", args{"guest": 108}}, step{"status", args{"guest": 108}}, step{"start", args{"guest": 108}},
			step{"suspend", args{"guest": 108}}, step{"status", args{"guest": 108}}, step{"wait_status", args{"guest": 108, "status": "paused"}},
			step{"resume", args{"guest": 108}}, step{"reboot", args{"guest": 108}}, step{"shutdown", args{"guest": 108, "timeout": "1m"}},
			step{"stop", args{"guest": 101}}, step{"status", args{"guest": 101}}, step{"start", args{"guest": 101}}, step{"reboot", args{"guest": 101}},
			step{"suspend", args{"guest": 103, "to_disk": true}}, step{"status", args{"guest": 103}}, step{"resume", args{"guest": 103}},
			step{"guests", args{"select": []any{"100-110"}}},
		)
	})
	t.Run("snapshots", func(t *testing.T) {
		t.Parallel()
		newUser(t).samePlanAndRun(
			step{"snapshot", args{"guest": 103, "name": "one", "description": "first\nand more", "ram": true}},
			step{"snapshots", args{"guest": 103}},
			step{"set", args{"guest": 103, "description": "changed", "tags": "edge;new"}},
			step{"snapshot", args{"guest": 103, "name": "two"}},
			step{"snapshots", args{"guest": 103}},
			step{"delete_snapshot", args{"guest": 103, "name": "two"}},
			step{"rollback", args{"guest": 103, "snapshot": "one"}},
			step{"status", args{"guest": 103}}, step{"snapshots", args{"guest": 103}},
			step{"snapshot", args{"guest": 101, "name": "ct1"}}, step{"snapshot", args{"guest": 101, "name": "ct2"}}, step{"snapshot", args{"guest": 101, "name": "ct3"}},
			step{"prune_snapshots", args{"guests": []any{100, 101}, "keep": map[string]any{"last": 2}}},
			step{"snapshots", args{"guest": 101}},
		)
	})
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		newUser(t).samePlanAndRun(
			step{"set", args{"guest": 108, "memory": 4096, "onboot": false, "agent": nil, "cpulimit": 1.5}},
			step{"resize_disk", args{"guest": 108, "disk": "scsi0", "size": "+4G"}}, step{"resize_disk", args{"guest": 108, "disk": "scsi0", "size": "20G"}},
			step{"migrate", args{"guest": 108, "target": "pve1"}}, step{"status", args{"guest": 108}},
			step{"migrate", args{"guest": 103, "target": "pve1", "local_disks": true}}, step{"migrate", args{"guest": 101, "target": "pve3"}},
			step{"clone", args{"guest": 9000, "new_id": 300, "name": "web3", "description": "a copy"}}, step{"status", args{"guest": 300}},
			step{"clone", args{"guest": 108, "new_id": 301}}, step{"start", args{"guest": 301}},
			step{"guests", args{"select": []any{"all"}}},
			step{"clone", args{"guest": 9001, "name": "ct-next", "pool": "production"}},
			step{"destroy", args{"guest": 108, "purge": true}},
		)
	})
}

func TestPowerRefused(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.refused(builtin.NotFound, "the guest 999", "start", args{"guest": 999})
	u.refused(builtin.Conflict, "template", "start", args{"guest": 9000})
	u.refused(builtin.Conflict, "not running", "reboot", args{"guest": 108})
	u.refused(builtin.Conflict, "not running", "suspend", args{"guest": 108})
	u.refused(builtin.Conflict, "not running", "resume", args{"guest": 108})
	u.refused(builtin.Invalid, "VMs only", "suspend", args{"guest": 101})
	u.refused(builtin.Invalid, "VMs only", "resume", args{"guest": 101})
	u.refused(builtin.Conflict, "hostpci0", "suspend", args{"guest": 102, "to_disk": true})
	do[PowerResult](u, "suspend", args{"guest": 103})
	u.refused(builtin.Conflict, "paused", "start", args{"guest": 103})
	u.refused(builtin.Conflict, "resumed", "shutdown", args{"guest": 103})
	u.refused(builtin.Conflict, "resumed", "reboot", args{"guest": 103})
	if posts := u.count("POST"); posts != 1 {
		t.Errorf("%d requests for changes: all but one are refused before", posts)
	}
	if r := do[PowerResult](u, "shutdown", args{"guest": 103, "force": true}); r.Status != stopped {
		t.Errorf("%+v", r)
	}
	u.refused(builtin.Timeout, "still stopped", "wait_status", args{"guest": 103, "status": "running", "timeout": "1m"})
}

// count counts requests by their method.
func (u *user) count(method string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range u.requests {
		if x.Method == method {
			n++
		}
	}
	return n
}

func TestFailedTasks(t *testing.T) {
	t.Parallel()
	for fault, x := range map[string]struct {
		step
		kind builtin.Kind
		says string
	}{
		"task:qmstart=text:start failed: QEMU exited with code 1":     {step{"start", args{"guest": 108}}, builtin.Failed, "QEMU exited with code 1"},
		"task:qmshutdown=text:VM quit/powerdown failed - got timeout": {step{"shutdown", args{"guest": 103}}, builtin.Timeout, "powerdown failed"},
		"task:vzshutdown=hang":                                         {step{"shutdown", args{"guest": 101}}, builtin.Timeout, "the task itself goes on"},
		"task:qmsnapshot=fail":                                         {step{"snapshot", args{"guest": 103, "name": "one"}}, builtin.Failed, "command failed"},
		"task:qmrollback=fail":                                         {step{"rollback", args{"guest": 100, "snapshot": "before-upgrade"}}, builtin.Failed, "command failed"},
		"task:qmdelsnapshot=text:zfs error: dataset is busy":           {step{"delete_snapshot", args{"guest": 100, "name": "before-upgrade"}}, builtin.Failed, "dataset is busy"},
		"task:qmclone=text:clone failed: unable to create image":       {step{"clone", args{"guest": 9000}}, builtin.Failed, "unable to create image"},
		"task:qmigrate=text:migration aborted":                         {step{"migrate", args{"guest": 108, "target": "pve1"}}, builtin.Failed, "migration aborted"},
		"task:qmdestroy=fail":                                          {step{"destroy", args{"guest": 108}}, builtin.Failed, "command failed"},
		"task:resize=text:zfs error: out of space":                     {step{"resize_disk", args{"guest": 108, "disk": "scsi0", "size": "+1G"}}, builtin.Failed, "out of space"},
		"api:POST /nodes/pve3/qemu/108/status/start=403":               {step{"start", args{"guest": 108}}, builtin.Forbidden, "grant"},
		"api:PUT /nodes/pve3/qemu/108/config=595":                      {step{"set", args{"guest": 108, "memory": 1024}}, builtin.Unreachable, "595"},
		"task:qmreboot=text:403 Permission check failed (/vms/103, x)": {step{"reboot", args{"guest": 103}}, builtin.Forbidden, "Permission check failed"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			u := newUser(t, fault)
			c := u.prepare(x.name, x.args)
			_, err := u.perform(c)
			f := u.isFault(err, x.kind, x.says)
			if strings.HasSuffix(fault, "=hang") || strings.HasPrefix(fault, "api:") {
				return
			}
			// A run that was killed before it wrote that down learns the same.
			s := u.settle(c, u.handles[len(u.handles)-1])
			if s.State != builtin.Done || s.Fault == nil || s.Fault.Kind != f.Kind || s.Fault.Said != f.Said {
				t.Errorf("settled as %+v", s)
			}
			for _, g := range u.lab.Guests() {
				if g.Lock != "" && !strings.Contains(f.Hint, "left the guest locked ("+g.Lock+")") {
					t.Errorf("%d is left locked (%s), and the hint is %q", g.ID, g.Lock, f.Hint)
				}
			}
		})
	}
}

// changes are one of each sort of call that begins a task.
var changes = []step{
	{"start", args{"guest": 108}}, {"shutdown", args{"guest": 103}}, {"stop", args{"guest": 101}}, {"reboot", args{"guest": 103}},
	{"suspend", args{"guest": 103}}, {"snapshot", args{"guest": 103, "name": "one"}}, {"snapshot", args{"guest": 101, "name": "one"}},
	{"rollback", args{"guest": 100, "snapshot": "before-upgrade"}}, {"delete_snapshot", args{"guest": 100, "name": "before-upgrade"}},
	{"clone", args{"guest": 9000}}, {"migrate", args{"guest": 108, "target": "pve1"}}, {"destroy", args{"guest": 108}},
	{"resize_disk", args{"guest": 108, "disk": "scsi0", "size": "+1G"}},
}

// The request arrives and its answer does not: the task is found, and no
// second one is begun.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, x := range append(slices.Clone(changes), step{"set", args{"guest": 108, "memory": 4096}}) {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t, "api:POST /nodes/*=drop*1", "api:PUT /nodes/*=596*1", "api:DELETE /nodes/*=drop*1")
			before := len(u.lab.Tasks())
			if _, err := u.call(x.name, x.args); err != nil {
				t.Fatal(err)
			}
			if n := u.count("POST") + u.count("PUT") + u.count("DELETE"); n != 1 {
				t.Errorf("asked %d times", n)
			}
			if n := len(u.lab.Tasks()) - before; n != 1 && x.name != "set" {
				t.Errorf("%d tasks", n)
			}
		})
	}
}

// The same for who logs in with a password: then the task is the user's.
func TestLostAnswerOfAUser(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	end := must(u.lab.Start())
	c := must(pve.New(pve.Config{
		URL: end.URL, User: "root@pam", Password: pve.NewSecret(end.RootPassword), Fingerprint: end.Fingerprint, Now: u.lab.Now, Sleep: u.sleep,
	}))
	defer func() { _ = c.Close() }()
	u.c, u.mod = client{c}, Module(c)
	u.fault("api:POST /nodes/*=drop*1")
	if r := do[PowerResult](u, "start", args{"guest": 108}); !strings.HasSuffix(r.Task.Value, ":root@pam:") {
		t.Errorf("%+v", r)
	}
}

// A run may be killed at any moment. What became of the call then, Settle says.
func TestSettle(t *testing.T) {
	t.Parallel()
	for _, x := range changes {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			c := u.prepare(x.name, x.args)
			preview := u.planned(func() any { return stable(c.Func.Result, must(u.perform(c))) })[0]
			c.Decision = nil
			// Killed once the request was sent, and its task is not known yet.
			killed := errors.New("killed")
			u.run.Handle = func(_ builtin.Call, h string) error {
				u.handles = append(u.handles, h)
				if len(u.handles) == 2 {
					return killed
				}
				return nil
			}
			if s := u.settle(c, ""); s.State != builtin.NotDone {
				t.Fatalf("before anything: %+v", s)
			}
			if _, err := u.perform(c); !errors.Is(err, killed) || len(u.handles) != 2 {
				t.Fatal(err, u.handles)
			}
			for i, text := range u.handles {
				s := u.settle(c, text)
				// The lab's time goes on with each look, so a short task may have ended.
				if s.State != builtin.Running && s.State != builtin.Done {
					t.Errorf("while it runs, after handle %d: %+v", i+1, s)
				}
				if s.State == builtin.Running && !strings.Contains(s.Handle, "task=UPID:") {
					t.Errorf("no task in %q", s.Handle)
				}
			}
			u.lab.Advance(3e11) // five minutes
			for _, text := range u.handles {
				s := u.settle(c, text)
				if s.State != builtin.Done || s.Fault != nil {
					t.Fatalf("when it has ended: %+v", s)
				}
				if got := stable(c.Func.Result, s.Result); !reflect.DeepEqual(got, preview) {
					t.Errorf("settled as %v, planned as %v", got, preview)
				}
			}
			// The node does not know that task any more.
			lost := parseHandle(u.handles[1])
			lost.task = "UPID:" + lost.node + ":000000FF:00000000:5F000000:qmstart:999:nixmox@pve!lab:"
			if s := u.settle(c, lost.String()); s.State != builtin.Unknown || s.Why == "" {
				t.Errorf("forgotten: %+v", s)
			}
			lost.task, lost.after = "", lost.task
			if s := u.settle(c, lost.String()); s.State == builtin.NotDone {
				t.Errorf("the list does not reach back: %+v", s)
			}
		})
	}
}

// What was never sent is found not to have been.
func TestSettleOfWhatNeverArrived(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	c := u.prepare("start", args{"guest": 108})
	g := must(u.c.find(context.Background(), 108))
	after := must(u.c.pve.NewestTask(context.Background(), g.home, 108))
	if s := u.settle(c, handle{node: g.home, after: after}.String()); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
	// Somebody else's task is not ours.
	do[PowerResult](u, "start", args{"guest": 108})
	do[PowerResult](u, "stop", args{"guest": 108})
	after = must(u.c.pve.NewestTask(context.Background(), g.home, 108))
	if s := u.settle(c, handle{node: g.home, after: after}.String()); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	backup := "backup"
	u := newUser(t)
	if err := u.lab.ChangeGuest(108, lab.GuestChange{Lock: &backup}); err != nil {
		t.Fatal(err)
	}
	f := u.refused(builtin.Busy, "locked (backup)", "start", args{"guest": 108, "wait": "30s"})
	if !strings.Contains(f.Hint, "qm unlock 108") || u.count("POST") != 0 {
		t.Errorf("%s; %d requests", f.Hint, u.count("POST"))
	}
	if !slices.ContainsFunc(u.steps, func(s string) bool { return strings.Contains(s, "waiting: the vm is locked (backup)") }) {
		t.Errorf("nothing was shown: %q", u.steps)
	}
	u.refused(builtin.Busy, "locked (backup)", "set", args{"guest": 108, "memory": 1024, "wait": "5s"})

	// It is waited for, and goes.
	sleeps, free := 0, ""
	u.slept = func() {
		if sleeps++; sleeps == 3 {
			if err := u.lab.ChangeGuest(108, lab.GuestChange{Lock: &free}); err != nil {
				t.Error(err)
			}
		}
	}
	if r := do[PowerResult](u, "start", args{"guest": 108}); r.Status != running || sleeps < 3 {
		t.Errorf("%+v after %d pauses", r, sleeps)
	}
	// The task that has it is named.
	u.fault("vzdump:106=hang")
	var upid string
	if err := u.c.pve.Post(context.Background(), "/nodes/pve1/vzdump", map[string]any{"vmid": "106", "storage": "backup"}, &upid); err != nil {
		t.Fatal(err)
	}
	for u.guest(106).Lock == "" {
		u.lab.Advance(1e9)
	}
	u.refused(builtin.Busy, "locked (backup) by the task "+upid, "snapshot", args{"guest": 106, "name": "one", "wait": "1m"})
}

func (u *user) guest(id int) lab.GuestState {
	for _, g := range u.lab.Guests() {
		if g.ID == id {
			return g
		}
	}
	return lab.GuestState{}
}

// A task that found the guest locked did nothing, and is begun again.
func TestLockedInTheTask(t *testing.T) {
	t.Parallel()
	u := newUser(t, "task:qmsnapshot=text:VM is locked (backup)*2")
	if r := do[SnapshotResult](u, "snapshot", args{"guest": 103, "name": "one"}); r.Name != "one" {
		t.Errorf("%+v", r)
	}
	if n := u.count("POST"); n != 3 {
		t.Errorf("asked %d times", n)
	}
	if s := u.settle(u.prepare("snapshot", args{"guest": 103, "name": "one"}), u.handles[1]); s.State != builtin.NotDone {
		t.Errorf("the first task: %+v", s)
	}
	u = newUser(t, "task:qmsnapshot=text:VM is locked (backup)")
	u.refused(builtin.Busy, "VM is locked (backup)", "snapshot", args{"guest": 103, "name": "one", "wait": "20s"})
}

func TestHA(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	started := "started"
	for _, id := range []int{101, 103, 108} {
		if err := u.lab.ChangeGuest(id, lab.GuestChange{HA: &started}); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		step
		status string
		task   string
	}{
		{step{"start", args{"guest": 108}}, running, ":hastart:"}, {step{"shutdown", args{"guest": 103}}, stopped, ":hastop:"},
		{step{"stop", args{"guest": 101}}, stopped, ":hastop:"},
	} {
		r := do[PowerResult](u, x.name, x.args)
		if r.Status != x.status || !strings.Contains(r.Task.Value, x.task) {
			t.Errorf("%s: %+v", x.name, r)
		}
	}
	if s := do[GuestStatus](u, "status", args{"guest": 108}); !s.HA || s.HAState != "started" {
		t.Errorf("%+v", s)
	}
	if r := do[MigrateResult](u, "migrate", args{"guest": 108, "target": "pve1", "local_disks": true}); r.Node != "pve1" || !strings.Contains(r.Task.Value, ":hamigrate:") {
		t.Errorf("%+v", r)
	}
	u.refused(builtin.Conflict, "HA manager", "destroy", args{"guest": 103})
	u.refused(builtin.Conflict, "HA manager", "suspend", args{"guest": 108, "to_disk": true})
}
