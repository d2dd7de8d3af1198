package builtin_test

import (
	"encoding"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
)

// text is a named type under test: a new value, and how it prints.
type text struct {
	name  string
	make  func() encoding.TextUnmarshaler
	print func(encoding.TextUnmarshaler) string
}

var texts = []text{
	{"guest id", func() encoding.TextUnmarshaler { return new(builtin.VMID) }, func(v encoding.TextUnmarshaler) string { return v.(*builtin.VMID).String() }},
	{"node", func() encoding.TextUnmarshaler { return new(builtin.Node) }, func(v encoding.TextUnmarshaler) string { return string(*v.(*builtin.Node)) }},
	{"storage", func() encoding.TextUnmarshaler { return new(builtin.StorageID) }, func(v encoding.TextUnmarshaler) string { return string(*v.(*builtin.StorageID)) }},
	{"volume id", func() encoding.TextUnmarshaler { return new(builtin.VolID) }, func(v encoding.TextUnmarshaler) string { return string(*v.(*builtin.VolID)) }},
	{"duration", func() encoding.TextUnmarshaler { return new(builtin.Duration) }, func(v encoding.TextUnmarshaler) string { return v.(*builtin.Duration).String() }},
	{"size", func() encoding.TextUnmarshaler { return new(builtin.Bytes) }, func(v encoding.TextUnmarshaler) string { return fmt.Sprint(int64(*v.(*builtin.Bytes))) }},
}

func textOf(t testing.TB, name string) text {
	for _, x := range texts {
		if x.name == name {
			return x
		}
	}
	t.Fatalf("no type %q", name)
	return text{}
}

func TestNames(t *testing.T) {
	tests := []struct {
		typ  string
		good map[string]string // text to how it prints
		bad  []string
	}{
		{"guest id", map[string]string{"100": "100", "999999999": "999999999"},
			[]string{"", "99", "1000000000", "+100", "-100", "0100", "100 ", "1e3", "0x64", "100\n", "१००", "99999999999999999999"}},
		{"node", map[string]string{"pve": "pve", "pve-1": "pve-1", "1a": "1a", strings.Repeat("a", 63): strings.Repeat("a", 63)},
			[]string{"", "-pve", "pve-", "pve.example", "pve_1", "a/b", "..", "pve\n", strings.Repeat("a", 64), "pvé"}},
		{"storage", map[string]string{"local-zfs": "local-zfs", "a.b_c1": "a.b_c1"},
			[]string{"", "a", "1a", "-a", "a-", "a b", "a/b", "a:b", "..", "aa\n", strings.Repeat("a", 101)}},
		{"volume id", map[string]string{"nas:backup/vzdump-qemu-100-2026_11_23-12_00_00.vma.zst": "nas:backup/vzdump-qemu-100-2026_11_23-12_00_00.vma.zst",
			"local-zfs:vm-100-disk-0": "local-zfs:vm-100-disk-0", "nas:a..b": "nas:a..b"},
			[]string{"", ":", "nas", "nas:", ":x", "nas:..", "nas:../x", "nas:a/../b", "nas:a/..", "nas:/etc/passwd", "nas:a//b", "nas:./a", "nas:a/.",
				"nas:-x", "nas:a/-x", "nas:a\nb", "nas:a\x00b", `nas:a\b`, "nas:a\x7f", "nas:a\xff", "../nas:x", "n:x"}},
		{"duration", map[string]string{"90s": "1m30s", "10m": "10m0s", "2h30m": "2h30m0s", "7d": "168h0m0s", "0": "0s", "5": "5s", "0.25": "250ms", "999999999": "277777h46m39s",
			"2562047h47m16.854775807s": "2562047h47m16.854775807s"},
			[]string{"", "-5", "-1s", "1e9", "NaN", "Inf", "d", "-1d", "65536d", "1.5d", "s", "5 s", "2562048h", "1h\n"}},
		{"size", map[string]string{"0": "0", "17": "17", "17B": "17", "1K": "1024", "512MiB": "536870912", "512Mi": "536870912", "512MB": "536870912", "2T": "2199023255552",
			"8191PiB": "9222246136947933184", "9223372036854775807": "9223372036854775807"},
			[]string{"", "-1", "+1", "1.5G", "1 G", "G", "iB", "5i", "5iB", "1k", "1X", "8192P", "9223372036854775808", "99999999999999999999T", "1KK", "1G\n"}},
	}
	for _, tt := range tests {
		x := textOf(t, tt.typ)
		for in, want := range tt.good {
			v := x.make()
			if err := v.UnmarshalText([]byte(in)); err != nil {
				t.Errorf("%s %q: %v", tt.typ, in, err)
			} else if got := x.print(v); got != want {
				t.Errorf("%s %q is %s, want %s", tt.typ, in, got, want)
			}
		}
		for _, in := range tt.bad {
			v := x.make()
			if err := v.UnmarshalText([]byte(in)); err == nil {
				t.Errorf("%s %q is taken, as %s", tt.typ, in, x.print(v))
			} else if !strings.Contains(err.Error(), "is no ") {
				t.Errorf("%s %q: %v, which names neither text nor type", tt.typ, in, err)
			}
		}
	}
}

func TestVolIDParts(t *testing.T) {
	v := builtin.VolID("nas:backup/a:b")
	if v.Storage() != "nas" || v.Name() != "backup/a:b" || v.ScopeText() != "nas" {
		t.Errorf("%s %s %s", v.Storage(), v.Name(), v.ScopeText())
	}
}

func TestDurationMarshals(t *testing.T) {
	got, err := builtin.Duration(90 * time.Second).MarshalText()
	if err != nil || string(got) != "1m30s" {
		t.Errorf("%s %v", got, err)
	}
}

// fuzzText: no text makes a named type panic, and what is taken prints to
// something that is taken again, as the same value, and fits the pattern.
func fuzzText(f *testing.F, name string, seeds ...string) {
	x := textOf(f, name)
	var pattern *regexp.Regexp
	if p, ok := x.make().(interface{ Pattern() string }); ok {
		pattern = regexp.MustCompile(p.Pattern())
	}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := x.make()
		if v.UnmarshalText([]byte(s)) != nil {
			return
		}
		if pattern != nil && !pattern.MatchString(s) {
			t.Errorf("%q is taken and does not fit %s", s, pattern)
		}
		again := x.make()
		if err := again.UnmarshalText([]byte(x.print(v))); err != nil {
			t.Fatalf("%q is taken, printed as %q, and then refused: %v", s, x.print(v), err)
		}
		if x.print(again) != x.print(v) {
			t.Errorf("%q is %s, then %s", s, x.print(v), x.print(again))
		}
	})
}

func FuzzVMID(f *testing.F)      { fuzzText(f, "guest id", "100", "0100", "+5") }
func FuzzNode(f *testing.F)      { fuzzText(f, "node", "pve-1", "-") }
func FuzzStorageID(f *testing.F) { fuzzText(f, "storage", "local-zfs", "a") }
func FuzzVolID(f *testing.F)     { fuzzText(f, "volume id", "nas:backup/x", "nas:../x") }
func FuzzDuration(f *testing.F)  { fuzzText(f, "duration", "90s", "7d", "0.25", "1e9", "0x1p4") }
func FuzzBytes(f *testing.F)     { fuzzText(f, "size", "512MiB", "8192P") }

// Names are matched byte by byte; their patterns, which the documentation and
// the schemas show, say the same.
func TestNamesMatchTheirPatterns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.String(), rapid.StringMatching(`[0-9]{1,10}`), rapid.StringMatching(`[A-Za-z0-9._-]{0,6}`),
			rapid.StringMatching(`[a-z]([a-z0-9.-]{60,100})[a-z0-9]`), rapid.StringMatching(`[a-z0-9]{1,3}[^a-z]?[a-z0-9\n]{0,2}`),
		).Draw(t, "text")
		for _, name := range []interface {
			Pattern() string
			encoding.TextUnmarshaler
		}{new(builtin.VMID), new(builtin.Node), new(builtin.StorageID)} {
			fits := regexp.MustCompile(name.Pattern()).MatchString(text)
			if err := name.UnmarshalText([]byte(text)); (err == nil) != fits {
				t.Fatalf("%T of %q: %v, and the pattern says %v", name, text, err, fits)
			}
		}
	})
}
