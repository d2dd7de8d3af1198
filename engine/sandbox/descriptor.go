package sandbox

import (
	"io"

	"golang.org/x/sys/unix"
)

// descriptor is the evaluator's end of the conversation, read and written with
// plain system calls: the Go runtime's poller would want more of them.
type descriptor int

func (d descriptor) Read(b []byte) (int, error) { return d.again(unix.Read, b) }

func (d descriptor) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		n, err := d.again(unix.Write, b[written:])
		if err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// again makes a call until no signal interrupts it, as Go's own do.
func (d descriptor) again(call func(int, []byte) (int, error), b []byte) (int, error) {
	for {
		n, err := call(int(d), b)
		switch {
		case err == unix.EINTR: //nolint:errorlint // errno as it comes from the kernel
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
