// Package doctor looks at a Proxmox VE cluster, and at nixmox's way to it, and
// says what a playbook would stumble over, each with its cure. It only reads.
//
// It must know nothing of playbooks and the engine: what they need is handed
// in as privileges.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Level is how bad a finding is.
type Level string

// The four levels. What could not be checked is a note, never ok.
const (
	OK      Level = "ok"
	Note    Level = "note"    // worth knowing; nothing fails for it
	Warning Level = "warning" // something will go wrong one day, or for some
	Error   Level = "error"   // a playbook will fail
)

// Finding is what one check found on one thing.
type Finding struct {
	Check   string `json:"check"`   // such as reachability, clock, storage
	Subject string `json:"subject"` // a file, a host, a node, a storage …
	Level   Level  `json:"level"`
	Found   string `json:"found"`
	Cure    string `json:"cure,omitempty"` // a command, or a line to change; of everything but ok
}

// Need is a privilege that something needs.
type Need struct {
	builtin.Privilege
	For string // a function, such as vzdump.backup
}

// Own is what doctor itself needs to see the clocks, and the tasks of others.
// Without it those checks are not made, and all others are.
var Own = []Need{{Privilege: builtin.Privilege{Name: "Sys.Audit", Path: "/nodes/{node}"}, For: "doctor"}}

// Patient is what is to be examined.
type Patient struct {
	Config pve.Config
	// Needs are what the playbooks need. In their paths {guest} and {node}
	// stand for all there are; storages that they name are those that are used.
	Needs []Need
	// EveryGuest has the configurations of all guests read, one request each,
	// however many there are.
	EveryGuest bool
}

// Examine makes every check.
func Examine(ctx context.Context, p Patient) []Finding {
	if p.Config.Now == nil {
		p.Config.Now = time.Now
	}
	client, err := pve.New(p.Config)
	if err != nil {
		f := builtin.AsFault(err)
		return []Finding{{Check: "configuration", Subject: "[proxmox]", Level: Error, Found: f.Error(), Cure: orElse(f.Hint, "correct it; docs/nixmox.toml is a commented example")}}
	}
	defer func() { _ = client.Close() }() // it lets idle connections go
	e := &examination{Patient: p, client: client}
	stopped := map[string]string{} // by check: the one that kept it from being made
	for _, c := range checks {
		e.check = c.name
		if at := stopped[c.after]; at != "" {
			stopped[c.name] = at
			e.notChecked(c.subject, at+" must be well first", "cure what "+at+" found")
		} else if !c.look(ctx, e) {
			stopped[c.name] = c.name
		}
	}
	return e.findings
}

// checks are all there are, in the order in which they are made. What look
// returns tells whether the checks that come after it can be made.
var checks = []struct {
	name, subject string
	after         string
	look          func(context.Context, *examination) bool
}{
	{"reachability", "the Proxmox host", "", reachability},
	{"certificate", "the Proxmox host", "reachability", certificate},
	{"token", "the Proxmox host", "reachability", token},
	{"nodes", "the cluster", "token", nodes},
	{"version", "the nodes", "nodes", versions},
	{"clock", "the nodes", "nodes", clocks},
	{"privileges", "the token", "nodes", privileges},
	{"storage", "the storages", "nodes", storages},
	{"mount", "the storages", "storage", mounts},
	{"guests", "the guests", "nodes", guests},
	{"exclusion", "this machine", "", exclusion},
}

// examination is what has been found so far, and what later checks need of it.
type examination struct {
	Patient
	client   *pve.Client
	check    string // the one that is being made
	findings []Finding

	nodes    []*node
	guests   []pve.Guest
	storages []pve.Storage
	archives []listing
}

func (e *examination) add(level Level, subject, found, cure string) {
	e.findings = append(e.findings, Finding{Check: e.check, Subject: subject, Level: level, Found: found, Cure: cure})
}

func (e *examination) notChecked(subject, why, cure string) {
	e.add(Note, subject, "not checked: "+why, cure)
}

// unseen is a check that the host did not let us make.
func (e *examination) unseen(level Level, subject string, err error) {
	said, hint := err.Error(), "look again: nixmox doctor"
	if f := builtin.AsFault(err); f != nil {
		said, hint = f.Error(), orElse(f.Hint, hint)
	}
	e.add(level, subject, "not checked: "+said, hint)
}

// used reports that a playbook names the storage.
func (e *examination) used(storage string) bool { return slices.Contains(e.usedStorages(), storage) }

func (e *examination) usedStorages() []string {
	var names []string
	for _, n := range e.Needs {
		if name, ok := strings.CutPrefix(n.Path, "/storage/"); ok && !strings.Contains(name, "{") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ifUsed is the level of what only hurts who uses the storage.
func (e *examination) ifUsed(storage string, used, otherwise Level) Level {
	if e.used(storage) {
		return used
	}
	return otherwise
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// each does something for all items, eight at a time.
func each[T any](items []T, do func(T)) {
	var all sync.WaitGroup
	room := make(chan struct{}, 8)
	for _, item := range items {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			do(item)
		})
	}
	all.Wait()
}

// some lists what may be many.
func some(items []string) string {
	const most = 12
	if len(items) <= most {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
}

// idList writes 100, 101, 102 and 105 as 100-102, 105.
func idList(ids []builtin.VMID) string {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var parts []string
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		if text := ids[i].String(); j == i {
			parts = append(parts, text)
		} else {
			parts = append(parts, text+"-"+ids[j].String())
		}
		i = j + 1
	}
	return some(parts)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
