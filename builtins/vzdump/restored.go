package vzdump

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// restoreLog reads the log of a restore, line by line, as recorded on 9.2.11.
type restoreLog struct {
	guest    builtin.VMID
	total    int64    // bytes of all its disks
	said     []string // what the tools complained of, the last few
	warnings []string
}

var (
	devLine     = pattern.Of(`^DEV: dev_id=\d+ size: (\d+) devname: `)
	readLine    = pattern.Of(`^progress (\d{1,3})% \(read (\d+) bytes,.*duration (\d+) sec\)$`)
	tarRead     = pattern.Of(`^Total bytes read: (\d+) \([\d.]+\w+, ([\d.]+)([KMGT]?i?B)/s\)$`)
	restoreFail = pattern.Of(`^(?:tar|zstd|gzip|zcat|lzop|vma|Error|error)\b.*[:]`)
)

// Line reads the next line and says how far the restore is.
func (l *restoreLog) Line(line string) (builtin.Progress, bool) {
	p := builtin.Progress{Step: fmt.Sprintf("guest %d: %s", l.guest, line), Subject: l.guest.String()}
	if m := devLine().FindStringSubmatch(line); m != nil {
		size, _ := strconv.ParseInt(m[1], 10, 64)
		l.total += size
		return p, false
	}
	if m := readLine().FindStringSubmatch(line); m != nil {
		p.Percent, _ = strconv.ParseFloat(m[1], 64)
		p.Done, _ = strconv.ParseInt(m[2], 10, 64)
		p.Total = l.total
		if seconds, _ := strconv.ParseInt(m[3], 10, 64); seconds > 0 {
			p.Rate = p.Done / seconds
		}
		return p, true
	}
	if m := tarRead().FindStringSubmatch(line); m != nil {
		p.Done, _ = strconv.ParseInt(m[1], 10, 64)
		p.Total, p.Percent, p.Rate = p.Done, 100, bytesOf(m[2], m[3])
		return p, true
	}
	switch {
	case strings.HasPrefix(line, "WARN"):
		l.warnings = append(l.warnings, line)
	case restoreFail().MatchString(line):
		l.said = append(l.said, line)[max(0, len(l.said)-2):]
	}
	return p, strings.HasPrefix(line, "restor") || strings.HasPrefix(line, "extracting") || strings.HasPrefix(line, "rescan")
}

// followRestore waits for the task's end, and then looks at the guest.
func (v *vzdump) followRestore(ctx context.Context, r *restoration, upid pve.UPID) (Restored, error) {
	log := &restoreLog{guest: r.guest}
	end, err := v.c.Wait(ctx, upid, func(_ int, line string) {
		if p, ok := log.Line(line); ok {
			builtin.Report(ctx, p)
		}
	})
	if err != nil {
		if end.ExitStatus == "" || errors.Is(err, context.Canceled) {
			return Restored{}, err
		}
		log.warnings = append(log.warnings, "the log of the task could not be read: "+err.Error())
	}
	out := Restored{Guest: r.guest, Kind: r.kind, Node: r.node, Archive: r.volid, LeftOut: r.leftOut, Task: builtin.Now(upid.String())}
	if !end.OK {
		return out, v.restoreFault(ctx, r, end, log)
	}
	if err := v.seeRestored(ctx, r, &out, log); err != nil {
		return out, err
	}
	if r.start {
		if err := v.seeRunning(ctx, r, out); err != nil {
			return out, err
		}
	}
	out.Warnings = builtin.Now(append(slices.Clone(r.warnings), log.warnings...))
	return out, nil
}

// restoreFault is the failure of a task, and what it left.
func (v *vzdump) restoreFault(ctx context.Context, r *restoration, end pve.TaskEnd, log *restoreLog) error {
	f := builtin.Faultf(builtin.Failed, "%s", r.what()).Saying(strings.Join(append(log.said, end.ExitStatus), "; "))
	f.Partial = Restored{}
	if strings.HasPrefix(end.ExitStatus, "403 ") || strings.Contains(end.ExitStatus, "only possible for root") {
		f.Kind = builtin.Forbidden
	}
	log2 := fmt.Sprintf("the whole log: pvenode task log %s on %s", end.UPID, r.node)
	_, err := v.config(ctx, r)
	switch {
	case r.over:
		f.What += ": it failed, and what was on the guest's disks may be gone"
		return f.Hinting("verify the archive, then restore again, or another one; %s", log2)
	case err == nil:
		return f.Hinting("something of guest %d is there: look at it, and remove it before trying again; %s", r.guest, log2)
	case goneFromCluster(err):
		return f.Hinting("nothing of guest %d is left; verify the archive; %s", r.guest, log2)
	}
	return f.Hinting("whether something of guest %d is left could not be seen (%v); %s", r.guest, err, log2)
}

// goneFromCluster: Proxmox says of a guest that is not there that its file is not, and 403 to who may not see it.
func goneFromCluster(err error) bool {
	f := builtin.AsFault(err)
	return f != nil && f.Kind == builtin.NotFound
}

// config is the configuration of the guest, as it is now.
func (v *vzdump) config(ctx context.Context, r *restoration) (guestConfig, error) {
	var raw map[string]pve.Text
	if err := v.c.Get(ctx, r.path(r.guest.String(), "config"), nil, &raw); err != nil {
		return guestConfig{}, err
	}
	c := guestConfig{kind: r.kind, values: make(map[string]string, len(raw))}
	for key, value := range raw {
		c.values[key] = string(value)
	}
	return c, nil
}

// seeRestored reads the post-condition back: the guest is in the cluster's
// list, its configuration is readable and free of locks, and each of its disks
// is on its storage.
func (v *vzdump) seeRestored(ctx context.Context, r *restoration, out *Restored, log *restoreLog) error {
	not := func(format string, args ...any) error {
		return builtin.Faultf(builtin.Failed, "%s: the task ended well, but "+format, append([]any{r.what()}, args...)...).
			Hinting("look at guest %d on %s; the whole log: pvenode task log %s", r.guest, r.node, out.Task.Value)
	}
	guests, err := v.c.Guests(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(guests, func(g pve.Guest) bool { return g.VMID == r.guest && g.Node == string(r.node) }) {
		return not("the cluster's list has no guest %d on %s", r.guest, r.node)
	}
	c, err := v.config(ctx, r)
	if err != nil {
		return err
	}
	if lock := c.values["lock"]; lock != "" {
		return not("the guest is locked (%s)", lock)
	}
	disks := []Disk{}
	for _, d := range c.disks() {
		if !strings.HasPrefix(d.VolID, "/") {
			disks = append(disks, d.Disk)
		}
	}
	missing, err := v.disksNotSeen(ctx, r, disks, log)
	if err != nil {
		return err
	}
	if missing != "" {
		return not("its disk %s is not on the storage", missing)
	}
	out.Config, out.Disks = builtin.Now(c.values), builtin.Now(disks)
	return nil
}

// disksNotSeen looks for each disk in the list of its storage, one request a
// storage. A token that may not see disks there learns of them one by one, or
// not at all, which is a warning.
func (v *vzdump) disksNotSeen(ctx context.Context, r *restoration, disks []Disk, log *restoreLog) (missing string, err error) {
	seen, asked := map[string]bool{}, map[string]bool{}
	for _, d := range disks {
		storage, _, _ := strings.Cut(d.VolID, ":")
		if !asked[storage] {
			asked[storage] = true
			volumes, err := v.c.Content(ctx, string(r.node), storage, pve.ContentFilter{VMID: r.guest})
			if f := builtin.AsFault(err); err != nil && (f == nil || f.Kind != builtin.Forbidden) {
				return "", err
			}
			for _, x := range volumes {
				seen[x.VolID] = true
			}
		}
		if seen[d.VolID] {
			continue
		}
		err := v.c.Get(ctx, pve.Path("/nodes/%s/storage/%s/content/%s", string(r.node), storage, d.VolID), nil, new(map[string]pve.Text))
		switch f := builtin.AsFault(err); {
		case err == nil:
		case f != nil && f.Kind == builtin.Forbidden:
			log.warnings = append(log.warnings, fmt.Sprintf("%s: the token may not see whether it is there (Datastore.Audit on /storage/%s)", d.VolID, storage))
		case f != nil && (f.Kind == builtin.NotFound || f.Kind == builtin.Failed):
			return d.VolID, nil
		default:
			return "", err
		}
	}
	return "", nil
}

// startLimit is how long a guest may take from the start that Proxmox gives it
// after a restore, in a task of its own, until it runs.
const startLimit = 2 * time.Minute

func (v *vzdump) seeRunning(ctx context.Context, r *restoration, out Restored) error {
	for waited := time.Duration(0); ; waited += 2 * time.Second {
		var now struct {
			Status string `json:"status"`
		}
		if err := v.c.Get(ctx, r.path(r.guest.String(), "status", "current"), nil, &now); err != nil {
			return err
		}
		if now.Status == "running" {
			return nil
		}
		if waited >= startLimit {
			f := builtin.Faultf(builtin.Failed, "%s: it is restored, but does not run", r.what()).Saying("its status is "+now.Status).
				Hinting("look why: the newest task of guest %d on %s", r.guest, r.node)
			f.Partial = out
			return f
		}
		if err := builtin.Sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
}
