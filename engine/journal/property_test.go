package journal

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
)

// TestAnyOrder: whatever is recorded in whatever order, with the journal
// reopened anywhere between, there is what was acknowledged, and nothing
// else but reads that went along.
func TestAnyOrder(t *testing.T) {
	word := rapid.StringOf(rapid.RuneFrom([]rune{'a', 'Z', '0', 'é', '\x00', '\'', '"', '😀', '\n'}))
	moment := rapid.Map(rapid.Int64Range(-1e18, 4e18), func(n int64) time.Time { return time.Unix(0, n).UTC() })
	someJSON := rapid.Custom(func(t *rapid.T) json.RawMessage {
		b, err := json.Marshal(map[string]any{word.Draw(t, "key"): word.Draw(t, "value"), "n": rapid.Int64().Draw(t, "n")})
		ok(t, err)
		return b
	})
	maybe := rapid.OneOf(rapid.Just(json.RawMessage(nil)), someJSON)
	somePlace := rapid.SampledFrom([]string{"1", "2", "2.1.1", "2.1.2", "2.10.1", "10", "defer.1.1", "é\x00'"})
	someEntry := rapid.Custom(func(t *rapid.T) Entry {
		e := Entry{Place: builtin.Place(somePlace.Draw(t, "place")), Call: word.Draw(t, "call"), Effect: word.Draw(t, "effect"),
			Digest: word.Draw(t, "digest"), At: builtin.Position{File: word.Draw(t, "file"), Line: rapid.IntMin(0).Draw(t, "line"), Col: rapid.Int().Draw(t, "col")},
			Args: maybe.Draw(t, "args"), Decision: maybe.Draw(t, "decision"), Begun: moment.Draw(t, "begun"), Ended: moment.Draw(t, "ended"),
			Settled: word.Draw(t, "settled")}
		if outcome := someJSON.Draw(t, "outcome"); rapid.Bool().Draw(t, "good") {
			e.Result = outcome
		} else {
			e.Fault = outcome
		}
		return e
	})
	round := 0
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		round++
		n := newRun(fmt.Sprint("run", round))
		n.Seed = rapid.Uint64().Draw(t, "seed")
		db, err := Open(dir)
		ok(t, err)
		r, err := db.Begin(n)
		ok(t, err)
		now, disk := map[builtin.Place]Entry{}, map[builtin.Place]Entry{} // what is known, what is on disk
		outcomes := 0
		committed := func(err error) {
			ok(t, err)
			disk = maps.Clone(now)
		}
		put := func(e Entry) { now[e.Place] = e }
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) {
				e := someEntry.Draw(t, "read")
				if _, taken := now[e.Place]; taken {
					t.Skip()
				}
				outcomes++
				ok(t, r.Read(e))
				e.Order = outcomes
				put(e)
			},
			"begun": func(t *rapid.T) {
				e := someEntry.Draw(t, "begun")
				if old, taken := now[e.Place]; taken && !old.InDoubt() {
					t.Skip()
				}
				err := r.Begun(e)
				e.Ended, e.Result, e.Fault, e.Settled = time.Time{}, nil, nil, ""
				put(e)
				committed(err)
			},
			"handle": func(t *rapid.T) {
				e, found := now[builtin.Place(somePlace.Draw(t, "handle of"))]
				if !found || !e.InDoubt() {
					t.Skip()
				}
				e.Handle = word.Draw(t, "handle")
				put(e)
				committed(r.Handle(e.Place, e.Handle))
			},
			"ended": func(t *rapid.T) {
				o := someEntry.Draw(t, "ended")
				e, found := now[o.Place]
				if !found || !e.InDoubt() {
					t.Skip()
				}
				outcomes++
				e.Ended, e.Result, e.Fault, e.Settled, e.Order = o.Ended, o.Result, o.Fault, o.Settled, outcomes
				put(e)
				committed(r.Ended(o))
			},
			"state": func(t *rapid.T) {
				committed(r.SetState(rapid.SampledFrom([]State{Running, Suspended, InDoubt}).Draw(t, "state"), 1, word.Draw(t, "why"), moment.Draw(t, "at")))
			},
			"reopen": func(t *rapid.T) {
				ok(t, r.Close())
				ok(t, db.Close())
				db, err = Open(dir)
				ok(t, err)
				r, err = db.Resume(n.ID)
				ok(t, err)
				now, outcomes = maps.Clone(disk), 0
				for _, e := range disk {
					outcomes = max(outcomes, e.Order)
				}
				same(t, "the beginning", r.Info(), n)
			},
			"": func(t *rapid.T) {
				same(t, "entries", byPlace(r.Entries()), now)
				_, entries, _, err := db.Show(n.ID)
				ok(t, err)
				same(t, "entries on disk", byPlace(entries), disk)
			},
		})
		ok(t, r.Close())
		ok(t, db.Close())
	})
}

func byPlace(entries []Entry) map[builtin.Place]Entry {
	m := map[builtin.Place]Entry{}
	for _, e := range entries {
		m[e.Place] = e
	}
	return m
}
