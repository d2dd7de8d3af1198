package proxmox

import (
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

func estate() []pve.Guest {
	return []pve.Guest{
		{VMID: 100, Name: "web01", Node: "pve1", Type: "qemu", Tags: []string{"prod", "web"}, Pool: "production"},
		{VMID: 101, Name: "web02", Node: "pve2", Type: "qemu", Tags: []string{"web"}, Pool: "production/web"},
		{VMID: 102, Name: "db", Node: "pve1", Type: "lxc", Tags: []string{"prod"}},
		{VMID: 200, Name: "", Node: "pve3", Type: "qemu", Status: "unknown"},
		{VMID: 9000, Name: "web-template", Node: "pve1", Type: "qemu", Tags: []string{"base"}, Template: true},
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		selectors string // lists separated by spaces
		templates bool
		want      string
		kind      builtin.Kind
		says      string
	}{
		{selectors: "all", want: "100 101 102 200"},
		{selectors: "all", templates: true, want: "100 101 102 200 9000"},
		{selectors: "100", want: "100"},
		{selectors: "102 100 100", want: "100 102"},
		{selectors: "102,100", want: "100 102"},
		{selectors: "100-199", want: "100 101 102"},
		{selectors: "100-100", want: "100"},
		{selectors: "@prod", want: "100 102"},
		{selectors: "%production", want: "100"},
		{selectors: "%production/web", want: "101"},
		{selectors: "web*", want: "100 101"},
		{selectors: "web0[2-9]", want: "101"},
		{selectors: "db", want: "102"},
		{selectors: "*", want: "100 101 102"}, // 200 has no name
		{selectors: "all -102", want: "100 101 200"},
		{selectors: "-102", want: "100 101 200"},
		{selectors: "-102,-200", want: "100 101"},
		{selectors: "@prod,-web*", want: "102"},
		{selectors: "-web* @prod", want: "102"},
		{selectors: "all,-@prod,-%production/web", want: "200"},
		{selectors: "all -100-101", want: "102 200"},
		{selectors: "all -9000", want: "100 101 102 200"}, // a template is there to be taken away
		{selectors: "9000", templates: true, want: "9000"},
		{selectors: "9000", kind: builtin.NotFound, says: "templates"},
		{selectors: "@base", kind: builtin.NotFound, says: "templates"},
		{selectors: "103", kind: builtin.NotFound, says: `"103"`},
		{selectors: "100 @prdo", kind: builtin.NotFound, says: `"@prdo"`},
		{selectors: "all -@prdo", kind: builtin.NotFound, says: `"-@prdo"`},
		{selectors: "%Production", kind: builtin.NotFound},
		{selectors: "300-400", kind: builtin.NotFound},
		{selectors: "mail*", kind: builtin.NotFound},
		{selectors: "100 -100", kind: builtin.NotFound, says: "nothing is left"},
		{selectors: "", kind: builtin.Invalid, says: "no selector"},
		{selectors: "100,", kind: builtin.Invalid},
		{selectors: ",", kind: builtin.Invalid},
	} {
		var selectors []Selector
		for s := range strings.FieldsSeq(test.selectors) {
			selectors = append(selectors, Selector(s))
		}
		selection, err := parseSelection(selectors)
		var got []pve.Guest
		if err == nil {
			got, err = selection.choose(estate(), test.templates)
		}
		if test.kind != "" {
			f := builtin.AsFault(err)
			if f == nil || f.Kind != test.kind || !strings.Contains(f.Error()+f.Hint, test.says) {
				t.Errorf("%q: %v %v", test.selectors, got, err)
			}
			continue
		}
		var ids []string
		for _, g := range got {
			ids = append(ids, g.VMID.String())
		}
		if err != nil || strings.Join(ids, " ") != test.want {
			t.Errorf("%q: %v %v", test.selectors, ids, err)
		}
	}
	// Nothing to be seen at all is no empty list either.
	all, _ := parseSelection([]Selector{"all"})
	if _, err := all.choose(nil, true); builtin.AsFault(err) == nil {
		t.Error("all of nothing")
	}
}

func TestMalformedSelectors(t *testing.T) {
	for _, text := range []string{
		"", "-", "--100", "99", "1000000000", "200-100", "100-99", "100-", "0100-5", "@", "@-x", "@a b", "%", "%a/b/c/d", "%/a", "%a//b",
		"[", "web[", "a/b", "a b", "we\nb", "\\x", "{a,b}", "100,,101", "+100", "١٠٠",
	} {
		var s Selector
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q passed", text)
		} else if text != "" && !strings.Contains(err.Error(), "no selector") {
			t.Error(err)
		}
	}
	for _, text := range []string{"all", "100", "100-199", "@a", "%a/b", "web*", "-all", "- 100"} {
		var s Selector
		err := s.UnmarshalText([]byte(text))
		if (err == nil) == strings.Contains(text, " ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, text := range []string{"all", "100", "100-199", "@tag", "%pool/x", "web*", "-@x,100", "[a-", "-", "-all,-all", "9000,-*"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		selection, err := parseSelection([]Selector{Selector(text)})
		if err != nil {
			if f := builtin.AsFault(err); f == nil || f.Kind != builtin.Invalid {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		for _, templates := range []bool{false, true} {
			got, err := selection.choose(estate(), templates)
			if err != nil {
				if f := builtin.AsFault(err); f == nil || f.Kind != builtin.NotFound {
					t.Fatalf("%q: %v", text, err)
				}
				continue
			}
			// Something, in order, once each, and no template unless asked for.
			if len(got) == 0 || !slices.IsSortedFunc(got, func(a, b pve.Guest) int { return int(a.VMID) - int(b.VMID) }) {
				t.Fatalf("%q: %v", text, got)
			}
			for _, g := range got {
				if g.Template && !templates {
					t.Fatalf("%q: %v", text, g)
				}
				for _, term := range selection {
					if term.not && term.match(g) {
						t.Fatalf("%q: %s was taken away: %v", text, term.text, g)
					}
				}
			}
		}
	})
}
