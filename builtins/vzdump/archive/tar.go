package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"path"
)

// tarConfig is where vzdump puts a container's configuration in the archive.
const tarConfig = "etc/vzdump/pct.conf"

// tarStream counts what archive/tar reads, and remembers whether it was told
// that there is no more.
type tarStream struct {
	r   *bufio.Reader
	pos int64
	end bool
}

func (t *tarStream) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.pos += int64(n)
	t.end = t.end || err == io.EOF
	return n, err
}

// verifyTar reads r to its end and proves the tar in it: the checksum of every
// header, every member at its full length, and the end.
//
// A tar ends with two blocks of 512 zero bytes. archive/tar also takes a bare
// end of the stream for the end, so that a tar cut between two members would
// look whole; but it only says so having met that end, which tarStream sees.
func verifyTar(r io.Reader, report *Report) error {
	stream := &tarStream{r: bufio.NewReaderSize(r, chunkSize)}
	members := tar.NewReader(stream)
	for {
		// Next reads what is left of the member before, as it is stored: the
		// holes of a sparse file, which can claim to be exabytes, are not unrolled.
		h, err := members.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return tarError(err, stream)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		report.Entries++
		if path.Clean(h.Name) == tarConfig && h.Typeflag == tar.TypeReg && h.Size > 0 {
			report.Config = tarConfig
		}
	}
	if stream.end {
		return damage(stream.pos, "the tar ends after %d members without the two zero blocks that mark its end: it was cut short", report.Entries)
	}

	// tar fills its last record with zero bytes.
	var block, zeros [4096]byte
	for {
		n, err := stream.Read(block[:])
		if !bytes.Equal(block[:n], zeros[:n]) {
			data := bytes.TrimLeft(block[:n], "\x00")
			return damage(stream.pos-int64(len(data)), "data follows the two zero blocks that mark the tar's end")
		}
		if isEnd(err) {
			break
		}
		if err != nil {
			return err
		}
	}
	if stream.pos%512 != 0 {
		return damage(stream.pos, "the tar is %d bytes long, which is no multiple of 512: it was cut short", stream.pos)
	}
	if report.Config == "" {
		return damage(stream.pos, "none of the %d members is ./%s: the container's configuration is missing", report.Entries, tarConfig)
	}
	return nil
}

// tarError tells what archive/tar found wrong from what came up through it.
func tarError(err error, stream *tarStream) error {
	if e := found(err); e != nil {
		return e
	}
	if stream.end {
		return damage(stream.pos, "the tar ends in the middle of a member: it was cut short")
	}
	return damage(stream.pos, "the tar's next header cannot be right: %v", err)
}
