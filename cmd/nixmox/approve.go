package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/policy"
)

// approveFlags are those of nixmox approve.
type approveFlags struct {
	config, state string
	yes, list     bool
	json          bool
	revoke        string
}

func (a *app) approveCommand() *cobra.Command {
	f := &approveFlags{}
	cmd := &cobra.Command{
		Use: "approve PLAYBOOK… | --list | --revoke NAME", Short: "Approve what playbooks may do when nobody is there",
		Long: `Approve what playbooks may do when nobody is there: nixmox run --unattended, which
timers use, runs only what is approved (exit code 4).

It shows what the playbook declares, what of it is new since its last approval,
and what cannot be undone. The approval holds for the playbook's name and its
needs: its text can change, it can need less, but for more it must be approved
again. A need such as prune:$storage is for whatever storage it is started with.
Approvals are kept in approvals.json in the state folder.`,
		Example:           "  nixmox approve backup\n  nixmox approve --yes playbooks/nightly.star\n  nixmox approve --list",
		ValidArgsFunction: completePlaybooks,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 == (f.list || f.revoke != "") || f.list && f.revoke != "" {
				return usagef("nixmox approve --help", "one of these: playbooks, --list, or --revoke NAME")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.approve(cmd.Context(), f, args) },
	}
	cmd.Flags().StringVar(&f.config, "config", "", "configuration file (NIXMOX_CONFIG)")
	cmd.Flags().StringVar(&f.state, "state", "", "state folder (NIXMOX_STATE)")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&f.list, "list", false, "show what is approved")
	cmd.Flags().BoolVar(&f.json, "json", false, "with --list: as JSON, one object a line")
	cmd.Flags().StringVar(&f.revoke, "revoke", "", "take back the approval of the playbook of this name")
	return cmd
}

func (a *app) approve(ctx context.Context, f *approveFlags, names []string) (err error) {
	c, err := readConfig(f.config)
	if err != nil {
		return err
	}
	dir, err := c.stateDir(f.state)
	if err != nil {
		return err
	}
	approvals := policy.Approvals{Dir: dir}
	switch {
	case f.list:
		return a.listApprovals(approvals, f.json)
	case f.revoke != "":
		ok, err := approvals.Revoke(f.revoke)
		if err == nil && !ok {
			err = usagef("nixmox approve --list", "no playbook %q is approved", f.revoke)
		}
		if err != nil {
			return err
		}
		return a.println(clean(f.revoke) + " is no longer approved")
	}
	if !f.yes && !term.IsTerminal(int(os.Stdin.Fd())) {
		return usagef("--yes approves without asking", "there is no terminal to ask at")
	}
	e, err := definitions()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if e.Policy, err = c.policy(); err != nil {
		return err
	}
	if err := checkRules(e.Policy, e.Modules); err != nil {
		return err
	}
	for _, name := range names {
		p, err := loadPlaybook(ctx, e, name)
		if err == nil {
			err = a.approveOne(e, approvals, p, f.yes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) approveOne(e *engine.Engine, approvals policy.Approvals, p *engine.Playbook, yes bool) error {
	all, err := approvals.All()
	if err != nil {
		return err
	}
	approval := policy.NewApproval(p.Name, p.Needs, time.Now().UTC().Truncate(time.Second), who())
	last, before := all[p.Name]
	if before && last.Digest == approval.Digest {
		return a.println(p.Name + " is approved since " + approvedAt(&last))
	}
	if err := a.showNeeds(e, p, &last, before); err != nil {
		return err
	}
	if !yes {
		if _, err := fmt.Fprintf(a.stdout, "may %s do this when nobody is there? [y/N] ", p.Name); err != nil {
			return err
		}
		answer, _ := bufio.NewReader(os.Stdin).ReadString('\n') // what cannot be read is no yes
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			if err := a.println(p.Name + " is not approved"); err != nil {
				return err
			}
			return exitError(engine.ExitDenied)
		}
	}
	if err := approvals.Approve(approval); err != nil {
		return fmt.Errorf("keeping the approval of %s: %w", p.Name, err)
	}
	if all, err = approvals.All(); err != nil || all[p.Name].Digest != approval.Digest {
		return errors.Join(fmt.Errorf("the approval of %s was written, and is not there", p.Name), err)
	}
	return a.println(p.Name + " is approved")
}

// showNeeds shows what a playbook declares, against its last approval.
func (a *app) showNeeds(e *engine.Engine, p *engine.Playbook, last *policy.Approval, before bool) error {
	s := styleFor(a.stdout)
	title := p.Name + " declares, and was never approved:"
	if before {
		title = p.Name + " declares, against its approval of " + approvedAt(last) + ":"
	}
	lines := []string{title}
	rules := e.Policy.For(p.Name)
	for _, n := range p.Needs {
		line, color := "  "+n.Module+" "+n.String(), ""
		if !last.Covers(n, e.Modules) {
			line, color = "+ "+n.Module+" "+n.String(), green
		}
		if n.CannotBeUndone(e.Modules) {
			line, color = line+" (cannot be undone)", red
		}
		if policy.ExcludesNeed(rules, n, e.Modules) != "" {
			line += " (the policy forbids it)"
		}
		lines = append(lines, s.paint(color, clean(line)))
	}
	if len(p.Needs) == 0 {
		lines = append(lines, "  nothing")
	}
	for _, n := range last.Unneeded(p.Needs) {
		lines = append(lines, s.paint(faint, clean("- "+n.Module+" "+n.String()+" (no longer)")))
	}
	return a.println(strings.Join(lines, "\n"))
}

func (a *app) listApprovals(approvals policy.Approvals, asJSON bool) error {
	all, err := approvals.All()
	if err != nil {
		return err
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 && !asJSON {
		return a.println("nothing is approved")
	}
	for _, name := range names {
		approval := all[name]
		line := fmt.Sprintf("%-16s %s: %s", clean(name), approvedAt(&approval), clean(strings.Join(approval.Needs, ", ")))
		if asJSON {
			text, err := json.Marshal(approval)
			if err != nil {
				return err
			}
			line = string(text)
		}
		if err := a.println(line); err != nil {
			return err
		}
	}
	return nil
}

func approvedAt(a *policy.Approval) string {
	at := a.At.Local().Format(time.DateTime)
	if a.By != "" {
		at += " by " + clean(a.By)
	}
	return at
}

// who approves: for people who look later; nothing depends on it.
func who() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// approved refuses an unattended run of a playbook that is not approved as it is.
func (e *estate) approved(p *engine.Playbook, name string) error {
	all, err := policy.Approvals{Dir: e.state}.All()
	if err != nil {
		return err
	}
	stop := builtin.Stopf(builtin.Denied, "%s is not approved to run unattended", p.Name)
	stop.Hint = "nixmox approve " + name
	approval, ok := all[p.Name]
	if !ok {
		return stop
	}
	var more []string
	for _, n := range p.Needs {
		if !approval.Covers(n, e.engine.Modules) {
			more = append(more, n.Module+" "+n.String())
		}
	}
	if more != nil {
		stop.What = fmt.Sprintf("%s declares more than was approved: %s", p.Name, strings.Join(more, ", "))
		return stop
	}
	return nil
}
