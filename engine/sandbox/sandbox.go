// Package sandbox evaluates a playbook's language in a child process of the
// same binary that can do nothing but compute and talk to its parent: no file,
// no network, no other process, bounded memory. Sources reach it over a socket
// pair, and what it asks for are calls, which the parent checks and performs.
// The same frames carry calls to another host. It must know no language and no
// module, and the parent's side trusts nothing that the child says.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// Argument is what a process is started with to be an evaluator; Serve is
// then its whole life.
const Argument = "evaluate-a-playbook"

// conversation is the descriptor of the child's end of the socket pair.
const conversation = 3

// Options say how evaluators are made.
type Options struct {
	// Program is the binary to start; "" for the running one.
	Program string
	// Memory bounds what the playbook adds to the evaluator's resident memory,
	// in bytes.
	Memory uint64
	// Require refuses evaluators that the kernel cannot lock down wholly.
	Require bool
}

// addressSpace is what an evaluator may set aside beyond what it starts with:
// the backstop behind the watch over resident memory. Go sets aside more than
// it uses.
func (o Options) addressSpace() uint64 { return o.Memory + 1<<30 }

const (
	// grace is how long an evaluator may take to end by itself once the run
	// is over for it. Then it is killed.
	grace = 500 * time.Millisecond
	// startTime is how long it may take to begin, on a machine that is very busy.
	startTime = 30 * time.Second
	// loadTime is how long the top level of a playbook may run, whoever loads it.
	loadTime = time.Minute
	// Its memory is looked at as often as it could have used up what is left of
	// it: fastest is more than what two cores touch, in bytes a second.
	fastest                 = 8 << 30
	watchOften, watchRarely = 5 * time.Millisecond, 100 * time.Millisecond
	// lastWords bounds what is kept of the child's standard error.
	lastWords = 16 << 10
)

// process is an evaluator, seen from its parent.
type process struct {
	o     Options
	cmd   *exec.Cmd
	conn  *conn
	sock  *os.File
	words tail // of its standard error
	// missing is what the kernel could not give.
	missing []string
	begins  uint64 // bytes resident before it has a playbook, program text and all

	ids     atomic.Uint64
	mu      sync.Mutex
	session *session // what its frames belong to; nil between runs
	died    chan struct{}
	why     error // after died: what ended it
	killed  atomic.Pointer[builtin.Stop]
}

// start makes an evaluator and waits until it is locked down.
func start(o Options) (*process, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a socket pair for the evaluator: %w", err)
	}
	// Not blocking, so that closing it ends a read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("a socket pair for the evaluator: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "evaluator"), os.NewFile(uintptr(fds[1]), "engine")
	program := o.Program
	if program == "" {
		program = "/proc/self/exe"
	}
	p := &process{o: o, conn: newConn(ours, maxFrame, maxSaid), sock: ours, died: make(chan struct{})}
	p.cmd = exec.Command(program, Argument, fmt.Sprint(o.addressSpace()))
	p.cmd.Args[0] = os.Args[0] // the name by which it knows itself
	p.cmd.Env = []string{}
	p.cmd.Stderr = &p.words
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the engine alone
	p.cmd.WaitDelay = grace
	err = p.cmd.Start()
	closeErr := theirs.Close()
	if err = errors.Join(err, closeErr); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the evaluator: %w", err), ours.Close())
	}
	err = ours.SetReadDeadline(time.Now().Add(startTime))
	var first *frame
	if err == nil {
		first, err = p.conn.receive()
	}
	var ready readyBody
	if err == nil && first.kind != kindReady {
		err = fmt.Errorf("it began with a frame of kind %q", first.kind)
	}
	if err == nil {
		err = first.decode(&ready)
	}
	if err == nil {
		err = ours.SetReadDeadline(time.Time{})
	}
	p.missing = ready.Missing
	if err == nil && o.Memory > 0 {
		// Where there is no /proc, the address space is the limit.
		_, p.begins, _ = memoryOf(strconv.Itoa(p.cmd.Process.Pid))
	}
	if err == nil && o.Require && len(ready.Missing) > 0 {
		err = fmt.Errorf("this kernel does not have %s", strings.Join(ready.Missing, ", "))
	}
	if err != nil {
		p.kill(nil)
		waitErr := p.cmd.Wait()
		return nil, errors.Join(fmt.Errorf("locking down the evaluator: %w", err), waitErr, ours.Close(), p.words.err())
	}
	go p.receiveAll()
	go p.watch()
	return p, nil
}

// close ends the evaluator.
func (p *process) close() error {
	p.kill(builtin.Stopf(builtin.Cancelled, "the evaluator was closed"))
	<-p.died
	return nil
}

// kill ends it at once; the first reason given is the one that counts.
func (p *process) kill(why *builtin.Stop) {
	if why != nil {
		p.killed.CompareAndSwap(nil, why)
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself
}

// receiveAll hands frames to the session until the conversation ends.
func (p *process) receiveAll() {
	for {
		f, err := p.conn.receive()
		if err == nil {
			if stop := f.bounded(); stop != nil {
				err = stop
			}
		}
		if err == nil {
			p.mu.Lock()
			s := p.session
			p.mu.Unlock()
			if s == nil {
				err = fmt.Errorf("a frame of kind %q while nothing runs", f.kind)
			} else {
				err = s.frame(f)
			}
		}
		if err != nil {
			p.end(err)
			return
		}
	}
}

// end settles what ended the evaluator, once it is gone.
func (p *process) end(err error) {
	stop, _ := errors.AsType[*builtin.Stop](err)
	p.kill(stop)
	waitErr := p.cmd.Wait()
	switch why := p.killed.Load(); {
	case why != nil:
		p.why = why
	default:
		stop := builtin.Stopf(builtin.Died, "the evaluator of the playbook died: %v", waitErr)
		if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			stop.What = fmt.Sprintf("the evaluator of the playbook was ended: %v", err)
		}
		if words := p.words.text(); strings.Contains(words, "out of memory") || strings.Contains(words, "cannot allocate memory") || strings.Contains(words, "stack overflow") {
			stop = outOfMemory(p.o.Memory)
		} else if words != "" {
			stop.What += ": " + firstLine(words)
		}
		p.why = stop
	}
	_ = p.sock.Close() // nothing is in it any more
	close(p.died)
}

func outOfMemory(limit uint64) *builtin.Stop {
	stop := builtin.Stopf(builtin.Limit, "the playbook uses more than %d MiB of memory", limit>>20)
	stop.Hint = "is there a list or a text that grows without end? --memory gives it more"
	return stop
}

// watch ends an evaluator that uses more memory than it may.
func (p *process) watch() {
	if p.o.Memory == 0 {
		return
	}
	limit := p.begins + unread + p.o.Memory
	wait := time.NewTimer(watchOften)
	defer wait.Stop()
	for {
		select {
		case <-p.died:
			return
		case <-wait.C:
		}
		_, resident, err := memoryOf(strconv.Itoa(p.cmd.Process.Pid))
		if err != nil {
			return // it is gone, or there is no /proc, and the address space is the limit
		}
		if resident > limit {
			p.kill(outOfMemory(p.o.Memory))
			return
		}
		left := time.Duration(float64(limit-resident) / fastest * float64(time.Second))
		wait.Reset(min(max(left, watchOften), watchRarely))
	}
}

// memoryOf is what a process has set aside and what of it is resident, in
// bytes (proc(5)). It reads past the Go runtime's poller, which would open
// descriptors of its own in an evaluator that is just closing what it has.
func memoryOf(pid string) (size, resident uint64, err error) {
	fd, err := unix.Open("/proc/"+pid+"/statm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	var text [128]byte
	n, err := unix.Read(fd, text[:])
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(text[:n]))
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("/proc/%s/statm says %q", pid, text[:n])
	}
	size, sizeErr := strconv.ParseUint(fields[0], 10, 64)
	resident, residentErr := strconv.ParseUint(fields[1], 10, 64)
	page := uint64(os.Getpagesize())
	return size * page, resident * page, errors.Join(sizeErr, residentErr)
}

// unread is what an evaluator of an empty playbook grows by: program text and
// tables that are read only once they are needed.
const unread = 16 << 20

// tail keeps the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	bytes []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := lastWords - len(t.bytes); room > 0 { // the first words of a crash say why
		t.bytes = append(t.bytes, b[:min(room, len(b))]...)
	}
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.bytes))
}

func (t *tail) err() error {
	if text := t.text(); text != "" {
		return errors.New(firstLine(text))
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Missing starts an evaluator, to see what the kernel cannot give to lock it
// down, and ends it again.
func Missing(o Options) ([]string, error) {
	p, err := start(o)
	if err != nil {
		return nil, err
	}
	return p.missing, p.close()
}

// Load starts an evaluator and has it load a playbook. The playbook's Close
// ends the evaluator.
func Load(ctx context.Context, o Options, d language.Definitions, roots source.Roots, file string) (*language.Playbook, error) {
	p, err := start(o)
	if err != nil {
		return nil, err
	}
	s := &session{process: p, definitions: d, roots: roots, ending: path.Ext(file), files: map[string]*source.File{}, shown: map[string]bool{"": true}}
	ctx, cancel := context.WithTimeoutCause(ctx, loadTime, builtin.Stopf(builtin.TimedOut, "loading the playbook took longer than %s", loadTime))
	defer cancel()
	loaded, err := s.load(ctx, file)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return loaded, nil
}
