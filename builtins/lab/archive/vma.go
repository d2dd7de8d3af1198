package archive

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Sizes of VMA version 1, as vma-writer.c of pve-qemu declares them.
const (
	vmaFixedHeader    = 12288
	vmaExtentHeader   = 512
	vmaCluster        = 64 << 10
	vmaBlock          = 4 << 10
	vmaBlocksInExtent = 59
)

// A Device is one disk of a VM. Its content is derived from the seed.
type Device struct {
	Name string // as QEMU calls it: drive-scsi0
	Size int64
}

// A VMA is what goes into one .vma file.
type VMA struct {
	Config  string // the guest's configuration, qemu-server.conf
	Time    time.Time
	Devices []Device
	Seed    uint64
}

// WriteTo writes the archive to w.
func (v VMA) WriteTo(w io.Writer) (int64, error) {
	n := &counter{w: w}
	rng := rand.New(rand.NewPCG(v.Seed, 0x766d61))
	var uuid [16]byte
	binary.BigEndian.PutUint64(uuid[:8], rng.Uint64())
	binary.BigEndian.PutUint64(uuid[8:], rng.Uint64())
	if len(v.Devices) > 255 {
		return 0, fmt.Errorf("a vma holds 255 devices, not %d", len(v.Devices))
	}
	head, err := v.header(uuid)
	if err != nil {
		return 0, err
	}
	if _, err := n.Write(head); err != nil {
		return n.n, err
	}
	x := extent{w: n, uuid: uuid}
	for i, d := range v.Devices {
		clusters := (d.Size + vmaCluster - 1) / vmaCluster
		for c := range clusters {
			mask, blocks := cluster(rng, i, d.Size-c*vmaCluster)
			if err := x.add(uint8(i+1), uint32(c), mask, blocks); err != nil {
				return n.n, err
			}
		}
	}
	return n.n, x.flush()
}

// header lays out the fixed header and the blob buffer behind it.
//
// Every number is big-endian but the lengths in the blob buffer, of which
// vma-writer.c writes the low byte first. Names and config carry their final
// NUL, except the config data, which is stored as it is.
func (v VMA) header(uuid [16]byte) ([]byte, error) {
	blobs := []byte{0} // offset 0 means "unused", so the first byte is
	blob := func(s string) (uint32, error) {
		if len(s) > 0xffff {
			return 0, fmt.Errorf("a vma blob holds 65535 bytes, not %d", len(s))
		}
		at := uint32(len(blobs))
		blobs = binary.LittleEndian.AppendUint16(blobs, uint16(len(s)))
		blobs = append(blobs, s...)
		return at, nil
	}
	h := make([]byte, vmaFixedHeader)
	copy(h, "VMA\x00")
	be := binary.BigEndian
	be.PutUint32(h[4:], 1)
	copy(h[8:], uuid[:])
	be.PutUint64(h[24:], uint64(v.Time.Unix()))
	name, err := blob("qemu-server.conf\x00")
	if err != nil {
		return nil, err
	}
	data, err := blob(v.Config)
	if err != nil {
		return nil, err
	}
	be.PutUint32(h[2044:], name)
	be.PutUint32(h[3068:], data)
	for i, d := range v.Devices {
		at, err := blob(d.Name + "\x00")
		if err != nil {
			return nil, err
		}
		e := h[4096+32*(i+1):]
		be.PutUint32(e, at)
		be.PutUint64(e[8:], uint64(d.Size))
	}
	used := len(blobs)
	for len(blobs)%512 != 0 {
		blobs = append(blobs, 0)
	}
	be.PutUint32(h[48:], vmaFixedHeader)
	be.PutUint32(h[52:], uint32(used))
	be.PutUint32(h[56:], uint32(vmaFixedHeader+len(blobs)))
	h = append(h, blobs...)
	sum := md5.Sum(h)
	copy(h[32:], sum[:])
	return h, nil
}

// cluster makes up one 64 KiB cluster: mostly sparse, as disks are; half of
// what is stored compresses, half does not. rest is how much of the device is
// left from the cluster's start on.
func cluster(rng *rand.Rand, device int, rest int64) (uint16, []byte) {
	if rng.IntN(4) == 0 {
		return 0, nil
	}
	var mask uint16
	var data []byte
	for b := range int64(16) {
		if b*vmaBlock >= rest || rng.IntN(8) != 0 {
			continue
		}
		mask |= 1 << b
		block := make([]byte, vmaBlock)
		for i := 0; i < vmaBlock/2; i += 8 {
			binary.LittleEndian.PutUint64(block[i:], rng.Uint64())
		}
		text := fmt.Sprintf("device %d of a guest in the lab; ", device)
		for i := vmaBlock / 2; i < vmaBlock; i += copy(block[i:], text) {
		}
		data = append(data, block...)
	}
	return mask, data
}

// extent gathers up to 59 clusters under one header.
type extent struct {
	w      io.Writer
	uuid   [16]byte
	infos  []uint64
	blocks int
	data   []byte
}

func (x *extent) add(dev uint8, cluster uint32, mask uint16, data []byte) error {
	x.infos = append(x.infos, uint64(mask)<<48|uint64(dev)<<32|uint64(cluster))
	x.blocks += len(data) / vmaBlock
	x.data = append(x.data, data...)
	if len(x.infos) == vmaBlocksInExtent {
		return x.flush()
	}
	return nil
}

func (x *extent) flush() error {
	if len(x.infos) == 0 {
		return nil
	}
	h := make([]byte, vmaExtentHeader)
	copy(h, "VMAE")
	binary.BigEndian.PutUint16(h[6:], uint16(x.blocks))
	copy(h[8:], x.uuid[:])
	for i, info := range x.infos {
		binary.BigEndian.PutUint64(h[40+8*i:], info)
	}
	sum := md5.Sum(h)
	copy(h[24:], sum[:])
	if _, err := x.w.Write(h); err != nil {
		return err
	}
	_, err := x.w.Write(x.data)
	x.infos, x.blocks, x.data = x.infos[:0], 0, x.data[:0]
	return err
}

// counter counts what goes through it, for io.WriterTo.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
