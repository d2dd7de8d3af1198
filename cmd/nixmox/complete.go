package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nixmox/builtins/lab"
	"nixmox/cmd/nixmox/playtest"
	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/journal"
	"nixmox/engine/policy"
	"nixmox/playbooks"
)

// What a shell offers when Tab is pressed. Nothing here may change anything,
// complain or take long: what cannot be found out at once is not offered.

// completeWithin is how long a shell may wait.
const completeWithin = time.Second

// inTime gives what is found in time; the process ends soon after anyway.
func inTime(ctx context.Context, find func(context.Context) []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	found := make(chan []string, 1)
	go func() { found <- find(ctx) }()
	select {
	case words := <-found:
		return words
	case <-ctx.Done():
		return nil
	}
}

// offer is a word with what it means.
func offer(word, meaning string) string {
	if meaning == "" {
		return word
	}
	return word + "\t" + oneLine(meaning)
}

func starting(words []string, with string) []string {
	return slices.DeleteFunc(words, func(word string) bool { return !strings.HasPrefix(word, with) })
}

// completeRunLike completes run and plan, which parse their flags themselves.
func completeRunLike(plan bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		f, set := &engineFlags{}, pflag.NewFlagSet("", pflag.ContinueOnError)
		f.register(set)
		if plan {
			f.registerPlan(set)
		}
		name, err := findPlaybook(set, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		early := pflag.NewFlagSet("", pflag.ContinueOnError)
		early.ParseErrorsAllowlist.UnknownFlags = true
		early.Usage = func() {}
		f.register(early)
		_ = early.Parse(args) // the last may wait for its value
		var p *engine.Playbook
		if e, err := definitions(); err == nil && name != "" {
			if p, err = loadPlaybook(cmd.Context(), e, name); err == nil {
				newParamFlags(set, p.Params)
			}
		}
		flag, value := flagToComplete(set, args, word)
		switch {
		case flag != nil:
			return flagWords(cmd.Context(), f, p, flag, value)
		case strings.HasPrefix(word, "-"):
			return starting(paramNames(set, p), word), cobra.ShellCompDirectiveNoFileComp
		case name == "":
			return playbookWords(cmd.Context(), word, false)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// flagToComplete is the flag whose value is wanted, and the value so far.
func flagToComplete(set *pflag.FlagSet, args []string, word string) (flag *pflag.Flag, value string) {
	if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(word, "-") {
		return lookupFlag(set, name), value
	}
	if len(args) > 0 {
		if flag := lookupFlag(set, args[len(args)-1]); flag != nil && flag.NoOptDefVal == "" {
			return flag, word
		}
	}
	return nil, word
}

func lookupFlag(set *pflag.FlagSet, arg string) *pflag.Flag {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		return set.Lookup(name)
	}
	if len(arg) == 2 && arg[0] == '-' {
		return set.ShorthandLookup(arg[1:])
	}
	return nil
}

// paramNames are a playbook's own flags; cobra adds those of nixmox.
func paramNames(set *pflag.FlagSet, p *engine.Playbook) []string {
	if p == nil {
		return nil
	}
	var names []string
	for _, param := range p.Params {
		names = append(names, offer("--"+param.Flag(), set.Lookup(param.Flag()).Usage))
		if param.Default == true {
			names = append(names, offer("--no-"+param.Flag(), "not: "+param.Doc))
		}
	}
	return names
}

// flagWords are the values that a flag of nixmox or of a playbook can have.
func flagWords(ctx context.Context, f *engineFlags, p *engine.Playbook, flag *pflag.Flag, word string) ([]string, cobra.ShellCompDirective) {
	if v, ok := flag.Value.(*paramValue); ok {
		return paramWords(ctx, f, p, v.param, word)
	}
	switch flag.Name {
	case "lab":
		return starting([]string{offer("keep", "as it was left"), offer("fresh", "start it anew")}, word), cobra.ShellCompDirectiveNoFileComp
	case "lab-clock":
		return starting([]string{offer("auto", "hours of tasks pass in a moment"), offer("real", "a task takes its time")}, word), cobra.ShellCompDirectiveNoFileComp
	case "lab-fault":
		return starting(faultWords(word), word), cobra.ShellCompDirectiveNoFileComp
	case "in":
		return starting([]string{"running", "suspended", "in_doubt", "done", "failed", "cancelled"}, word), cobra.ShellCompDirectiveNoFileComp
	case "state", "dir":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case "config", "log-file", "output", "junit":
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// paramWords are the values of a playbook's parameter, as far as its name and
// what the playbook needs tell what it is.
func paramWords(ctx context.Context, f *engineFlags, p *engine.Playbook, param *builtin.Param, word string) ([]string, cobra.ShellCompDirective) {
	done := "" // the items of a list that are there already
	if param.Type.Kind == builtin.KindList {
		if i := strings.LastIndex(word, ","); i >= 0 {
			done, word = word[:i+1], word[i+1:]
		}
	}
	var words []string
	switch {
	case param.Type.Name == "bool":
		words = []string{"true", "false"}
	case param.Name == "guest" || param.Name == "guests" || strings.HasPrefix(param.Doc, "selectors"):
		words = inTime(ctx, func(ctx context.Context) []string { return estateWords(ctx, f, "guests") })
		if strings.HasPrefix(param.Doc, "selectors") {
			words = append([]string{offer("all", "every guest")}, words...)
		}
	case param.Name == "storage":
		words = inTime(ctx, func(ctx context.Context) []string { return estateWords(ctx, f, "storages") })
	case param.Name == "node":
		words = inTime(ctx, func(ctx context.Context) []string { return estateWords(ctx, f, "nodes") })
	default:
		words = enumWords(p, param.Name)
	}
	words = starting(words, word)
	for i := range words {
		words[i] = done + words[i]
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// enumWords are the words that an argument of this name can be in the modules
// that the playbook needs: a parameter such as mode is passed on as it is.
func enumWords(p *engine.Playbook, name string) []string {
	e, err := definitions()
	if err != nil {
		return nil
	}
	for _, m := range e.Modules {
		if !slices.ContainsFunc(p.Needs, func(n policy.Need) bool { return n.Module == m.Name }) {
			continue
		}
		for _, f := range m.Funcs {
			for _, field := range f.Args.Fields {
				if field.Name == name && field.Enum != nil {
					return slices.Clone(field.Enum)
				}
			}
		}
	}
	return nil
}

// faultWords are the faults of the lab; what they are of is the user's affair.
func faultWords(word string) []string {
	id := "*"
	if _, typed, ok := strings.Cut(word, ":"); ok {
		if before, _, ok := strings.Cut(typed, "="); ok {
			id = before
		}
	}
	var words []string
	for line := range strings.Lines(lab.FaultHelp()) {
		what, kinds, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), "[*COUNT]"), "=")
		target, of, ok := strings.Cut(what, ":")
		switch {
		case ok && of == strings.ToUpper(of):
			target += ":" + id
		case ok:
			target = what
		}
		for kind := range strings.SplitSeq(kinds, "|") {
			words = append(words, target+"="+strings.TrimSuffix(kind, "EXITSTATUS"))
		}
	}
	return words
}

// plainWord is what needs no quotes in any shell: a host chooses its names.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// estateWords are the guests, storages or nodes of the lab, or of the host
// that is configured.
func estateWords(ctx context.Context, f *engineFlags, sort string) []string {
	var words []string
	if f.lab != "" {
		c := &config{}
		var err error
		if f.config != "" {
			c, err = readConfig(f.config)
		}
		if err != nil {
			return nil
		}
		state, err := c.stateDir(f.state)
		if err != nil {
			return nil
		}
		guests, storages, nodes, err := lab.Names(filepath.Join(state, "lab"))
		if err != nil {
			return nil
		}
		for _, n := range map[string][]lab.Name{"guests": guests, "storages": storages, "nodes": nodes}[sort] {
			words = append(words, offer(n.Name, n.Also))
		}
		return words
	}
	_ = withEstate(ctx, f, func(ctx context.Context, e *estate) error { // nothing is offered then
		if e.config.Proxmox == nil {
			return nil
		}
		for _, m := range e.engine.Modules {
			for i := range m.Funcs {
				if fn := &m.Funcs[i]; fn.QualifiedName() == "proxmox."+sort {
					words = recordWords(ctx, fn)
				}
			}
		}
		return nil
	})
	return words
}

// recordWords names what a function without arguments lists: by id and name,
// or by name and type.
func recordWords(ctx context.Context, fn *builtin.Func) []string {
	args, err := fn.Bind(nil, nil)
	if err != nil {
		return nil
	}
	call := *builtin.CallFrom(ctx)
	call.Func, call.Args = fn, args
	result, err := fn.Do(builtin.WithCall(ctx, &call), &call)
	if err != nil {
		return nil
	}
	list, _ := fn.Result.Neutral(result).([]any)
	var words []string
	for _, item := range list {
		record, ok := item.(*builtin.Record)
		if !ok {
			return nil
		}
		word, meaning := "name", "type"
		if _, ok := record.Get("id"); ok {
			word, meaning = "id", "name"
		}
		what, _ := record.Get(word)
		means, ok := record.Get(meaning)
		if text := fmt.Sprint(what); plainWord.MatchString(text) {
			if !ok {
				means = ""
			}
			words = append(words, offer(text, fmt.Sprint(means)))
		}
	}
	slices.Sort(words) // a storage stands there once for each node
	return slices.Compact(words)
}

// playbookWords are shipped playbooks, and the files that can be one, or the
// tests of one.
func playbookWords(ctx context.Context, word string, tests bool) ([]string, cobra.ShellCompDirective) {
	var words []string
	if e, err := definitions(); err == nil && !strings.Contains(word, "/") {
		names, _ := fs.Glob(playbooks.FS, "*.star") // the pattern is good
		for _, name := range names {
			if p, err := loadShipped(ctx, e, name); err == nil {
				summary, _, _ := strings.Cut(p.Doc, "\n")
				words = append(words, offer(p.Name, summary))
			}
		}
	}
	words = append(words, fileWords(word, tests)...)
	words = starting(words, word)
	directive := cobra.ShellCompDirectiveNoFileComp
	if !slices.ContainsFunc(words, func(w string) bool { return !strings.HasSuffix(w, "/") }) {
		directive |= cobra.ShellCompDirectiveNoSpace // a folder is not yet a playbook
	}
	return words, directive
}

func fileWords(word string, tests bool) []string {
	dir, _ := filepath.Split(word)
	entries, _ := os.ReadDir(cmp.Or(dir, ".")) // nothing is offered then
	var words []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, ".") || clean(name) != name:
		case e.IsDir():
			words = append(words, dir+name+"/")
		case playtest.IsTest(name) && !tests:
		case strings.HasSuffix(name, ".star") || strings.HasSuffix(name, ".lua"):
			words = append(words, dir+name)
		}
	}
	return words
}

func completePlaybooks(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	return playbookWords(cmd.Context(), word, true)
}

// completeRuns offers the ids of so many runs, newest first.
func (a *app) completeRuns(f *engineFlags, n int, states ...journal.State) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		words := inTime(cmd.Context(), func(context.Context) []string { return a.runWords(f, states) })
		return starting(words, strings.ToUpper(word)), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

func (a *app) runWords(f *engineFlags, states []journal.State) []string {
	if c, err := readConfig(f.config); err != nil {
		return nil
	} else if dir, err := c.stateDir(f.state); err != nil {
		return nil
	} else if _, err := os.Stat(dir); err != nil {
		return nil // opening the journal would make it
	}
	var words []string
	_ = a.withJournal(f, func(db *journal.DB) error { // nothing is offered then
		runs, err := db.Runs(journal.Filter{States: states, Limit: 50})
		for _, r := range runs {
			if states == nil || !r.Live {
				words = append(words, offer(r.ID, fmt.Sprintf("%s, %s, %s", r.Playbook, stateText(r), r.Began.Local().Format(time.DateTime))))
			}
		}
		return err
	})
	return words
}

// completeDoc offers what playbooks can call.
func completeDoc(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	e, err := definitions()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	add := func(f *builtin.Func) {
		summary, _, _ := strings.Cut(f.Doc, ". ")
		words = append(words, offer(f.QualifiedName(), strings.TrimSuffix(summary, ".")))
	}
	for _, m := range e.Modules {
		words = append(words, offer(m.Name, m.Doc))
		for i := range m.Funcs {
			add(&m.Funcs[i])
		}
	}
	for _, f := range engine.AtHand() {
		add(&f)
	}
	return starting(words, word), cobra.ShellCompDirectiveNoFileComp
}

// completeFlags gives the flags of a command that cobra parses the same
// values as those of run.
func completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		// It fails only where a flag has its values already.
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return flagWords(cmd.Context(), &engineFlags{}, nil, flag, word)
		})
	})
	for _, sub := range cmd.Commands() {
		completeFlags(sub)
	}
}
