package pve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"nixmox/engine/builtin"
)

const testUPID = "UPID:pve1:0000021D:000836CB:6B042C82:vzdump:101:root@pam!tok:"

// job is a task whose state and log a test moves on.
type job struct {
	exit    string // "" while it runs
	log     []string
	queries []string
	fail    func(http.ResponseWriter) // answers everything, if set
	noLog   bool
}

func (j *job) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	j.queries = append(j.queries, what+"?"+r.URL.RawQuery)
	switch {
	case j.fail != nil:
		j.fail(w)
	case what == "status" && j.exit == "":
		data(w, map[string]any{"status": "running", "upid": testUPID, "pid": 541})
	case what == "status":
		data(w, map[string]any{"status": "stopped", "upid": testUPID, "exitstatus": j.exit})
	case j.noLog:
		answer(w, 500, "unable to open log", "")
	default:
		start, _ := strconv.Atoi(r.URL.Query().Get("start"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		lines := []map[string]any{}
		for i := start; i < len(j.log) && len(lines) < limit; i++ {
			lines = append(lines, map[string]any{"n": i + 1, "t": j.log[i]})
		}
		if len(j.log) == 0 {
			lines = append(lines, map[string]any{"n": 1, "t": "no content"})
		}
		data(w, lines)
	}
}

type followed struct {
	numbers []int
	lines   []string
}

func (f *followed) line(n int, text string) {
	f.numbers = append(f.numbers, n)
	f.lines = append(f.lines, text)
}

func wait(t *testing.T, j *job, steps func(n int)) (TaskEnd, *followed, *clock, error) {
	t.Helper()
	c, clk := host(t, j)
	clk.wake = steps
	upid, err := ParseUPID(testUPID)
	if err != nil {
		t.Fatal(err)
	}
	f := &followed{}
	end, err := c.Wait(context.Background(), upid, f.line)
	return end, f, clk, err
}

func TestWaitFollowsInOrderAndLosesNothing(t *testing.T) {
	j := &job{}
	var many []string
	for i := range 12_000 {
		many = append(many, fmt.Sprint("line ", i+4))
	}
	end, f, clk, err := wait(t, j, func(n int) {
		switch n {
		case 1:
			j.log = []string{"INFO: one"} // alone, it may be half a line
		case 2:
			j.log = []string{"INFO: one and a half"}
		case 4: // unchanged once: it was passed on
			j.log = append(j.log, "two", "thr")
		case 5:
			j.log = append(j.log[:2], "three")
			j.log = append(j.log, many...) // more than a page
		case 6:
			j.log = append(j.log, "TASK OK") // written with the stop
			j.exit = "OK"
		}
	})
	if err != nil || !end.OK || end.Warnings != 0 || end.ExitStatus != "OK" || end.UPID.String() != testUPID {
		t.Fatal(end.ExitStatus, err)
	}
	want := append([]string{"INFO: one and a half", "two", "three"}, many...)
	want = append(want, "TASK OK")
	if !reflect.DeepEqual(f.lines, want) || !reflect.DeepEqual(end.Log, want) {
		t.Errorf("%d lines followed, %d in the log, want %d: %q…", len(f.lines), len(end.Log), len(want), f.lines[:3])
	}
	for i, n := range f.numbers {
		if n != i+1 {
			t.Fatalf("line %d has the number %d", i+1, n)
		}
	}
	if len(clk.slept) != 6 || clk.slept[0] != 250*time.Millisecond {
		t.Error(clk.slept)
	}
	if last := j.queries[len(j.queries)-1]; !strings.HasPrefix(last, "log?") {
		t.Error("the log was not read after the stop:", last)
	}
}

func TestWaitEnds(t *testing.T) {
	for exit, want := range map[string]struct {
		ok       bool
		warnings int
	}{
		"OK": {true, 0}, "WARNINGS: 3": {true, 3}, "WARNINGS: x": {}, "WARNINGS: -1": {}, "OKAY": {}, "ok": {},
		"job errors": {}, "interrupted by signal": {}, "unexpected status": {}, "VM 101 already running": {},
		"403 Permission check failed (/vms/200, VM.Backup)": {},
	} {
		end, _, _, err := wait(t, &job{exit: exit, log: []string{"a"}}, nil)
		if err != nil || end.OK != want.ok || end.Warnings != want.warnings || end.ExitStatus != exit || len(end.Log) != 1 {
			t.Errorf("%q: %+v %v", exit, end, err)
		}
	}
	// Stopped without any exit status is no success.
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/status") {
			data(w, map[string]any{"status": "stopped"})
			return
		}
		data(w, []any{})
	}))
	upid, _ := ParseUPID(testUPID)
	if end, err := c.Wait(context.Background(), upid, nil); err != nil || end.OK {
		t.Error(end, err)
	}
}

func TestWaitPolls(t *testing.T) {
	j := &job{}
	_, _, clk, err := wait(t, j, func(n int) {
		if n == 12 {
			j.exit = "OK"
		}
	})
	if err != nil || clk.slept[0] != 250*time.Millisecond || clk.slept[11] != 2*time.Second {
		t.Error(clk.slept, err)
	}
	// Without a follower the log is read at the end only, and once.
	c, clk := host(t, j)
	*j = job{log: []string{"TASK OK"}}
	clk.wake = func(n int) {
		if n == 3 {
			j.exit = "OK"
		}
	}
	upid, _ := ParseUPID(testUPID)
	end, err := c.Wait(context.Background(), upid, nil)
	if err != nil || !reflect.DeepEqual(end.Log, []string{"TASK OK"}) || len(j.queries) != 5 {
		t.Error(j.queries, end, err)
	}
}

// bug 4: an empty 595 was an end, or ended the wait.
func TestWaitOutlastsALostConnection(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"595":       func(w http.ResponseWriter) { answer(w, 595, "Connection refused", "") },
		"596":       func(w http.ResponseWriter) { answer(w, 596, "Broken pipe", "") },
		"null":      func(w http.ResponseWriter) { data(w, nil) },
		"dropped":   drop,
		"pmxcfs":    func(w http.ResponseWriter) { answer(w, 500, "ipcc_send_rec[1] failed: Connection refused", "") },
		"no tokens": func(w http.ResponseWriter) { answer(w, 401, "Authentication failed!", "") },
	} {
		j := &job{log: []string{"a", "b"}}
		end, f, _, err := wait(t, j, func(n int) {
			switch n {
			case 1:
				j.fail = fail
			case 60: // nearly two minutes
				j.fail = nil
				j.log = append(j.log, "TASK OK")
				j.exit = "OK"
			}
		})
		if err != nil || !end.OK || !reflect.DeepEqual(f.lines, []string{"a", "b", "TASK OK"}) {
			t.Errorf("%s: %+v %v %v", name, end, f.lines, err)
		}
	}
}

func TestWaitGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		fail func(http.ResponseWriter)
		kind builtin.Kind
		min  int // polls
		says string
	}{
		"lost": {drop, builtin.Unreachable, 140, "may still go on"},
		"595":  {func(w http.ResponseWriter) { answer(w, 595, "Connection refused", "") }, builtin.Unreachable, 140, "may still go on"},
		"no task": {func(w http.ResponseWriter) {
			answer(w, 400, "Parameter verification failed.", `{"errors":{"upid":"no such task"}}`)
		}, builtin.NotFound, 1, "pvenode task status"},
		"not allowed": {func(w http.ResponseWriter) { answer(w, 403, "Permission check failed (/nodes/pve1, Sys.Audit)", "") }, builtin.Forbidden, 1, "Sys.Audit"},
	} {
		j := &job{}
		_, _, clk, err := wait(t, j, func(int) { j.fail = test.fail })
		f := fault(t, err, test.kind)
		if !strings.Contains(f.What, testUPID) || !strings.Contains(f.Hint, test.says) || len(clk.slept) < test.min || len(clk.slept) > test.min+30 {
			t.Errorf("%s: after %d polls: %q %q %q", name, len(clk.slept), f.What, f.Said, f.Hint)
		}
		if test.kind == builtin.Unreachable {
			since := clk.now.Sub(newClock().now)
			if since < LostLimit || since > LostLimit+5*time.Second {
				t.Errorf("%s: gave up after %v", name, since)
			}
		}
	}
	// A token that was wrong from the start does not become right.
	j := &job{fail: func(w http.ResponseWriter) { answer(w, 401, "Authentication failed!", "") }}
	_, _, clk, err := wait(t, j, nil)
	fault(t, err, builtin.Forbidden)
	if len(clk.slept) != 0 {
		t.Error(clk.slept)
	}
}

// The clock of a lab jumps when a task goes on; that is no time without an answer.
func TestWaitOutlastsAJumpOfTheClock(t *testing.T) {
	j := &job{}
	c, clk := host(t, j)
	clk.wake = func(n int) {
		clk.mu.Lock()
		clk.now = clk.now.Add(time.Hour)
		clk.mu.Unlock()
		j.fail = drop
		if n == 10 {
			j.fail, j.exit = nil, "OK"
		}
	}
	upid, err := ParseUPID(testUPID)
	if err != nil {
		t.Fatal(err)
	}
	if end, err := c.Wait(context.Background(), upid, nil); err != nil || !end.OK {
		t.Errorf("%+v, %v", end, err)
	}
}

// Errors that come and go do not add up.
func TestWaitForgivesInterruptions(t *testing.T) {
	j := &job{}
	end, _, clk, err := wait(t, j, func(n int) {
		j.fail = nil
		if n%2 == 0 {
			j.fail = drop
		}
		if n == 321 {
			j.exit = "OK"
		}
	})
	if err != nil || !end.OK || clk.now.Sub(newClock().now) < 2*LostLimit {
		t.Error(end, err)
	}
}

func TestWaitKeepsTheEndWithoutItsLog(t *testing.T) {
	j := &job{exit: "WARNINGS: 1", noLog: true}
	end, _, _, err := wait(t, j, nil)
	f := fault(t, err, builtin.Failed)
	if !end.OK || end.Warnings != 1 || !strings.Contains(f.Hint, "only its log is missing") {
		t.Errorf("%+v %+v", end, f)
	}
}

func TestWaitEmptyLog(t *testing.T) {
	j := &job{}
	end, f, _, err := wait(t, j, func(n int) {
		if n == 3 {
			j.exit = "OK"
		}
	})
	if err != nil || !end.OK || len(end.Log) != 0 || len(f.lines) != 0 {
		t.Errorf("%+v %v %v", end, f, err)
	}
	// "no content" is Proxmox's word for an empty log, and then real lines come.
	j = &job{}
	end, f, _, err = wait(t, j, func(n int) {
		if n == 2 {
			j.log, j.exit = []string{"first", "TASK OK"}, "OK"
		}
	})
	if err != nil || !reflect.DeepEqual(f.lines, []string{"first", "TASK OK"}) {
		t.Errorf("%+v %v %v", end, f, err)
	}
}

// bug 4: the context was not watched while sleeping.
func TestWaitLeaves(t *testing.T) {
	j := &job{}
	c, clk := host(t, j)
	upid, _ := ParseUPID(testUPID)
	ctx, cancel := context.WithCancel(context.Background())
	clk.wake = func(int) { cancel() }
	_, err := c.Wait(ctx, upid, nil)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), testUPID) || builtin.AsFault(err) != nil {
		t.Error(err)
	}
	// The machine's clock: an hour's pause, and a context of a moment.
	c.cfg.Sleep, c.cfg.Poll = sleep, time.Hour
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = c.Wait(ctx, upid, nil)
	f := fault(t, err, builtin.Timeout)
	if !strings.Contains(f.Hint, "goes on") {
		t.Error(f.Hint)
	}
}

func TestTaskLists(t *testing.T) {
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api2/json/nodes/pve1/tasks" && r.URL.Path != "/api2/json/cluster/tasks" {
			t.Error(r.URL.Path)
		}
		// With source=active the state is RUNNING, user has the token, saved is text.
		data(w, []any{
			map[string]any{"upid": testUPID, "status": "RUNNING", "user": "root@pam!tok", "saved": "0"},
			map[string]any{"upid": testUPID},
			map[string]any{"upid": testUPID, "status": "WARNINGS: 1", "endtime": "1795435675", "saved": 1},
			map[string]any{"upid": testUPID, "status": "job errors", "endtime": 1795435675},
		})
	}))
	for _, node := range []string{"pve1", ""} {
		list, err := c.Tasks(context.Background(), node, TaskFilter{})
		if err != nil || !list[0].Running || !list[1].Running || list[1].OK() || !list[2].OK() || list[3].OK() || list[3].End.Unix() != 1795435675 {
			t.Errorf("%+v %v", list, err)
		}
	}
}
