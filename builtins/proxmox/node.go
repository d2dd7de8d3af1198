package proxmox

import (
	"context"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// NodeArgs are the arguments of what looks at one node.
type NodeArgs struct {
	Node builtin.Node `name:"node" scope:"node" doc:"the node"`
}

// NodeDetail is what node() returns.
type NodeDetail struct {
	Node       builtin.Node `name:"node" doc:"its name"`
	Version    string       `name:"version" doc:"of Proxmox VE, such as pve-manager/9.2.11/14a22df35955d97d"`
	Kernel     string       `name:"kernel" doc:"the release of the kernel that runs"`
	Uptime     int64        `name:"uptime" volatile:"" doc:"seconds since its start"`
	CPU        float64      `name:"cpu" volatile:"" doc:"the part of all its processors in use, 0 to 1"`
	Cores      int64        `name:"cores" doc:"its processors, threads counted"`
	Sockets    int64        `name:"sockets" doc:"its processors in sockets"`
	Model      string       `name:"model" doc:"of its processors"`
	Load       []float64    `name:"load_average" volatile:"" doc:"processes that want to run, over 1, 5 and 15 minutes"`
	Memory     int64        `name:"memory" doc:"its memory, in bytes"`
	MemoryUsed int64        `name:"memory_used" volatile:"" doc:"in use, in bytes"`
	Swap       int64        `name:"swap" doc:"its swap space, in bytes"`
	SwapUsed   int64        `name:"swap_used" volatile:"" doc:"in use, in bytes"`
	Disk       int64        `name:"disk" volatile:"" doc:"the size of its root file system, in bytes"`
	DiskUsed   int64        `name:"disk_used" volatile:"" doc:"in use, in bytes"`
	DiskFree   int64        `name:"disk_free" volatile:"" doc:"what is left of it, in bytes"`
	Boot       string       `name:"boot" doc:"efi or legacy-bios"`
	SecureBoot bool         `name:"secure_boot" doc:"it boots what is signed only"`
}

func (c client) node(ctx context.Context, args NodeArgs) (NodeDetail, error) {
	var raw struct {
		PVEVersion string    `json:"pveversion"`
		Uptime     pve.Int   `json:"uptime"`
		CPU        pve.Float `json:"cpu"`
		Kernel     struct {
			Release string `json:"release"`
		} `json:"current-kernel"`
		Info struct {
			CPUs    pve.Int `json:"cpus"`
			Sockets pve.Int `json:"sockets"`
			Model   string  `json:"model"`
		} `json:"cpuinfo"`
		Load   []pve.Float `json:"loadavg"`
		Memory used        `json:"memory"`
		Swap   used        `json:"swap"`
		RootFS used        `json:"rootfs"`
		Boot   struct {
			Mode   string   `json:"mode"`
			Secure pve.Bool `json:"secureboot"`
		} `json:"boot-info"`
	}
	if err := c.onNode(ctx, args.Node, "status", &raw); err != nil {
		return NodeDetail{}, err
	}
	out := NodeDetail{
		Node: args.Node, Version: raw.PVEVersion, Kernel: raw.Kernel.Release, Uptime: int64(raw.Uptime), CPU: float64(raw.CPU),
		Cores: int64(raw.Info.CPUs), Sockets: int64(raw.Info.Sockets), Model: raw.Info.Model, Load: []float64{},
		Memory: int64(raw.Memory.Total), MemoryUsed: int64(raw.Memory.Used), Swap: int64(raw.Swap.Total), SwapUsed: int64(raw.Swap.Used),
		Disk: int64(raw.RootFS.Total), DiskUsed: int64(raw.RootFS.Used), DiskFree: int64(raw.RootFS.Avail),
		Boot: raw.Boot.Mode, SecureBoot: bool(raw.Boot.Secure),
	}
	for _, l := range raw.Load {
		out.Load = append(out.Load, float64(l))
	}
	return out, nil
}

type used struct {
	Total pve.Int `json:"total"`
	Used  pve.Int `json:"used"`
	Avail pve.Int `json:"avail"`
}

// onNode reads something of a node. A misspelt name is not found; Proxmox
// would say that it could not look it up.
func (c client) onNode(ctx context.Context, node builtin.Node, what string, out any) error {
	return c.aboutNode(ctx, node, c.pve.Get(ctx, pve.Path("/nodes/%s/", string(node))+what, nil, out))
}

func (c client) aboutNode(ctx context.Context, node builtin.Node, err error) error {
	if f := builtin.AsFault(err); f == nil || f.Kind != builtin.Unreachable {
		return err
	}
	online, others, listErr := c.online(ctx)
	if listErr == nil {
		if missing := known(string(node), online, others); missing != nil {
			return missing
		}
	}
	return err
}

// Service is one service in what services() returns.
type Service struct {
	Name    string `name:"name" doc:"the unit's name without .service"`
	About   string `name:"about" doc:"what it is"`
	Active  string `name:"active" doc:"active, inactive, failed, …, in systemd's words"`
	State   string `name:"state" doc:"running, dead, exited, …, in systemd's words"`
	Enabled string `name:"enabled" doc:"enabled, disabled, static, masked, not-found, …: whether it starts with the node"`
}

func (c client) services(ctx context.Context, args NodeArgs) ([]Service, error) {
	var raw []struct {
		Service string `json:"service"`
		Desc    string `json:"desc"`
		Active  string `json:"active-state"`
		State   string `json:"state"`
		Unit    string `json:"unit-state"`
	}
	if err := c.onNode(ctx, args.Node, "services", &raw); err != nil {
		return nil, err
	}
	out := make([]Service, len(raw))
	for i, s := range raw {
		out[i] = Service{Name: s.Service, About: s.Desc, Active: s.Active, State: s.State, Enabled: s.Unit}
	}
	slices.SortFunc(out, func(a, b Service) int { return compare(a.Name, b.Name) })
	return out, nil
}

// Subscription is what subscription() returns.
type Subscription struct {
	Status  string `name:"status" doc:"active, notfound, new, invalid, expired or suspended"`
	Active  bool   `name:"active" doc:"it is valid: the enterprise repository can be used"`
	Level   string `name:"level" doc:"c, b, s or p, or empty"`
	Product string `name:"product" doc:"what was bought, or empty"`
	Due     string `name:"due" doc:"the day on which it ends, or empty"`
	Message string `name:"message" doc:"what Proxmox says of it"`
}

func (c client) subscription(ctx context.Context, args NodeArgs) (Subscription, error) {
	var raw struct {
		Status      string   `json:"status"`
		Level       pve.Text `json:"level"`
		ProductName pve.Text `json:"productname"`
		NextDueDate pve.Text `json:"nextduedate"`
		Message     pve.Text `json:"message"`
	}
	err := c.onNode(ctx, args.Node, "subscription", &raw)
	return Subscription{
		Status: raw.Status, Active: raw.Status == "active", Level: string(raw.Level), Product: string(raw.ProductName), Due: string(raw.NextDueDate), Message: string(raw.Message),
	}, err
}

// Certificate is one certificate in what certificates() returns.
type Certificate struct {
	File        string    `name:"file" doc:"its file below /etc/pve or the node's folder in it"`
	Subject     string    `name:"subject" doc:"whom it is for"`
	Issuer      string    `name:"issuer" doc:"who signed it"`
	Names       []string  `name:"names" doc:"the host names and addresses it is good for"`
	From        time.Time `name:"valid_from" doc:"from when on it is good, UTC"`
	Until       time.Time `name:"valid_until" doc:"until when it is good, UTC"`
	Days        int64     `name:"days" volatile:"" doc:"whole days until then; below 0 it is too late"`
	Fingerprint string    `name:"fingerprint" doc:"its SHA-256, as the configuration takes it"`
}

func (c client) certificates(ctx context.Context, args NodeArgs) ([]Certificate, error) {
	var raw []struct {
		Filename    string   `json:"filename"`
		Subject     string   `json:"subject"`
		Issuer      string   `json:"issuer"`
		SAN         []string `json:"san"`
		NotBefore   pve.Time `json:"notbefore"`
		NotAfter    pve.Time `json:"notafter"`
		Fingerprint string   `json:"fingerprint"`
	}
	if err := c.onNode(ctx, args.Node, "certificates/info", &raw); err != nil {
		return nil, err
	}
	out := make([]Certificate, len(raw))
	for i, x := range raw {
		left := x.NotAfter.Sub(builtin.CallFrom(ctx).Run.Now())
		days := int64(left / (24 * time.Hour))
		if left < 0 {
			days--
		}
		out[i] = Certificate{
			File: x.Filename, Subject: x.Subject, Issuer: x.Issuer, Names: append([]string{}, x.SAN...), From: x.NotBefore.Time, Until: x.NotAfter.Time,
			Days: days, Fingerprint: x.Fingerprint,
		}
	}
	return out, nil
}

// Networks is what networks() returns.
type Networks struct {
	Interfaces []Interface `name:"interfaces" doc:"bridges, bonds, VLANs and cards, by name"`
	Pending    string      `name:"pending" doc:"changes that are made and not applied, as a diff; or empty"`
}

// Interface is one network interface in what networks() returns.
type Interface struct {
	Name      string   `name:"name" doc:"such as vmbr0"`
	Kind      string   `name:"kind" doc:"bridge, bond, vlan, eth, OVSBridge, …"`
	Active    bool     `name:"active" doc:"it is up"`
	Autostart bool     `name:"autostart" doc:"it comes up with the node"`
	Addresses []string `name:"addresses" doc:"its own, as 192.0.2.1/24"`
	Gateway   string   `name:"gateway" doc:"the default route through it, or empty"`
	Gateway6  string   `name:"gateway6" doc:"the same for IPv6"`
	Ports     []string `name:"ports" doc:"what a bridge or a bond is made of"`
	Bond      string   `name:"bond" doc:"a bond's mode, such as active-backup or 802.3ad"`
	VLANAware bool     `name:"vlan_aware" doc:"a bridge that guests may use with VLAN tags"`
	VLAN      int64    `name:"vlan" doc:"a VLAN's number, or 0"`
	MTU       int64    `name:"mtu" doc:"its largest packet in bytes, or 0 for the default"`
	Comment   string   `name:"comment" doc:"what was written beside it"`
}

func (c client) networks(ctx context.Context, args NodeArgs) (Networks, error) {
	var raw []struct {
		Iface    string   `json:"iface"`
		Type     string   `json:"type"`
		Active   pve.Bool `json:"active"`
		Auto     pve.Bool `json:"autostart"`
		CIDR     pve.Text `json:"cidr"`
		CIDR6    pve.Text `json:"cidr6"`
		Gateway  pve.Text `json:"gateway"`
		Gateway6 pve.Text `json:"gateway6"`
		Ports    pve.Text `json:"bridge_ports"`
		OVSPorts pve.Text `json:"ovs_ports"`
		Slaves   pve.Text `json:"slaves"`
		OVSBonds pve.Text `json:"ovs_bonds"`
		Mode     pve.Text `json:"bond_mode"`
		Aware    pve.Bool `json:"bridge_vlan_aware"`
		VLAN     pve.Int  `json:"vlan-id"`
		MTU      pve.Int  `json:"mtu"`
		Comments pve.Text `json:"comments"`
	}
	var beside struct {
		Changes pve.Text `json:"changes"`
	}
	if err := c.aboutNode(ctx, args.Node, c.pve.GetBeside(ctx, pve.Path("/nodes/%s/network", string(args.Node)), nil, &raw, &beside)); err != nil {
		return Networks{}, err
	}
	out := Networks{Interfaces: []Interface{}, Pending: string(beside.Changes)}
	for _, n := range raw {
		i := Interface{
			Name: n.Iface, Kind: n.Type, Active: bool(n.Active), Autostart: bool(n.Auto), Addresses: []string{}, Gateway: string(n.Gateway), Gateway6: string(n.Gateway6),
			Ports: append([]string{}, strings.Fields(string(n.Ports+" "+n.OVSPorts+" "+n.Slaves+" "+n.OVSBonds))...), Bond: string(n.Mode),
			VLANAware: bool(n.Aware), VLAN: int64(n.VLAN), MTU: int64(n.MTU), Comment: strings.TrimSpace(string(n.Comments)),
		}
		for _, a := range []pve.Text{n.CIDR, n.CIDR6} {
			if a != "" {
				i.Addresses = append(i.Addresses, string(a))
			}
		}
		out.Interfaces = append(out.Interfaces, i)
	}
	slices.SortFunc(out.Interfaces, func(a, b Interface) int { return compare(a.Name, b.Name) })
	return out, nil
}
