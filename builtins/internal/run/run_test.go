package run

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// programs is a folder with one shell script as the program that is asked for.
func programs(t *testing.T, script string) *Runner {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Runner{Folder: dir}
}

func TestOutputIsWhatTheProgramWrote(t *testing.T) {
	r := programs(t, `echo "$0|$1|$2|$LC_ALL|$TZ|$SECRET|$(pwd)"; while read -r line; do echo "in: $line"; done`)
	t.Setenv("SECRET", "never handed on")
	out, err := r.Output(t.Context(), Command{Argv: []string{"tool", "a b", "$(x);'"}, Stdin: strings.NewReader("one\n")})
	want := filepath.Join(r.Folder, "tool") + "|a b|$(x);'|C|UTC||/\nin: one\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

func TestEndsAreErrors(t *testing.T) {
	for _, c := range []struct{ script, says string }{
		{`echo part; echo "cannot do it" >&2; exit 3`, "cannot do it"},
		{`exit 3`, "tool ended with status 3 and said nothing"},
		{`kill -9 $$`, "tool was ended by the signal killed"},
	} {
		_, err := programs(t, c.script).Output(t.Context(), Command{Argv: []string{"tool"}})
		if e, ok := errors.AsType[*Error](err); !ok || e.Error() != c.says {
			t.Errorf("%s: %v", c.script, err)
		}
	}
}

func TestNothingOutsideTheFolder(t *testing.T) {
	r := programs(t, `ls / >/dev/null 2>&1 && echo reached; exit 0`)
	for _, argv := range [][]string{{"sh"}, {"../tool"}, {"/bin/sh"}, {""}, nil, {"tool", "a\x00b"}} {
		if out, err := r.Output(t.Context(), Command{Argv: argv}); err == nil {
			t.Errorf("%q ran and wrote %q", argv, out)
		}
	}
	if out, err := r.Output(t.Context(), Command{Argv: []string{"tool"}}); err != nil || len(out) != 0 {
		t.Errorf("a program in the folder reached one that is not: %v, %q", err, out)
	}
	_, err := r.Output(t.Context(), Command{Argv: []string{"sh"}})
	if m, ok := errors.AsType[*MissingError](err); !ok || m.Folder != r.Folder {
		t.Errorf("%v", err)
	}
}

// What a program started ends with it, too, and soon.
func TestCancelledCommandEnds(t *testing.T) {
	r := &Runner{}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	began := time.Now()
	err := r.Stream(ctx, Command{Argv: []string{"sh", "-c", "sleep 600 & echo up; wait"}}, func(stdout io.Reader) error {
		if _, err := stdout.Read(make([]byte, 10)); err != nil {
			t.Error(err)
		}
		cancel(why)
		_, err := io.Copy(io.Discard, stdout)
		return err
	})
	if !errors.Is(err, why) || time.Since(began) > 30*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func TestReaderEndsTheCommand(t *testing.T) {
	enough := errors.New("seen enough")
	err := (&Runner{}).Stream(t.Context(), Command{Argv: []string{"yes"}}, func(stdout io.Reader) error {
		_, err := io.ReadFull(stdout, make([]byte, 4096))
		return errors.Join(err, enough)
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestStderrIsKeptByItsEnd(t *testing.T) {
	_, err := (&Runner{}).Output(t.Context(), Command{Argv: []string{"sh", "-c", "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done >&2; exit 1"}})
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Stderr) > keptStderr+8 || !strings.HasPrefix(e.Stderr, "… ") || !strings.HasSuffix(e.Stderr, "line 39999\n") {
		t.Errorf("%d bytes", len(e.Stderr))
	}
}
