package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

func TestGet(t *testing.T) {
	r := clusterLab(t)
	v := ask[any](r, "get", arg("path", "/version")).(map[string]any)
	if v["release"] != "9.2" {
		t.Error(v)
	}
	list := ask[any](r, "get", arg("path", "/nodes/pve1/tasks"), arg("limit", int64(2)), arg("errors", false)).([]any)
	if len(list) != 1 || list[0].(map[string]any)["pid"].(int64) == 0 {
		t.Error(list)
	}
	if id := ask[any](r, "get", arg("path", "/cluster/nextid")); id != "112" {
		t.Error(id)
	}
	volume := ask[any](r, "get", arg("path", "/nodes/pve1/storage/backup/content"), arg("content", "backup"), arg("vmid", int64(100))).([]any)[0].(map[string]any)["volid"].(string)
	if v := ask[any](r, "get", arg("path", "/nodes/pve1/storage/backup/content/"+volume)).(map[string]any); v["size"] == nil {
		t.Error(v)
	}
	r.fails(builtin.Failed, "not implemented", "get", arg("path", "/nosuch"))
	r.fails(builtin.Invalid, "not defined in schema", "get", arg("path", "/nodes/pve1/qemu"), arg("colour", "blue"))
	r.fails(builtin.Invalid, "plain text", "get", arg("path", "/nodes"), arg("password", "x"))
	r.fails(builtin.Invalid, "a dict", "get", arg("path", "/nodes"), arg("x", map[string]any{}))
}

// What a need's glob sees is what Proxmox sees: nothing in a path can mean
// another path to it.
func TestAPIPath(t *testing.T) {
	for _, good := range []string{"/version", "/nodes/pve1/qemu/100/config", "/nodes/pve1/storage/a/content/a:backup/x y.zst", "/access/users/a@pve/token/b", "/ä"} {
		var p APIPath
		if err := p.UnmarshalText([]byte(good)); err != nil || string(p) != good {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "/", "version", "//version", "/nodes//x", "/nodes/", "/nodes/../access", "/nodes/./x", "/..", "/nodes/pve1%2F..", "/nodes?x=1", "/nodes#x", `/nodes\x`,
		"/api2/json/version", "https://example.org/", "/a\nb", "/a\x00", "/\xff", "/a\u202eb", "/<x>",
	} {
		if err := new(APIPath).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzAPIPath(f *testing.F) {
	for _, s := range []string{"/version", "/nodes/pve1/storage/a/content/a:b/c d", "/../x", "/%2e%2e/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p APIPath
		if p.UnmarshalText([]byte(text)) != nil {
			return
		}
		got := p.escaped()
		if strings.ContainsAny(got, "?# \\") || strings.Contains(got, "//") || strings.Contains(got+"/", "/../") || strings.Contains(got+"/", "/./") || strings.Count(got, "/") != strings.Count(text, "/") {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}

func TestCall(t *testing.T) {
	r := clusterLab(t)
	// A task is waited for, and its UPID is kept.
	got := ask[CallResult](r, "call", arg("method", "POST"), arg("path", "/nodes/pve1/apt/update"), arg("quiet", false))
	if got.Status != "OK" || got.Task == "" || r.held[0] != got.Task || got.Log[0] != "starting apt-get update" || !slices.Contains(r.progress, "starting apt-get update") {
		t.Errorf("%+v %v", got, r.held)
	}
	if s := r.settle("call", got.Task, arg("method", "POST"), arg("path", "/nodes/pve1/apt/update")); s.State != builtin.Done || s.Result.(CallResult).Status != "OK" {
		t.Errorf("%+v", s)
	}
	if s := r.settle("call", "", arg("method", "POST"), arg("path", "/pools")); s.State != builtin.Unknown || !strings.Contains(s.Why, "POST /pools") {
		t.Errorf("%+v", s)
	}
	// One that fails is a failure, with its words.
	f := r.fails(builtin.Failed, "already running", "call", arg("method", "POST"), arg("path", "/nodes/pve1/qemu/100/status/start"))
	if f.Partial.(CallResult).Status != "VM 100 already running" || !strings.Contains(f.Hint, "proxmox.task(") {
		t.Errorf("%+v", f)
	}
	// Without a task there is only the answer.
	if got := ask[CallResult](r, "call", arg("method", "POST"), arg("path", "/pools"), arg("poolid", "spare")); got.Data != nil || got.Task != "" {
		t.Errorf("%+v", got)
	}
	ask[CallResult](r, "call", arg("method", "DELETE"), arg("path", "/pools"), arg("poolid", "spare"))
	r.fails(builtin.Forbidden, "Permissions.Modify", "call", arg("method", "PUT"), arg("path", "/access/acl"), arg("params", map[string]any{"path": "/", "roles": "Administrator", "users": "nixmox@pve"}))
	r.fails(builtin.Invalid, "none of", "call", arg("method", "GET"), arg("path", "/version"))
}

// Secrets go over the line, and nowhere else.
func TestCallSecrets(t *testing.T) {
	r := clusterLab(t)
	f, _ := r.mod.Func("call")
	bind := func(args ...builtin.Named) *builtin.Call {
		bound, err := f.Bind(nil, append(args, arg("method", "POST"), arg("path", "/access/users"), arg("userid", "x@pve")))
		if err != nil {
			t.Fatal(err)
		}
		return &builtin.Call{Func: f, Args: bound, Run: &builtin.Run{Now: r.lab.Now, Secret: func(string) (string, error) { return "hunter2hunter2", nil }}}
	}
	call := bind(arg("password", builtin.NamedSecret("door")))
	d, err := f.Decide(context.Background(), call)
	text, _ := json.Marshal(builtin.Typed{Type: f.Decision, Value: d})
	if err != nil || d.(CallDecision).Params["password"] != `secret("door")` || strings.Contains(string(text), "hunter2") {
		t.Errorf("%s %v", text, err)
	}
	if _, err := f.Decide(context.Background(), bind(arg("password", "hunter2hunter2"))); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("plain text: %v", err)
	}
	call.Decision = d
	_, err = f.Do(context.Background(), call) // the token may not; but it was sent
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	want(t, err, builtin.Forbidden, "Realm.AllocateUser")
}

// What was decided on is looked at again.
func TestCallOnWhatHasChanged(t *testing.T) {
	r := clusterLab(t)
	f, _ := r.mod.Func("call")
	bound, err := f.Bind(nil, []builtin.Named{arg("method", "DELETE"), arg("path", "/cluster/ha/resources/vm:110")})
	if err != nil {
		t.Fatal(err)
	}
	c := &builtin.Call{Func: f, Args: bound, Run: &builtin.Run{Now: r.lab.Now}}
	if c.Decision, err = f.Decide(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if d := c.Decision.(CallDecision); !d.Found || d.Before.(map[string]any)["state"] != "started" {
		t.Errorf("%+v", d)
	}
	ask[HAResource](r, "ha_set", arg("guest", int64(110)), arg("state", "ignored"))
	_, err = f.Do(context.Background(), c)
	want(t, err, builtin.Conflict, "has changed")
	if len(ask[HA](r, "ha").Resources) != 1 {
		t.Error("it was deleted")
	}
	// What only usage changes about is the same thing.
	bound, err = f.Bind(nil, []builtin.Named{arg("method", "PUT"), arg("path", "/pools"), arg("poolid", "production"), arg("comment", "x")})
	if err != nil {
		t.Fatal(err)
	}
	c = &builtin.Call{Func: f, Args: bound, Run: &builtin.Run{Now: r.lab.Now}}
	if c.Decision, err = f.Decide(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	// A decision of a resumed run has been through the journal.
	text, err := json.Marshal(builtin.Typed{Type: f.Decision, Value: c.Decision})
	if err != nil {
		t.Fatal(err)
	}
	if c.Decision, err = f.Decision.Decode(text); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Do(context.Background(), c); err != nil {
		t.Error(err)
	}
}

func TestCallEndsThePlan(t *testing.T) {
	r := clusterLab(t)
	r.plan = &builtin.Overlay{}
	_, err := r.try("call", arg("method", "DELETE"), arg("path", "/cluster/ha/resources/vm:110"))
	if stop, ok := errors.AsType[*builtin.Stop](err); !ok || stop.Kind != builtin.PlanEnds || !strings.Contains(stop.What, "DELETE /cluster/ha/resources/vm:110") {
		t.Error(err)
	}
	r.plan = nil
	if len(ask[HA](r, "ha").Resources) != 1 {
		t.Error("a plan deleted it")
	}
}

func TestWaitTask(t *testing.T) {
	r := clusterLab(t, "vzdump:109=hang")
	upids := map[string]string{}
	for _, task := range ask[[]Task](r, "tasks") {
		upids[task.Status] = string(task.UPID)
	}
	if got := ask[TaskDetail](r, "wait_task", arg("upid", upids["OK"])); !got.OK || got.Log[len(got.Log)-1] != "TASK OK" {
		t.Errorf("%+v", got)
	}
	f := r.fails(builtin.Failed, "already running", "wait_task", arg("upid", upids["VM 103 already running"]))
	if d := f.Partial.(TaskDetail); d.OK || d.Status != "VM 103 already running" {
		t.Errorf("%+v", d)
	}
	gone := strings.Replace(upids["OK"], ":qmstart:", ":qmstop:", 1)
	if gone == upids["OK"] {
		gone = strings.NewReplacer(":vzstart:", ":vzstop:", ":qmshutdown:", ":qmstop:").Replace(gone)
	}
	r.fails(builtin.NotFound, "no such task", "wait_task", arg("upid", gone))

	// A task that hangs is given up, and said to go on.
	var hung string
	f = r.startHanging(t, &hung)
	if !strings.Contains(f.Hint, "goes on") {
		t.Errorf("%+v", f)
	}
	r.plan = &builtin.Overlay{}
	_, err := r.try("wait_task", arg("upid", hung))
	if stop, ok := errors.AsType[*builtin.Stop](err); !ok || stop.Kind != builtin.PlanEnds {
		t.Error(err)
	}
	if s := ask[StoppedTask](r, "stop_task", arg("upid", hung)); !s.Stopped || s.Status.Known() {
		t.Errorf("%+v", s)
	}
	r.plan = nil
	if s := r.settle("stop_task", "", arg("upid", hung)); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
	if s := ask[StoppedTask](r, "stop_task", arg("upid", hung)); !s.Stopped || s.Status.Value != "interrupted by signal" {
		t.Errorf("%+v", s)
	}
	if s := ask[StoppedTask](r, "stop_task", arg("upid", hung)); s.Stopped { // it had ended
		t.Errorf("%+v", s)
	}
	if s := r.settle("stop_task", "", arg("upid", hung)); s.State != builtin.Done {
		t.Errorf("%+v", s)
	}
}

// startHanging begins a backup that hangs, and waits for it in vain.
func (r *clusterRun) startHanging(t *testing.T, upid *string) *builtin.Fault {
	t.Helper()
	f, _ := r.mod.Func("call")
	bound, err := f.Bind(nil, []builtin.Named{arg("method", "POST"), arg("path", "/nodes/pve1/vzdump"), arg("vmid", int64(109)), arg("storage", "backup")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err = f.Do(ctx, &builtin.Call{Func: f, Args: bound, Decision: CallDecision{Method: "POST"}, Run: &builtin.Run{Now: r.lab.Now,
		Handle: func(_ builtin.Call, h string) error { *upid = h; cancel(); return nil }}})
	if !errors.Is(err, context.Canceled) || *upid == "" {
		t.Fatal(err)
	}
	return r.fails(builtin.Timeout, "waiting for the task", "wait_task", arg("upid", *upid), arg("timeout", "2h"))
}

func TestRebootNode(t *testing.T) {
	r := clusterLab(t)
	node := arg("node", "pve2")
	f := r.fails(builtin.Conflict, "stop_guests", "reboot_node", node)
	if !strings.Contains(f.Said, "101, 103, 105") {
		t.Error(f)
	}
	got := ask[RebootedNode](r, "reboot_node", node, arg("stop_guests", true))
	if !got.Back || got.Uptime.Value > 600 || got.Kernel.Value == "" || len(got.Guests.Value) != 0 || len(r.held) != 1 {
		t.Errorf("%+v %v", got, r.held)
	}
	if !slices.ContainsFunc(r.progress, func(s string) bool { return strings.Contains(s, "it shuts down") }) {
		t.Error(r.progress)
	}
	if s := r.settle("reboot_node", r.held[0], node); s.State != builtin.Done || !s.Result.(RebootedNode).Back {
		t.Errorf("%+v", s)
	}
	if s := r.settle("reboot_node", "", node); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
	// Resumed after it has booted: it is not booted again.
	r.handle = r.held[0]
	before := len(ask[[]Task](r, "tasks", node, arg("kind", "stopall")))
	ask[RebootedNode](r, "reboot_node", node)
	if after := len(ask[[]Task](r, "tasks", node, arg("kind", "stopall"))); before != 1 || after != 1 {
		t.Errorf("%d, %d reboots", before, after)
	}
}

// The very node that nixmox asks: nobody answers for a while.
func TestRebootTheNodeThatIsAsked(t *testing.T) {
	r := clusterLab(t)
	if got := ask[RebootedNode](r, "reboot_node", pve1, arg("stop_guests", true)); !got.Back || got.Uptime.Value > 600 {
		t.Errorf("%+v", got)
	}
}

func TestRebootRefuses(t *testing.T) {
	r := clusterLabAt(t, lab.ClockReal)
	r.fails(builtin.NotFound, "pve9", "reboot_node", arg("node", "pve9"))
	// Two nodes of three are needed; one is down.
	ask[RebootedNode](r, "reboot_node", arg("node", "pve3"), arg("stop_guests", true), arg("wait", false))
	r.lab.Advance(21 * time.Second)
	f := r.fails(builtin.Conflict, "lose_quorum", "reboot_node", pve2, arg("stop_guests", true))
	if !strings.Contains(f.Said, "1 votes of the 2") {
		t.Error(f)
	}

	r = clusterLab(t, "vzdump:109=hang")
	var hung string
	r.startHanging(t, &hung)
	r.fails(builtin.Busy, hung, "reboot_node", pve1, arg("stop_guests", true))

	r = clusterLab(t, "api:POST /nodes/pve2/status=403")
	r.fails(builtin.Forbidden, "Permission check failed", "reboot_node", pve2, arg("stop_guests", true))
	r = clusterLab(t)
	r.plan = &builtin.Overlay{}
	if got := ask[RebootedNode](r, "reboot_node", pve2, arg("stop_guests", true)); !got.Back || len(r.plan.Assumed()) != 1 {
		t.Errorf("%+v %v", got, r.plan.Assumed())
	}
	r.fails(builtin.Conflict, "guests run on it", "reboot_node", pve2)
}

// A node that never goes down, and one whose request got lost.
func TestRebootThatDoesNotHappen(t *testing.T) {
	r := clusterLab(t, "api:POST /nodes/pve2/status=drop", "vzdump:109=hang")
	if got := ask[RebootedNode](r, "reboot_node", pve2, arg("stop_guests", true)); !got.Back { // it was carried out
		t.Errorf("%+v", got)
	}
	was := boot{uptime: 1000, seen: r.lab.Now()}
	for _, x := range []struct {
		uptime int64
		after  int64 // seconds
		newer  bool
	}{{1000, 0, false}, {1010, 10, false}, {1000, 20, false}, {999, 0, true}, {5, 120, true}, {1100, 200, true}, {2000, 1000, false}, {2000, 900, false}} {
		if got := was.newer(x.uptime, was.seen.Add(time.Duration(x.after)*time.Second)); got != x.newer {
			t.Errorf("%+v: %v", x, got)
		}
	}
	if b, ok := parseBoot(was.String()); !ok || b.uptime != 1000 || b.seen.Unix() != was.seen.Unix() {
		t.Error(b, ok)
	}
}
