package zfs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

// datasetsThere are the datasets below the root as ZFS lists them, without the root.
func (m *machine) datasetsThere() []string {
	m.t.Helper()
	out := []string{}
	for line := range strings.Lines(m.zfs("list", "-H", "-r", "-t", "filesystem,volume", "-o", "name", m.root)) {
		if name := strings.TrimPrefix(strings.TrimRight(line, "\n"), m.root); name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (m *machine) wantDatasets(want ...string) {
	m.t.Helper()
	if got := m.datasetsThere(); !slices.Equal(got, want) {
		m.t.Errorf("datasets %q, want %q", got, want)
	}
}

// value is what ZFS says of a property.
func (m *machine) value(property, of string) string {
	m.t.Helper()
	return strings.TrimSuffix(m.zfs("get", "-Hp", "-o", "value", property, of), "\n")
}

// settled is how a call that was perhaps made is settled.
func (m *machine) settled(c *builtin.Call, handle string, want builtin.SettleState) any {
	m.t.Helper()
	s, err := c.Func.Settle(m.t.Context(), c, handle)
	if err != nil || s.State != want {
		m.t.Fatalf("%s settled as %v, want %v: %+v, %v", c.Func.Name, s.State, want, s, err)
	}
	return s.Result
}

// holding gives the run a journal for handles, and returns where it stands.
func (m *machine) holding() *string {
	var handle string
	m.run.Handle = func(_ builtin.Call, h string) error { handle = h; return nil }
	return &handle
}

func TestDatasets(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"a tree, however it is named": func(m *machine) {
			for _, d := range []string{"/b", "/a", "/a/z", "/a/-r", "/a-b", "/a b", "/a.b"} {
				m.zfs("create", m.root+d)
			}
			m.zfs("create", "-V", "8M", m.root+"/a/v")
			var got []string
			for _, d := range must[[]DatasetInfo](m, "datasets", args{"under": list(m.root, m.root+"/a")}) {
				got = append(got, strings.TrimPrefix(string(d.Name), m.root))
			}
			if want := []string{"", "/a", "/a/-r", "/a/v", "/a/z", "/a b", "/a-b", "/a.b", "/b"}; !slices.Equal(got, want) {
				m.t.Errorf("%q, want %q", got, want)
			}
			if n := len(must[[]DatasetInfo](m, "datasets", args{"under": list(m.root), "depth": int64(1)})); n != 6 {
				m.t.Errorf("%d with depth 1", n)
			}
			if got := must[[]DatasetInfo](m, "datasets", args{"under": list(m.root + "/a/v"), "type": "filesystem"}); len(got) != 0 {
				m.t.Errorf("%+v", got)
			}
			volumes := must[[]DatasetInfo](m, "datasets", args{"under": list(m.root), "type": "volume"})
			if len(volumes) != 1 || volumes[0].Size != 8<<20 || volumes[0].Mountpoint != "" || volumes[0].Type != "volume" || volumes[0].Ours {
				m.t.Errorf("%+v", volumes)
			}
		},
		"one that is not there": func(m *machine) {
			refused[[]DatasetInfo](m, builtin.NotFound, "does not exist", "datasets", args{"under": list(m.root + "/no")})
			refused[DatasetInfo](m, builtin.NotFound, "does not exist", "dataset", args{"dataset": m.root + "/no"})
			refused[DatasetInfo](m, builtin.NotFound, "", "dataset", args{"dataset": "nosuchpool/x"})
		},
		"as it is": func(m *machine) {
			m.zfs("create", "-o", "quota=64M", "-o", "reservation=1M", "-o", "readonly=on", "-o", "mountpoint=none", m.root+"/a")
			d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/a"})
			if d.Quota != 64<<20 || d.Reserved != 1<<20 || !d.ReadOnly || d.Mountpoint != "none" || d.Mounted || d.Type != "filesystem" || d.Available == 0 || d.Available > 64<<20 {
				m.t.Errorf("%+v", d)
			}
			if string(d.GUID.Value) != m.value("guid", m.root+"/a") || fmt.Sprint(d.Txg.Value) != m.value("createtxg", m.root+"/a") || d.Created.IsZero() {
				m.t.Errorf("%+v", d)
			}
		},
	})
}

func TestCreate(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"a file system, marked": func(m *machine) {
			made := must[Made](m, "create", args{"dataset": m.root + "/a", "properties": map[string]any{"compression": "lz4", "com.example:owner": "sales = all"}})
			if d := made.Dataset; !d.Ours || d.Run != m.run.ID || d.Playbook != "test" || d.Type != "filesystem" || d.GUID.Value == "" || len(made.Parents) != 0 {
				m.t.Errorf("%+v", made)
			}
			if m.value("compression", m.root+"/a") != "lz4" || m.value("com.example:owner", m.root+"/a") != "sales = all" {
				m.t.Error("its properties are others")
			}
		},
		"what is below is not ours": func(m *machine) {
			must[Made](m, "create", args{"dataset": m.root + "/a"})
			m.zfs("create", m.root+"/a/theirs")
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/a/theirs"}); d.Ours || d.Run != "" {
				m.t.Errorf("%+v", d)
			}
		},
		"a volume": func(m *machine) {
			made := must[Made](m, "create", args{"dataset": m.root + "/v", "size": "8MiB"})
			if d := made.Dataset; d.Type != "volume" || d.Size != 8<<20 || m.value("refreservation", m.root+"/v") == "none" || m.value("refreservation", m.root+"/v") == "0" {
				m.t.Errorf("%+v", made)
			}
			made = must[Made](m, "create", args{"dataset": m.root + "/s", "size": "4GiB", "sparse": true})
			if made.Dataset.Size != 4<<30 || !slices.Contains([]string{"none", "0"}, m.value("refreservation", m.root+"/s")) {
				m.t.Errorf("%+v", made)
			}
			if made := must[Made](m, "create", args{"dataset": m.root + "/odd", "size": int64(1000)}); made.Dataset.Size < 4096 {
				m.t.Errorf("%+v", made) // rounded up to a block
			}
			refused[Made](m, builtin.Invalid, "sparse", "create", args{"dataset": m.root + "/f", "sparse": true})
			refused[Made](m, builtin.Failed, "out of space", "create", args{"dataset": m.root + "/huge", "size": "64TiB"})
			m.wantDatasets("/odd", "/s", "/v")
		},
		"with what is missing above": func(m *machine) {
			refused[Made](m, builtin.NotFound, "parents", "create", args{"dataset": m.root + "/a/b/c"})
			m.wantDatasets()
			made := must[Made](m, "create", args{"dataset": m.root + "/a/b/c", "parents": true, "properties": map[string]any{"compression": "gzip"}})
			if want := []Dataset{Dataset(m.root + "/a"), Dataset(m.root + "/a/b")}; !slices.Equal(made.Parents, want) {
				m.t.Errorf("%q", made.Parents)
			}
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/a/b"}); !d.Ours || m.value("compression", m.root+"/a/b") == "gzip" {
				m.t.Errorf("%+v", d)
			}
		},
		"one is there": func(m *machine) {
			m.zfs("create", m.root+"/a")
			refused[Made](m, builtin.Conflict, "somebody else", "create", args{"dataset": m.root + "/a", "parents": true})
			must[Made](m, "create", args{"dataset": m.root + "/b"})
			refused[Made](m, builtin.Conflict, m.run.ID, "create", args{"dataset": m.root + "/b"})
		},
		"where nothing can be": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/v")
			refused[Made](m, builtin.Invalid, "volume", "create", args{"dataset": m.root + "/v/a"})
			refused[Made](m, builtin.NotFound, "no pool", "create", args{"dataset": "nosuchpool/a"})
			refused[Made](m, builtin.Invalid, "zpool create", "create", args{"dataset": "newpool"})
		},
		"with what it cannot have": func(m *machine) {
			for _, property := range []map[string]any{{"nosuch": "1"}, {"compression": "nosuch"}, {"used": "1"}, {"quota": "1k"}} {
				if _, err := call[Made](m, "create", args{"dataset": m.root + "/a", "properties": property}); err == nil {
					m.t.Errorf("created with %v", property)
				}
			}
			refused[Made](m, builtin.Invalid, "is no property", "create", args{"dataset": m.root + "/a", "properties": map[string]any{"-o": "1"}})
			refused[Made](m, builtin.Invalid, "nixmox:dataset", "create", args{"dataset": m.root + "/a", "properties": map[string]any{"nixmox:dataset": "forged"}})
			m.wantDatasets()
		},
		"names at the edge": func(m *machine) {
			long := m.root + "/" + strings.Repeat("n", maxName-len(m.root)-1)
			for _, name := range []string{long, m.root + "/-r", m.root + "/with space", m.root + "/a:b.c_d-e"} {
				if made := must[Made](m, "create", args{"dataset": name}); string(made.Dataset.Name) != name || !made.Dataset.Ours {
					m.t.Errorf("%+v", made)
				}
			}
		},
		"a plan of it": func(m *machine) {
			end := m.planning()
			planned := must[Made](m, "create", args{"dataset": m.root + "/a/b", "parents": true, "properties": map[string]any{"quota": "10M", "mountpoint": "/srv/b"}})
			if d := planned.Dataset; d.GUID.Known() || d.Quota != 10<<20 || d.Mountpoint != "/srv/b" || len(planned.Parents) != 1 {
				m.t.Errorf("%+v", planned)
			}
			refused[Made](m, builtin.Conflict, "there already", "create", args{"dataset": m.root + "/a"})
			if got := must[[]DatasetInfo](m, "datasets", args{"under": list(m.root + "/a")}); len(got) != 2 {
				m.t.Errorf("%+v", got)
			}
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "x", "recursive": true})
			if got := must[[]SnapshotInfo](m, "snapshots", args{"datasets": list(m.root + "/a/b")}); len(got) != 1 {
				m.t.Errorf("%+v", got)
			}
			if _, err := call[map[string]Property](m, "properties", args{"target": m.root + "/a"}); err == nil || builtin.AsFault(err) != nil {
				m.t.Errorf("properties of what is planned: %v", err)
			}
			end()
			m.wantDatasets()
			refused[DatasetInfo](m, builtin.NotFound, "", "dataset", args{"dataset": m.root + "/a"})
		},
		"a plan has ZFS look at the properties": func(m *machine) {
			defer m.planning()()
			refused[Made](m, builtin.Invalid, "nosuch", "create", args{"dataset": m.root + "/a", "properties": map[string]any{"nosuch": "1"}})
		},
		"settled": func(m *machine) {
			c := m.prepare("create", args{"dataset": m.root + "/p/a", "parents": true})
			m.settled(c, "", builtin.NotDone)
			if _, err := perform[Made](m, c); err != nil {
				m.t.Fatal(err)
			}
			if made := m.settled(c, "", builtin.Done).(Made); made.Dataset.Name != Dataset(m.root+"/p/a") || len(made.Parents) != 1 {
				m.t.Errorf("%+v", made)
			}
			m.settled(m.prepare("create", args{"dataset": m.root + "/p/a"}), "", builtin.NotDone)
		},
	})
}

func TestProperties(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"each with its source": func(m *machine) {
			m.zfs("create", "-o", "compression=lz4", m.root+"/a")
			m.zfs("create", m.root+"/a/b")
			m.zfs("snapshot", m.root+"/a/b@s")
			got := must[map[string]Property](m, "properties", args{"target": m.root + "/a/b"})
			if got["compression"] != (Property{"lz4", "inherited from " + m.root + "/a"}) || got["type"] != (Property{"filesystem", "-"}) || len(got) < 40 {
				m.t.Errorf("%v", got)
			}
			got = must[map[string]Property](m, "properties", args{"target": m.root + "/a", "names": list("compression", "quota", "org:unset", "compression")})
			if len(got) != 3 || got["compression"].Source != "local" || got["org:unset"].Value != "-" || got["quota"].Value != "0" {
				m.t.Errorf("%v", got)
			}
			if got := must[map[string]Property](m, "properties", args{"target": m.root + "/a/b@s", "names": list("type")}); got["type"].Value != "snapshot" {
				m.t.Errorf("%v", got)
			}
		},
		"whatever somebody wrote into them": func(m *machine) {
			values := map[string]string{
				"org:a": "two\nlines", "org:b": "a\ttab", "org:c": "x\norg:d\tforged", "org:d": "true", "org:e": " spaces ", "org:f": "\n", "org:g": "ends\n", "org:h": "",
			}
			m.zfs("create", m.root+"/a")
			for name, value := range values {
				m.zfs("set", name+"="+value, m.root+"/a")
			}
			all := must[map[string]Property](m, "properties", args{"target": m.root + "/a"})
			few := must[map[string]Property](m, "properties", args{"target": m.root + "/a", "names": list("org:b", "org:c", "type")})
			for name, value := range values {
				if all[name] != (Property{value, "local"}) {
					m.t.Errorf("%s is %q, want %q", name, all[name], value)
				}
			}
			if len(few) != 3 || few["org:c"].Value != values["org:c"] || few["type"].Value != "filesystem" || all["type"].Value != "filesystem" {
				m.t.Errorf("%q", few)
			}
		},
		"none of that name": func(m *machine) {
			if _, err := call[map[string]Property](m, "properties", args{"target": m.root, "names": list("nosuch")}); err == nil {
				m.t.Error("no error")
			}
			refused[map[string]Property](m, builtin.NotFound, "does not exist", "properties", args{"target": m.root + "/no"})
			refused[map[string]Property](m, builtin.NotFound, "", "pool_properties", args{"pool": "nosuchpool"})
		},
		"of the pool": func(m *machine) {
			got := must[map[string]Property](m, "pool_properties", args{"pool": strings.Split(m.root, "/")[0]})
			if got["health"].Value != "ONLINE" || len(got) < 20 {
				m.t.Errorf("%v", got)
			}
		},
	})
}

func TestSet(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"and read back": func(m *machine) {
			m.zfs("create", m.root+"/a")
			got := must[SetResult](m, "set", args{"dataset": m.root + "/a", "compression": "lz4", "quota": "64M", "properties": map[string]any{"org:x": "a = b", "recordsize": int64(65536)}})
			want := map[string]Property{"compression": {"lz4", "local"}, "quota": {"67108864", "local"}, "org:x": {"a = b", "local"}, "recordsize": {"65536", "local"}}
			for name, p := range want {
				if got.Properties[name] != p {
					m.t.Errorf("%s: %+v, want %+v", name, got.Properties[name], p)
				}
			}
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/a"}); d.Quota != 64<<20 {
				m.t.Errorf("%+v", d)
			}
			must[SetResult](m, "set", args{"dataset": m.root + "/a", "quota": "none", "compression": "on"})
		},
		"what cannot be": func(m *machine) {
			m.zfs("create", "-o", "quota=64M", m.root+"/a")
			for _, bad := range []args{{"nosuch": "1"}, {"compression": "nosuch"}, {"used": "1"}, {"quota": "10X"}, {"quota": "1k"}, {"reservation": "1T"}, {"atime": "off", "nosuch": "1"}} {
				bad["dataset"] = m.root + "/a"
				if _, err := call[SetResult](m, "set", bad); err == nil || builtin.AsFault(err) == nil || builtin.AsFault(err).Hint == "" {
					m.t.Errorf("%v: %v", bad, err)
				}
			}
			if m.value("quota", m.root+"/a") != fmt.Sprint(64<<20) || m.value("atime", m.root+"/a") != "on" {
				m.t.Error("something was set")
			}
			refused[SetResult](m, builtin.Invalid, "nixmox:dataset", "set", args{"dataset": m.root + "/a", "properties": map[string]any{"nixmox:dataset": "x"}})
			refused[SetResult](m, builtin.Invalid, "none is named", "set", args{"dataset": m.root + "/a"})
			refused[SetResult](m, builtin.NotFound, "does not exist", "set", args{"dataset": m.root + "/no", "atime": "off"})
		},
		"a volume grows and never shrinks": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/v")
			must[SetResult](m, "set", args{"dataset": m.root + "/v", "volsize": "16M"})
			refused[SetResult](m, builtin.Invalid, "destroy", "set", args{"dataset": m.root + "/v", "volsize": "8M"})
			refused[SetResult](m, builtin.Invalid, "no size", "set", args{"dataset": m.root + "/v", "volsize": "9.5M"})
			if m.value("volsize", m.root+"/v") != fmt.Sprint(16<<20) {
				m.t.Error("it has another size")
			}
		},
		"a plan of it": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/a/b")
			end := m.planning()
			planned := must[SetResult](m, "set", args{"dataset": m.root + "/a", "quota": "64M", "compression": "gzip"})
			if planned.Properties["quota"].Value != fmt.Sprint(64<<20) {
				m.t.Errorf("%+v", planned)
			}
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/a"}); d.Quota != 64<<20 {
				m.t.Errorf("%+v", d)
			}
			got := must[map[string]Property](m, "properties", args{"target": m.root + "/a/b", "names": list("compression", "quota")})
			if got["compression"] != (Property{"gzip", "inherited from " + m.root + "/a"}) || got["quota"].Value != "0" {
				m.t.Errorf("%v", got)
			}
			end()
			if m.value("compression", m.root+"/a") == "gzip" {
				m.t.Error("a plan set it")
			}
		},
		"settled": func(m *machine) {
			m.zfs("create", m.root+"/a")
			c := m.prepare("set", args{"dataset": m.root + "/a", "compression": "gzip"})
			m.settled(c, "", builtin.NotDone)
			if _, err := perform[SetResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			m.settled(c, "", builtin.Done)
		},
	})
}

func TestInherit(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"from above, alone or with all below": func(m *machine) {
			m.zfs("create", "-o", "compression=lz4", m.root+"/a")
			m.zfs("create", "-o", "compression=gzip", m.root+"/a/b")
			m.zfs("create", "-o", "compression=zle", m.root+"/a/b/c")
			got := must[InheritResult](m, "inherit", args{"dataset": m.root + "/a/b", "property": "compression"})
			if len(got.Changed) != 1 || m.value("compression", m.root+"/a/b") != "lz4" || m.value("compression", m.root+"/a/b/c") != "zle" {
				m.t.Errorf("%+v", got)
			}
			got = must[InheritResult](m, "inherit", args{"dataset": m.root + "/a", "property": "compression", "recursive": true})
			if want := []Dataset{Dataset(m.root + "/a"), Dataset(m.root + "/a/b/c")}; !slices.Equal(got.Changed, want) || m.value("compression", m.root+"/a/b/c") == "zle" {
				m.t.Errorf("%+v", got)
			}
			if got := must[InheritResult](m, "inherit", args{"dataset": m.root + "/a", "property": "compression"}); len(got.Changed) != 0 {
				m.t.Errorf("%+v", got)
			}
		},
		"what cannot be": func(m *machine) {
			m.zfs("create", "-o", "quota=64M", m.root+"/a")
			refused[InheritResult](m, builtin.Invalid, "cannot be inherited", "inherit", args{"dataset": m.root + "/a", "property": "quota"})
			refused[InheritResult](m, builtin.NotFound, "does not exist", "inherit", args{"dataset": m.root + "/no", "property": "atime"})
			must[Made](m, "create", args{"dataset": m.root + "/ours"})
			refused[InheritResult](m, builtin.Invalid, "mark", "inherit", args{"dataset": m.root + "/ours", "property": "nixmox:dataset"})
		},
		"planned, and settled": func(m *machine) {
			m.zfs("create", "-o", "compression=lz4", m.root+"/a")
			end := m.planning()
			c := m.prepare("inherit", args{"dataset": m.root + "/a", "property": "compression"})
			if planned, err := perform[InheritResult](m, c); err != nil || len(planned.Changed) != 1 {
				m.t.Errorf("%+v, %v", planned, err)
			}
			if _, err := call[map[string]Property](m, "properties", args{"target": m.root + "/a"}); err == nil || builtin.AsFault(err) != nil {
				m.t.Errorf("what is inherited is known before: %v", err)
			}
			must[map[string]Property](m, "properties", args{"target": m.root + "/a", "names": list("atime")})
			end()
			m.settled(c, "", builtin.NotDone)
			handle := m.holding()
			if _, err := perform[InheritResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			if got := m.settled(c, *handle, builtin.Done).(InheritResult); len(got.Changed) != 1 {
				m.t.Errorf("%+v", got)
			}
		},
	})
}
