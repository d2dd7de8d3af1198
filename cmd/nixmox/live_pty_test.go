package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nixmox/builtins/lab"
)

var labBegin = time.Date(2026, 6, 17, 2, 0, 0, 0, time.UTC)

// session is nixmox on a terminal, on a lab whose time passes when we say so.
type session struct {
	t    *testing.T
	lab  *lab.Lab
	cmd  *exec.Cmd
	ours *os.File

	mu     sync.Mutex
	screen *terminal
	raw    bytes.Buffer
	closed chan struct{} // everything was read
}

func startSession(t *testing.T, width, height int, faults []string, env []string, args ...string) *session {
	t.Helper()
	o := lab.Options{Clock: lab.ClockReal, Brief: true, Begin: labBegin}
	for _, text := range faults {
		fault, err := lab.ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		o.Faults = append(o.Faults, fault)
	}
	w := newWorldIn(t, o)
	ours, its := openPTY(t, width, height)
	s := &session{t: t, lab: w.lab, ours: ours, screen: newTerminal(t, width, height), closed: make(chan struct{})}
	s.cmd = w.command(append([]string{"TERM=xterm-256color", "TZ=UTC", "NO_COLOR="}, env...), args...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = its, its, its
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = its.Close() // it is the program's now
	go s.read()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // if a test has failed before it ended
		<-s.closed
	})
	return s
}

func (s *session) read() {
	defer close(s.closed)
	b := make([]byte, 4096)
	for {
		n, err := s.ours.Read(b)
		s.mu.Lock()
		s.raw.Write(b[:n])
		_, _ = s.screen.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return // EIO: nobody has the other side any more
		}
	}
}

func (s *session) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.seen()
}

// until waits for a screen that matches everything.
func (s *session) until(what ...string) string {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		seen, missing := s.seen(), ""
		for _, re := range what {
			if !regexp.MustCompile("(?m)" + re).MatchString(seen) {
				missing = re
			}
		}
		if missing == "" {
			return seen
		}
		if time.Now().After(end) {
			s.t.Fatalf("the screen has no %s:\n%s", missing, seen)
		}
	}
}

// end lets time pass until nixmox has ended, and gives the exit code.
func (s *session) end() int {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		select {
		case <-s.closed:
			_ = s.cmd.Wait() // the exit code says it
			return s.cmd.ProcessState.ExitCode()
		case <-time.After(5 * time.Millisecond):
			s.lab.Advance(10 * time.Second)
		}
	}
	s.t.Fatalf("it does not end:\n%s", s.seen())
	return -1
}

var backupArgs = []string{"run", "../../playbooks/backup.star", "--guests", "100,101,103,104", "--keep-daily", "1"}

func TestLiveView(t *testing.T) {
	t.Parallel()
	s := startSession(t, 110, 24, []string{"vzdump:103=fail"}, nil, backupArgs...)
	s.until(`^100 \(nixos-vm\) +started +0:`, `^101 \(nixos-ct\) +started +0:`, `^104 \(web1\) +started`)
	s.lab.Advance(45 * time.Second)
	seen := s.until(
		`^\d\d:\d\d:\d\d < 2.2.2 101 \(nixos-ct\): finished \(\d+s\)$`,
		`^100 \(nixos-vm\) █████░+  25%  +8.0/32.0 GiB  204.8 MiB/s    0:4\d$`,
	)
	if at, row := strings.Index(seen, "finished"), strings.Index(seen, "█"); at > row {
		t.Errorf("the lines that stay are not above the rows:\n%s", seen)
	}
	s.lab.Advance(60 * time.Second)
	s.until(`^\d\d:\d\d:\d\d x 2.2.2 103 \(router\): failed: job failed with err -5`, `^100 \(nixos-vm\) █+░+  \d\d%`)
	if code := s.end(); code != 1 {
		t.Errorf("exit %d", code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.screen.text()
	for _, want := range []string{`^..:..:.. 4 guests on 3 nodes$`, `^..:..:.. x 2.2.2 103 \(router\): failed`, `^..:..:.. < 2.1.2 100 \(nixos-vm\): finished \(2m40s\)$`,
		`^..:..:.. < 2.1.2 vzdump.backup\(node = "pve1", guests = \[100\], storage = "backup"\) \(\d+m[\d.]+s\)$`,
		`^..:..:.. < 2.1.4 100: backup:backup/vzdump-qemu-100-.* is whole$`, `^backup: failed after `} {
		if n := len(regexp.MustCompile("(?m)"+want).FindAllString(all, -1)); n != 1 {
			t.Errorf("%d lines match %s:\n%s", n, want, all)
		}
	}
	if strings.ContainsAny(all, "█░") {
		t.Errorf("rows are left:\n%s", all)
	}
	if s.screen.cut > 0 || s.screen.sgr == 0 {
		t.Errorf("%d characters were cut, %d colours set", s.screen.cut, s.screen.sgr)
	}
}

func TestLiveViewNarrowWithoutColours(t *testing.T) {
	t.Parallel()
	for _, width := range []int{20, 30, 40} {
		s := startSession(t, width, 16, []string{"vzdump:103=fail"}, []string{"NO_COLOR=1"}, backupArgs...)
		s.until(`^100.* 0:0\d$`)
		s.lab.Advance(45 * time.Second)
		s.until(`^100 .* 25% .*0:4\d$`)
		s.lab.Advance(60 * time.Second)
		s.until(`^100 .* \d\d% +1:4\d$`)
		if code := s.end(); code != 1 {
			t.Errorf("exit %d", code)
		}
		if all := s.screen.text(); s.screen.cut > 0 || s.screen.sgr > 0 || !strings.Contains(all, "103 (router): failed: job failed with err -5 - Input/output error\n") {
			t.Errorf("%d columns: %d characters were cut, %d colours set:\n%s", width, s.screen.cut, s.screen.sgr, all)
		}
	}
}

// Narrowed, widened: the rows are whole again, and every line is still there.
// A frame that is under way while the terminal is narrowed may be cut.
func TestLiveViewResized(t *testing.T) {
	t.Parallel()
	for _, reflows := range []bool{true, false} {
		s := startSession(t, 110, 24, nil, nil, backupArgs...)
		s.screen.reflows = reflows
		s.until(`^100 \(nixos-vm\) +started`)
		s.lab.Advance(45 * time.Second)
		s.until(`^100 \(nixos-vm\) █+░+ .*MiB/s    0:4\d$`)
		for _, size := range []struct {
			width int
			row   string
		}{{50, `█+░+  \d\d%    \d:\d\d$`}, {32, ` \d\d%    \d:\d\d$`}, {110, `█+░+  \d\d% .* MiB/s    \d:\d\d$`}} {
			s.mu.Lock()
			s.screen.resize(size.width, 24)
			setSize(t, s.ours, size.width, 24)
			s.mu.Unlock()
			s.lab.Advance(time.Second)
			seen := s.until(`^100 \(nixos-vm\) ` + size.row)
			if n := len(regexp.MustCompile(`(?m)^100 \(nixos-vm\) `).FindAllString(seen, -1)); n != 1 {
				t.Errorf("%d columns: %d rows of one guest:\n%s", size.width, n, seen)
			}
		}
		if code := s.end(); code != 0 {
			t.Errorf("exit %d", code)
		}
		if all := s.screen.text(); !strings.Contains(all, " 4 guests on 3 nodes\n") || strings.Contains(s.screen.seen(), "█") {
			t.Errorf("rows are left, or a line is not (it reflows: %v):\n%s", reflows, all)
		}
	}
}

func TestLiveViewInterrupted(t *testing.T) {
	t.Parallel()
	for _, sign := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		s := startSession(t, 80, 24, nil, nil, backupArgs...)
		s.until(`^100 \(nixos-vm\) +started`)
		s.lab.Advance(45 * time.Second)
		s.until(`^100 \(nixos-vm\) █+░+  25%`)
		if err := s.cmd.Process.Signal(sign); err != nil {
			t.Fatal(err)
		}
		<-s.closed
		_ = s.cmd.Wait()                              // the exit code says it
		seen, all := s.screen.seen(), s.screen.text() // warnings may have moved the first lines out of sight
		if s.screen.col != 0 || s.screen.nowrap || s.screen.color != "" || s.screen.rest != "" || len(s.screen.line().cells) != 0 {
			t.Errorf("%s: the terminal is left in disorder: %+v", sign, s.screen)
		}
		if sign == syscall.SIGKILL {
			continue // the rows are still there, and the prompt comes below
		}
		if code := s.cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("exit %d", code)
		}
		if strings.Contains(seen, "█") || !strings.Contains(all, "nixmox: interrupted; a second time ends it at once\n") || !strings.Contains(seen, "go on with: nixmox resume") {
			t.Errorf("%s\n", all)
		}
	}
}

// Where nobody can look, or wants to, there are plain lines.
func TestPlainLinesOnATerminal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		env  string
		args []string
		want string
	}{
		{"TERM=dumb", nil, "> 2.1.2 vzdump.backup("},
		{"TERM=xterm", []string{"--quiet", "--no-verify"}, "without verification"},
		{"TERM=xterm", []string{"--json"}, `{"event":"run_began"`},
		{"TERM=xterm", []string{"--json", "-q", "-v"}, `"event":"call_progress"`},
	} {
		s := startSession(t, 80, 24, nil, []string{test.env}, append(append([]string(nil), backupArgs...), test.args...)...)
		if code := s.end(); code != 0 {
			t.Errorf("%v: exit %d\n%s", test, code, s.screen.text())
		}
		raw := s.raw.String()
		if !strings.Contains(raw, test.want) || strings.Contains(raw, "\x1b[J") || strings.Contains(raw, "\x1b[?") {
			t.Errorf("%v:\n%s", test, raw)
		}
		if test.env == "TERM=dumb" && strings.Contains(raw, "\x1b") {
			t.Errorf("%v: escape sequences:\n%q", test, raw)
		}
	}
}
