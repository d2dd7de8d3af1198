package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdBlocks is how many blocks of a zstd file are in work at once. The library
// takes one for each core, which is fewer than its goroutines need: on two cores
// that left a third of both idle. A block takes some 0.5 MiB.
const zstdBlocks = 8

// unpacked is the unpacked stream, as the formats read it. Whatever a decoder
// finds wrong comes out of Read as a *DamageError or *UnsupportedError, and the
// end of the source as the source gave it; io.EOF only comes where the file and
// the compressed stream in it both ended as they should.
type unpacked struct {
	ctx     context.Context
	src     *source
	frames  *zstdFrames
	kind    string
	n       int64 // bytes given out
	decoder io.Reader
	broken  error // why there is no decoder
}

func newUnpacked(ctx context.Context, compression string, src *source, frames *zstdFrames) *unpacked {
	u := &unpacked{ctx: ctx, src: src, frames: frames, kind: compression}
	switch compression {
	case "zstd":
		// The decoder has goroutines of its own: one reads blocks, one decodes
		// their sequences, one carries them out. Also within one frame they use
		// more than one core, as long as there are blocks for each to work on.
		u.decoder, u.broken = zstd.NewReader(src, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(zstdBlocks))
	case "gzip":
		// Reads member after member, checks the CRC-32 and length of each, and
		// takes anything else behind the last one for an error.
		u.decoder, u.broken = gzip.NewReader(bufio.NewReaderSize(src, chunkMin))
	case "lzo":
		u.decoder = newLzopReader(bufio.NewReaderSize(src, chunkMin))
	default:
		u.decoder = src
	}
	return u
}

func (u *unpacked) Read(p []byte) (int, error) {
	// A few bytes can unpack to terabytes, so looking only between reads of the
	// source would not stop promptly.
	if u.ctx.Err() != nil {
		return 0, &sourceError{fmt.Errorf("verifying was stopped after %d unpacked bytes: %w", u.n, u.ctx.Err())}
	}
	if u.broken != nil {
		return 0, u.explain(u.broken)
	}
	n, err := u.decoder.Read(p)
	u.n += int64(n)
	if err != nil && !isEnd(err) {
		err = u.explain(err)
	}
	return n, err
}

// explain turns a decoder's error into what Verify promises.
func (u *unpacked) explain(err error) error {
	if e := found(err); e != nil {
		return e
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		if u.src.failed.Load() {
			return u.src.end // for which the decoder put its own word
		}
		return damage(u.n, "the file ends in the middle of its %s data: it was cut short", u.kind)
	}
	if errors.Is(err, gzip.ErrHeader) {
		if u.n == 0 {
			return damage(u.n, "the file does not start with a gzip header")
		}
		return damage(u.n, "something that is not gzip follows the gzip data")
	}
	return damage(u.n, "the %s data cannot be unpacked: %v", u.kind, err)
}

// checksummed says whether a checksum covered every byte. Only true after io.EOF.
func (u *unpacked) checksummed() bool {
	switch u.kind {
	case "zstd":
		return u.frames.unchecked == 0
	case "gzip":
		return true
	case "lzo":
		return u.decoder.(*lzopReader).unchecked == 0
	}
	return false
}

// close ends the decoder's goroutines. The source must have been told to end.
func (u *unpacked) close() {
	switch d := u.decoder.(type) {
	case *zstd.Decoder:
		if d != nil {
			d.Close()
		}
	case *lzopReader:
		d.close()
	}
}
