package archive

import (
	"archive/tar"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// ReadConfig reads the guest's configuration from the start of an archive. The
// format is the file's ending: vma.zst, tar.gz, tar …
func ReadConfig(r io.Reader, format string) (string, error) {
	kind, compress, _ := strings.Cut(format, ".")
	switch compress {
	case "zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return "", err
		}
		defer z.Close()
		r = z
	case "gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return "", err
		}
		r = z
	case "lzo":
		return "", ErrLZO
	}
	if kind == "vma" {
		return vmaConfig(r)
	}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err != nil {
			return "", fmt.Errorf("no ./etc/vzdump/pct.conf: %w", err)
		}
		if h.Name == "./etc/vzdump/pct.conf" {
			b, err := io.ReadAll(io.LimitReader(tr, 1<<20))
			return string(b), err
		}
	}
}

func vmaConfig(r io.Reader) (string, error) {
	h := make([]byte, vmaFixedHeader)
	if _, err := io.ReadFull(r, h); err != nil {
		return "", err
	}
	size := binary.BigEndian.Uint32(h[56:])
	if string(h[:4]) != "VMA\x00" || size < vmaFixedHeader || size > 1<<20 {
		return "", errors.New("not a vma header")
	}
	blobs := make([]byte, size-vmaFixedHeader)
	if _, err := io.ReadFull(r, blobs); err != nil {
		return "", err
	}
	at := int(binary.BigEndian.Uint32(h[3068:]))
	if at == 0 || at+2 > len(blobs) {
		return "", errors.New("no configuration in the vma header")
	}
	end := at + 2 + int(binary.LittleEndian.Uint16(blobs[at:]))
	if end > len(blobs) {
		return "", errors.New("the configuration in the vma header is cut short")
	}
	return string(blobs[at+2 : end]), nil
}
