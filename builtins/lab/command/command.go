// Package command is both ends of the lab's commands: what a program becomes
// that was started as zfs or zpool from a lab's folder of commands, and what
// the opened lab answers it with, over a Unix socket beside that folder.
//
// The program's end must stay small: it is started thousands of times, often
// for a single line. The package must not know what the commands do; it uses
// nothing but the standard library.
package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// BinDir is the folder of commands, and RunDir that of the socket, in the
	// lab's folder.
	BinDir = "bin"
	RunDir = "run"
	// Socket is the socket's name in RunDir.
	Socket = "commands.sock"
	// NodeVariable names the environment variable that chooses the node whose
	// command it is.
	NodeVariable = "NIXMOX_LAB_NODE"
)

// Names are the commands that there are.
func Names() []string { return []string{"zfs", "zpool"} }

// Is reports whether a program that was started as arg0 is one of them.
func Is(arg0 string) bool { return slices.Contains(Names(), filepath.Base(arg0)) }

// Intercept makes of this process the command that it was started as, if it
// was, and ends it. Programs in which a lab is opened call it first of all,
// tests in TestMain: the commands of a lab are the program that opened it.
func Intercept() {
	if len(os.Args) > 0 && Is(os.Args[0]) {
		// Not os.Exit: with the race detector that first waits for a second, and
		// tests give thousands of commands.
		syscall.Exit(Main(os.Args))
	}
}

// Main asks the opened lab to perform a command, and is its exit status.
func Main(args []string) (exit int) {
	name := filepath.Base(args[0])
	status, err := perform(args)
	if err != nil {
		// Standard error is all there is to say it on.
		_, _ = fmt.Fprintf(os.Stderr, "%s: this is a command of nixmox's lab: %v\n", name, err)
		return 1
	}
	return status
}

func perform(args []string) (int, error) {
	dir, err := ownFolder(args[0])
	if err != nil {
		return 0, err
	}
	conn, err := dial(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }() // all that counts has been read
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "" // it was removed, which hinders no command
	}
	r := Request{Node: os.Getenv(NodeVariable), Dir: cwd, Args: args}
	if err := writeFrame(conn, frameRequest, r.encode()); err != nil {
		return 0, fmt.Errorf("asking the lab: %w", err)
	}
	return converse(conn, os.Stdin, os.Stdout, os.Stderr)
}

// converse hands on what the lab says, until it says how the command ended.
func converse(conn io.ReadWriter, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	for {
		kind, payload, err := readFrame(conn)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it was closed")
			}
			return 0, fmt.Errorf("the lab went away before the command ended: %w", err)
		}
		switch {
		case kind == frameOutput:
			_, err = stdout.Write(payload)
		case kind == frameError:
			_, err = stderr.Write(payload)
		case kind == frameWanted:
			go sendInput(conn, stdin)
		case kind == frameExit && len(payload) == 1:
			return int(payload[0]), nil
		default:
			return 0, fmt.Errorf("the lab answered with %q, which this program does not know: both must be of one version", kind)
		}
		if err != nil {
			return 0, err
		}
	}
}

// sendInput sends standard input to its end. Where that fails, the lab has
// ended the command or is gone, and the other direction tells.
func sendInput(conn io.Writer, stdin io.Reader) {
	buf := make([]byte, chunk)
	for {
		n, err := stdin.Read(buf)
		if n > 0 && writeFrame(conn, frameInput, buf[:n]) != nil {
			return
		}
		if err != nil {
			_ = writeFrame(conn, frameInput, nil)
			return
		}
	}
}

// ownFolder is the folder that this program was started from by the name of a
// command. A shell finds it in PATH and does not say where.
func ownFolder(arg0 string) (string, error) {
	if strings.ContainsRune(arg0, '/') {
		return filepath.Dir(arg0), nil
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("finding its own folder: %w", err)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if dir == "" {
			dir = "."
		}
		if found, err := os.Stat(filepath.Join(dir, arg0)); err == nil && os.SameFile(self, found) {
			return dir, nil
		}
	}
	return "", errors.New("it was not started from the folder of a lab")
}

// dial connects to the lab whose folder of commands is dir. The socket is
// reached through an open folder, as a socket's path may have 107 bytes only.
func dial(dir string) (net.Conn, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only a way
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/../%s/%s", f.Fd(), RunDir, Socket))
	if err == nil {
		return conn, nil
	}
	lab := filepath.Dir(filepath.Clean(dir))
	if errors.Is(err, fs.ErrNotExist) || isRefused(err) {
		return nil, fmt.Errorf("no lab is up in %s: open it with `nixmox lab shell --dir %s`, or `nixmox lab up --dir %s`", lab, lab, lab)
	}
	return nil, fmt.Errorf("reaching the lab in %s: %w", lab, errors.Unwrap(err))
}
