package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// pruneJob is what a prunebackups task was asked to do.
type pruneJob struct {
	Storage, Options, Type string
	VMID                   int
}

// marked is an archive and what a prune makes of it: keep, remove, protected,
// or renamed (a name without a date is not touched).
type marked struct {
	*volume
	mark string
}

// pruneStep is one rule: how many of which period.
type pruneStep struct {
	option string
	period func(time.Time) string
}

var pruneSteps = []pruneStep{
	{"keep-last", func(t time.Time) string { return t.Format(time.RFC3339Nano) }},
	{"keep-hourly", func(t time.Time) string { return t.Format("2006-01-02 15") }},
	{"keep-daily", func(t time.Time) string { return t.Format(time.DateOnly) }},
	{"keep-weekly", func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
	{"keep-monthly", func(t time.Time) string { return t.Format("2006-01") }},
	{"keep-yearly", func(t time.Time) string { return t.Format("2006") }},
}

// markBackups says what a prune with these options would do to the archives of
// a storage (prune_mark_backup_group of PVE::Storage, group by group).
func markBackups(volumes []*volume, keep map[string]int, typ string, vmid int, east time.Duration) []*marked {
	groups := map[string][]*marked{}
	var all []*marked
	for _, v := range volumes {
		if v.content != "backup" || typ != "" && v.subtype != typ || vmid > 0 && v.vmid != vmid {
			continue
		}
		m := &marked{volume: v}
		all = append(all, m)
		switch {
		case v.protected:
			m.mark = "protected"
		case !v.standard:
			m.mark = "renamed"
		default:
			key := fmt.Sprint(v.subtype, v.vmid)
			groups[key] = append(groups[key], m)
		}
	}
	for _, g := range groups {
		markGroup(g, keep, east)
	}
	slices.SortStableFunc(all, func(a, b *marked) int {
		return cmp.Or(cmp.Compare(a.subtype, b.subtype), cmp.Compare(a.vmid, b.vmid), cmp.Compare(a.ctime, b.ctime))
	})
	return all
}

func markGroup(group []*marked, keep map[string]int, east time.Duration) {
	if len(keep) == 0 { // all options zero means keep all
		for _, m := range group {
			m.mark = "keep"
		}
		return
	}
	newestFirst := slices.SortedStableFunc(slices.Values(group), func(a, b *marked) int { return cmp.Compare(b.ctime, a.ctime) })
	for _, s := range pruneSteps {
		markPeriod(newestFirst, keep[s.option], func(t time.Time) string { return s.period(t.Add(east)) })
	}
	for _, m := range group {
		if m.mark == "" {
			m.mark = "remove"
		}
	}
}

// markPeriod keeps the newest of each of the last count periods that an
// earlier rule has kept nothing of.
func markPeriod(group []*marked, count int, period func(time.Time) string) {
	if count == 0 {
		return
	}
	earlier, mine := map[string]bool{}, map[string]bool{}
	of := func(m *marked) string { return period(time.Unix(m.ctime, 0).UTC()) }
	for _, m := range group {
		if m.mark == "keep" {
			earlier[of(m)] = true
		}
	}
	for _, m := range group {
		id := of(m)
		switch {
		case m.mark != "" || earlier[id]:
		case mine[id]:
			m.mark = "remove"
		case len(mine) >= count:
			return
		default:
			mine[id] = true
			m.mark = "keep"
		}
	}
}

// pruneOptions are those of the request, or the storage's.
func (c *call) pruneOptions(s *storage) (string, error) {
	if o := c.params.str("prune-backups"); o != "" {
		return o, nil
	}
	if s.Prune != "" {
		return s.Prune, nil
	}
	return "", serverError("no prune-backups options configured for storage '%s'", s.Name)
}

func previewPrune(c *call) (any, error) {
	s, err := c.activeStorage()
	if err != nil {
		return nil, err
	}
	options, err := c.pruneOptions(s)
	if err != nil {
		return nil, err
	}
	keep, _ := parsePrune(options)
	out := []obj{}
	for _, m := range markBackups(c.volumes(s, c.v("node")), keep, c.params.str("type"), int(c.params.int("vmid", 0)), c.st.East) {
		o := obj{"volid": m.id(), "type": cmp.Or(m.subtype, "unknown"), "ctime": m.ctime, "mark": m.mark}
		if m.vmid > 0 {
			o["vmid"] = m.vmid
		}
		out = append(out, o)
	}
	return out, nil
}

func deletePrune(c *call) (any, error) {
	vmid, typ := int(c.params.int("vmid", 0)), c.params.str("type")
	s, err := c.storageHere()
	if err != nil {
		return nil, err
	}
	id := s.Name
	if vmid > 0 {
		id = fmt.Sprintf("%d@%s", vmid, s.Name)
		err = c.needBackup(&volume{store: s, vmid: vmid})
	} else {
		err = c.need(c.who, "/storage/"+s.Name, "Datastore.Allocate")
	}
	if err != nil {
		return nil, err
	}
	options, err := c.pruneOptions(s)
	if err != nil {
		return nil, err
	}
	t := c.startTask(c.v("node"), "prunebackups", id, c.who, 2*time.Second)
	t.Prune = &pruneJob{Storage: s.Name, Options: options, Type: typ, VMID: vmid}
	return t.upid(), nil
}

// runPrune ends a prunebackups task.
func (l *Lab) runPrune(t *task) string {
	s := l.st.storage(t.Prune.Storage)
	if l.offline(s) {
		return s.offlineError()
	}
	_, failed := l.prune(s, t.Node, t.Prune.Options, t.Prune.Type, t.Prune.VMID, func(line string) { t.say("%s", line) })
	if failed > 0 {
		return "prune failed for some backups, see the log" // no recording of such an end
	}
	return "OK"
}

// prune removes what the options do not keep, and says how many it removed and
// how many it could not.
func (l *Lab) prune(s *storage, node, options, typ string, vmid int, say func(string)) (removed, failed int) {
	keep, _ := parsePrune(options)
	for _, m := range markBackups(l.volumes(s, node), keep, typ, vmid, l.st.East) {
		if m.mark != "remove" {
			continue
		}
		say("removing backup '" + m.id() + "'")
		if err := m.remove(); err != nil {
			say("error when removing backup '" + m.id() + "' - " + strings.ReplaceAll(err.Error(), "\n", " "))
			failed++
			continue
		}
		removed++
	}
	return removed, failed
}
