package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"nixmox/builtins/lab"
	"nixmox/builtins/lab/command"
)

func (a *app) labShellCommand() *cobra.Command {
	f := &engineFlags{}
	var dir string
	var fresh, withPath bool
	cmd := &cobra.Command{
		Use: "shell", Short: "Open a shell in the simulated estate",
		Long: `Open a shell on the estate's first node: ` + strings.Join(command.Names(), " and ") + ` in it are the estate's.
` + command.NodeVariable + `=pve2 before a command has it act on another node. Without --dir it
is the estate of nixmox run --lab. The shell reads no start files, and its status is
nixmox's.

PATH holds the lab's commands and nothing else, so no other program is found by its
name; one that is called by its full path is this machine's. --with-path puts this
machine's own PATH behind, for tools that need perl and the like: what the lab has no
command for is then the real one, qm on a Proxmox VE host, say.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if fresh {
				f.lab = "fresh"
			}
			return a.labShell(cmd.Context(), f, dir, withPath)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the estate's folder")
	cmd.Flags().StringVar(&f.state, "state", "", "state folder, whose lab it is without --dir (NIXMOX_STATE)")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "start anew")
	cmd.Flags().BoolVar(&withPath, "with-path", false, "this machine's programs, too, behind the lab's")
	cmd.Flags().StringVar(&f.labClock, "lab-clock", "real", "real, or auto, where hours of tasks pass in a moment")
	cmd.Flags().StringArrayVar(&f.labFault, "lab-fault", nil, "something that goes wrong; may be repeated")
	return cmd
}

func (a *app) labShell(ctx context.Context, f *engineFlags, dir string, withPath bool) (err error) {
	if dir == "" {
		state, err := (&config{}).stateDir(f.state)
		if err != nil {
			return err
		}
		dir = filepath.Join(state, "lab")
	}
	o, err := labOptions(f, dir)
	if err != nil {
		return err
	}
	l, err := lab.Open(o)
	if err != nil {
		return labError(err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	path := l.CommandDir()
	says := "nothing else is on PATH; what is called by its full path is this machine's"
	if withPath {
		path += string(os.PathListSeparator) + os.Getenv("PATH")
		says = "every other program is this machine's, and what it does is real"
	}
	program, args := plainShell(os.Getenv("SHELL"))
	a.notice("nixmox: a shell in the lab in " + dir + ": " + strings.Join(command.Names(), " and ") + " are the lab's; " + says)
	if name := filepath.Base(os.Getenv("SHELL")); program == "/bin/sh" && name != "sh" && name != "." {
		a.notice("nixmox: it is sh, because " + name + " has start files that could set PATH")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = shellEnvironment(os.Environ(), path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.stdout, a.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGHUP) } // as when its terminal goes away
	cmd.WaitDelay = 5 * time.Second
	a.shell.Store(true)
	defer a.shell.Store(false)
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitError(128 + int(status.Signal()))
		}
		return exitError(exit.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("the shell %s: %w", program, err)
	}
	return nil
}

// plainShell is the user's own where that can be kept from reading files that
// set PATH, and else sh.
func plainShell(own string) (program string, args []string) {
	switch filepath.Base(own) {
	case "bash":
		return own, []string{"--norc", "--noprofile"}
	case "sh", "dash", "ash", "ksh", "mksh": // they read what ENV names, which is not handed on
		return own, nil
	}
	return "/bin/sh", nil
}

// shellEnvironment is the environment without what could lead past PATH.
func shellEnvironment(environ []string, path string) []string {
	environ = slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"PATH", "ENV", "BASH_ENV", "PS1", "PROMPT_COMMAND", "CDPATH"}, name) || strings.HasPrefix(name, "BASH_FUNC_")
	})
	return append(environ, "PATH="+path, "PS1=nixmox lab$ ")
}
