package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// who is as whom nixmox asks: USER@REALM!TOKEN.
func (e *examination) who() string { return cmp.Or(e.Config.TokenID, e.Config.User) }

// token makes the first request that needs one.
func token(ctx context.Context, e *examination) bool {
	var version pve.Version
	err := e.client.Get(ctx, "/version", nil, &version)
	api, answered := errors.AsType[*pve.APIError](err)
	id := e.who()
	switch {
	case answered && api.Status == http.StatusUnauthorized:
		// The same words for an unknown, a wrong and an expired one (recorded).
		user, name, _ := strings.Cut(id, "!")
		e.add(Error, id, fmt.Sprintf("Proxmox says: %s: it is unknown, its secret is wrong, or it or its user has expired or is disabled", api),
			fmt.Sprintf("on the host: pveum user token list %s; a new secret: pveum user token delete %s %s && pveum user token add %s %s --privsep 0", user, user, name, user, name))
		return false
	case err != nil:
		e.unseen(Error, id, err)
		return false
	}
	e.add(OK, id, "Proxmox takes it", "")
	return true
}

// privileges compares what the token may do with what is needed.
func privileges(ctx context.Context, e *examination) bool {
	id := e.who()
	have, err := e.client.Permissions(ctx)
	if err != nil {
		e.unseen(Error, id, err)
		return false
	}
	user, name, _ := strings.Cut(id, "!")
	if len(have) == 0 {
		e.add(Error, id, "it may do nothing at all. A token with privilege separation, the default, has an ACL of its own beside its user's, and that is empty at first; without, it is its user's that is empty",
			fmt.Sprintf("pveum user token modify %s %s --privsep 0, and what nixmox doctor --privileges prints", user, name))
		return false
	}
	e.seeGuests(ctx)
	lacking := 0
	for _, n := range merged(e.Needs, e.major()) {
		lacking += e.compare(have, n)
	}
	if lacking == 0 {
		e.add(OK, id, "it has all that the playbooks need", "")
	}
	e.tooMuch(have)
	return true
}

// seeGuests lists the guests, once; a token sees those it has VM.Audit on.
func (e *examination) seeGuests(ctx context.Context) {
	if e.guests == nil {
		if list, err := e.client.Guests(ctx); err == nil { // the check guests says what keeps it from seeing
			e.guests = list
		}
	}
}

func (e *examination) major() int {
	for _, n := range e.online() {
		if m := majorOf(n.version.Version); m > 0 {
			return m
		}
	}
	return 9
}

// compare adds a finding, and returns 1, if the need is not met everywhere.
func (e *examination) compare(have pve.Permissions, n Need) int {
	paths := e.expand(n.Path)
	missing := slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return grants(have, path, n.Name) })
	if len(missing) == 0 {
		return 0
	}
	level, on, grantOn := Warning, some(missing), missing[0]
	if len(missing) == len(paths) {
		level, grantOn = Error, aclPath(n.Path)
		on = grantOn
	}
	cure := e.grant(n.Name, grantOn)
	if len(missing) > 1 && level == Warning {
		cure += ", and so on"
	}
	e.add(level, e.who(), fmt.Sprintf("it lacks %s on %s, needed by %s", strings.ReplaceAll(n.Name, "|", " or "), on, n.For), cure)
	return 1
}

func grants(have pve.Permissions, path, names string) bool {
	return slices.ContainsFunc(strings.Split(names, "|"), func(name string) bool { return have.Has(path, name) })
}

// expand puts in all guests and nodes that there are. Where nothing is known
// of a placeholder, it must be allowed on the whole of it.
func (e *examination) expand(path string) []string {
	var out []string
	switch {
	case strings.Contains(path, "{guest}"):
		for _, g := range e.guests {
			out = append(out, strings.ReplaceAll(path, "{guest}", g.VMID.String()))
		}
	case strings.Contains(path, "{node}"):
		for _, n := range e.nodes {
			out = append(out, strings.ReplaceAll(path, "{node}", n.Node.Node))
		}
	}
	for i := range out {
		out[i] = aclPath(out[i])
	}
	if out == nil {
		out = []string{aclPath(path)}
	}
	return out
}

// aclPath is the path up to what is not known: /vms of /vms/{guest}.
func aclPath(path string) string {
	if i := strings.Index(path, "/{"); i >= 0 {
		path = path[:i]
	}
	return orElse(path, "/")
}

// merged are the needs, each privilege on each path once, with all that need
// it. Where one of several privileges is enough, and another need has one of
// them there anyhow, that one is it.
func merged(needs []Need, major int) []Need {
	type key struct{ name, path string }
	uses := map[key][]string{}
	for _, n := range needs {
		k := key{onVersion(n.Name, major), strings.Replace(n.Path, "/{guests}", "/{guest}", 1)}
		if !slices.Contains(uses[k], n.For) {
			uses[k] = append(uses[k], n.For)
		}
	}
	for k, who := range uses {
		for name := range strings.SplitSeq(k.name, "|") {
			other := key{name, k.path}
			if _, needed := uses[other]; needed && name != k.name {
				uses[other] = append(uses[other], who...)
				delete(uses, k)
				break
			}
		}
	}
	var out []Need
	for k, who := range uses {
		slices.Sort(who)
		out = append(out, Need{Privilege: builtin.Privilege{Name: k.name, Path: k.path}, For: some(slices.Compact(who))})
	}
	slices.SortFunc(out, func(a, b Need) int { return strings.Compare(a.Path+" "+a.Name, b.Path+" "+b.Name) })
	return out
}

// onVersion: Proxmox VE 9 has VM.GuestAgent.* where 8 had VM.Monitor.
func onVersion(names string, major int) string {
	var out []string
	for name := range strings.SplitSeq(names, "|") {
		switch {
		case major < 9 && strings.HasPrefix(name, "VM.GuestAgent."):
			name = "VM.Monitor"
		case major >= 9 && name == "VM.Monitor":
			continue
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if out == nil {
		return "VM.GuestAgent.Unrestricted" // VM.Monitor alone: it allowed all of that
	}
	return strings.Join(out, "|")
}

const role = "nixmox"

// grant is the command that gives a privilege, whether the role is there or
// not. A token with privilege separation needs the ACL as well as its user.
func (e *examination) grant(names, path string) string {
	name, _, _ := strings.Cut(names, "|")
	user, _, isToken := strings.Cut(e.who(), "!")
	text := fmt.Sprintf("pveum role add %s --privs %s || pveum role modify %s --append 1 --privs %s; pveum acl modify %s --roles %s --users %s",
		role, name, role, name, path, role, user)
	if isToken {
		text += " --tokens '" + e.who() + "'"
	}
	return text
}

// Commands make a token with the least privileges: one role with all of them,
// and an ACL on each path where one is needed.
func Commands(needs []Need, tokenID string) []string {
	user, name, _ := strings.Cut(tokenID, "!")
	var names, paths []string
	for _, n := range merged(slices.Concat(needs, Own), 9) {
		first, _, _ := strings.Cut(n.Name, "|")
		names, paths = append(names, first), append(paths, aclPath(n.Path))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	out := []string{
		fmt.Sprintf("pveum role add %s --privs %q", role, strings.Join(names, " ")),
		"pveum user add " + user,
		fmt.Sprintf("pveum user token add %s %s --privsep 0", user, name),
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for _, path := range paths {
		if covered := slices.ContainsFunc(paths, func(above string) bool {
			return above != path && strings.HasPrefix(path, strings.TrimSuffix(above, "/")+"/")
		}); !covered {
			out = append(out, fmt.Sprintf("pveum acl modify %s --roles %s --users %s", path, role, user))
		}
	}
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "VM.GuestAgent.") }) {
		out = append(out, "# on Proxmox VE 8: VM.Monitor in place of VM.GuestAgent.…")
	}
	return out
}

// tooMuch notes privileges beyond what is needed. To look is harmless.
func (e *examination) tooMuch(have pve.Permissions) {
	extra := map[string]bool{}
	for _, names := range have {
		for name := range names {
			if !strings.HasSuffix(name, ".Audit") {
				extra[name] = true
			}
		}
	}
	var needed []string
	for _, n := range merged(slices.Concat(e.Needs, Own), e.major()) {
		for name := range strings.SplitSeq(n.Name, "|") {
			delete(extra, name)
			needed = append(needed, name)
		}
	}
	if len(extra) == 0 {
		return
	}
	cure := "nixmox doctor --privileges prints how to make one that has what these playbooks need, and no more"
	if strings.HasPrefix(e.who(), "root@pam") && extra["Permissions.Modify"] {
		e.add(Note, e.who(), "it may do all that root may", cure)
		return
	}
	slices.Sort(needed)
	e.add(Note, e.who(), fmt.Sprintf("it has more than these playbooks need (%s): %s", strings.Join(slices.Compact(needed), ", "), some(slices.Sorted(maps.Keys(extra)))), cure)
}
