package pve

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// logPage is how many lines one request asks for; Proxmox's default is 50.
const logPage = 5000

// taskLog follows the log of one task.
//
// Proxmox copies what a task prints into the log in blocks, so the last line
// may be the first half of one. Hence the last line is read again each time,
// and passed on only when another has come after it, when it stood unchanged
// from one look to the next, or when the task has stopped. Should it grow even
// then, TaskEnd.Log has it whole, but follow is not called twice for a line.
type taskLog struct {
	c         *Client
	upid      UPID
	follow    func(int, string)
	lines     []string
	delivered int
	// At the look before: how many lines there were, and the last of them.
	seen     int
	lastSeen string
}

type logLine struct {
	N Int  `json:"n"`
	T Text `json:"t"`
}

// read gets what the log has grown by. After the stop it is the last time.
func (l *taskLog) read(ctx context.Context, stopped bool) error {
	for {
		start := max(len(l.lines)-1, 0)
		query := url.Values{"start": {strconv.Itoa(start)}, "limit": {strconv.Itoa(logPage)}}
		var page []logLine
		if err := l.c.once(ctx, http.MethodGet, taskPath(l.upid, "log"), query, nil, &page); err != nil {
			return err
		}
		if more := l.take(start, page, stopped); !more {
			return nil
		}
	}
}

// take adds a page that begins at a line, counted from 0, and passes on what is
// sure. It reports that there may be another page.
func (l *taskLog) take(start int, page []logLine, stopped bool) (more bool) {
	if start == 0 && placeholder(page, stopped) {
		return false
	}
	slices.SortStableFunc(page, func(a, b logLine) int { return cmp.Compare(a.N, b.N) })
	if len(page) > 0 {
		l.lines = l.lines[:start]
		for _, line := range page {
			l.lines = append(l.lines, string(line.T))
		}
	}
	if len(page) >= logPage {
		return true
	}
	l.deliver(stopped)
	return false
}

func (l *taskLog) deliver(stopped bool) {
	n := len(l.lines)
	if n == 0 {
		return
	}
	last := l.lines[n-1]
	upTo := n - 1
	if stopped || l.seen == n && l.lastSeen == last {
		upTo = n
	}
	l.seen, l.lastSeen = n, last
	for ; l.delivered < upTo; l.delivered++ {
		if l.follow != nil {
			l.follow(l.delivered+1, l.lines[l.delivered])
		}
	}
}

// placeholder recognizes the line that Proxmox invents for a log that is
// empty or not there yet (dump_logfile in PVE/Tools.pm). Why a log could not be
// opened at the end is worth keeping.
func placeholder(page []logLine, stopped bool) bool {
	if len(page) != 1 {
		return false
	}
	text := string(page[0].T)
	return text == "no content" || !stopped && strings.HasPrefix(text, "unable to open file - ")
}

// TaskLog reads the log of a task as it is now.
func (c *Client) TaskLog(ctx context.Context, upid UPID) ([]string, error) {
	l := taskLog{c: c, upid: upid}
	err := l.read(ctx, true)
	return l.lines, err
}
