package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/source"
	"nixmox/playbooks"
	"nixmox/stdlib"
)

func (a *app) runCommand() *cobra.Command {
	return a.runLike(&cobra.Command{
		Use:   "run [flags] PLAYBOOK [flags of nixmox and of the playbook]",
		Short: "Run a playbook",
		Long: `Run a playbook: a file, or the name of a shipped one (nixmox list).

The parameters of its main are flags: nixmox run PLAYBOOK --help shows them.
Lists repeat or take commas, booleans have --no-NAME.

Started by hand, a playbook may do what it declares (its needs), which the first
lines show; the operator's policy in the configuration narrows it. With
--unattended, for timers, it has to be approved beforehand: nixmox approve.`,
		Example: "  nixmox run --lab backup\n  nixmox run playbooks/backup.star --storage nas --guests all,-900\n  nixmox run backup --dry-run",
	}, false)
}

// runLike gives a command the flags of a run. It parses them itself, because
// the playbook's own flags are known only once it has been found and loaded.
func (a *app) runLike(cmd *cobra.Command, plan bool) *cobra.Command {
	f := &engineFlags{}
	f.register(cmd.Flags())
	if plan {
		f.registerPlan(cmd.Flags())
	}
	cmd.DisableFlagParsing = true
	cmd.ValidArgsFunction = completeRunLike(plan)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set := cmd.Flags()
		name, err := findPlaybook(set, args)
		if err != nil {
			return err
		}
		if name == "" {
			if err := set.Parse(args); err != nil {
				return usage(err, cmd.CommandPath()+" --help")
			}
			if f.help {
				return cmd.Help()
			}
			return usagef("nixmox list shows the shipped ones", "which playbook?")
		}
		// Flags before the name, and those after it that are the engine's, are
		// needed to make the engine that loads the playbook.
		early := pflag.NewFlagSet("", pflag.ContinueOnError)
		early.ParseErrorsAllowlist.UnknownFlags = true
		early.Usage = func() {}
		f.register(early)
		if plan {
			f.registerPlan(early)
		}
		if err := early.Parse(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
			return usage(err, cmd.CommandPath()+" --help")
		}
		f.dryRun = f.dryRun || plan
		return withEstate(cmd.Context(), f, func(ctx context.Context, e *estate) error {
			return a.runPlaybook(ctx, e, f, set, name, args)
		})
	}
	return cmd
}

// reservedFlags are the names that a playbook's parameter cannot have.
func reservedFlags() []string {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := new(engineFlags)
	f.register(set)
	f.registerPlan(set)
	var names []string
	set.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

func (a *app) runPlaybook(ctx context.Context, e *estate, f *engineFlags, set *pflag.FlagSet, name string, args []string) (err error) {
	loading, loaded := ctx, context.CancelFunc(func() {})
	if f.timeout > 0 { // a top level can run away as main can
		loading, loaded = context.WithTimeoutCause(ctx, f.timeout, builtin.Stopf(builtin.TimedOut, "loading the playbook took longer than --timeout %s", f.timeout))
	}
	p, err := loadPlaybook(loading, e.engine, name)
	loaded()
	if err != nil {
		return err
	}
	params := newParamFlags(set, p.Params)
	set.SetInterspersed(true)
	plan := f.dryRun
	if err := set.Parse(args); err != nil {
		return usage(err, "nixmox run "+name+" --help")
	}
	f.dryRun = plan || f.dryRun
	if f.monitoring {
		return usagef("", "--%s takes no value", monitoringFlag)
	}
	if f.help {
		return a.playbookHelp(p, name, set)
	}
	if rest := set.Args(); len(rest) != 1 {
		return usagef("nixmox run "+name+" --help", "a playbook takes flags only, not %q", rest[1])
	}
	values, err := params.resolve(environment)
	if err != nil {
		return usage(err, "nixmox run "+name+" --help")
	}
	if err := e.ready(p); err != nil {
		return err
	}
	if f.unattended {
		if err := e.approved(p, name); err != nil {
			return err
		}
	}
	kept, err := f.keep()
	if err != nil {
		return err
	}
	o := engine.Options{Params: values, Plan: f.dryRun, Timeout: f.timeout, Kept: kept}
	return a.show(e, f, p.Name, f.dryRun, func() (engine.Report, error) { return e.engine.Run(ctx, p, o), nil })
}

// show shows what happens in a run, and how it ends. What could not be shown
// or written down is an error of its own, after the run.
func (a *app) show(e *estate, f *engineFlags, playbook string, plan bool, run func() (engine.Report, error)) (err error) {
	var sinks []event.Sink
	shown := &checkedWriter{w: a.stdout}
	switch {
	case a.monitored != nil:
		sinks = append(sinks, a.monitored.event)
	case f.json && plan: // the plan itself is the output
	case f.json:
		sinks = append(sinks, jsonSink(shown))
	default:
		if terminal, ok := canLive(a.stdout); ok && !f.quiet {
			view := newLive(terminal, shown, f.verbose, e.engine.Clock.Now)
			a.view.Store(view)
			defer a.endView()
			sinks = append(sinks, view.event)
			break
		}
		sinks = append(sinks, (&textSink{w: shown, style: styleFor(a.stdout), quiet: f.quiet, verbose: f.verbose}).event)
	}
	var logged *checkedWriter
	if f.logFile != "" {
		file, err := os.OpenFile(f.logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return usage(fmt.Errorf("--log-file: %w", err), "")
		}
		logged = &checkedWriter{w: file}
		sinks = append(sinks, (&textSink{w: logged, style: style{dates: true}, verbose: true}).event)
		defer func() { err = errors.Join(err, file.Close()) }()
	}
	e.engine.Sink, e.engine.Probe = event.Tee(sinks...), a.probe
	report, err := run()
	a.endView()
	if err != nil {
		return err
	}
	if report.Plan != nil {
		if err := a.keepPlan(f, shown, report.Plan); err != nil {
			return err
		}
	}
	if !f.json {
		s := styleFor(a.stdout)
		s.each = f.verbose
		a.lastLines(shown, s, playbook, plan, report)
	}
	code := report.Exit
	if code == engine.ExitDone && f.exitCode && len(changesOf(report.Plan)) > 0 {
		code = exitChanges
	}
	for _, w := range []*checkedWriter{shown, logged} {
		if w != nil && w.err != nil {
			a.writeError("nixmox", fmt.Errorf("what happened could not all be written down: %w", w.err))
			if code == engine.ExitDone {
				code = engine.ExitFailed
			}
		}
	}
	if code != engine.ExitDone {
		return exitError(code)
	}
	return nil
}

// endView ends the live view, if there is one: what follows is plain again.
func (a *app) endView() {
	if view := a.view.Swap(nil); view != nil {
		view.close()
	}
}

// checkedWriter remembers the first error, since a run goes on without.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return len(p), nil //nolint:nilerr // who asks for it, finds it in err
	}
	if _, err := c.w.Write(p); err != nil {
		c.err = err
	}
	return len(p), nil
}

// loadPlaybook loads a file, or a shipped playbook by its bare name.
func loadPlaybook(ctx context.Context, e *engine.Engine, name string) (*engine.Playbook, error) {
	if _, isFile := engine.NameOf(name); !isFile && !strings.Contains(name, "/") {
		for _, ending := range engine.Endings() {
			file := strings.ReplaceAll(name, "-", "_") + ending
			if _, err := fs.Stat(playbooks.FS, file); err == nil {
				return loadShipped(ctx, e, file)
			}
		}
		return nil, usagef("nixmox list shows what is shipped; a file of your own needs its ending: "+name+".star or .lua", "there is no shipped playbook %q", name)
	}
	if info, err := os.Stat(name); err != nil || info.IsDir() {
		if err == nil {
			err = &fs.PathError{Op: "open", Path: name, Err: errors.New("it is a folder")}
		}
		return nil, usage(err, "nixmox list shows the shipped playbooks")
	}
	if _, ok := engine.NameOf(name); !ok {
		return nil, usagef("", "%s: a playbook's name ends in %s", name, strings.Join(engine.Endings(), " or "))
	}
	roots, file, err := source.Dir(name, stdlib.FS)
	if err != nil {
		return nil, usage(err, "")
	}
	p, err := e.Load(ctx, roots, file)
	return p, errors.Join(err, roots.Close())
}

func loadShipped(ctx context.Context, e *engine.Engine, file string) (*engine.Playbook, error) {
	return e.Load(ctx, shippedRoots(), file)
}

const shippedPrefix = "shipped:"

func shippedRoots() source.Roots {
	return source.Roots{Playbook: playbooks.FS, Shown: shippedPrefix, Std: stdlib.FS}
}
