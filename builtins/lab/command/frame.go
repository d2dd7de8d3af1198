package command

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What goes over the socket are frames: a letter, the length of what follows
// in four bytes, the highest first, and that.
//
//	client   r  what is asked for: node, folder and arguments, each ended by NUL
//	         i  of standard input; empty: its end
//	lab      w  send standard input, which is not touched before
//	         o  of standard output
//	         e  of standard error
//	         x  the exit status, one byte; the last there is
const (
	frameRequest = 'r'
	frameInput   = 'i'
	frameWanted  = 'w'
	frameOutput  = 'o'
	frameError   = 'e'
	frameExit    = 'x'
)

const (
	// maxFrame is more than the kernel takes as arguments of a program.
	maxFrame = 4 << 20
	// chunk is how much of a stream one frame holds.
	chunk = 32 << 10
)

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("a frame of %d bytes: at most %d go", len(payload), maxFrame)
	}
	b := make([]byte, 5, 5+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// readFrame reads the next one. A stream that ends between two is io.EOF.
func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes: at most %d go", n, maxFrame)
	}
	// It grows with what comes, not with what was said to come.
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return head[0], b.Bytes(), nil
}

// Request is one use of a command.
type Request struct {
	Node string   // whose command it is; "" is where nixmox runs
	Dir  string   // the folder it was started in; "" if that cannot be told
	Args []string // the command's name first
}

// encode joins by NUL, which no argument of a program can hold.
func (r Request) encode() []byte {
	var b []byte
	for _, s := range append([]string{r.Node, r.Dir}, r.Args...) {
		b = append(append(b, s...), 0)
	}
	return b
}

func parseRequest(b []byte) (Request, error) {
	text, ended := bytes.CutSuffix(b, []byte{0})
	fields := bytes.Split(text, []byte{0})
	if !ended || len(fields) < 3 || len(fields[2]) == 0 {
		return Request{}, errors.New("the request names no command")
	}
	r := Request{Node: string(fields[0]), Dir: string(fields[1])}
	for _, f := range fields[2:] {
		r.Args = append(r.Args, string(f))
	}
	return r, nil
}
