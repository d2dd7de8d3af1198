package proxmox

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// Selector names guests: one way of naming some, or several with commas.
type Selector string

// Describe names the type and its grammar.
func (Selector) Describe() (string, string) {
	return "selector", "all, 100, 100-199, @tag, %pool or a name, where *, ? and [a-z] stand for others; " +
		"each with a leading '-' to take away; several with commas"
}

// UnmarshalText checks the grammar, so that a malformed one never gets further.
func (s *Selector) UnmarshalText(text []byte) error {
	if _, err := parseSelector(string(text)); err != nil {
		return err
	}
	*s = Selector(text)
	return nil
}

// term is one part of a selector.
type term struct {
	text   string // as it was written
	not    bool
	byName bool
	match  func(pve.Guest) bool
}

var (
	rangeGrammar = pattern.Of(`^([0-9]+)(?:-([0-9]+))?$`)
	// pve-tag, and pve-poolid, in which '/' nests.
	tagGrammar  = pattern.Of(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`)
	poolGrammar = pattern.Of(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}$`)
	// Guests' names are DNS names; the rest is path.Match's.
	globGrammar = pattern.Of(`^[A-Za-z0-9.*?\[\]^_-]+$`)
)

// parseSelector reads one selector, which may hold several terms.
func parseSelector(text string) ([]term, error) {
	var out []term
	for part := range strings.SplitSeq(text, ",") {
		t, err := parseTerm(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func parseTerm(text string) (term, error) {
	bad := func(why string) (term, error) {
		return term{}, fmt.Errorf("%q is no selector of guests: %s", text, why)
	}
	t := term{text: text}
	rest, not := strings.CutPrefix(text, "-")
	t.not = not
	switch {
	case rest == "":
		return bad("it is empty")
	case rest == "all":
		t.match = func(pve.Guest) bool { return true }
	case rest[0] == '@':
		tag := rest[1:]
		if !tagGrammar().MatchString(tag) {
			return bad("want @TAG of letters, digits, '_', '-', '+' and '.'")
		}
		t.match = func(g pve.Guest) bool { return slices.Contains(g.Tags, tag) }
	case rest[0] == '%':
		pool := rest[1:]
		if !poolGrammar().MatchString(pool) {
			return bad("want %POOL of letters, digits, '_', '-', '.' and '/'")
		}
		t.match = func(g pve.Guest) bool { return g.Pool == pool }
	case rangeGrammar().MatchString(rest):
		from, to, err := parseRange(rest)
		if err != nil {
			return bad(err.Error())
		}
		t.match = func(g pve.Guest) bool { return from <= g.VMID && g.VMID <= to }
	default:
		// No name starts or ends with '-': those are ranges gone wrong.
		_, err := path.Match(rest, "")
		if err != nil || !globGrammar().MatchString(rest) || strings.HasPrefix(rest, "-") || strings.HasSuffix(rest, "-") {
			return bad("want all, 100, 100-199, @tag, %pool, or a guest's name, perhaps with *, ? and [a-z]")
		}
		t.byName = true
		t.match = func(g pve.Guest) bool { ok, _ := path.Match(rest, g.Name); return ok && g.Name != "" }
	}
	return t, nil
}

func parseRange(text string) (from, to builtin.VMID, err error) {
	m := rangeGrammar().FindStringSubmatch(text)
	if err := from.UnmarshalText([]byte(m[1])); err != nil {
		return 0, 0, err
	}
	to = from
	if m[2] != "" {
		if err := to.UnmarshalText([]byte(m[2])); err != nil {
			return 0, 0, err
		}
	}
	if to < from {
		return 0, 0, fmt.Errorf("%d comes after %d", from, to)
	}
	return from, to, nil
}

// selection is what a list of selectors says, together.
type selection []term

func parseSelection(selectors []Selector) (selection, error) {
	var out selection
	for _, s := range selectors {
		terms, err := parseSelector(string(s))
		if err != nil {
			return nil, builtin.Faultf(builtin.Invalid, "selecting guests").Because(err)
		}
		out = append(out, terms...)
	}
	if len(out) == 0 {
		return nil, builtin.Faultf(builtin.Invalid, "selecting guests").Saying("there is no selector").Hinting(`all of them are ["all"]`)
	}
	return out, nil
}

// byName reports that guests' names matter.
func (s selection) byName() bool {
	return slices.ContainsFunc(s, func(t term) bool { return t.byName })
}

// choose picks from all guests there are. Each term has to match one at least,
// the ones that take away too: a typo there would keep a guest that was meant
// to be left alone.
func (s selection) choose(all []pve.Guest, templates bool) ([]pve.Guest, error) {
	var yes, no []term
	for _, t := range s {
		if err := t.matchesSome(all, templates); err != nil {
			return nil, err
		}
		if t.not {
			no = append(no, t)
		} else {
			yes = append(yes, t)
		}
	}
	var out []pve.Guest
	for _, g := range all {
		matches := func(t term) bool { return t.match(g) }
		if (templates || !g.Template) && (len(yes) == 0 || slices.ContainsFunc(yes, matches)) && !slices.ContainsFunc(no, matches) {
			out = append(out, g)
		}
	}
	if len(out) == 0 {
		return nil, builtin.Faultf(builtin.NotFound, "selecting guests by %s", s).Saying("nothing is left of what the selectors name")
	}
	return out, nil
}

func (t term) matchesSome(all []pve.Guest, templates bool) error {
	onlyTemplates := false
	for _, g := range all {
		if !t.match(g) {
			continue
		}
		if t.not || templates || !g.Template {
			return nil
		}
		onlyTemplates = true
	}
	f := builtin.Faultf(builtin.NotFound, "selecting guests by %q", t.text)
	if onlyTemplates {
		return f.Saying("it names only templates").Hinting("templates = True takes them in")
	}
	return f.Saying("it names no guest").
		Hinting("the token sees %d guests; those on which it has no VM.Audit are hidden from it", len(all))
}

func (s selection) String() string {
	texts := make([]string, len(s))
	for i, t := range s {
		texts[i] = t.text
	}
	return strings.Join(texts, ",")
}
