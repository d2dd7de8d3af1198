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
//
// Each block stands alone. So the reader finds them one after the other, and
// each is unpacked on a goroutine of its own while it looks for more.
type lzopReader struct {
	r         *bufio.Reader
	pos       int64  // offset in the file
	flags     uint32 // of the current part
	inPart    bool
	parts     int
	unchecked int   // parts without a checksum of the unpacked bytes
	end       error // why there are no more blocks

	ahead []*lzopBlock // in work, in order
	bytes int          // unpacked size of those
	block *lzopBlock   // that rest is of, which may be used again
	rest  []byte       // not given out yet
	free  []*lzopBlock // to be used again
}

const (
	lzopMagic = "\x89LZO\x00\r\n\x1a\n"

	// How much is unpacked before it is asked for: this many blocks, and no more
	// when these bytes are reached. With lzop's own blocks of 256 KiB it is the
	// same; a file of one-byte blocks, or of the largest, takes no more memory.
	lzopAheadBlocks = 8
	lzopAheadBytes  = 2 << 20

	// maxLzopBlock is the largest block that lzop takes, in bytes.
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
		if err := l.nextBlock(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// nextBlock makes rest the next block, or gives the reason why there is none:
// io.EOF means that the file ended where a part ended.
func (l *lzopReader) nextBlock() error {
	if l.block != nil && cap(l.block.data) <= lzopAheadBytes { // or a few large ones would stay for good
		l.free = append(l.free, l.block)
	}
	l.block = nil
	for l.end == nil && len(l.ahead) < lzopAheadBlocks && l.bytes < lzopAheadBytes {
		l.end = l.find()
	}
	if len(l.ahead) == 0 {
		return l.end
	}
	b := l.ahead[0]
	l.ahead = append(l.ahead[:0], l.ahead[1:]...)
	l.bytes -= b.size
	<-b.done
	if b.err != nil {
		l.end = b.err
		l.close() // what follows a wrong block is not given out
		return b.err
	}
	l.block, l.rest = b, b.data
	return nil
}

// close waits for what is in work.
func (l *lzopReader) close() {
	for _, b := range l.ahead {
		<-b.done
	}
	l.ahead = nil
}

// find reads the next block, or the next part's header.
func (l *lzopReader) find() error {
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

	b := &lzopBlock{}
	if last := len(l.free) - 1; last >= 0 {
		b, l.free = l.free[last], l.free[:last]
	}
	b.size, b.flags, b.err, b.done = int(size), l.flags, nil, make(chan struct{})

	// The checksums come first. Those of the packed bytes are left out where
	// packing gained nothing and the block was stored as it is.
	b.stored = packed == size
	for _, c := range []struct {
		flag uint32
		sum  *uint32
		left bool
	}{{lzopAdler, &b.adler, false}, {lzopCRC, &b.crc, false}, {lzopAdlerPacked, &b.adlerPacked, b.stored}, {lzopCRCPacked, &b.crcPacked, b.stored}} {
		if l.flags&c.flag != 0 && !c.left {
			if *c.sum, err = l.word(); err != nil {
				return err
			}
		}
	}
	b.packed = grow(b.packed, int(packed))
	if err := l.full(b.packed); err != nil {
		return err
	}
	b.end = l.pos
	l.ahead = append(l.ahead, b)
	l.bytes += b.size
	go b.unpack()
	return nil
}

// lzopBlock is one block, read and to be unpacked.
type lzopBlock struct {
	flags                              uint32 // of its part
	adler, crc, adlerPacked, crcPacked uint32 // as the file has them, where flags say that it does
	stored                             bool   // as it is, not packed
	packed                             []byte
	size                               int   // unpacked
	end                                int64 // offset in the file

	done chan struct{} // closed when data and err are there
	data []byte
	err  error
}

func (b *lzopBlock) unpack() {
	defer close(b.done)
	if b.stored {
		b.data, b.packed = b.packed, b.data
	} else {
		b.check(lzopAdlerPacked, b.adlerPacked, adler32.Checksum, b.packed, "packed")
		b.check(lzopCRCPacked, b.crcPacked, crc32.ChecksumIEEE, b.packed, "packed")
		if b.err != nil {
			return
		}
		b.data = grow(b.data, b.size)
		n, err := lzo.Decompress(b.packed, b.data)
		if err != nil {
			b.wrong("an lzop block cannot be unpacked: %v", err)
		} else if n != b.size {
			b.wrong("an lzop block unpacks to %d bytes, and %d were expected", n, b.size)
		}
	}
	b.check(lzopAdler, b.adler, adler32.Checksum, b.data, "unpacked")
	b.check(lzopCRC, b.crc, crc32.ChecksumIEEE, b.data, "unpacked")
}

func (b *lzopBlock) check(flag, want uint32, sum func([]byte) uint32, data []byte, which string) {
	if b.flags&flag == 0 || b.err != nil {
		return
	}
	if got := sum(data); got != want {
		b.wrong("the %s bytes of an lzop block have the checksum %08x, and %08x was expected", which, got, want)
	}
}

func (b *lzopBlock) wrong(format string, args ...any) {
	b.err = &DamageError{Offset: b.end, What: fmt.Sprintf(format, args...)}
}

// grow gives a slice of n bytes, in b's memory where that is large enough.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
