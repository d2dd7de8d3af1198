package lab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"nixmox/builtins/internal/pattern"
)

// options are the entries of a configuration that can be set, beside digest,
// delete, revert and the others of the request itself. name[n] stands for
// name0, name1 and so on.
type options struct {
	text, integer, number, boolean string // names with spaces between
	numbered                       string
	request                        []param // what is no entry
}

var (
	configDigest  = param{name: "digest", maxLen: 40}
	configRequest = []param{configDigest, {name: "delete"}, {name: "revert"}}

	qemuOptions = options{
		text: `affinity agent amd-sev arch args bios boot bootdisk cdrom cicustom cipassword citype ciuser cpu description hookscript hotplug hugepages
			intel-tdx ivshmem keyboard lock machine memory name nameserver ostype scsihw searchdomain spice_enhancements sshkeys startdate startup
			tags vga vmgenid vmstatestorage watchdog efidisk0 tpmstate0 rng0 audio0 smbios1`,
		integer:  "balloon cores cpuunits migrate_speed shares smp sockets vcpus",
		number:   "cpulimit migrate_downtime",
		boolean:  "acpi allow-ksm autostart ciupgrade freeze keephugepages kvm localtime numa onboot protection reboot tablet tdf template",
		numbered: `hostpci ide ipconfig net numa parallel sata scsi serial unused usb virtio virtiofs`,
		request:  slices.Concat(configRequest, []param{{name: "force", kind: boolean}, skiplock}),
	}
	lxcOptions = options{
		text:     "arch cmode description entrypoint env features hookscript hostname lock nameserver ostype rootfs searchdomain startup tags timezone",
		integer:  "cores cpuunits memory swap tty",
		number:   "cpulimit",
		boolean:  "console debug onboot protection template unprivileged",
		numbered: "dev mp net unused",
		request:  configRequest,
	}
)

// params are the options as a method's parameters.
func (o options) params() []param {
	out := slices.Clone(o.request)
	add := func(names string, k kind, suffix string) {
		for name := range strings.FieldsSeq(names) {
			out = append(out, param{name: name + suffix, kind: k})
		}
	}
	add(o.text, text, "")
	add(o.integer, integer, "")
	add(o.number, number, "")
	add(o.boolean, boolean, "")
	add(o.numbered, text, "[n]")
	return out
}

func putConfig(typ string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		if d := c.params.str("digest"); d != "" && d != g.digest() {
			if typ == "lxc" {
				return nil, serverError("detected modified configuration - file changed by other user? Try again.")
			}
			return nil, serverError("checksum mismatch (file change by other user?)")
		}
		if g.Lock != "" {
			return nil, serverError("%s", g.lockedError())
		}
		if c.params.has("lock") && !c.who.isRoot() {
			return nil, &apiError{Status: 403, Reason: "only root can set 'lock' config"}
		}
		for _, key := range splitList(c.params.str("delete")) {
			if strings.HasPrefix(key, "unused") {
				if wrong := c.destroyUnused(g, key); wrong != "" {
					return nil, serverError("%s", wrong)
				}
			}
			g.change(key, nil)
		}
		for _, key := range slices.Sorted(maps.Keys(c.params)) {
			switch key {
			case "delete", "revert", "digest", "force", "skiplock", "node", "vmid":
				continue
			}
			value, wrong := c.configValue(g, key, c.params.str(key))
			if wrong != "" {
				return nil, serverError("%s", wrong)
			}
			g.change(key, value)
		}
		g.readConfig()
		return nil, nil
	}
}

var newDisk = pattern.Of(`^rpool:(\d+)(,.*)?$`)

// configValue is a value as Proxmox writes it: a new disk gets its volume.
func (c *call) configValue(g *guest, key, text string) (value any, wrong string) {
	m := newDisk().FindStringSubmatch(text)
	if m == nil || !diskKey().MatchString(key) {
		return plainValue(g, key, text), ""
	}
	line := fmt.Sprintf("rpool:%s%s,size=%sG", c.freeDiskName(c.st.storage("rpool"), g), m[2], m[1])
	v, _ := c.zvolOf(key, line)
	return line, c.createZvol(g.Node, c.now(), nil, v)
}

// plainValue is one that makes nothing.
func plainValue(g *guest, key, text string) any {
	for _, o := range []options{qemuOptions, lxcOptions} {
		if b, ok := parseBool(text); ok && slices.Contains(strings.Fields(o.boolean), key) {
			return bit(b)
		}
	}
	if n, err := strconv.Atoi(text); err == nil && slices.Contains(strings.Fields(qemuOptions.integer+" swap"), key) {
		return n
	}
	if n, err := strconv.Atoi(text); err == nil && key == "memory" && g.Type == "lxc" {
		return n
	}
	return text
}

// atOnce are the options that take effect while a guest runs; the others wait
// for its next start.
var atOnce = pattern.Of(`^(?:name|description|tags|onboot|startup|protection|hookscript|lock|(?:net|scsi|virtio|sata|usb|unused|mp)\d+)$`)

// change makes one change of the configuration, now or at the next start. A
// disk that is taken away stays as an unused one; an unused one is destroyed.
func (g *guest) change(key string, value any) {
	hot := !g.Running || atOnce().MatchString(key) || g.Type == "lxc" && slices.Contains([]string{"memory", "swap", "cores", "cpulimit", "cpuunits"}, key)
	if !hot {
		if fmt.Sprint(g.Config[key]) == fmt.Sprint(value) && value != nil {
			delete(g.Pending, key)
			return
		}
		if g.Pending == nil {
			g.Pending = map[string]any{}
		}
		g.Pending[key] = value
		return
	}
	g.apply(key, value)
}

func (g *guest) apply(key string, value any) {
	old := fmt.Sprint(g.Config[key])
	if volid, _, _ := strings.Cut(old, ","); diskLine().MatchString(old) && !strings.HasPrefix(key, "unused") && !strings.HasPrefix(fmt.Sprint(value), volid) {
		n := 0
		for g.Config[fmt.Sprintf("unused%d", n)] != nil {
			n++
		}
		g.Config[fmt.Sprintf("unused%d", n)] = volid
	}
	if g.Config[key] = value; value == nil {
		delete(g.Config, key)
	}
}

// applyPending is what a start does first.
func (g *guest) applyPending() {
	for key, value := range g.Pending {
		g.apply(key, value)
	}
	g.Pending = nil
	g.readConfig()
}

// nextConfig is the configuration as the next start will find it.
func (g *guest) nextConfig() map[string]any {
	out := maps.Clone(g.Config)
	for key, value := range g.Pending {
		if out[key] = value; value == nil {
			delete(out, key)
		}
	}
	return out
}

// readConfig takes from the configuration what lists show.
func (g *guest) readConfig() {
	g.Name = g.config(map[string]string{"qemu": "name", "lxc": "hostname"}[g.Type])
	g.Tags = g.config("tags")
	if n, err := strconv.Atoi(g.config("cores")); err == nil {
		g.Cores = n
	}
	if n, err := strconv.ParseInt(g.config("memory"), 10, 64); err == nil {
		g.Memory = n * mib
	}
}

func getPending(typ string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		out := []obj{}
		for _, key := range slices.Sorted(maps.Keys(g.Config)) {
			o := obj{"key": key, "value": g.Config[key]}
			if value, ok := g.Pending[key]; ok && value == nil {
				o["delete"] = 1
			} else if ok {
				o["pending"] = value
			}
			out = append(out, o)
		}
		for _, key := range slices.Sorted(maps.Keys(g.Pending)) {
			if g.Config[key] == nil && g.Pending[key] != nil {
				out = append(out, obj{"key": key, "pending": g.Pending[key]})
			}
		}
		return append(out, obj{"key": "digest", "value": g.digest()}), nil
	}
}

func getFeature(typ string) func(*call) (any, error) {
	return func(c *call) (any, error) {
		g, err := c.guestHere(typ)
		if err != nil {
			return nil, err
		}
		name := c.params.str("snapname")
		if name != "" && g.snapshot(name) == nil {
			return nil, serverError("snapshot '%s' does not exist", name)
		}
		has := g.canSnapshot()
		if c.params.str("feature") == "clone" {
			has = g.Template || name != ""
		}
		o := obj{"hasFeature": bit(has)}
		if typ == "qemu" {
			nodes := []string{g.Node}
			o["nodes"] = nodes
		}
		return o, nil
	}
}
