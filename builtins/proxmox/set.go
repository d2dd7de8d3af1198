package proxmox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Setting is the value of one entry of a guest's configuration, as qm.conf(5)
// and pct.conf(5) write it.
type Setting string

// Describe names the type and its grammar.
func (Setting) Describe() (string, string) {
	return "setting", "text, a number, or True and False for 1 and 0; None takes the entry away"
}

// TakesAnyScalar lets truth values and fractions through, too.
func (Setting) TakesAnyScalar() {}

// UnmarshalText takes any text without line breaks, but in descriptions.
func (s *Setting) UnmarshalText(text []byte) error {
	if strings.ContainsAny(string(text), "\x00\r") {
		return fmt.Errorf("%q is no setting: it has control characters", text)
	}
	*s = Setting(text)
	return nil
}

// SetArgs are the arguments of set().
type SetArgs struct {
	Guest    builtin.VMID        `name:"guest" scope:"guest" doc:"the guest"`
	Settings map[string]*Setting `name:"settings" default:"" rest:"" doc:"the entries, as arguments of their own names too: memory = 4096; None takes one away"`
	Digest   string              `name:"digest" default:"" doc:"of the configuration that was read before (config()[\"digest\"]): if it has changed since, nothing is set"`
	Wait     builtin.Duration    `name:"wait" default:"10m" doc:"how long to wait for Proxmox's own lock on the guest"`
}

func (a SetArgs) what() string { return fmt.Sprintf("configuring the guest %d", a.Guest) }

// SetResult is what set() did.
type SetResult struct {
	Guest   builtin.VMID            `name:"guest" doc:"the guest"`
	Set     []string                `name:"set" doc:"the entries that have a new value"`
	Deleted []string                `name:"deleted" doc:"the entries that were taken away"`
	Kept    []string                `name:"kept" doc:"the entries that were so already"`
	Pending builtin.Later[[]string] `name:"pending" doc:"all entries that wait for the guest's next start, by whomever they were set"`
}

var (
	settingName = pattern.Of(`^[a-z][a-z0-9-]*$`)
	unusedDisk  = pattern.Of(`^unused[0-9]+$`)
)

// notSettings are parts of the request itself, what Proxmox itself writes, and
// what would be recorded and must not be.
var notSettings = map[string]string{
	"digest": "", "delete": "give None for what shall go", "revert": "", "force": "", "skiplock": "", "node": "", "vmid": "", "background_delay": "",
	"lock": "locks are Proxmox's own, and nixmox never breaks one", "parent": "it is the snapshots' own", "snaptime": "it is the snapshots' own",
	"template": "qm template, pct template", "cipassword": "a password would stand in the journal: set it with qm set, or give sshkeys",
}

// wanted are the settings that differ from a configuration, by what is to be
// done with them.
func (a SetArgs) wanted(config map[string]any) (set map[string]string, deleted, kept []string, err error) {
	set, deleted, kept = map[string]string{}, []string{}, []string{}
	if len(a.Settings) == 0 {
		return nil, nil, nil, builtin.Faultf(builtin.Invalid, "%s: no setting is named", a.what()).Hinting("set(%d, memory = 4096), say", a.Guest)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Settings)) {
		hint, no := notSettings[name]
		value := a.Settings[name]
		switch {
		case !settingName().MatchString(name) || no:
			f := builtin.Faultf(builtin.Invalid, "%s: %q is no setting", a.what(), name)
			f.Hint = hint
			if hint == "" {
				f.Hint = "the entries are those of qm.conf(5) and pct.conf(5)"
			}
			return nil, nil, nil, f
		case unusedDisk().MatchString(name):
			return nil, nil, nil, builtin.Faultf(builtin.Invalid, "%s: to take %s away would destroy a disk", a.what(), name).
				Hinting("remove it by hand, if it shall go: qm set, pct set")
		case value == nil && config[name] == nil:
			kept = append(kept, name)
		case value == nil:
			deleted = append(deleted, name)
		case config[name] != nil && settingText(config[name]) == string(*value):
			kept = append(kept, name)
		default:
			set[name] = string(*value)
		}
	}
	return set, deleted, kept, nil
}

func settingText(v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "1"
		}
		return "0"
	case string:
		return strings.TrimSuffix(v, "\n") // a description ends with one
	}
	return fmt.Sprint(v)
}

func (c client) checkSet(ctx context.Context, a SetArgs) (g foundGuest, config map[string]any, err error) {
	if g, err = c.find(ctx, a.Guest); err != nil {
		return
	}
	if config, err = c.configOf(ctx, g, "", true); err != nil {
		return
	}
	if digest, _ := config["digest"].(string); a.Digest != "" && digest != a.Digest {
		err = builtin.Faultf(builtin.Conflict, "%s: its configuration is not the one that was read", a.what()).
			Saying("its digest is " + digest + ", and was " + a.Digest).Hinting("somebody changed it meanwhile: read it again")
	}
	return
}

func (c client) previewSet(ctx context.Context, a SetArgs) (SetResult, error) {
	_, config, err := c.checkSet(ctx, a)
	if err != nil {
		return SetResult{}, err
	}
	set, deleted, kept, err := a.wanted(config)
	if err != nil {
		return SetResult{}, err
	}
	sockets, err := strconv.ParseInt(settingText(config["sockets"]), 10, 64)
	if err != nil {
		sockets = 1
	}
	plan(ctx, a.Guest, func(v *view) {
		for name, value := range set {
			if v.config != nil {
				v.config[name] = value
			}
			v.show(name, value, sockets)
		}
		for _, name := range deleted {
			delete(v.config, name)
			v.show(name, "", sockets)
		}
	})
	return SetResult{a.Guest, slices.Sorted(maps.Keys(set)), deleted, kept, builtin.PlannedBy[[]string](builtin.CallFrom(ctx))}, nil
}

// show has a setting show in lists and in the status, "" one that is taken
// away. What a running VM cannot take does not show before its next start.
func (v *view) show(name, value string, sockets int64) {
	n, numErr := strconv.ParseInt(value, 10, 64)
	if g := v.guest; g != nil {
		now := g.Status == stopped || g.Type == "lxc"
		switch {
		case name == "name" || name == "hostname":
			g.Name = value
		case name == "tags":
			g.Tags = strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(";, ", r) })
		case name == "memory" && now && numErr == nil:
			g.MaxMem = n << 20
		case name == "cores" && now && numErr == nil:
			g.MaxCPU = n * sockets
		}
	}
	if s := v.status; s != nil && name == "agent" && s.Status == stopped {
		s.Agent = value == "1" || strings.HasPrefix(value, "1,") || strings.Contains(value, "enabled=1")
	}
}

// set sends all at once, with the digest of what was read, so that another
// hand's change in between is a conflict. A call that was lost is looked after
// in the configuration itself.
func (c client) set(ctx context.Context, a SetArgs) (SetResult, error) {
	run := builtin.CallFrom(ctx).Run
	deadline := run.Now().Add(time.Duration(a.Wait))
	for {
		g, config, err := c.checkSet(ctx, a)
		if err != nil {
			return SetResult{}, err
		}
		set, deleted, kept, err := a.wanted(config)
		if err != nil {
			return SetResult{}, err
		}
		result := SetResult{Guest: a.Guest, Set: slices.Sorted(maps.Keys(set)), Deleted: deleted, Kept: kept}
		if len(set)+len(deleted) > 0 {
			if err := c.unlocked(ctx, guestChange{what: a.what(), guest: g, wait: time.Duration(a.Wait)}, deadline); err != nil {
				return SetResult{}, err
			}
			err := c.putConfig(ctx, g, config, set, deleted)
			if isLocked(err) && run.Now().Before(deadline) {
				if err := builtin.Sleep(ctx, 2*time.Second); err != nil {
					return SetResult{}, err
				}
				continue
			}
			if f := builtin.AsFault(err); f != nil && f.Kind == builtin.Invalid {
				f.Hint = "the entries and their values are those of qm.conf(5) and pct.conf(5)"
			}
			if err != nil && !pve.InDoubt(err) {
				return SetResult{}, about(a.what(), err)
			}
			if left, readErr := c.notSet(ctx, g, config, set, deleted); readErr != nil || left != "" {
				if err == nil {
					err = readErr
				}
				if err == nil {
					err = builtin.Faultf(builtin.Failed, "%s: Proxmox took it, but %s", a.what(), left).Hinting("look at proxmox.config(%d)", a.Guest)
				}
				return SetResult{}, about(a.what(), err)
			}
		}
		pending, err := c.pendingOf(ctx, g)
		if err != nil {
			return SetResult{}, err
		}
		result.Pending = builtin.Now(pending)
		return result, nil
	}
}

func (c client) putConfig(ctx context.Context, g foundGuest, config map[string]any, set map[string]string, deleted []string) error {
	params := map[string]any{"digest": config["digest"]}
	for name, value := range set {
		params[name] = value
	}
	if len(deleted) > 0 {
		params["delete"] = strings.Join(deleted, ",")
	}
	if err := builtin.Hold(ctx, settingText(config["digest"])); err != nil {
		return err
	}
	err := c.pve.Put(context.WithoutCancel(ctx), g.path("/config"), params, nil)
	// PVE::Tools::assert_if_modified, which containers have.
	if f := builtin.AsFault(err); f != nil && strings.Contains(f.Said, "detected modified configuration") {
		f.Kind, f.Hint = builtin.Conflict, "somebody changed it meanwhile: read it again"
		return f
	}
	return err
}

// notSet says which of the settings is not as it was to be. Proxmox completes
// some that it is given: a disk gets its volume, a network its address.
func (c client) notSet(ctx context.Context, g foundGuest, before map[string]any, set map[string]string, deleted []string) (string, error) {
	config, err := c.configOf(ctx, g, "", true)
	if err != nil {
		return "", err
	}
	for _, name := range deleted {
		if config[name] != nil {
			return name + " is still there", nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		is, was := settingText(config[name]), settingText(before[name])
		completed := strings.ContainsAny(set[name], "=:,") && is != was
		if config[name] == nil || is != strings.TrimSuffix(set[name], "\n") && !completed {
			return fmt.Sprintf("%s is %q", name, is), nil
		}
	}
	return "", nil
}

// settleSet: the configuration tells. The digest from before the request is the
// handle; while it is the same, nothing was set.
func (c client) settleSet(ctx context.Context, a SetArgs, digest string) (builtin.Settlement[SetResult], error) {
	notDone := builtin.Settlement[SetResult]{State: builtin.NotDone}
	if digest == "" {
		return notDone, nil
	}
	g, err := c.find(ctx, a.Guest)
	if err != nil {
		return builtin.Settlement[SetResult]{}, err
	}
	config, err := c.configOf(ctx, g, "", true)
	if err != nil {
		return builtin.Settlement[SetResult]{}, err
	}
	set, deleted, _, err := a.wanted(config)
	if err != nil {
		return builtin.Settlement[SetResult]{State: builtin.Done, Fault: builtin.AsFault(err)}, nil
	}
	plain := len(deleted) > 0
	for _, value := range set {
		plain = plain || !strings.ContainsAny(value, "=:,")
	}
	switch {
	case settingText(config["digest"]) == digest, plain: // all of a request is set, or nothing
		return notDone, nil
	case len(set) > 0: // Proxmox may have completed them, and a new disk must not be made twice
		return builtin.Settlement[SetResult]{Why: fmt.Sprintf("the configuration of %d has changed since, and whether %s by this call, nobody can tell: see proxmox.config(%d)",
			a.Guest, strings.Join(slices.Sorted(maps.Keys(set)), ", "), a.Guest)}, nil
	}
	pending, err := c.pendingOf(ctx, g)
	if err != nil {
		return builtin.Settlement[SetResult]{}, err
	}
	result := SetResult{Guest: a.Guest, Set: []string{}, Deleted: []string{}, Kept: []string{}, Pending: builtin.Now(pending)}
	for _, name := range slices.Sorted(maps.Keys(a.Settings)) {
		if a.Settings[name] == nil {
			result.Deleted = append(result.Deleted, name)
		} else {
			result.Set = append(result.Set, name)
		}
	}
	return builtin.Settlement[SetResult]{State: builtin.Done, Result: result}, nil
}
