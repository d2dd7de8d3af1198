package zfs

import (
	"bytes"
	"fmt"
	"io"

	"nixmox/engine/builtin"
)

// lineReader takes a stream apart at its line ends without copying it.
type lineReader struct {
	r      io.Reader
	buffer []byte // what was read
	at     int    // what of it was handed out
	ended  bool
}

// maxLine is longer than any line of names and numbers; user properties have
// up to 8 KiB each.
const maxLine = 1 << 20

// next is the next line without its end, valid until the one after it.
func (l *lineReader) next() ([]byte, error) {
	for searched := l.at; ; {
		if i := bytes.IndexByte(l.buffer[searched:], '\n'); i >= 0 {
			line := l.buffer[l.at : searched+i]
			l.at = searched + i + 1
			return line, nil
		}
		if l.ended && l.at < len(l.buffer) {
			// ZFS ends each line: this one was cut off, and so were perhaps others.
			return nil, builtin.Faultf(builtin.Failed, "reading a list of ZFS").Saying("it was cut off after " + quoted(l.buffer[l.at:])).Hinting("see the machine's log: journalctl -k")
		}
		if l.ended {
			return nil, io.EOF
		}
		copy(l.buffer, l.buffer[l.at:])
		l.buffer = l.buffer[:len(l.buffer)-l.at]
		l.at, searched = 0, len(l.buffer)
		if len(l.buffer) == cap(l.buffer) {
			if len(l.buffer) >= maxLine {
				return nil, fmt.Errorf("a line of over %d bytes: %s", maxLine, quoted(l.buffer))
			}
			l.buffer = append(make([]byte, 0, 2*cap(l.buffer)), l.buffer...)
		}
		n, err := l.r.Read(l.buffer[len(l.buffer):cap(l.buffer)])
		l.buffer = l.buffer[:len(l.buffer)+n]
		if err == io.EOF {
			l.ended = true
		} else if err != nil {
			return nil, err
		}
	}
}

// quoted is the beginning of a line for a message.
func quoted(line []byte) string { return fmt.Sprintf("%.200q", line) }
