package proxmox

import (
	"context"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// UPID names a task.
type UPID string

// Describe names the type and its grammar.
func (UPID) Describe() (string, string) { return "task id", "UPID:NODE:PID:PSTART:TIME:TYPE:ID:USER:" }

// UnmarshalText checks the grammar.
func (u *UPID) UnmarshalText(text []byte) error {
	if _, err := pve.ParseUPID(string(text)); err != nil {
		return err
	}
	*u = UPID(text)
	return nil
}

// ScopeText is what a need's glob is matched with: the task's node.
func (u UPID) ScopeText() string {
	parsed, _ := pve.ParseUPID(string(u)) // checked when it was bound
	return parsed.Node
}

// TasksArgs are the arguments of tasks().
type TasksArgs struct {
	Node   builtin.Node `name:"node" default:"" scope:"node" doc:"one node only"`
	Guest  builtin.VMID `name:"guest" default:"" doc:"tasks of one guest only"`
	Kind   string       `name:"kind" default:"" doc:"one kind only: vzdump, qmstart, qmsnapshot, vzstart, imgdel, …"`
	Failed bool         `name:"failed" default:"false" doc:"only those that ended badly"`
	Limit  int          `name:"limit" default:"50" doc:"at most so many"`
}

// Task is one task in what tasks() returns.
type Task struct {
	UPID    UPID         `name:"upid" doc:"the task's id"`
	Node    builtin.Node `name:"node" doc:"where it runs or ran"`
	Kind    string       `name:"kind" doc:"vzdump, qmstart, …"`
	Object  string       `name:"object" doc:"what it is about: a guest's id, or 101@local for a storage's task; empty for several"`
	User    string       `name:"user" doc:"who started it, USER@REALM or USER@REALM!TOKEN"`
	Started time.Time    `name:"started" doc:"UTC"`
	Running bool         `name:"running" doc:"it has not ended yet"`
	OK      bool         `name:"ok" doc:"it ended well, perhaps with warnings"`
	Status  string       `name:"status" doc:"how it ended, in Proxmox's words: OK, WARNINGS: 1, job errors, …; empty while it runs"`
}

func taskRow(t pve.TaskInfo) Task {
	return Task{
		UPID: UPID(t.UPID.String()), Node: builtin.Node(t.UPID.Node), Kind: t.UPID.Type, Object: t.UPID.ID, User: t.UPID.User,
		Started: t.UPID.Start, Running: t.Running, OK: t.OK(), Status: t.ExitStatus,
	}
}

// maxTasks is more than a node's archive of tasks holds.
const maxTasks = 100_000

func (c client) tasks(ctx context.Context, args TasksArgs) ([]Task, error) {
	if args.Limit < 1 || args.Limit > maxTasks {
		return nil, builtin.Faultf(builtin.Invalid, "limit = %d", args.Limit).Saying("want 1 to 100000")
	}
	online, others, err := c.online(ctx)
	if err != nil {
		return nil, err
	}
	nodes := online
	if args.Node != "" {
		if err := known(string(args.Node), online, others); err != nil {
			return nil, err
		}
		nodes = []string{string(args.Node)}
	}
	filter := pve.TaskFilter{VMID: args.Guest, Type: args.Kind, Failed: args.Failed, Source: "all", Limit: args.Limit}
	out := []Task{}
	seen := map[UPID]bool{} // a task that ends just now is in both of a node's lists
	for _, node := range nodes {
		list, err := c.pve.Tasks(ctx, node, filter)
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			row := taskRow(t)
			if args.Failed && (row.Running || row.OK) || seen[row.UPID] {
				continue
			}
			seen[row.UPID] = true
			out = append(out, row)
		}
	}
	slices.SortStableFunc(out, func(a, b Task) int {
		if n := b.Started.Compare(a.Started); n != 0 {
			return n
		}
		return strings.Compare(string(b.UPID), string(a.UPID))
	})
	return out[:min(len(out), args.Limit)], nil
}

// TaskArgs are the arguments of task().
type TaskArgs struct {
	UPID UPID `name:"upid" scope:"node" doc:"the task's id; the need's glob is for its node"`
}

// TaskDetail is what task() returns.
type TaskDetail struct {
	Task
	Warnings int      `name:"warnings" doc:"how many it ended with"`
	Log      []string `name:"log" doc:"its lines so far"`
}

func (c client) task(ctx context.Context, args TaskArgs) (TaskDetail, error) {
	upid, err := pve.ParseUPID(string(args.UPID))
	if err != nil {
		return TaskDetail{}, builtin.Faultf(builtin.Invalid, "looking at a task").Because(err)
	}
	info, err := c.pve.Task(ctx, upid)
	if err != nil {
		return TaskDetail{}, err
	}
	log, err := c.pve.TaskLog(ctx, upid)
	if err != nil {
		return TaskDetail{}, err
	}
	out := TaskDetail{Task: taskRow(info), Log: log}
	_, out.Warnings = pve.Succeeded(info.ExitStatus)
	return out, nil
}
