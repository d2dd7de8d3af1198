package policy

import (
	"fmt"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// Rules are an operator's policy: what any playbook may do at most, whatever
// it declares, and how much of the machine it may use.
type Rules struct {
	Every     Narrowing
	Playbooks map[string]Narrowing // by name; each narrows further
	Limits    Limits
}

// Narrowing is what playbooks may do, in the grammar of needs.
type Narrowing struct {
	Allowing, Denying string // where they stand: the file and the table
	// Allow is what may be done, if Bounded; otherwise everything may.
	Bounded bool
	Allow   []Need
	// Deny is what may not be done, even if it is allowed: "read" are all
	// functions that read, "change" all that alter the world, irreversible ones
	// too. A call that names nothing in particular names what is denied, too.
	Deny []Need
}

// Limits are the most that a run may use; 0 is without a limit.
type Limits struct {
	Memory, Steps uint64
	Timeout       time.Duration
	Calls         uint64
}

// For are the rules that hold for a playbook.
func (r *Rules) For(playbook string) []Narrowing {
	if r == nil {
		return nil
	}
	out := []Narrowing{r.Every}
	if own, ok := r.Playbooks[playbook]; ok {
		out = append(out, own)
	}
	return out
}

// Check finds entries that name nothing there is.
func (n *Narrowing) Check(modules []builtin.Module) error {
	for i, entry := range append(append([]Need{}, n.Allow...), n.Deny...) {
		where := n.Allowing
		if i >= len(n.Allow) {
			where = n.Denying
		}
		if strings.HasPrefix(entry.Glob, "$") {
			return fmt.Errorf("%s %s = [%q]: a policy knows no parameters", where, entry.Module, entry)
		}
		if p := check(entry, modules, nil); p != nil {
			return fmt.Errorf("%s %s = [%q]: %s", where, entry.Module, entry, strings.TrimPrefix(p.What, "needs: "))
		}
	}
	return nil
}

// denies is wider than covers: who denies change wants nothing changed.
func (n Need) denies(f *builtin.Func) bool {
	return n.Module == f.Module && (n.What == f.Name || n.What == "read" && f.Effect == builtin.Read || n.What == "change" && f.Effect.Alters())
}

// forbids says why a call that names these things may not be made; "" if it may.
func (n *Narrowing) forbids(f *builtin.Func, values []string) string {
	for _, d := range n.Deny {
		if d.denies(f) && (all(d.Glob) || len(values) == 0 || touchesAny(d.Glob, values)) {
			return n.denied(d)
		}
	}
	if !n.Bounded {
		return ""
	}
	for _, a := range n.Allow {
		if a.Covers(f) && (all(a.Glob) || len(values) > 0 && allMatch(a.Glob, values)) {
			return ""
		}
	}
	return n.notAllowed(f)
}

func (n *Narrowing) denied(d Need) string {
	return fmt.Sprintf("%s has %s = [%q]", n.Denying, d.Module, d)
}

func (n *Narrowing) notAllowed(f *builtin.Func) string {
	return fmt.Sprintf("%s does not have %s = [%q]", n.Allowing, f.Module, declared(f))
}

// excludes says why the function can never be called on what the glob of a
// need names; "" if it perhaps can.
func (n *Narrowing) excludes(f *builtin.Func, glob string) string {
	for _, d := range n.Deny {
		if d.denies(f) && (all(d.Glob) || literal(glob) && matchGlob(d.Glob, glob)) {
			return n.denied(d)
		}
	}
	if !n.Bounded {
		return ""
	}
	for _, a := range n.Allow {
		if a.Covers(f) && (!literal(glob) || matchGlob(a.Glob, glob)) {
			return ""
		}
	}
	return n.notAllowed(f)
}

// ExcludesFunc says why a playbook can never call the function, whatever the
// call names; "" if it perhaps can.
func ExcludesFunc(rules []Narrowing, f *builtin.Func) string { return excludes(rules, f, "") }

// ExcludesNeed says why nothing that a need covers can ever be called; "" if
// something can.
func ExcludesNeed(rules []Narrowing, n Need, modules []builtin.Module) string {
	m, _ := find(modules, n.Module)
	why := ""
	for i := range m.Funcs {
		f := &m.Funcs[i]
		if f.Effect == builtin.Pure || !n.Covers(f) {
			continue
		}
		if why = excludes(rules, f, n.Glob); why == "" {
			return ""
		}
	}
	return why
}

func excludes(rules []Narrowing, f *builtin.Func, glob string) string {
	for i := range rules {
		if why := rules[i].excludes(f, glob); why != "" {
			return why
		}
	}
	return ""
}

func touchesAny(glob string, values []string) bool {
	for _, v := range values {
		if touches(glob, v) {
			return true
		}
	}
	return false
}

func allMatch(glob string, values []string) bool {
	for _, v := range values {
		if !matchGlob(glob, v) {
			return false
		}
	}
	return true
}
