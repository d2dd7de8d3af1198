// Package run is the one command runner: every program that a built-in starts
// is started here. A command is a program's name and its arguments, never a
// line for a shell; it speaks English, has an environment of a few fixed
// variables, and does not outlive the call that started it.
//
// The package must not know what the programs are for, nor what their words
// mean: that is their module's.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Runner starts programs of one machine.
type Runner struct {
	// Folder holds the only programs there are, and is the PATH of what is
	// started. "" takes the machine's own PATH. The lab's commands are such a
	// folder: with it nothing else can be started, whatever a module asks for.
	Folder string
}

// Command is one use of a program.
type Command struct {
	Argv  []string  // the program's bare name first
	Stdin io.Reader // nil: empty
}

func (c Command) String() string { return strings.Join(c.Argv, " ") }

// Error is a program that ended otherwise than with 0.
type Error struct {
	Argv   []string
	Exit   int    // its exit status; -1 where a signal ended it
	Signal string // the signal's name, where one did
	Stderr string // the last of what it said, in its own words
}

func (e *Error) Error() string {
	said := strings.TrimSpace(e.Stderr)
	switch {
	case said != "":
		return said
	case e.Signal != "":
		return fmt.Sprintf("%s was ended by the signal %s", e.Argv[0], e.Signal)
	}
	return fmt.Sprintf("%s ended with status %d and said nothing", e.Argv[0], e.Exit)
}

// MissingError is a program that is not there.
type MissingError struct {
	Program string
	Folder  string // where alone it was looked for; "" for PATH
}

func (e *MissingError) Error() string {
	if e.Folder != "" {
		return fmt.Sprintf("%s is not among the commands in %s", e.Program, e.Folder)
	}
	return e.Program + " is not on PATH"
}

const (
	// keptStderr is how much of what a program complains is kept: the end, where
	// the reason stands.
	keptStderr = 64 << 10
	// grace is how long a program that was told to end may take to do so.
	grace = 5 * time.Second
)

// Output runs a command and returns what it wrote to its standard output.
// Other ends than 0 are an *Error, with the output all the same.
func (r *Runner) Output(ctx context.Context, c Command) ([]byte, error) {
	var out bytes.Buffer
	err := r.Stream(ctx, c, func(stdout io.Reader) error {
		_, err := out.ReadFrom(stdout)
		return err
	})
	return out.Bytes(), err
}

// Stream runs a command and has its standard output read while it runs. What
// read leaves unread is dropped; its error ends the command, and counts more
// than how that ended. The error of a context that ended is the context's.
func (r *Runner) Stream(ctx context.Context, c Command, read func(stdout io.Reader) error) error {
	program, err := r.find(c.Argv)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(ctx, program, c.Argv[1:]...)
	cmd.Args[0] = c.Argv[0]
	cmd.Env = r.environment()
	cmd.Dir = "/"
	cmd.Stdin = c.Stdin
	stderr := &tail{keep: keptStderr}
	cmd.Stderr = stderr
	// It leads a group of its own: an interrupt typed at the terminal is for
	// nixmox to handle, and what it started ends with it. When nixmox is killed
	// it ends, too (the kernel sees to that by thread, and Go keeps its threads):
	// whoever settles the call then does not meet a command still at work.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", c.Argv[0], err)
	}
	readErr := read(stdout)
	if readErr != nil {
		stop(readErr)
	} else {
		_, readErr = io.Copy(io.Discard, stdout) // so that it is not stopped by a full pipe
	}
	waitErr := cmd.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if exit, ok := errors.AsType[*exec.ExitError](waitErr); ok {
		e := &Error{Argv: c.Argv, Exit: exit.ExitCode(), Stderr: stderr.String()}
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			e.Signal = status.Signal().String()
		}
		return e
	}
	if waitErr != nil {
		return fmt.Errorf("%s: %w", c.Argv[0], waitErr)
	}
	return readErr
}

// find is where the program is. Its name has no slash, so that no argument of
// a playbook can ever choose a file.
func (r *Runner) find(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" || strings.ContainsRune(argv[0], '/') {
		return "", fmt.Errorf("%q is no bare name of a program", argv)
	}
	for _, arg := range argv {
		if strings.ContainsRune(arg, 0) {
			return "", fmt.Errorf("%s: the argument %q holds a NUL", argv[0], arg)
		}
	}
	if r.Folder == "" {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			return "", &MissingError{Program: argv[0]}
		}
		return path, nil
	}
	path := filepath.Join(r.Folder, argv[0])
	if _, err := os.Stat(path); err != nil {
		return "", &MissingError{Program: argv[0], Folder: r.Folder}
	}
	return path, nil
}

// environment is all that a program gets to know: where programs are, and that
// its words are to be English and its times UTC.
func (r *Runner) environment() []string {
	path := r.Folder
	if path == "" {
		path = os.Getenv("PATH")
	}
	return []string{"PATH=" + path, "LC_ALL=C", "TZ=UTC", "HOME=/"}
}

// tail keeps the end of what is written to it.
type tail struct {
	keep int
	b    []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - t.keep; over > t.keep { // seldom, so that it costs little
		t.b = append(t.b[:0], t.b[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	b, cut := t.b, t.cut
	if over := len(b) - t.keep; over > 0 {
		b, cut = b[over:], true
	}
	if cut {
		return "… " + string(b)
	}
	return string(b)
}
