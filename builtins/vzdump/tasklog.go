package vzdump

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// The consistency of an archive: in what state the guest's disks were when
// they were copied. The log tells, but for "application": on Windows the agent
// freezes through VSS, whose writers bring databases to rest first. Elsewhere
// it freezes file systems, and whether a hook of the guest's did more nobody
// outside can see.
const (
	consistencyApplication = "application" // frozen by the guest agent through VSS
	consistencyFilesystem  = "filesystem"  // frozen by the guest agent
	consistencyCrash       = "crash"       // as after a power failure
	consistencySuspended   = "suspended"   // processes halted, file systems not flushed
	consistencyStopped     = "stopped"     // shut down: nothing is more consistent
	consistencyUnknown     = "unknown"     // the log does not say
)

// taskLog is what the log of a vzdump task says, read line by line. The words
// are those of PVE::VZDump and its plugins, as recorded on 9.2.11; those of 7
// and 8 differ in a few and are known too. What a line cannot be understood as
// is passed over: the log is never the only witness (readback.go).
type taskLog struct {
	Waiting  bool   // for the node's one vzdump lock
	Command  string // "vzdump 101 --storage …"; empty until the lock is held
	Guests   []*guestLog
	Errors   []string // outside any guest
	Warnings []string // of the whole task, those of guests too, and what nixmox noticed
	Skipped  string   // guests that are on other nodes, in vzdump's words

	now  *guestLog // the guest being backed up
	want int       // how many guests were asked for; only progress needs it
}

// guestLog is what the log says of one guest.
type guestLog struct {
	ID      builtin.VMID
	Name    string // as far as the log has come to it
	Kind    string // vm or container; empty if it never began
	Running bool
	Mode    string // the one that was used in the end
	Target  string // the archive's path, or its name on a backup server
	Size    string // as vzdump rounds it: "39KB", "1.50GB"
	LeftOut []string
	Errors  []string
	// Complaints are what the programs said that vzdump runs, the last few:
	// "exit code 70" alone helps nobody.
	Complaints []string
	Failed     string // why, in vzdump's words
	Finished   bool
	Unmarked   bool // the notes could not be written

	fallback string     // why the mode asked for was not possible
	frozen   bool       // by the guest agent, so far as the log says
	issued   bool       // the agent was told to freeze
	thawed   bool       // it was told to thaw, and did not say no
	inDoubt  bool       // it may still be frozen: only the agent can tell
	asked    agentOrder // what the agent was asked last, until its answer cannot come any more
}

type agentOrder int

const (
	nothing agentOrder = iota
	toFreeze
	toThaw
)

var (
	startLine    = pattern.Of(`^Starting Backup of VM ([1-9][0-9]{2,8}) \((qemu|lxc|openvz)\)$`)
	finishLine   = pattern.Of(`^Finished Backup of VM ([1-9][0-9]{2,8}) \(?([0-9:]*)`)
	nameLine     = pattern.Of(`^(?:VM|CT) Name: (.+)$`)
	failLine     = pattern.Of(`^Backup of VM ([1-9][0-9]{2,8}) failed - (.*)$`)
	complaint    = pattern.Of(`^(?:tar|zstd|gzip|pigz|lzop|rsync|cp): `)
	targetLine   = pattern.Of(`^creating (?:vzdump|Proxmox Backup Server) archive '(.+)'$`)
	progressLine = pattern.Of(`^ *(\d{1,3})% \(([\d.]+) (\w+) of ([\d.]+) (\w+)\) in [^,]*, read: ([\d.]+) (\w+)/s`)
	// "filesystem freeze -" since Proxmox VE 9, "-agent 'fs-freeze'," before.
	noFreeze    = pattern.Of(`^skipping guest(?: filesystem freeze -|-agent 'fs-freeze',) (.*)$`)
	totalLine   = pattern.Of(`^Total bytes written: (\d+) \([\d.]+\w+, ([\d.]+)([KMGT]?i?B)/s\)$`) // tar's, the only one of a container
	oldProgress = pattern.Of(`^status: (\d{1,3})% \((\d+)/(\d+)\)`)                                // Proxmox VE 6
)

// Line reads the next line and says how far the task is, if the line does.
func (l *taskLog) Line(line string) (builtin.Progress, bool) {
	level, text, ok := strings.Cut(line, ": ")
	if !ok {
		return builtin.Progress{}, false
	}
	switch level {
	case "INFO":
		return l.info(text)
	case "ERROR":
		return l.error(text)
	case "WARN":
		l.warn(text)
	}
	return builtin.Progress{}, false
}

func (l *taskLog) warn(text string) {
	if g := l.now; g != nil {
		g.Unmarked = g.Unmarked || strings.HasPrefix(text, "unable to add notes")
		text = "guest " + g.ID.String() + ": " + text
	}
	l.Warnings = append(l.Warnings, text)
}

func (l *taskLog) error(text string) (builtin.Progress, bool) {
	if m := failLine().FindStringSubmatch(text); m != nil {
		g := l.guest(vmid(m[1]))
		g.Failed = cmp.Or(m[2], "no reason given")
		l.now = nil
		p := l.step(g, "failed: "+m[2])
		p.Ended = builtin.SubjectFailed
		return p, true
	}
	g := l.now
	if g == nil {
		l.Errors = append(l.Errors, text)
		return builtin.Progress{}, false
	}
	g.Errors = append(g.Errors, text)
	// vzdump itself takes both for no more than an ERROR line, and ends OK.
	switch g.asked {
	case toFreeze:
		g.frozen, g.inDoubt = false, true
		l.warn("freezing its file systems failed: " + text)
	case toThaw:
		g.thawed, g.inDoubt = false, true
		l.warn("thawing its file systems may have failed (look with: qm guest cmd " + g.ID.String() + " fsfreeze-status): " + text)
	}
	return builtin.Progress{}, false
}

func (l *taskLog) info(text string) (builtin.Progress, bool) {
	switch {
	case strings.HasPrefix(text, "trying to get global lock"):
		l.Waiting = true
		return builtin.Progress{Step: "waiting for another backup of this node to end"}, true
	case text == "got global lock":
		l.Waiting = false
	case strings.HasPrefix(text, "starting new backup job: "):
		l.Command = strings.TrimPrefix(text, "starting new backup job: ")
		l.Waiting = false
	case strings.HasPrefix(text, "skip external VMs: "):
		l.Skipped = text
	}
	if m := startLine().FindStringSubmatch(text); m != nil {
		l.now = l.guest(vmid(m[1]))
		l.now.Kind = pve.KindOf(m[2])
		return l.step(l.now, "started"), true
	}
	if m := finishLine().FindStringSubmatch(text); m != nil {
		g := l.guest(vmid(m[1]))
		g.Finished = true
		l.now = nil
		p := l.step(g, "finished")
		p.Ended, p.Elapsed = builtin.SubjectDone, clockTime(m[2])
		return p, true
	}
	if l.now == nil {
		return builtin.Progress{}, false
	}
	return l.aboutGuest(l.now, text)
}

// aboutGuest reads an INFO line between a guest's start and its end.
func (l *taskLog) aboutGuest(g *guestLog, text string) (builtin.Progress, bool) {
	after := func(prefix string) (string, bool) { return strings.CutPrefix(text, prefix) }
	if mode, ok := after("backup mode: "); ok {
		g.Mode = mode
		if g.fallback != "" {
			l.warn(fmt.Sprintf("backed up in %s mode instead: %s", mode, g.fallback))
			g.fallback = ""
		}
	} else if why, ok := after("mode failure - "); ok {
		g.fallback = why
	} else if status, ok := after("status = "); ok {
		g.Running = status == "running"
	} else if m := nameLine().FindStringSubmatch(text); m != nil {
		g.Name = m[1]
		return l.step(g, "started"), true
	} else if size, ok := after("archive file size: "); ok {
		g.Size = size
	} else if m := targetLine().FindStringSubmatch(text); m != nil {
		g.Target = m[1]
	} else if isLeftOut(text) {
		// A fall-back to another mode begins anew and says everything twice.
		if !slices.Contains(g.LeftOut, text) {
			g.LeftOut = append(g.LeftOut, text)
		}
	} else if complaint().MatchString(text) {
		g.Complaints = append(g.Complaints, text)[max(0, len(g.Complaints)-2):]
	} else if m := noFreeze().FindStringSubmatch(text); m != nil {
		l.notFrozen(g, m[1])
	} else {
		g.aboutFreeze(text)
	}
	return l.percent(g, text)
}

// isLeftOut: disks and mount points with backup=0, bind and device mounts,
// unused disks, and what vzdump never takes (snapshots, pending changes).
func isLeftOut(text string) bool {
	return strings.HasPrefix(text, "exclude disk ") || strings.HasPrefix(text, "excluding ") ||
		strings.HasSuffix(text, "(not included into backup)")
}

// notFrozen: vzdump goes on without, and its task ends OK. Where the guest was
// meant to be frozen, that is a warning here. A suspended one cannot answer,
// and one that is frozen already (guest_agent.frozen, say) need not be again.
func (l *taskLog) notFrozen(g *guestLog, why string) {
	switch {
	case why == "already frozen":
		g.frozen = true
	case strings.HasPrefix(why, "agent configured") && g.Mode == "snapshot":
		l.warn("its file systems were not frozen: " + why)
	}
}

func (g *guestLog) aboutFreeze(text string) {
	switch {
	case text == "issuing guest-agent 'fs-freeze' command":
		g.frozen, g.issued, g.thawed, g.asked = true, true, false, toFreeze
	case text == "issuing guest-agent 'fs-thaw' command":
		g.asked, g.thawed = toThaw, true
	case text == "starting backup via QMP command", strings.HasPrefix(text, "started backup task "):
		g.asked = nothing
	}
}

// mayBeFrozen reports that the log does not show the guest thawed.
func (g *guestLog) mayBeFrozen() bool { return g.inDoubt || g.issued && !g.thawed }

// Consistency is in what state the guest's disks were copied.
func (g *guestLog) Consistency() string {
	switch {
	case g.Mode == "stop":
		return consistencyStopped
	case g.Mode == "suspend":
		return consistencySuspended
	case g.Mode == "snapshot" && g.frozen:
		return consistencyFilesystem
	case g.Mode == "snapshot":
		return consistencyCrash
	}
	return consistencyUnknown
}

func (l *taskLog) percent(g *guestLog, text string) (builtin.Progress, bool) {
	p := l.step(g, strings.TrimLeft(text, " "))
	if m := progressLine().FindStringSubmatch(text); m != nil {
		p.Percent, _ = strconv.ParseFloat(m[1], 64)
		p.Done, p.Total, p.Rate = bytesOf(m[2], m[3]), bytesOf(m[4], m[5]), bytesOf(m[6], m[7])
		return p, true
	}
	if m := totalLine().FindStringSubmatch(text); m != nil {
		p.Done, _ = strconv.ParseInt(m[1], 10, 64)
		p.Total, p.Percent, p.Rate = p.Done, 100, bytesOf(m[2], m[3])
		return p, true
	}
	if m := oldProgress().FindStringSubmatch(text); m != nil {
		p.Percent, _ = strconv.ParseFloat(m[1], 64)
		p.Done, _ = strconv.ParseInt(m[2], 10, 64)
		p.Total, _ = strconv.ParseInt(m[3], 10, 64)
		return p, true
	}
	return builtin.Progress{}, false
}

// step says which guest of how many, and what of it.
func (l *taskLog) step(g *guestLog, what string) builtin.Progress {
	which := "guest " + g.ID.String()
	if l.want > 1 {
		which += fmt.Sprintf(" (%d of %d)", slices.Index(l.Guests, g)+1, l.want)
	}
	return builtin.Progress{Subject: g.ID.String(), Name: g.Name, Step: which + ": " + what}
}

// guest is the entry of a guest, made when it is first met.
func (l *taskLog) guest(id builtin.VMID) *guestLog {
	for _, g := range l.Guests {
		if g.ID == id {
			return g
		}
	}
	g := &guestLog{ID: id}
	l.Guests = append(l.Guests, g)
	return g
}

// clockTime reads a duration such as 01:20:05; 0 is not known.
func clockTime(text string) time.Duration {
	var h, m, s int
	if n, _ := fmt.Sscanf(text, "%d:%d:%d", &h, &m, &s); n != 3 {
		return 0
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
}

func vmid(digits string) builtin.VMID {
	n, _ := strconv.Atoi(digits) // the expressions let nothing else through
	return builtin.VMID(n)
}

// bytesOf reads a number and a unit as PVE::VZDump::QemuServer prints them.
func bytesOf(number, unit string) int64 {
	n, err := strconv.ParseFloat(number, 64)
	shift := slices.Index([]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}, unit)
	if err != nil || shift < 0 || n < 0 || n >= 8192 {
		return 0
	}
	return int64(n * float64(int64(1)<<(10*shift)))
}

// roundedSize is a size as vzdump's log gives it (format_size in PVE::VZDump).
func roundedSize(bytes int64) string {
	const kib, mib, gib, tib = 1 << 10, 1 << 20, 1 << 30, 1 << 40
	switch {
	case bytes < mib:
		return fmt.Sprintf("%dKB", bytes/kib)
	case bytes < gib:
		return fmt.Sprintf("%dMB", bytes/mib)
	case bytes < tib:
		return fmt.Sprintf("%.2fGB", float64(bytes)/gib)
	}
	return fmt.Sprintf("%.2fTB", float64(bytes)/tib)
}
