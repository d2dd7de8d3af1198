package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/pelletier/go-toml/v2"

	"nixmox/engine/builtin"
	"nixmox/engine/policy"
)

// policyConfig is the operator's policy: the table [policy] of the
// configuration, or the whole of a file of its own.
type policyConfig struct {
	Allow    map[string][]string      `toml:"allow"`
	Deny     map[string][]string      `toml:"deny"`
	Limits   limitsConfig             `toml:"limits"`
	Playbook map[string]playbookRules `toml:"playbook"`
}

// playbookRules narrow one playbook further.
type playbookRules struct {
	Allow map[string][]string `toml:"allow"`
	Deny  map[string][]string `toml:"deny"`
}

// limitsConfig bounds what flags can ask for.
type limitsConfig struct {
	Memory  builtin.Bytes    `toml:"memory"`
	Steps   uint64           `toml:"steps"`
	Timeout builtin.Duration `toml:"timeout"`
	Calls   uint64           `toml:"calls"`
}

// policy are the operator's rules; nil if there are none.
func (c *config) policy() (*policy.Rules, error) {
	own, file, tables := c.Policy, c.file, "policy."
	switch {
	case own != nil && c.PolicyFile != "":
		return nil, usagef("keep one of them", "%s: both [policy] and policy_file", c.file)
	case c.PolicyFile != "":
		own, file, tables = &policyConfig{}, c.relative(c.PolicyFile), ""
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usage(fmt.Errorf("policy: %w", err), "policy_file in "+c.file+" names it")
		}
		if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(own); err != nil {
			return nil, tomlError(file, err)
		}
	case own == nil:
		return nil, nil
	}
	if err := onlyOursToWrite(file); err != nil {
		return nil, err
	}
	l := own.Limits
	rules := &policy.Rules{Every: narrowing(file, tables, own.Allow, own.Deny), Playbooks: map[string]policy.Narrowing{},
		Limits: policy.Limits{Memory: uint64(l.Memory), Steps: l.Steps, Timeout: time.Duration(l.Timeout), Calls: l.Calls}}
	for name, p := range own.Playbook {
		rules.Playbooks[name] = narrowing(file, tables+"playbook."+name+".", p.Allow, p.Deny)
	}
	return rules, nil
}

// narrowing reads tables of needs. A table allow that is there, but empty,
// allows nothing.
func narrowing(file, tables string, allow, deny map[string][]string) policy.Narrowing {
	return policy.Narrowing{Allowing: file + ": [" + tables + "allow]", Denying: file + ": [" + tables + "deny]",
		Bounded: allow != nil, Allow: entries(allow), Deny: entries(deny)}
}

func entries(table map[string][]string) []policy.Need {
	var out []policy.Need
	for _, module := range slices.Sorted(maps.Keys(table)) {
		for _, text := range table[module] {
			out = append(out, policy.ParseNeed(module, text, builtin.Position{}))
		}
	}
	return out
}

// checkRules refuses rules that name nothing there is: one with a mistake in
// it would forbid nothing.
func checkRules(rules *policy.Rules, modules []builtin.Module) error {
	if rules == nil {
		return nil
	}
	if err := rules.Every.Check(modules); err != nil {
		return usage(err, "docs/nixmox.toml is a commented example")
	}
	for _, name := range slices.Sorted(maps.Keys(rules.Playbooks)) {
		own := rules.Playbooks[name]
		if err := own.Check(modules); err != nil {
			return usage(err, "docs/nixmox.toml is a commented example")
		}
	}
	return nil
}

// onlyOursToWrite refuses a policy that others could change.
func onlyOursToWrite(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return usage(err, "")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return usagef("chmod go-w "+path, "%s is a policy, and its mode %04o lets others write it", path, info.Mode().Perm())
	}
	return nil
}

// policyToCheck are the rules that a run would be under. Who may not read the
// machine's configuration can still check playbooks, and is told.
func (a *app) policyToCheck(named string, modules []builtin.Module) (*policy.Rules, error) {
	var rules *policy.Rules
	c, err := readConfig(named)
	if err == nil {
		rules, err = c.policy()
	}
	if errors.Is(err, fs.ErrPermission) && named == "" {
		a.notice("nixmox: checked without the operator's policy: " + err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return rules, checkRules(rules, modules)
}

// atMost is a limit that is bounded by another; 0 bounds nothing.
func atMost(limit, bound uint64) uint64 {
	if bound == 0 {
		return limit
	}
	return min(limit, bound)
}
