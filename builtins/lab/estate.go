package lab

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	gib = int64(1) << 30
	mib = int64(1) << 20
)

// newEstate is the estate of a fresh lab: three nodes, fourteen guests, five
// storages. Every guest is there for something that a playbook must handle.
func newEstate(now time.Time) *state {
	now = now.UTC().Truncate(time.Second)
	s := &state{Version: stateVersion, Boot: now.Add(-9 * 24 * time.Hour), LastPID: 0x1000}
	s.Nodes = []*node{
		{Name: "pve1", ID: 1, IP: "192.0.2.11", CPUs: 16, Memory: 64 * gib, Disk: 96 * gib},
		{Name: "pve2", ID: 2, IP: "192.0.2.12", CPUs: 8, Memory: 32 * gib, Disk: 96 * gib},
		{Name: "pve3", ID: 3, IP: "192.0.2.13", CPUs: 8, Memory: 32 * gib, Disk: 96 * gib},
	}
	s.Storages = []*storage{
		{Name: "local", Type: "dir", Content: []string{"backup", "iso", "vztmpl"}, Total: 96 * gib, Used: 14 * gib},
		{Name: "backup", Type: "dir", Content: []string{"backup"}, Shared: true, Prune: "keep-all=1", Total: 4096 * gib, Used: 900 * gib},
		{Name: "small", Type: "dir", Content: []string{"backup"}, Shared: true, Prune: "keep-last=3", Total: 200 * gib, Used: 20 * gib},
		{Name: "rpool", Type: "zfspool", Content: []string{"images", "rootdir"}},
		{Name: "media", Type: "dir", Content: []string{"iso"}, Shared: true, Total: 500 * gib, Used: 120 * gib},
	}
	s.Pools = []*pool{{ID: "production", Comment: "what must not be down", Storages: []string{"backup"}}}
	s.Guests = []*guest{
		vm(100, "pve1", "nixos-vm", "nixos;prod", 4, 8, 32),
		ct(101, "pve2", "nixos-ct", "nixos", "nixos", 2, 2, 8),
		windows(),
		vm(103, "pve2", "router", "", 2, 1, 4),
		ct(104, "pve3", "web1", "web;prod", "debian", 2, 2, 8),
		ct(105, "pve2", "web2", "web;prod", "debian", 2, 2, 8),
		vm(106, "pve1", "db", "prod", 4, 16, 100),
		files(),
		vm(108, "pve3", "stopped-vm", "", 1, 2, 16),
		ct(109, "pve1", "mail", "", "debian", 2, 4, 24),
		vm(110, "pve3", "monitor", "", 2, 4, 20),
		ct(111, "pve1", "git", "prod", "debian", 2, 2, 16),
		vm(9000, "pve1", "template-debian", "", 2, 2, 8),
		ct(9001, "pve2", "template-ct", "", "debian", 1, 1, 4),
	}
	for _, g := range s.Guests {
		switch g.VMID {
		case 108: // and it stays so when its node boots
			g.Config["onboot"] = 0
		case 9000, 9001:
			g.Template = true
			g.Config["template"] = 1
			for k, v := range g.Config { // the disk of a template is a base image
				if v, ok := v.(string); ok && strings.HasPrefix(v, "rpool:") {
					v = strings.Replace(v, "rpool:vm-", "rpool:base-", 1)
					g.Config[k] = strings.Replace(v, "rpool:subvol-", "rpool:basevol-", 1)
				}
			}
		default:
			g.Running, g.Since, g.PID = true, s.Boot.Add(time.Duration(g.VMID)*time.Second), 1000+g.VMID
		}
		if slices.Contains([]int{100, 102, 104, 105, 106}, g.VMID) {
			g.Pool = "production"
		}
	}
	s.Guests[0].Snapshots = []snapshot{{Name: "before-upgrade", Description: "taken by hand", Time: now.Add(-40 * 24 * time.Hour).Unix()}}
	s.Guests[0].Config["parent"] = "before-upgrade"
	s.firstACL()
	s.firstCluster()
	s.firstTasks(now)
	return s
}

// vm is a Linux VM with one disk and, but for the router, an agent.
func vm(id int, node, name, tags string, cores int, memory, disk int64) *guest {
	g := &guest{VMID: id, Type: "qemu", Node: node, Name: name, Tags: tags, Cores: cores, Memory: memory * gib, Disk: disk * gib}
	g.Config = map[string]any{
		"name": name, "cores": cores, "sockets": 1, "memory": strconv.FormatInt(memory*1024, 10),
		"ostype": "l26", "scsihw": "virtio-scsi-single", "boot": "order=scsi0", "agent": "1",
		"scsi0":   fmt.Sprintf("rpool:vm-%d-disk-0,iothread=1,size=%dG", id, disk),
		"net0":    fmt.Sprintf("virtio=BC:24:11:00:%02X:%02X,bridge=vmbr0", id>>8&255, id&255),
		"smbios1": "uuid=" + fixedUUID("smbios", id),
		"vmgenid": fixedUUID("genid", id),
		"meta":    "creation-qemu=10.0.13,ctime=1760000000",
		"numa":    0,
		"onboot":  1,
		"cpu":     "x86-64-v2-AES",
		"bios":    "seabios",
		"balloon": 0,
		"tablet":  1,
		"hotplug": "disk,network,usb",
	}
	if tags != "" {
		g.Config["tags"] = tags
	}
	if name == "router" {
		delete(g.Config, "agent")
	}
	return g
}

// windows is the guest that has everything: UEFI, TPM, GPU, agent.
func windows() *guest {
	g := vm(102, "pve1", "windows", "windows;gpu", 8, 16, 128)
	maps.Copy(g.Config, map[string]any{
		"ostype": "win11", "machine": "pc-q35-10.0", "bios": "ovmf", "cpu": "host",
		"efidisk0":  "rpool:vm-102-disk-1,efitype=4m,pre-enrolled-keys=1,size=1M",
		"tpmstate0": "rpool:vm-102-disk-2,size=4M,version=v2.0",
		"hostpci0":  "0000:01:00.0,pcie=1,x-vga=1",
		"hostpci1":  "0000:01:00.1,pcie=1",
		"hostpci2":  "0000:03:00.0,pcie=1",
		"net0":      "virtio=BC:24:11:00:00:66,bridge=vmbr1",
		"vga":       "none",
	})
	return g
}

func ct(id int, node, name, tags, ostype string, cores int, memory, disk int64) *guest {
	g := &guest{VMID: id, Type: "lxc", Node: node, Name: name, Tags: tags, Cores: cores, Memory: memory * gib, Disk: disk * gib}
	g.Config = map[string]any{
		"hostname": name, "arch": "amd64", "ostype": ostype, "cores": cores, "memory": memory * 1024, "swap": 512,
		"unprivileged": 1, "onboot": 1, "features": "nesting=1",
		"rootfs": fmt.Sprintf("rpool:subvol-%d-disk-0,size=%dG", id, disk),
		"net0":   fmt.Sprintf("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:01:%02X:%02X,ip=dhcp,type=veth", id>>8&255, id&255),
	}
	if tags != "" {
		g.Config["tags"] = tags
	}
	return g
}

// files is the container of which a backup does not hold everything.
func files() *guest {
	g := ct(107, "pve3", "files", "", "debian", 2, 2, 8)
	g.Config["mp0"] = "/srv/share,mp=/srv/share"
	g.Config["mp1"] = "rpool:subvol-107-disk-1,mp=/data,size=500G"
	return g
}

// configText is the configuration as the file under /etc/pve has it.
func (g *guest) configText() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(g.Config)) {
		fmt.Fprintf(&b, "%s: %v\n", k, g.Config[k])
	}
	return b.String()
}

func (g *guest) config(key string) string {
	if v, ok := g.Config[key]; ok {
		return fmt.Sprint(v)
	}
	return ""
}

func sha1Hex(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// fixedUUID is a UUID that is the same in every lab.
func fixedUUID(kind string, n int) string {
	h := sha1Hex(kind + strconv.Itoa(n))
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}

// firstTasks gives a fresh estate a past.
func (s *state) firstTasks(now time.Time) {
	for i, x := range []struct {
		node, typ, id, status string
		log                   []string
	}{
		{"pve1", "qmstart", "100", "OK", nil},
		{"pve2", "vzstart", "105", "OK", nil},
		{"pve3", "qmshutdown", "108", "OK", nil},
		{"pve2", "qmstart", "103", "VM 103 already running", nil},
	} {
		at := now.Add(time.Duration(i-20) * time.Hour)
		t := s.newTask(x.node, x.typ, x.id, "root@pam", at)
		t.Log = append(t.Log, x.log...)
		t.end(x.status, at.Add(3*time.Second))
	}
}
