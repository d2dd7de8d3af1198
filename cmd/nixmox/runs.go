package main

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/journal"
)

func (a *app) runsCommand() *cobra.Command {
	var f engineFlags
	var filter journal.Filter
	var state string
	cmd := &cobra.Command{
		Use: "runs", Short: "List runs, newest first; show, compare and forget them", Args: noArgs,
		Example: "  nixmox runs --in suspended\n  nixmox runs show 01K9",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state != "" {
				filter.States = []journal.State{journal.State(state)}
			}
			return a.withJournal(&f, func(db *journal.DB) error {
				runs, err := db.Runs(filter)
				if err != nil {
					return err
				}
				return a.listRuns(runs, f.json)
			})
		},
	}
	journalFlags(cmd, &f)
	cmd.Flags().BoolVar(&f.json, "json", false, "one JSON object a line")
	cmd.Flags().StringVar(&state, "in", "", "only runs in this state: running, suspended, in_doubt, done, failed, cancelled")
	cmd.Flags().StringVar(&filter.Playbook, "playbook", "", "only runs of this playbook")
	cmd.Flags().StringVar(&filter.Before, "before", "", "only runs older than this one, for the next page")
	cmd.Flags().IntVar(&filter.Limit, "limit", 50, "how many at most; 0 for all")
	cmd.AddCommand(a.runsShowCommand(), a.runsDiffCommand(), a.runsPruneCommand())
	return cmd
}

func journalFlags(cmd *cobra.Command, f *engineFlags) {
	cmd.Flags().StringVar(&f.state, "state", "", "state folder (NIXMOX_STATE)")
	cmd.Flags().StringVar(&f.config, "config", "", "configuration file (NIXMOX_CONFIG)")
}

// withJournal opens the record of runs, for commands that perform nothing.
func (a *app) withJournal(f *engineFlags, use func(*journal.DB) error) (err error) {
	c, err := readConfig(f.config)
	if err != nil {
		return err
	}
	dir, err := c.stateDir(f.state)
	if err != nil {
		return err
	}
	db, err := journal.Open(dir)
	if err != nil {
		return journalError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return journalError(use(db))
}

// journalError makes faults and usage errors of the journal's own.
func journalError(err error) error {
	if _, ok := errors.AsType[*journal.NotFoundError](err); ok {
		return usage(err, "nixmox runs lists them")
	}
	if _, ok := errors.AsType[*journal.AmbiguousError](err); ok {
		return usage(err, "nixmox runs lists them")
	}
	if owned, ok := errors.AsType[*journal.OwnedError](err); ok {
		return builtin.Faultf(builtin.Busy, "run %s", owned.ID).Because(owned).Hinting("it is being run right now; nixmox runs show %s", owned.ID)
	}
	return err
}

func (a *app) listRuns(runs []journal.RunInfo, asJSON bool) error {
	if asJSON {
		for _, r := range runs {
			if err := a.printJSON(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(runs) == 0 {
		return a.println("no runs")
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "RUN\tPLAYBOOK\tSTATE\tBEGAN\tTOOK\tEXIT"); err != nil {
		return err
	}
	for _, r := range runs {
		took, exit := "", ""
		if !r.Ended.IsZero() {
			took, exit = r.Ended.Sub(r.Began).Round(time.Second).String(), fmt.Sprint(r.Exit)
		}
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, clean(r.Playbook), stateText(r), r.Began.Local().Format(time.DateTime), took, exit); err != nil {
			return err
		}
	}
	return table.Flush()
}

// stateText tells a run whose process is gone from one that is running.
func stateText(r journal.RunInfo) string {
	if r.State == journal.Running && !r.Live {
		return "interrupted"
	}
	return string(r.State)
}

func (a *app) printJSON(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.println(string(text))
}

func oneID(cmd *cobra.Command, args []string) error {
	return exactly(1, "the id of a run, or its beginning")(cmd, args)
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef(cmd.CommandPath()+" --help", "%s takes %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

func (a *app) runsShowCommand() *cobra.Command {
	var f engineFlags
	cmd := &cobra.Command{
		Use: "show RUN", Short: "Show a run: its calls, their times and results, and what is in doubt", Args: oneID,
		ValidArgsFunction: a.completeRuns(&f, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withJournal(&f, func(db *journal.DB) error {
				info, entries, begun, err := db.Show(args[0])
				if err != nil {
					return err
				}
				if f.json {
					return a.printJSON(map[string]any{"run": info, "params": begun.Params, "calls": entries})
				}
				return a.showRun(info, begun, entries)
			})
		},
	}
	journalFlags(cmd, &f)
	cmd.Flags().BoolVar(&f.json, "json", false, "as one JSON object")
	return cmd
}

func (a *app) showRun(info journal.RunInfo, begun journal.NewRun, entries []journal.Entry) error {
	var b strings.Builder
	fmt.Fprintf(&b, "run %s of %s: %s\n", info.ID, info.Playbook, stateText(info))
	fmt.Fprintf(&b, "  began %s", info.Began.Local().Format(time.DateTime))
	if !info.Ended.IsZero() {
		fmt.Fprintf(&b, ", ended %s, exit %d", info.Ended.Local().Format(time.DateTime), info.Exit)
	}
	fmt.Fprintf(&b, "\n  parameters %s\n", begun.Params)
	if info.Error != "" {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(info.Error, "\n", "\n  "))
	}
	for _, e := range entries {
		indent := strings.Repeat("  ", 1+strings.Count(string(e.Place), "."))
		fmt.Fprintf(&b, "%s%s %s %s", indent, e.Place, e.Call, brief(string(e.Args)))
		switch {
		case e.InDoubt():
			fmt.Fprintf(&b, "\n%s  in doubt: begun %s, its end was not recorded", indent, e.Begun.Local().Format(time.DateTime))
			if e.Handle != "" {
				fmt.Fprintf(&b, "; it is %s", e.Handle)
			}
		case e.Fault != nil:
			fmt.Fprintf(&b, "\n%s  failed (%s): %s", indent, e.Ended.Sub(e.Begun).Round(time.Millisecond), brief(string(e.Fault)))
		case e.Effect != builtin.Read.String():
			fmt.Fprintf(&b, "\n%s  done (%s): %s", indent, e.Ended.Sub(e.Begun).Round(time.Millisecond), brief(string(e.Result)))
		}
		if e.Settled != "" {
			fmt.Fprintf(&b, " [%s]", e.Settled)
		}
		b.WriteByte('\n')
	}
	if !final(info.State) && !info.Live {
		fmt.Fprintf(&b, "go on with: nixmox resume %s\nor end it:  nixmox cancel %s\n", info.ID, info.ID)
	}
	_, err := fmt.Fprint(a.stdout, clean(b.String()))
	return err
}

func final(s journal.State) bool {
	return s == journal.Done || s == journal.Failed || s == journal.Cancelled
}

func brief(text string) string { return shorten(text, 160) }

func (a *app) runsDiffCommand() *cobra.Command {
	var f engineFlags
	cmd := &cobra.Command{
		Use: "diff RUN RUN", Short: "Show where two runs made different calls, or had different ends", Args: exactly(2, "the ids of two runs"),
		ValidArgsFunction: a.completeRuns(&f, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withJournal(&f, func(db *journal.DB) error {
				_, one, _, err := db.Show(args[0])
				if err != nil {
					return err
				}
				_, other, _, err := db.Show(args[1])
				if err != nil {
					return err
				}
				return a.diffRuns(one, other)
			})
		},
	}
	journalFlags(cmd, &f)
	return cmd
}

// diffRuns compares call by call, in the places of the call tree.
func (a *app) diffRuns(one, other []journal.Entry) error {
	at := map[builtin.Place]journal.Entry{}
	for _, e := range other {
		at[e.Place] = e
	}
	n := 0
	say := func(sign string, e journal.Entry) error {
		n++
		end := "ok"
		if e.Fault != nil {
			end = brief(string(e.Fault))
		} else if e.InDoubt() {
			end = "in doubt"
		}
		return a.println(clean(fmt.Sprintf("%s %s %s %s: %s", sign, e.Place, e.Call, brief(string(e.Args)), end)))
	}
	for _, e := range one {
		o, ok := at[e.Place]
		delete(at, e.Place)
		if ok && o.Digest == e.Digest && o.InDoubt() == e.InDoubt() && (o.Fault == nil) == (e.Fault == nil) {
			continue
		}
		if err := say("-", e); err != nil {
			return err
		}
		if ok {
			if err := say("+", o); err != nil {
				return err
			}
		}
	}
	for _, e := range other {
		if _, left := at[e.Place]; left {
			if err := say("+", e); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return a.println("the same calls in the same places, with the same ends")
	}
	return nil
}

func (a *app) runsPruneCommand() *cobra.Command {
	var f engineFlags
	age := builtin.Duration(90 * 24 * time.Hour)
	cmd := &cobra.Command{
		Use: "prune", Short: "Forget runs that ended long ago; never those in doubt or suspended", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.withJournal(&f, func(db *journal.DB) error {
				n, err := db.Prune(engine.WallClock().Now().Add(-time.Duration(age)))
				if err != nil {
					return err
				}
				return a.println(fmt.Sprintf("%d runs forgotten", n))
			})
		},
	}
	journalFlags(cmd, &f)
	cmd.Flags().Var(textFlag{&age, "duration"}, "older-than", "of runs that began longer ago than this")
	return cmd
}

// textFlag makes a flag of a named type.
type textFlag struct {
	v interface {
		encoding.TextUnmarshaler
		fmt.Stringer
	}
	kind string
}

func (t textFlag) String() string {
	if t.v == nil {
		return ""
	}
	return t.v.String()
}
func (t textFlag) Set(text string) error { return t.v.UnmarshalText([]byte(text)) }
func (t textFlag) Type() string          { return t.kind }
