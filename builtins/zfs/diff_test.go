package zfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The output of OpenZFS 2.3.9 for one of each kind.
const diffOutput = "1795490451.052003386\tM\t/\t/t/a/b/dir\n" +
	"1795490451.128003388\tR\t|\t/t/a/b/pipe\t/t/a/b/r\\0011n\n" +
	"1795490450.164003364\tM\tF\t/t/a/b/dir/f\t(+1)\n" +
	"1795490450.164003364\tM\tF\t/t/a/b/hard\t(-1)\n" +
	"1795490440.312003112\t-\t@\t/t/a/b/link\n" +
	"1795490450.268003366\t+\tF\t/t/a/b/tab\\0011new\\0012line\\0040back\\0134slash\n" +
	"1795490450.272003366\t+\tF\t/t/a/b/\\0303\\0274mlaut\n" +
	"1795490451.136003388\t+\tF\t/t/a/b/del\\0177\\0001\\0377\n" +
	"1795490440.660003121\t+\tC\t/t/a/b/dev\n"

func TestReadChanges(t *testing.T) {
	var got []Change
	if err := eachChange(strings.NewReader(diffOutput), func(c Change) { got = append(got, c) }); err != nil {
		t.Fatal(err)
	}
	at := func(seconds, nanos int64) time.Time { return time.Unix(seconds, nanos).UTC() }
	want := []Change{
		{Change: "modified", Type: "directory", Path: "/t/a/b/dir", Time: at(1795490451, 52003386)},
		{Change: "renamed", Type: "fifo", Path: "/t/a/b/pipe", NewPath: "/t/a/b/r\tn", Time: at(1795490451, 128003388)},
		{Change: "modified", Type: "file", Path: "/t/a/b/dir/f", Links: 1, Time: at(1795490450, 164003364)},
		{Change: "modified", Type: "file", Path: "/t/a/b/hard", Links: -1, Time: at(1795490450, 164003364)},
		{Change: "removed", Type: "symlink", Path: "/t/a/b/link", Time: at(1795490440, 312003112)},
		{Change: "added", Type: "file", Path: "/t/a/b/tab\tnew\nline back\\slash", Time: at(1795490450, 268003366)},
		{Change: "added", Type: "file", Path: "/t/a/b/ümlaut", Time: at(1795490450, 272003366)},
		{Change: "added", Type: "file", Path: `/t/a/b/del\0177\0001\0377`, Escaped: true, Time: at(1795490451, 136003388)},
		{Change: "added", Type: "char", Path: "/t/a/b/dev", Time: at(1795490440, 660003121)},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestReadChangeRefuses(t *testing.T) {
	for _, line := range []string{
		"", "1.000000000\tM\tF", "M\tF\t/a", "1.5\tM\tF\t/a", "x.000000000\tM\tF\t/a", "-1.000000000\tM\tF\t/a", "1.000000000\tX\tF\t/a", "1.000000000\tM\tX\t/a",
		"1.000000000\tR\tF\t/a", "1.000000000\t+\tF\t/a\t/b", "1.000000000\tM\tF\t/a\t+1", "1.000000000\tM\tF\t/a\t(1)", "1.000000000\tM\tF\t/a\t()", "1.000000000\tM\tF\t/a\t(+1)\tx",
		`1.000000000	M	F	/a\`, `1.000000000	M	F	/a\040`, `1.000000000	M	F	/a\0800`, `1.000000000	M	F	/a\0777`, `1.000000000	M	F	/a\n000`,
	} {
		if c, err := readChange(line); err == nil {
			t.Errorf("%q is taken for %+v", line, c)
		}
	}
}

func TestPathsAreEscapedBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := string(rapid.SliceOf(rapid.Byte()).Draw(t, "path"))
		escaped := escapePath(path)
		if strings.ContainsAny(escaped, "\t\n ") || !utf8.ValidString(escaped) {
			t.Fatalf("%q", escaped)
		}
		if back, err := unescapePath(escaped); err != nil || back != path {
			t.Fatalf("%q became %q, %v", path, back, err)
		}
	})
}

// FuzzDiff: whatever zfs diff says, paths are text, and those that are not can
// be had back.
func FuzzDiff(f *testing.F) {
	f.Add([]byte(diffOutput))
	f.Add([]byte("1.000000000\tM\tF\t/a\xff\n"))
	f.Add([]byte("1.000000000\tM\tF\t/a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := eachChange(strings.NewReader(string(b)), func(c Change) {
			if !utf8.ValidString(c.Path) || !utf8.ValidString(c.NewPath) || c.Change == "" || c.Type == "" || (c.Links != 0) && c.Change != "modified" {
				t.Errorf("%+v", c)
			}
			if !c.Escaped {
				return
			}
			path, err := unescapePath(c.Path)
			moved, err2 := unescapePath(c.NewPath)
			if err != nil || err2 != nil || utf8.ValidString(path) && utf8.ValidString(moved) {
				t.Errorf("%+v: %v, %v", c, err, err2)
			}
		})
		if err == nil && len(b) > 0 && b[len(b)-1] != '\n' {
			t.Error("what was cut off is taken for whole")
		}
	})
}

const historyOutput = `History for 't':
2026-11-24.03:19:38 zpool create t /tmp/x.img
2026-11-24.03:20:08 [txg:32] clone swap t/a/%rollback (180) parent=a
2026-11-24.03:20:09 [txg:33] hold t/a@s1 (86) tag=keep temp=0 refs=1
2026-11-24.03:20:09 (63ms) ioctl hold
    input:
        holds:
            t/a@s1: 'keep'

2026-11-24.03:20:09 zfs hold keep t/a@s1
`

func TestReadHistory(t *testing.T) {
	const rolled = "2026-11-24.03:20:17 [txg:44] clone swap t/a/%rollback (186) parent=a\n"
	for name, test := range map[string]struct {
		more       string
		tag        Tag
		held, done bool
	}{
		"held":                       {"", "keep", true, false},
		"rolled back":                {rolled, "keep", true, true},
		"another hold":               {rolled, "kee", false, false},
		"another dataset":            {"2026-11-24.03:20:17 [txg:44] clone swap t/ab/%rollback (186) parent=ab\n", "keep", true, false},
		"a receive swaps, too":       {"2026-11-24.03:20:17 [txg:44] clone swap t/a/%recv (186) parent=a\n", "keep", true, false},
		"a command of that text":     {"2026-11-24.03:20:17 clone swap t/a/%rollback (186) parent=a\n", "keep", true, false},
		"within an input":            {"    [txg:44] clone swap t/a/%rollback (186) parent=a\n", "keep", true, false},
		"held again by a later try":  {rolled + "2026-11-24.03:20:18 [txg:45] hold t/a@s1 (86) tag=keep temp=0 refs=1\n", "keep", true, false},
		"another snapshot of it":     {"2026-11-24.03:20:18 [txg:45] hold t/a@s11 (87) tag=keep temp=0 refs=1\n" + rolled, "keep", true, true},
		"rolled back, then released": {rolled + "2026-11-24.03:20:18 [txg:45] release t/a@s1 (86) tag=keep refs=0\n", "keep", true, true},
	} {
		held, done, err := readHistory(strings.NewReader(historyOutput+test.more), "t/a@s1", test.tag)
		if err != nil || held != test.held || done != test.done {
			t.Errorf("%s: held %v, done %v, %v", name, held, done, err)
		}
	}
}

// FuzzHistory: a rollback is seen only after the hold.
func FuzzHistory(f *testing.F) {
	f.Add([]byte(historyOutput))
	f.Fuzz(func(t *testing.T, b []byte) {
		held, done, err := readHistory(strings.NewReader(string(b)), "t/a@s1", "keep")
		if err != nil && (held || done) || done && !held {
			t.Errorf("held %v, done %v, %v", held, done, err)
		}
		if held && !strings.Contains(string(b), "] hold t/a@s1 (") || done && !strings.Contains(string(b), "] clone swap t/a/%rollback (") {
			t.Errorf("held %v, done %v", held, done)
		}
	})
}

// What a machine recorded is read to its end.
func TestReadRecordedHistory(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "history.txt"))
	if err != nil {
		t.Fatal(err)
	}
	held, done, err := readHistory(strings.NewReader(string(b)), "t/a@s1", "keep")
	if err != nil || !held || !done {
		t.Errorf("held %v, done %v, %v", held, done, err)
	}
}
