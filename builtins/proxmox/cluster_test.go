package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/internal/pvetest"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// clusterRun is the module over a lab of its own. At the end each request and each
// good answer is held against both schemas.
type clusterRun struct {
	t        *testing.T
	lab      *lab.Lab
	mod      builtin.Module
	plan     *builtin.Overlay
	handle   string
	held     []string
	progress []string
}

// onlySince9 are paths that Proxmox VE 8 has not; the module finds that out by
// asking.
var onlySince9 = []string{"/cluster/ha/rules"}

func clusterLab(t *testing.T, faults ...string) *clusterRun {
	t.Helper()
	return clusterLabAt(t, lab.ClockAuto, faults...)
}

// clusterLabAt has a clock of the test's choice. With ClockReal nothing goes on
// but by Advance, however slow the machine is.
func clusterLabAt(t *testing.T, clock lab.ClockMode, faults ...string) *clusterRun {
	t.Helper()
	var mu sync.Mutex
	var seen []lab.Exchange
	o := lab.Options{Dir: t.TempDir(), Clock: clock, Brief: true, History: history, Observe: func(x lab.Exchange) {
		mu.Lock()
		seen = append(seen, x)
		mu.Unlock()
	}}
	for _, text := range faults {
		f, err := lab.ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		o.Faults = append(o.Faults, f)
	}
	l, err := lab.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	end, err := l.Start()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pve.New(pve.Config{
		URL: end.URL, TokenID: end.TokenID, Token: pve.NewSecret(end.TokenSecret), Fingerprint: end.Fingerprint,
		Poll: time.Millisecond, Now: l.Now, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		for _, version := range []string{"9.2.11", "8.4.5"} {
			schema := pvetest.Schema(t, version)
			for _, x := range seen {
				if version == "8.4.5" && slices.Contains(onlySince9, x.Path) {
					continue
				}
				if err := schema.CheckRequest(x.Method, x.Path, x.Params); err != nil && x.Status != 501 && x.Status != 400 {
					t.Errorf("%s: %v", version, err)
				}
				var body struct{ Data json.RawMessage }
				if x.Status != 200 || json.Unmarshal(x.Body, &body) != nil || version != "9.2.11" {
					continue
				}
				if err := schema.CheckAnswer(x.Method, x.Path, body.Data); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return &clusterRun{t: t, lab: l, mod: Module(c)}
}

// try binds and performs a function the way a language does; in a plan it
// previews changes.
func (r *clusterRun) try(name string, args ...builtin.Named) (any, error) {
	r.t.Helper()
	f, ok := r.mod.Func(name)
	if !ok {
		r.t.Fatal("no function " + name)
	}
	bound, err := f.Bind(nil, args)
	if err != nil {
		return nil, err
	}
	run := &builtin.Run{Now: r.lab.Now, Planned: r.plan,
		Progress: func(_ builtin.Call, p builtin.Progress) { r.progress = append(r.progress, p.Step) },
		Handle:   func(_ builtin.Call, h string) error { r.held = append(r.held, h); return nil },
		Secret:   func(name string) (string, error) { return "the text of " + name, nil },
	}
	call := &builtin.Call{Func: f, Args: bound, Run: run, Branch: builtin.NewBranch(), Place: "1", Handle: r.handle}
	ctx := context.Background()
	if f.Effect == builtin.Irreversible {
		if call.Decision, err = f.Decide(ctx, call); err != nil {
			return nil, err
		}
	}
	var out any
	if r.plan != nil && f.Effect.Alters() {
		out, err = f.Preview(ctx, call)
	} else {
		out, err = f.Do(ctx, call)
	}
	if err != nil {
		return nil, err
	}
	// Every result crosses to the language, and to the journal and back.
	text, err := json.Marshal(builtin.Typed{Type: f.Result, Value: out})
	if err == nil && r.plan == nil {
		_, err = f.Result.Decode(text)
	}
	if err != nil {
		r.t.Errorf("%s: %v in %s", name, err, text)
	}
	return out, nil
}

func ask[T any](r *clusterRun, name string, args ...builtin.Named) T {
	r.t.Helper()
	out, err := r.try(name, args...)
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	return out.(T)
}

func (r *clusterRun) fails(kind builtin.Kind, says, name string, args ...builtin.Named) *builtin.Fault {
	r.t.Helper()
	_, err := r.try(name, args...)
	want(r.t, err, kind, says)
	return builtin.AsFault(err)
}

func (r *clusterRun) settle(name, handle string, args ...builtin.Named) builtin.Settlement[any] {
	r.t.Helper()
	f, _ := r.mod.Func(name)
	bound, err := f.Bind(nil, args)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := f.Settle(context.Background(), &builtin.Call{Func: f, Args: bound, Run: &builtin.Run{Now: r.lab.Now}, Branch: builtin.NewBranch()}, handle)
	if err != nil {
		r.t.Fatal(name, err)
	}
	return s
}

var pve1, pve2 = arg("node", "pve1"), arg("node", "pve2")

func TestClusterReads(t *testing.T) {
	r := clusterLab(t)
	if c := ask[Cluster](r, "cluster"); c.Name != "lab" || !c.Quorate || c.Online != 3 || c.Version != 3 || c.Nodes[0].Address != "192.0.2.11" || !c.Nodes[0].Local {
		t.Errorf("%+v", c)
	}
	if n := ask[NodeDetail](r, "node", pve1); n.Kernel != "6.17.13-2-pve" || n.Cores != 16 || n.Uptime < 9*24*3600 || n.Boot != "efi" || len(n.Load) != 3 || n.Load[0] != 0.42 || n.DiskFree == 0 || n.Memory <= n.MemoryUsed {
		t.Errorf("%+v", n)
	}
	nets := ask[Networks](r, "networks", pve1)
	i := slices.IndexFunc(nets.Interfaces, func(i Interface) bool { return i.Name == "vmbr0" })
	if b := nets.Interfaces[i]; b.Kind != "bridge" || !slices.Equal(b.Addresses, []string{"192.0.2.11/24"}) || !slices.Equal(b.Ports, []string{"bond0"}) || b.Gateway == "" || b.Comment != "the LAN" || nets.Pending != "" {
		t.Errorf("%+v", b)
	}
	if b := nets.Interfaces[0]; b.Name != "bond0" || b.Bond != "active-backup" || !slices.Equal(b.Ports, []string{"eno1", "eno2"}) {
		t.Errorf("%+v", b)
	}
	if p := ask[Networks](r, "networks", arg("node", "pve3")).Pending; !strings.Contains(p, "+\tmtu 9000") {
		t.Error(p)
	}
	if p := ask[[]Pool](r, "pools"); len(p) != 1 || p[0].Name != "production" || !slices.Equal(p[0].Guests, []builtin.VMID{100, 102, 104, 105, 106}) || !slices.Equal(p[0].Storages, []string{"backup"}) {
		t.Errorf("%+v", p)
	}
	tags := ask[[]Tag](r, "tags")
	i = slices.IndexFunc(tags, func(t Tag) bool { return t.Name == "web" })
	if !slices.Equal(tags[i].Guests, []builtin.VMID{104, 105}) || tags[i].Registered {
		t.Errorf("%+v", tags)
	}
	ha := ask[HA](r, "ha")
	if len(ha.Resources) != 1 || ha.Resources[0].Guest != 110 || ha.Resources[0].State != "started" || ha.Resources[0].Status != "started" || ha.Resources[0].Node != "pve3" || !ha.Quorate {
		t.Errorf("%+v", ha.Resources)
	}
	if len(ha.Rules) != 1 || ha.Rules[0].Kind != "node-affinity" || !slices.Equal(ha.Rules[0].Nodes, []string{"pve2", "pve3:2"}) || !ha.Rules[0].Enabled || len(ha.Nodes) != 3 || ha.Nodes[2].Status != "active" || ha.Nodes[0].Status != "idle" {
		t.Errorf("%+v %+v", ha.Rules, ha.Nodes)
	}
	perms := ask[[]Permission](r, "permissions")
	if perms[0].Path != "/" || !slices.Contains(perms[0].Privileges, "VM.Backup") || !slices.Contains(perms[0].Below, "VM.Backup") || slices.Contains(perms[0].Privileges, "Permissions.Modify") {
		t.Errorf("%+v", perms[0])
	}
	if p := ask[[]Permission](r, "permissions", arg("path", "/nodes/pve1")); len(p) != 1 || !slices.Contains(p[0].Privileges, "Sys.Modify") {
		t.Errorf("%+v", p)
	}
	if s := ask[[]Service](r, "services", pve1); !slices.ContainsFunc(s, func(s Service) bool { return s.Name == "pvedaemon" && s.Active == "active" && s.Enabled == "enabled" }) {
		t.Errorf("%+v", s)
	}
	if s := ask[Subscription](r, "subscription", pve1); s.Status != "notfound" || s.Active {
		t.Errorf("%+v", s)
	}
	if c := ask[[]Certificate](r, "certificates", pve1); len(c) != 1 || c[0].Days < 7000 || !slices.Contains(c[0].Names, "localhost") || len(c[0].Fingerprint) != 95 {
		t.Errorf("%+v", c)
	}
	if id := ask[int64](r, "next_id"); id != 112 {
		t.Error(id)
	}
	for _, name := range []string{"node", "networks", "services", "subscription", "certificates", "repositories", "updates", "refresh_updates"} {
		r.fails(builtin.NotFound, "pve9", name, arg("node", "pve9"))
	}
}

func TestUpdates(t *testing.T) {
	r := clusterLab(t)
	u := ask[Updates](r, "updates", pve1)
	if len(u.Packages) != 2 || u.Packages[1].Name != "openssl" || u.Packages[1].Old != "3.5.1-1+deb13u1" || u.Packages[1].Origin != "Debian" || u.Reboot || len(u.Warnings) != 0 {
		t.Errorf("%+v", u)
	}
	repos := ask[Repositories](r, "repositories", pve1)
	if len(repos.Repositories) != 5 || !repos.Repositories[3].Enabled || repos.Repositories[4].Enabled || repos.Repositories[3].Components[0] != "pve-no-subscription" || len(repos.Warnings) != 0 {
		t.Errorf("%+v", repos)
	}
	if s := repos.Standard; s[0].Status != "disabled" || s[1].Status != "enabled" || s[2].Status != "absent" {
		t.Errorf("%+v", s)
	}
	got := ask[RefreshResult](r, "refresh_updates", pve1)
	if got.Packages.Value != 5 || got.Status.Value != "OK" || len(r.held) != 1 || r.held[0] != got.Task.Value || !slices.Contains(r.progress, "starting apt-get update") {
		t.Errorf("%+v %v %v", got, r.held, r.progress)
	}
	if u := ask[Updates](r, "updates", pve1); !u.Reboot || len(u.Packages) != 5 {
		t.Errorf("%+v", u)
	}
	if s := r.settle("refresh_updates", r.held[0], pve1); s.State != builtin.Done || s.Result.(RefreshResult).Packages.Value != 5 {
		t.Errorf("%+v", s)
	}
	if s := r.settle("refresh_updates", "", pve1); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
	// The enterprise repository without a subscription: named as what it is,
	// and the 401 explained.
	ask[CallResult](r, "call", arg("method", "PUT"), arg("path", "/nodes/pve2/apt/repositories"), arg("handle", "enterprise"))
	if w := ask[Repositories](r, "repositories", pve2).Warnings; len(w) != 1 || !strings.Contains(w[0], "no valid subscription") || !strings.Contains(w[0], "401") {
		t.Error(w)
	}
	f := r.fails(builtin.Failed, "wants a subscription", "refresh_updates", pve2)
	if !strings.Contains(f.Said, "401  Unauthorized") || f.Partial.(RefreshResult).Status.Value == "OK" {
		t.Errorf("%+v", f)
	}
	if s := r.settle("refresh_updates", r.held[len(r.held)-1], pve2); s.State != builtin.Done || s.Fault == nil {
		t.Errorf("%+v", s)
	}
	// Without a repository of Proxmox's own, updates lead away from it.
	ask[CallResult](r, "call", arg("method", "POST"), arg("path", "/nodes/pve1/apt/repositories"), arg("enabled", false), arg("index", int64(0)), arg("params", map[string]any{"path": "/etc/apt/sources.list.d/proxmox.sources"}))
	if w := ask[Updates](r, "updates", pve1).Warnings; len(w) != 1 || !strings.Contains(w[0], "may remove proxmox-ve") {
		t.Error(w)
	}
}

// Trap 27: what would take Proxmox VE from a node is flagged.
func TestDangerousUpdates(t *testing.T) {
	c := threeNodes()
	c.answers["/nodes/pve1/apt/update"] = []m{
		{"Package": "pve-manager", "OldVersion": "8.4.5", "Version": "9.0.3", "Origin": "Proxmox"},
		{"Package": "proxmox-kernel-6.8", "OldVersion": "6.8.12-1", "Version": "6.8.12-9", "Origin": "Proxmox"},
		{"Package": "proxmox-kernel-helper", "OldVersion": "8.1.0", "Version": "9.0.0"},
	}
	c.answers["/nodes/pve1/apt/versions"] = []m{{"Package": "proxmox-ve", "CurrentState": "ConfigFiles"}, {"Package": "pve-manager", "CurrentState": "Installed"}}
	c.answers["/nodes/pve1/apt/repositories"] = m{
		"files":  []m{{"path": "/etc/apt/sources.list", "repositories": []m{{"Enabled": 1, "URIs": []string{"http://deb.debian.org/debian"}, "Components": []string{"main"}}}}},
		"errors": []m{{"path": "/etc/apt/sources.list.d/x.list", "error": "malformed"}},
		"infos":  []m{{"path": "/etc/apt/sources.list", "index": "0", "kind": "warning", "message": "old suite 'bookworm' configured"}},
	}
	v, err := call(t, c, "updates", pve1)
	u, _ := v.(Updates)
	all := strings.Join(u.Warnings, "\n")
	if err != nil || !u.Reboot || len(u.Packages) != 3 {
		t.Fatalf("%+v %v", u, err)
	}
	for _, says := range []string{"a major upgrade", "proxmox-ve is ConfigFiles", "no repository of Proxmox VE", "malformed", "old suite"} {
		if !strings.Contains(all, says) {
			t.Errorf("%q is not in %s", says, all)
		}
	}
}

func TestPools(t *testing.T) {
	r := clusterLab(t)
	production := arg("pool", "production")
	p := ask[Pool](r, "add_to_pool", production, arg("guests", []any{int64(100), int64(103)}), arg("storages", []any{"media", "backup"}))
	if !slices.Contains(p.Guests, 103) || !slices.Equal(p.Storages, []string{"backup", "media"}) {
		t.Errorf("%+v", p)
	}
	ask[Pool](r, "add_to_pool", production, arg("guests", []any{int64(103)})) // once more is nothing
	p = ask[Pool](r, "remove_from_pool", production, arg("guests", []any{int64(103), int64(101)}), arg("storages", []any{"media"}))
	if slices.Contains(p.Guests, 103) || len(p.Guests) != 5 || len(p.Storages) != 1 {
		t.Errorf("%+v", p)
	}
	r.fails(builtin.NotFound, "none", "add_to_pool", arg("pool", "none"), arg("guests", []any{int64(103)}))
	r.fails(builtin.NotFound, "999", "add_to_pool", production, arg("guests", []any{int64(999)}))
	r.fails(builtin.Invalid, "neither", "add_to_pool", production)
	r.fails(builtin.Invalid, "pool", "add_to_pool", arg("pool", "a b"), arg("guests", []any{int64(103)}))
	ask[CallResult](r, "call", arg("method", "POST"), arg("path", "/pools"), arg("poolid", "spare"))
	spare := arg("pool", "spare")
	r.fails(builtin.Conflict, "production", "add_to_pool", spare, arg("guests", []any{int64(100)}))
	ask[Pool](r, "add_to_pool", spare, arg("guests", []any{int64(100)}), arg("move", true))
	pools := ask[[]Pool](r, "pools")
	if len(pools) != 2 || slices.Contains(pools[0].Guests, 100) || !slices.Contains(pools[1].Guests, 100) {
		t.Errorf("%+v", pools)
	}
	if s := r.settle("add_to_pool", "", spare, arg("guests", []any{int64(100)})); s.State != builtin.Done {
		t.Errorf("%+v", s)
	}
	if s := r.settle("add_to_pool", "", spare, arg("guests", []any{int64(101)})); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
}

// A lost answer is settled by looking.
func TestPoolAnswerLost(t *testing.T) {
	r := clusterLab(t, "api:PUT /pools=drop*1", "api:PUT /pools=595*1")
	p := ask[Pool](r, "add_to_pool", arg("pool", "production"), arg("guests", []any{int64(103)}))
	if !slices.Contains(p.Guests, 103) {
		t.Error(p)
	}
	r.fails(builtin.Unreachable, "595", "add_to_pool", arg("pool", "production"), arg("guests", []any{int64(101)}))
}

func TestPlannedPools(t *testing.T) {
	r := clusterLab(t)
	r.plan = &builtin.Overlay{}
	production := arg("pool", "production")
	p := ask[Pool](r, "add_to_pool", production, arg("guests", []any{int64(103)}))
	if !slices.Contains(p.Guests, 103) {
		t.Error(p)
	}
	ask[Pool](r, "remove_from_pool", production, arg("guests", []any{int64(105)}))
	pools := ask[[]Pool](r, "pools")
	if !slices.Contains(pools[0].Guests, 103) || slices.Contains(pools[0].Guests, 105) {
		t.Errorf("%+v", pools)
	}
	guests := ask[[]Guest](r, "guests", arg("select", []any{"%production"}))
	if !slices.ContainsFunc(guests, func(g Guest) bool { return g.ID == 103 }) || slices.ContainsFunc(guests, func(g Guest) bool { return g.ID == 105 }) {
		t.Errorf("%+v", guests)
	}
	ask[HAResource](r, "ha_set", arg("guest", int64(110)), arg("state", "stopped"))
	if ha := ask[HA](r, "ha"); ha.Resources[0].State != "stopped" || ha.Resources[0].Status != "started" {
		t.Errorf("%+v", ha.Resources)
	}
	ask[RefreshResult](r, "refresh_updates", pve1)
	ask[Updates](r, "updates", pve1)
	if a := r.plan.Assumed(); len(a) != 1 || !strings.Contains(a[0], "pve1") {
		t.Error(a)
	}
	r.plan = nil // and nothing was changed
	if p := ask[[]Pool](r, "pools")[0]; slices.Contains(p.Guests, 103) || !slices.Contains(p.Guests, 105) {
		t.Error(p)
	}
	if ask[HA](r, "ha").Resources[0].State != "started" || len(ask[Updates](r, "updates", pve1).Packages) != 2 {
		t.Error("a plan changed something")
	}
}

func TestHASet(t *testing.T) {
	r := clusterLab(t)
	g := arg("guest", int64(110))
	if h := ask[HAResource](r, "ha_set", g, arg("state", "stopped")); h.State != "stopped" || h.SID != "vm:110" {
		t.Errorf("%+v", h)
	}
	r.lab.Advance(time.Minute)
	if h := ask[HA](r, "ha").Resources[0]; h.Status != "stopped" {
		t.Errorf("%+v", h)
	}
	ask[HAResource](r, "ha_set", g, arg("state", "started"))
	if s := r.settle("ha_set", "", g, arg("state", "started")); s.State != builtin.Done {
		t.Errorf("%+v", s)
	}
	if s := r.settle("ha_set", "", g, arg("state", "ignored")); s.State != builtin.NotDone {
		t.Errorf("%+v", s)
	}
	r.fails(builtin.NotFound, "100", "ha_set", arg("guest", int64(100)), arg("state", "stopped"))
	r.fails(builtin.NotFound, "999", "ha_set", arg("guest", int64(999)), arg("state", "stopped"))
	r.fails(builtin.Invalid, "none of", "ha_set", g, arg("state", "off"))
}

// Proxmox VE 8 has groups in place of rules.
func TestHAOfProxmox8(t *testing.T) {
	c := threeNodes()
	c.answers["/cluster/ha/resources"] = []m{{"sid": "ct:100", "type": "ct", "group": "home", "digest": "x"}}
	c.answers["/cluster/ha/status/current"] = []m{{"id": "quorum", "type": "quorum", "node": "pve1", "quorate": "1", "status": "OK"}}
	c.answers["/cluster/ha/groups"] = []m{{"group": "home", "type": "group", "nodes": "pve1:2,pve2", "restricted": 1}}
	c.missing = []string{"/cluster/ha/rules"}
	v, err := call(t, c, "ha")
	ha, _ := v.(HA)
	if err != nil || len(ha.Rules) != 1 || ha.Rules[0].Kind != "group" || !ha.Rules[0].Strict || ha.Resources[0].Group != "home" || ha.Resources[0].State != "started" || !ha.Quorate {
		t.Errorf("%+v %v", ha, err)
	}
}
