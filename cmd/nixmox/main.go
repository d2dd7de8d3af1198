// Command nixmox runs playbooks that update, snapshot, back up, prove,
// restore and roll back an estate of Proxmox VE hosts and their guests.
//
// This package is the command line: flags, configuration, and how events look
// to a person. What a run is, the engine knows; what can be called, builtins.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nixmox/builtins"
	"nixmox/builtins/lab/command"
	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/sandbox"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "development"

func main() {
	command.Intercept() // first: a command of the lab has nothing to do with the rest
	// Runs are short and their heaps small: collecting less often costs a few
	// MiB and saves a quarter of the time of a large plan. Where what is kept
	// is not small any more, what is collected late must not be four times that:
	// above the limit, which nothing is refused for, it is collected sooner.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(80 << 20)
	if len(os.Args) > 1 && os.Args[1] == sandbox.Argument {
		evaluate(os.Args[2:])
	}
	os.Exit((&app{stdout: os.Stdout, stderr: os.Stderr}).main(os.Args[1:]))
}

// evaluate makes of this process an evaluator of playbooks, which knows the
// definitions of the built-ins and performs none.
func evaluate(args []string) {
	modules, _, err := builtins.All(builtins.Config{})
	if err != nil {
		panic(err) // it is about definitions, which tests have seen
	}
	engine.Evaluate(args, modules)
}

// main is the whole program; its result is the exit code.
func (a *app) main(args []string) int {
	if i := slices.Index(args, "--"+monitoringFlag); i >= 0 {
		return a.monitor(slices.Delete(slices.Clone(args), i, i+1))
	}
	ctx, stop := untilSignalled(context.Background(), a.notice, &a.shell)
	defer stop()
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return engine.ExitDone
	}
	return a.explain(err)
}

// untilSignalled ends the context at the first interrupt, and the process at
// the second; while a shell has the terminal, interrupts are the shell's. A closed pipe on standard output ends neither: a backup does
// not stop because nobody reads along.
func untilSignalled(ctx context.Context, notice func(string), shell *atomic.Bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for ctx.Err() == nil {
			select {
			case s := <-signals:
				if s == os.Interrupt && shell.Load() {
					continue
				}
				stop := builtin.Stopf(builtin.Cancelled, "interrupted (%s)", s)
				notice("nixmox: interrupted; a second time ends it at once")
				cancel(stop)
			case <-done:
				return
			}
		}
		select {
		case <-signals:
			os.Exit(engine.ExitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		close(done)
		cancel(nil)
	}
}

// app is what the subcommands share.
type app struct {
	monitored      *monitored // with --monitoring: what the run said
	stdout, stderr io.Writer
	view           atomic.Pointer[live] // while a run is shown live
	shell          atomic.Bool          // while one has the terminal
	// probe is called at the positions of the journal's protocol, in tests.
	probe func(at string, call *builtin.Call)
}

// notice writes a line to standard error, or where a live view has the
// terminal, through it.
func (a *app) notice(text string) {
	if view := a.view.Load(); view != nil {
		if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			view.notice(text)
			return
		}
	}
	_, _ = fmt.Fprintln(a.stderr, text) // there is nowhere left to say that it failed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "nixmox",
		Short: "Playbooks for Proxmox VE, NixOS and Windows guests: back up, prove, prune, restore",
		Long: `nixmox runs playbooks, small sandboxed programs, that update, snapshot, back up,
prove, restore and roll back an estate of Proxmox VE hosts and their guests.

It never says that a thing happened unless it looked and saw that it did.`,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(err, cmd.CommandPath()+" --help") })
	root.AddCommand(a.runCommand(), a.planCommand(), a.applyCommand(), a.checkCommand(), a.approveCommand(), a.testCommand(), a.listCommand(), a.docCommand(), a.runsCommand(), a.resumeCommand(), a.cancelCommand(), a.labCommand(), a.doctorCommand(), a.versionCommand())
	completeFlags(root)
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.println("nixmox " + version) },
	}
}

// println writes a line of results.
func (a *app) println(line string) error {
	_, err := fmt.Fprintln(a.stdout, line)
	return err
}

// exitError carries an exit code that was explained already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// usageError is a mistake in flags, arguments or configuration.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage makes a usage error; hint is a command or a sentence.
func usage(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &usageError{err, hint}
}

func usagef(hint, format string, args ...any) error { return usage(fmt.Errorf(format, args...), hint) }

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd.CommandPath()+" --help", "%s takes no argument %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// explain writes an error the way every command does, and returns its exit
// code.
func (a *app) explain(err error) int {
	if code, ok := errors.AsType[exitError](err); ok {
		// What went wrong beside it, in closing things, has not been said.
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				if _, said := errors.AsType[exitError](e); !said {
					a.writeError("nixmox", e)
				}
			}
		}
		return int(code)
	}
	a.writeError("nixmox", err)
	if _, ok := errors.AsType[*usageError](err); ok || isUnknownCommand(err) {
		return engine.ExitUsage
	}
	return engine.ExitCode(err)
}

// isUnknownCommand: cobra's error for that is of no type of its own.
func isUnknownCommand(err error) bool { return strings.HasPrefix(err.Error(), "unknown command ") }
