package luavm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/yuin/gopher-lua/pm"
	"pgregory.net/rapid"
)

func matchAll(pattern, text string, spend func(int)) (string, error) {
	var out strings.Builder
	for at := 0; at <= len(text); {
		m := &matcher{text: text, pattern: pattern, spend: spend}
		from, to, ok, err := m.find(at)
		if err != nil {
			return "", err
		}
		if !ok {
			break
		}
		fmt.Fprintf(&out, "%d-%d", from, to)
		for _, c := range m.captures[:m.level] {
			switch c.size {
			case position:
				fmt.Fprintf(&out, " @%d", c.from+1)
			default:
				fmt.Fprintf(&out, " %d-%d", c.from, c.from+c.size)
			}
		}
		out.WriteByte('\n')
		if at = to; from == to {
			at++
		}
		if strings.HasPrefix(pattern, "^") {
			break
		}
	}
	return out.String(), nil
}

func matchAllByInterpreter(pattern, text string) (string, error) {
	found, err := pm.Find(pattern, []byte(text), 0, -1)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, m := range found {
		fmt.Fprintf(&out, "%d-%d", m.Capture(0), m.Capture(1))
		for i := 2; i < m.CaptureLength(); i += 2 {
			if m.IsPosCapture(i) {
				fmt.Fprintf(&out, " @%d", m.Capture(i))
			} else {
				fmt.Fprintf(&out, " %d-%d", m.Capture(i), m.Capture(i+1))
			}
		}
		out.WriteByte('\n')
	}
	return out.String(), nil
}

// TestPatternsAsTheInterpreter: what the interpreter's own find, where that
// follows the manual (it takes sets that are none, and its frontier is a
// letter).
func TestPatternsAsTheInterpreter(t *testing.T) {
	class := rapid.SampledFrom([]string{"a", "b", ".", "%a", "%d", "%s", "%w", "%A", "%D", "[ab]", "[^a]", "[a-c]", "[%d%s]", "1", " ", "%."})
	single := rapid.Custom(func(t *rapid.T) string {
		return class.Draw(t, "class") + rapid.SampledFrom([]string{"", "", "*", "+", "-", "?"}).Draw(t, "repeat")
	})
	pattern := rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		if rapid.Bool().Draw(t, "anchored") && rapid.Bool().Draw(t, "really") {
			b.WriteByte('^')
		}
		for range rapid.IntRange(1, 4).Draw(t, "items") {
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				b.WriteString("(" + single.Draw(t, "in") + single.Draw(t, "in") + ")")
			case 1:
				b.WriteString("()")
			case 2:
				b.WriteString("%bab")
			default:
				b.WriteString(single.Draw(t, "item"))
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "to the end") == 0 {
			b.WriteByte('$')
		}
		return b.String()
	})
	rapid.Check(t, func(t *rapid.T) {
		p := pattern.Draw(t, "pattern")
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aabbc1 .")), 0, 12, -1).Draw(t, "text")
		got, err := matchAll(p, text, func(int) {})
		want, wantErr := matchAllByInterpreter(p, text)
		if err != nil || wantErr != nil || got != want {
			t.Fatalf("%q in %q: %q (%v), the interpreter %q (%v)", p, text, got, err, want, wantErr)
		}
	})
}

// TestPatterns: what only the manual has.
func TestPatterns(t *testing.T) {
	tests := []struct{ pattern, text, want string }{
		{"%f[%w]%w+", "the (quick) fox", "0-3\n5-10\n12-15\n"},
		{"[]]", "a]b", "1-2\n"},
		{"[^]]", "]a", "1-2\n"},
		{"[a-]", "-", "0-1\n"},
		{"(a)(b)%2%1", "abba", "0-4 0-1 1-2\n"},
		{"%b()", "f(g(x))", "1-7\n"},
		{"^a", "aa", "0-1\n"},
		{"", "ab", "0-0\n1-1\n2-2\n"},
		{"a$", "aa", "1-2\n"},
		{"$a", "$a", "0-2\n"},
		{"%z", "a\x00b", "1-2\n"},
	}
	for _, tt := range tests {
		if got, err := matchAll(tt.pattern, tt.text, func(int) {}); err != nil || got != tt.want {
			t.Errorf("%q in %q: %q, %v; want %q", tt.pattern, tt.text, got, err, tt.want)
		}
	}
	for _, p := range []string{")", "%", "[", "[a", "[%", "%b", "%bx", "%f", "%1", "(%1)", strings.Repeat("()", 40), "[]", "[^", "[]%"} {
		if got, err := matchAll(p, "aa", func(int) {}); err == nil {
			t.Errorf("%q is a pattern: %q", p, got)
		}
	}
}

// FuzzPatterns: nothing breaks it, and every step is counted, so that what
// takes long can be stopped.
func FuzzPatterns(f *testing.F) {
	for _, seed := range []string{"a*a*a*b", "(%a+)%s*=()", "%f[%w]", "[^%s]-$", "%b()", "((a)%2)", "[%", "%", "[a-%d]", "^$"} {
		f.Add(seed, "aaaa b=c (x) 12")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		type enough struct{}
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(enough); !ok {
					panic(r)
				}
			}
		}()
		steps := 0
		_, _ = matchAll(pattern, text, func(n int) { // an error is an answer
			if steps += n; steps > 1e6 {
				panic(enough{})
			}
		})
	})
}
