package lab

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// task is a worker of Proxmox's: something that takes time, with a log and an
// end. It is data only, so that it outlives the process that runs the lab: what
// it does next is decided by its type and by what it has done (see runTask).
type task struct {
	Node   string
	PID    int
	PStart int64
	Start  time.Time
	Type   string
	ID     string
	User   principal

	Due    time.Time // when it goes on; zero: never, or it waits for another
	End    time.Time // zero while it runs
	Status string    // OK, WARNINGS: n, or what went wrong
	Log    []string

	Aborted bool        `json:",omitempty"`
	Job     *vzdumpJob  `json:",omitempty"` // of vzdump
	Volume  string      `json:",omitempty"` // of imgdel
	Prune   *pruneJob   `json:",omitempty"` // of prunebackups
	Force   bool        `json:",omitempty"` // of shutdown: stop it if it does not
	Guest   *guestJob   `json:",omitempty"` // of what changes a guest: snapshots, clones, …
	Restore *restoreJob `json:",omitempty"` // of qmrestore and vzrestore
}

func (t *task) running() bool { return t.End.IsZero() }

func (t *task) upid() string {
	return fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:%s:", t.Node, t.PID, t.PStart, t.Start.Unix(), t.Type, t.ID, t.User)
}

func (t *task) say(format string, a ...any) { t.Log = append(t.Log, fmt.Sprintf(format, a...)) }

// end ends the task. Its last line is where Proxmox itself reads the status
// from; a log that ends otherwise makes "unexpected status".
func (t *task) end(status string, at time.Time) {
	t.Status, t.End, t.Due = status, at, time.Time{}
	switch {
	case status == "OK":
		t.say("TASK OK")
	case strings.HasPrefix(status, "WARNINGS: "):
		t.say("TASK %s", status)
	case status != unexpectedStatus:
		t.say("TASK ERROR: %s", status)
	}
}

const unexpectedStatus = "unexpected status"

// statusType sorts an end as the filter statusfilter of the task list does.
func (t *task) statusType() string {
	switch {
	case t.Status == "OK":
		return "ok"
	case strings.HasPrefix(t.Status, "WARNINGS: "):
		return "warning"
	case t.Status == unexpectedStatus || t.Status == "unknown":
		return "unknown"
	}
	return "error"
}

// newTask registers a task; it does nothing yet.
func (s *state) newTask(node, typ, id string, who principal, at time.Time) *task {
	s.LastPID += 7
	t := &task{
		Node: node, PID: s.LastPID, PStart: int64(at.Sub(s.Boot) / (10 * time.Millisecond)),
		Start: at.UTC().Truncate(time.Second), Type: typ, ID: id, User: who,
	}
	if t.PStart < 0 {
		t.PStart = 0
	}
	s.Tasks = append(s.Tasks, t)
	return t
}

// startTask registers a task that goes on after d.
func (l *Lab) startTask(node, typ, id string, who principal, d time.Duration) *task {
	t := l.st.newTask(node, typ, id, who, l.now())
	t.Due = l.now().Add(d)
	return t
}

// runTask lets the next event of a task happen. Real time may be past the
// moment it was due; the task goes by its own.
func (l *Lab) runTask(t *task) {
	at := t.Due
	var was *dump
	if t.Job != nil {
		was = t.Job.Dump
	}
	switch {
	case t.Type == "vzdump":
		l.runVzdump(t, at)
	case t.Guest != nil:
		l.runGuestJob(t, at)
	case t.Restore != nil:
		l.runRestore(t, at)
	case t.Aborted:
		t.end("interrupted by signal", at)
	case t.Type == "imgdel":
		t.end(l.runDelete(t), at)
	case t.Type == "prunebackups":
		t.end(l.runPrune(t), at)
	case t.Type == "aptupdate":
		t.end(l.runAptUpdate(t, at), at)
	case t.Type == "stopall":
		l.runStopAll(t, at)
	case t.Type == "startall":
		t.end(l.runStartAll(t, at), at)
	case l.spoiled(t, at):
	default:
		t.end(l.runPower(t, at), at)
	}
	if !t.running() || t.Job != nil && t.Job.Dump != was {
		// After a crash, what happened since the last save happens again. A
		// backup made again must get the name it had, so its begin is saved. A
		// save that fails is made good by the next.
		_ = l.save()
	}
}

var upidText = pattern.Of(`^UPID:([a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$`)

// findTask finds the task that a request names.
func (c *call) findTask() (*task, error) {
	upid := c.v("upid")
	m := upidText().FindStringSubmatch(upid)
	if m == nil {
		return nil, badParameter("upid", "unable to parse worker upid")
	}
	for _, t := range c.st.Tasks {
		if t.upid() == upid && t.Node == c.v("node") {
			return t, nil
		}
	}
	return nil, badParameter("upid", "no such task")
}

// owns says whether a task is who's own: a token sees the tasks it started, a
// user those of all his tokens.
func (t *task) owns(who principal) bool {
	return who == t.User || string(who) == t.User.user()
}

func (l *Lab) needTask(who principal, t *task, priv string) error {
	if t.owns(who) {
		return nil
	}
	return l.need(who, "/nodes/"+t.Node, priv)
}

func getTaskStatus(c *call) (any, error) {
	t, err := c.findTask()
	if err != nil {
		return nil, err
	}
	if err := c.needTask(c.who, t, "Sys.Audit"); err != nil {
		return nil, err
	}
	o := t.fields()
	o["status"] = "running"
	if !t.running() {
		o["status"], o["exitstatus"] = "stopped", t.Status
	}
	return o, nil
}

// fields are what every answer says of a task.
func (t *task) fields() obj {
	o := obj{
		"upid": t.upid(), "node": t.Node, "pid": t.PID, "pstart": t.PStart, "starttime": t.Start.Unix(),
		"type": t.Type, "id": t.ID, "user": t.User.user(),
	}
	if token := t.User.token(); token != "" {
		o["tokenid"] = token
	}
	return o
}

func getTaskLog(c *call) (any, error) {
	t, err := c.findTask()
	if err != nil {
		return nil, err
	}
	if err := c.needTask(c.who, t, "Sys.Audit"); err != nil {
		return nil, err
	}
	// An empty log is one line, PVE::Tools::dump_logfile.
	lines := t.Log
	if len(lines) == 0 {
		lines = []string{"no content"}
	}
	start, limit := c.params.int("start", 0), c.params.int("limit", 50)
	out := []obj{}
	for i, line := range lines {
		if n := int64(i); n >= start && (limit == 0 || n < start+limit) {
			out = append(out, obj{"n": i + 1, "t": line})
		}
	}
	return listed{out, len(lines)}, nil
}

func deleteTask(c *call) (any, error) {
	t, err := c.findTask()
	if err != nil {
		return nil, err
	}
	if err := c.needTask(c.who, t, "Sys.Modify"); err != nil {
		return nil, err
	}
	if t.running() && !t.Aborted {
		// The worker gets a signal and takes a moment to end.
		t.Aborted = true
		t.Due = c.now().Add(time.Second)
	}
	return nil, nil
}

func getTasks(c *call) (any, error) {
	p := c.params
	all := c.may(c.who, "/nodes/"+c.v("node"), "Sys.Audit")
	source := p.str("source")
	if source == "" {
		source = "archive"
	}
	status := splitList(p.str("statusfilter"))
	var found []obj
	for i := len(c.st.Tasks) - 1; i >= 0; i-- {
		t := c.st.Tasks[i]
		kind := t.statusType()
		switch {
		case t.Node != c.v("node"),
			!all && !t.owns(c.who),
			source == "archive" && t.running(),
			source == "active" && !t.running(),
			p.has("vmid") && p.str("vmid") != t.ID,
			p.has("typefilter") && p.str("typefilter") != t.Type,
			p.has("userfilter") && !strings.Contains(string(t.User), p.str("userfilter")),
			p.has("since") && t.Start.Unix() < p.int("since", 0),
			p.has("until") && t.Start.Unix() > p.int("until", 0),
			p.bool("errors", false) && (t.running() || kind == "ok" || kind == "warning"),
			len(status) > 0 && (t.running() || !contains(status, kind)):
			continue
		}
		o := t.fields()
		if t.running() {
			// As recorded, the list of active ones has the token in the user.
			o["user"], o["status"], o["saved"] = string(t.User), "RUNNING", "0"
			delete(o, "tokenid")
		} else {
			o["status"], o["endtime"] = t.Status, t.End.Unix()
		}
		found = append(found, o)
	}
	start, limit := p.int("start", 0), p.int("limit", 50)
	out := []obj{}
	for i, o := range found {
		if n := int64(i); n >= start && n < start+limit {
			out = append(out, o)
		}
	}
	return listed{out, len(found)}, nil
}

func getClusterTasks(c *call) (any, error) {
	out := []obj{}
	for i := len(c.st.Tasks) - 1; i >= 0 && len(out) < 25*len(c.st.Nodes); i-- {
		t := c.st.Tasks[i]
		if !t.owns(c.who) && !c.may(c.who, "/nodes/"+t.Node, "Sys.Audit") || t.Start.After(c.now()) {
			continue
		}
		o := t.fields()
		delete(o, "pid")
		delete(o, "pstart")
		o["saved"] = strconv.Itoa(bit(!t.running()))
		if t.running() {
			o["user"] = string(t.User)
			delete(o, "tokenid")
		} else {
			o["status"], o["endtime"] = t.Status, t.End.Unix()
		}
		out = append(out, o)
	}
	return out, nil
}
