package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"nixmox/builtins/doctor"
	"nixmox/engine"
	"nixmox/playbooks"
)

func (a *app) doctorCommand() *cobra.Command {
	f := &engineFlags{}
	var asPrivileges, everyGuest bool
	cmd := &cobra.Command{
		Use: "doctor [PLAYBOOK…]", Short: "Look for what playbooks would stumble over, and say how to cure it",
		Long: `Look at the configuration, the state folder, the way to the Proxmox host, the token
and its privileges, clocks, storages, mounts and guests, and compare what is there
with what playbooks need: those that are named, or all that are shipped. Storages
that a playbook's parameters name, by default or by variable, count as used.

Nothing is changed. Each finding but ok has its cure: a command, or a line to change.

  ok       it was looked at, and it is well
  note     worth knowing; or it could not be checked, and why
  warning  it will go wrong one day, or for some guests
  error    a playbook will fail

Exit code 0 without an error, 1 with one.

--privileges asks no host: it prints the commands, for a shell on a Proxmox node,
that make a token with the least privileges that these playbooks need.`,
		Example: "  nixmox doctor\n  nixmox doctor --lab\n  nixmox doctor --privileges backup",
		RunE: func(cmd *cobra.Command, args []string) error {
			needs, err := needsOf(cmd.Context(), args)
			switch {
			case err != nil:
				return err
			case asPrivileges:
				return a.println(strings.Join(doctor.Commands(needs, "nixmox@pve!runs"), "\n"))
			}
			return a.doctor(cmd.Context(), f, doctor.Patient{Needs: needs, EveryGuest: everyGuest})
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "configuration file (NIXMOX_CONFIG)")
	cmd.Flags().StringVar(&f.state, "state", "", "state folder (NIXMOX_STATE)")
	cmd.Flags().StringVar(&f.lab, "lab", "", "look at the simulated estate; --lab=fresh starts it anew")
	cmd.Flags().Lookup("lab").NoOptDefVal = "keep"
	cmd.Flags().StringArrayVar(&f.labFault, "lab-fault", nil, "something that goes wrong in the lab, such as clock:pve2=skew; may be repeated")
	cmd.Flags().BoolVar(&f.json, "json", false, "print findings as JSON, one a line")
	cmd.Flags().BoolVar(&asPrivileges, "privileges", false, "print how to make a token with the least privileges; ask no host")
	cmd.Flags().BoolVar(&everyGuest, "every-guest", false, "read every guest's configuration for what backups leave out, however many there are")
	return cmd
}

func (a *app) doctor(ctx context.Context, f *engineFlags, p doctor.Patient) error {
	if f.lab == "" && len(f.labFault) > 0 {
		return usagef("add --lab", "--lab-fault works in the lab only")
	}
	f.labClock = "auto"
	c, findings := examineConfig(f)
	findings = append(append(findings, examineSandbox()), examineState(f, c)...)
	if slices.ContainsFunc(findings, func(x doctor.Finding) bool { return x.Check == "configuration" && x.Level == doctor.Error }) {
		findings = append(findings, doctor.Finding{Check: "reachability", Subject: "the Proxmox host", Level: doctor.Note,
			Found: "not checked: the configuration does not lead to one; nor was anything behind it", Cure: "cure what configuration found first"})
		return a.showFindings(f, findings)
	}
	err := withEstate(ctx, f, func(ctx context.Context, e *estate) error {
		p.Config = *e.proxmox
		findings = append(findings, doctor.Examine(ctx, p)...)
		return context.Cause(ctx)
	})
	switch mistake, ok := errors.AsType[*usageError](err); {
	case ctx.Err() != nil:
		return err // half an examination is none
	case ok:
		findings = append(findings, configError("configuration", mistake))
	case err != nil:
		what, _, hint := describe(err)
		if hint == "" {
			hint = "cure what state found first"
		}
		findings = append(findings, doctor.Finding{Check: "the lab", Subject: "the lab", Level: doctor.Error, Found: what, Cure: hint})
	}
	return a.showFindings(f, findings)
}

// needsOf are the privileges that the functions need which the playbooks use.
func needsOf(ctx context.Context, names []string) ([]doctor.Need, error) {
	e, err := definitions()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		if names, err = fs.Glob(playbooks.FS, "*.star"); err != nil {
			return nil, err
		}
		for i := range names {
			names[i] = strings.TrimSuffix(names[i], ".star")
		}
	}
	var needs []doctor.Need
	for _, name := range names {
		p, err := loadPlaybook(ctx, e, name)
		if err != nil {
			return nil, err
		}
		for _, f := range e.Functions(p) {
			for _, privilege := range f.Privileges {
				privilege.Path = fillIn(privilege.Path, p, f)
				needs = append(needs, doctor.Need{Privilege: privilege, For: f.QualifiedName()})
			}
		}
	}
	return needs, nil
}

// fillIn puts into a path what is known before a run: the argument {storage}
// is most often the playbook's parameter of that name, and a need such as
// prune:$storage says so outright.
func fillIn(path string, p *engine.Playbook, f engine.Function) string {
	known := map[string]string{}
	for _, param := range p.Params {
		value, _ := param.Default.(string)
		if text, ok := environment(param.Env); ok && param.Env != "" && text != "" {
			value = text
		}
		known[param.Name] = value
	}
	if argument, sort, scoped := f.ScopeOf(); scoped {
		for _, need := range f.Needs {
			if name, isParam := strings.CutPrefix(need.Glob, "$"); isParam && known[name] != "" {
				known[sort] = known[name]
			} else if !isParam && need.Glob != "" && !strings.ContainsAny(need.Glob, `*?[\`) {
				known[sort] = need.Glob
			}
		}
		known[argument] = cmp.Or(known[argument], known[sort]) // an archive stands in that storage
	}
	for name, value := range known {
		if value != "" {
			path = strings.ReplaceAll(path, "{"+name+"}", value)
		}
	}
	return path
}

// showFindings prints them, and is an error if one of them is.
func (a *app) showFindings(f *engineFlags, findings []doctor.Finding) error {
	text := findingsText(findings, styleFor(a.stdout))
	if f.json {
		var b strings.Builder
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false) // cures are commands
		for _, x := range findings {
			if err := encoder.Encode(x); err != nil {
				return err
			}
		}
		text = b.String()
	}
	if _, err := fmt.Fprint(a.stdout, text); err != nil {
		return err
	}
	if slices.ContainsFunc(findings, func(x doctor.Finding) bool { return x.Level == doctor.Error }) {
		return exitError(engine.ExitFailed)
	}
	return nil
}

var levelColors = map[doctor.Level]string{doctor.OK: green, doctor.Note: "", doctor.Warning: yellow, doctor.Error: red}

// findingsText groups findings by check, in the order in which they were made,
// and counts them in the end. On a terminal what was found is wrapped; cures
// never are, so that they can be copied.
func findingsText(findings []doctor.Finding, s style) string {
	column := 0
	for _, x := range findings {
		column = max(column, min(utf8.RuneCountInString(x.Subject), 32))
	}
	var b strings.Builder
	counts, check := map[doctor.Level]int{}, ""
	for _, x := range findings {
		counts[x.Level]++
		if x.Check != check {
			check = x.Check
			b.WriteString(check + "\n")
		}
		level := fmt.Sprintf("%-8s", x.Level)
		if color := levelColors[x.Level]; color != "" {
			level = s.paint(color, level)
		}
		indent := 2 + 8 + column + 2
		subject := clean(x.Subject)
		pad := max(column-utf8.RuneCountInString(subject), 0)
		between := strings.Repeat(" ", pad+2)
		if over := utf8.RuneCountInString(subject) > column; over || s.width > 0 && s.width-indent < 30 {
			indent, between = 4, "\n    "
		}
		b.WriteString("  " + level + subject + between)
		b.WriteString(wrap(clean(x.Found), s.width-indent, "\n"+strings.Repeat(" ", indent)) + "\n")
		if x.Cure != "" {
			b.WriteString(strings.Repeat(" ", indent) + "cure: " + clean(x.Cure) + "\n")
		}
	}
	var parts []string
	for _, level := range []doctor.Level{doctor.Error, doctor.Warning, doctor.Note} {
		if n := counts[level]; n == 1 {
			parts = append(parts, "1 "+string(level))
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, level))
		}
	}
	last, color := "all is well", green
	if parts != nil {
		last = strings.Join(parts, ", ")
	}
	switch {
	case counts[doctor.Error] > 0:
		color = red
	case counts[doctor.Warning] > 0:
		color = yellow
	case parts != nil:
		last = "all is well; " + last
	}
	b.WriteString(s.paint(color, "doctor: "+last) + "\n")
	return b.String()
}

// wrap breaks a text between words; a width below 1 is none.
func wrap(text string, width int, newline string) string {
	var b strings.Builder
	at := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case width > 0 && at+1+n > width:
			b.WriteString(newline)
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}
