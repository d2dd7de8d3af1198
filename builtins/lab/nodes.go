package lab

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// firstCluster is what a fresh estate has beyond guests and storages.
func (s *state) firstCluster() {
	for _, n := range s.Nodes {
		n.Boot = s.Boot
		n.Repository = firstRepositories()
	}
	s.HA = []*haResource{{SID: "vm:110", State: "started", MaxRestart: 1, MaxRelocate: 1}}
}

// attributed is an answer with something beside its data.
type attributed struct {
	data   any
	beside obj
}

// networkOf is a node's network: two cards in a bond, and three bridges.
func networkOf(n *node) []obj {
	card := func(name string, priority int) obj {
		return obj{"iface": name, "type": "eth", "method": "manual", "method6": "manual", "families": []string{"inet"}, "active": 1, "exists": 1, "priority": priority}
	}
	bridge := func(name, ports string, priority int) obj {
		return obj{
			"iface": name, "type": "bridge", "method": "manual", "method6": "manual", "families": []string{"inet"}, "active": 1, "autostart": 1,
			"bridge_ports": ports, "bridge_stp": "off", "bridge_fd": "0", "priority": priority,
		}
	}
	lan := bridge("vmbr0", "bond0", 6)
	lan["method"], lan["address"], lan["netmask"], lan["cidr"], lan["gateway"] = "static", n.IP, "24", n.IP+"/24", "192.0.2.1"
	lan["comments"] = "the LAN\n"
	vlans := bridge("vmbr1", "eno3", 7)
	vlans["bridge_vlan_aware"], vlans["bridge_vids"] = 1, "2-4094"
	return []obj{
		{"iface": "bond0", "type": "bond", "method": "manual", "method6": "manual", "families": []string{"inet"}, "active": 1, "autostart": 1,
			"slaves": "eno1 eno2", "bond_mode": "active-backup", "bond-primary": "eno1", "bond_miimon": "100", "priority": 5},
		card("eno1", 2), card("eno2", 3), card("eno3", 4), lan, vlans, bridge("vmbr2", "", 8),
	}
}

// pendingNetwork is the difference to a change of vmbr2 that somebody has made
// on pve3 and not applied.
const pendingNetwork = `--- /etc/network/interfaces	2026-11-01 09:12:44.000000000 +0000
+++ /etc/network/interfaces.new	2026-11-02 16:30:10.000000000 +0000
@@ -34,3 +34,4 @@
 	bridge-ports none
 	bridge-stp off
 	bridge-fd 0
+	mtu 9000
`

func getNetwork(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	want := c.params.str("type")
	out := []obj{}
	for _, o := range networkOf(n) {
		switch want {
		case "", "include_sdn", o["type"]:
		case "any_bridge", "any_local_bridge":
			if o["type"] != "bridge" {
				continue
			}
		default:
			continue
		}
		out = append(out, o)
	}
	if n.ID == 3 && c.may(c.who, "/nodes/"+n.Name, "Sys.Audit") {
		return attributed{out, obj{"changes": pendingNetwork}}, nil
	}
	return out, nil
}

// services are those that pve-manager shows of a node.
var services = []struct{ name, desc, state, active, unit string }{
	{"chrony", "chrony, an NTP client/server", "running", "active", "enabled"},
	{"corosync", "Corosync Cluster Engine", "running", "active", "enabled"},
	{"cron", "Regular background program processing daemon", "running", "active", "enabled"},
	{"ksmtuned", "Kernel Samepage Merging (KSM) Tuning Daemon", "running", "active", "enabled"},
	{"postfix", "Postfix Mail Transport Agent (main/default instance)", "running", "active", "enabled"},
	{"proxmox-firewall", "Proxmox nftables firewall", "running", "active", "enabled"},
	{"pve-cluster", "The Proxmox VE cluster filesystem", "running", "active", "enabled"},
	{"pve-firewall", "Proxmox VE firewall", "running", "active", "enabled"},
	{"pve-ha-crm", "PVE Cluster HA Resource Manager Daemon", "running", "active", "enabled"},
	{"pve-ha-lrm", "PVE Local HA Resource Manager Daemon", "running", "active", "enabled"},
	{"pvedaemon", "PVE API Daemon", "running", "active", "enabled"},
	{"pvefw-logger", "Proxmox VE firewall logger", "running", "active", "static"},
	{"pveproxy", "PVE API Proxy Server", "running", "active", "enabled"},
	{"pvescheduler", "Proxmox VE scheduler", "running", "active", "enabled"},
	{"pvestatd", "PVE Status Daemon", "running", "active", "enabled"},
	{"qmeventd", "PVE Qemu Event Daemon", "running", "active", "enabled"},
	{"spiceproxy", "PVE SPICE Proxy Server", "running", "active", "enabled"},
	{"ssh", "OpenBSD Secure Shell server", "running", "active", "enabled"},
	{"syslog", "syslog.service", "dead", "inactive", "not-found"},
	{"systemd-journald", "Journal Service", "running", "active", "static"},
	{"systemd-timesyncd", "systemd-timesyncd.service", "dead", "inactive", "not-found"},
}

func getServices(*call) (any, error) {
	out := []obj{}
	for _, s := range services {
		out = append(out, obj{"service": s.name, "name": s.name, "desc": s.desc, "state": s.state, "active-state": s.active, "unit-state": s.unit})
	}
	return out, nil
}

func getSubscription(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	o := obj{"status": "notfound", "message": "There is no subscription key", "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"}
	if c.may(c.who, "/nodes/"+n.Name, "Sys.Audit") {
		o["serverid"] = strings.ToUpper(sha1Hex("server" + n.Name)[:32])
	}
	return o, nil
}

func getCertificates(c *call) (any, error) {
	cert, err := x509.ParseCertificate(c.cert.pair.Certificate[0])
	if err != nil {
		return nil, serverError("reading the certificate failed: %v", err)
	}
	sans := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		sans = append(sans, ip.String())
	}
	slashed := fmt.Sprintf("/O=%s/CN=%s", cert.Subject.Organization[0], cert.Subject.CommonName)
	return []obj{{
		"filename": "pve-ssl.pem", "fingerprint": c.cert.fingerprint, "subject": slashed, "issuer": slashed, "san": sans,
		"notbefore": cert.NotBefore.Unix(), "notafter": cert.NotAfter.Unix(), "public-key-type": "id-ecPublicKey", "public-key-bits": 256,
		"pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
	}}, nil
}

// getOptions says which tags the asker may use; what else is in datacenter.cfg
// only an auditor sees. Registered tags the lab has none: Proxmox would send
// them as a list, which its schema calls a string.
func getOptions(c *call) (any, error) {
	tags := []string{}
	for _, g := range c.st.Guests {
		tags = append(tags, strings.FieldsFunc(g.Tags, func(r rune) bool { return r == ';' })...)
	}
	slices.Sort(tags)
	o := obj{"allowed-tags": slices.Compact(tags)}
	if c.may(c.who, "/", "Sys.Audit") {
		o["mac_prefix"], o["description"] = "BC:24:11", ""
	}
	return o, nil
}
