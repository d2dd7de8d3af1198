package command

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Intercept()
	goleak.VerifyTestMain(m)
}

// folder makes a lab's folder whose commands are this test, and has them
// answered by do.
func folder(t *testing.T, do func(*Session) int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-name-", 15)) // longer than a socket's path may be
	if err := os.MkdirAll(filepath.Join(dir, BinDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		self, err := os.Executable()
		if err == nil {
			err = os.Symlink(self, filepath.Join(dir, BinDir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if do == nil {
		return dir
	}
	ln, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := Accept(conn)
			if err != nil {
				_ = conn.Close()
				continue
			}
			_ = s.End(do(s)) // the program may be gone
		}
	}()
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return dir
}

func run(t *testing.T, dir, stdin string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, BinDir, "zfs"), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestACommandIsPerformedElsewhere(t *testing.T) {
	var seen Request
	dir := folder(t, func(s *Session) int {
		seen = s.Request
		input, err := io.ReadAll(s.Stdin)
		if err != nil {
			t.Error(err)
		}
		for range 3000 {
			if _, err := io.WriteString(s.Stdout, "line\n"); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Stdout.Write(bytes.Repeat([]byte{0}, 100_000)); err != nil {
			t.Error(err)
		}
		if _, err := s.Stderr.Write(input); err != nil {
			t.Error(err)
		}
		return 2
	})
	t.Setenv(NodeVariable, "pve2")
	input := strings.Repeat("0123456789", 20_000)
	args := []string{"list", "", "a b\n", "-o", "\xff\xfe", "--", strings.Repeat("x", 120_000)}
	stdout, stderr, exit := run(t, dir, input, args...)
	if want := strings.Repeat("line\n", 3000) + strings.Repeat("\x00", 100_000); stdout != want || stderr != input || exit != 2 {
		t.Errorf("exit %d, %d bytes, and %d of complaint: %.200s", exit, len(stdout), len(stderr), stderr)
	}
	if cwd, err := os.Getwd(); err != nil || seen.Node != "pve2" || seen.Dir != cwd || filepath.Base(seen.Args[0]) != "zfs" || !slices.Equal(seen.Args[1:], args) {
		t.Errorf("%.300q, %v", seen, err)
	}
}

// What a command does not read is for whoever is next:
// while read x; do zfs list $x; done.
func TestInputThatIsNotReadStays(t *testing.T) {
	dir := folder(t, func(*Session) int { return 0 })
	cmd := exec.Command("/bin/sh", "-c", `while read -r x; do zfs list "$x" && echo "$x"; done`)
	cmd.Env = []string{"PATH=" + filepath.Join(dir, BinDir)}
	cmd.Stdin = strings.NewReader("one\ntwo\nthree\n")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "one\ntwo\nthree\n" {
		t.Errorf("%v: %q", err, out)
	}
}

func TestNoLabIsUp(t *testing.T) {
	stale, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	killed := folder(t, nil)
	if err := errors.Join(os.Mkdir(filepath.Join(killed, RunDir), 0o700), os.Rename(stale.Addr().String(), filepath.Join(killed, RunDir, Socket))); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"never opened": folder(t, nil), "killed": killed} {
		stdout, stderr, exit := run(t, dir, "", "list")
		if exit != 1 || stdout != "" || !strings.HasPrefix(stderr, "zfs: ") || !strings.Contains(stderr, "no lab is up in "+dir) || !strings.Contains(stderr, "nixmox lab up --dir") {
			t.Errorf("%s: %d %q %q", name, exit, stdout, stderr)
		}
	}
	// Called by the name, but from nowhere.
	cmd := exec.Command(filepath.Join(killed, BinDir, "zfs"))
	cmd.Args[0], cmd.Env = "zfs", []string{"PATH=/nowhere"}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "not started from the folder of a lab") {
		t.Errorf("%v: %s", err, out)
	}
}

// A program that is killed ends its command, whatever that is doing.
func TestAKilledProgramEndsItsCommand(t *testing.T) {
	for name, wait := range map[string]func(*Session) error{
		"while it reads": func(s *Session) error { _, err := io.Copy(io.Discard, s.Stdin); return err },
		"while it writes": func(s *Session) error {
			for {
				if _, err := io.WriteString(s.Stdout, strings.Repeat("x", 1000)); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan error, 1)
			dir := folder(t, func(s *Session) int {
				close(began)
				ended <- wait(s)
				return 0
			})
			cmd := exec.Command(filepath.Join(dir, BinDir, "zfs"), "receive")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdin.Close() }()
			stdout, err := cmd.StdoutPipe() // nobody reads it
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdout.Close() }()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-began
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("it was not killed")
			}
			if err := <-ended; err == nil {
				t.Error("the command saw its end as an ordinary one")
			}
		})
	}
}

// What is written is there soon, not at the end.
func TestOutputIsStreamed(t *testing.T) {
	next := make(chan struct{})
	dir := folder(t, func(s *Session) int {
		for range 3 {
			_, _ = io.WriteString(s.Stdout, "tick\n")
			<-next
		}
		return 0
	})
	cmd := exec.Command(filepath.Join(dir, BinDir, "zpool"), "iostat", "1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		line := make([]byte, 5)
		if _, err := io.ReadFull(stdout, line); err != nil || string(line) != "tick\n" {
			t.Errorf("%q, %v", line, err)
		}
		next <- struct{}{}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWhatNoProgramSends(t *testing.T) {
	for _, sent := range []string{"", "r", "r\x00\x00\x00\x00", "i\x00\x00\x00\x01x", "r\xff\xff\xff\xff", "r\x00\x00\x00\x03\x00\x00\x00", "r\x00\x00\x00\x05\x00\x00zfs"} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = io.WriteString(theirs, sent)
			_ = theirs.Close()
		}()
		if s, err := Accept(ours); err == nil {
			t.Errorf("%q was taken for %q", sent, s.Args)
		}
		_ = ours.Close()
	}
}

// FuzzFrames: whatever comes is either what would be written for what was
// read, or an error.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("o\x00\x00\x00\x02hi"))
	f.Add([]byte("r\x00\x00\x00\x05\x00\x00zfs"))
	f.Add([]byte("x\x00\x00\x00\x01\x00"))
	f.Add([]byte("o\xff\xff\xff\xffhi"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		in := bytes.NewReader(sent)
		var again bytes.Buffer
		for {
			kind, payload, err := readFrame(in)
			if err != nil {
				break
			}
			if err := writeFrame(&again, kind, payload); err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(sent, again.Bytes()) {
				t.Fatalf("%q became %q", sent, again.Bytes())
			}
			if r, err := parseRequest(payload); err == nil && !bytes.Equal(r.encode(), payload) {
				t.Fatalf("%q is not %q", r, payload)
			}
		}
	})
}

// FuzzConverse: the program ends, whatever it is answered.
func FuzzConverse(f *testing.F) {
	f.Add([]byte("o\x00\x00\x00\x02hix\x00\x00\x00\x01\x03"))
	f.Add([]byte("w\x00\x00\x00\x00x\x00\x00\x00\x01\x00"))
	f.Add([]byte("e\x00\x00\x00\x02h"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var out, errs bytes.Buffer
		conn := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(answer), io.Discard}
		exit, err := converse(conn, strings.NewReader("input"), &out, &errs)
		if exit < 0 || exit > 255 || err != nil && exit != 0 || out.Len()+errs.Len() > len(answer) {
			t.Errorf("exit %d, %v, %d bytes", exit, err, out.Len()+errs.Len())
		}
	})
}
