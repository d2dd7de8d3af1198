package archive

import (
	"encoding/binary"
	"fmt"
)

// maxWindow is the largest zstd window accepted, in bytes: what the zstd program
// itself accepts when unpacking without --long.
const maxWindow = 128 << 20

// zstdFrames walks the frames and blocks of a zstd file while it streams by,
// without unpacking. It finds out what the decoder does not tell: whether every
// frame carries a checksum of its content, and whether the file ends where a
// frame ends (the decoder takes a few stray bytes there for the end).
//
// The layout is RFC 8878, section 3.1. Several frames may follow one another, with
// skippable ones between them, as pzstd writes them.
type zstdFrames struct {
	pos     int64  // offset of the next byte
	start   int64  // offset of the header being gathered
	skip    int64  // bytes to pass over
	header  []byte // the header being gathered, as far as it came
	want    int    // its full length
	parse   func(h []byte) error
	between bool // the next byte is the first of a frame, or there is none

	checksum  bool // of the current frame
	frames    int
	unchecked int // frames without a checksum of their content
}

func newZstdFrames() *zstdFrames {
	z := &zstdFrames{header: make([]byte, 0, 16)}
	z.frameStart()
	return z
}

// feed walks over p. It gives the number of bytes of p before what is wrong, and
// what that is.
func (z *zstdFrames) feed(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 {
		if z.skip > 0 {
			n := min(z.skip, int64(len(p)))
			z.skip -= n
			z.pos += n
			p = p[n:]
			continue
		}
		z.between = false
		if len(z.header) == 0 {
			z.start = z.pos
		}
		n := min(z.want-len(z.header), len(p))
		z.header = append(z.header, p[:n]...)
		if len(z.header) == z.want {
			h := z.header
			z.header = z.header[:0]
			if err := z.parse(h); err != nil {
				return size - len(p), err
			}
		}
		z.pos += int64(n)
		p = p[n:]
	}
	return size, nil
}

// finish says whether the file may end here.
func (z *zstdFrames) finish() error {
	if z.skip > 0 || !z.between || z.frames == 0 {
		return &DamageError{Offset: z.pos, What: "the file ends in the middle of a zstd frame: it was cut short"}
	}
	return nil
}

// wrong is damage in the header that is being parsed.
func (z *zstdFrames) wrong(format string, args ...any) error {
	return &DamageError{Offset: z.start, What: fmt.Sprintf(format, args...)}
}

func (z *zstdFrames) expect(n int, parse func([]byte) error) { z.want, z.parse = n, parse }

func (z *zstdFrames) frameStart() {
	z.between = true
	z.expect(4, z.magic)
}

func (z *zstdFrames) magic(h []byte) error {
	switch m := binary.LittleEndian.Uint32(h); {
	case m == 0xFD2FB528:
		z.frames++
		z.expect(1, z.descriptor)
	case m&^0xF == 0x184D2A50: // skippable: a length, and that many bytes of no meaning
		z.expect(4, func(h []byte) error {
			z.skip = int64(binary.LittleEndian.Uint32(h))
			z.frameStart()
			return nil
		})
	case z.frames == 0:
		return z.wrong("it starts with the bytes % x, which is not zstd (28 b5 2f fd)", h)
	default:
		return z.wrong("after a zstd frame follow the bytes % x, which start no other frame", h)
	}
	return nil
}

// descriptor reads the first byte of a frame's header, from which the rest of
// the header has its length.
func (z *zstdFrames) descriptor(h []byte) error {
	flags := h[0]
	single := flags&0x20 != 0
	z.checksum = flags&4 != 0
	if !z.checksum {
		z.unchecked++
	}
	windowLen := 1
	if single {
		windowLen = 0
	}
	dictLen := []int{0, 1, 2, 4}[flags&3]
	sizeLen := []int{0, 2, 4, 8}[flags>>6]
	if single && sizeLen == 0 {
		sizeLen = 1
	}

	rest := func(h []byte) error {
		window := uint64(0)
		if single { // the content is its own window
			var le [8]byte
			copy(le[:], h[dictLen:])
			window = binary.LittleEndian.Uint64(le[:])
		} else {
			base := uint64(1) << (10 + h[0]>>3)
			window = base + base/8*uint64(h[0]&7)
		}
		if window > maxWindow {
			return &UnsupportedError{
				What: fmt.Sprintf("the zstd frame at byte %d needs a window of %d MiB, and %d MiB is the limit of the zstd program and of this check",
					z.start, window>>20, maxWindow>>20),
				Do: "unless it was compressed with --long or --ultra on purpose this is damage; test it with zstd -t --long=31",
			}
		}
		for _, b := range h[windowLen : windowLen+dictLen] {
			if b != 0 {
				return &UnsupportedError{
					What: fmt.Sprintf("the zstd frame at byte %d was compressed with a dictionary, which vzdump never does", z.start),
					Do:   "unless that was on purpose this is damage; test it with zstd -t -D DICTIONARY",
				}
			}
		}
		z.expect(3, z.block)
		return nil
	}
	z.expect(windowLen+dictLen+sizeLen, rest)
	return nil
}

// block reads the 3 bytes before each block: last (1 bit), type (2), size (21).
func (z *zstdFrames) block(h []byte) error {
	v := uint32(h[0]) | uint32(h[1])<<8 | uint32(h[2])<<16
	z.skip = int64(v >> 3)
	switch v >> 1 & 3 {
	case 1: // one byte, to be repeated size times
		z.skip = 1
	case 3:
		return z.wrong("a zstd block has the reserved type 3")
	}
	if v&1 == 0 {
		return nil
	}
	if z.checksum {
		z.skip += 4
	}
	z.frameStart()
	return nil
}
