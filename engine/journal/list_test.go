package journal

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRuns(t *testing.T) {
	db := open(t, t.TempDir())
	states := []State{Done, Failed, Suspended, Running, InDoubt, Cancelled}
	for i := range 12 {
		n := newRun(fmt.Sprintf("r%02d", i))
		n.Playbook = []string{"backup", "update"}[i%2]
		n.Began = epoch.Add(time.Duration(i/2) * time.Hour) // two at a time
		r := begin(t, db, n)
		s := states[i%len(states)]
		if s.final() {
			ok(t, r.Finish(s, i, string(s), n.Began.Add(time.Minute)))
		} else {
			ok(t, r.SetState(s, i, string(s), n.Began.Add(time.Minute)))
		}
		if s != Running {
			ok(t, r.Close())
		}
	}
	for name, tt := range map[string]struct {
		filter Filter
		want   string
	}{
		"all":               {Filter{}, "11 10 09 08 07 06 05 04 03 02 01 00"},
		"a page":            {Filter{Limit: 3}, "11 10 09"},
		"the next":          {Filter{Limit: 3, Before: "r09"}, "08 07 06"},
		"within one moment": {Filter{Limit: 1, Before: "r11"}, "10"},
		"the last":          {Filter{Limit: 3, Before: "r01"}, "00"},
		"after the last":    {Filter{Before: "r00"}, ""},
		"a state":           {Filter{States: []State{InDoubt}}, "10 04"},
		"what may go on":    {Filter{States: []State{Suspended, Running, InDoubt}}, "10 09 08 04 03 02"},
		"a page of that":    {Filter{States: []State{Suspended, Running, InDoubt}, Limit: 2, Before: "r09"}, "08 04"},
		"a playbook":        {Filter{Playbook: "update", Limit: 2}, "11 09"},
		"no playbook":       {Filter{Playbook: "none"}, ""},
		"since":             {Filter{Since: epoch.Add(4 * time.Hour)}, "11 10 09 08"},
		"all of it":         {Filter{States: []State{Done, Cancelled}, Playbook: "update", Since: epoch, Limit: 5, Before: "r11"}, "05"},
	} {
		runs, err := db.Runs(tt.filter)
		ok(t, err)
		var got []string
		for _, r := range runs {
			got = append(got, strings.TrimPrefix(r.ID, "r"))
			if live := r.State == Running; r.Live != live || live && r.PID != os.Getpid() {
				t.Errorf("%s: %s is %s, live %v in %d", name, r.ID, r.State, r.Live, r.PID)
			}
			if r.Error != string(r.State) || r.Ended.IsZero() == r.State.final() || !r.Changed.Equal(r.Began.Add(time.Minute)) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", name, s, tt.want)
		}
	}
	if _, err := db.Runs(Filter{Before: "r"}); !isA[*NotFoundError](err) && !isA[*AmbiguousError](err) {
		t.Errorf("a page after no run: %v", err)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	put := func(id string, at time.Time, s State, digests ...string) *Run {
		n := newRun(id)
		n.Sources = nil
		for _, d := range digests {
			n.Sources = append(n.Sources, Source{Name: d, Text: []byte(d), Digest: d})
		}
		r := begin(t, db, n)
		ok(t, r.Begun(intent("1")))
		ok(t, r.Ended(ended("1")))
		switch {
		case s.final():
			ok(t, r.Finish(s, 0, "", at))
		case s != Running:
			ok(t, r.SetState(s, 0, "", at))
		}
		return r
	}
	limit := epoch.AddDate(0, 0, 90)
	old, young := limit.Add(-time.Second), limit
	for id, s := range map[string]State{"done": Done, "failed": Failed, "cancelled": Cancelled, "suspended": Suspended, "in-doubt": InDoubt, "died": Running} {
		ok(t, put(id, old, s, "gone", "stays").Close())
	}
	ok(t, put("young", young, Done, "stays").Close())
	live := put("live", old, Done, "live")
	for i := range 2 * pruneBatch {
		ok(t, put(fmt.Sprint("many", i), old, Done, "gone").Close())
	}
	ok(t, os.WriteFile(db.lockPath("done"), nil, 0o600)) // killed between its end and giving up

	n, err := db.Prune(limit)
	ok(t, err)
	if n != 3+2*pruneBatch {
		t.Errorf("%d removed", n)
	}
	runs, err := db.Runs(Filter{})
	ok(t, err)
	left := map[string]bool{}
	for _, r := range runs {
		left[r.ID] = true
	}
	same(t, "left", left, map[string]bool{"suspended": true, "in-doubt": true, "died": true, "young": true, "live": true})
	if _, err := os.Stat(db.lockPath("done")); err == nil {
		t.Error("a lock file stayed")
	}
	count := func(query string) (n int) {
		ok(t, db.conn.QueryRowContext(background, query).Scan(&n))
		return n
	}
	if calls := count("SELECT count(*) FROM calls"); calls != len(left) {
		t.Errorf("%d calls stayed", calls)
	}
	if _, err := db.Resume("failed"); !isA[*NotFoundError](err) {
		t.Errorf("a pruned run resumes: %v", err)
	}
	if _, err := os.Stat(db.lockPath("failed")); err == nil {
		t.Error("looking for a pruned run left a lock file")
	}
	ok(t, live.Close())
	for _, id := range []string{"suspended", "in-doubt", "died"} {
		r := resume(t, db, id)
		ok(t, r.Finish(Cancelled, 0, "", old))
		ok(t, r.Close())
	}
	if n, err = db.Prune(limit); err != nil || n != 4 {
		t.Errorf("%d removed, %v", n, err)
	}
	if s := count("SELECT count(*) FROM sources"); s != 1 { // young's
		t.Errorf("%d sources stayed", s)
	}
	if n, err = db.Prune(limit); err != nil || n != 0 {
		t.Errorf("%d removed, %v", n, err)
	}
	sound(t, db)
}
