package vzdump

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// ExtractArgs are the arguments of extract_config.
type ExtractArgs struct {
	VolID builtin.VolID `name:"volid" scope:"storage" doc:"the archive"`
	Node  builtin.Node  `name:"node" default:"" doc:"the node that has it; needed only where several have one of that name"`
}

// ArchivedConfig is the configuration of a guest, as an archive has it.
type ArchivedConfig struct {
	VolID   builtin.VolID     `name:"volid" doc:"the archive"`
	Guest   builtin.VMID      `name:"guest" doc:"the guest that was backed up"`
	Kind    string            `name:"kind" doc:"vm or container"`
	Text    string            `name:"text" doc:"the configuration, as Proxmox keeps it"`
	Config  map[string]string `name:"config" doc:"the same, taken apart; without the sections of snapshots"`
	Disks   []Disk            `name:"disks" doc:"the disks and volumes that a restore makes"`
	LeftOut []string          `name:"left_out" doc:"disks, mount points, snapshots and devices that the guest had, and that are not in the archive"`
}

// Disk is a disk of a VM, or a volume of a container.
type Disk struct {
	Key   string        `name:"key" doc:"where it is attached: scsi0, rootfs, mp0, …"`
	VolID string        `name:"volid" doc:"its volume id"`
	Size  builtin.Bytes `name:"size" doc:"bytes, as the configuration declares them; 0 if it does not"`
}

func (v *vzdump) extractConfig(ctx context.Context, a ExtractArgs) (ArchivedConfig, error) {
	listed, err := v.find(ctx, a.VolID, a.Node)
	if err != nil {
		return ArchivedConfig{}, err
	}
	out, _, err := v.configIn(ctx, listed)
	return out, err
}

// configIn reads the configuration that an archive holds.
func (v *vzdump) configIn(ctx context.Context, listed Archive) (ArchivedConfig, guestConfig, error) {
	var text string
	query := url.Values{"volume": {string(listed.VolID.Value)}}
	if err := v.c.Get(ctx, pve.Path("/nodes/%s/vzdump/extractconfig", string(listed.Node)), query, &text); err != nil {
		if f := builtin.AsFault(err); f != nil && f.Hint == "" {
			err = f.Hinting("is the archive whole? See: vzdump.verify(%q, [%q])", listed.Storage, listed.VolID.Value)
		}
		return ArchivedConfig{}, guestConfig{}, err
	}
	c := parseGuestConfig(listed.Kind, text)
	if len(c.values) == 0 {
		return ArchivedConfig{}, guestConfig{}, builtin.Faultf(builtin.Failed, "reading the configuration in the archive %s", listed.VolID.Value).
			Saying("there is none").Hinting("verify the archive: vzdump.verify(%q, [%q])", listed.Storage, listed.VolID.Value)
	}
	var disks []Disk
	for _, d := range c.disks() {
		if d.archived {
			disks = append(disks, d.Disk)
		}
	}
	return ArchivedConfig{VolID: listed.VolID.Value, Guest: listed.Guest, Kind: listed.Kind, Text: text, Config: c.values, Disks: disks, LeftOut: c.leftOut()}, c, nil
}

// guestConfig is the configuration of a guest: what stands before its first
// section.
type guestConfig struct {
	kind      string // vm or container
	values    map[string]string
	snapshots []string // the names of the sections
}

// parseGuestConfig reads a file of /etc/pve/qemu-server or /etc/pve/lxc. Lines
// with # are the description, or vzdump's own map of the disks.
func parseGuestConfig(kind, text string) guestConfig {
	c := guestConfig{kind: kind, values: map[string]string{}}
	inSection := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if name, ok := strings.CutPrefix(line, "["); ok && strings.HasSuffix(name, "]") {
			inSection = true
			c.snapshots = append(c.snapshots, strings.TrimSuffix(name, "]"))
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || inSection || !configKey().MatchString(key) {
			continue
		}
		c.values[key] = strings.TrimSpace(value)
	}
	return c
}

var (
	configKey   = pattern.Of(`^[a-z][a-z0-9_-]*$`)
	vmDisk      = pattern.Of(`^(?:(?:scsi|virtio|sata|ide)\d+|efidisk0|tpmstate0)$`)
	mountPoint  = pattern.Of(`^(?:rootfs|mp\d+)$`)
	passThrough = pattern.Of(`^(?:hostpci|usb|virtiofs|dev)\d+$`)
	unusedDisk  = pattern.Of(`^unused\d+$`)
)

// disk is a disk, and whether a backup takes it.
type disk struct {
	Disk
	options  map[string]string
	archived bool
	why      string // why not
}

// disks are the disks of a VM or the mount points of a container, by key. CD
// drives and empty slots are none.
func (c guestConfig) disks() []disk {
	var out []disk
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		if c.kind == "vm" && !vmDisk().MatchString(key) || c.kind != "vm" && !mountPoint().MatchString(key) {
			continue
		}
		volume, options := properties(c.values[key])
		d := disk{Disk: Disk{Key: key, VolID: volume, Size: sizeOf(options["size"])}, options: options, archived: true}
		switch {
		case volume == "" || volume == "none" || volume == "cdrom" || options["media"] == "cdrom":
			continue
		case c.kind != "vm" && strings.HasPrefix(volume, "/"):
			d.archived, d.why = false, "a bind or device mount, which vzdump never takes"
		case key == "rootfs":
		case c.kind != "vm" && options["backup"] != "1":
			d.archived, d.why = false, "mount points are taken with backup=1 only"
		case options["backup"] == "0" || options["backup"] == "no":
			d.archived, d.why = false, "backup=0"
		}
		out = append(out, d)
	}
	return out
}

// properties takes apart VOLUME,name=value,…; the first may be named, too.
func properties(line string) (volume string, options map[string]string) {
	options = map[string]string{}
	for i, part := range strings.Split(line, ",") {
		name, value, named := strings.Cut(part, "=")
		switch {
		case named && (i > 0 || name == "file" || name == "volume"):
			options[name] = value
		case i == 0:
			volume = part
		}
	}
	if volume == "" {
		volume = options["file"] + options["volume"]
	}
	return volume, options
}

// sizeOf reads 32G, 528K, or bytes; 0 if it is none of these.
func sizeOf(text string) builtin.Bytes {
	var b builtin.Bytes
	if b.UnmarshalText([]byte(text)) != nil {
		return 0
	}
	return b
}

func (c guestConfig) isWindows() bool { return strings.HasPrefix(c.values["ostype"], "w") }

// passedThrough are the devices of the host that the guest has: what is on
// them is in no archive.
func (c guestConfig) passedThrough() []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		if device, _, _ := strings.Cut(c.values[key], ","); passThrough().MatchString(key) && !strings.HasPrefix(device, "spice") {
			out = append(out, fmt.Sprintf("%s: %s is passed through", key, device))
		}
	}
	return out
}

// leftOut is what of the guest a backup does not take.
func (c guestConfig) leftOut() []string {
	out := []string{}
	for _, d := range c.disks() {
		if !d.archived {
			out = append(out, fmt.Sprintf("%s: %s: %s", d.Key, d.VolID, d.why))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		if unusedDisk().MatchString(key) {
			out = append(out, fmt.Sprintf("%s: %s is attached to nothing", key, c.values[key]))
		}
	}
	out = append(out, c.passedThrough()...)
	if parent := c.values["parent"]; parent != "" && len(c.snapshots) == 0 {
		out = append(out, "snapshots, the last of them "+parent)
	}
	for _, name := range c.snapshots {
		if name != "PENDING" && !strings.HasPrefix(name, "special:") {
			out = append(out, "the snapshot "+name)
		}
	}
	return out
}
