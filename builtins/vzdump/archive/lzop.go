package archive

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"io"

	"github.com/anchore/go-lzo"
)

// lzopReader unpacks what the lzop program writes: a header, blocks of LZO1X
// data with their lengths and checksums, a zero word; then the end of the file,
// or another such part. The blocks themselves are unpacked by a library.
//
// The container has no published description. This is what lzop 1.04 writes, and
// the tests hold it against lzop's own verdict on altered files. All numbers are
// big-endian.
type lzopReader struct {
	r         *bufio.Reader
	pos       int64  // offset in the file
	flags     uint32 // of the current part
	inPart    bool
	packed    []byte
	block     []byte
	rest      []byte // of block, not given out yet
	parts     int
	unchecked int // parts without a checksum of the unpacked bytes
}

const (
	lzopMagic = "\x89LZO\x00\r\n\x1a\n"

	// maxLzopBlock is the largest block that lzop takes, in bytes. It makes
	// blocks of 256 KiB.
	maxLzopBlock = 64 << 20

	// Checksums that each block carries: Adler-32 and CRC-32, of the unpacked
	// and of the packed bytes. By default lzop writes the first.
	lzopAdler       = 0x1
	lzopAdlerPacked = 0x2
	lzopCRC         = 0x100
	lzopCRCPacked   = 0x200

	lzopExtra     = 0x40   // an extra field follows the header
	lzopFilter    = 0x800  // bytes were transformed before packing
	lzopHeaderCRC = 0x1000 // the header's checksum is a CRC-32, not an Adler-32
)

func newLzopReader(r *bufio.Reader) *lzopReader { return &lzopReader{r: r} }

func (l *lzopReader) Read(p []byte) (int, error) {
	for len(l.rest) == 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// next reads the next block, or the next part's header. io.EOF means that the
// file ended where a part ended.
func (l *lzopReader) next() error {
	if l.inPart {
		return l.readBlock()
	}
	if _, err := l.r.Peek(1); err == io.EOF && l.parts > 0 {
		return io.EOF
	}
	return l.readHeader()
}

func (l *lzopReader) wrong(format string, args ...any) error {
	return &DamageError{Offset: l.pos, What: fmt.Sprintf(format, args...)}
}

// full reads exactly len(p) bytes.
func (l *lzopReader) full(p []byte) error {
	n, err := io.ReadFull(l.r, p)
	l.pos += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return l.wrong("the file ends in the middle of its lzop data: it was cut short")
	}
	return err
}

func (l *lzopReader) word() (uint32, error) {
	var b [4]byte
	err := l.full(b[:])
	return binary.BigEndian.Uint32(b[:]), err
}

func (l *lzopReader) readHeader() error {
	magic := make([]byte, len(lzopMagic))
	if err := l.full(magic); err != nil {
		return err
	}
	if string(magic) != lzopMagic {
		if l.parts == 0 {
			return l.wrong("it starts with the bytes % x, which is not lzop (% x)", magic, lzopMagic)
		}
		return l.wrong("something that is not lzop follows the lzop data")
	}

	// version, library version, version needed: 2 bytes each; method, level: 1
	// each; flags: 4; then, with a filter, 4; mode 4, time 8, length of name 1.
	h := make([]byte, 12, 12+4+13+255)
	more := func(n int) error {
		h = h[:len(h)+n]
		return l.full(h[len(h)-n:])
	}
	if err := l.full(h); err != nil {
		return err
	}
	l.flags = binary.BigEndian.Uint32(h[8:])
	length := 13
	if l.flags&lzopFilter != 0 {
		length += 4
	}
	if err := more(length); err != nil {
		return err
	}
	if err := more(int(h[len(h)-1])); err != nil {
		return err
	}
	want, err := l.word()
	if err != nil {
		return err
	}
	got := adler32.Checksum(h)
	if l.flags&lzopHeaderCRC != 0 {
		got = crc32.ChecksumIEEE(h)
	}
	if got != want {
		return l.wrong("the lzop header has the checksum %08x, and %08x was expected", got, want)
	}

	// From here on the header is what lzop wrote.
	needed, method := binary.BigEndian.Uint16(h[4:]), h[6]
	if needed > 0x1040 || method < 1 || method > 3 || l.flags&(lzopFilter|lzopExtra) != 0 {
		return &UnsupportedError{
			What: fmt.Sprintf("the lzop header asks for version %x, method %d, flags %x; known are versions up to 1040, methods 1 to 3, no filter and no extra field", needed, method, l.flags),
			Do:   "test it with lzop -t",
		}
	}
	l.parts++
	l.inPart = true
	if l.flags&(lzopAdler|lzopCRC) == 0 {
		l.unchecked++
	}
	return nil
}

func (l *lzopReader) readBlock() error {
	size, err := l.word()
	if err != nil {
		return err
	}
	if size == 0 {
		l.inPart = false
		return nil
	}
	packed, err := l.word()
	if err != nil {
		return err
	}
	if packed == 0 || packed > size {
		return l.wrong("an lzop block of %d bytes claims to be packed into %d", size, packed)
	}
	if size > maxLzopBlock {
		return l.wrong("an lzop block claims to be %d bytes long, and lzop takes at most %d", size, maxLzopBlock)
	}

	// The checksums come first. Those of the packed bytes are left out where
	// packing gained nothing and the block was stored as it is.
	stored := packed == size
	var adler, crc, adlerPacked, crcPacked uint32
	for _, c := range []struct {
		flag uint32
		sum  *uint32
		left bool
	}{{lzopAdler, &adler, false}, {lzopCRC, &crc, false}, {lzopAdlerPacked, &adlerPacked, stored}, {lzopCRCPacked, &crcPacked, stored}} {
		if l.flags&c.flag != 0 && !c.left {
			if *c.sum, err = l.word(); err != nil {
				return err
			}
		}
	}

	l.packed = grow(l.packed, int(packed))
	if err := l.full(l.packed); err != nil {
		return err
	}
	check := func(flag, want uint32, sum func([]byte) uint32, data []byte, which string) error {
		if l.flags&flag == 0 {
			return nil
		}
		if got := sum(data); got != want {
			return l.wrong("the %s bytes of an lzop block have the checksum %08x, and %08x was expected", which, got, want)
		}
		return nil
	}
	if !stored {
		if err := check(lzopAdlerPacked, adlerPacked, adler32.Checksum, l.packed, "packed"); err != nil {
			return err
		}
		if err := check(lzopCRCPacked, crcPacked, crc32.ChecksumIEEE, l.packed, "packed"); err != nil {
			return err
		}
		l.block = grow(l.block, int(size))
		n, err := lzo.Decompress(l.packed, l.block)
		if err != nil {
			return l.wrong("an lzop block cannot be unpacked: %v", err)
		}
		if n != int(size) {
			return l.wrong("an lzop block unpacks to %d bytes, and %d were expected", n, size)
		}
	} else {
		l.block, l.packed = l.packed, l.block
	}
	if err := check(lzopAdler, adler, adler32.Checksum, l.block, "unpacked"); err != nil {
		return err
	}
	if err := check(lzopCRC, crc, crc32.ChecksumIEEE, l.block, "unpacked"); err != nil {
		return err
	}
	l.rest = l.block
	return nil
}

// grow gives a slice of n bytes, in b's memory where that is large enough.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
