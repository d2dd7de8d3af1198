package zfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

func (m *machine) pool() string { return strings.Split(m.root, "/")[0] }

func TestPools(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"as they are": func(m *machine) {
			pools := must[[]PoolInfo](m, "pools", args{"names": list(m.pool(), m.pool())})
			if len(pools) != 1 {
				m.t.Fatalf("%+v", pools)
			}
			p := pools[0]
			if string(p.Name) != m.pool() || p.Health != "ONLINE" || p.Size < 100<<20 || p.Allocated <= 0 || p.Free <= 0 || p.Allocated+p.Free != p.Size || p.Capacity > 100 || p.ReadOnly || p.Dedup != 1 {
				m.t.Errorf("%+v", p)
			}
			if want := strings.TrimSpace(m.command("zpool", "get", "-Hp", "-o", "value", "guid", m.pool())); string(p.GUID) != want {
				m.t.Errorf("%s, want %s", p.GUID, want)
			}
			if all := must[[]PoolInfo](m, "pools", args{}); !slices.ContainsFunc(all, func(o PoolInfo) bool { return o.Name == p.Name }) {
				m.t.Errorf("%+v", all)
			}
		},
		"one that is not there": func(m *machine) {
			refused[[]PoolInfo](m, builtin.NotFound, "no such pool", "pools", args{"names": list("nosuchpool")})
			refused[PoolStatus](m, builtin.NotFound, "no such pool", "pool_status", args{"pool": "nosuchpool"})
			refused[Scan](m, builtin.NotFound, "no such pool", "scrub", args{"pool": "nosuchpool"})
		},
		"healthy": func(m *machine) {
			s := must[PoolStatus](m, "pool_status", args{"pool": m.pool()})
			if string(s.Pool) != m.pool() || s.State != "ONLINE" || s.Errors != "No known data errors" || len(s.Damaged) != 0 || len(s.Devices) < 2 {
				m.t.Errorf("%+v", s)
			}
			if d := s.Devices[0]; d.Name != m.pool() || d.Depth != 0 || d.State != "ONLINE" || d.Role != "data" {
				m.t.Errorf("%+v", d)
			}
			for _, d := range s.Devices[1:] {
				if d.Depth == 0 || d.State == "" || d.Read+d.Write+d.Checksum != 0 {
					m.t.Errorf("%+v", d)
				}
			}
		},
	})
}

func TestScrub(t *testing.T) {
	cases(t, map[string]func(m *machine){
		"to its end": func(m *machine) {
			if s := must[Scan](m, "scrub", args{"pool": m.pool()}); s.Kind != "scrub" || s.Began.IsZero() {
				m.t.Errorf("%+v", s)
			}
			s := must[Scan](m, "wait_scrub", args{"pool": m.pool()})
			if s.Kind != "scrub" || s.State != "finished" || s.Ended.IsZero() || s.Ended.Before(s.Began) || s.Percent != 100 || s.Errors != 0 {
				m.t.Errorf("%+v", s)
			}
		},
		"none to stop, pause or wait for": func(m *machine) {
			refused[Scan](m, builtin.Conflict, "no scrub", "scrub", args{"pool": m.pool(), "action": "stop"})
			refused[Scan](m, builtin.Conflict, "no scrub", "scrub", args{"pool": m.pool(), "action": "pause"})
		},
		"paused, gone on with, stopped": func(m *machine) {
			m.slowScrubs()
			must[Scan](m, "scrub", args{"pool": m.pool()})
			refused[Scan](m, builtin.Busy, "already", "scrub", args{"pool": m.pool()})
			if s := must[Scan](m, "scrub", args{"pool": m.pool(), "action": "pause"}); s.State != "paused" || s.Began.IsZero() || s.Ended.IsZero() {
				m.t.Errorf("%+v", s)
			}
			refused[Scan](m, builtin.Conflict, "paused already", "scrub", args{"pool": m.pool(), "action": "pause"})
			refused[Scan](m, builtin.Conflict, "goes on", "wait_scrub", args{"pool": m.pool()})
			if s := must[Scan](m, "scrub", args{"pool": m.pool()}); s.State != "scanning" {
				m.t.Errorf("%+v", s)
			}
			if s := must[Scan](m, "scrub", args{"pool": m.pool(), "action": "stop"}); s.State != "canceled" {
				m.t.Errorf("%+v", s)
			}
			refused[Scan](m, builtin.Conflict, "", "wait_scrub", args{"pool": m.pool()})
		},
		"planned": func(m *machine) {
			end := m.planning()
			must[Scan](m, "scrub", args{"pool": m.pool()})
			if s := must[PoolStatus](m, "pool_status", args{"pool": m.pool()}).Scan; s.Kind != "scrub" || s.State != "scanning" {
				m.t.Errorf("%+v", s)
			}
			if s := must[Scan](m, "wait_scrub", args{"pool": m.pool()}); s.State != "finished" || len(m.run.Planned.Assumed()) != 1 {
				m.t.Errorf("%+v, assumed %q", s, m.run.Planned.Assumed())
			}
			end()
			if s := must[PoolStatus](m, "pool_status", args{"pool": m.pool()}).Scan; s.State == "scanning" {
				m.t.Errorf("%+v", s)
			}
		},
		"settled": func(m *machine) {
			handle := m.holding()
			c := m.prepare("scrub", args{"pool": m.pool()})
			m.settled(c, "", builtin.NotDone)
			if _, err := perform[Scan](m, c); err != nil {
				m.t.Fatal(err)
			}
			if *handle == "" {
				m.t.Fatal("no handle")
			}
			m.settled(c, *handle, builtin.Done)
		},
	})
}

// slowScrubs has scrubs go on until they are stopped, which only a real pool
// can be told.
func (m *machine) slowScrubs() {
	m.t.Helper()
	if !real {
		m.t.Skip("the lab's scrubs cannot be held up")
	}
	const suspend = "/sys/module/zfs/parameters/zfs_scan_suspend_progress"
	if err := os.WriteFile(suspend, []byte("1"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := os.WriteFile(suspend, []byte("0"), 0o600); err != nil {
			m.t.Error(err)
		}
	})
}

// TestSickPool makes a mirror sick, as only real devices can be.
func TestSickPool(t *testing.T) {
	if !real {
		t.Skip("a pool whose devices are files can be damaged in the rig only")
	}
	m := newMachine(t)
	dir := t.TempDir()
	var disks []string
	for _, name := range []string{"one", "two with space", "spare", "log"} {
		disk := filepath.Join(dir, name)
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(disk, 128<<20); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, disk)
	}
	m.command("zpool", "create", "-f", "-O", "compression=off", "sick", "mirror", disks[0], disks[1], "spare", disks[2], "log", disks[3])
	defer func() { m.command("zpool", "destroy", "-f", "sick") }()
	file := "/sick/a file"
	if err := os.WriteFile(file, []byte(strings.Repeat("precious ", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	status := must[PoolStatus](m, "pool_status", args{"pool": "sick"})
	var got []string
	for _, d := range status.Devices {
		got = append(got, strings.Repeat(" ", int(d.Depth))+d.Role+" "+filepath.Base(d.Name)+" "+d.State)
	}
	want := []string{"data sick ONLINE", " data mirror-0 ONLINE", "  data one ONLINE", "  data two with space ONLINE", " logs log ONLINE", " spares spare AVAIL"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	damage := func(disk string) {
		t.Helper()
		f, err := os.OpenFile(disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		noise := []byte(strings.Repeat("noise", 200<<10))
		for at := int64(6 << 20); at < 100<<20; at += int64(len(noise)) {
			if _, err := f.WriteAt(noise, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.command("zpool", "export", "sick")
	damage(disks[1])
	m.command("zpool", "import", "-d", dir, "sick")
	must[Scan](m, "scrub", args{"pool": "sick"})
	scan := must[Scan](m, "wait_scrub", args{"pool": "sick"})
	status = must[PoolStatus](m, "pool_status", args{"pool": "sick"})
	if scan.Repaired == 0 || status.Status == "" || status.Action == "" || status.See == "" || len(status.Damaged) != 0 {
		t.Errorf("%+v, %+v", scan, status)
	}
	if i := slices.IndexFunc(status.Devices, func(d Device) bool { return filepath.Base(d.Name) == "two with space" }); i < 0 || status.Devices[i].Checksum == 0 {
		t.Errorf("%+v", status.Devices)
	}
	m.command("zpool", "offline", "sick", disks[1])
	if p := must[[]PoolInfo](m, "pools", args{"names": list("sick")}); p[0].Health != "DEGRADED" {
		t.Errorf("%+v", p)
	}
	if err := os.WriteFile("/sick/another", []byte(strings.Repeat("precious ", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	m.command("zpool", "sync", "sick")
	m.command("zpool", "export", "sick")
	f, err := os.ReadFile(disks[0])
	if err != nil {
		t.Fatal(err)
	}
	// One block of the file, wherever that is, and nothing of ZFS's own.
	at := strings.Index(string(f), "precious precious")
	disk, err := os.OpenFile(disks[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt([]byte("spoiled"), int64(at)); err != nil {
		t.Fatal(err)
	}
	disk.Close()
	m.command("zpool", "import", "-d", dir, "sick")
	must[Scan](m, "scrub", args{"pool": "sick"})
	found := refused[Scan](m, builtin.Failed, "damaged", "wait_scrub", args{"pool": "sick"})
	if s, ok := found.Partial.(Scan); !ok || s.Errors == 0 {
		t.Errorf("%+v", found.Partial)
	}
	if status = must[PoolStatus](m, "pool_status", args{"pool": "sick"}); !slices.Equal(status.Damaged, []string{file}) && !slices.Equal(status.Damaged, []string{"/sick/another"}) {
		t.Errorf("%q", status.Damaged)
	}
}
