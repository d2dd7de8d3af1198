package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"nixmox/builtins"
	"nixmox/builtins/lab"
	"nixmox/builtins/lab/command"
	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/journal"
	"nixmox/engine/language"
	"nixmox/engine/sandbox"
	"nixmox/stdlib"
)

// estate is what a run works on: an engine with its modules, and the lab
// behind them where one was asked for.
type estate struct {
	engine  *engine.Engine
	config  *config
	state   string // the folder
	lab     *lab.Lab
	proxmox *builtins.Proxmox // the host, or the lab; nil for none
	close   func() error      // of the modules' connections

	closeJournal func() error
}

// keepJournal has the record of runs opened when it is first needed.
func (e *estate) keepJournal(state string) {
	e.engine.Journal = sync.OnceValues(func() (*journal.DB, error) {
		db, err := journal.Open(state)
		if err == nil {
			e.closeJournal = db.Close
		}
		return db, err
	})
}

// openEstate makes the engine for the flags. It connects to nothing.
func openEstate(f *engineFlags) (*estate, error) {
	if f.lab != "" && f.lab != "keep" && f.lab != "fresh" {
		return nil, usagef("--lab or --lab=fresh", "--lab=%s", f.lab)
	}
	if f.lab == "" && len(f.labFault) > 0 {
		return nil, usagef("add --lab", "--lab-fault works in the lab only")
	}
	c := &config{}
	var err error
	if f.lab == "" || f.config != "" {
		if c, err = readConfig(f.config); err != nil {
			return nil, err
		}
	}
	state, err := c.stateDir(f.state)
	if err != nil {
		return nil, err
	}
	e := &estate{config: c, state: state, engine: &engine.Engine{Std: stdlib.FS, Clock: engine.WallClock(), Limits: engine.DefaultLimits,
		LockDir: lockDir(state, os.Geteuid() == 0 && f.lab == "" && c.Lab == nil), LockWait: time.Duration(f.wait), Reserved: reservedFlags(), Secret: c.secret, Version: version}}
	e.keepJournal(state)
	if f.sandbox != "" && f.sandbox != "require" {
		return nil, usagef("--sandbox=require", "--sandbox=%s", f.sandbox)
	}
	e.engine.Limits = language.Limits{Steps: cmp.Or(f.steps, engine.DefaultLimits.Steps), Memory: cmp.Or(uint64(f.memory), engine.DefaultLimits.Memory)}
	rules, err := c.policy()
	if err != nil {
		return nil, err
	}
	e.engine.Policy = rules
	if rules != nil {
		e.engine.Limits.Steps = atMost(e.engine.Limits.Steps, rules.Limits.Steps)
		e.engine.Limits.Memory = atMost(e.engine.Limits.Memory, rules.Limits.Memory)
	}
	e.engine.Sandbox = &sandbox.Options{Memory: e.engine.Limits.Memory, Require: f.sandbox == "require"}
	proxmox, err := c.proxmox()
	if err != nil {
		return nil, err
	}
	commands := "" // what the machine has, but for a lab: there nothing else can be started
	switch {
	case f.lab != "":
		if proxmox, err = e.openLab(f, filepath.Join(state, "lab")); err != nil {
			return nil, err
		}
		commands = e.lab.CommandDir()
	case c.Lab != nil:
		commands = c.relative(cmp.Or(c.Lab.Commands, filepath.Join(c.Lab.Dir, command.BinDir)))
		now, err := lab.ReadClock(c.relative(c.Lab.Dir))
		if err != nil {
			return nil, usage(fmt.Errorf("the clock of the lab: %w", err), "is it up? nixmox lab up --dir "+c.Lab.Dir)
		}
		e.engine.Clock.Now = now
		if c.Lab.Clock == "auto" && proxmox != nil {
			proxmox.Poll = labPoll
		}
	}
	if e.proxmox = proxmox; proxmox != nil {
		proxmox.Now = e.engine.Clock.Now
	}
	if e.engine.Modules, e.close, err = builtins.All(builtins.Config{Proxmox: proxmox, Commands: commands}); err != nil {
		err = usage(err, "docs/nixmox.toml is a commented example")
		return nil, errors.Join(err, e.Close())
	}
	if err := checkRules(rules, e.engine.Modules); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// lockDir is where locks are files. Runs of root, whatever their state
// folders, exclude one another through one folder, which a reboot empties;
// others, and those in a lab, through their state folder.
func lockDir(state string, shared bool) string {
	if shared && os.MkdirAll(runDir, 0o700) == nil {
		return runDir
	}
	return filepath.Join(state, "locks")
}

const runDir = "/run/nixmox"

// definitions is an engine that can load playbooks and describe functions,
// for commands that perform nothing.
func definitions() (*engine.Engine, error) {
	modules, _, err := builtins.All(builtins.Config{})
	return &engine.Engine{Modules: modules, Std: stdlib.FS, Clock: engine.WallClock(), Limits: engine.DefaultLimits, Reserved: reservedFlags(),
		Sandbox: &sandbox.Options{Memory: engine.DefaultLimits.Memory}}, err
}

// openLab starts the simulated estate in this process. Its clock is the
// engine's, so that what happens there in hours is hours old afterwards.
func (e *estate) openLab(f *engineFlags, dir string) (*builtins.Proxmox, error) {
	o, err := labOptions(f, dir)
	if err != nil {
		return nil, err
	}
	if e.lab, err = lab.Open(o); err != nil {
		return nil, labError(err)
	}
	endpoint, err := e.lab.Start()
	if err != nil {
		return nil, errors.Join(labError(err), e.Close())
	}
	e.engine.Clock.Now = e.lab.Now
	p := labProxmox(endpoint)
	if o.Clock == lab.ClockAuto {
		p.Poll = labPoll
	}
	return p, nil
}

// labPoll is the pause between two looks at a task of the lab, where time
// jumps to the next event at each look.
const labPoll = time.Millisecond

func labProxmox(endpoint lab.Endpoint) *builtins.Proxmox {
	return &builtins.Proxmox{URL: endpoint.URL, TokenID: endpoint.TokenID, Token: builtins.NewSecret(endpoint.TokenSecret),
		Fingerprint: endpoint.Fingerprint, Mounts: endpoint.Mounts}
}

func labOptions(f *engineFlags, dir string) (lab.Options, error) {
	o := lab.Options{Dir: dir, Fresh: f.lab == "fresh"}
	var err error
	if o.Clock, err = lab.ParseClock(f.labClock); err != nil {
		return o, usage(err, "--lab-clock real or --lab-clock auto")
	}
	for _, text := range f.labFault {
		fault, err := lab.ParseFault(text)
		if err != nil {
			return o, usage(err, "nixmox lab --help lists the faults")
		}
		o.Faults = append(o.Faults, fault)
	}
	return o, nil
}

// labError makes a lab that another process has open a busy one.
func labError(err error) error {
	if busy, ok := errors.AsType[*lab.BusyError](err); ok {
		return builtin.Faultf(builtin.Busy, "the lab").Because(busy).Hinting("--state DIR gives this run a lab of its own")
	}
	return builtin.Faultf(builtin.Failed, "the lab").Because(err)
}

// Close ends the lab and lets connections go.
func (e *estate) Close() error {
	err := e.engine.Close()
	if e.close != nil {
		err = errors.Join(err, e.close())
	}
	if e.closeJournal != nil {
		err = errors.Join(err, e.closeJournal())
	}
	if e.lab != nil {
		err = errors.Join(err, e.lab.Close())
	}
	return err
}

// ready refuses to run a playbook that needs nothing but a Proxmox host where
// there is none. One that also needs other things may do without: what it then
// asks of Proxmox all the same fails, and says why.
func (e *estate) ready(p *engine.Playbook) error {
	if e.lab != nil || e.config.Proxmox != nil || len(p.Needs) == 0 {
		return nil
	}
	for _, n := range p.Needs {
		if !builtins.NeedsProxmox(n.Module) {
			return nil
		}
	}
	return usagef("try it in the simulated estate with --lab, or configure a host: docs/nixmox.toml is a commented example",
		"%s needs a Proxmox VE host, and none is configured", p.Name)
}

// withEstate opens the estate, hands it on, and closes it whatever happens.
func withEstate(ctx context.Context, f *engineFlags, use func(context.Context, *estate) error) (err error) {
	e, err := openEstate(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return use(ctx, e)
}
