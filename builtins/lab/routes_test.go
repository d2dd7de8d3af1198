package lab

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pvetest"
)

// TestRoutesAgainstSchema holds the table of methods against Proxmox's schema:
// parameters, their types and limits, and privileges.
func TestRoutesAgainstSchema(t *testing.T) {
	api := pvetest.Schema(t, "9.2.11")
	for _, rt := range routes {
		pattern := strings.ReplaceAll(rt.pattern, "...}", "}")
		m, _, err := api.Method(rt.method, pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		bad := func(format string, a ...any) {
			t.Helper()
			t.Errorf(rt.method+" "+pattern+": "+format, a...)
		}
		have := map[string]bool{}
		for _, p := range rt.params {
			have[p.name] = true
			s := m.Params[p.name]
			if s == nil {
				bad("the schema knows no %q", p.name)
				continue
			}
			kinds := map[kind]string{text: "string", integer: "integer", boolean: "boolean", list: "array", number: "number"}
			if kinds[p.kind] != s.Type {
				bad("%q is %s, not %s", p.name, s.Type, kinds[p.kind])
			}
			if rt.config {
				continue
			}
			if p.required == bool(s.Optional) {
				bad("%q: required %v, optional %v", p.name, p.required, s.Optional)
			}
			if !slices.Equal(p.enum, s.Enum) {
				bad("%q: %v, not %v", p.name, s.Enum, p.enum)
			}
			if s.MaxLength != nil && p.maxLen != *s.MaxLength || s.Requires != p.requires {
				bad("%q: length %d or requirement %q is not the schema's", p.name, p.maxLen, p.requires)
			}
			checkLimits(t, p, s)
		}
		for name := range m.Params {
			if !have[name] && !strings.Contains(pattern, "{"+name+"}") {
				bad("the lab does not know %q", name)
			}
		}
		checkPrivilege(t, rt, m)
	}
}

func checkLimits(t *testing.T, p param, s *pvetest.Property) {
	t.Helper()
	number := func(n *json.Number, without int64) int64 {
		if n == nil {
			return without
		}
		i, _ := n.Int64()
		return i
	}
	if p.kind != integer || p.name == "pigz" || p.name == "zstd" || p.name == "since" || p.name == "until" {
		return // may be below zero in the schema
	}
	if p.min != number(s.Minimum, 0) || p.max != number(s.Maximum, 0) {
		t.Errorf("%q: %d to %d, the schema has %v to %v", p.name, p.min, p.max, s.Minimum, s.Maximum)
	}
}

func checkPrivilege(t *testing.T, rt route, m *pvetest.Method) {
	t.Helper()
	var perm struct {
		User  string
		Check []any
	}
	if err := json.Unmarshal(m.Permissions, &perm); err != nil {
		t.Fatalf("%s %s: %v in %s", rt.method, rt.pattern, err, m.Permissions)
	}
	switch {
	case perm.User == "world" != rt.world:
		t.Errorf("%s %s: world is %v, the schema's user %q", rt.method, rt.pattern, rt.world, perm.User)
	case perm.Check == nil, perm.User == "all": // Proxmox looks at user first
		if rt.privilege != "" {
			t.Errorf("%s %s: needs %s, the schema nothing of its own", rt.method, rt.pattern, rt.privilege)
		}
		return
	case perm.Check[0] == "and" && rt.privilege == "": // the handler checks several
		return
	}
	if perm.Check[0] != "perm" && rt.privilege == "" {
		return // a check of another kind, which the method makes for itself
	}
	if perm.Check[0] != "perm" || len(perm.Check) < 3 {
		t.Fatalf("%s %s: a check of another kind: %s", rt.method, rt.pattern, m.Permissions)
	}
	var privs []string
	for _, p := range perm.Check[2].([]any) {
		privs = append(privs, p.(string))
	}
	if rt.on != perm.Check[1] || rt.privilege != strings.Join(privs, "|") {
		t.Errorf("%s %s: needs %s on %s, the schema %v", rt.method, rt.pattern, rt.privilege, rt.on, perm.Check)
	}
}

func TestMatchPath(t *testing.T) {
	for _, c := range []struct {
		pattern, path, want string // want: the variable x; "-" for no match
	}{
		{"/nodes/{x}/qemu", "/nodes/pve1/qemu", "pve1"},
		{"/nodes/{x}/qemu", "/nodes/pve1/qemu/", "pve1"},
		{"/nodes/{x}/qemu", "/nodes/pve1", "-"},
		{"/nodes/{x}/qemu", "/nodes//qemu", "-"},
		{"/nodes/{x}/qemu", "/nodes/pve1/qemu/100", "-"},
		{"/content/{x...}", "/content/local:backup/a", "local:backup/a"},
		{"/content/{x...}", "/content/../../a", "../../a"},
		{"/content/{x...}", "/content", "-"},
	} {
		vars, ok := matchPath(c.pattern, c.path)
		if got := vars["x"]; ok != (c.want != "-") || ok && got != c.want {
			t.Errorf("%s with %s: %q %v, want %q", c.path, c.pattern, got, ok, c.want)
		}
	}
}
