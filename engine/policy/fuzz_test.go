package policy

import (
	"path"
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

// FuzzMatch: a glob covers a value only as path.Match says, where ** does not
// make it another (FuzzGlobs holds that), and the glob of a parameter only the
// parameter's very value.
func FuzzMatch(f *testing.F) {
	f.Add("a*", "ab", "x")
	f.Add("$which", "b", "b")
	f.Add("[", "[", "")
	f.Add("$which", "", "")
	f.Add("**", "0", "0")
	f.Add("a/**", "a/b", "")
	f.Add("$/**", "$", "0")
	f.Add("$which/**", "a/b", "a")
	f.Add("a/*", "a/**", "")
	f.Fuzz(func(t *testing.T, glob, value, param string) {
		p := New(nil, map[string]any{"which": param, "list": []any{param}})
		got := p.matches(glob, []string{value})
		var want bool
		switch {
		case glob == "" || glob == "*" || glob == "**":
			want = true
		case glob == "$which" || glob == "$list":
			want = value == param
		case glob == "$which/**" || glob == "$list/**":
			want = value == param || param != "" && strings.HasPrefix(value, param+"/") && !slices.Contains(strings.Split(value, "/"), "..")
		case strings.HasPrefix(glob, "$"): // a parameter that there is not
			want = false
		case strings.Contains(glob, "**"):
			want = matchGlob(glob, value)
		default:
			ok, err := path.Match(glob, value)
			want = ok && err == nil && !strings.HasSuffix(value, "/**") // which stands for more than itself
		}
		if got != want {
			t.Fatalf("%q covers %q: %v, want %v (the parameter is %q)", glob, value, got, want, param)
		}
		if glob != "" && glob != "*" && glob != "**" && p.matches(glob, nil) {
			t.Fatalf("%q covers a call that names nothing", glob)
		}
		n := ParseNeed("box", "fill:"+glob, builtin.Position{})
		if glob == "" && n.Glob == "" && n.What == "fill" {
			t.Fatal("an empty glob became a need for everything")
		}
	})
}
