package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// mains are what the playbooks of these tests do, in the evaluator.
var mains = map[string]func(script) error{
	"nothing": func(script) error { return nil },
	"values": func(s script) error {
		s.log("n=%v names=%v env=%d run=%s", s.values["n"], s.values["names"], len(os.Environ()), s.run.ID)
		r, err := s.call(boxArgs{Box: "a1", Guest: 101, Amount: 7})
		s.log("%s %d %v", r.Ticket.Value, r.Level, err)
		return nil
	},
	"many": func(s script) error {
		var all sync.WaitGroup
		errs := make([]error, 64)
		for i := range errs {
			branch := s.branch.Fork("1", i+1)
			all.Go(func() {
				s := s
				s.branch = branch
				_, errs[i] = s.call(boxArgs{Box: "a1", Guest: 100, Amount: int64(i)})
			})
		}
		all.Wait()
		return errors.Join(errs...)
	},
	"calls": func(s script) error { // n one after another
		for range s.values["n"].(int64) {
			if _, err := s.call(boxArgs{Box: "a1", Guest: 100, Amount: 1}); err != nil {
				return err
			}
		}
		return nil
	},
	"beside": func(s script) error { // n, 64 at a time
		var all sync.WaitGroup
		for w := range 64 {
			s := s
			s.branch = s.branch.Fork("1", w+1)
			all.Go(func() {
				for range s.values["n"].(int64) / 64 {
					_, _ = s.call(boxArgs{Box: "a1", Guest: 100, Amount: 1})
				}
			})
		}
		all.Wait()
		return nil
	},
	"locks": func(s script) error {
		call := builtin.Call{Place: s.branch.Next(), Run: s.run}
		release, err := s.run.Lock(s.ctx, call, []string{"k1", "k2"})
		if err != nil {
			return err
		}
		s.ctx = builtin.WithHeld(s.ctx, []string{"k1", "k2", "forged"})
		_, err = s.call(boxArgs{Box: "a1", Guest: 100, Amount: 1})
		release()
		call.Place = s.branch.Next()
		_, taken := s.run.Lock(s.ctx, call, []string{"taken"})
		s.log("%v", taken)
		return err
	},
	"defers": func(s script) error {
		for i := range 3 {
			s.run.Defer(builtin.Call{Run: s.run}, fn(func(ctx context.Context) error {
				s := s
				s.ctx, s.branch = ctx, builtin.BranchFrom(ctx)
				_, err := s.call(boxArgs{Box: "a1", Guest: 100, Amount: int64(i)})
				return err
			}))
		}
		return builtin.Faultf(builtin.Conflict, "main").Saying("its own words")
	},
	"partial": func(s script) error {
		_, err := s.call(boxArgs{Box: "a1", Guest: 100, Amount: -1})
		f := builtin.AsFault(err)
		if f == nil {
			return err
		}
		half, _ := f.Partial.(boxed)
		s.log("%s|%s|%s|%s|%d", f.Kind, f.What, f.Said, f.Hint, half.Level)
		return nil
	},
	"opaque": func(s script) error {
		r, err := s.call(boxArgs{Box: "a1", Guest: 100, Amount: 1})
		if err != nil {
			return err
		}
		s.log("known %v, from %s", r.Ticket.Known(), r.Ticket.From)
		_, err = s.call(boxArgs{Box: "a2", Guest: 100, After: r.Ticket})
		return errors.Join(err, builtin.Stopf(builtin.PlanEnds, "what comes is not known"))
	},
	"denied": func(s script) error {
		_, err := s.call(boxArgs{Box: "b1", Guest: 100})
		s.log("went on")
		return err
	},
	"spins": func(s script) error { // looks at nothing, as one long built-in would
		s.log("spinning")
		for i := 0; ; i++ {
			if i < 0 {
				return nil
			}
		}
	},
	"eats": func(s script) error {
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = byte(i)
			}
			all = append(all, b)
			if len(all) > 1<<20 {
				return nil
			}
		}
	},
	"dies": func(s script) error {
		_, _ = s.call(boxArgs{Box: "a1", Guest: 100, Amount: int64(os.Getpid())})
		return nil
	},
	"panics": func(script) error { go panic("\x1b[2J a hole in the language"); select {} },
	"large": func(s script) error {
		s.log("%s", strings.Repeat("x", maxSaid))
		return nil
	},
	"syscalls": func(s script) error {
		for _, line := range tryEverything(int(s.values["n"].(int64))) {
			s.log("%s", line)
		}
		return nil
	},
}

func TestValuesCallsAndLogs(t *testing.T) {
	p := newPlayed(nil)
	if err := p.main(t, t.Context(), "values"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"n=3 names=[x y] env=0 run=R", "t 7 <nil>"}; !slices.Equal(p.logs, want) {
		t.Errorf("logs %q, want %q", p.logs, want)
	}
	if want := []string{"1 a1 7"}; !slices.Equal(p.calls, want) {
		t.Errorf("calls %q, want %q", p.calls, want)
	}
}

// Each of 64 calls waits until all 64 have begun: were one to queue behind
// another, none would end.
func TestCallsInFlightDoNotQueue(t *testing.T) {
	var begun sync.WaitGroup
	begun.Add(64)
	p := newPlayed(func(ctx context.Context, a boxArgs) (boxed, error) {
		begun.Done()
		begun.Wait()
		return boxed{Level: a.Amount}, nil
	})
	if err := p.main(t, t.Context(), "many"); err != nil {
		t.Fatal(err)
	}
	if len(p.calls) != 64 {
		t.Errorf("%d calls", len(p.calls))
	}
}

func TestLocks(t *testing.T) {
	var held []string
	p := newPlayed(func(ctx context.Context, _ boxArgs) (boxed, error) {
		held, _ = builtin.HeldFrom(ctx)
		return boxed{}, nil
	})
	if err := p.main(t, t.Context(), "locks"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"take k1,k2", "give k1,k2", "take taken"}; !slices.Equal(p.locks, want) {
		t.Errorf("locks %q, want %q", p.locks, want)
	}
	if want := []string{"k1", "k2"}; !slices.Equal(held, want) {
		t.Errorf("the call finds %q held, want %q", held, want)
	}
	if want := []string{"lock taken"}; !slices.Equal(p.logs, want) {
		t.Errorf("logs %q, want %q", p.logs, want)
	}
}

func TestDefersAndTheirPlaces(t *testing.T) {
	p := newPlayed(nil)
	err := p.main(t, t.Context(), "defers")
	if f, ok := errors.AsType[*builtin.Fault](err); !ok || f.Kind != builtin.Conflict || f.Said != "its own words" {
		t.Errorf("main ended with %v", err)
	}
	branch := builtin.NewBranch().Fork("defer", 1)
	for i := len(p.defers) - 1; i >= 0; i-- {
		if _, err := p.defers[i].Call(builtin.WithBranch(t.Context(), branch)); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"defer.1.1 a1 2", "defer.1.2 a1 1", "defer.1.3 a1 0"}; !slices.Equal(p.calls, want) {
		t.Errorf("calls %q, want %q", p.calls, want)
	}
}

func TestPartialResultsOfFaults(t *testing.T) {
	p := newPlayed(func(context.Context, boxArgs) (boxed, error) {
		return boxed{}, &builtin.Fault{Kind: builtin.Failed, What: "fill", Said: "half", Hint: "again", Partial: boxed{Ticket: builtin.Now("t"), Level: 5}}
	})
	if err := p.main(t, t.Context(), "partial"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"failed|fill|half|again|5"}; !slices.Equal(p.logs, want) {
		t.Errorf("logs %q, want %q", p.logs, want)
	}
}

func TestPlanWithValuesToCome(t *testing.T) {
	var after []builtin.Later[string]
	p := newPlayed(func(ctx context.Context, a boxArgs) (boxed, error) {
		after = append(after, a.After)
		return boxed{Ticket: builtin.PlannedBy[string](builtin.CallFrom(ctx))}, nil
	})
	p.run.Planned = &builtin.Overlay{}
	err := p.main(t, t.Context(), "opaque")
	if stopKind(err) != builtin.PlanEnds {
		t.Errorf("the plan ended with %v", err)
	}
	if want := []string{"known false, from 1"}; !slices.Equal(p.logs, want) {
		t.Errorf("logs %q, want %q", p.logs, want)
	}
	if len(after) != 2 || after[1].From != "1" {
		t.Errorf("the second call was given %v", after)
	}
}

func TestDeniedIsTheEnginesToSay(t *testing.T) {
	p := newPlayed(nil)
	if err := p.main(t, t.Context(), "denied"); err == nil || len(p.calls) > 0 {
		t.Errorf("ended with %v after calls %q", err, p.calls)
	}
}

// The deadline ends main and what it has under way, whose outcome is awaited.
func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	var ended bool
	p := newPlayed(func(ctx context.Context, _ boxArgs) (boxed, error) {
		cancel(builtin.Stopf(builtin.TimedOut, "too long"))
		<-ctx.Done()
		ended = true
		return boxed{}, ctx.Err()
	})
	if err := p.main(t, ctx, "calls"); stopKind(err) != builtin.TimedOut {
		t.Errorf("ended with %v", err)
	}
	if !ended {
		t.Error("the call had not ended")
	}
}

// An evaluator that is told to end and does not is killed.
func TestKilledAfterGrace(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := newPlayed(nil)
	p.run.Log = func(builtin.Call, string, string) { cancel(builtin.Stopf(builtin.TimedOut, "too long")) }
	began := time.Now()
	if err := p.main(t, ctx, "spins"); stopKind(err) != builtin.TimedOut {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(began); took > grace+time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestMemory(t *testing.T) {
	if raceDetector {
		t.Skip("memory limits are not for the race detector, which takes some times as much")
	}
	err := newPlayed(nil).main(t, t.Context(), "eats")
	if stopKind(err) != builtin.Limit || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("ended with %v", err)
	}
}

func TestKilledInTheMiddle(t *testing.T) {
	p := newPlayed(func(ctx context.Context, a boxArgs) (boxed, error) {
		return boxed{}, syscall.Kill(int(a.Amount), syscall.SIGKILL)
	})
	err := p.main(t, t.Context(), "dies")
	if stopKind(err) != builtin.Died || !strings.Contains(err.Error(), "killed") {
		t.Errorf("ended with %v", err)
	}
}

func TestPanicsOfTheEvaluator(t *testing.T) {
	err := newPlayed(nil).main(t, t.Context(), "panics")
	if stopKind(err) != builtin.Died || !strings.Contains(err.Error(), "a hole in the language") {
		t.Errorf("ended with %v", err)
	}
}

func TestTooLargeToSay(t *testing.T) {
	p := newPlayed(nil)
	if err := p.main(t, t.Context(), "large"); err == nil || len(p.logs) > 0 {
		t.Errorf("ended with %v", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	p := newPlayed(nil)
	playbook, err := p.load(t, Options{}, map[string]string{"play.fake": "nothing"})
	if err != nil {
		t.Fatal(err)
	}
	children := childrenOf(t)
	if len(children) == 0 {
		t.Error("there is no evaluator")
	}
	if err := playbook.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range childrenOf(t) { // tests of this package run one after another
		t.Errorf("process %d is left", pid)
	}
	if err := playbook.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), p.run, map[string]any{"n": int64(1), "names": []any{}}); stopKind(err) != builtin.Cancelled {
		t.Errorf("main after the end: %v", err)
	}
}

func childrenOf(t *testing.T) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(files) == 0 {
		t.Skip("this kernel does not list the children of a process")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread is gone
		}
		for _, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestSecondRunOfAPlaybook(t *testing.T) {
	p := newPlayed(nil)
	playbook, err := p.load(t, Options{}, map[string]string{"play.fake": "calls"})
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(3) {
		if err := playbook.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), p.run, map[string]any{"n": n, "names": []any{}}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"1 a1 1", "1 a1 1", "2 a1 1"}; !slices.Equal(p.calls, want) {
		t.Errorf("calls %q, want %q", p.calls, want)
	}
}

func TestLoading(t *testing.T) {
	p := newPlayed(nil)
	playbook, err := p.load(t, Options{}, map[string]string{"play.fake": "load sub/near.fake\nload @std//std.fake\nnothing", "sub/near.fake": "x"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range playbook.Graph.Files {
		names = append(names, f.Shown)
	}
	if want := []string{"books/sub/near.fake", "@std//std.fake", "books/play.fake"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	if playbook.Doc != "A test." || len(playbook.Needs) != 1 || len(playbook.Params) != 2 || !reflect.DeepEqual(playbook.Params[1].Default, []any{"a"}) ||
		!reflect.DeepEqual(playbook.Uses(), []language.Used{{Module: "box", Name: "fill"}}) {
		t.Errorf("it loaded as %+v", playbook)
	}

	_, err = p.load(t, Options{}, map[string]string{"play.fake": "wrong"})
	var problems source.Problems
	if !errors.As(err, &problems) || problems[0].At != (builtin.Position{File: "books/play.fake", Line: 3, Col: 7}) || problems[0].Hint != "put it right" {
		t.Errorf("problems %v", err)
	}
	if _, err = p.load(t, Options{}, map[string]string{"play.fake": "load gone.fake\nnothing"}); err == nil || !strings.Contains(err.Error(), "gone.fake: no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err = p.load(t, Options{}, map[string]string{"play.fake": "load notes.txt\nnothing", "notes.txt": "private"}); err == nil || strings.Contains(err.Error(), "private") {
		t.Errorf("a file of another ending: %v", err)
	}
}

func TestLoadingIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, builtin.Stopf(builtin.TimedOut, "too long"))
	defer cancel()
	p := newPlayed(nil)
	_, err := Load(ctx, Options{Memory: memory}, p.defs, source.Stored([]*source.File{{Name: "play.fake", Shown: "play.fake", Text: []byte("hang nothing")}}), "play.fake")
	if stopKind(err) != builtin.TimedOut {
		t.Errorf("loading ended with %v", err)
	}
}

// A resumed run has the files as they were, and nothing else.
func TestStoredSources(t *testing.T) {
	p := newPlayed(nil)
	playbook, err := p.loadFrom(t, Options{}, source.Stored([]*source.File{{Name: "play.fake", Shown: "old/play.fake", Text: []byte("calls"), Digest: "d"}}))
	if err != nil {
		t.Fatal(err)
	}
	if playbook.Graph.Main.Digest != "d" || playbook.Graph.Main.Shown != "old/play.fake" {
		t.Errorf("main is %+v", playbook.Graph.Main)
	}
	if _, err = p.loadFrom(t, Options{}, source.Stored([]*source.File{{Name: "play.fake", Shown: "play.fake", Text: []byte("load near.fake\nnothing")}})); err == nil ||
		!strings.Contains(err.Error(), "not in the run's record") {
		t.Errorf("a file that the record has not: %v", err)
	}
}

// What the kernel cannot give is told, and refused where all is required.
func TestRequire(t *testing.T) {
	p := newPlayed(nil)
	playbook, err := p.load(t, Options{}, map[string]string{"play.fake": "nothing"})
	if err != nil {
		t.Fatal(err)
	}
	missing := playbook.Exposed
	_, err = p.load(t, Options{Require: true}, map[string]string{"play.fake": "nothing"})
	if (err != nil) != (len(missing) > 0) {
		t.Errorf("with %q missing, requiring all ends with %v", missing, err)
	}
	if _, err = p.load(t, Options{Require: true, Memory: memory + forging}, map[string]string{"play.fake": "missing"}); err == nil || !strings.Contains(err.Error(), "does not have moon") {
		t.Errorf("an evaluator without the moon: %v", err)
	}
}

func TestStartingFails(t *testing.T) {
	p := newPlayed(nil)
	for _, program := range []string{"/does/not/exist", "/bin/true"} {
		if _, err := p.load(t, Options{Program: program}, map[string]string{"play.fake": "nothing"}); err == nil {
			t.Errorf("%s is an evaluator", program)
		} else if program == "/bin/true" && !strings.Contains(fmt.Sprint(err), "locking down the evaluator") {
			t.Error(err)
		}
	}
}
