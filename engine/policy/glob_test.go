package policy_test

import (
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"nixmox/engine/policy"
)

// razes reports whether a need with a glob lets a site be razed: how a glob is
// met from outside.
func razes(glob, site string) bool {
	return policy.New([]policy.Need{{Module: "yard", What: "raze", Glob: glob}}, nil).Allow(call("raze", site)) == nil
}

func valid(glob string) bool {
	return policy.Check([]policy.Need{{Module: "yard", What: "raze", Glob: glob}}, modules, nil) == nil
}

func TestGlobs(t *testing.T) {
	tests := []struct {
		glob, matches, not string // parted by spaces
	}{
		{"rpool", "rpool", "rpool/data rpool2"},
		{"rpool/*", "rpool/data rpool/vm-100", "rpool rpool/data/vm rpool2/data"},
		{"rpool/**", "rpool rpool/data rpool/data/vm rpool/", "rpool2 rpool2/data xrpool/data"},
		{"rpool/data/**", "rpool/data rpool/data/vm/disk", "rpool rpool/database rpool/data2/vm"},
		{"*/data/**", "rpool/data tank/data/vm", "rpool data a/b/data"},
		{"vm-?/**", "vm-1 vm-1/disk", "vm-10 vm-10/disk vm-"},
		{"/etc/**", "/etc /etc/nixos/x.nix", "/etcetera etc/x"},
		{"rpool/**", "rpool/** rpool/data/**", "rpool2/** tank/**"}, // a call that reaches what is below
		{"rpool", "rpool", "rpool/**"},
		{"rpool/*", "rpool/data", "rpool/** rpool/data/**"},
		{"*", "rpool/**", ""},
		{"rpool/**", "", "rpool/../tank rpool/data/../../tank rpool/.."},
		{"nas:backup/**", "nas:backup nas:backup/vzdump-qemu-100.vma.zst", "nas:backups/x"},
		{"*", "rpool rpool/data/vm", ""},
		{"**", "rpool rpool/data/vm", ""},
	}
	for _, tt := range tests {
		if !valid(tt.glob) {
			t.Errorf("%s is no glob", tt.glob)
		}
		for _, name := range strings.Fields(tt.matches) {
			if !razes(tt.glob, name) {
				t.Errorf("%s does not match %s", tt.glob, name)
			}
		}
		for _, name := range strings.Fields(tt.not) {
			if razes(tt.glob, name) {
				t.Errorf("%s matches %s", tt.glob, name)
			}
		}
	}
	for _, glob := range []string{"rpool/**/vm", "rpool**", "**/data", "a**b", "/**/**", "[**]", "***", `a\/**`, "["} {
		if valid(glob) {
			t.Errorf("%s is a glob", glob)
		}
	}
}

// TestBelow: what is below, and nothing else, is matched by a name with /**.
func TestBelow(t *testing.T) {
	step := rapid.StringMatching(`[a-z0-9:@._-]{1,4}`).Filter(func(s string) bool { return s != ".." })
	rapid.Check(t, func(t *rapid.T) {
		base := strings.Join(rapid.SliceOfN(step, 1, 4).Draw(t, "base"), "/")
		name := strings.Join(rapid.SliceOfN(step, 1, 6).Draw(t, "name"), "/")
		if rapid.Bool().Draw(t, "below") {
			name = base + "/" + name
		}
		want := name == base || strings.HasPrefix(name, base+"/")
		if got := razes(base+"/**", name); got != want {
			t.Fatalf("%s/** and %s: %v", base, name, got)
		}
		if razes(base, name) != (base == name) {
			t.Fatalf("%s and %s", base, name)
		}
	})
}

// TestDeniedBelow: what is denied is denied to a call that would reach it from
// above, too.
func TestDeniedBelow(t *testing.T) {
	tests := []struct {
		denied, site string
		refused      bool
	}{
		{"rpool/secret", "rpool/**", true},
		{"rpool/secret/**", "rpool/**", true},
		{"rpool/secret/**", "rpool/secret/deep/**", true},
		{"rpool/*/keys", "rpool/home/**", true},
		{"*/keys", "rpool/**", true},
		{"rpool/secret", "rpool", false},
		{"rpool/secret", "rpool/secrets/**", false},
		{"rpool/secret/**", "rpool/data/**", false},
		{"rp", "rpool/**", false},
	}
	for _, tt := range tests {
		deny := []policy.Narrowing{{Deny: []policy.Need{{Module: "yard", What: "raze", Glob: tt.denied}}}}
		all := []policy.Need{{Module: "yard", What: "raze"}}
		if got := policy.New(all, nil).Under(deny).Allow(call("raze", tt.site)) != nil; got != tt.refused {
			t.Errorf("%s denied, %s asked for: refused is %v", tt.denied, tt.site, got)
		}
	}
}

// FuzzGlobs: whatever glob and name are, the answer is that of path.Match, or
// of one of the names above; a broken glob lets nothing pass.
func FuzzGlobs(f *testing.F) {
	for _, seed := range [][2]string{{"rpool/**", "rpool/data"}, {"[a-c]?/*", "ab/x"}, {"**", "x"}, {"[", "["}, {`\*`, "*"}, {"[^a]/**", "b/ä/\xff"}, {"$x", "$x"}, {"/**", "/"}, {"*/**", "../x"}, {"a/*", "a/**"}, {"a/b", "a/**"}, {"/**", "/**"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, glob, name string) {
		if name == "" || strings.HasPrefix(glob, "$") || glob == "" || glob == "*" || glob == "**" {
			return
		}
		got := razes(glob, name)
		if !valid(glob) {
			if got {
				t.Fatalf("%q is broken, and lets %q pass", glob, name)
			}
			return
		}
		base, deep := strings.CutSuffix(glob, "/**")
		top, reaches := strings.CutSuffix(name, "/**") // the call reaches what is below
		want, err := path.Match(base, top)
		if err != nil {
			t.Fatalf("%q: %v", glob, err)
		}
		steps := strings.Split(top, "/")
		for i := 1; deep && i < len(steps); i++ {
			above, _ := path.Match(base, strings.Join(steps[:i], "/")) // the glob is good
			climbs := strings.Contains("/"+top+"/", "/../")
			want = want || above && !climbs
		}
		touched := want // by a rule that denies
		want = want && (deep || !reaches)
		if got != want {
			t.Fatalf("%q and %q: %v", glob, name, got)
		}
		// A policy that denies what a need allows denies it, and one that allows just that allows it.
		need := []policy.Need{{Module: "yard", What: "raze", Glob: glob}}
		all := []policy.Need{{Module: "yard", What: "raze"}}
		denied := policy.New(all, nil).Under([]policy.Narrowing{{Deny: need}}).Allow(call("raze", name)) != nil
		allowed := policy.New(all, nil).Under([]policy.Narrowing{{Bounded: true, Allow: need}}).Allow(call("raze", name)) == nil
		if touched && !denied || denied && !touched && !reaches || allowed != want {
			t.Fatalf("%q and %q: denied %v, allowed %v, want %v", glob, name, denied, allowed, want)
		}
	})
}
