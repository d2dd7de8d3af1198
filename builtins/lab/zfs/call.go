package zfs

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// call is one command being performed.
type call struct {
	m        *Machine
	args     []string
	now      time.Time
	in       string
	out, err *strings.Builder
}

func (k *call) printf(format string, args ...any) { fmt.Fprintf(k.out, format, args...) }

// fail says what is wrong; its result is the exit status.
func (k *call) fail(format string, args ...any) int {
	fmt.Fprintf(k.err, format+"\n", args...)
	return 1
}

// usage says that the command line makes no sense.
func (k *call) usage(said, grammar string) int {
	if said != "" {
		fmt.Fprintln(k.err, said)
	}
	fmt.Fprintf(k.err, "usage:\n\t%s\n\nFor the property list, run: %s set|get\n\nFor the delegated permission list, run: %s allow|unallow\n\nFor further help on a command or topic, run: %s help [<topic>]\n",
		grammar, k.args[0], k.args[0], k.args[0])
	return 2
}

// verb is what one subcommand does.
type verb struct {
	options string // as getopt takes them: a colon after those with a value
	grammar string
	do      func(k *call, on options, operands []string) int
	changes bool
}

func (k *call) perform() int {
	if len(k.args) < 2 {
		return k.usage("missing command", k.args[0]+" command args ...")
	}
	verbs := zfsVerbs()
	if k.args[0] == "zpool" {
		verbs = zpoolVerbs()
	}
	name := k.args[1]
	v, ok := verbs[name]
	if !ok {
		return k.usage("unrecognized command '"+name+"'", k.args[0]+" command args ...")
	}
	on, operands, bad := getopt(k.args[2:], v.options)
	if bad != "" {
		return k.usage(bad, v.grammar)
	}
	before := k.m.transactions()
	exit := v.do(k, on, operands)
	if v.changes && exit == 0 {
		k.noteCommand(operands)
	}
	if v.changes && exit == 0 || k.m.transactions() != before {
		k.m.changed++
	}
	return exit
}

// transactions is how many there were in all pools.
func (m *Machine) transactions() (n uint64) {
	for _, p := range m.st.Pools {
		n += p.Txg
	}
	return n
}

// options are the options of a command, each with its values.
type options map[string][]string

func (o options) has(name string) bool { return len(o[name]) > 0 }

// last is the value of an option that was given last, "" for none.
func (o options) last(name string) string {
	if v := o[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// getopt parts options from operands as the C library of Linux does: they may
// stand behind one another, and -- ends the options.
func getopt(args []string, spec string) (on options, operands []string, bad string) {
	on = options{}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return on, append(operands, args[i+1:]...), ""
		}
		if len(a) < 2 || a[0] != '-' {
			operands = append(operands, a)
			continue
		}
		for j := 1; j < len(a); j++ {
			letter := a[j : j+1]
			at := strings.Index(spec, letter)
			if letter == ":" || at < 0 {
				return on, operands, "invalid option '" + letter + "'"
			}
			if at+1 == len(spec) || spec[at+1] != ':' {
				on[letter] = append(on[letter], "")
				continue
			}
			value := a[j+1:]
			if value == "" {
				if i++; i == len(args) {
					return on, operands, "missing argument for '" + letter + "' option"
				}
				value = args[i]
			}
			on[letter] = append(on[letter], value)
			break
		}
	}
	return on, operands, ""
}

// assignments reads -o name=value, checked as far as the property is known.
func (k *call) assignments(list []string, action string) (map[string]string, bool) {
	out := map[string]string{}
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			k.fail("missing '=' for property=value argument")
			return nil, false
		}
		value, wrong := checkProperty(name, value)
		if wrong != "" {
			k.fail("%s: %s", action, wrong)
			return nil, false
		}
		if _, twice := out[name]; twice {
			k.fail("property '%s' specified multiple times", name)
			return nil, false
		}
		out[name] = value
	}
	return out, true
}

// split takes a name apart: what is before @ or #, the separator, and the rest.
func split(name string) (base, separator, rest string) {
	if i := strings.IndexAny(name, "@#"); i >= 0 {
		return name[:i], name[i : i+1], name[i+1:]
	}
	return name, "", ""
}

// wrongName is what zfs says of a name that cannot be, "" if it can.
func wrongName(name string) string {
	if len(name) > 255 {
		return "name is too long"
	}
	base, _, rest := split(name)
	parts := strings.Split(base, "/")
	if strings.ContainsAny(name, "@#") {
		if strings.ContainsAny(rest, "@#") {
			return "multiple '@' and/or '#' delimiters in name"
		}
		parts = append(parts, rest)
	}
	for i, part := range parts {
		switch {
		case part == "" && i == 0:
			return "leading slash in name"
		case part == "":
			return "empty component or misplaced '@' or '#' delimiter in name"
		case part == "." || part == "..":
			return "self reference, '.' is found in name"
		}
		for _, c := range part {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.: ", c) {
				return fmt.Sprintf("invalid character '%c' in name", c)
			}
		}
	}
	if c := name[0] | 0x20; c < 'a' || c > 'z' {
		return "pool doesn't begin with a letter"
	}
	return ""
}

// mounted are the file systems of a list.
func remount(p *pool, list []*dataset) {
	for _, d := range list {
		mountpoint := p.value(d, "mountpoint").value
		d.Mounted = !d.Volume && !d.Locked && mountpoint != "none" && mountpoint != "legacy" && p.value(d, "canmount").value == "on"
	}
}

func contains(list []string, word string) bool { return slices.Contains(list, word) }
