package archive

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
)

// What follows writes a VMA as vma_spec.txt and vma-writer.c of Proxmox's QEMU
// describe it. It shares nothing with the reader that it tests.

type testDisk struct {
	id   int
	name string
	data []byte // the image
	size uint64 // of the image; 0: len(data)
}

// testVMA is what goes into an archive, and what is wrong with it.
type testVMA struct {
	uuid    [16]byte
	configs map[string]string
	disks   []testDisk
	perExt  int // clusters in an extent; 0: 59

	// order gives the clusters of a disk in the order in which they are written.
	order func(disk, clusters int) []int
	// header and extent may change a header; sum says whether its MD5 is still to be made.
	header func(h []byte) (sum bool)
	extent func(i int, h []byte) (sum bool)
	// cut changes the finished stream.
	cut func(b []byte) []byte
}

func (t testVMA) head() []byte {
	blobs := []byte{0}
	put := func(b []byte) uint32 {
		at := len(blobs)
		blobs = append(blobs, byte(len(b)), byte(len(b)>>8))
		blobs = append(blobs, b...)
		return uint32(at)
	}
	h := make([]byte, 12288)
	copy(h, "VMA\x00\x00\x00\x00\x01")
	copy(h[8:], t.uuid[:])
	binary.BigEndian.PutUint64(h[24:], 1764000000)
	i := 0
	for name, data := range t.configs {
		binary.BigEndian.PutUint32(h[2044+4*i:], put([]byte(name+"\x00")))
		binary.BigEndian.PutUint32(h[3068+4*i:], put([]byte(data)))
		i++
	}
	for _, d := range t.disks {
		binary.BigEndian.PutUint32(h[4096+32*d.id:], put([]byte(d.name+"\x00")))
		size := d.size
		if size == 0 {
			size = uint64(len(d.data))
		}
		binary.BigEndian.PutUint64(h[4096+32*d.id+8:], size)
	}
	used := len(blobs)
	for len(blobs)%512 != 0 {
		blobs = append(blobs, 0)
	}
	binary.BigEndian.PutUint32(h[48:], 12288)
	binary.BigEndian.PutUint32(h[52:], uint32(used))
	binary.BigEndian.PutUint32(h[56:], uint32(12288+len(blobs)))
	h = append(h, blobs...)
	if t.header == nil || t.header(h) {
		sign(h, 32)
	}
	return h
}

func sign(h []byte, at int) {
	copy(h[at:at+16], make([]byte, 16))
	sum := md5.Sum(h)
	copy(h[at:], sum[:])
}

func (t testVMA) bytes() []byte {
	var out bytes.Buffer
	out.Write(t.head())

	perExt := t.perExt
	if perExt == 0 {
		perExt = 59
	}
	var h, data []byte
	entries, extents := 0, 0
	flush := func() {
		if entries == 0 {
			return
		}
		binary.BigEndian.PutUint16(h[6:], uint16(len(data)/4096))
		if t.extent == nil || t.extent(extents, h) {
			sign(h, 24)
		}
		out.Write(h)
		out.Write(data)
		entries, data = 0, nil
		extents++
	}
	for i, d := range t.disks {
		n := (len(d.data) + 65535) / 65536
		order := make([]int, n)
		for c := range order {
			order[c] = c
		}
		if t.order != nil {
			order = t.order(i, n)
		}
		for _, c := range order {
			if entries == 0 {
				h = make([]byte, 512)
				copy(h, "VMAE")
				copy(h[8:], t.uuid[:])
			}
			var cluster [65536]byte
			if c*65536 < len(d.data) {
				copy(cluster[:], d.data[c*65536:])
			}
			mask := uint16(0)
			for b := range 16 {
				block := cluster[b*4096 : b*4096+4096]
				if bytes.Equal(block, make([]byte, 4096)) {
					continue
				}
				mask |= 1 << b
				data = append(data, block...)
			}
			info := h[40+8*entries:]
			binary.BigEndian.PutUint16(info, mask)
			info[3] = byte(d.id)
			binary.BigEndian.PutUint32(info[4:], uint32(c))
			if entries++; entries == perExt {
				flush()
			}
		}
	}
	flush()
	b := out.Bytes()
	if t.cut != nil {
		b = t.cut(b)
	}
	return b
}

// guest is a VM with two disks, one of an odd length, both with holes.
func guest() testVMA {
	return testVMA{
		uuid:    [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		configs: map[string]string{"qemu-server.conf": "cores: 2\nmemory: 512\n", "qemu-server.fw": "[OPTIONS]\n"},
		disks: []testDisk{
			{id: 1, name: "drive-scsi0", data: image(7, 70*65536)},
			{id: 2, name: "drive-scsi1", data: image(8, 9*65536+512)},
		},
	}
}

var images sync.Map // making them takes longer than most tests; nobody may write to one

// image is a disk image: text that compresses, noise that does not, and holes.
func image(seed uint64, size int) []byte {
	key := [2]uint64{seed, uint64(size)}
	if b, ok := images.Load(key); ok {
		return b.([]byte)
	}
	b := newImage(seed, size)
	images.Store(key, b)
	return b
}

func newImage(seed uint64, size int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	words := make([][]byte, 200)
	for i := range words {
		words[i] = make([]byte, 2+rnd.IntN(10))
		for j := range words[i] {
			words[i][j] = byte('a' + rnd.IntN(26))
		}
	}
	var b []byte
	for len(b) < size {
		switch rnd.IntN(5) {
		case 0:
			b = append(b, make([]byte, 4096*rnd.IntN(20))...)
		case 1:
			for range 1000 + rnd.IntN(3000) {
				b = append(b, byte(rnd.Uint32()))
			}
		default:
			for range 2000 {
				b = append(append(b, words[rnd.IntN(rnd.IntN(200)+1)]...), ' ')
			}
		}
	}
	return b[:size]
}

// zeroDisk is the VMA of one disk of zeros, made while it is read, without
// garbage, so that a test can look at the heap.
type zeroDisk struct {
	clusters, next int
	order          func(i int) int
	rest           []byte
	extent         [512]byte
}

// bigVMA is a VMA of one disk. order, which may be nil, gives the number of the
// i-th cluster.
func bigVMA(clusters int, order func(i int) int) io.Reader {
	t := testVMA{
		configs: map[string]string{"qemu-server.conf": "cores: 2\n"},
		disks:   []testDisk{{id: 1, name: "drive-scsi0", size: uint64(clusters) * 65536}},
	}
	return &zeroDisk{clusters: clusters, rest: t.head(), order: order}
}

func (z *zeroDisk) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(z.rest) == 0 {
			if z.next == z.clusters {
				return n, io.EOF
			}
			z.fill()
		}
		copied := copy(p[n:], z.rest)
		z.rest = z.rest[copied:]
		n += copied
	}
	return n, nil
}

func (z *zeroDisk) fill() {
	h := z.extent[:]
	clear(h)
	copy(h, "VMAE")
	for i := 0; i < 59 && z.next < z.clusters; i++ {
		c := z.next
		if z.order != nil {
			c = z.order(c)
		}
		h[40+8*i+3] = 1
		binary.BigEndian.PutUint32(h[40+8*i+4:], uint32(c))
		z.next++
	}
	sum := md5.Sum(h)
	copy(h[24:], sum[:])
	z.rest = h
}

// writeLong writes the VMA of one disk of that many bytes, little at a time: of
// 16 clusters come 12 of an image, and 4 of zeros.
func writeLong(w io.Writer, size int) error {
	v := testVMA{
		configs: map[string]string{"qemu-server.conf": "cores: 2\n"},
		disks:   []testDisk{{id: 1, name: "drive-scsi0", size: uint64(size)}},
	}
	if _, err := w.Write(v.head()); err != nil {
		return err
	}
	data := image(31, 16<<20)
	clusters := (size + 65535) / 65536
	h := make([]byte, 512, 512+59*65536)
	for c := 0; c < clusters; {
		h = h[:512]
		clear(h)
		copy(h, "VMAE")
		for i := 0; i < 59 && c < clusters; i++ {
			info := h[40+8*i:]
			info[3] = 1
			binary.BigEndian.PutUint32(info[4:], uint32(c))
			if c%16 < 12 {
				info[0], info[1] = 0xff, 0xff
				from := c * 65536 % len(data)
				h = append(h, data[from:from+65536]...)
			}
			c++
		}
		binary.BigEndian.PutUint16(h[6:], uint16(len(h[512:])/4096))
		sign(h[:512], 24)
		if _, err := w.Write(h); err != nil {
			return err
		}
	}
	return nil
}
