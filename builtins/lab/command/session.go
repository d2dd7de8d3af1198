package command

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// Listen makes the socket in the lab's folder, which nobody else may enter,
// in place of one that a lab left that was killed. The caller removes it.
func Listen(lab string) (net.Listener, error) {
	run := filepath.Join(lab, RunDir)
	if err := os.MkdirAll(run, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(run, Socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	dir, err := os.Open(run)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // it was only a way: a socket's path may have 107 bytes only
	ln, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), Socket))
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // its path is a way that is gone
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// Session is one use of a command as the lab has it. When the program goes
// away, Stdin ends with an error and the others take no more.
type Session struct {
	Request
	Stdin          io.Reader // what the program has as such; it is asked for at the first Read
	Stdout, Stderr io.Writer

	conn  net.Conn
	out   *output
	input *io.PipeWriter
	done  chan struct{} // closed when nothing of the program is read any more
}

// Accept reads what a program asks for. The caller ends the session with End,
// whatever becomes of it.
func Accept(conn net.Conn) (*Session, error) {
	kind, payload, err := readFrame(conn)
	if err != nil {
		return nil, err
	}
	if kind != frameRequest {
		return nil, fmt.Errorf("it began with %q", kind)
	}
	r, err := parseRequest(payload)
	if err != nil {
		return nil, err
	}
	reader, writer := io.Pipe()
	s := &Session{Request: r, conn: conn, out: &output{w: conn}, input: writer, done: make(chan struct{})}
	s.Stdin = &wanted{session: s, pipe: reader}
	s.Stdout, s.Stderr = stream{s.out, frameOutput}, stream{s.out, frameError}
	go s.receive()
	return s, nil
}

// receive reads what comes from the program: its input, if it was asked for,
// and then that it is gone.
func (s *Session) receive() {
	defer close(s.done)
	var end error
	for end == nil {
		kind, payload, err := readFrame(s.conn)
		switch {
		case err != nil:
			end = fmt.Errorf("the program went away: %w", err)
		case kind != frameInput:
			end = fmt.Errorf("the program sent %q", kind)
		case len(payload) == 0:
			_ = s.input.Close() // always nil
		default:
			// A command that has ended leaves the rest unread.
			_, _ = s.input.Write(payload)
		}
	}
	_ = s.input.CloseWithError(end) // always nil
	s.out.fail(end)
}

// End tells the program how the command ended, and lets it go.
func (s *Session) End(exit int) error {
	_ = s.input.Close() // what is still read of it is dropped
	err := errors.Join(s.out.frame(frameExit, []byte{byte(exit)}), s.conn.Close())
	<-s.done
	return err
}

// wanted asks the program for its standard input when it is first read: what
// a command does not read stays there for whoever is next.
type wanted struct {
	session *Session
	pipe    *io.PipeReader
	asked   bool
}

func (w *wanted) Read(p []byte) (int, error) {
	if !w.asked {
		w.asked = true
		if err := w.session.out.frame(frameWanted, nil); err != nil {
			return 0, err
		}
	}
	return w.pipe.Read(p)
}
