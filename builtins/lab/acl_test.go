package lab

import (
	"encoding/json"
	"strings"
	"testing"
)

// as is the same client with a token of somebody else's.
func (c *client) as(id, secret string) *client {
	d := *c
	d.auth = "PVEAPIToken=" + id + "=" + secret
	return &d
}

// newToken makes a user with a token of privilege separation, as recorded.
func (c *client) newToken(user, name string) *client {
	c.t.Helper()
	c.root().must("POST", "/access/users", "userid", user, "password", "secret12")
	made := get[struct{ Value string }](c.root(), "POST", "/access/users/"+user+"/token/"+name)
	return c.as(user+"!"+name, made.Value)
}

func (c *client) must(method, path string, kv ...string) json.RawMessage {
	c.t.Helper()
	return get[json.RawMessage](c, method, path, kv...)
}

// denied holds the words of a refusal.
func (c *client) denied(reason, method, path string, kv ...string) {
	c.t.Helper()
	if a := c.do(method, path, kv...); a.Status != 403 || a.Reason != reason {
		c.t.Errorf("%s %s %v: %d %s, want 403 %s", method, path, kv, a.Status, a.Reason, reason)
	}
}

// TestPrivilegeSeparation follows the recording: a token has what both it and
// its user were given; lists are cut in silence; a guest that is not there is
// forbidden like one that is.
func TestPrivilegeSeparation(t *testing.T) {
	c := open(t)
	bk := c.newToken("bk@pve", "job")
	count := func(path string) int { return len(get[[]any](bk, "GET", path)) }
	if n := count("/cluster/resources"); n != 3 { // the nodes, of which all may know
		t.Errorf("%d resources", n)
	}
	if n := count("/nodes/pve2/lxc"); n != 0 {
		t.Errorf("%d containers", n)
	}
	bk.denied("Permission check failed (/vms/101, VM.Audit)", "GET", "/nodes/pve2/lxc/101/config")
	bk.denied("Permission check failed (/vms/999, VM.Audit)", "GET", "/nodes/pve2/lxc/999/config")
	bk.denied("Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)", "GET", "/nodes/pve1/storage/local/content")
	bk.denied("Permission check failed (/nodes/pve1, Sys.Modify)", "POST", "/nodes/pve1/apt/update")
	if p := string(bk.must("GET", "/access/permissions")); p != "{}" {
		t.Error(p)
	}
	give := func(kv ...string) { t.Helper(); c.root().must("PUT", "/access/acl", kv...) }
	give("path", "/vms/101", "roles", "PVEVMAdmin", "users", "bk@pve")
	bk.denied("Permission check failed (/vms/101, VM.Audit)", "GET", "/nodes/pve2/lxc/101/config") // the user's alone is not enough
	give("path", "/vms/101", "roles", "PVEVMAdmin", "tokens", "bk@pve!job")
	bk.must("GET", "/nodes/pve2/lxc/101/config")
	if n := count("/nodes/pve2/lxc"); n != 1 {
		t.Errorf("%d containers", n)
	}
	// The token's alone is not enough either.
	give("path", "/vms/105", "roles", "PVEVMAdmin", "tokens", "bk@pve!job")
	bk.denied("Permission check failed (/vms/105, VM.Audit)", "GET", "/nodes/pve2/lxc/105/config")
	bk.denied("Permission check failed (/storage/backup, Datastore.AllocateSpace)", "POST", "/nodes/pve2/vzdump", "vmid", "101", "storage", "backup")
	for _, who := range []string{"users", "tokens"} {
		give("path", "/storage/backup", "roles", "PVEDatastoreUser", who, map[string]string{"users": "bk@pve", "tokens": "bk@pve!job"}[who])
	}
	if s, log := bk.backup("pve2", "vmid", "101", "storage", "backup"); s != "OK" {
		t.Errorf("%s\n%s", s, log)
	}
	if s, _ := bk.backup("pve2", "vmid", "105", "storage", "backup"); s != "403 Permission check failed (/vms/105, VM.Backup)" {
		t.Error(s)
	}
	perms := get[map[string]map[string]int](bk, "GET", "/access/permissions")
	if len(perms) != 2 || perms["/vms/101"]["VM.Backup"] != 1 || perms["/storage/backup"]["Datastore.AllocateSpace"] != 1 {
		t.Error(perms)
	}
	// Its own tasks it sees, those of others not.
	if tasks := get[[]map[string]any](bk, "GET", "/nodes/pve2/tasks"); len(tasks) != 2 || tasks[0]["user"] != "bk@pve" {
		t.Error(tasks)
	}
	// Without privilege separation it has its user's.
	c.root().must("PUT", "/access/users/bk@pve/token/job", "privsep", "0")
	give("path", "/vms/105", "roles", "PVEVMUser", "users", "bk@pve")
	bk.must("GET", "/nodes/pve2/lxc/105/config")
	// It expires, and goes with its user.
	c.root().must("PUT", "/access/users/bk@pve/token/job", "expire", "1")
	if a := bk.do("GET", "/version"); a.Status != 401 || a.Reason != "Authentication failed!" || len(a.Body) != 0 {
		t.Errorf("%d %s %s", a.Status, a.Reason, a.Body)
	}
	c.root().must("PUT", "/access/users/bk@pve/token/job", "expire", "0")
	bk.must("GET", "/version")
	c.root().must("DELETE", "/access/users/bk@pve")
	if a := bk.do("GET", "/version"); a.Status != 401 {
		t.Error(a.Status)
	}
	for _, e := range get[[]map[string]any](c.root(), "GET", "/access/acl") {
		if strings.HasPrefix(e["ugid"].(string), "bk@pve") {
			t.Error("left behind:", e)
		}
	}
}

// TestACL holds how roles come down a path: pve-access-control's own rules.
func TestACL(t *testing.T) {
	s := &state{Pools: []*pool{{ID: "p", Storages: []string{"nas"}}}, Guests: []*guest{{VMID: 100, Pool: "p"}, {VMID: 101}}}
	s.Users = []*user{{ID: "a@pve", Tokens: []*apiToken{{ID: "sep", Privsep: true}, {ID: "all"}}}}
	s.Roles = map[string][]string{}
	give := func(path, role string, who principal, propagate bool) {
		s.ACL = append(s.ACL, aclEntry{path, role, who, propagate})
	}
	give("/", "PVEAuditor", "a@pve", true)
	give("/vms", "PVEVMUser", "a@pve", true)
	give("/vms/200", "NoAccess", "a@pve", true)
	give("/storage", "PVEDatastoreAdmin", "a@pve", false)
	give("/pool/p", "PVEVMAdmin", "a@pve", true)
	give("/pool/p", "PVEDatastoreUser", "a@pve", true)
	give("/", "PVEVMAdmin", "a@pve!sep", true)
	for _, x := range []struct {
		who        principal
		path, priv string
		want       bool
	}{
		{"a@pve", "/", "Sys.Audit", true},
		{"a@pve", "/nodes/pve1", "Sys.Audit", true},
		{"a@pve", "/vms/101", "VM.Audit", true},
		{"a@pve", "/vms/101", "Sys.Audit", false}, // replaced on /vms
		{"a@pve", "/vms/101", "VM.Allocate", false},
		{"a@pve", "/vms/100", "VM.Allocate", true}, // through the pool
		{"a@pve", "/vms/200", "VM.Audit", false},
		{"a@pve", "/storage", "Datastore.Allocate", true},
		{"a@pve", "/storage/x", "Datastore.Allocate", false}, // does not go on below
		{"a@pve", "/storage/x", "Datastore.Audit", true},     // so what comes from above stays
		{"a@pve", "/storage/nas", "Datastore.AllocateSpace", true},
		{"a@pve!all", "/vms/100", "VM.Allocate", true},
		{"a@pve!sep", "/vms/101", "VM.Audit", true},
		{"a@pve!sep", "/vms/101", "VM.Allocate", false}, // its user has it not
		{"a@pve!sep", "/vms/100", "VM.Allocate", true},
		{"a@pve!sep", "/nodes/pve1", "Sys.Audit", false},
		{"a@pve!none", "/", "Sys.Audit", false},
		{"b@pve", "/", "Sys.Audit", false},
		{rootUser, "/x", "Permissions.Modify", true},
	} {
		if _, got := s.permissions(x.who, x.path)[x.priv]; got != x.want {
			t.Errorf("%s on %s: %s %v", x.who, x.path, x.priv, got)
		}
	}
}

// TestAccessRefusals are the words in which Proxmox says no.
func TestAccessRefusals(t *testing.T) {
	c := open(t)
	c.denied("Permission check failed (/access/realm/pve, Realm.AllocateUser)", "POST", "/access/users", "userid", "x@pve")
	c.denied("Permission check failed (/access, Sys.Modify)", "POST", "/access/roles", "roleid", "x")
	c.denied("Permission check failed (/, Permissions.Modify)", "PUT", "/access/acl", "path", "/", "roles", "NoAccess", "users", "nixmox@pve", "propagate", "0")
}
