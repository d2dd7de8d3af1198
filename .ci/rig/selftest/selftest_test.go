// Package selftest shows that the rig is one: real OpenZFS answers in it, and what was on a disk when the power was cut is
// there at the next start. It knows nothing of nixmox. docs/rig.md tells how it is run.
package selftest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func inTheRig(t *testing.T) {
	t.Helper()
	if os.Getenv("NIXMOX_RIG") == "" {
		t.Skip("makes ZFS pools, so it runs in the rig only: .ci/rig/run --test ./.ci/rig/selftest")
	}
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestSnapshotHoldsWhatWasThere(t *testing.T) {
	inTheRig(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 256<<20); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	command(t, "zpool", "create", "-O", "mountpoint="+root, "selftest", disk)
	t.Cleanup(func() {
		if out, err := exec.Command("zpool", "destroy", "selftest").CombinedOutput(); err != nil {
			t.Errorf("the pool stays behind: %v\n%s", err, out)
		}
	})
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "zfs", "snapshot", "selftest@before")
	if err := os.WriteFile(file, []byte("after"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "after", filepath.Join(root, ".zfs/snapshot/before/file"): "before"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
		}
	}
	if got := command(t, "zfs", "list", "-Ho", "name", "-t", "snapshot"); got != "selftest@before" {
		t.Errorf("zfs lists the snapshots %q", got)
	}
}

// TestPowerCut is run twice on one disk that stays: the first time it makes a pool, asks for the power to be cut, and waits
// for that; the second time it looks for what it made.
func TestPowerCut(t *testing.T) {
	inTheRig(t)
	const disk = "/dev/disk/by-id/virtio-disk0"
	if _, err := os.Stat(disk); err != nil {
		t.Skip("there is no disk that stays: .ci/rig/run --disk FILE")
	}
	if out, err := exec.CommandContext(t.Context(), "zpool", "import", "-f", "cut").CombinedOutput(); err != nil {
		t.Logf("%s", out)
		command(t, "zpool", "create", "cut", disk) // which it refuses where a pool was
		command(t, "zfs", "snapshot", "cut@made")
		fmt.Println("NIXMOX-KILL-ME")
		select {} // nothing after this line happens on this machine
	}
	if got := command(t, "zfs", "list", "-Ho", "name", "-t", "snapshot"); got != "cut@made" {
		t.Errorf("after the power cut there are the snapshots %q", got)
	}
	if got := command(t, "zpool", "list", "-Ho", "health"); got != "ONLINE" {
		t.Errorf("after the power cut the pool is %s", got)
	}
}
