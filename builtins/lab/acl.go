package lab

import (
	"maps"
	"slices"
	"strings"
)

// aclEntry gives a role to a user or a token, on a path and what is below it.
type aclEntry struct {
	Path, Role string
	Who        principal
	Propagate  bool
}

// Roles that Proxmox VE brings along; those of the estate's own are in its
// state. Privileges are as in create_roles of PVE/AccessControl.pm.
var builtinRoles = map[string][]string{
	"Administrator":    allPrivileges,
	"NoAccess":         nil,
	"PVEAdmin":         slices.DeleteFunc(slices.Clone(allPrivileges), func(p string) bool { return slices.Contains(rootOnly, p) }),
	"PVEAuditor":       {"VM.Audit", "VM.GuestAgent.Audit", "Datastore.Audit", "Mapping.Audit", "Sys.Audit", "Pool.Audit", "SDN.Audit"},
	"PVEDatastoreUser": {"Datastore.Audit", "Datastore.AllocateSpace"},
	"PVEPoolUser":      {"Pool.Audit"},
	"PVEPoolAdmin":     {"Pool.Audit", "Pool.Allocate"},
	"PVEDatastoreAdmin": {
		"Datastore.Audit", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Allocate",
	},
	"PVESysAdmin":     {"Sys.Audit", "Sys.Console", "Sys.Syslog"},
	"PVETemplateUser": {"VM.Audit", "VM.Clone"},
	"PVEUserAdmin":    {"User.Modify", "Group.Allocate", "Realm.AllocateUser"},
	"PVEVMUser": {
		"VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.GuestAgent.Audit",
		"VM.GuestAgent.FileRead", "VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.FileWrite", "VM.GuestAgent.Unrestricted", "VM.PowerMgmt",
	},
	"PVEVMAdmin": slices.DeleteFunc(slices.Clone(allPrivileges), func(p string) bool { return !strings.HasPrefix(p, "VM.") }),
}

// rootOnly are what only Administrator has.
var rootOnly = []string{"Permissions.Modify", "Realm.Allocate", "Sys.Modify", "Sys.PowerMgmt", "Sys.Incoming", "Sys.AccessNetwork"}

// The roles of the estate's own: what the main token may everywhere, and what
// it may on nodes besides. A role on a deeper path takes the place of what
// comes from above.
const (
	mainRole  = "nixmox"
	nodesRole = "nixmox-nodes"
)

// nodePrivileges are for refreshing package lists and rebooting a node.
var nodePrivileges = append(slices.Clone(mainPrivileges), "Sys.Modify", "Sys.PowerMgmt")

// firstACL is that of a fresh estate. A token with privilege separation needs
// its own beside its user's.
func (s *state) firstACL() {
	s.Roles = map[string][]string{mainRole: mainPrivileges, nodesRole: nodePrivileges}
	main := principal(mainToken)
	for _, who := range []principal{principal(main.user()), main} {
		s.ACL = append(s.ACL, aclEntry{"/", mainRole, who, true}, aclEntry{"/nodes", nodesRole, who, true})
	}
	root := principal(rootToken)
	s.Users = []*user{
		{ID: rootUser, Enable: true, Tokens: []*apiToken{{ID: root.token()}}},
		{ID: main.user(), Enable: true, Tokens: []*apiToken{{ID: main.token(), Privsep: true}}},
	}
}

func (s *state) rolePrivileges(role string) ([]string, bool) {
	if p, ok := builtinRoles[role]; ok {
		return p, true
	}
	p, ok := s.Roles[role]
	return p, ok
}

// roles are what a user or a token was given on a path, with whether it goes
// on below it: PVE::AccessControl::roles. What stands on a deeper path takes
// the place of what came from above.
func (s *state) roles(who principal, path string) map[string]bool {
	roles := map[string]bool{}
	for _, at := range prefixes(path) {
		var here map[string]bool
		for _, e := range s.ACL {
			if e.Path == at && e.Who == who && (e.Propagate || at == path) {
				if here == nil {
					here = map[string]bool{}
				}
				here[e.Role] = e.Propagate
			}
		}
		if here != nil {
			roles = here
		}
	}
	if propagate, no := roles["NoAccess"]; no {
		return map[string]bool{"NoAccess": propagate}
	}
	return roles
}

// prefixes are /, /a and /a/b of /a/b.
func prefixes(path string) []string {
	out := []string{"/"}
	for i := 1; i <= len(path); i++ {
		if i > 1 && (i == len(path) || path[i] == '/') {
			out = append(out, path[:i])
		}
	}
	return out
}

// permissions are the privileges that somebody has on a path, and whether each
// goes on below it: compile_acl_path of PVE/RPCEnvironment.pm. A token without
// privilege separation has its user's; one with it what both were given.
func (s *state) permissions(who principal, path string) map[string]bool {
	if who == rootUser {
		return everything
	}
	if who.token() != "" {
		t := s.token(who)
		if t == nil {
			return nil
		}
		users := s.permissions(principal(who.user()), path)
		if !t.Privsep {
			return users
		}
		own := s.given(who, path)
		for p, propagate := range own {
			above, both := users[p]
			if !both {
				delete(own, p)
				continue
			}
			own[p] = propagate && above
		}
		return own
	}
	return s.given(who, path)
}

var everything = func() map[string]bool {
	out := map[string]bool{}
	for _, p := range allPrivileges {
		out[p] = true
	}
	return out
}()

// given is what the ACL says of a user or a token by itself, pools included.
func (s *state) given(who principal, path string) map[string]bool {
	roles := maps.Clone(s.roles(who, path))
	if _, no := roles["NoAccess"]; !no {
		for _, pool := range s.poolsOf(path) {
			for role := range s.roles(who, "/pool/"+pool) {
				if _, have := roles[role]; !have {
					roles[role] = false
				}
			}
		}
		if _, no := roles["NoAccess"]; no {
			roles = nil
		}
	}
	out := map[string]bool{}
	for role, propagate := range roles {
		privs, _ := s.rolePrivileges(role)
		for _, p := range privs {
			out[p] = out[p] || propagate
		}
	}
	return out
}

// poolsOf are the pools that a guest's or a storage's path is in.
func (s *state) poolsOf(path string) []string {
	var out []string
	if id, ok := strings.CutPrefix(path, "/vms/"); ok {
		for _, g := range s.Guests {
			if g.Pool != "" && g.id() == id {
				out = append(out, g.Pool)
			}
		}
	}
	if name, ok := strings.CutPrefix(path, "/storage/"); ok {
		for _, p := range s.Pools {
			if slices.Contains(p.Storages, name) {
				out = append(out, p.ID)
			}
		}
	}
	return out
}

// effectivePaths are those of which /access/permissions tells:
// get_effective_permissions of PVE/RPCEnvironment.pm.
func (s *state) effectivePaths() []string {
	paths := []string{"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
	for _, e := range s.ACL {
		paths = append(paths, e.Path)
	}
	for _, g := range s.Guests {
		if g.Pool != "" {
			paths = append(paths, "/vms/"+g.id())
		}
	}
	for _, p := range s.Pools {
		for _, name := range p.Storages {
			paths = append(paths, "/storage/"+name)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// mayModify is check_perm_modify: who may change what others may on a path,
// and put its thing into a pool.
func (l *Lab) mayModify(who principal, path string) error {
	need := []string{"Permissions.Modify"}
	switch {
	case strings.HasPrefix(path, "/storage/"):
		need = append(need, "Datastore.Allocate")
	case strings.HasPrefix(path, "/vms/"):
		need = append(need, "VM.Allocate")
	case strings.HasPrefix(path, "/pool/"):
		need = append(need, "Pool.Allocate")
	}
	return l.need(who, path, need...)
}
