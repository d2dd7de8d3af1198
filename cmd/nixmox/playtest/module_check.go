package playtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"nixmox/engine"
	"nixmox/engine/builtin"
)

func checkModule() builtin.Module {
	return builtin.NewModule("check", "Hold what a test expects. What does not hold ends the test; the other tests go on.",
		builtin.NewPure("eq", "Hold that two values are equal.", checkEq).With(builtin.Reference{
			Example: `check.eq(1 + 1, 2, "sum")`}),
		builtin.NewPure("ne", "Hold that two values are not equal.", checkNe).With(builtin.Reference{
			Example: `check.ne(1, 2)`}),
		builtin.NewPure("that", "Hold that a value is true, as a condition takes it.", checkThat).With(builtin.Reference{
			Example: `check.that([1], "there is one")`}),
		builtin.NewPure("contains", "Hold that a text, a list or a dict has a part.", checkContains).With(builtin.Reference{
			Example: `check.contains("exit 1: no space", "no space")`}),
		builtin.NewPure("matches", "Hold that a regular expression (RE2) matches somewhere in a text.", checkMatches).With(builtin.Reference{
			Example: `check.matches("^exit [0-9]+$", "exit 1")`}),
		builtin.NewPure("fails", "Hold that a function fails, and return the error. Failed assertions are not caught.", checkFails).With(builtin.Reference{
			Example: `e = check.fails(lambda: lab.remove(4711))` + "\n" + `check.contains(e.what, "4711")`}),
		newRead("same_calls", "Hold that a plan and a run made equal calls in equal places, up to where the plan ends. "+
			"Values that the plan did not know are compared by the call that they come from; what may differ (times, sizes in use) is not compared.",
			"p = playbook.plan(\"backup.star\", guests = [\"101\"])\ncheck.same_calls(p, playbook.run(\"backup.star\", guests = [\"101\"]))", (*session).checkSameCalls),
		newRead("golden", "Hold a plan, a run or a text against testdata/NAME.golden beside the test; nixmox test --update writes it. "+
			"Ids of runs and tasks, the test's own times and what is volatile are left out.",
			"", (*session).checkGolden),
	)
}

// Failure is an assertion that does not hold. It is behind a fault, so that
// the language takes it to the end of the test with its place in the file.
type Failure struct {
	What      string // what was expected, and what the test says of it
	Got, Want string
	Diff      string // of values of several lines
}

func (f *Failure) Error() string { return f.What }

// fails makes the error of an assertion.
func fails(message string, f *Failure) error {
	if message != "" {
		f.What = message + ": " + f.What
	}
	return builtin.Faultf(builtin.Failed, "%s", f.What).Because(f)
}

// differing are two values that should be otherwise.
func differing(what string, got, want builtin.Value) *Failure {
	f := &Failure{What: what}
	var gotLines, wantLines []string
	f.Got, gotLines = engine.Inspect(got).Show()
	f.Want, wantLines = engine.Inspect(want).Show()
	if len(gotLines) > 1 || len(wantLines) > 1 {
		f.Diff = diff("want", strings.Join(wantLines, "\n"), "got", strings.Join(gotLines, "\n"))
	}
	return f
}

type eqArgs struct {
	Got     builtin.Value `name:"got" doc:"what came"`
	Want    builtin.Value `name:"want" doc:"what should have come"`
	Message string        `name:"msg" default:"" doc:"what this is about"`
}

func checkEq(_ context.Context, a eqArgs) (nothing, error) {
	equal, err := engine.Inspect(a.Got).Equal(a.Want)
	if err != nil || equal {
		return nothing{}, err
	}
	return nothing{}, fails(a.Message, differing("not equal", a.Got, a.Want))
}

type neArgs struct {
	Got     builtin.Value `name:"got" doc:"what came"`
	Other   builtin.Value `name:"other" doc:"what should not have come"`
	Message string        `name:"msg" default:"" doc:"what this is about"`
}

func checkNe(_ context.Context, a neArgs) (nothing, error) {
	equal, err := engine.Inspect(a.Got).Equal(a.Other)
	if err != nil || !equal {
		return nothing{}, err
	}
	text, _ := engine.Inspect(a.Got).Show()
	return nothing{}, fails(a.Message, &Failure{What: "equal", Got: text, Want: "anything else"})
}

type thatArgs struct {
	Value   builtin.Value `name:"value" doc:"what should be true"`
	Message string        `name:"msg" default:"" doc:"what this is about"`
}

func checkThat(_ context.Context, a thatArgs) (nothing, error) {
	if engine.Inspect(a.Value).True() {
		return nothing{}, nil
	}
	text, _ := engine.Inspect(a.Value).Show()
	return nothing{}, fails(a.Message, &Failure{What: "not true", Got: text, Want: "something true"})
}

type containsArgs struct {
	Whole   builtin.Value `name:"whole" doc:"a text, a list, a dict"`
	Part    builtin.Value `name:"part" doc:"a part of the text, an item, a key"`
	Message string        `name:"msg" default:"" doc:"what this is about"`
}

func checkContains(_ context.Context, a containsArgs) (nothing, error) {
	has, err := engine.Inspect(a.Whole).Has(a.Part)
	if err != nil || has {
		return nothing{}, err
	}
	whole, lines := engine.Inspect(a.Whole).Show()
	if len(lines) > 1 {
		whole = strings.Join(lines, "\n")
	}
	part, _ := engine.Inspect(a.Part).Show()
	return nothing{}, fails(a.Message, &Failure{What: "not in it", Got: whole, Want: "something with " + part})
}

type matchesArgs struct {
	Pattern string `name:"pattern" doc:"the regular expression"`
	Text    string `name:"text" doc:"the text"`
	Message string `name:"msg" default:"" doc:"what this is about"`
}

func checkMatches(_ context.Context, a matchesArgs) (nothing, error) {
	re, err := regexp.Compile(a.Pattern)
	if err != nil || re.MatchString(a.Text) {
		return nothing{}, err
	}
	return nothing{}, fails(a.Message, &Failure{What: "no match", Got: a.Text, Want: "something like " + a.Pattern})
}

type failsArgs struct {
	Fn   builtin.Callback `name:"fn" doc:"a function without parameters"`
	Kind string           `name:"kind" default:"" doc:"the kind that the error should have"`
}

func checkFails(ctx context.Context, a failsArgs) (*builtin.Fault, error) {
	v, err := a.Fn.Call(ctx)
	if err == nil {
		text, _ := engine.Inspect(v).Show()
		return nil, fails("", &Failure{What: "it did not fail", Got: text, Want: "an error"})
	}
	if _, ok := errors.AsType[*Failure](err); ok {
		return nil, err
	}
	f := builtin.AsFault(err)
	if f == nil {
		return nil, err
	}
	if a.Kind != "" && string(f.Kind) != a.Kind {
		return nil, fails("", &Failure{What: "it failed in another way: " + f.Error(), Got: string(f.Kind), Want: a.Kind})
	}
	return f, nil
}

type sameCallsArgs struct {
	Plan builtin.Value `name:"plan" doc:"what playbook.plan returned"`
	Run  builtin.Value `name:"run" doc:"what playbook.run returned"`
}

func (s *session) checkSameCalls(_ context.Context, a sameCallsArgs) (nothing, error) {
	plan, err := s.observed(a.Plan)
	if err != nil {
		return nothing{}, err
	}
	run, err := s.observed(a.Run)
	if err != nil {
		return nothing{}, err
	}
	if differences := Compare(plan, run); len(differences) > 0 {
		return nothing{}, fails("", &Failure{What: "plan and run differ:\n  " + strings.Join(differences, "\n  ")})
	}
	return nothing{}, nil
}

// observed is the run behind a result of playbook.run or playbook.plan.
func (s *session) observed(v builtin.Value) (*Observed, error) {
	neutral, err := engine.Inspect(v).Neutral()
	if err != nil {
		return nil, err
	}
	if r, ok := neutral.(*builtin.Record); ok {
		if n, ok := r.Get("number"); ok {
			if number, ok := n.(int64); ok {
				return s.world.run(int(number))
			}
		}
	}
	return nil, builtin.Faultf(builtin.Invalid, "want what playbook.run or playbook.plan returned, got %s", builtin.NeutralName(neutral))
}

type goldenArgs struct {
	Value builtin.Value `name:"value" doc:"a plan, a run or a text"`
	Name  string        `name:"name" doc:"of the file, without folder and ending"`
}

var goldenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (s *session) checkGolden(_ context.Context, a goldenArgs) (_ nothing, err error) {
	if !goldenName.MatchString(a.Name) {
		return nothing{}, builtin.Faultf(builtin.Invalid, "%q is no name of a golden file", a.Name).Hinting("letters, digits, . _ and -")
	}
	got, err := s.goldenText(a.Value)
	if err != nil {
		return nothing{}, err
	}
	root, err := os.OpenRoot(s.dir) // nothing leads out of the test's folder
	if err != nil {
		return nothing{}, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	file := path.Join("testdata", a.Name+".golden")
	if s.update {
		if err := root.MkdirAll("testdata", 0o755); err != nil {
			return nothing{}, err
		}
		return nothing{}, root.WriteFile(file, []byte(got), 0o644)
	}
	want, err := root.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing{}, fails("", &Failure{What: file + " is not there; nixmox test --update writes it", Got: got})
	}
	if err != nil || string(want) == got {
		return nothing{}, err
	}
	return nothing{}, fails("", &Failure{What: fmt.Sprintf("it differs from %s (nixmox test --update writes it anew)", file), Diff: diff(file, string(want), "got", got)})
}

func (s *session) goldenText(v builtin.Value) (string, error) {
	neutral, err := engine.Inspect(v).Neutral()
	if err != nil {
		return "", err
	}
	text, ok := neutral.(string)
	if !ok {
		seen, err := s.observed(v)
		if err != nil {
			return "", err
		}
		text = seen.text()
	}
	text = neutralized(text)
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text, nil
}
