package lab

import (
	"slices"
	"strings"
)

// route is one method of the API.
type route struct {
	method  string
	pattern string // {name} is one part of the path, {name...} all the rest
	handle  func(*call) (any, error)
	params  []param
	// The privilege that the method needs, as its schema's permissions say, or
	// several with | of which one is enough, and the path it is needed on.
	// Methods without check for themselves what concerns whom.
	privilege, on string
	world         bool // needs no ticket
	config        bool // its parameters are the entries of a configuration: names and types are held against the schema, limits are not
}

const (
	storeAudit = "Datastore.Audit|Datastore.AllocateSpace"
	onVM       = "/vms/{vmid}"
	onStore    = "/storage/{storage}"
	onNode     = "/nodes/{node}"
)

var (
	vmidFilter  = param{name: "vmid", kind: integer, min: 100, max: 999999999}
	snapFilter  = []param{{name: "current", kind: boolean}, {name: "snapshot", format: configFormat, maxLen: 40}}
	startAt     = param{name: "start", kind: integer}
	skiplock    = param{name: "skiplock", kind: boolean}
	keepActive  = param{name: "keepActive", kind: boolean}
	forceStop   = param{name: "forceStop", kind: boolean}
	timeout     = param{name: "timeout", kind: integer}
	overrule    = param{name: "overrule-shutdown", kind: boolean}
	migrated    = param{name: "migratedfrom", format: nodeFormat}
	pruneParams = []param{{name: "prune-backups", format: pruneFormat}, {name: "type", enum: []string{"qemu", "lxc"}}, vmidFilter}
	guestTypes  = []string{"qemu", "lxc", "storage"}
)

// routes is the API as far as the lab has it.
var routes = slices.Concat(clusterRoutes, storageRoutes, guestRoutes, guestChangeRoutes, restoreRoutes)

// findRoute finds the method for a path, and what the path's variables are.
func findRoute(method, path string) (*route, map[string]string) {
	for i := range routes {
		if r := &routes[i]; r.method == method {
			if vars, ok := matchPath(r.pattern, path); ok {
				return r, vars
			}
		}
	}
	return nil, nil
}

func matchPath(pattern, path string) (map[string]string, bool) {
	want := strings.Split(strings.Trim(pattern, "/"), "/")
	got := strings.Split(strings.Trim(path, "/"), "/")
	vars := map[string]string{}
	for i, w := range want {
		if i >= len(got) || got[i] == "" {
			return nil, false
		}
		name, isVar := strings.CutPrefix(w, "{")
		name, isRest := strings.CutSuffix(name, "...}")
		switch {
		case isVar && isRest:
			vars[name] = strings.Join(got[i:], "/")
			return vars, true
		case isVar:
			vars[strings.TrimSuffix(name, "}")] = got[i]
		case w != got[i]:
			return nil, false
		}
	}
	return vars, len(want) == len(got)
}
