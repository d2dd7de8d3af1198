package vzdump

import (
	"reflect"
	"testing"

	"nixmox/builtins/internal/pvetest"
	"nixmox/engine/builtin"
)

// What a need covers and what a call locks follow from these.
func TestScopesAndKeys(t *testing.T) {
	u := newUser(t)
	volid := "backup:backup/vzdump-qemu-100-2026_11_01-00_00_00.vma.zst"
	v := recordOf(Verification{VolID: builtin.Now(builtin.VolID(volid)), Guest: 101, Read: builtin.Now(Reading{Devices: []Device{}})})
	for name, want := range map[string]struct {
		args  args
		sort  string
		scope []string
		keys  []string
	}{
		"backup":         {args{"node": "pve2", "guests": ids(101, 105, 101), "storage": "backup"}, "guest", []string{"101", "105", "101"}, []string{"vzdump:pve2", "guest:101", "guest:105"}},
		"backups":        {args{"storage": "backup"}, "storage", []string{"backup"}, nil},
		"verify":         {verifying(volid), "storage", []string{"backup"}, nil},
		"mark":           {args{"storage": "backup", "verified": []any{v}}, "storage", []string{"backup"}, []string{"volume:" + volid}},
		"protect":        {args{"volid": volid}, "storage", []string{"backup"}, []string{"volume:" + volid}},
		"extract_config": {args{"volid": volid}, "storage", []string{"backup"}, nil},
		"restore":        {args{"volid": volid, "guest": int64(120)}, "storage", []string{"backup"}, []string{"guest:120"}},
		"restore_over":   {args{"volid": volid, "guest": int64(108)}, "guest", []string{"108"}, []string{"guest:108"}},
		"prune":          {pruneTwo, "storage", []string{"backup"}, []string{"storage:backup"}},
	} {
		c := u.prepare(name, want.args)
		sort, scope, ok := c.Func.Scope(c.Args)
		if !ok || sort != want.sort || !reflect.DeepEqual(scope, want.scope) {
			t.Errorf("%s: scope %s %v", name, sort, scope)
		}
		if keys := c.Func.Keys(c.Args); !reflect.DeepEqual(keys, want.keys) {
			t.Errorf("%s: keys %v", name, keys)
		}
	}
}

func TestEveryFunctionHasAReference(t *testing.T) {
	for _, f := range Module(newUser(t).v.c).Funcs {
		if f.Doc == "" || f.Example == "" || f.Source == "" || len(f.Errors) == 0 || f.NoSettle != "" {
			t.Errorf("%s: %+v", f.Name, f.Reference)
		}
		for _, field := range append(f.Args.Fields, fieldsOf(f.Result)...) {
			if field.Doc == "" {
				t.Errorf("%s: %s has no doc", f.Name, field.Name)
			}
		}
	}
}

func fieldsOf(t *builtin.Type) []builtin.Field {
	if t.Kind == builtin.KindList {
		return fieldsOf(t.Elem)
	}
	fields := t.Fields
	for _, f := range t.Fields {
		fields = append(fields[:len(fields):len(fields)], fieldsOf(f.Type)...)
	}
	return fields
}

// Every request of a night's work is one that Proxmox's own schema takes, of
// this release and of the one before.
func TestRequestsFitProxmoxsSchema(t *testing.T) {
	u := newUser(t)
	made := must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101, 105), "storage": "backup", "note": "x", "protected": true})
	volid := string(made.Archives[0].VolID.Value)
	u.mark(u.verify(volid))
	must[PruneResult](u, "prune", pruneTwo)
	c := u.prepare("backup", two)
	if _, err := c.Func.Settle(t.Context(), c, ""); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"9.2.11", "8.4.5"} {
		schema := pvetest.Schema(t, version)
		for _, x := range u.requests {
			if err := schema.CheckRequest(x.Method, x.Path, x.Params); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
	}
}
