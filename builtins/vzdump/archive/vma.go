package archive

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The format is described in vma_spec.txt of Proxmox's QEMU. Where its writer
// and reader (vma-writer.c, vma-reader.c) differ from that text, they count:
// the length of a blob is little-endian, and the blob buffer's size is any number.
const (
	vmaFixed       = 12288   // bytes of the header before the blob buffer
	vmaMaxHeader   = 4 << 20 // vzdump writes at most 512 KiB
	vmaCluster     = 65536
	vmaBlock       = 4096
	vmaExtent      = 512 // bytes of an extent's header
	vmaConfig      = "qemu-server.conf"
	vmaMaxClusters = 1 << 32 // cluster numbers have 32 bits
)

// vma is the state of one VMA while it is read.
type vma struct {
	r       *bufio.Reader
	pos     int64 // in the unpacked stream
	uuid    [16]byte
	devices [256]*vmaDevice // by id; nil: no such device
	pages   int             // bitmaps in use, see clusterSet
	head    [vmaExtent]byte // of the extent being read
}

type vmaDevice struct {
	name     string
	size     uint64
	clusters uint64 // how many there must be
	seen     clusterSet
	// The saved RAM. Its size is an estimate in the header, so its clusters
	// are only known to come in order; where it ends nothing tells.
	vmstate bool
}

// verifyVMA reads r to its end and proves the VMA in it.
func verifyVMA(r io.Reader, report *Report) error {
	v := &vma{r: bufio.NewReaderSize(r, chunkSize)}
	err := v.header()
	for err == nil {
		err = v.extent()
	}
	for id, d := range v.devices {
		if d != nil {
			report.Devices = append(report.Devices, Device{ID: id, Name: d.name, Size: int64(d.size), Clusters: int64(d.seen.seen)})
		}
	}
	if !isEnd(err) {
		return err
	}
	report.Config = vmaConfig
	for _, d := range v.devices {
		if d != nil && !d.vmstate && d.seen.seen != d.clusters {
			return damage(v.pos, "%d of the %d clusters of %s are missing, the first is number %d: the backup ended early or was cut short",
				d.clusters-d.seen.seen, d.clusters, d.name, d.seen.next)
		}
	}
	return nil
}

// full reads exactly len(p) bytes; what names them in the error.
func (v *vma) full(p []byte, what string) error {
	n, err := io.ReadFull(v.r, p)
	v.pos += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damage(v.pos, "the archive ends in the middle of %s: it was cut short", what)
	}
	return err
}

// checkMD5 compares the 16 bytes at offset at, which are zeroed for it, with
// the MD5 of the whole.
func (v *vma) checkMD5(h []byte, at int, what string) error {
	want := [16]byte(h[at:])
	clear(h[at : at+16])
	if got := md5.Sum(h); got != want {
		return damage(v.pos, "%s has the MD5 %x, and %x was expected", what, got, want)
	}
	return nil
}

func (v *vma) header() error {
	h := make([]byte, vmaFixed)
	if err := v.full(h, "the VMA header"); err != nil {
		return err
	}
	if string(h[:4]) != "VMA\x00" {
		return damage(0, "it starts with the bytes % x, which is not a VMA (56 4d 41 00)", h[:4])
	}
	size := binary.BigEndian.Uint32(h[56:])
	if size < vmaFixed || size > vmaMaxHeader || size%512 != 0 {
		return damage(56, "the VMA header claims to be %d bytes long; a multiple of 512 from %d to %d was expected", size, vmaFixed, vmaMaxHeader)
	}
	h = append(h, make([]byte, size-vmaFixed)...)
	if err := v.full(h[vmaFixed:], "the VMA header"); err != nil {
		return err
	}
	if err := v.checkMD5(h, 32, "the VMA header"); err != nil {
		return err
	}
	if version := binary.BigEndian.Uint32(h[4:]); version != 1 {
		return &UnsupportedError{What: fmt.Sprintf("it is a VMA of version %d, and only version 1 is known", version), Do: "verify it with the vma program of the Proxmox host that wrote it"}
	}
	v.uuid = [16]byte(h[8:])

	start, length := uint64(binary.BigEndian.Uint32(h[48:])), uint64(binary.BigEndian.Uint32(h[52:]))
	if start < vmaFixed || start+length > uint64(size) {
		return damage(48, "the blob buffer claims to be bytes %d to %d, outside of the header's %d to %d", start, start+length, vmaFixed, size)
	}
	blobs := h[start : start+length]
	if err := v.findConfig(h, blobs); err != nil {
		return err
	}
	return v.findDevices(h, blobs)
}

// blob gives the bytes at an offset into the blob buffer: a length, then they.
func blob(blobs []byte, at uint32) ([]byte, bool) {
	if at == 0 || uint64(at)+2 > uint64(len(blobs)) {
		return nil, false
	}
	length := int(binary.LittleEndian.Uint16(blobs[at:]))
	rest := blobs[at+2:]
	return rest[:min(length, len(rest))], length <= len(rest)
}

// blobString gives a name, which QEMU stores with a zero byte at its end.
func blobString(blobs []byte, at uint32) (string, bool) {
	b, ok := blob(blobs, at)
	name := string(bytes.TrimSuffix(b, []byte{0}))
	return name, ok && name != ""
}

func (v *vma) findConfig(h, blobs []byte) error {
	found := false
	for i := range 256 {
		nameAt, dataAt := binary.BigEndian.Uint32(h[2044+4*i:]), binary.BigEndian.Uint32(h[3068+4*i:])
		if nameAt == 0 || dataAt == 0 {
			continue
		}
		name, nameOK := blobString(blobs, nameAt)
		data, dataOK := blob(blobs, dataAt)
		if !nameOK || !dataOK {
			return damage(int64(2044+4*i), "configuration %d points outside of the blob buffer", i)
		}
		found = found || name == vmaConfig && len(data) > 0
	}
	if !found {
		return damage(v.pos, "the VMA header holds no %s: the guest's configuration is missing", vmaConfig)
	}
	return nil
}

func (v *vma) findDevices(h, blobs []byte) error {
	for id := 1; id < 256; id++ {
		at := 4096 + 32*id
		size := binary.BigEndian.Uint64(h[at+8:])
		if size == 0 {
			continue // an unused entry, whatever its name
		}
		name, ok := blobString(blobs, binary.BigEndian.Uint32(h[at:]))
		if !ok {
			return damage(int64(at), "device %d has %d bytes and no name", id, size)
		}
		if size > vmaMaxClusters*vmaCluster {
			return damage(int64(at+8), "device %d (%s) claims %d bytes; no VMA can hold more than 256 TiB of one device", id, name, size)
		}
		v.devices[id] = &vmaDevice{
			name:     name,
			size:     size,
			clusters: (size + vmaCluster - 1) / vmaCluster,
			vmstate:  name == "vmstate",
		}
	}
	return nil
}

// extent reads the next extent: a header, and up to 59 clusters of which only
// the blocks that are not zero are stored. io.EOF means that there is none.
func (v *vma) extent() error {
	if _, err := v.r.Peek(1); err != nil {
		return err
	}
	start := v.pos
	h := v.head[:]
	if err := v.full(h, "an extent's header"); err != nil {
		return err
	}
	if string(h[:4]) != "VMAE" {
		return damage(start, "an extent starts with the bytes % x, and 56 4d 41 45 (VMAE) was expected", h[:4])
	}
	if err := v.checkMD5(h, 24, "an extent's header"); err != nil {
		return err
	}
	if uuid := [16]byte(h[8:]); uuid != v.uuid {
		return damage(start, "an extent has the uuid %x, and the header's is %x: it belongs to another archive", uuid, v.uuid)
	}

	blocks := 0
	for i := range 59 {
		info := binary.BigEndian.Uint64(h[40+8*i:])
		id := byte(info >> 32)
		if id == 0 {
			continue
		}
		for mask := info >> 48; mask != 0; mask &= mask - 1 {
			blocks++
		}
		if err := v.cluster(start, id, info&0xffffffff); err != nil {
			return err
		}
	}
	if claimed := int(binary.BigEndian.Uint16(h[6:])); claimed != blocks {
		return damage(start, "an extent claims %d blocks, and its clusters have %d", claimed, blocks)
	}
	n, err := v.r.Discard(blocks * vmaBlock)
	v.pos += int64(n)
	if err == io.EOF {
		return damage(v.pos, "the archive ends in the middle of an extent's data: it was cut short")
	}
	return err
}

// cluster notes one cluster of the extent at start.
func (v *vma) cluster(start int64, id byte, n uint64) error {
	d := v.devices[id]
	if d == nil {
		return damage(start, "an extent has a cluster of device %d, which the header does not list", id)
	}
	if d.vmstate && n != d.seen.next {
		return damage(start, "cluster %d of the saved RAM comes where %d was expected", n, d.seen.next)
	}
	if !d.vmstate && n >= d.clusters {
		return damage(start, "an extent has cluster %d of %s, which has only %d", n, d.name, d.clusters)
	}
	fresh, err := d.seen.add(n, &v.pages)
	if errors.Is(err, errTooScattered) {
		return &UnsupportedError{
			What: "the clusters lie so scattered over so large disks that more than 64 MiB of memory would be needed to keep count",
			Do:   "verify it with vma verify on the Proxmox host",
		}
	}
	if !fresh {
		return damage(start, "cluster %d of %s is there twice", n, d.name)
	}
	return nil
}
