package lab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// vzdumpParams are the parameters of POST /nodes/{node}/vzdump.
var vzdumpParams = []param{
	{name: "vmid", format: vmidListFormat}, {name: "all", kind: boolean}, {name: "exclude", format: vmidListFormat}, {name: "pool"},
	{name: "storage", format: storageFormat}, {name: "mode", enum: []string{"snapshot", "suspend", "stop"}},
	{name: "compress", enum: []string{"0", "1", "gzip", "lzo", "zstd"}},
	{name: "remove", kind: boolean}, {name: "prune-backups", format: pruneFormat},
	{name: "notes-template", maxLen: 1024, requires: "storage"}, {name: "protected", kind: boolean, requires: "storage"},
	{name: "stopwait", kind: integer}, {name: "lockwait", kind: integer}, {name: "ionice", kind: integer, max: 8}, {name: "bwlimit", kind: integer},
	{name: "mailto"}, {name: "mailnotification", enum: []string{"always", "failure"}},
	{name: "notification-mode", enum: []string{"auto", "legacy-sendmail", "notification-system"}},
	{name: "dumpdir"}, {name: "tmpdir"}, {name: "script"}, {name: "job-id", maxLen: 50}, {name: "exclude-path", kind: list},
	{name: "fleecing"}, {name: "performance"}, {name: "pbs-change-detection-mode", enum: []string{"legacy", "data", "metadata"}},
	{name: "pigz", kind: integer, min: -1 << 31}, {name: "zstd", kind: integer, min: -1 << 31},
	{name: "quiet", kind: boolean}, {name: "stdexcludes", kind: boolean}, {name: "stdout", kind: boolean}, {name: "stop", kind: boolean},
}

// vzdumpJob is what a vzdump task was asked to do, and how far it is.
type vzdumpJob struct {
	Command   string
	VMIDs     []int // still to do
	Skipped   []int // guests on other nodes
	All       bool
	Storage   string
	Mode      string
	Compress  string
	Remove    bool
	Keep      string // prune-backups, the storage's if the request had none
	Notes     string // the template
	Protected bool
	Bandwidth int64
	IONice    int64
	LockWait  time.Duration

	Queued    bool   // waits for the node's lock
	HoldsLock bool   // is at work
	Fatal     string // ends the job at its next event
	Dump      *dump  // the guest being backed up
	Failed    int
	Warnings  int
}

// postVzdump checks in the order of PVE::API2::VZDump: privileges, what goes
// together, whose guests, the storage's privilege. All else fails in the task.
func postVzdump(c *call) (any, error) {
	p := c.params
	if p.bool("stdout", false) {
		return nil, badParameter("stdout", "option is only allowed on the command line interface.\n")
	}
	if err := c.vzdumpPrivileges(); err != nil {
		return nil, err
	}
	for _, with := range []string{"all", "exclude", "pool"} {
		if p.has("vmid") && p.has(with) && p.str(with) != "0" {
			return nil, badParameter(with, "option conflicts with option 'vmid'")
		}
	}
	all := p.bool("all", false) || p.has("exclude") && !p.has("pool")
	if !all && !p.has("vmid") && !p.has("pool") && !p.bool("stop", false) {
		return nil, badParameter("vmid", "property is missing")
	}
	if wrong := checkNotesTemplate(p.str("notes-template")); wrong != "" {
		return nil, badParameter("notes-template", "%s", wrong)
	}
	if p.has("pool") && c.st.pool(p.str("pool")) == nil {
		return nil, serverError("pool '%s' does not exist", p.str("pool"))
	}
	here, elsewhere := c.included(all)
	if p.bool("stop", false) {
		for _, t := range c.st.Tasks {
			if t.Type == "vzdump" && t.Node == c.v("node") && t.running() {
				t.Aborted, t.Due = true, c.now().Add(time.Second)
			}
		}
		if len(here) == 0 {
			return "OK", nil
		}
	}
	if len(here) == 0 && !all {
		return "OK", nil // all on other nodes: nothing is done, and nothing said
	}
	store := p.str("storage")
	if store == "" {
		store = "local"
	}
	if err := c.need(c.who, "/storage/"+store, "Datastore.AllocateSpace"); err != nil {
		return nil, err
	}
	for _, only := range []string{"dumpdir", "script", "tmpdir"} {
		if p.has(only) {
			return nil, serverError("the lab has no vzdump option '%s'", only)
		}
	}
	id := ""
	if len(here) == 1 {
		id = strconv.Itoa(here[0])
	}
	job := &vzdumpJob{
		Command: c.vzdumpCommand(), VMIDs: here, Skipped: elsewhere, All: all, Storage: store,
		Mode: "snapshot", Compress: "0", Remove: p.bool("remove", true), Keep: p.str("prune-backups"), Notes: p.str("notes-template"),
		Protected: p.bool("protected", false), Bandwidth: p.int("bwlimit", 0), IONice: p.int("ionice", 7),
		LockWait: time.Duration(p.int("lockwait", 180)) * time.Minute,
	}
	if p.has("mode") {
		job.Mode = p.str("mode")
	}
	if p.has("compress") {
		job.Compress = p.str("compress")
	}
	t := c.startTask(c.v("node"), "vzdump", id, c.who, 0)
	t.Job = job
	c.beginJob(t, c.now())
	return t.upid(), nil
}

// vzdumpPrivileges is assert_param_permission_vzdump. A token of root's is not
// root here.
func (c *call) vzdumpPrivileges() error {
	if c.who == rootUser {
		return nil
	}
	for _, only := range []string{"dumpdir", "job-id", "script", "tmpdir"} {
		if c.params.has(only) {
			return badParameter(only, "Only root may set this option.")
		}
	}
	for _, tuning := range []string{"bwlimit", "ionice", "performance"} {
		if c.params.has(tuning) {
			if err := c.need(c.who, "/", "Sys.Modify"); err != nil {
				return err
			}
		}
	}
	if c.params.has("prune-backups") {
		if s := c.params.str("storage"); s != "" {
			return c.need(c.who, "/storage/"+s, "Datastore.Allocate")
		}
		return c.need(c.who, "/", "Sys.Modify")
	}
	return nil
}

// included sorts the guests that are asked for: those to be done here, with
// those that are nowhere (they fail visibly), and those of other nodes.
func (c *call) included(all bool) (here, elsewhere []int) {
	p := c.params
	exclude := splitList(p.str("exclude"))
	add := func(id int) {
		if contains(exclude, strconv.Itoa(id)) || slices.Contains(here, id) || slices.Contains(elsewhere, id) {
			return
		}
		if g := c.st.guest(id); g == nil || g.Node == c.v("node") {
			here = append(here, id)
		} else {
			elsewhere = append(elsewhere, id)
		}
	}
	for _, s := range splitList(p.str("vmid")) {
		id, _ := strconv.Atoi(s)
		add(id)
	}
	for _, g := range c.st.Guests {
		if all || p.has("pool") && g.Pool == p.str("pool") {
			add(g.VMID)
		}
	}
	slices.Sort(here)
	slices.Sort(elsewhere)
	return here, elsewhere
}

var bareWord = pattern.Of(`^[\w!%+,\-./:@^]+$`)

// vzdumpCommand is the command line that the log begins with. Proxmox's order
// of options is that of a hash; this one is sorted.
func (c *call) vzdumpCommand() string {
	words := append([]string{"vzdump"}, splitList(c.params.str("vmid"))...)
	options := maps.Clone(c.params)
	options["node"] = []string{c.v("node")}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if name == "vmid" {
			continue
		}
		for _, v := range options[name] {
			if b, ok := parseBool(v); ok && c.isBool(name) {
				v = strconv.Itoa(bit(b))
			}
			if !bareWord().MatchString(v) {
				v = "'" + strings.ReplaceAll(v, "'", `'\''`) + "'"
			}
			words = append(words, "--"+name, v)
		}
	}
	return strings.Join(words, " ")
}

func (c *call) isBool(name string) bool {
	return slices.ContainsFunc(vzdumpParams, func(p param) bool { return p.name == name && p.kind == boolean })
}

var (
	notesEscape   = pattern.Of(`\\(.)`)
	notesVariable = pattern.Of(`\{\{([^\s{}]+)\}\}`)
)

// checkNotesTemplate is verify_notes_template of PVE::VZDump.
func checkNotesTemplate(t string) string {
	if strings.Contains(t, "\n") {
		return "contains a line feed"
	}
	var bad []string
	for _, m := range notesEscape().FindAllStringSubmatchIndex(t, -1) {
		if ch := t[m[2]:m[3]]; ch != "n" && ch != `\` {
			bad = append(bad, fmt.Sprintf("escape sequence '\\%s' at char %d", ch, m[0]))
		}
	}
	for _, m := range notesVariable().FindAllStringSubmatchIndex(t, -1) {
		switch name := t[m[2]:m[3]]; name {
		case "cluster", "guestname", "node", "vmid":
		default:
			bad = append(bad, fmt.Sprintf("variable '%s' at char %d", name, m[1]-len(name)))
		}
	}
	if len(bad) == 0 {
		return ""
	}
	return "found unknown: " + strings.Join(bad, ", ") + "\n"
}

// notesFor fills in the template for a guest.
func notesFor(template string, g *guest) string {
	text := notesEscape().ReplaceAllStringFunc(template, func(s string) string {
		if s == `\n` {
			return "\n"
		}
		return s[1:]
	})
	return strings.NewReplacer("{{cluster}}", clusterName, "{{guestname}}", g.Name, "{{node}}", g.Node, "{{vmid}}", g.id()).Replace(text)
}

func getVzdumpDefaults(c *call) (any, error) {
	o := obj{
		"mode": "snapshot", "compress": "0", "remove": 1, "all": 0, "quiet": 0, "stop": 0, "stdexcludes": 1, "stopwait": 10,
		"lockwait": 180, "ionice": 7, "bwlimit": 0, "pigz": 0, "zstd": 1, "mailnotification": "always", "notification-mode": "auto",
		"prune-backups": "keep-all=1", "performance": obj{"max-workers": 16, "pbs-entries-max": 1048576}, "fleecing": obj{"enabled": 0},
		"storage": "local", "dumpdir": "/var/lib/vz/dump",
	}
	if name := c.params.str("storage"); name != "" {
		s := c.st.storage(name)
		if s == nil {
			return nil, serverError("storage '%s' does not exist", name)
		}
		if err := c.need(c.who, "/storage/"+name, "Datastore.Audit", "Datastore.AllocateSpace"); err != nil {
			return nil, err
		}
		o["storage"] = name
		delete(o, "dumpdir")
		if s.Prune != "" {
			o["prune-backups"] = s.Prune
		}
	}
	return o, nil
}
