// Package archive writes the files that vzdump leaves on a storage: a VM's
// .vma, a container's .tar, bare or compressed.
//
// The content is small, made up, and the same for the same seed; the format is
// the real one, checksums included, so that whoever verifies the lab's archives
// could verify Proxmox's. The package knows nothing of guests, tasks or
// storages: it gets bytes and a seed and writes to an io.Writer.
package archive

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrLZO says that this package cannot write lzo. vzdump can, so the lab must
// say so where it is asked, instead of leaving a file that is not lzo.
var ErrLZO = errors.New("lzo archives cannot be written here; choose zstd, gzip or 0")

// Suffix is what vzdump appends to a file name for a value of its option
// compress. "1" is an old name of lzo.
func Suffix(compress string) string {
	switch compress {
	case "zstd":
		return ".zst"
	case "gzip":
		return ".gz"
	case "lzo", "1":
		return ".lzo"
	}
	return ""
}

// A Compressor compresses archives one after the other. It keeps its zstd
// encoder, which is costly to make; it is not safe for concurrent use.
type Compressor struct {
	zstd *zstd.Encoder
}

// Write runs body with a writer that compresses into w as vzdump's option
// compress says.
func (c *Compressor) Write(w io.Writer, compress string, body func(io.Writer) error) error {
	switch compress {
	case "", "0":
		return body(w)
	case "gzip":
		z := gzip.NewWriter(w)
		if err := body(z); err != nil {
			return err
		}
		return z.Close()
	case "zstd":
		if c.zstd == nil {
			// As the zstd program that vzdump pipes through: content checksum on.
			// One at a time: more would start goroutines that outlive the write.
			z, err := zstd.NewWriter(w, zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
			if err != nil {
				return fmt.Errorf("preparing zstd: %w", err)
			}
			c.zstd = z
		} else {
			c.zstd.Reset(w)
		}
		if err := body(c.zstd); err != nil {
			return err
		}
		return c.zstd.Close()
	case "lzo", "1":
		return ErrLZO
	}
	return fmt.Errorf("unknown compression %q: there are 0, gzip and zstd", compress)
}
