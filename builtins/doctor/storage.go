package doctor

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

// listing is what a storage keeps of backups, seen from one node.
type listing struct {
	storage pve.Storage
	node    string
	volumes []pve.Volume
	err     error
}

// storages looks at those that may keep backups.
func storages(ctx context.Context, e *examination) bool {
	list, err := e.client.Storages(ctx)
	if err != nil {
		e.unseen(Error, "the storages", err)
		return false
	}
	e.storages = list
	for _, n := range e.online() {
		if n.storagesErr != nil {
			e.unseen(Warning, n.Node.Node, n.storagesErr)
		}
	}
	for _, name := range e.usedStorages() {
		if !slices.ContainsFunc(list, func(s pve.Storage) bool { return s.Storage == name }) {
			e.add(Error, name, "there is no storage of that name, or the token may not see it", "on a node: pvesm status; name another storage, or: "+e.grant("Datastore.AllocateSpace", "/storage/"+name))
		}
	}
	var keepers []pve.Storage
	for _, s := range list {
		switch keeps := slices.Contains(s.Content, "backup"); {
		case keeps:
			keepers = append(keepers, s)
		case e.used(s.Storage):
			e.add(Error, s.Storage, "it keeps "+strings.Join(s.Content, ", ")+", but no backups", addBackup(s))
		}
	}
	if len(keepers) == 0 {
		cure := "add one: pvesm add nfs backup --server HOST --export /PATH --content backup"
		if i := slices.IndexFunc(list, func(s pve.Storage) bool { return s.Type == "dir" }); i >= 0 {
			cure = addBackup(list[i])
		}
		e.add(Error, "the storages", "none of those that the token sees keeps backups", cure)
		return false
	}
	for _, s := range keepers {
		e.storage(s)
	}
	e.listArchives(ctx, keepers)
	return true
}

func addBackup(s pve.Storage) string {
	return fmt.Sprintf("pvesm set %s --content %s", s.Storage, strings.Join(append(slices.Clone(s.Content), "backup"), ","))
}

// storage is what each node says of one.
func (e *examination) storage(s pve.Storage) {
	if s.Disable {
		e.add(e.ifUsed(s.Storage, Error, Note), s.Storage, "it is disabled", "pvesm set "+s.Storage+" --disable 0")
		return
	}
	before := len(e.findings)
	var inactive []string
	least := pve.StorageStatus{}
	for _, n := range e.online() {
		i := slices.IndexFunc(n.storages, func(st pve.StorageStatus) bool { return st.Storage == s.Storage })
		switch {
		case n.storagesErr != nil || !s.On(n.Node.Node):
		case i < 0 || !bool(n.storages[i].Active):
			inactive = append(inactive, n.Node.Node)
		case least.Storage == "" || n.storages[i].Avail < least.Avail:
			least = n.storages[i]
		}
	}
	if inactive != nil {
		e.add(e.ifUsed(s.Storage, Error, Warning), s.Storage, "it is not active on "+some(inactive), reactivate(s))
	}
	if shut := e.guestNodesWithout(s); shut != nil && e.used(s.Storage) {
		e.add(Warning, s.Storage, "there are guests on "+some(shut)+", which may not use it", "pvesm set "+s.Storage+" --delete nodes, or name another storage for them")
	}
	e.keepLimits(s)
	if total := least.Total; total > 0 && least.Avail < total/20 {
		level := e.ifUsed(s.Storage, Warning, Note)
		e.add(level, s.Storage, fmt.Sprintf("it is nearly full: %s of %s are left", size(least.Avail), size(total)), "prune, or remove archives that nobody needs: pvesm list "+s.Storage+" --content backup")
	}
	if e.used(s.Storage) && !s.IsShared() {
		e.add(Note, s.Storage, "each node has its own: a dead node takes its guests and their archives with it", "back up to a storage on another machine, or copy the archives there")
	}
	if len(e.findings) == before {
		found := "it takes backups, and is active"
		if least.Total > 0 {
			found += fmt.Sprintf(", with %s of %s left", size(least.Avail), size(least.Total))
		}
		e.add(OK, s.Storage, found, "")
	}
}

func reactivate(s pve.Storage) string {
	switch s.Type {
	case "nfs", "cifs":
		return fmt.Sprintf("is %s up? On the node: pvesm scan %s %s; pvesm status --storage %s", s.Server, s.Type, s.Server, s.Storage)
	case "pbs":
		return fmt.Sprintf("is %s up? On the node: pvesm status --storage %s", s.Server, s.Storage)
	}
	return fmt.Sprintf("on the node: pvesm status --storage %s; is %s mounted there?", s.Storage, orElse(s.Path, "it"))
}

func (e *examination) guestNodesWithout(s pve.Storage) []string {
	var out []string
	for _, g := range e.guests {
		if !s.On(g.Node) && !slices.Contains(out, g.Node) {
			out = append(out, g.Node)
		}
	}
	slices.Sort(out)
	return out
}

// keepLimits: vzdump refuses once a guest has that many archives, since nixmox
// never lets it prune (vzdump.backup checks the same before each backup).
func (e *examination) keepLimits(s pve.Storage) {
	limits := []string{s.PruneBackups}
	if s.PruneBackups == "" {
		limits = nil
		for _, n := range e.online() {
			if n.keep != "" && s.On(n.Node.Node) {
				limits = append(limits, n.keep)
			}
		}
	}
	for _, text := range limits {
		if rules, err := retention.ParseRules(text); err == nil && rules.KeepsAll() {
			continue
		}
		e.add(e.ifUsed(s.Storage, Error, Note), s.Storage, "its retention is "+text+": vzdump.backup refuses, since vzdump would remove archives before the new ones are verified",
			"let nixmox prune, by marks: pvesm set "+s.Storage+" --prune-backups keep-all=1")
		return
	}
}

// listArchives asks once for each storage that is shared, and once a node for
// each that is not.
func (e *examination) listArchives(ctx context.Context, keepers []pve.Storage) {
	var wanted []*listing
	for _, s := range keepers {
		for _, n := range e.online() {
			active := slices.ContainsFunc(n.storages, func(st pve.StorageStatus) bool { return st.Storage == s.Storage && bool(st.Active) })
			if !active || bool(s.Disable) || !s.On(n.Node.Node) {
				continue
			}
			wanted = append(wanted, &listing{storage: s, node: n.Node.Node})
			if s.IsShared() {
				break
			}
		}
	}
	each(wanted, func(l *listing) {
		l.volumes, l.err = e.client.Content(ctx, l.node, l.storage.Storage, pve.ContentFilter{Content: "backup"})
	})
	for _, l := range wanted {
		e.archives = append(e.archives, *l)
		if l.err != nil {
			e.unseen(e.ifUsed(l.storage.Storage, Error, Warning), l.storage.Storage, l.err)
		}
	}
}

// mounts: verify reads archives on this machine. The newest archive that
// Proxmox lists must be there, and be as long.
func mounts(ctx context.Context, e *examination) bool {
	for _, name := range slices.Sorted(maps.Keys(e.Config.Mounts)) {
		folder := e.Config.Mounts[name]
		_, storage, both := strings.Cut(name, "/")
		if !both {
			storage = name
		}
		if !slices.ContainsFunc(e.storages, func(s pve.Storage) bool { return s.Storage == storage }) {
			e.add(Warning, name, "[proxmox.mounts] names a storage that is not there, or that the token may not see", fmt.Sprintf("correct or remove the line %q = %q", name, folder))
		}
	}
	for _, l := range e.archives {
		_, here := e.Config.Mounts[l.node+"/"+l.storage.Storage]
		_, all := e.Config.Mounts[l.storage.Storage]
		if l.err == nil && (here || all || e.used(l.storage.Storage)) {
			e.mount(ctx, l)
		}
	}
	return true
}

func (e *examination) mount(ctx context.Context, l listing) {
	name := l.storage.Storage
	subject := name
	if !l.storage.IsShared() {
		subject = l.node + "/" + name
	}
	if l.storage.Type == "pbs" {
		e.add(Note, subject, "it is a backup server's: nixmox cannot verify what that keeps", "let the server verify: Datastore > Verify Jobs there")
		return
	}
	newest := pve.Volume{}
	for _, v := range l.volumes {
		if v.CTime.After(newest.CTime.Time) {
			newest = v
		}
	}
	if newest.VolID == "" {
		e.emptyMount(l, subject)
		return
	}
	volume := strings.TrimPrefix(newest.VolID, name+":")
	level := e.ifUsed(name, Warning, Note)
	path, err := e.client.LocalFile(ctx, l.node, name, volume)
	if err != nil {
		f := builtin.AsFault(err)
		e.add(level, subject, "verify could not read its archives here: "+f.Error(), orElse(f.Hint, mountLine(subject)))
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		e.add(level, subject, "verify could not read its archives here: "+err.Error(), mountLine(subject))
	case info.Size() != int64(newest.Size):
		e.add(e.ifUsed(name, Error, Warning), subject, fmt.Sprintf("%s has %d bytes here, and Proxmox says %d: it is another storage, or a stale copy of it", path, info.Size(), newest.Size), mountLine(subject))
	default:
		e.add(OK, subject, "its newest archive is readable here: "+path, "")
	}
}

// emptyMount: without an archive nothing tells whether it is the same storage.
func (e *examination) emptyMount(l listing, subject string) {
	root, ok := e.Config.Mounts[l.node+"/"+l.storage.Storage]
	if !ok {
		root, ok = e.Config.Mounts[l.storage.Storage]
	}
	if !ok {
		e.notChecked(subject, "it keeps no archive yet, so nothing shows whether verify could read one here", mountLine(subject))
		return
	}
	if info, err := os.Stat(filepath.Join(root, "dump")); err != nil || !info.IsDir() {
		e.add(e.ifUsed(l.storage.Storage, Warning, Note), subject, root+" has no folder dump/: is it the storage's, and mounted?", mountLine(subject))
		return
	}
	if !e.used(l.storage.Storage) {
		e.add(OK, subject, root+" has a folder dump/; it keeps no archive yet to compare", "")
		return
	}
	e.notChecked(subject, "it keeps no archive yet, so nothing shows whether "+root+" is the same storage", "look again after the first backup: nixmox doctor")
}

func mountLine(subject string) string {
	return fmt.Sprintf("mount the storage's folder on this machine, and in [proxmox.mounts]: %q = \"/its/folder\"", subject)
}

// size is in binary units, as Proxmox shows it.
func size(bytes pve.Int) string {
	value, unit := float64(bytes), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	digits := 0
	if value < 10 && unit != "B" {
		digits = 1
	}
	return fmt.Sprintf("%.*f %s", digits, value, unit)
}
