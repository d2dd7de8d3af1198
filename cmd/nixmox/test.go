package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"nixmox/cmd/nixmox/playtest"
	"nixmox/engine"
	"nixmox/engine/reference"
	"nixmox/engine/source"
	"nixmox/stdlib"
)

type testFlags struct {
	filter   string
	parallel int
	update   bool
	junit    string
	verbose  bool
	json     bool
	doc      bool
}

func (a *app) testCommand() *cobra.Command {
	f := &testFlags{}
	cmd := &cobra.Command{
		Use: "test [PATH…]", Short: "Run the tests of playbooks, each in a fresh lab",
		Long: `Run the tests of playbooks, each in a fresh lab: the functions test_* of files
*_test.star. PATH is such a file, or a folder with all that is below it; without
one it is the folder playbooks, or the current one.

  def test_one_guest_fails():
      lab.fault("vzdump:101=fail")
      r = playbook.run("backup.star", guests = ["101", "105"])
      check.eq(r.exit, 1)
      check.contains(r.error, "101 (nixos-ct)")

What tests can call: nixmox test --doc [check | lab | playbook | FUNCTION].

Exit code 0: all passed; 1: some failed; 2: there is no test; 3: a file of tests
does not check.`,
		Example: "  nixmox test\n  nixmox test playbooks/backup_test.star --filter prune -v\n  nixmox test --update",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.doc {
				return a.testDoc(args)
			}
			return a.test(cmd.Context(), f, args)
		},
	}
	cmd.Flags().StringVar(&f.filter, "filter", "", "only tests whose name this regular expression matches")
	cmd.Flags().IntVar(&f.parallel, "parallel", runtime.NumCPU(), "how many tests run at a time")
	cmd.Flags().BoolVar(&f.update, "update", false, "write the golden files anew")
	cmd.Flags().StringVar(&f.junit, "junit", "", "also write the results to this file, as JUnit's XML")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "also the tests that pass, and what tests log")
	cmd.Flags().BoolVar(&f.json, "json", false, "print results as JSON, one a line")
	cmd.Flags().BoolVar(&f.doc, "doc", false, "show what tests can call, or the manual of one of these")
	return cmd
}

func (a *app) testDoc(args []string) error {
	if len(args) > 1 {
		return usagef("nixmox test --doc lab.guest", "one topic at a time")
	}
	topic := ""
	if len(args) == 1 {
		topic = args[0]
	}
	return usage(reference.Text(a.stdout, playtest.Modules(), playtest.AtHand(), topic, 80), "nixmox test --doc")
}

func (a *app) test(ctx context.Context, f *testFlags, paths []string) (err error) {
	began := time.Now()
	o := playtest.Options{Parallel: f.parallel, Update: f.update}
	if f.filter != "" {
		if o.Filter, err = regexp.Compile(f.filter); err != nil {
			return usage(err, "--filter takes a regular expression")
		}
	}
	if f.parallel < 1 {
		return usagef("--parallel 1 runs them one by one", "--parallel %d", f.parallel)
	}
	files, err := a.openTests(ctx, paths)
	if err != nil {
		return err
	}
	defer func() {
		for _, file := range files {
			err = errors.Join(err, file.Close())
		}
	}()
	if playtest.Count(files, o) == 0 {
		return usagef("tests are the functions test_* in files *_test.star", "there is no test%s", ofFilter(f.filter))
	}
	var results []playtest.Result
	failed := 0
	shown := &checkedWriter{w: a.stdout}
	interrupted := playtest.Run(ctx, files, o, func(r playtest.Result) {
		results = append(results, r)
		if !r.Passed {
			failed++
		}
		showTest(shown, styleFor(a.stdout), f, r)
	})
	if f.junit != "" {
		if err := writeJUnit(f.junit, results); err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
	}
	if interrupted != nil {
		return interrupted
	}
	a.lastTestLine(shown, f, len(results)-failed, failed, time.Since(began))
	if shown.err != nil {
		return shown.err
	}
	if failed > 0 {
		return exitError(engine.ExitFailed)
	}
	return nil
}

func ofFilter(filter string) string {
	if filter == "" {
		return ""
	}
	return " whose name matches " + filter
}

// openTests opens the files that paths mean. All that is wrong with any of
// them is shown.
func (a *app) openTests(ctx context.Context, paths []string) (files []*playtest.File, err error) {
	if len(paths) == 0 {
		paths = []string{"."}
		if info, err := os.Stat("playbooks"); err == nil && info.IsDir() {
			paths = []string{"playbooks"}
		}
	}
	names, err := playtest.Find(paths)
	if err != nil {
		return nil, usage(err, "nixmox test [FILE_test.star | FOLDER]…")
	}
	checks := true
	for _, name := range names {
		file, err := playtest.Open(ctx, name, stdlib.FS)
		if err == nil {
			files = append(files, file)
			continue
		}
		if engine.ExitCode(err) != engine.ExitCheck {
			return files, err
		}
		checks = false
		a.writeError("", err)
	}
	if !checks {
		for _, file := range files {
			_ = file.Close() // nothing was done with it
		}
		return nil, exitError(engine.ExitCheck)
	}
	return files, nil
}

// testProblems is what `nixmox check` finds in a file of tests.
func testProblems(ctx context.Context, name string) (source.Problems, error) {
	file, err := playtest.Open(ctx, name, stdlib.FS)
	if list, ok := errors.AsType[source.Problems](err); ok {
		return list, nil
	}
	if one, ok := errors.AsType[*source.Problem](err); ok {
		return source.Problems{one}, nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, usage(err, "nixmox check FILE…")
	}
	if err != nil {
		return nil, err
	}
	return nil, file.Close()
}

func showTest(w *checkedWriter, s style, f *testFlags, r playtest.Result) {
	if f.json {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(r) // the writer remembers its errors; what is encoded always can be
		return
	}
	took := r.Took.Round(time.Millisecond)
	switch {
	case !r.Passed:
		_, _ = fmt.Fprintf(w, "%s %s %s (%s)\n%s: %s\n%s", s.paint(red, "FAIL"), r.File, r.Name, took, r.Problems.At, clean(r.Problems.What), clean(r.Problems.Text()))
	case f.verbose:
		_, _ = fmt.Fprintf(w, "%s   %s %s (%s)\n", s.paint(green, "ok"), r.File, r.Name, took)
	}
	if f.verbose || !r.Passed {
		for _, line := range r.Log {
			_, _ = fmt.Fprintf(w, "  log: %s\n", clean(line))
		}
	}
}

func (a *app) lastTestLine(w *checkedWriter, f *testFlags, passed, failed int, took time.Duration) {
	if f.json {
		_ = json.NewEncoder(w).Encode(map[string]any{"passed": passed, "failed": failed, "seconds": took.Seconds()}) // as above
		return
	}
	color := green
	if failed > 0 {
		color = red
	}
	line := fmt.Sprintf("%d passed, %d failed in %s", passed, failed, took.Round(time.Millisecond))
	_, _ = fmt.Fprintln(w, styleFor(a.stdout).paint(color, line))
}

func writeJUnit(path string, results []playtest.Result) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(playtest.JUnit(file, results), file.Close())
}
