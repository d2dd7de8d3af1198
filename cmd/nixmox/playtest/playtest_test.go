package playtest_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nixmox/cmd/nixmox/playtest"
	"nixmox/engine/builtin"
	"nixmox/engine/reference"
	"nixmox/stdlib"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder writes files into a folder of their own.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// backUp is a playbook that is short and does all that there is to see.
const backUp = `
needs(proxmox = ["read"], vzdump = ["read", "backup", "mark", "prune"])

def main(guest = 101, node = "pve2", nap = "0s"):
    """
    Args:
      nap (duration): how long to sleep.
    """
    defer(lambda: proxmox.version())
    log("begun")
    sleep(nap)
    made = vzdump.backup(node, [guest], "backup").archives[0]
    read = vzdump.verify("backup", [made.volid])
    vzdump.mark("backup", read.whole)
    log("whole", level = "warning")
    vzdump.prune("backup", [guest], keep(daily = 1))
`

// runTests runs the tests of a file whose text is given, beside backUp.
func runTests(t *testing.T, text string, o playtest.Options) []playtest.Result {
	t.Helper()
	dir := folder(t, map[string]string{"p.star": backUp, "p_test.star": text})
	return runIn(t, dir, o)
}

func runIn(t *testing.T, dir string, o playtest.Options) []playtest.Result {
	t.Helper()
	f, err := playtest.Open(t.Context(), filepath.Join(dir, "p_test.star"), stdlib.FS)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if o.Parallel == 0 {
		o.Parallel = 4
	}
	var results []playtest.Result
	if err := playtest.Run(t.Context(), []*playtest.File{f}, o, func(r playtest.Result) { results = append(results, r) }); err != nil {
		t.Fatal(err)
	}
	return results
}

func mustPass(t *testing.T, results []playtest.Result) {
	t.Helper()
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s: %s\n%s", r.Name, r.Problems.At, r.Problems.What, r.Problems.Text())
		}
	}
}

func TestPassing(t *testing.T) {
	mustPass(t, runTests(t, `
def test_run():
    r = playbook.run("p.star", guest = 105)
    check.eq((r.exit, r.ended, r.error, r.kind, r.hint, r.at), (0, "done", "", "", "", ""))
    check.eq([(l.level, l.text) for l in r.logs], [("info", "begun"), ("warning", "whole")])
    check.matches("p.star:10:8", r.logs[0].at)
    check.eq(r.warnings, 1)
    check.eq([c.call for c in r.calls], ["vzdump.backup", "vzdump.verify", "vzdump.mark", "vzdump.prune", "proxmox.version"])
    check.eq(r.calls[-1].place, "defer.1.1")
    check.eq([c.effect for c in r.changes], ["change", "change", "irreversible"])
    made = r.calls[0]
    check.eq((made.ok, made.fault, made.args["guests"], made.args["mode"]), (True, "", [105], "snapshot"))
    check.eq(made.result["archives"][0]["guest"], 105)
    check.eq(len(lab.archives("backup", guest = 105)), 6)

def test_each_has_a_lab_of_its_own():
    check.eq(len(lab.archives("backup")), 60)
    check.eq(str(now())[:16], "2026-06-17 12:00")

def test_fault():
    lab.fault("vzdump:101=fail")
    r = playbook.run("p.star")
    check.eq((r.exit, r.ended, r.kind), (1, "failed", "failed"))
    check.matches("p.star:12", r.at)
    check.eq((r.changes[0].ok, r.changes[0].fault), (False, "failed"))
    check.contains(r.changes[0].said, "exit code 2")
    lab.heal()
    check.eq(playbook.run("p.star").exit, 0)

def test_no_sleep_takes_time():
    before = now()
    r = playbook.run("p.star", nap = "30d")
    check.eq(r.exit, 0)
    check.that((now() - before).hours > 700)

def test_timeout():
    lab.fault("vzdump:101=hang")
    r = playbook.run("p.star", timeout = "2h")
    check.eq((r.exit, r.kind), (7, "timeout"))

def test_another_hand():
    seen = []
    r = playbook.run("p.star", after = {"vzdump.backup": lambda: seen.append(lab.archives("backup", guest = 101)[-1].verified)})
    check.eq((r.exit, seen), (0, [False]))

def test_plan():
    p = playbook.plan("p.star")
    check.eq((p.exit, p.plan_ends), (0, ""))
    check.eq(p.assumed, ["an archive that call 3 will make is whole"])
    check.eq(p.calls[1].args["volids"], ["(known after call 3, guest 101)"])
    check.same_calls(p, playbook.run("p.star", params = {"guest": 101}))

def test_mistakes():
    check.contains(check.fails(lambda: playbook.run("p.star", gest = 1), kind = "invalid").what, "no parameter")
    check.contains(check.fails(lambda: playbook.run("p.star", guest = "x")).said, "guest")
    for name in ["../p.star", "/etc/passwd", "p", "none.star"]:
        check.fails(lambda: playbook.run(name)) if name != "none.star" else check.eq(playbook.run(name).exit, 3)
    check.fails(lambda: lab.fault("nonsense"))
    check.fails(lambda: lab.clock(set = "noon"))
    check.fails(lambda: check.golden("x", "../x"))
    check.fails(lambda: check.golden(7, "x"))
    check.fails(lambda: check.matches("(", "x"))

def test_assertions():
    check.eq({"a": [1]}, {"a": [1]})
    check.ne(1, 2)
    check.contains(["a", "b"], "a")
    check.contains({"a": 1}, "a")
`, playtest.Options{}))
}

func TestFailing(t *testing.T) {
	results := runTests(t, `
def look(r):
    check.eq(r.exit, 1, "the exit code")

def test_a_helper():
    look(playbook.run("p.star"))
    log("never")

def test_a_diff():
    log("before")
    check.eq("a\nb\nc", "a\nx\nc")

def test_lists():
    check.eq([1, 2, 3], [1, 3])

def test_language():
    [][1]

def test_not_caught():
    check.fails(lambda: check.eq(1, 2))

def test_did_not_fail():
    check.fails(lambda: 7)

def test_other_kind():
    check.fails(lambda: fail("x"), kind = "busy")

def test_golden():
    check.golden("x", "x")

def test_true():
    check.that([], "something there")

def test_hint():
    fail("no", hint = "do this")

def test_ne():
    check.ne(1, 1)

def test_contains():
    check.contains(["a", "b"], "c")

def test_matches():
    check.matches("^b", "a")

def test_same_calls():
    check.same_calls(playbook.plan("p.star"), playbook.run("p.star", guest = 105))

def test_other_hand_fails():
    playbook.run("p.star", after = {"vzdump.backup": lambda: fail("slipped")})

def test_passes():
    pass
`, playtest.Options{})
	want := []struct {
		line int
		what string
		text string
	}{
		{3, "the exit code: not equal", "got : 0\n  want: 1\n  called from .*p_test.star:6:9\n  last run:\n    run 1, of p: done, exit 0\n"},
		{11, "not equal", "diff:\n    --- want\n    \\+\\+\\+ got\n    @@ .* @@\n     a\n    -x\n    \\+b\n     c\n"},
		{14, "not equal", "\n    \\+2\n"},
		{17, "index 1 out of range", ""},
		{20, "not equal", "got : 1\n  want: 2\n  called from "},
		{23, "it did not fail", "got : 7"},
		{26, "it failed in another way: x", "want: busy"},
		{29, "testdata/x.golden is not there", "--update|got : x"},
		{32, "something there: not true", "got : \\[\\]"},
		{35, "no", "hint: do this"},
		{38, "equal", "anything else"},
		{41, "not in it", "\"a\"\n    \"b\"\n  want: something with \"c\""},
		{44, "no match", "something like \\^b"},
		{47, "guests\\[0\\]: planned 101, made 105", ""},
		{50, "slipped", ""},
		{0, "", ""},
	}
	if len(results) != len(want) {
		t.Fatalf("%d results", len(results))
	}
	for i, w := range want {
		r := results[i]
		if r.Passed != (w.line == 0) {
			t.Errorf("%s: passed %v", r.Name, r.Passed)
		}
		if r.Passed {
			continue
		}
		if r.Problems.At.Line != w.line || !strings.HasSuffix(r.Problems.At.File, "p_test.star") || !regexp.MustCompile(w.what).MatchString(r.Problems.What) ||
			!regexp.MustCompile(w.text).MatchString(r.Problems.Text()) {
			t.Errorf("%s: %s: %s\n%s", r.Name, r.Problems.At, r.Problems.What, r.Problems.Text())
		}
	}
	if len(results[0].Log) != 0 || len(results[1].Log) != 1 {
		t.Error("a test went on after its failure, or its log is lost")
	}

	var out bytes.Buffer
	if err := playtest.JUnit(&out, results); err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(out.Bytes(), &suites); err != nil {
		t.Fatal(err)
	}
	if suites.Tests != 16 || suites.Failures != 15 || len(suites.Suites) != 1 || suites.Suites[0].Cases[0].Failure == nil || suites.Suites[0].Cases[15].Failure != nil {
		t.Errorf("%s", out.String())
	}
}

func TestGolden(t *testing.T) {
	text := `
def test_golden():
    r = playbook.run("p.star")
    check.golden(r, "run")
    check.golden("run " + r.changes[0].result["archives"][0]["run"] + " " + r.changes[0].result["task"], "text")
`
	dir := folder(t, map[string]string{"p.star": backUp, "p_test.star": text})
	mustPass(t, runIn(t, dir, playtest.Options{Update: true}))
	mustPass(t, runIn(t, dir, playtest.Options{})) // of another run, with other ids and times
	got, err := os.ReadFile(filepath.Join(dir, "testdata/text.golden"))
	if err != nil || string(got) != "run RUN UPID\n" {
		t.Errorf("%q (%v)", got, err)
	}
	file := filepath.Join(dir, "testdata/run.golden")
	got, err = os.ReadFile(file)
	if err != nil || !strings.Contains(string(got), "vzdump.prune") || strings.Contains(string(got), "size") {
		t.Errorf("%s (%v)", got, err)
	}
	if err := os.WriteFile(file, bytes.Replace(got, []byte("warning: whole"), []byte("warning: broken"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	results := runIn(t, dir, playtest.Options{})
	if results[0].Passed || !strings.Contains(results[0].Problems.Diff, "-warning: broken\n+warning: whole\n") {
		t.Errorf("%+v", results[0].Problems)
	}
}

func TestInterrupted(t *testing.T) {
	dir := folder(t, map[string]string{"p.star": backUp, "p_test.star": "def test_a():\n    playbook.run(\"p.star\")\n"})
	f, err := playtest.Open(t.Context(), filepath.Join(dir, "p_test.star"), stdlib.FS)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(builtin.Stopf(builtin.Cancelled, "interrupted"))
	told := 0
	err = playtest.Run(ctx, []*playtest.File{f}, playtest.Options{Parallel: 1}, func(playtest.Result) { told++ })
	if err == nil || err.Error() != "interrupted" || told != 0 {
		t.Errorf("%v, %d results", err, told)
	}
}

func TestFilter(t *testing.T) {
	results := runTests(t, "def test_one():\n    pass\ndef test_two():\n    pass\n", playtest.Options{Filter: regexp.MustCompile("two$")})
	if len(results) != 1 || results[0].Name != "test_two" {
		t.Errorf("%+v", results)
	}
}

func TestFind(t *testing.T) {
	dir := folder(t, map[string]string{"a_test.star": "", "a.star": "", "sub/b_test.star": "", ".git/c_test.star": "", "sub/.d_test.star": ""})
	found, err := playtest.Find([]string{dir, filepath.Join(dir, "a_test.star")})
	if err != nil || len(found) != 3 {
		t.Errorf("%v %v", found, err)
	}
	for _, path := range []string{filepath.Join(dir, "a.star"), filepath.Join(dir, "none")} {
		if _, err := playtest.Find([]string{path}); err == nil {
			t.Errorf("%s is a test", path)
		}
	}
	if _, err := playtest.Open(t.Context(), filepath.Join(dir, "a_test.star"), stdlib.FS); err == nil || !strings.Contains(err.Error(), "there is no test") {
		t.Errorf("%v", err)
	}
}

func TestDefinitions(t *testing.T) {
	for _, problem := range reference.Lint(playtest.Modules(), playtest.AtHand()) {
		t.Error(problem)
	}
}

// TestExamples runs what the manual shows.
func TestExamples(t *testing.T) {
	backup, err := os.ReadFile("../../../playbooks/backup.star")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, m := range playtest.Modules() {
		for _, f := range m.Funcs {
			if f.Example == "" && f.Name != "golden" {
				t.Errorf("%s has no example", f.QualifiedName())
			}
			text.WriteString("def test_" + m.Name + "_" + f.Name + "():\n    pass\n    " + strings.ReplaceAll(f.Example, "\n", "\n    ") + "\n\n")
		}
	}
	dir := folder(t, map[string]string{"backup.star": string(backup), "p_test.star": text.String()})
	mustPass(t, runIn(t, dir, playtest.Options{}))
}

func TestCompare(t *testing.T) {
	type args struct {
		Volume builtin.Later[string] `name:"volume"`
		Keep   int                   `name:"keep"`
		Seen   time.Time             `name:"seen" volatile:""`
	}
	type made struct {
		Volume string `name:"volume"`
	}
	typed := func(v any) builtin.Typed {
		f := builtin.NewPure("f", "F.", func(context.Context, args) (made, error) { return made{}, nil })
		if _, ok := v.(made); ok {
			return builtin.Typed{Type: f.Result, Value: v}
		}
		return builtin.Typed{Type: f.Args, Value: v}
	}
	call := func(place, name string, v args) *playtest.Call {
		return &playtest.Call{Place: builtin.Place(place), Name: name, Args: typed(v)}
	}
	later := builtin.Later[string]{From: "1"}
	first := &playtest.Call{Place: "1", Name: "m.make", Result: typed(made{"vol"})}
	planned := []*playtest.Call{{Place: "1", Name: "m.make"}, call("2", "m.use", args{Volume: later, Keep: 1})}
	tests := []struct {
		name  string
		run   []*playtest.Call
		wants []string
	}{
		{"equal", []*playtest.Call{first, call("2", "m.use", args{Volume: builtin.Now("vol"), Keep: 1, Seen: time.Now()})}, nil},
		{"another value", []*playtest.Call{first, call("2", "m.use", args{Volume: builtin.Now("other"), Keep: 1})}, []string{`"other" did not come from call 1`}},
		{"another argument", []*playtest.Call{first, call("2", "m.use", args{Volume: builtin.Now("vol"), Keep: 2})}, []string{".keep: planned 1, made 2"}},
		{"another function", []*playtest.Call{first, call("2", "m.lose", args{})}, []string{"planned m.use"}},
		{"one less", []*playtest.Call{first}, []string{"was planned and not made"}},
		{"one more", []*playtest.Call{first, call("2", "m.use", args{Volume: builtin.Now("vol"), Keep: 1}), call("3", "m.use", args{})}, []string{"was made and not planned"}},
		{"its source was not made", []*playtest.Call{call("2", "m.use", args{Volume: builtin.Now("vol"), Keep: 1})}, []string{"was planned and not made", "which was not made"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := playtest.Compare(&playtest.Observed{Plan: true, Calls: planned}, &playtest.Observed{Calls: tt.run})
			if len(got) != len(tt.wants) {
				t.Fatalf("differences %q", got)
			}
			for i, want := range tt.wants {
				if !strings.Contains(got[i], want) {
					t.Errorf("difference %q, want %q", got[i], want)
				}
			}
		})
	}
	t.Run("the plan ends early", func(t *testing.T) {
		plan := &playtest.Observed{Plan: true, Calls: planned[:1]}
		plan.Report.PlanEnds = "nobody knows"
		if got := playtest.Compare(plan, &playtest.Observed{Calls: tests[0].run}); len(got) != 0 {
			t.Errorf("differences %q", got)
		}
	})
}
