package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/journal"
	"nixmox/engine/source"
	"nixmox/stdlib"
)

// keptOptions are the flags that a run keeps, to reach its estate again.
// Faults of the lab are not among them: they have happened.
type keptOptions struct {
	Config   string `json:"config,omitempty"`
	Lab      bool   `json:"lab,omitempty"`
	LabClock string `json:"lab_clock,omitempty"`
	Folder   string `json:"folder,omitempty"`  // in which the playbook's name was given
	Applied  bool   `json:"applied,omitempty"` // the run carries out a saved plan
	Memory   uint64 `json:"memory,omitempty"`  // bytes
	Steps    uint64 `json:"steps,omitempty"`
}

// restore sets the flags as the run had them, where nobody gives others now.
func (k *keptOptions) restore(f *engineFlags) {
	if f.config == "" {
		f.config = k.Config
	}
	if k.Lab {
		f.lab, f.labClock = "keep", k.LabClock
	}
	if f.memory == 0 {
		f.memory = builtin.Bytes(k.Memory)
	}
	if f.steps == 0 {
		f.steps = k.Steps
	}
}

func (f *engineFlags) keep() (json.RawMessage, error) {
	k := keptOptions{Lab: f.lab != "", Memory: uint64(f.memory), Steps: f.steps}
	if k.Lab {
		k.LabClock = f.labClock
	}
	var err error
	if f.config != "" {
		if k.Config, err = filepath.Abs(f.config); err != nil {
			return nil, err
		}
	}
	if k.Folder, err = filepath.Abs("."); err != nil {
		return nil, err
	}
	return json.Marshal(k)
}

// resumable are the states of runs that can go on, if nobody runs them.
var resumable = []journal.State{journal.Running, journal.Suspended, journal.InDoubt}

func (a *app) resumeCommand() *cobra.Command {
	f := &engineFlags{}
	var all, current bool
	var answers []string
	cmd := &cobra.Command{
		Use: "resume RUN | --all", Short: "Go on with a run that was interrupted, or is in doubt",
		Long: `Go on with a run that was interrupted, or is in doubt.

What is recorded is not done again. A change that was begun and whose end was not
recorded is settled first: nixmox looks at the world and finds out what became of
it. Where nobody can tell, the run stops with exit code 5 and shows what is known;
--settle PLACE=done or PLACE=undone is your answer.`,
		ValidArgsFunction: a.completeRuns(f, 1, resumable...),
		Args: func(cmd *cobra.Command, args []string) error {
			if all != (len(args) == 0) || len(args) > 1 {
				return usagef("nixmox runs lists them", "nixmox resume takes the id of a run, or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o := engine.ResumeOptions{Settled: map[builtin.Place]string{}, Timeout: f.timeout}
			for _, text := range answers {
				place, answer, _ := strings.Cut(text, "=")
				if answer != "done" && answer != "undone" {
					return usagef("nixmox resume --help", "--settle %s: want PLACE=done or PLACE=undone", text)
				}
				o.Settled[builtin.Place(place)] = answer
			}
			if all {
				return a.resumeAll(cmd.Context(), f, o)
			}
			return a.resume(cmd.Context(), f, args[0], o, current)
		},
	}
	resumeFlags(cmd, f)
	cmd.Flags().BoolVar(&all, "all", false, "every run that can go on; for when the machine starts")
	cmd.Flags().BoolVar(&current, "use-current", false, "read the playbook from its file as it is now, in place of the run's own copy")
	cmd.Flags().StringArrayVar(&answers, "settle", nil, "what became of a change in doubt: PLACE=done or PLACE=undone; may be repeated")
	return cmd
}

func (a *app) cancelCommand() *cobra.Command {
	f := &engineFlags{}
	cmd := &cobra.Command{
		Use: "cancel RUN", Short: "End a suspended run: replay it to its last recorded call, run what it deferred", Args: oneID,
		ValidArgsFunction: a.completeRuns(f, 1, resumable...),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.resume(cmd.Context(), f, args[0], engine.ResumeOptions{Cancel: true}, false)
		},
	}
	resumeFlags(cmd, f)
	return cmd
}

func resumeFlags(cmd *cobra.Command, f *engineFlags) {
	cmd.Flags().StringVar(&f.state, "state", "", "state folder (NIXMOX_STATE)")
	cmd.Flags().StringVar(&f.config, "config", "", "another configuration than the run had")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "end the run after this time (exit code 7)")
	cmd.Flags().Var(textFlag{&f.wait, "duration"}, "wait", "how long to wait for a lock (exit code 6)")
	cmd.Flags().StringVar(&f.logFile, "log-file", "", "also append everything that happens to this file, as plain lines")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "only warnings, errors and the last line")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "also every read")
	cmd.Flags().BoolVar(&f.json, "json", false, "print events instead of text, one JSON object a line")
	f.wait = builtin.Duration(engine.DefaultLockWait)
	f.registerLimits(cmd.Flags(), "; as the run had it unless given")
}

// resume takes the run's owner lock, opens its estate as it was, and goes on.
func (a *app) resume(ctx context.Context, f *engineFlags, id string, o engine.ResumeOptions, current bool) error {
	var begun journal.NewRun
	err := a.withJournal(f, func(db *journal.DB) error {
		info, _, kept, err := db.Show(id)
		if err == nil && final(info.State) {
			err = usagef("nixmox runs show "+info.ID, "run %s has ended: %s", info.ID, info.State)
		}
		begun = kept
		return err
	})
	if err != nil {
		return err
	}
	var kept keptOptions
	if err := json.Unmarshal(begun.Options, &kept); err != nil {
		return fmt.Errorf("run %s: how to reach its estate cannot be read: %w", begun.ID, err)
	}
	if kept.Applied && !o.Cancel {
		return usagef("nixmox cancel "+begun.ID+" settles what was begun and ends it; then plan again",
			"run %s carries out a saved plan, and a resumed run is not held against it", begun.ID)
	}
	kept.restore(f)
	return withEstate(ctx, f, func(ctx context.Context, e *estate) error {
		if current {
			roots, err := currentRoots(begun, kept.Folder)
			if err != nil {
				return err
			}
			defer func() { _ = roots.Close() }() // it was only read
			o.Current = &roots
		}
		db, err := e.engine.Journal()
		if err != nil {
			return journalError(err)
		}
		record, err := db.Resume(begun.ID)
		if err != nil {
			return journalError(err)
		}
		return a.show(e, f, begun.Playbook, false, func() (engine.Report, error) { return e.engine.Resume(ctx, record, o) })
	})
}

// currentRoots are where the playbook's file stands now.
func currentRoots(begun journal.NewRun, folder string) (source.Roots, error) {
	shown := engine.CurrentFile(begun)
	if strings.HasPrefix(shown, shippedPrefix) {
		return shippedRoots(), nil
	}
	if !filepath.IsAbs(shown) {
		shown = filepath.Join(folder, shown)
	}
	roots, _, err := source.Dir(shown, stdlib.FS)
	return roots, usage(err, "")
}

// resumeAll goes on with all runs that nobody runs; one's failure does not
// keep the others. The exit code is that of the first that did not end well.
func (a *app) resumeAll(ctx context.Context, f *engineFlags, o engine.ResumeOptions) error {
	var ids []string
	err := a.withJournal(f, func(db *journal.DB) error {
		runs, err := db.Runs(journal.Filter{States: resumable})
		for i := len(runs) - 1; i >= 0; i-- { // the oldest first
			if !runs[i].Live {
				ids = append(ids, runs[i].ID)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return a.println("no run is to be resumed")
	}
	var first error
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		each := *f
		if err := a.resume(ctx, &each, id, o, false); err != nil {
			code, explained := errors.AsType[exitError](err)
			if !explained {
				code = exitError(a.explain(err))
			}
			if first == nil {
				first = code
			}
		}
	}
	return first
}
