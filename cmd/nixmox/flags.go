package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"nixmox/engine"
	"nixmox/engine/builtin"
)

// engineFlags are the flags that every run has. They work before and after
// the playbook's name.
type engineFlags struct {
	config   string
	state    string
	lab      string // "", "keep" or "fresh"
	labClock string
	labFault []string
	timeout  time.Duration
	wait     builtin.Duration
	memory   builtin.Bytes
	steps    uint64
	sandbox  string // "", or require
	logFile  string
	quiet    bool
	verbose  bool
	json     bool
	dryRun   bool
	// unattended: nobody is there to see what the playbook may do.
	unattended bool
	monitoring bool // stands before everything else (monitor): here it was given a value
	help       bool
	planFile   string // -o of plan
	exitCode   bool   // --exit-code of plan
}

// registerPlan adds the flags that only plan has.
func (f *engineFlags) registerPlan(set *pflag.FlagSet) {
	set.StringVarP(&f.planFile, "output", "o", "", "save the plan in this file, for nixmox apply")
	set.BoolVar(&f.exitCode, "exit-code", false, "exit with 10 if there is something to do, with 0 if not")
}

func (f *engineFlags) register(set *pflag.FlagSet) {
	set.StringVar(&f.config, "config", "", "configuration file (NIXMOX_CONFIG)")
	set.StringVar(&f.state, "state", "", "state folder (NIXMOX_STATE)")
	set.StringVar(&f.lab, "lab", "", "use the simulated estate; --lab=fresh starts it anew")
	set.Lookup("lab").NoOptDefVal = "keep"
	set.StringVar(&f.labClock, "lab-clock", "auto", "time in the lab: real, or auto, where hours of tasks pass in a moment")
	set.StringArrayVar(&f.labFault, "lab-fault", nil, "something that goes wrong in the lab, such as vzdump:101=fail; may be repeated")
	set.DurationVar(&f.timeout, "timeout", 0, "end the run after this time (exit code 7)")
	f.wait = builtin.Duration(engine.DefaultLockWait)
	set.Var(textFlag{&f.wait, "duration"}, "wait", "how long to wait for a lock (exit code 6)")
	f.memory, f.steps = builtin.Bytes(engine.DefaultLimits.Memory), engine.DefaultLimits.Steps
	f.registerLimits(set, "")
	set.StringVar(&f.logFile, "log-file", "", "also append everything that happens to this file, as plain lines")
	set.BoolVarP(&f.quiet, "quiet", "q", false, "only warnings, errors and the last line")
	set.BoolVarP(&f.verbose, "verbose", "v", false, "also every read, and in a plan each thing that a prune keeps or removes")
	set.BoolVar(&f.json, "json", false, "print events instead of text, one JSON object a line")
	set.BoolVar(&f.dryRun, "dry-run", false, "plan: show what would be done, change nothing")
	set.BoolVar(&f.unattended, "unattended", false, "for timers: run only what nixmox approve has approved (exit code 4)")
	set.BoolVar(&f.monitoring, monitoringFlag, false, "end as a monitoring plugin does: 0 OK, 1 done with warnings, 2 failed, 3 unknown; the first line says why")
	set.BoolVarP(&f.help, "help", "h", false, "help; after a playbook's name its own flags, too")
}

// registerLimits adds the flags that bound the playbook's own process.
func (f *engineFlags) registerLimits(set *pflag.FlagSet, more string) {
	set.Var(textFlag{&f.memory, "size"}, "memory", "how much memory the playbook may use (exit code 8)"+more)
	set.Uint64Var(&f.steps, "steps", f.steps, "how many steps of its language the playbook may take (exit code 8)"+more)
	set.StringVar(&f.sandbox, "sandbox", "", "require: refuse to run where the kernel cannot lock the playbook's process down wholly")
}

// findPlaybook finds the first argument that is no flag of the engine nor
// such a flag's value. Flags of the playbook come after its name, since only
// the playbook knows which of them take a value.
func findPlaybook(set *pflag.FlagSet, args []string) (string, error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" || arg == "-" || !strings.HasPrefix(arg, "-") {
			if arg == "--" {
				return "", usagef("nixmox run --help", "-- before the playbook's name")
			}
			return arg, nil
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := set.Lookup(name)
		if !strings.HasPrefix(arg, "--") {
			flag = set.ShorthandLookup(name[:1])
		}
		if flag == nil {
			return "", usagef("flags of a playbook come after its name", "unknown flag %s before the playbook's name", arg)
		}
		if flag.NoOptDefVal == "" && !hasValue {
			i++
		}
	}
	return "", nil
}

// paramFlags make a playbook's parameters flags.
type paramFlags struct {
	params []builtin.Param
	values map[string]*paramValue
}

func newParamFlags(set *pflag.FlagSet, params []builtin.Param) *paramFlags {
	p := &paramFlags{params: params, values: map[string]*paramValue{}}
	for i := range params {
		param := &params[i]
		v := &paramValue{param: param}
		p.values[param.Name] = v
		name := param.Flag()
		flag := set.VarPF(v, name, "", param.Doc)
		if param.Type.Kind == builtin.KindBool {
			flag.NoOptDefVal = "true"
			no := set.VarPF(&noValue{v}, "no-"+name, "", "")
			no.NoOptDefVal, no.Hidden = "true", true
		}
	}
	return p
}

// resolve takes each parameter from its flag, its variable or its default.
func (p *paramFlags) resolve(getenv func(string) (string, bool)) (map[string]any, error) {
	out := map[string]any{}
	for i := range p.params {
		param := &p.params[i]
		v := p.values[param.Name]
		if !v.given && param.Env != "" {
			if text, ok := getenv(param.Env); ok && text != "" {
				if err := v.Set(text); err != nil {
					return nil, usagef("", "variable %s: %v", param.Env, err)
				}
			}
		}
		switch {
		case v.given:
			out[param.Name] = v.value
		case param.Required:
			also := ""
			if param.Env != "" {
				also = " (or the variable " + param.Env + ")"
			}
			return nil, usagef("", "--%s%s is missing: %s", param.Flag(), also, param.Doc)
		default:
			out[param.Name] = param.Default
		}
	}
	return out, nil
}

// paramValue is a parameter as a flag: lists repeat or take commas.
type paramValue struct {
	param *builtin.Param
	value any
	given bool
}

func (v *paramValue) Set(text string) error {
	parsed, err := v.param.Type.Parse(text)
	if err == nil {
		parsed, err = v.param.Neutral(parsed)
	}
	if err != nil {
		return err
	}
	if list, ok := parsed.([]any); ok && v.given {
		parsed = append(v.value.([]any), list...)
	}
	v.value, v.given = parsed, true
	return nil
}

func (v *paramValue) Type() string {
	switch v.param.Type.Kind {
	case builtin.KindBool:
		return "bool" // pflag shows no word for it
	case builtin.KindList:
		return v.param.Type.Elem.Name + ",…"
	}
	return v.param.Type.Name
}

func (v *paramValue) String() string {
	if v.param == nil || v.param.Default == nil {
		return ""
	}
	if list, ok := v.param.Default.([]any); ok {
		words := make([]string, len(list))
		for i, e := range list {
			words[i] = fmt.Sprint(e)
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(v.param.Default)
}

// noValue is --no-x of a boolean x.
type noValue struct{ of *paramValue }

func (n *noValue) Set(text string) error {
	if text == "true" {
		return n.of.Set("false")
	}
	return fmt.Errorf("it takes no value")
}
func (n *noValue) Type() string   { return "bool" }
func (n *noValue) String() string { return "" }

func environment(name string) (string, bool) { return os.LookupEnv(name) }
