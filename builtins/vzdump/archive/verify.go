// Package archive proves that a vzdump archive is whole, by reading it to its
// end: the compressor's checksums, and then the structure of what was packed
// (a VMA for a virtual machine, a tar for a container).
//
// It reads one stream, once, with flat memory, and never writes. It knows the
// formats and nothing else: not where archives lie, not which guest they belong
// to, not Proxmox's API, not nixmox's engine.
//
// How the files follow one another: source.go reads and hashes the file,
// unpack.go turns it into the packed stream (zstd.go and lzop.go hold what the
// libraries leave out), vma.go and tar.go prove that stream.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Proof says how much a successful Verify proved.
type Proof string

const (
	// ProofContent: every unpacked byte is covered by a checksum that was right.
	ProofContent Proof = "content"
	// ProofStructure: every header and the order, count and length of all parts
	// are right, but the bytes of the guest's data carry no checksum (the archive
	// is not compressed, or was compressed with checksums switched off), so an
	// altered data byte could not have been seen.
	ProofStructure Proof = "structure"
)

// Report is what was learned from an archive.
//
// When Verify fails it holds what was learned until then: Proof is empty, and
// SHA256 is empty too unless the file was read to its end.
type Report struct {
	Format      string   // "vma" or "tar"
	Compression string   // "zstd", "gzip", "lzo" or "none"
	Bytes       int64    // bytes read of the file as stored
	Unpacked    int64    // bytes of the unpacked stream that were read
	SHA256      string   // of the file as stored, in lower-case hex
	Proof       Proof    // what was proved
	Devices     []Device // of a VMA, in the order of their ids; a guest without disks has none
	Config      string   // name of the guest's configuration, which was found: "qemu-server.conf" or "etc/vzdump/pct.conf"
	Entries     int      // of a tar: number of members
}

// Device is one disk (or the saved RAM, named vmstate) in a VMA.
type Device struct {
	ID       int    // 1 to 255
	Name     string // as QEMU calls it, such as drive-scsi0
	Size     int64  // bytes; for vmstate only an estimate, made before the RAM was saved
	Clusters int64  // 64 KiB clusters seen; for a disk that verified, all of them
}

// Verify reads r to its end and proves the vzdump archive in it. The format
// follows from the end of name: .vma or .tar, then nothing, .zst, .gz or .lzo;
// .tgz is .tar.gz. progress, which may be nil, is given the number of bytes of r
// read so far, again and again, never after Verify has returned.
//
// The error is a *DamageError when the archive is not whole, an
// *UnsupportedError when this package cannot judge it, ctx's error when ctx
// ended, or else r's own, wrapped. The context is looked at between reads of r:
// a Read that blocks is waited for, so that r is never used after the return.
func Verify(ctx context.Context, name string, r io.Reader, progress func(read int64)) (Report, error) {
	format, compression, err := formatOf(name)
	if err != nil {
		return Report{}, err
	}
	report := Report{Format: format, Compression: compression}

	ctx, cancel := context.WithCancel(ctx)
	var frames *zstdFrames
	if compression == "zstd" {
		frames = newZstdFrames()
	}
	src := startSource(ctx, r, frames, progress)
	stream := newUnpacked(ctx, compression, src, frames)
	if format == "vma" {
		err = verifyVMA(stream, &report)
	} else {
		err = verifyTar(stream, &report)
	}

	// Order matters: without the cancel the source could wait for a reader
	// that is gone, and the decoder's goroutines for the source.
	cancel()
	stream.close()
	src.wait()

	report.Bytes, report.SHA256 = src.read, src.sum
	report.Unpacked = stream.n
	if failed, ok := errors.AsType[*sourceError](err); ok {
		err = failed.err
	}
	if err == nil && !isEnd(src.end) {
		err = &DamageError{Offset: src.read, What: "the compressed stream ends before the file does"}
	}
	if err != nil {
		return report, err
	}
	report.Proof = ProofStructure
	if stream.checksummed() {
		report.Proof = ProofContent
	}
	return report, nil
}

// formatOf reads the format and the compression from a file's name, the way
// Proxmox itself does.
func formatOf(name string) (format, compression string, err error) {
	for _, f := range []struct{ suffix, format, compression string }{
		{".vma", "vma", "none"},
		{".vma.zst", "vma", "zstd"},
		{".vma.gz", "vma", "gzip"},
		{".vma.lzo", "vma", "lzo"},
		{".tar", "tar", "none"},
		{".tar.zst", "tar", "zstd"},
		{".tar.gz", "tar", "gzip"},
		{".tgz", "tar", "gzip"},
		{".tar.lzo", "tar", "lzo"},
	} {
		if strings.HasSuffix(name, f.suffix) {
			return f.format, f.compression, nil
		}
	}
	return "", "", &UnsupportedError{
		What: fmt.Sprintf("the name %q ends in none of .vma .tar (with .zst .gz .lzo or nothing) and .tgz", name),
		Do:   "give the archive's own name, as vzdump wrote it",
	}
}
