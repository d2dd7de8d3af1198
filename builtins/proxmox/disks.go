package proxmox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nixmox/builtins/internal/pattern"
	"nixmox/engine/builtin"
)

// Disk is a volume in a guest's configuration.
type Disk struct {
	Key   string        `name:"key" doc:"its entry: scsi0, rootfs, mp1, unused0, …"`
	VolID builtin.VolID `name:"volid" doc:"the volume's id"`
	Size  int64         `name:"size" doc:"in bytes, as the configuration says; 0 if it does not"`
}

var diskKey = pattern.Of(`^(?:(?:ide|sata|scsi|virtio|efidisk|tpmstate|mp|unused)[0-9]+|rootfs|vmstate)$`)

// disksOf are the volumes that a configuration names, by key. CD drives, and
// folders and devices of the host, are none.
func disksOf(config map[string]any) []Disk {
	out := []Disk{}
	for key, value := range config {
		text, isText := value.(string)
		volid, options, _ := strings.Cut(text, ",")
		volid = strings.TrimPrefix(strings.TrimPrefix(volid, "file="), "volume=")
		d := Disk{Key: key}
		if !isText || !diskKey().MatchString(key) || strings.Contains(options, "media=cdrom") || d.VolID.UnmarshalText([]byte(volid)) != nil {
			continue
		}
		d.Size, _ = sizeIn(text)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Disk) int { return strings.Compare(a.Key, b.Key) })
	return out
}

var (
	sizeOption = pattern.Of(`(?:^|,)size=([0-9.]+[KMGT]?)(?:,|$)`)
	sizeText   = pattern.Of(`^(\+?)([0-9]+(?:\.[0-9]+)?)([KMGT]?)(?:iB)?$`)
)

func sizeIn(line string) (int64, bool) {
	m := sizeOption().FindStringSubmatch(line)
	if m == nil {
		return 0, false
	}
	n, _, err := parseSize(m[1])
	return n, err == nil
}

// parseSize reads a size as Proxmox writes it: powers of 1024.
func parseSize(text string) (n int64, more bool, err error) {
	m := sizeText().FindStringSubmatch(text)
	if m == nil {
		return 0, false, fmt.Errorf("%q is no size of a disk: want 64G, or +8G for so much more, with K, M, G or T", text)
	}
	f, err := strconv.ParseFloat(m[2], 64)
	if err != nil || f > 1<<52 {
		return 0, false, fmt.Errorf("%q is no size of a disk", text)
	}
	shift := 0
	if m[3] != "" {
		shift = 10 * (1 + strings.Index("KMGT", m[3]))
	}
	if f*float64(int64(1)<<shift) >= 1<<62 {
		return 0, false, fmt.Errorf("%q is larger than any disk", text)
	}
	return int64(f * float64(int64(1)<<shift)), m[1] != "", nil
}

// DiskSize is a new size of a disk: the whole, or with '+' so much more.
type DiskSize string

// Describe names the type and its grammar.
func (DiskSize) Describe() (string, string) {
	return "disk size", "64G, or +8G for so much more; K, M, G and T are powers of 1024"
}

// UnmarshalText checks the grammar.
func (s *DiskSize) UnmarshalText(text []byte) error {
	if _, _, err := parseSize(string(text)); err != nil {
		return err
	}
	*s = DiskSize(text)
	return nil
}

// DiskName is the entry of a guest's configuration that a disk is.
type DiskName string

// Describe names the type and its grammar.
func (DiskName) Describe() (string, string) { return "disk", "scsi0, virtio1, rootfs, mp0, …" }

var diskNameGrammar = pattern.Of(`^(?:(?:ide[0-3]|sata[0-5]|scsi[0-9]{1,2}|virtio[0-9]{1,2}|mp[0-9]{1,3})|rootfs|efidisk0|tpmstate0)$`)

// Pattern is the grammar of the name.
func (DiskName) Pattern() string { return diskNameGrammar().String() }

// UnmarshalText checks the grammar.
func (d *DiskName) UnmarshalText(text []byte) error {
	if !diskNameGrammar().Match(text) {
		return fmt.Errorf("%q is no disk of a guest: want scsi0, virtio1, rootfs, mp0, …", text)
	}
	*d = DiskName(text)
	return nil
}
