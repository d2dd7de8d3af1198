package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ClockMode says how the lab's time passes.
type ClockMode int

const (
	// ClockReal: a task of five minutes takes five minutes.
	ClockReal ClockMode = iota
	// ClockAuto: time jumps to the next event of a running task whenever a
	// client looks, or when nobody has asked for anything for idleAfter.
	ClockAuto
)

// ParseClock reads a ClockMode: "real" or "auto".
func ParseClock(s string) (ClockMode, error) {
	switch s {
	case "real":
		return ClockReal, nil
	case "auto":
		return ClockAuto, nil
	}
	return 0, fmt.Errorf("unknown clock %q: there are real (a task takes its time) and auto (hours pass in a moment)", s)
}

func (m ClockMode) String() string {
	if m == ClockAuto {
		return "auto"
	}
	return "real"
}

const (
	// idleAfter is how long ClockAuto waits for a request before it lets tasks
	// go on by themselves. So a client that asks right after it started a task
	// finds it running.
	idleAfter = 20 * time.Millisecond
	// idleStep paces the events when nobody looks.
	idleStep = time.Millisecond
	// hangStep is how far ClockAuto jumps when a client looks and nothing but
	// hanging tasks are left, so that the client's own time limit can pass.
	hangStep = time.Minute
)

// Now is the lab's time, in UTC.
func (l *Lab) Now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now()
}

// Advance lets d pass at once, with everything that happens in it.
func (l *Lab) Advance(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.now().Add(d)
	for t := l.nextTask(); t != nil && !t.Due.After(to); t = l.nextTask() {
		l.runTask(t)
	}
	l.jump(to)
}

// now is real time plus the estate's offset. The caller holds mu.
func (l *Lab) now() time.Time {
	return time.Now().Add(l.st.Offset).UTC()
}

// jump moves the clock forward to t; it never goes back.
func (l *Lab) jump(t time.Time) {
	if d := t.Sub(l.now()); d > 0 {
		l.st.Offset += d
		// Another process that misses one jump sees the next; nothing is lost.
		_ = l.writeClock()
	}
}

// nextTask is the running task with the earliest event, nil if there is none.
func (l *Lab) nextTask() *task {
	var next *task
	for _, t := range l.st.Tasks {
		if t.running() && !t.Due.IsZero() && (next == nil || t.Due.Before(next.Due)) {
			next = t
		}
	}
	return next
}

// catchUp runs what is due by now. With ClockAuto nothing runs but by step.
func (l *Lab) catchUp() {
	if l.opt.Clock == ClockAuto {
		return
	}
	for t := l.nextTask(); t != nil && !t.Due.After(l.now()); t = l.nextTask() {
		l.runTask(t)
	}
}

// step is ClockAuto's way on: the next event happens, and time jumps there.
// polled says that a client is looking.
func (l *Lab) step(polled bool) {
	if l.opt.Clock != ClockAuto {
		return
	}
	if t := l.nextTask(); t != nil {
		l.jump(t.Due)
		l.runTask(t)
		return
	}
	if polled && l.anyRunning() {
		l.jump(l.now().Add(hangStep))
	}
}

// runUntil lets time pass until t has ended, with everything that is due
// before. t must have an event to come.
func (l *Lab) runUntil(t *task) {
	for t.running() {
		next := l.nextTask()
		l.jump(next.Due)
		l.runTask(next)
	}
}

func (l *Lab) anyRunning() bool {
	for _, t := range l.st.Tasks {
		if t.running() {
			return true
		}
	}
	return false
}

// poke tells the pump that tasks have changed.
func (l *Lab) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// pump lets tasks go on when no request does.
func (l *Lab) pump(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
		timer.Reset(l.pumpOnce())
	}
}

// pumpOnce does what is due and says when to come again.
func (l *Lab) pumpOnce() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return time.Hour
	}
	if l.opt.Clock == ClockAuto {
		if l.nextTask() == nil {
			return time.Hour
		}
		if wait := l.idle - time.Since(l.lastPoll); wait > 0 {
			return wait
		}
		l.step(false)
		return idleStep
	}
	l.catchUp()
	if t := l.nextTask(); t != nil {
		return max(t.Due.Sub(l.now()), time.Millisecond)
	}
	return time.Hour
}

// writeClock tells other processes the offset.
func (l *Lab) writeClock() error {
	text := strconv.FormatInt(int64(l.st.Offset), 10) + "\n"
	if err := writeFile(l.folder.path(clockFile), []byte(text), false); err != nil {
		return fmt.Errorf("keeping the lab's clock: %w", err)
	}
	return nil
}

// ReadClock gives another process the clock of the lab in dir. The function
// reads the offset anew each time; if that fails once, the last known counts.
func ReadClock(dir string) (func() time.Time, error) {
	path := filepath.Join(dir, clockFile)
	last, err := readOffset(path)
	if err != nil {
		return nil, fmt.Errorf("reading the clock of the lab in %s: %w (is a lab there?)", dir, err)
	}
	var mu sync.Mutex
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		if d, err := readOffset(path); err == nil {
			last = d
		}
		return time.Now().Add(last).UTC()
	}, nil
}

func readOffset(path string) (time.Duration, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, errors.New("the file is damaged")
	}
	return time.Duration(n), nil
}
