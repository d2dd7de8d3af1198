package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nixmox/engine"
	"nixmox/engine/builtin"
)

// exitChanges is what plan --exit-code exits with where there is something to do.
const exitChanges = 10

func (a *app) planCommand() *cobra.Command {
	return a.runLike(&cobra.Command{
		Use:   "plan [flags] PLAYBOOK [flags of nixmox and of the playbook]",
		Short: "Show what a playbook would do, and change nothing",
		Long: `Show what a playbook would do, and change nothing. Reads are real, changes are
previewed. A saved plan (-o) can be carried out as it is with nixmox apply.`,
		Example: "  nixmox plan --lab backup\n  nixmox plan -o tonight.plan backup --storage nas",
	}, true)
}

func changesOf(p *engine.Plan) []*engine.PlannedCall {
	if p == nil {
		return nil
	}
	var out []*engine.PlannedCall
	for i := range p.Calls {
		if p.Calls[i].Alters() {
			out = append(out, &p.Calls[i])
		}
	}
	return out
}

// shownCall is a call as --json shows it: a saved plan has the same lists once
// already, in its decision.
type shownCall struct {
	*engine.PlannedCall
	Calendar []builtin.Dated `json:"calendar,omitempty"`
}

// keepPlan saves the plan where -o says, and prints it where --json does.
func (a *app) keepPlan(f *engineFlags, shown io.Writer, p *engine.Plan) error {
	if f.json {
		if err := p.Encode(); err != nil {
			return err
		}
		calls := make([]shownCall, len(p.Calls))
		for i := range p.Calls {
			calls[i] = shownCall{&p.Calls[i], p.Calls[i].Calendar()}
		}
		if err := json.NewEncoder(shown).Encode(map[string]any{"plan": p, "calls": calls}); err != nil {
			return err
		}
	}
	if f.planFile == "" {
		return nil
	}
	// Written beside and renamed: a plan is there whole or not at all.
	file, err := os.CreateTemp(filepath.Dir(f.planFile), ".nixmox-plan-*")
	if err != nil {
		return err
	}
	err = p.Write(file, planText(p, style{each: f.verbose}))
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), f.planFile)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // it is of no use any more
		return fmt.Errorf("saving the plan in %s: %w", f.planFile, err)
	}
	return nil
}

// planText is what a plan would do, grouped by what it would do it to.
func planText(p *engine.Plan, s style) string {
	if p == nil {
		return ""
	}
	changes := changesOf(p)
	if len(changes) == 0 {
		return "nothing is to be done\n"
	}
	groups := map[string][]*engine.PlannedCall{}
	var order []string
	for _, c := range changes {
		target := c.Target
		if target == "" {
			target = "elsewhere"
		}
		if groups[target] == nil {
			order = append(order, target)
		}
		groups[target] = append(groups[target], c)
	}
	b := []byte("what it would do:\n")
	for _, target := range order {
		b = append(b, "  "+clean(target)+"\n"...)
		for _, c := range groups[target] {
			sign, color := "+", green
			if c.Effect == builtin.Irreversible.String() {
				sign, color = "!", red
			}
			b = append(b, "    "+s.paint(color, sign)+" "+shorten(clean(callOf(c.Call, c.Called)), s.width-8)...)
			if sign == "!" {
				b = append(b, s.paint(red, "  (cannot be undone)")...)
			}
			b = append(b, "\n      "+s.paint(faint, "because of "+c.At.String()+", call "+string(c.Place))...)
			start, dated := len(b), c.Calendar()
			if dated == nil {
				b = appendResult(b, c.Outcome, underCall)
			} else {
				b = appendFacts(b, c.Outcome, "\n"+underCall)
			}
			if shown := string(b[start:]); !isPrintable(shown) {
				b = append(b[:start], clean(shown)...)
			}
			if len(dated) > 0 {
				b = appendCalendar(b, dated, s)
			}
			if c.Err != nil {
				b = append(b, "\n      "+s.paint(red, "it would fail: "+clean(c.Err.Error()))...)
			}
			b = append(b, '\n')
		}
	}
	return string(b)
}

func (a *app) applyCommand() *cobra.Command {
	f := &engineFlags{}
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Carry out a saved plan, as long as the world is as it was",
		Long: `Carry out a plan that nixmox plan -o has saved. Each read and each call is held
against the plan; the run stops before the first that differs, and shows both. Plans
older than a day, and plans of a playbook that was edited since, are refused.`,
		Args: exactly(1, "the file of a plan"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.apply(cmd.Context(), f, args[0]) },
	}
	resumeFlags(cmd, f)
	cmd.Flags().StringArrayVar(&f.labFault, "lab-fault", nil, "something that goes wrong in the lab")
	return cmd
}

func (a *app) apply(ctx context.Context, f *engineFlags, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return usage(err, "nixmox plan -o FILE saves one")
	}
	plan, err := engine.ReadPlan(file)
	err = errors.Join(err, file.Close())
	if err != nil {
		return usage(fmt.Errorf("%s: %w", path, err), "nixmox plan -o FILE saves one")
	}
	var kept keptOptions
	if err := json.Unmarshal(plan.Kept, &kept); err != nil {
		return usage(fmt.Errorf("%s: how to reach the estate cannot be read: %w", path, err), "")
	}
	kept.restore(f)
	return withEstate(ctx, f, func(ctx context.Context, e *estate) error {
		name := plan.File
		if shipped, ok := strings.CutPrefix(name, shippedPrefix); ok {
			name, _ = engine.NameOf(shipped)
		} else if !filepath.IsAbs(name) {
			name = filepath.Join(kept.Folder, name)
		}
		p, err := loadPlaybook(ctx, e.engine, name)
		if err != nil {
			return err
		}
		if err := e.engine.Applicable(plan, p); err != nil {
			return err
		}
		params, err := engine.DecodeParams(p.Params, plan.Params)
		if err != nil {
			return usage(fmt.Errorf("%s: %w", path, err), "")
		}
		if err := e.ready(p); err != nil {
			return err
		}
		kept.Applied = true
		options, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		o := engine.Options{Params: params, Timeout: f.timeout, Kept: options, Apply: plan}
		return a.show(e, f, p.Name, false, func() (engine.Report, error) { return e.engine.Run(ctx, p, o), nil })
	})
}
