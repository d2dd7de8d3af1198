package proxmox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// history is shared by the labs of all tests.
var history string

func TestMain(m *testing.M) {
	var err error
	if history, err = os.MkdirTemp("", "nixmox-history-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(history); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

type m = map[string]any

// cluster answers what is in it by path, and everything else like a node that
// is down.
type cluster struct {
	answers map[string]any
	missing []string // paths that this version does not have
	mu      sync.Mutex
	asked   []string
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api2/json")
	c.mu.Lock()
	c.asked = append(c.asked, path)
	data, ok := c.answers[path]
	c.mu.Unlock()
	if slices.Contains(c.missing, path) {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	if !ok {
		w.WriteHeader(595)
		return
	}
	_ = json.NewEncoder(w).Encode(m{"data": data})
}

func threeNodes() *cluster {
	return &cluster{answers: map[string]any{
		"/version": m{"version": "9.2.11", "release": "9.2", "repoid": "14a22df35955d97d"},
		"/nodes": []m{
			{"node": "pve2", "status": "online"}, {"node": "pve1", "status": "online", "cpu": 0.5, "maxcpu": 4, "maxmem": 1 << 33, "uptime": 5},
			{"node": "pve3", "status": "offline"},
		},
		"/cluster/resources": []m{
			{"type": "qemu", "vmid": 101, "name": "db01", "node": "pve2", "status": "running", "tags": "db;prod", "pool": "p", "lock": "backup", "template": 0, "maxcpu": 2, "uptime": 9},
			{"type": "lxc", "vmid": "100", "name": "ct", "node": "pve1", "status": "stopped"},
			{"type": "qemu", "vmid": 9000, "name": "base", "node": "pve1", "template": "1"},
			{"type": "node", "node": "pve1"},
		},
		"/nodes/pve2/qemu/101/config": m{"memory": "256", "cores": 2, "digest": "x", "big": json.Number("18446744073709551615"), "f": 0.5, "list": []any{1, "a"}},
		"/nodes/pve1/lxc/100/config":  m{"memory": 128},
		"/storage": []m{
			{"storage": "nas", "type": "nfs", "path": "/mnt/pve/nas", "content": "backup", "prune-backups": "keep-daily=7"},
			{"storage": "local", "type": "dir", "path": "/var/lib/vz", "content": "iso,backup"},
			{"storage": "one", "type": "dir", "path": "/one", "nodes": "pve1"},
			{"storage": "far", "type": "nfs", "path": "/far", "nodes": "pve3"},
			{"storage": "off", "type": "dir", "path": "/off", "nodes": "pve1", "disable": 1},
		},
		"/nodes/pve1/storage": []m{
			{"storage": "local", "active": 1, "enabled": 1, "total": 100, "used": 40, "avail": 60}, {"storage": "nas", "active": "0"}, {"storage": "one", "active": 1},
		},
		"/nodes/pve2/storage": []m{{"storage": "local", "active": 1}, {"storage": "nas", "active": 1}},
		"/nodes/pve1/storage/nas/content": []m{
			{"volid": "nas:backup/vzdump-qemu-101-2026_11_23-12_07_11.vma.zst", "content": "backup", "subtype": "qemu", "vmid": 101, "ctime": 1795435631, "size": 40582, "format": "vma.zst", "notes": "a\nb", "protected": 1, "verification": m{"state": "ok"}},
			{"volid": "nas:iso/x.iso", "content": "iso", "size": 1},
		},
		"/nodes/pve1/storage/one/content":   []m{},
		"/nodes/pve2/storage/local/content": []m{},
		"/nodes/pve1/tasks": []m{
			{"upid": upid("pve1", 30, "vzdump"), "status": "job errors", "endtime": 40}, {"upid": upid("pve1", 10, "qmstart"), "status": "OK", "endtime": 11},
		},
		"/nodes/pve2/tasks": []m{
			{"upid": upid("pve2", 20, "vzdump"), "status": "RUNNING"}, {"upid": upid("pve2", 20, "vzdump"), "status": "WARNINGS: 2", "endtime": 25},
		},
		"/nodes/pve1/tasks/" + upid("pve1", 30, "vzdump") + "/status": m{"status": "stopped", "exitstatus": "WARNINGS: 2"},
		"/nodes/pve1/tasks/" + upid("pve1", 30, "vzdump") + "/log":    []m{{"n": 1, "t": "INFO: a"}, {"n": 2, "t": "TASK WARNINGS: 2"}},
	}}
}

func upid(node string, start int, kind string) string {
	return fmt.Sprintf("UPID:%s:0000021D:000836CB:%08X:%s:101:root@pam!tok:", node, start, kind)
}

// call binds and performs a function the way a language does.
func call(t *testing.T, c *cluster, name string, args ...builtin.Named) (any, error) {
	t.Helper()
	srv := httptest.NewTLSServer(c)
	defer srv.Close()
	sum := sha256.Sum256(srv.Certificate().Raw)
	p, err := pve.New(pve.Config{
		URL: srv.URL, TokenID: "aa@pve!bb", Token: pve.NewSecret("x"), Fingerprint: hex.EncodeToString(sum[:]),
		Sleep: func(context.Context, time.Duration) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	mod := Module(p)
	f, ok := mod.Func(name)
	if !ok {
		t.Fatal("no function " + name)
	}
	bound, err := f.Bind(nil, args)
	if err != nil {
		return nil, err
	}
	out, err := f.Do(context.Background(), &builtin.Call{Func: f, Args: bound, Run: &builtin.Run{}, Branch: builtin.NewBranch()})
	if err != nil {
		return nil, err
	}
	f.Result.Neutral(out) // every result crosses to the language
	return out, nil
}

func arg(name string, value any) builtin.Named { return builtin.Named{Name: name, Value: value} }

func want(t *testing.T, err error, kind builtin.Kind, says string) {
	t.Helper()
	f := builtin.AsFault(err)
	if f == nil || f.Kind != kind || !strings.Contains(f.Error()+" "+f.Hint, says) {
		t.Errorf("want %s with %q, got %+v", kind, says, err)
	}
}

func TestModule(t *testing.T) {
	mod := Module(nil)
	for _, f := range mod.Funcs {
		if f.Example == "" || f.Source == "" || len(f.Errors) == 0 || !strings.Contains(f.Example, "proxmox."+f.Name+"(") {
			t.Errorf("%s: %+v", f.Name, f.Reference)
		}
		for _, field := range slices.Concat(f.Args.Fields, fieldsOf(f.Result)) {
			if field.Doc == "" {
				t.Errorf("%s: %s has no doc", f.Name, field.Name)
			}
		}
	}
}

func fieldsOf(t *builtin.Type) []builtin.Field {
	if t.Elem != nil {
		return fieldsOf(t.Elem)
	}
	return t.Fields
}

func TestVersionAndNodes(t *testing.T) {
	v, err := call(t, threeNodes(), "version")
	if err != nil || v.(Version).Version != "9.2.11" {
		t.Error(v, err)
	}
	v, err = call(t, threeNodes(), "nodes")
	nodes := v.([]Node)
	if err != nil || len(nodes) != 3 || nodes[0].Name != "pve1" || nodes[0].Cores != 4 || nodes[0].Memory != 1<<33 || nodes[2].Status != "offline" {
		t.Errorf("%+v %v", nodes, err)
	}
}

func TestGuests(t *testing.T) {
	c := threeNodes()
	v, err := call(t, c, "guests")
	guests, _ := v.([]Guest)
	if err != nil || len(guests) != 2 || len(c.asked) != 1 {
		t.Fatalf("%+v %v %v", guests, c.asked, err)
	}
	if guests[0].ID != 100 || guests[0].Kind != "container" || guests[0].Tags == nil && len(guests[0].Tags) != 0 {
		t.Errorf("%+v", guests[0])
	}
	if g := guests[1]; g.ID != 101 || g.Kind != "vm" || g.Node != "pve2" || !reflect.DeepEqual(g.Tags, []string{"db", "prod"}) || g.Pool != "p" || g.Lock != "backup" || g.Uptime != 9 {
		t.Errorf("%+v", g)
	}
	v, err = call(t, threeNodes(), "guests", arg("select", []any{"base,-100", "@db"}), arg("templates", true))
	if err != nil || len(v.([]Guest)) != 2 {
		t.Error(v, err)
	}
	_, err = call(t, threeNodes(), "guests", arg("select", []any{"@prdo"}))
	want(t, err, builtin.NotFound, "@prdo")
	_, err = call(t, threeNodes(), "guests", arg("select", []any{"100,"}))
	want(t, err, builtin.Invalid, "no selector")
	_, err = call(t, threeNodes(), "guests", arg("select", []any{}))
	want(t, err, builtin.Invalid, "no selector")
}

// /cluster/resources lags: a new guest is unknown and has no name there.
func TestGuestsThatAreNew(t *testing.T) {
	lagging := func(node string) *cluster {
		c := threeNodes()
		list := c.answers["/cluster/resources"].([]m)
		for i := range 300 { // the requests grow with the nodes
			list = append(list, m{"type": "qemu", "vmid": 1000 + i, "node": node, "status": "unknown"})
		}
		c.answers["/cluster/resources"] = append(list, m{"type": "qemu", "vmid": 5000, "node": node, "status": "unknown"})
		return c
	}
	c := lagging("pve2")
	onNode := []m{{"vmid": 5000, "name": "newtemplate", "status": "stopped", "template": 1}}
	for i := range 300 {
		onNode = append(onNode, m{"vmid": 1000 + i, "name": fmt.Sprint("new", i), "status": "running"})
	}
	c.answers["/nodes/pve2/qemu"] = onNode
	v, err := call(t, c, "guests", arg("select", []any{"new*"}))
	guests, _ := v.([]Guest)
	if err != nil || len(guests) != 300 || guests[7].Name != "new7" || guests[7].Status != "running" || len(c.asked) != 2 {
		t.Errorf("%d %v %v", len(guests), c.asked, err)
	}
	// The node is down: a name cannot be told, an id can.
	_, err = call(t, lagging("pve3"), "guests", arg("select", []any{"new*"}))
	want(t, err, builtin.Unreachable, "/nodes/pve3/qemu")
	v, err = call(t, lagging("pve3"), "guests", arg("select", []any{"1000-1001"}))
	if guests, _ := v.([]Guest); err != nil || len(guests) != 2 || guests[0].Status != "unknown" || guests[0].Name != "" {
		t.Errorf("%+v %v", guests, err)
	}
}

func TestConfig(t *testing.T) {
	v, err := call(t, threeNodes(), "config", arg("guest", int64(101)))
	config, _ := v.(map[string]any)
	if err != nil || config["memory"] != "256" || config["cores"] != int64(2) || config["f"] != 0.5 ||
		fmt.Sprintf("%T %v", config["big"], config["big"]) != "*big.Int 18446744073709551615" || !reflect.DeepEqual(config["list"], []any{int64(1), "a"}) {
		t.Errorf("%#v %v", config, err)
	}
	v, err = call(t, threeNodes(), "config", arg("guest", "100"))
	if err != nil || v.(map[string]any)["memory"] != int64(128) {
		t.Error(v, err)
	}
	_, err = call(t, threeNodes(), "config", arg("guest", int64(999)))
	want(t, err, builtin.NotFound, "999")
	_, err = call(t, threeNodes(), "config", arg("guest", int64(9)))
	want(t, err, builtin.Invalid, "guest id")
}

func TestStorages(t *testing.T) {
	v, err := call(t, threeNodes(), "storages")
	list, _ := v.([]Storage)
	var got []string
	for _, s := range list {
		got = append(got, fmt.Sprintf("%s@%s active=%v", s.Name, s.Node, s.Active))
	}
	expected := []string{
		"far@pve3 active=false", "local@pve1 active=true", "local@pve2 active=true", "local@pve3 active=false",
		"nas@pve1 active=false", "nas@pve2 active=true", "nas@pve3 active=false", "off@pve1 active=false", "one@pve1 active=true",
	}
	if err != nil || !reflect.DeepEqual(got, expected) {
		t.Errorf("%v %v", got, err)
	}
	if l := list[1]; l.Total != 100 || l.Used != 40 || l.Available != 60 || l.Shared || !l.Enabled || l.Path != "/var/lib/vz" || !reflect.DeepEqual(l.Content, []string{"backup", "iso"}) {
		t.Errorf("%+v", l)
	}
	if n := list[5]; !n.Shared || n.Keep != "keep-daily=7" || list[7].Enabled {
		t.Errorf("%+v %+v", n, list[7])
	}
	v, err = call(t, threeNodes(), "storages", arg("node", "pve2"))
	if list, _ := v.([]Storage); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
	_, err = call(t, threeNodes(), "storages", arg("node", "pve3"))
	want(t, err, builtin.Unreachable, "pve3")
	_, err = call(t, threeNodes(), "storages", arg("node", "pve9"))
	want(t, err, builtin.NotFound, "pve9")
}

func TestContent(t *testing.T) {
	v, err := call(t, threeNodes(), "content", arg("storage", "nas"))
	list, _ := v.([]Volume)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if a := list[0]; a.Guest != 101 || a.GuestKind != "vm" || a.Created.Unix() != 1795435631 || a.Created.Location() != time.UTC || a.Notes != "a\nb" || !a.Protected || a.Verified != "ok" || a.Size != 40582 {
		t.Errorf("%+v", a)
	}
	for _, args := range [][]builtin.Named{{arg("storage", "one")}, {arg("storage", "local"), arg("node", "pve2")}} {
		if v, err := call(t, threeNodes(), "content", args...); err != nil || len(v.([]Volume)) != 0 {
			t.Error(v, err)
		}
	}
	for storage, test := range map[string]struct {
		kind builtin.Kind
		says string
	}{
		"local": {builtin.Invalid, `node = "pve1"`}, "far": {builtin.Unreachable, "pve3"}, "none": {builtin.NotFound, "none"}, "../x": {builtin.Invalid, "storage"},
	} {
		_, err := call(t, threeNodes(), "content", arg("storage", storage))
		want(t, err, test.kind, test.says)
	}
	_, err = call(t, threeNodes(), "content", arg("storage", "nas"), arg("kind", "junk"))
	want(t, err, builtin.Invalid, "backup")
}

func TestTasks(t *testing.T) {
	v, err := call(t, threeNodes(), "tasks")
	list, _ := v.([]Task)
	if err != nil || len(list) != 3 || list[0].Started.Unix() != 30 || list[0].OK || !list[1].Running || list[2].Status != "OK" {
		t.Errorf("%+v %v", list, err)
	}
	for _, test := range []struct {
		args []builtin.Named
		want int
	}{
		{[]builtin.Named{arg("failed", true)}, 1},
		{[]builtin.Named{arg("limit", int64(1))}, 1},
		{[]builtin.Named{arg("node", "pve2"), arg("guest", int64(101)), arg("kind", "vzdump")}, 1},
	} {
		if v, err := call(t, threeNodes(), "tasks", test.args...); err != nil || len(v.([]Task)) != test.want {
			t.Error(test.args, v, err)
		}
	}
	_, err = call(t, threeNodes(), "tasks", arg("limit", int64(0)))
	want(t, err, builtin.Invalid, "limit")
	_, err = call(t, threeNodes(), "tasks", arg("node", "pve9"))
	want(t, err, builtin.NotFound, "pve9")
}

func TestTask(t *testing.T) {
	v, err := call(t, threeNodes(), "task", arg("upid", upid("pve1", 30, "vzdump")))
	task, _ := v.(TaskDetail)
	if err != nil || !task.OK || task.Warnings != 2 || task.Running || len(task.Log) != 2 || task.User != "root@pam!tok" || task.Object != "101" {
		t.Errorf("%+v %v", task, err)
	}
	_, err = call(t, threeNodes(), "task", arg("upid", "OK"))
	want(t, err, builtin.Invalid, "no UPID")
	if got := UPID(upid("pve1", 30, "vzdump")).ScopeText(); got != "pve1" {
		t.Error(got)
	}
}
