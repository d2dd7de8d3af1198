package zfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	"nixmox/builtins/internal/run"
	"nixmox/engine/builtin"
)

// settleRollback: nothing is changed before the handle is durable, but for the
// hold. From then on the pool's history tells.
func (c client) settleRollback(ctx context.Context, a RollbackArgs, handle string) (builtin.Settlement[RollbackResult], error) {
	d, ok := builtin.CallFrom(ctx).Decision.(RollbackDecision)
	switch {
	case handle == "":
		return builtin.Settlement[RollbackResult]{State: builtin.NotDone}, nil
	case !ok:
		return builtin.Settlement[RollbackResult]{Why: "what was to go is not recorded"}, nil
	}
	done, err := c.rolledBack(ctx, a.Snapshot, Tag(handle))
	if f := builtin.AsFault(err); f != nil {
		return builtin.Settlement[RollbackResult]{Why: f.Error() + "; " + f.Hint}, nil
	}
	if err != nil {
		return builtin.Settlement[RollbackResult]{}, err
	}
	if !done {
		return builtin.Settlement[RollbackResult]{State: builtin.NotDone}, nil
	}
	holds, err := c.holdsOf(ctx, []Snapshot{a.Snapshot}, false)
	if f := builtin.AsFault(err); f != nil && f.Kind == builtin.NotFound {
		return builtin.Settlement[RollbackResult]{Why: "it was rolled back, and " + string(a.Snapshot) + " is gone since"}, nil
	}
	if err != nil {
		return builtin.Settlement[RollbackResult]{}, err
	}
	if slices.ContainsFunc(holds, func(h Hold) bool { return h.Tag == handle }) {
		return builtin.Settlement[RollbackResult]{State: builtin.NotDone}, nil // but for the rollback itself: Do sees that
	}
	out, err := c.rollbackSeen(ctx, a, d, nil)
	s := builtin.Settlement[RollbackResult]{State: builtin.Done, Result: out}
	if f := builtin.AsFault(err); f != nil && f.Partial != nil {
		s.Fault, err = f, nil
	}
	return s, err
}

// rolledBack looks in the pool's history whether the dataset was rolled back
// after the snapshot was held by the tag. A rollback stands there as the swap
// with a clone that is called %rollback, of the transaction that made it.
func (c client) rolledBack(ctx context.Context, s Snapshot, tag Tag) (bool, error) {
	what := "looking in the pool's history whether " + string(s.Dataset()) + " was rolled back"
	var held, done bool
	err := c.runner.Stream(ctx, run.Command{Argv: []string{"zpool", "history", "-i", string(s.Dataset().Pool())}}, func(stdout io.Reader) error {
		var err error
		held, done, err = readHistory(stdout, s, tag)
		return err
	})
	if err != nil {
		return false, fault(what, err)
	}
	if !held {
		return false, builtin.Faultf(builtin.Failed, "%s", what).Saying("it does not reach back to its beginning, the hold "+string(tag)).
			Hinting("see what differs from the snapshot: zfs.in_the_way(%q).written", s)
	}
	return done, nil
}

// readHistory reads the internal events of zpool history -i, such as
//
//	2026-11-24.03:20:09 [txg:33] hold t/a@s1 (86) tag=keep temp=0 refs=1
//	2026-11-24.03:20:17 [txg:44] clone swap t/a/%rollback (186) parent=a
func readHistory(r io.Reader, s Snapshot, tag Tag) (held, done bool, err error) {
	const stamp = "2026-11-24.03:20:09 [txg:"
	hold, end := []byte("hold "+string(s)+" ("), []byte(" tag="+string(tag)+" temp=")
	swap := []byte("clone swap " + string(s.Dataset()) + "/%rollback (")
	lines := lineReader{r: r, buffer: make([]byte, 0, 64<<10)}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return held, done, nil
		}
		if err != nil {
			return false, false, err
		}
		if len(line) < len(stamp) || line[0] < '0' || line[0] > '9' || string(line[19:25]) != " [txg:" {
			continue
		}
		_, event, _ := bytes.Cut(line[25:], []byte("] "))
		switch {
		case bytes.HasPrefix(event, hold) && bytes.Contains(event, end):
			held, done = true, false
		case held && bytes.HasPrefix(event, swap):
			done = true
		}
	}
}
