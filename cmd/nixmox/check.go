package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"nixmox/cmd/nixmox/playtest"
	"nixmox/engine"
	"nixmox/engine/source"
	"nixmox/playbooks"
)

func (a *app) checkCommand() *cobra.Command {
	asJSON, configured := false, ""
	cmd := &cobra.Command{
		Use: "check PLAYBOOK…", Short: "Check playbooks without running them",
		Long: `Check playbooks without running them: syntax, names, parameters, what they load,
the names and literal values of the arguments of calls, needs that are missing,
never used, or forbidden by the operator's policy. Exit code 3 if one does not check.`,
		Example:           "  nixmox check playbooks/*.star mine.lua",
		ValidArgsFunction: completePlaybooks,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("nixmox check FILE…", "which playbook?")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := definitions()
			if err != nil {
				return err
			}
			if e.Policy, err = a.policyToCheck(configured, e.Modules); err != nil {
				return err
			}
			return errors.Join(a.check(cmd.Context(), e, args, asJSON), e.Close())
		},
	}
	cmd.Flags().StringVar(&configured, "config", "", "configuration file, for its policy (NIXMOX_CONFIG)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print problems as JSON, one a line")
	return cmd
}

func (a *app) check(ctx context.Context, e *engine.Engine, names []string, asJSON bool) error {
	bad := false
	for _, name := range names {
		problems, err := problemsOf(ctx, e, name)
		if err != nil {
			return err
		}
		bad = bad || len(problems) > 0
		for _, p := range problems {
			if asJSON {
				text, err := json.Marshal(p)
				if err != nil {
					return err
				}
				if err := a.println(string(text)); err != nil {
					return err
				}
				continue
			}
			a.writeError("", p)
		}
		if len(problems) == 0 && !asJSON {
			if err := a.println(name + ": checks"); err != nil {
				return err
			}
		}
	}
	if bad {
		return exitError(engine.ExitCheck)
	}
	return nil
}

func problemsOf(ctx context.Context, e *engine.Engine, name string) (source.Problems, error) {
	if playtest.IsTest(name) {
		return testProblems(ctx, name)
	}
	p, err := loadPlaybook(ctx, e, name)
	if list, ok := errors.AsType[source.Problems](err); ok {
		return list, nil
	}
	if one, ok := errors.AsType[*source.Problem](err); ok {
		return source.Problems{one}, nil
	}
	if err != nil {
		return nil, err
	}
	return e.Check(p), nil
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the shipped playbooks", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			e, err := definitions()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, e.Close()) }()
			names, err := fs.Glob(playbooks.FS, "*.*")
			if err != nil {
				return err
			}
			for _, name := range names {
				p, err := loadShipped(cmd.Context(), e, name)
				if err != nil {
					return err
				}
				summary, _, _ := strings.Cut(p.Doc, "\n")
				if err := a.println(fmt.Sprintf("%-16s %s", p.Name, summary)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
