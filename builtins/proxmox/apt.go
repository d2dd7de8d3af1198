package proxmox

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Updates is what updates() returns.
type Updates struct {
	Packages []Update `name:"packages" doc:"what is newer in the repositories than on the node, by name"`
	Reboot   bool     `name:"reboot" doc:"a kernel is among them: it runs after a reboot only"`
	Warnings []string `name:"warnings" doc:"why an installation would do harm, or the list may be wrong"`
}

// Update is one package in what updates() returns.
type Update struct {
	Name    string `name:"name" doc:"the package"`
	Old     string `name:"old" doc:"the version that is installed; empty for a package that would come new"`
	New     string `name:"new" doc:"the version that would be"`
	Origin  string `name:"origin" doc:"who makes it: Debian, Proxmox, …"`
	Section string `name:"section" doc:"of the distribution: admin, kernel, libs, …"`
	Title   string `name:"title" doc:"what it is"`
}

type aptPackage struct {
	Package      string   `json:"Package"`
	OldVersion   pve.Text `json:"OldVersion"`
	Version      pve.Text `json:"Version"`
	Origin       pve.Text `json:"Origin"`
	Section      pve.Text `json:"Section"`
	Title        pve.Text `json:"Title"`
	CurrentState string   `json:"CurrentState"`
}

// essential are the packages without which a node is no Proxmox VE node any
// more. Plans of apt that would remove one come of repositories that do not
// fit one another.
var essential = []string{"proxmox-ve", "pve-manager"}

func (c client) updates(ctx context.Context, args NodeArgs) (Updates, error) {
	var pending, installed []aptPackage
	if err := c.onNode(ctx, args.Node, "apt/update", &pending); err != nil {
		return Updates{}, err
	}
	if err := c.onNode(ctx, args.Node, "apt/versions", &installed); err != nil {
		return Updates{}, err
	}
	repos, err := c.repositories(ctx, args)
	if err != nil {
		return Updates{}, err
	}
	out := Updates{Packages: []Update{}, Warnings: append([]string{}, repos.Warnings...)}
	for _, p := range pending {
		out.Packages = append(out.Packages, Update{Name: p.Package, Old: string(p.OldVersion), New: string(p.Version), Origin: string(p.Origin), Section: string(p.Section), Title: string(p.Title)})
		out.Reboot = out.Reboot || isKernel(p.Package)
		if old, now := major(string(p.OldVersion)), major(string(p.Version)); slices.Contains(essential, p.Package) && old != "" && old != now {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s would go from %s to %s: a major upgrade, which has a procedure of its own and must never come by itself", p.Package, p.OldVersion, p.Version))
		}
	}
	for _, name := range essential {
		if i := slices.IndexFunc(installed, func(p aptPackage) bool { return p.Package == name }); i >= 0 && installed[i].CurrentState != "Installed" {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s is %s: the node is losing, or has lost, Proxmox VE; install nothing before that is mended", name, installed[i].CurrentState))
		}
	}
	slices.SortFunc(out.Packages, func(a, b Update) int { return compare(a.Name, b.Name) })
	if plan := builtin.CallFrom(ctx).Run.Planned; plan.Count(plannedRefresh(args.Node)) > 0 {
		plan.Assume("the updates of " + string(args.Node) + " are those known now; the run refreshes the list first and may find more")
	}
	return out, nil
}

func plannedRefresh(node builtin.Node) string { return "proxmox refresh of " + string(node) }

// isKernel: proxmox-kernel-6.17, pve-kernel-5.15 and the like, not the tools.
func isKernel(name string) bool {
	for _, prefix := range []string{"proxmox-kernel-", "pve-kernel-", "linux-image-"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "helper" {
			return true
		}
	}
	return false
}

// major is the first number of a Debian version, its epoch left out.
func major(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return version
	}
	return version[:end]
}

// Repositories is what repositories() returns.
type Repositories struct {
	Repositories []Repository         `name:"repositories" doc:"each entry of the node's sources, in the order of its files"`
	Standard     []StandardRepository `name:"standard" doc:"those that Proxmox VE knows by a handle"`
	Warnings     []string             `name:"warnings" doc:"what is wrong with them"`
}

// Repository is one entry of a node's sources.
type Repository struct {
	File       string   `name:"file" doc:"where it stands"`
	Index      int      `name:"index" doc:"its place in the file, from 0"`
	Enabled    bool     `name:"enabled" doc:"it is used"`
	Types      []string `name:"types" doc:"deb, deb-src"`
	URIs       []string `name:"uris" doc:"where it is"`
	Suites     []string `name:"suites" doc:"such as trixie"`
	Components []string `name:"components" doc:"such as pve-no-subscription"`
	Comment    string   `name:"comment" doc:"what was written beside it"`
}

// StandardRepository is a repository of Proxmox's own.
type StandardRepository struct {
	Handle string `name:"handle" doc:"enterprise, no-subscription, test, ceph-…"`
	Name   string `name:"name" doc:"as people call it"`
	Status string `name:"status" doc:"enabled, disabled, or absent"`
}

func (c client) repositories(ctx context.Context, args NodeArgs) (Repositories, error) {
	var raw struct {
		Files []struct {
			Path         string `json:"path"`
			Repositories []struct {
				Enabled    pve.Bool
				Types      []string
				URIs       []string
				Suites     []string
				Components []string
				Comment    pve.Text
			} `json:"repositories"`
		} `json:"files"`
		Errors []struct {
			Path  string `json:"path"`
			Error string `json:"error"`
		} `json:"errors"`
		Infos []struct {
			Path    string   `json:"path"`
			Index   pve.Int  `json:"index"`
			Kind    string   `json:"kind"`
			Message pve.Text `json:"message"`
		} `json:"infos"`
		Standard []struct {
			Handle string    `json:"handle"`
			Name   string    `json:"name"`
			Status *pve.Bool `json:"status"`
		} `json:"standard-repos"`
	}
	if err := c.onNode(ctx, args.Node, "apt/repositories", &raw); err != nil {
		return Repositories{}, err
	}
	out := Repositories{Repositories: []Repository{}, Standard: []StandardRepository{}, Warnings: []string{}}
	warn := func(format string, a ...any) { out.Warnings = append(out.Warnings, fmt.Sprintf(format, a...)) }
	enterprise, ours := "", false
	for _, f := range raw.Files {
		for i, r := range f.Repositories {
			out.Repositories = append(out.Repositories, Repository{
				File: f.Path, Index: i, Enabled: bool(r.Enabled), Types: append([]string{}, r.Types...), URIs: append([]string{}, r.URIs...),
				Suites: append([]string{}, r.Suites...), Components: append([]string{}, r.Components...), Comment: strings.TrimSpace(string(r.Comment)),
			})
			for _, component := range r.Components {
				ours = ours || bool(r.Enabled) && strings.HasPrefix(component, "pve-")
			}
			for _, uri := range r.URIs {
				if bool(r.Enabled) && strings.HasPrefix(uri, "https://enterprise.proxmox.com/") {
					enterprise = f.Path
				}
			}
		}
	}
	for _, s := range raw.Standard {
		status := "absent"
		if s.Status != nil {
			status = map[bool]string{true: "enabled", false: "disabled"}[bool(*s.Status)]
		}
		out.Standard = append(out.Standard, StandardRepository{Handle: s.Handle, Name: s.Name, Status: status})
	}
	for _, e := range raw.Errors {
		warn("%s cannot be read: %s", e.Path, e.Error)
	}
	for _, i := range raw.Infos {
		if i.Kind == "warning" {
			warn("%s, entry %d: %s", i.Path, int64(i.Index), i.Message)
		}
	}
	if enterprise != "" {
		s, err := c.subscription(ctx, args)
		switch {
		case err != nil:
			warn("%s enables the enterprise repository, and whether there is a subscription could not be read: %v", enterprise, err)
		case !s.Active:
			warn("%s enables the enterprise repository, and the node has no valid subscription (%s): apt-get update fails with 401", enterprise, s.Status)
		}
	}
	if !ours {
		warn("no repository of Proxmox VE is enabled: updates come from Debian alone, which may remove proxmox-ve")
	}
	return out, nil
}

// RefreshResult is what refresh_updates() returns.
type RefreshResult struct {
	Task     builtin.Later[string] `name:"task" doc:"the UPID of Proxmox's task"`
	Status   builtin.Later[string] `name:"status" doc:"how it ended: OK, or WARNINGS: n"`
	Packages builtin.Later[int]    `name:"packages" doc:"how many packages can be updated now"`
}

func (a NodeArgs) keys() []string { return []string{"node:" + string(a.Node)} }

func (c client) previewRefresh(ctx context.Context, args NodeArgs) (RefreshResult, error) {
	var pending []aptPackage // also finds what the token may not, and a node that is not there
	if err := c.onNode(ctx, args.Node, "apt/update", &pending); err != nil {
		return RefreshResult{}, err
	}
	call := builtin.CallFrom(ctx)
	if call.Run.Planned != nil {
		call.Run.Planned.Add(plannedRefresh(args.Node), args.Node)
	}
	return RefreshResult{Task: builtin.PlannedBy[string](call), Status: builtin.PlannedBy[string](call), Packages: builtin.PlannedBy[int](call)}, nil
}

func (c client) refreshUpdates(ctx context.Context, args NodeArgs) (RefreshResult, error) {
	if _, err := c.previewRefresh(ctx, args); err != nil {
		return RefreshResult{}, err
	}
	var text string
	if err := c.pve.Post(context.WithoutCancel(ctx), pve.Path("/nodes/%s/apt/update", string(args.Node)), nil, &text); err != nil {
		return RefreshResult{}, err
	}
	upid, err := c.hold(ctx, text)
	if err != nil {
		return RefreshResult{}, err
	}
	return c.followRefresh(ctx, args, upid)
}

func (c client) followRefresh(ctx context.Context, args NodeArgs, upid pve.UPID) (RefreshResult, error) {
	end, err := c.follow(ctx, upid, 0)
	if err != nil {
		return RefreshResult{}, err
	}
	out := RefreshResult{Task: builtin.Now(upid.String()), Status: builtin.Now(end.ExitStatus)}
	if !end.OK {
		f := failedTask(end, "refreshing the package lists of "+string(args.Node))
		if slices.ContainsFunc(end.Log, func(l string) bool {
			return strings.Contains(l, "enterprise.proxmox.com") && strings.Contains(l, "401")
		}) {
			f.Hint = fmt.Sprintf("the enterprise repository wants a subscription, which %s has not: switch that repository off and pve-no-subscription on, or enter a key; "+
				"proxmox.repositories(%q) shows them", args.Node, args.Node)
		}
		f.Partial = out
		return RefreshResult{}, f
	}
	var pending []aptPackage
	if err := c.onNode(ctx, args.Node, "apt/update", &pending); err != nil {
		return RefreshResult{}, err
	}
	out.Packages = builtin.Now(len(pending))
	return out, nil
}

// settleRefresh: where no task is known, refreshing once more does no harm.
func (c client) settleRefresh(ctx context.Context, args NodeArgs, handle string) (builtin.Settlement[RefreshResult], error) {
	return settleTask(ctx, c, handle, func(upid pve.UPID) (RefreshResult, error) { return c.followRefresh(ctx, args, upid) },
		builtin.Settlement[RefreshResult]{State: builtin.NotDone})
}
