package main

import (
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

// frameEvery is how often the rows are drawn.
const frameEvery = time.Second / 10

// live is a run as a terminal shows it: lines that stay, as the text sink
// writes them, and below them a row for each thing being worked on. Events
// only note what is to be shown, so that a terminal that has been halted
// (Ctrl-S) halts no run; one goroutine draws. docs/decisions/0006-the-live-view.md
type live struct {
	terminal *os.File
	now      func() time.Time // the engine's clock

	mu     sync.Mutex
	lines  strings.Builder // that are still to be written
	text   textSink        // writes to lines
	rows   []*row          // in the order in which they began
	screen screen          // this and what follows is of the goroutine that draws
	width  int             // of the terminal at the last look

	stopped, done chan struct{}
}

// canLive: there is somebody to look, at a terminal that can be drawn on.
func canLive(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return nil, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return f, err == nil && width >= 20 && height >= 4
}

// newLive begins to show; close ends it. w leads to the terminal.
func newLive(terminal *os.File, w io.Writer, verbose bool, now func() time.Time) *live {
	l := &live{terminal: terminal, now: now, screen: screen{w: w}, stopped: make(chan struct{}), done: make(chan struct{})}
	l.text = textSink{w: &l.lines, style: styleFor(terminal), verbose: verbose, live: true}
	go l.drawAll()
	return l
}

// close writes what is left, and takes the rows away.
func (l *live) close() {
	close(l.stopped)
	<-l.done
}

func (l *live) event(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Type {
	case event.CallBegan:
		l.rows = append(l.rows, &row{place: e.Place, call: e.Call, change: altersWorld(e), args: e.Args, since: e.Time})
	case event.CallWaits:
		if r := l.row(e.Place, ""); r != nil {
			r.told.Step = "waits for the lock " + e.Text
		}
	case event.CallProgress:
		l.progress(e)
	case event.CallEnded:
		if r := l.row(e.Place, ""); r != nil {
			e.Args = r.args
		}
		l.rows = slices.DeleteFunc(l.rows, func(r *row) bool { return r.place == e.Place })
	case event.RunEnded:
		l.rows = nil
	}
	l.text.event(e)
}

func (l *live) row(place builtin.Place, subject string) *row {
	for _, r := range l.rows {
		if r.place == place && r.subject == subject {
			return r
		}
	}
	return nil
}

func (l *live) progress(e event.Event) {
	p := *e.Progress
	r := l.row(e.Place, p.Subject)
	switch {
	case p.Ended != "":
		l.rows = slices.DeleteFunc(l.rows, func(x *row) bool { return x == r })
		return
	case r == nil:
		r = &row{place: e.Place, call: e.Call, subject: p.Subject, change: altersWorld(e), since: e.Time}
		l.rows = append(l.rows, r)
	}
	// A line that measures nothing does not unsay what another has measured.
	if last := r.told; p.Done == 0 && p.Total == 0 && p.Percent == 0 {
		p.Done, p.Total, p.Percent, p.Rate = last.Done, last.Total, last.Percent, last.Rate
	}
	r.told = p
}

// notice is a line of nixmox's own.
func (l *live) notice(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines.WriteString(text + "\n")
}

func (l *live) drawAll() {
	defer close(l.done)
	ticker := time.NewTicker(frameEvery)
	defer ticker.Stop()
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	for {
		select {
		case <-continued:
			l.screen.forget() // the shell has written since
		case <-ticker.C:
			l.draw(false)
		case <-l.stopped:
			l.draw(true)
			return
		}
	}
}

// draw draws a frame, if it would show anything else than the last.
func (l *live) draw(last bool) {
	width, height, err := term.GetSize(int(l.terminal.Fd()))
	if err != nil {
		width, height = l.screen.width, l.screen.height
	}
	width, height = max(width, 1), max(height, 1)
	if width != l.width && !last {
		l.width = width // it is being dragged, or was just now
		return
	}
	l.mu.Lock()
	l.text.style.width = width
	text := l.lines.String()
	l.lines.Reset()
	var rows []string
	if !last && l.inFront() {
		rows = rowTexts(l.rows, l.text.style, width, height, l.now())
	}
	l.mu.Unlock()
	var lines []string
	if text != "" {
		lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	}
	if !l.inFront() {
		l.screen.forget()
	}
	if len(lines) > 0 || width < l.screen.width || !slices.Equal(rows, l.screen.rows) {
		l.screen.draw(width, height, lines, rows)
	}
}

// inFront: the shell has not taken the terminal back (Ctrl-Z, bg). What is
// drawn in the background would go over what is typed.
func (l *live) inFront() bool {
	group, err := unix.IoctlGetInt(int(l.terminal.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}
