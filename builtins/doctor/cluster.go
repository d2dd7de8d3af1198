package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// node is what one node says of itself: five requests, however many guests it
// has. Each answer has its own error.
type node struct {
	pve.Node
	version     pve.Version
	versionErr  error
	ahead       time.Duration // of its clock before ours
	zone        string
	timeErr     error
	storages    []pve.StorageStatus
	storagesErr error
	keep        string // the retention of its vzdump.conf
	tasks       []task
	tasksErr    error
}

// task is a running one.
type task struct {
	ID    string   `json:"id"`
	Type  string   `json:"type"`
	Start pve.Time `json:"starttime"`
}

// nodes lists the cluster, looks at each node that is up, and counts votes.
func nodes(ctx context.Context, e *examination) bool {
	list, err := e.client.Nodes(ctx)
	if err == nil && len(list) == 0 {
		err = errors.New("the list of nodes is empty")
	}
	if err != nil {
		e.unseen(Error, "the cluster", err)
		return false
	}
	var offline []string
	for _, n := range list {
		e.nodes = append(e.nodes, &node{Node: n})
		if !n.Online() {
			offline = append(offline, n.Node)
		}
	}
	each(e.online(), func(n *node) { n.look(ctx, e) })
	for _, n := range e.nodes {
		if n.silent() {
			f := builtin.AsFault(n.versionErr)
			e.add(Warning, n.Node.Node, "it is online, but does not answer; nothing on it was looked at: "+f.Error(), f.Hint)
		}
	}
	quorate, said := e.quorum(ctx, len(offline))
	const cure = "on a node: pvecm status; start the nodes that are down"
	switch {
	case !quorate:
		e.add(Error, "the cluster", said+": its configuration is read-only, and nothing can be backed up", cure)
	case len(offline) > 0:
		e.add(Warning, "the cluster", fmt.Sprintf("offline: %s; %s; their guests and their own storages were not looked at", some(offline), said), cure)
	default:
		e.add(OK, "the cluster", fmt.Sprintf("%s online, %s", count(len(list), "node"), said), "")
	}
	return true
}

// quorum asks the cluster, or where the token may not (Sys.Audit on /) counts.
// A single node without a cluster has no entry of its own, and no quorum to lose.
func (e *examination) quorum(ctx context.Context, offline int) (bool, string) {
	var status []struct {
		Type    string   `json:"type"`
		Quorate pve.Bool `json:"quorate"`
	}
	if err := e.client.Get(ctx, "/cluster/status", nil, &status); err != nil {
		if 2*(len(e.nodes)-offline) > len(e.nodes) {
			return true, "more than half, which is a quorum unless votes were given otherwise"
		}
		return false, "no more than half of the nodes are online"
	}
	for _, s := range status {
		if s.Type == "cluster" {
			if s.Quorate {
				return true, "with quorum"
			}
			return false, "the cluster has no quorum"
		}
	}
	return true, "no cluster"
}

// online are the nodes that are up and answer.
func (e *examination) online() []*node {
	return slices.DeleteFunc(slices.Clone(e.nodes), func(n *node) bool { return !n.Online() || n.silent() })
}

// silent: the cluster takes it to be up, and it does not answer.
func (n *node) silent() bool {
	f := builtin.AsFault(n.versionErr)
	return f != nil && f.Kind == builtin.Unreachable
}

func (n *node) look(ctx context.Context, e *examination) {
	get := func(path string, query url.Values, out any) error {
		return e.client.Get(ctx, pve.Path("/nodes/%s/", n.Node.Node)+path, query, out)
	}
	if n.versionErr = get("version", nil, &n.version); n.silent() {
		return // each further request would wait as long
	}
	var clock struct {
		Time pve.Int  `json:"time"`
		Zone pve.Text `json:"timezone"`
	}
	before := e.Config.Now()
	n.timeErr = get("time", nil, &clock)
	after := e.Config.Now()
	// Whole seconds, cut off: on average half of one is lost.
	n.ahead = time.Unix(int64(clock.Time), 0).Add(time.Second / 2).Sub(before.Add(after.Sub(before) / 2))
	n.zone = string(clock.Zone)
	n.storages, n.storagesErr = e.client.NodeStorages(ctx, n.Node.Node)
	var defaults struct {
		Prune pve.Text `json:"prune-backups"`
	}
	if get("vzdump/defaults", nil, &defaults) == nil { // without it vzdump itself has the last word
		n.keep = string(defaults.Prune)
	}
	n.tasksErr = get("tasks", url.Values{"source": {"active"}}, &n.tasks)
}

// versions: those that nixmox was made for are 8 and 9.
func versions(_ context.Context, e *examination) bool {
	have := map[string][]string{}
	for _, n := range e.online() {
		if n.versionErr != nil {
			e.unseen(Warning, n.Node.Node, n.versionErr)
			continue
		}
		have[n.version.Version] = append(have[n.version.Version], n.Node.Node)
		switch major := majorOf(n.version.Version); {
		case major < 8:
			e.add(Warning, n.Node.Node, "Proxmox VE "+n.version.Version+" is older than what nixmox was made for: 8 and 9", "upgrade it: https://pve.proxmox.com/wiki/Category:Upgrade")
		case major > 9:
			e.add(Warning, n.Node.Node, "Proxmox VE "+n.version.Version+" is newer than what nixmox was made for: 8 and 9", "try in a plan first: nixmox plan PLAYBOOK; look for a newer nixmox")
		}
	}
	var parts []string
	for version, names := range have {
		parts = append(parts, version+" on "+some(names))
	}
	slices.Sort(parts)
	if len(parts) > 1 {
		e.add(Note, "the cluster", "mixed versions of Proxmox VE: "+strings.Join(parts, "; "), "bring all nodes to one: apt update && apt dist-upgrade on each in turn")
	} else if len(parts) == 1 {
		e.add(OK, "the cluster", "Proxmox VE "+parts[0], "")
	}
	return true
}

// majorOf is 9 of 9.2.11, and 0 of what is no version.
func majorOf(version string) (major int) {
	_, _ = fmt.Sscanf(version, "%d", &major) // 0 is the answer where there is no number
	return major
}

// The clock of a node names its archives and dates them; retention and
// tickets go by it.
const (
	skewNoticed = 5 * time.Second
	skewHarmful = time.Minute
)

func clocks(_ context.Context, e *examination) bool {
	const cure = "on both machines: timedatectl (NTP service: active), chronyc tracking"
	zones := map[string][]string{}
	var good, hidden []string
	for _, n := range e.online() {
		if f := builtin.AsFault(n.timeErr); f != nil && f.Kind == builtin.Forbidden {
			hidden = append(hidden, n.Node.Node)
			continue
		}
		if n.timeErr != nil {
			e.unseen(Warning, n.Node.Node, n.timeErr)
			continue
		}
		zones[n.zone] = append(zones[n.zone], n.Node.Node)
		off, way := n.ahead.Round(time.Second), "ahead of"
		if off < 0 {
			off, way = -off, "behind"
		}
		found := fmt.Sprintf("its clock is %s %s this machine's", off, way)
		switch {
		case off > skewHarmful:
			e.add(Error, n.Node.Node, found+": retention would count wrong days, and tickets fail", cure)
		case off > skewNoticed:
			e.add(Warning, n.Node.Node, found, cure)
		default:
			good = append(good, n.Node.Node)
		}
	}
	if len(good) > 0 {
		e.add(OK, some(good), fmt.Sprintf("within %s of this machine's clock", skewNoticed), "")
	}
	if hidden != nil {
		e.add(Warning, some(hidden), "not checked: the token lacks Sys.Audit on the nodes, without which it sees no clocks, and no tasks of others", e.grant("Sys.Audit", "/nodes"))
	}
	if len(zones) > 1 {
		var parts []string
		for zone, names := range zones {
			parts = append(parts, orElse(zone, "unknown")+" on "+some(names))
		}
		slices.Sort(parts)
		e.add(Note, "time zones", strings.Join(parts, "; ")+"; archives are named in the local time of their node", "timedatectl set-timezone ZONE on the nodes")
	}
	return true
}
