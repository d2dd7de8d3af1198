package command

import (
	"io"
	"sync"
	"time"
)

// output gathers what a command writes in small pieces, as long lists are
// written, into frames, and holds nothing back for long.
type output struct {
	mu      sync.Mutex
	w       io.Writer
	kind    byte // of what waits
	waiting []byte
	timer   *time.Timer // runs while something waits
	err     error       // the first; nothing is taken after it
}

// heldFor is how long a piece waits for the next.
const heldFor = 10 * time.Millisecond

// stream is one of the two that a command writes.
type stream struct {
	out  *output
	kind byte
}

func (s stream) Write(p []byte) (int, error) {
	o := s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kind != s.kind || len(o.waiting)+len(p) > chunk {
		o.flush()
	}
	rest := p
	for ; len(rest) > chunk; rest = rest[chunk:] {
		o.write(s.kind, rest[:chunk])
	}
	o.kind, o.waiting = s.kind, append(o.waiting, rest...)
	if o.timer == nil {
		o.timer = time.AfterFunc(heldFor, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.flush()
		})
	}
	if o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

// frame sends one, after all that waits.
func (o *output) frame(kind byte, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
	o.write(kind, payload)
	return o.err
}

// fail has everything from now on fail.
func (o *output) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

// flush sends what waits. The caller holds mu.
func (o *output) flush() {
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
	if len(o.waiting) > 0 {
		o.write(o.kind, o.waiting)
		o.waiting = o.waiting[:0]
	}
}

// write sends a frame. The caller holds mu.
func (o *output) write(kind byte, payload []byte) {
	if o.err == nil {
		o.err = writeFrame(o.w, kind, payload)
	}
}
