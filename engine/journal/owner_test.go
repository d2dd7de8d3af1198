package journal

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// childRace resumes on demand: "resume ID" answers won or lost and its
// process id, "close" gives up.
func childRace(args []string) {
	db := must(Open(args[0]))
	var r *Run
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		id, isResume := strings.CutPrefix(in.Text(), "resume ")
		if !isResume {
			if r != nil {
				check(r.Close())
			}
			r = nil
			fmt.Println("closed")
			continue
		}
		var err error
		if r, err = db.Resume(id); err == nil {
			fmt.Println("won", os.Getpid())
			continue
		}
		if owned, ok := errors.AsType[*OwnedError](err); ok {
			fmt.Println("lost", owned.PID)
			continue
		}
		check(err)
	}
}

// TestResumersRace: of two processes that resume a run at once one wins,
// while a third looks at who is live all the time.
func TestResumersRace(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	ok(t, begin(t, db, newRun("r1")).Close())
	one, two := startChild(t, "race", dir), startChild(t, "race", dir)
	stop := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := db.Runs(Filter{}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for round := range 100 {
		one.say("resume r1")
		two.say("resume r1")
		a, pidA, _ := strings.Cut(one.hear(), " ")
		b, pidB, _ := strings.Cut(two.hear(), " ")
		if a == b {
			t.Fatalf("round %d: both %s", round, a)
		}
		winner := pidA
		if b == "won" {
			winner, pidB = pidB, pidA
		}
		if pidB != winner && pidB != "0" { // the loser may have looked before the winner wrote its id
			t.Errorf("round %d: the loser says %s, the winner is %s", round, pidB, winner)
		}
		info, _ := shown(t, db, "r1")
		if !info.Live || strconv.Itoa(info.PID) != winner {
			t.Errorf("round %d: live %v, in %d; the winner is %s", round, info.Live, info.PID, winner)
		}
		one.say("close")
		two.say("close")
		one.hear()
		two.hear()
	}
	close(stop)
	looking.Wait()
	if info, _ := shown(t, db, "r1"); info.Live {
		t.Error("live after both gave it up")
	}
}

// TestOwner: one owner, also within one process, and the messages.
func TestOwner(t *testing.T) {
	dir := t.TempDir()
	db, other := open(t, dir), open(t, dir)
	r := begin(t, db, newRun("r1"))
	for _, db := range []*DB{db, other} {
		_, err := db.Resume("r1")
		owned, ok := errors.AsType[*OwnedError](err)
		if !ok || owned.PID != os.Getpid() || owned.ID != "r1" {
			t.Errorf("%v, want an owner", err)
		}
		if _, err := db.Begin(newRun("r1")); !isA[*ExistsError](err) {
			t.Errorf("%v, want that it exists", err)
		}
	}
	runs, err := other.Runs(Filter{})
	if err != nil || len(runs) != 1 || !runs[0].Live || runs[0].PID != os.Getpid() {
		t.Errorf("%+v, %v; want it live", runs, err)
	}
	ok(t, r.Close())
	if _, err := os.Stat(db.lockPath("r1")); err == nil {
		t.Error("the lock file stayed")
	}

	// Just beginning elsewhere: owned, and not recorded yet.
	o, err := db.own("r2")
	ok(t, err)
	if _, err := other.Begin(newRun("r2")); !isA[*OwnedError](err) {
		t.Errorf("%v, want an owner", err)
	}
	ok(t, o.release())

	// A lock file of a killed owner, torn.
	ok(t, os.WriteFile(db.lockPath("r1"), []byte("no number"), 0o600))
	if info, _ := shown(t, db, "r1"); info.Live {
		t.Error("a file without a lock is live")
	}
	resume(t, other, "r1")
	if info, _ := shown(t, db, "r1"); !info.Live || info.PID != os.Getpid() {
		t.Errorf("%+v, want it live", info)
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestLookUp(t *testing.T) {
	db := open(t, t.TempDir())
	for _, id := range []string{"01AB", "01ABC", "01ABD", "01ABE", "01ABF", "02", "zz"} {
		ok(t, begin(t, db, newRun(id)).Close())
	}
	for id, want := range map[string]string{"01AB": "01AB", "01ABC": "01ABC", "0": "ambiguous", "01ABX": "none", "02": "02", "z": "zz", "": "none",
		"01A": "ambiguous", "~": "none", "0%": "none", "0\x00": "none"} {
		info, _, _, err := db.Show(id)
		got := info.ID
		switch {
		case isA[*NotFoundError](err):
			got = "none"
		case isA[*AmbiguousError](err):
			got = "ambiguous"
		case err != nil:
			t.Error(err)
		}
		if got != want {
			t.Errorf("%q is %s, want %s", id, got, want)
		}
		_, rerr := db.Resume(want + "no")
		if !isA[*NotFoundError](rerr) {
			t.Errorf("resume of none: %v", rerr)
		}
	}
}
