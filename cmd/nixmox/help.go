package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"nixmox/engine"
)

// playbookHelp is `nixmox run PLAYBOOK --help`: the playbook's docstring, its
// own flags, what it needs, and then the flags that every run has.
func (a *app) playbookHelp(p *engine.Playbook, name string, set *pflag.FlagSet) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage:\n  nixmox run %s [flags]\n", p.Doc, name)
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.SortFlags = false
	isOwn := map[string]bool{}
	for i := range p.Params {
		param := &p.Params[i]
		flag := *set.Lookup(param.Flag())
		switch {
		case param.Required:
			flag.Usage += " (required)"
		case param.Type.Name == "bool" && param.Default == true:
			flag.Usage += " (--no-" + param.Flag() + " turns it off)"
		}
		if param.Env != "" {
			flag.Usage += " (" + param.Env + ")"
		}
		own.AddFlag(&flag)
		isOwn[param.Flag()], isOwn["no-"+param.Flag()] = true, true
	}
	if len(p.Params) > 0 {
		fmt.Fprintf(&b, "\nFlags of the playbook:\n%s", own.FlagUsages())
	}
	if len(p.Needs) > 0 {
		b.WriteString("\nIt needs:\n")
		for i, n := range p.Needs {
			switch {
			case i == 0 || p.Needs[i-1].Module != n.Module:
				if i > 0 {
					b.WriteByte('\n')
				}
				fmt.Fprintf(&b, "  %s: %s", n.Module, n)
			default:
				fmt.Fprintf(&b, ", %s", n)
			}
		}
		b.WriteByte('\n')
	}
	rest := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.VisitAll(func(f *pflag.Flag) {
		if !isOwn[f.Name] {
			rest.AddFlag(f)
		}
	})
	fmt.Fprintf(&b, "\nFlags of nixmox:\n%s", rest.FlagUsages())
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}
