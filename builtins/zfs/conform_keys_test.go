package zfs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// secrets has the run know two secrets.
func (m *machine) secrets() {
	m.run.Secret = func(name string) (string, error) {
		return map[string]string{"right": "correct horse", "wrong": "incorrect horse"}[name], nil
	}
}

// encrypted makes an encrypted dataset that is unmounted, and its key unloaded.
func (m *machine) encrypted(names ...string) {
	m.t.Helper()
	m.secrets()
	for _, name := range names {
		c := run.Command{
			Argv:  []string{"zfs", "create", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o", "keylocation=prompt", "-o", "canmount=noauto", "-o", "pbkdf2iters=100000", m.root + name},
			Stdin: strings.NewReader("correct horse"),
		}
		if _, err := m.runner.Output(context.Background(), c); err != nil {
			m.t.Fatal(err)
		}
	}
	for _, name := range slices.Backward(names) {
		m.zfs("unload-key", m.root+name)
	}
}

func TestKeys(t *testing.T) {
	right, wrong := builtin.NamedSecret("right"), builtin.NamedSecret("wrong")
	cases(t, map[string]func(m *machine){
		"loaded and unloaded": func(m *machine) {
			m.encrypted("/e")
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/e"}); !d.Locked || d.Encryption != "aes-256-gcm" {
				m.t.Errorf("%+v", d)
			}
			got := must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right})
			if want := []Dataset{Dataset(m.root + "/e")}; !slices.Equal(got.Roots, want) || m.value("keystatus", m.root+"/e") != "available" {
				m.t.Errorf("%+v", got)
			}
			if got := must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right}); len(got.Roots) != 0 {
				m.t.Errorf("%+v", got)
			}
			if got := must[KeyResult](m, "unload_key", args{"dataset": m.root + "/e"}); len(got.Roots) != 1 || m.value("keystatus", m.root+"/e") != "unavailable" {
				m.t.Errorf("%+v", got)
			}
		},
		"not the key": func(m *machine) {
			m.encrypted("/e")
			f := refused[KeyResult](m, builtin.Forbidden, "key", "load_key", args{"dataset": m.root + "/e", "key": wrong})
			if strings.Contains(f.Error()+f.Hint, "horse") {
				m.t.Errorf("the error tells the key: %v", f)
			}
			refused[KeyResult](m, builtin.Forbidden, "", "load_key", args{"dataset": m.root + "/e"})
			defer m.planning()()
			refused[KeyResult](m, builtin.Forbidden, "", "load_key", args{"dataset": m.root + "/e", "key": wrong})
		},
		"with all below": func(m *machine) {
			m.encrypted("/e", "/e/own")
			got := must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right})
			if len(got.Roots) != 1 || m.value("keystatus", m.root+"/e/own") != "unavailable" {
				m.t.Errorf("%+v", got)
			}
			must[KeyResult](m, "unload_key", args{"dataset": m.root + "/e"})
			if got := must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right, "recursive": true}); len(got.Roots) != 2 {
				m.t.Errorf("%+v", got)
			}
			if got := must[KeyResult](m, "unload_key", args{"dataset": m.root + "/e", "recursive": true}); len(got.Roots) != 2 {
				m.t.Errorf("%+v", got)
			}
		},
		"whose key it is": func(m *machine) {
			m.encrypted("/e")
			must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right})
			m.zfs("create", "-o", "canmount=off", m.root+"/e/child")
			refused[KeyResult](m, builtin.Invalid, "its key is that of "+m.root+"/e", "load_key", args{"dataset": m.root + "/e/child", "key": right})
			refused[KeyResult](m, builtin.Invalid, "not encrypted", "load_key", args{"dataset": m.root, "key": right})
			refused[KeyResult](m, builtin.NotFound, "does not exist", "unload_key", args{"dataset": m.root + "/no"})
		},
		"made with a key": func(m *machine) {
			m.secrets()
			properties := map[string]any{"encryption": "on", "keyformat": "passphrase", "keylocation": "prompt", "pbkdf2iters": int64(100000)}
			made := must[Made](m, "create", args{"dataset": m.root + "/e", "properties": properties, "key": right})
			if made.Dataset.Encryption != "aes-256-gcm" || made.Dataset.Locked {
				m.t.Errorf("%+v", made)
			}
			if made.Dataset.Mounted {
				must[MountResult](m, "unmount", args{"dataset": m.root + "/e"})
			}
			must[KeyResult](m, "unload_key", args{"dataset": m.root + "/e"})
			must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right})
			if _, err := call[Made](m, "create", args{"dataset": m.root + "/f", "properties": properties}); err == nil {
				m.t.Error("created without a key")
			}
			m.wantDatasets("/e")
		},
		"planned, and settled": func(m *machine) {
			m.encrypted("/e")
			end := m.planning()
			if planned := must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right}); len(planned.Roots) != 1 {
				m.t.Errorf("%+v", planned)
			}
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/e"}); d.Locked {
				m.t.Errorf("%+v", d)
			}
			end()
			c := m.prepare("load_key", args{"dataset": m.root + "/e", "key": right})
			m.settled(c, "", builtin.NotDone)
			if _, err := perform[KeyResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			m.settled(c, "", builtin.Done)
		},
		"busy while it is mounted": func(m *machine) {
			m.needsMounts()
			m.encrypted("/e")
			refused[MountResult](m, builtin.Forbidden, "key", "mount", args{"dataset": m.root + "/e"})
			must[KeyResult](m, "load_key", args{"dataset": m.root + "/e", "key": right})
			must[MountResult](m, "mount", args{"dataset": m.root + "/e"})
			refused[KeyResult](m, builtin.Busy, "", "unload_key", args{"dataset": m.root + "/e"})
			end := m.planning()
			refused[KeyResult](m, builtin.Busy, "is mounted", "unload_key", args{"dataset": m.root + "/e"})
			end()
			must[MountResult](m, "unmount", args{"dataset": m.root + "/e"})
			must[KeyResult](m, "unload_key", args{"dataset": m.root + "/e"})
		},
	})
}

// needsMounts is for cases in which files are opened in what is mounted: the
// lab mounts nothing.
func (m *machine) needsMounts() {
	m.t.Helper()
	if !real {
		m.t.Skip("the lab mounts nothing that a file could be opened in")
	}
}

// open opens a file in what is mounted, until the test ends or close is called.
func (m *machine) open(name string) (closeIt func()) {
	m.t.Helper()
	f, err := os.Create(filepath.Join(m.value("mountpoint", m.root+name), "open"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.Close() })
	return func() { f.Close() }
}

func TestMount(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"and unmount": func(m *machine) {
			m.zfs("create", m.root+"/a")
			m.zfs("create", m.root+"/a/b")
			for range 2 { // what is so already stays so
				got := must[MountResult](m, "unmount", args{"dataset": m.root + "/a"})
				if got.Mounted || m.value("mounted", m.root+"/a") != "no" || m.value("mounted", m.root+"/a/b") != "no" {
					m.t.Errorf("%+v", got)
				}
			}
			for range 2 {
				if got := must[MountResult](m, "mount", args{"dataset": m.root + "/a"}); !got.Mounted || m.value("mounted", m.root+"/a") != "yes" || got.Mountpoint == "" {
					m.t.Errorf("%+v", got)
				}
			}
			must[MountResult](m, "mount", args{"dataset": m.root + "/a/b"})
			if got := must[MountResult](m, "unmount", args{"dataset": m.root + "/a"}); !slices.Equal(got.Below, []Dataset{Dataset(m.root + "/a/b")}) {
				m.t.Errorf("%+v", got)
			}
		},
		"what cannot be": func(m *machine) {
			m.zfs("create", "-V", "8M", m.root+"/v")
			m.zfs("create", "-o", "mountpoint=none", m.root+"/none")
			m.zfs("create", "-o", "mountpoint=legacy", m.root+"/legacy")
			refused[MountResult](m, builtin.Invalid, "volume", "mount", args{"dataset": m.root + "/v"})
			refused[MountResult](m, builtin.Invalid, "mountpoint is none", "mount", args{"dataset": m.root + "/none"})
			refused[MountResult](m, builtin.Invalid, "fstab", "unmount", args{"dataset": m.root + "/legacy"})
			refused[MountResult](m, builtin.NotFound, "does not exist", "mount", args{"dataset": m.root + "/no"})
		},
		"planned, and settled": func(m *machine) {
			m.zfs("create", m.root+"/a")
			c := m.prepare("unmount", args{"dataset": m.root + "/a"})
			end := m.planning()
			if _, err := perform[MountResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			if d := must[DatasetInfo](m, "dataset", args{"dataset": m.root + "/a"}); d.Mounted {
				m.t.Errorf("%+v", d)
			}
			end()
			m.settled(c, "", builtin.NotDone)
			if _, err := perform[MountResult](m, c); err != nil {
				m.t.Fatal(err)
			}
			m.settled(c, "", builtin.Done)
		},
		"busy: nothing is unmounted, renamed or destroyed": func(m *machine) {
			m.needsMounts()
			for _, d := range []string{"/a", "/a/b", "/a/c"} {
				must[Made](m, "create", args{"dataset": m.root + d})
			}
			must[SnapshotResult](m, "snapshot", args{"datasets": list(m.root + "/a"), "name": "s", "recursive": true})
			closeIt := m.open("/a/b")
			refused[MountResult](m, builtin.Busy, "busy", "unmount", args{"dataset": m.root + "/a/b"})
			refused[DestroyDatasetResult](m, builtin.Busy, "before anything is destroyed", "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
			refused[RenameResult](m, builtin.Busy, "busy", "rename", args{"dataset": m.root + "/a/b", "to": m.root + "/z"})
			m.wantDatasets("/a", "/a/b", "/a/c")
			for _, d := range []string{"/a", "/a/b", "/a/c"} {
				if m.value("mounted", m.root+d) != "yes" {
					m.t.Errorf("%s is not mounted any more", d)
				}
			}
			if got := m.snapshotsThere(); len(got) != 3 {
				m.t.Errorf("%q", got)
			}
			closeIt()
			must[DestroyDatasetResult](m, "destroy_dataset", args{"dataset": m.root + "/a", "recursive": true})
		},
	})
}
