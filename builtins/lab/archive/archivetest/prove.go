// Package archivetest proves archives in tests: it reads them to their end and
// checks all that the formats let one check.
//
// It is written from the format's description, apart from the writer, and must
// not share code with it.
package archivetest

import (
	"archive/tar"
	"compress/gzip"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Prove reads an archive whose name ends in format: vma.zst, tar, …
func Prove(r io.Reader, format string) error {
	kind, compress, _ := strings.Cut(format, ".")
	switch compress {
	case "zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	case "gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = z
	}
	if kind == "tar" {
		return proveTar(r)
	}
	return proveVMA(r)
}

func proveTar(r io.Reader) error {
	tr := tar.NewReader(r)
	conf := false
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			if !conf {
				return errors.New("no ./etc/vzdump/pct.conf")
			}
			_, err := io.Copy(io.Discard, r) // to the compressor's checksum
			return err
		}
		if err != nil {
			return err
		}
		conf = conf || h.Name == "./etc/vzdump/pct.conf"
		if _, err := io.Copy(io.Discard, tr); err != nil {
			return err
		}
	}
}

func proveVMA(r io.Reader) error {
	h := make([]byte, 12288)
	if _, err := io.ReadFull(r, h); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	be := binary.BigEndian
	size := be.Uint32(h[56:])
	if string(h[:4]) != "VMA\x00" || be.Uint32(h[4:]) != 1 || size%512 != 0 || size < 12288 || be.Uint32(h[48:]) != 12288 {
		return errors.New("the header is wrong")
	}
	rest := make([]byte, size-12288)
	if _, err := io.ReadFull(r, rest); err != nil {
		return fmt.Errorf("blob buffer: %w", err)
	}
	h = append(h, rest...)
	sum := [16]byte(h[32:48])
	clear(h[32:48])
	if md5.Sum(h) != sum {
		return errors.New("the header's MD5 is wrong")
	}
	blob := func(at uint32) string {
		n := uint32(binary.LittleEndian.Uint16(rest[at:]))
		return string(rest[at+2 : at+2+n])
	}
	if name := blob(be.Uint32(h[2044:])); name != "qemu-server.conf\x00" {
		return fmt.Errorf("the first config is %q", name)
	}
	if blob(be.Uint32(h[3068:])) == "" {
		return errors.New("the config is empty")
	}
	left := map[uint8]map[uint32]bool{}
	for id := 1; id < 256; id++ {
		size := be.Uint64(h[4096+32*id+8:])
		if size == 0 {
			continue
		}
		left[uint8(id)] = map[uint32]bool{}
		for c := range uint32((size + 65535) / 65536) {
			left[uint8(id)][c] = true
		}
	}
	uuid := string(h[8:24])
	for n := 0; ; n++ {
		e := make([]byte, 512)
		if _, err := io.ReadFull(r, e); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("extent %d: %w", n, err)
		}
		sum := [16]byte(e[24:40])
		clear(e[24:40])
		if string(e[:4]) != "VMAE" || string(e[8:24]) != uuid || md5.Sum(e) != sum {
			return fmt.Errorf("extent %d: its header is wrong", n)
		}
		blocks := 0
		for i := range 59 {
			info := e[40+8*i:]
			mask, dev, cluster := be.Uint16(info), info[3], be.Uint32(info[4:])
			if dev == 0 {
				continue
			}
			if !left[dev][cluster] {
				return fmt.Errorf("extent %d: cluster %d of device %d is twice there or outside", n, cluster, dev)
			}
			delete(left[dev], cluster)
			for ; mask != 0; mask &= mask - 1 {
				blocks++
			}
		}
		if blocks != int(be.Uint16(e[6:])) {
			return fmt.Errorf("extent %d: %d blocks, its header says %d", n, blocks, be.Uint16(e[6:]))
		}
		if _, err := io.CopyN(io.Discard, r, int64(blocks)*4096); err != nil {
			return fmt.Errorf("extent %d: %w", n, err)
		}
	}
	for dev, clusters := range left {
		if len(clusters) > 0 {
			return fmt.Errorf("%d clusters of device %d are missing", len(clusters), dev)
		}
	}
	return nil
}
