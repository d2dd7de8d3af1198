package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"nixmox/builtins/lab"
)

func (a *app) labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "lab", Short: "The simulated estate",
		Long: `The simulated estate: a Proxmox VE cluster with guests, storages and archives that
are real files. Nothing in it can touch a real machine.

  nixmox run --lab PLAYBOOK        runs a playbook in it; it is kept from run to run
  nixmox run --lab=fresh PLAYBOOK  starts it anew
  nixmox lab up --dir DIR          serves one as a process of its own
  nixmox lab shell                 opens a shell in it, with its zfs and zpool

` + lab.FaultHelp(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.labUpCommand(), a.labShellCommand())
	return cmd
}

func (a *app) labUpCommand() *cobra.Command {
	f := &engineFlags{}
	var dir, addr string
	var fresh bool
	cmd := &cobra.Command{
		Use: "up --dir DIR", Short: "Serve a simulated estate until interrupted",
		Long: "Serve a simulated estate until interrupted. DIR/nixmox.toml is written for --config:\n\n  nixmox run --config DIR/nixmox.toml backup",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("nixmox lab up --dir DIR", "--dir is missing: the folder of the estate")
			}
			if fresh {
				f.lab = "fresh"
			}
			return a.labUp(cmd.Context(), f, dir, addr)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the estate's folder")
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "where to listen")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "start anew")
	cmd.Flags().StringVar(&f.labClock, "lab-clock", "real", "real, or auto, where hours of tasks pass in a moment")
	cmd.Flags().StringArrayVar(&f.labFault, "lab-fault", nil, "something that goes wrong; may be repeated")
	return cmd
}

func (a *app) labUp(ctx context.Context, f *engineFlags, dir, addr string) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	o, err := labOptions(f, dir)
	if err != nil {
		return err
	}
	o.Addr = addr
	l, err := lab.Open(o)
	if err != nil {
		return labError(err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	endpoint, err := l.Start()
	if err != nil {
		return labError(err)
	}
	file := filepath.Join(dir, "nixmox.toml")
	if err := os.WriteFile(file, []byte(labToml(endpoint, dir, f.labClock)), 0o600); err != nil {
		return err
	}
	if err := a.println("the lab is up at " + endpoint.URL + ", its commands are in " + endpoint.Commands + "\n  nixmox run --config " + file + " backup"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// labToml is the configuration that leads nixmox to the lab.
func labToml(e lab.Endpoint, dir, clock string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by nixmox lab up; the secrets in it open a simulated estate only.\n")
	fmt.Fprintf(&b, "[proxmox]\nurl = %q\ntoken_id = %q\ntoken = %q\nfingerprint = %q\n\n[proxmox.mounts]\n", e.URL, e.TokenID, e.TokenSecret, e.Fingerprint)
	names := make([]string, 0, len(e.Mounts))
	for name := range e.Mounts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%q = %q\n", name, e.Mounts[name])
	}
	fmt.Fprintf(&b, "\n[lab]\ndir = %q\nclock = %q\ncommands = %q\n", dir, clock, e.Commands)
	return b.String()
}
