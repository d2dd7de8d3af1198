package pve

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// TaskInfo is a task as lists and its status show it.
type TaskInfo struct {
	UPID       UPID
	Running    bool
	ExitStatus string // "" while it runs
	End        time.Time
}

// OK reports that the task has ended well, perhaps with warnings.
func (t TaskInfo) OK() bool {
	ok, _ := Succeeded(t.ExitStatus)
	return !t.Running && ok
}

// Succeeded reads an exit status: OK and WARNINGS: n are successes, anything
// else ("job errors", "unexpected status", free text, nothing) is none.
func Succeeded(exitStatus string) (ok bool, warnings int) {
	if exitStatus == "OK" {
		return true, 0
	}
	if count, found := strings.CutPrefix(exitStatus, "WARNINGS: "); found {
		if n, err := strconv.Atoi(count); err == nil && n >= 0 {
			return true, n
		}
	}
	return false, 0
}

// TaskFilter says which tasks of a node to list; zero fields do not filter.
type TaskFilter struct {
	VMID         builtin.VMID
	Type         string // vzdump, qmsnapshot, …
	User         string // USER@REALM
	Failed       bool   // neither OK nor WARNINGS
	Since, Until time.Time
	Source       string // active, archive (Proxmox's default) or all
	Start, Limit int    // Proxmox's default limit is 50
}

func (f TaskFilter) query() url.Values {
	q := url.Values{}
	if f.VMID != 0 {
		q.Set("vmid", f.VMID.String())
	}
	if f.Type != "" {
		q.Set("typefilter", f.Type)
	}
	if f.User != "" {
		q.Set("userfilter", f.User)
	}
	if f.Failed {
		q.Set("errors", "1")
	}
	if !f.Since.IsZero() {
		q.Set("since", strconv.FormatInt(f.Since.Unix(), 10))
	}
	if !f.Until.IsZero() {
		q.Set("until", strconv.FormatInt(f.Until.Unix(), 10))
	}
	if f.Source != "" {
		q.Set("source", f.Source)
	}
	if f.Start > 0 {
		q.Set("start", strconv.Itoa(f.Start))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// rawTask is a task in a list or in its status. In lists the exit status is in
// status, and RUNNING or nothing while it runs; in a status it is apart.
type rawTask struct {
	UPID       UPID   `json:"upid"`
	Status     Text   `json:"status"`
	ExitStatus string `json:"exitstatus"`
	End        Time   `json:"endtime"`
}

// Tasks lists tasks of a node, newest first. A token without Sys.Audit on the
// node sees its own only. With node "" it lists the cluster's recent ones,
// which Proxmox does not filter.
func (c *Client) Tasks(ctx context.Context, node string, filter TaskFilter) ([]TaskInfo, error) {
	path, query := "/cluster/tasks", url.Values(nil)
	if node != "" {
		path, query = Path("/nodes/%s/tasks", node), filter.query()
	}
	var raw []rawTask
	if err := c.Get(ctx, path, query, &raw); err != nil {
		return nil, err
	}
	out := make([]TaskInfo, len(raw))
	for i, t := range raw {
		out[i] = TaskInfo{UPID: t.UPID, ExitStatus: string(t.Status), End: t.End.Time}
		if t.Status == "RUNNING" || t.Status == "" && t.End.IsZero() {
			out[i].Running, out[i].ExitStatus = true, ""
		}
	}
	return out, nil
}

// Task looks at one task, once.
func (c *Client) Task(ctx context.Context, upid UPID) (TaskInfo, error) {
	var raw rawTask
	if err := c.Get(ctx, taskPath(upid, "status"), nil, &raw); err != nil {
		return TaskInfo{}, err
	}
	return c.taskStatus(upid, raw)
}

func (c *Client) taskStatus(upid UPID, raw rawTask) (TaskInfo, error) {
	switch raw.Status {
	case "running":
		return TaskInfo{UPID: upid, Running: true}, nil
	case "stopped":
		return TaskInfo{UPID: upid, ExitStatus: raw.ExitStatus, End: raw.End.Time}, nil
	}
	return TaskInfo{}, builtin.Faultf(builtin.Unreachable, "the status of the task %s", upid).
		Saying("neither running nor stopped but \"" + string(raw.Status) + "\"")
}

func taskPath(upid UPID, what string) string {
	return Path("/nodes/%s/tasks/%s/%s", upid.Node, upid.String(), what)
}
