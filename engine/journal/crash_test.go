package journal

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

// childWrite records calls in a run until it is killed, and tells on
// standard output what was acknowledged.
func childWrite(args []string) {
	dir, id := args[0], args[1]
	db := must(Open(dir))
	r, err := db.Resume(id)
	if err != nil {
		r = must(db.Begin(newRun(id)))
	}
	fmt.Println("opened 0")
	next := 1
	for _, e := range r.Entries() { // what was in doubt is ended first
		next = max(next, place(e)+1)
		if e.InDoubt() {
			check(r.Ended(ended(string(e.Place))))
			fmt.Println("ended", e.Place)
		}
	}
	for ; ; next += 2 {
		read, change := strconv.Itoa(next), strconv.Itoa(next+1)
		check(r.Read(ended(read)))
		check(r.Begun(intent(change)))
		fmt.Println("ended", read) // went along
		fmt.Println("begun", change)
		check(r.Handle(builtin.Place(change), "h"+change))
		fmt.Println("handle", change)
		check(r.Ended(ended(change)))
		fmt.Println("ended", change)
	}
}

func place(e Entry) int {
	n, err := strconv.Atoi(string(e.Place))
	if err != nil {
		panic(err)
	}
	return n
}

// TestKilled kills a process that records, again and again, at no chosen
// moment, while another one records in the same journal and is not disturbed.
func TestKilled(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	dir := t.TempDir()
	open(t, dir) // one that only looks stays open, too
	bystander := startChild(t, "write", dir, "bystander")
	known := map[string]string{} // place: the furthest that was acknowledged
	steps := map[string]int{"begun": 1, "handle": 2, "ended": 3}
	note := func(line string) {
		step, place, _ := strings.Cut(line, " ")
		if steps[step] > steps[known[place]] {
			known[place] = step
		}
	}
	for round := range rounds {
		c := startChild(t, "write", dir, "victim")
		for range rand.IntN(25) {
			note(c.hear())
		}
		for range rand.IntN(200_000) { // into the middle of what comes next
		}
		_ = c.cmd.Process.Kill()
		for c.out.Scan() { // acknowledged, and not heard yet
			note(c.out.Text())
		}
		c.kill()
		bystander.hear()
		if len(known) == 0 {
			continue
		}
		db := open(t, dir)
		info, entries := shown(t, db, "victim")
		if info.Live {
			t.Fatal("a killed owner is live")
		}
		have := map[string]Entry{}
		for _, e := range entries {
			have[string(e.Place)] = e
		}
		for place, step := range known {
			e, found := have[place]
			switch {
			case !found, step == "handle" && e.Handle != "h"+place, step == "ended" && (e.InDoubt() || string(e.Result) != string(ended(place).Result)):
				t.Fatalf("round %d: %s of %s was acknowledged, and there is %+v", round, step, place, e)
			}
		}
		ok(t, db.Close())
	}
	t.Logf("%d calls", len(known))
	bystander.kill()
	db := open(t, dir)
	sound(t, db)
	for _, id := range []string{"victim", "bystander"} {
		ok(t, resume(t, db, id).Finish(Cancelled, 130, "", epoch))
	}
}

// sound has SQLite check every page and reference.
func sound(t testing.TB, db *DB) {
	t.Helper()
	var said string
	ok(t, db.conn.QueryRowContext(background, "PRAGMA integrity_check").Scan(&said))
	if said != "ok" {
		t.Fatal(said)
	}
	rows, err := db.conn.QueryContext(background, "PRAGMA foreign_key_check")
	ok(t, err)
	defer rows.Close()
	if rows.Next() {
		t.Fatal("a reference to nothing")
	}
	ok(t, rows.Err())
}
