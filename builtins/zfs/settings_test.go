package zfs

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPropertyNames(t *testing.T) {
	for _, good := range []string{"compression", "com.example:owner", "org:x-y_z.1", "userquota@alice", "userused@1000", "written@auto-1", "feature@async_destroy", "a:" + strings.Repeat("x", 253)} {
		var n PropertyName
		if err := n.UnmarshalText([]byte(good)); err != nil || string(n) != good {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "all", "-o", "-r:x", "a,b", "a=b", "a b", "Compression", "org:X", "a\tb", "a\n", "@x", "userquota@", "userquota@-r", "userquota@a,b", "a/b", "ä", "a:" + strings.Repeat("x", 254)} {
		var n PropertyName
		if err := n.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is a property", bad)
		}
	}
}

func TestTargets(t *testing.T) {
	for good, dataset := range map[string]string{"rpool": "rpool", "rpool/a b@s": "rpool/a b", "rpool/a#b": "rpool/a"} {
		var n Target
		if err := n.UnmarshalText([]byte(good)); err != nil || n.ScopeText() != dataset {
			t.Errorf("%q: %v, of %q", good, err, n.ScopeText())
		}
	}
	for _, bad := range []string{"", "rpool/", "rpool@", "rpool@a@b", "rpool#a@b", "rpool@a#b", "-r", "rpool/a%b", "rpool/a,b"} {
		var n Target
		if err := n.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is a target", bad)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, bad := range []string{"two\nlines", "a\ttab", "\x00", "\x7f", strings.Repeat("x", 8192)} {
		var s Setting
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%.20q is a setting", bad)
		}
	}
	for text, want := range map[string]int64{"0": 0, "none": 0, "512": 512, "10K": 10240, "10k": 10240, "1M": 1 << 20, "1MB": 1 << 20, "3g": 3 << 30, "7B": 7, "1P": 1 << 50} {
		if n, ok := Setting(text).bytes(); !ok || n != want {
			t.Errorf("%q is %d, %v, want %d", text, n, ok, want)
		}
	}
	for _, text := range []string{"", "on", "1.5G", "-1", "10X", "K", "10MiB", "1E", "99999999999999999999", "auto", " 1"} {
		if n, ok := Setting(text).bytes(); ok {
			t.Errorf("%q is the size %d", text, n)
		}
	}
}

// TestMarksAreNixmoxs: no playbook writes or takes away a mark.
func TestMarksAreNixmoxs(t *testing.T) {
	for _, name := range []string{datasetMark, snapshotMark, "nixmox:anything"} {
		if err := checkSettings("setting", map[string]Setting{name: "x"}); err == nil {
			t.Errorf("%s can be set", name)
		}
		if err := notAMark("inheriting", PropertyName(name)); err == nil {
			t.Errorf("%s can be inherited", name)
		}
	}
	if err := checkSettings("setting", map[string]Setting{"com.example:nixmox": "x", "compression": "lz4"}); err != nil {
		t.Error(err)
	}
}

// FuzzSetting: what is taken stands in one argument and in one line of a list.
func FuzzSetting(f *testing.F) {
	for _, seed := range []string{"10G", "a = b", "two\nlines", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Setting
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if string(s) != text || strings.ContainsAny(text, "\n\t\x00\r") || len(text) > maxSetting {
			t.Errorf("%q is taken as %q", text, s)
		}
		if n, ok := s.bytes(); ok && n < 0 {
			t.Errorf("%q is the size %d", text, n)
		}
		if args := settingArguments("-o", map[string]Setting{"a:b": s}); len(args) != 2 || args[1] != "a:b="+text {
			t.Errorf("%q", args)
		}
	})
}

// FuzzPropertyName: what is taken is one name, and no option.
func FuzzPropertyName(f *testing.F) {
	for _, seed := range []string{"compression", "com.example:owner", "userquota@alice", "-o", "a,b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var n PropertyName
		if n.UnmarshalText([]byte(text)) != nil {
			return
		}
		if string(n) != text || text == "" || text[0] == '-' || text == "all" || strings.ContainsAny(text, ",=\n\t/") {
			t.Errorf("%q is taken for a property", text)
		}
	})
}

// TestDestroyInOrder: whatever was decided on, each goes once, in the order in
// which it was decided, and no argument is longer than the kernel takes.
func TestDestroyInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var remove []DatasetIdentity
		var want []string
		n := rapid.IntRange(0, 40).Draw(t, "n")
		long := strings.Repeat("x", rapid.IntRange(1, 200).Draw(t, "length"))
		for range n {
			dataset := "p/" + rapid.SampledFrom([]string{"a", "a/b", "c d"}).Draw(t, "dataset")
			i := DatasetIdentity{Type: rapid.SampledFrom([]string{"filesystem", "volume", "snapshot", "snapshot", "snapshot", "bookmark"}).Draw(t, "type")}
			switch i.Type {
			case "snapshot":
				i.Name = Target(dataset + "@" + long + rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "name"))
			case "bookmark":
				i.Name = Target(dataset + "#b")
			default:
				i.Name = Target(dataset)
			}
			remove = append(remove, i)
			if i.Type != "bookmark" {
				want = append(want, string(i.Name))
			}
		}
		var got []string
		for _, argument := range destroyInOrder(remove) {
			if len(argument) > maxArgument {
				t.Fatalf("an argument of %d bytes", len(argument))
			}
			dataset, names, ofSnapshots := strings.Cut(argument, "@")
			if !ofSnapshots {
				got = append(got, argument)
				continue
			}
			for name := range strings.SplitSeq(names, ",") {
				got = append(got, dataset+"@"+name)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

func TestOriginIn(t *testing.T) {
	for _, tt := range []struct{ origin, from, to, want string }{
		{"", "p/a", "p/b", ""}, {"p/a@s", "p/a", "p/b", "p/b@s"}, {"p/a/c@s", "p/a", "p/x/y", "p/x/y/c@s"}, {"p/ab@s", "p/a", "p/b", "p/ab@s"}, {"p/c@a", "p/a", "p/b", "p/c@a"},
	} {
		if got := originIn(tt.origin, Dataset(tt.from), Dataset(tt.to)); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}
