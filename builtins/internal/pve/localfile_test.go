package pve

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

func TestLocalFile(t *testing.T) {
	dir := t.TempDir()
	write := func(path string) string {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own, custom, nas := write("local/dump/a.tar"), write("custom/my/dump/a.tar"), write("nas/dump/a.tar")
	mounted, both := write("mounted/dump/a.tar"), write("both/dump/a.tar")
	iso := write("local/template/iso/a.iso")
	secret := write("secret")
	for link, target := range map[string]string{
		"local/dump/out.tar": secret, "local/dump/up.tar": "../../secret", "local/dump/in.tar": "a.tar",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "local/dump/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data(w, []any{
			map[string]any{"storage": "local", "type": "dir", "path": dir + "/local"},
			map[string]any{"storage": "custom", "type": "dir", "path": dir + "/custom", "content-dirs": "iso=i,backup=my/dump"},
			map[string]any{"storage": "nas", "type": "nfs", "path": dir + "/nas"},
			map[string]any{"storage": "nas2", "type": "nfs", "path": dir + "/nas", "nodes": "pve2,pve3"},
			map[string]any{"storage": "gone", "type": "cifs"},
			map[string]any{"storage": "pbs", "type": "pbs"},
			map[string]any{"storage": "odd", "type": "dir"},
		})
	})
	c, _, _ := hostWith(t, handler, func(cfg *Config) {
		cfg.LocalNode = "pve1"
		cfg.Mounts = map[string]string{"mnt": dir + "/mounted", "pve2/mnt": dir + "/both", "pve9/local": dir + "/missing"}
	})
	for _, test := range []struct {
		node, storage, name, want string
		kind                      builtin.Kind
		says                      string
	}{
		{node: "pve1", storage: "local", name: "backup/a.tar", want: own},
		{node: "pve1", storage: "local", name: "iso/a.iso", want: iso},
		{node: "pve1", storage: "local", name: "backup/in.tar", want: filepath.Join(dir, "local/dump/in.tar")},
		{node: "pve1", storage: "custom", name: "backup/a.tar", want: custom},
		{node: "pve2", storage: "nas", name: "backup/a.tar", want: nas},
		{node: "pve1", storage: "mnt", name: "backup/a.tar", want: mounted},
		{node: "pve2", storage: "mnt", name: "backup/a.tar", want: both},
		{node: "pve2", storage: "local", name: "backup/a.tar", kind: builtin.Unreachable, says: "this machine is pve1"},
		{node: "pve2", storage: "nas2", name: "backup/a.tar", kind: builtin.Unreachable, says: "this machine is pve1"},
		{node: "pve9", storage: "local", name: "backup/a.tar", kind: builtin.Unreachable, says: "missing"},
		{node: "pve1", storage: "local", name: "backup/none.tar", kind: builtin.Unreachable, says: "no such file"},
		{node: "pve1", storage: "local", name: "backup/out.tar", kind: builtin.Unreachable, says: "escapes"},
		{node: "pve1", storage: "local", name: "backup/up.tar", kind: builtin.Unreachable, says: "escapes"},
		{node: "pve1", storage: "local", name: "backup/folder", kind: builtin.Unreachable, says: "regular"},
		{node: "pve1", storage: "gone", name: "backup/a.tar", kind: builtin.Unreachable, says: "/mnt/pve/gone"},
		{node: "pve1", storage: "pbs", name: "backup/vm/100/2026", kind: builtin.Unreachable, says: "pbs"},
		{node: "pve1", storage: "odd", name: "backup/a.tar", kind: builtin.Unreachable, says: "not known"},
		{node: "pve1", storage: "none", name: "backup/a.tar", kind: builtin.NotFound},
		{node: "pve1", storage: "local", name: "backup/../../secret", kind: builtin.Invalid},
		{node: "pve1", storage: "local", name: "/etc/passwd", kind: builtin.Invalid},
		{node: "pve1", storage: "local", name: "101/vm-101-disk-0.qcow2", kind: builtin.Invalid},
		{node: "pve1", storage: "local", name: "", kind: builtin.Invalid},
		{node: "pve1", storage: "../x", name: "backup/a.tar", kind: builtin.Invalid},
	} {
		got, err := c.LocalFile(context.Background(), test.node, test.storage, test.name)
		if test.kind == "" {
			if err != nil || got != test.want {
				t.Errorf("%+v: %s %v", test, got, err)
			}
			continue
		}
		f := builtin.AsFault(err)
		if f == nil || f.Kind != test.kind || got != "" || !strings.Contains(f.Error(), test.says) {
			t.Errorf("%+v: %s %v", test, got, err)
		}
	}
}

func TestLocalNode(t *testing.T) {
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { data(w, []any{}) }))
	link := filepath.Join(t.TempDir(), "local")
	c.localLink = link
	_, err := c.LocalFile(context.Background(), "pve1", "local", "backup/a.tar")
	f := fault(t, err, builtin.Unreachable)
	if !strings.Contains(f.Said, "no Proxmox node") || !strings.Contains(f.Hint, "[proxmox.mounts]") || !strings.Contains(f.Hint, `"pve1/local"`) {
		t.Error(f, f.Hint)
	}
	for target, want := range map[string]string{"nodes/pve7": "pve7", "elsewhere/pve7": "", "nodes": ""} {
		_ = os.Remove(link)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if got := c.localNode(); got != want {
			t.Errorf("%s: %q", target, got)
		}
	}
}
