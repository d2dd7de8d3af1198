package lab

import (
	"strings"
	"time"
)

// repository is one entry of a node's sources.
type repository struct {
	File      string
	URI       string
	Suite     string
	Component []string
	Enabled   bool
}

const (
	debianFile     = "/etc/apt/sources.list.d/debian.sources"
	proxmoxFile    = "/etc/apt/sources.list.d/proxmox.sources"
	enterpriseFile = "/etc/apt/sources.list.d/pve-enterprise.sources"
	suite          = "trixie"
)

// standard are the repositories that Proxmox VE knows by a handle.
var standard = []struct {
	handle, name string
	entry        repository
}{
	{"enterprise", "Enterprise", repository{File: enterpriseFile, URI: "https://enterprise.proxmox.com/debian/pve", Component: []string{"pve-enterprise"}}},
	{"no-subscription", "No-Subscription", repository{File: proxmoxFile, URI: "http://download.proxmox.com/debian/pve", Component: []string{"pve-no-subscription"}}},
	{"test", "Test", repository{File: "/etc/apt/sources.list.d/pve-test.sources", URI: "http://download.proxmox.com/debian/pve", Component: []string{"pve-test"}}},
}

// firstRepositories: Debian, Proxmox VE without a subscription, and the
// enterprise repository switched off.
func firstRepositories() []repository {
	out := []repository{
		{debianFile, "http://deb.debian.org/debian", suite, []string{"main", "contrib", "non-free-firmware"}, true},
		{debianFile, "http://deb.debian.org/debian", suite + "-updates", []string{"main", "contrib", "non-free-firmware"}, true},
		{debianFile, "http://security.debian.org/debian-security", suite + "-security", []string{"main", "contrib", "non-free-firmware"}, true},
	}
	enterprise, free := standard[0].entry, standard[1].entry
	enterprise.Suite, free.Suite, free.Enabled = suite, suite, true
	return append(out, free, enterprise)
}

// pkg is a package with its installed and its newest version.
type pkg struct {
	name, old, version, origin, section, title string
	late                                       bool // known after the next apt-get update only
}

var packages = []pkg{
	{"openssl", "3.5.1-1+deb13u1", "3.5.4-1~deb13u2", "Debian", "utils", "Secure Sockets Layer toolkit - cryptographic utility", false},
	{"libssl3t64", "3.5.1-1+deb13u1", "3.5.4-1~deb13u2", "Debian", "libs", "Secure Sockets Layer toolkit - shared libraries", false},
	{"pve-manager", "9.2.11", "9.2.13", "Proxmox", "admin", "Proxmox Virtual Environment Management Tools", true},
	{"qemu-server", "9.2.4", "9.2.6", "Proxmox", "admin", "Qemu Server Tools", true},
	{"proxmox-kernel-6.17", "6.17.13-2", "6.17.13-4", "Proxmox", "kernel", "Latest Proxmox Kernel Image", true},
	{"proxmox-ve", "9.2.0", "9.2.0", "Proxmox", "admin", "Proxmox Virtual Environment", false},
	{"corosync", "3.1.9-pve2", "3.1.9-pve2", "Proxmox", "admin", "cluster engine daemon and utilities", false},
	{"zfsutils-linux", "2.4.1-pve1", "2.4.1-pve1", "Proxmox", "admin", "command-line tools to manage ZFS filesystems", false},
}

func (p pkg) fields() obj {
	return obj{
		"Package": p.name, "Version": p.version, "Origin": p.origin, "Section": p.section, "Title": p.title,
		"Description": p.title + ".", "Arch": "amd64", "Priority": "optional", "OldVersion": p.old,
	}
}

// newest is the version of a package that the node knows of.
func (n *node) newest(p pkg) string {
	if p.late && n.Refreshed.IsZero() {
		return p.old
	}
	return p.version
}

func getUpdates(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	out := []obj{}
	for _, p := range packages {
		if n.newest(p) != p.old {
			out = append(out, p.fields())
		}
	}
	return out, nil
}

func getVersions(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	out := []obj{}
	for _, p := range packages {
		o := p.fields()
		o["Version"], o["CurrentState"] = n.newest(p), "Installed"
		switch p.name {
		case "pve-manager":
			o["ManagerVersion"] = "9.2.11/14a22df35955d97d"
		case "proxmox-ve":
			o["RunningKernel"] = kernelRelease
		}
		out = append(out, o)
	}
	return out, nil
}

const kernelRelease = "6.17.13-2-pve"

func postAptUpdate(c *call) (any, error) {
	return c.startTask(c.v("node"), "aptupdate", "", c.who, 4*time.Second).upid(), nil
}

// runAptUpdate is the end of apt-get update: without a subscription the
// enterprise repository refuses, and half a list is none.
func (l *Lab) runAptUpdate(t *task, at time.Time) string {
	if t.Aborted {
		return "interrupted by signal"
	}
	n := l.st.node(t.Node)
	t.say("starting apt-get update")
	var refused []repository
	for i, r := range n.Repository {
		switch {
		case !r.Enabled:
		case strings.HasPrefix(r.URI, "https://enterprise.proxmox.com/"):
			t.say("Err:%d %s %s InRelease", i+1, r.URI, r.Suite)
			t.say("  401  Unauthorized [IP: 192.0.2.80 443]")
			refused = append(refused, r)
		default:
			t.say("Get:%d %s %s InRelease [140 kB]", i+1, r.URI, r.Suite)
		}
	}
	t.say("Reading package lists...")
	if len(refused) == 0 {
		t.Log = append(t.Log[:len(t.Log)-1], "Fetched 560 kB in 1s (480 kB/s)", "Reading package lists...")
		n.Refreshed = at
		return "OK"
	}
	for _, r := range refused {
		t.say("E: Failed to fetch %s/dists/%s/InRelease  401  Unauthorized [IP: 192.0.2.80 443]", r.URI, r.Suite)
		t.say("E: The repository '%s %s InRelease' is not signed.", r.URI, r.Suite)
	}
	return "command 'apt-get update' failed: exit code 100"
}

// files are a node's sources by file, in order.
func (n *node) files() []obj {
	var out []obj
	for _, r := range n.Repository {
		if len(out) == 0 || out[len(out)-1]["path"] != r.File {
			out = append(out, obj{"path": r.File, "file-type": "sources", "digest": digestOf(r.File), "repositories": []obj{}})
		}
		file := out[len(out)-1]
		file["repositories"] = append(file["repositories"].([]obj), obj{
			"Types": []string{"deb"}, "URIs": []string{r.URI}, "Suites": []string{r.Suite}, "Components": r.Component,
			"Enabled": bit(r.Enabled), "FileType": "sources",
			"Options": []obj{{"Key": "Signed-By", "Values": []string{"/usr/share/keyrings/proxmox-archive-keyring.gpg"}}},
		})
	}
	return out
}

func digestOf(text string) []int {
	sum := sha1Hex(text)
	out := make([]int, 16)
	for i := range out {
		out[i] = int(sum[i])
	}
	return out
}

// index is where an entry of a file is in the node's list, -1 for nowhere.
func (n *node) repository(path string, index int64) *repository {
	for i := range n.Repository {
		if n.Repository[i].File == path {
			if index == 0 {
				return &n.Repository[i]
			}
			index--
		}
	}
	return nil
}

func getRepositories(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	known := []obj{}
	infos := []obj{}
	for _, s := range standard {
		o := obj{"handle": s.handle, "name": s.name}
		for _, r := range n.Repository {
			if r.URI == s.entry.URI && r.Component[0] == s.entry.Component[0] {
				o["status"] = bit(r.Enabled)
			}
		}
		known = append(known, o)
	}
	for _, f := range n.files() {
		for i, r := range f["repositories"].([]obj) {
			origin := "Debian"
			if strings.Contains(r["URIs"].([]string)[0], "proxmox.com") {
				origin = "Proxmox"
			}
			infos = append(infos, obj{"path": f["path"], "index": string(rune('0' + i)), "kind": "origin", "message": origin})
		}
	}
	return obj{"files": n.files(), "errors": []obj{}, "infos": infos, "standard-repos": known, "digest": n.sourcesDigest()}, nil
}

func (n *node) sourcesDigest() string {
	text := ""
	for _, r := range n.Repository {
		text += r.File + r.URI + r.Suite + strings.Join(r.Component, ",") + string(rune('0'+bit(r.Enabled)))
	}
	return sha1Hex(text) + sha1Hex(text + "2")[:24]
}

// sameSources refuses a change that was made of another state than there is.
func (c *call) sameSources(n *node) error {
	if d := c.params.str("digest"); d != "" && d != n.sourcesDigest() {
		return serverError("detected modified configuration - file changed by other user? Try again.")
	}
	return nil
}

// postRepository switches a repository on or off.
func postRepository(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	if err := c.sameSources(n); err != nil {
		return nil, err
	}
	r := n.repository(c.params.str("path"), c.params.int("index", 0))
	if r == nil {
		return nil, serverError("invalid path or index - %s", c.params.str("path"))
	}
	r.Enabled = c.params.bool("enabled", r.Enabled)
	return nil, nil
}

// putRepository adds a standard repository, or switches it on.
func putRepository(c *call) (any, error) {
	n := c.st.node(c.v("node"))
	if err := c.sameSources(n); err != nil {
		return nil, err
	}
	for _, s := range standard {
		if s.handle != c.params.str("handle") {
			continue
		}
		for i := range n.Repository {
			if n.Repository[i].File == s.entry.File {
				n.Repository[i].Enabled = true
				return nil, nil
			}
		}
		r := s.entry
		r.Suite, r.Enabled = suite, true
		n.Repository = append(n.Repository, r)
		return nil, nil
	}
	return nil, serverError("unknown repository handle '%s'", c.params.str("handle"))
}
