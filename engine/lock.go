package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/event"
)

type withLockArgs struct {
	Keys []string         `name:"keys" doc:"what to lock, such as guest:100"`
	Fn   builtin.Callback `name:"fn" doc:"a function without parameters"`
}

// lockLook is how often a lock that another holds is looked at: a file lock
// cannot be waited for with a deadline.
const lockLook = 200 * time.Millisecond

// DefaultLockWait is how long a lock is waited for.
const DefaultLockWait = 10 * time.Minute

func withLock(ctx context.Context, a withLockArgs) (builtin.Value, error) {
	c := builtin.CallFrom(ctx)
	if _, nested := builtin.HeldFrom(ctx); nested {
		return nil, builtin.Faultf(builtin.Invalid, "with_lock %v", a.Keys).Because(errNested).Hinting("name all keys in the outer one")
	}
	if c.Run.Planned == nil { // a plan holds nobody up
		release, err := c.Run.Lock(ctx, *c, a.Keys)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	return a.Fn.Call(builtin.WithHeld(ctx, a.Keys))
}

// lock holds the keys of a change for as long as it takes.
func (r *run) lock(next builtin.Performer) builtin.Performer {
	return func(ctx context.Context, call builtin.Call) (any, error) {
		keys := call.Func.Keys(call.Args)
		if held, ok := builtin.HeldFrom(ctx); ok {
			keys = slices.DeleteFunc(keys, func(k string) bool { return slices.Contains(held, k) })
		}
		if len(keys) == 0 {
			return next(ctx, call)
		}
		release, err := r.acquire(ctx, call, keys)
		if err != nil {
			return nil, err
		}
		defer release()
		return next(ctx, call)
	}
}

// acquire takes locks, sorted, so that two runs never wait for each other. A
// lock is a flock on a file, which dies with its process.
func (r *run) acquire(ctx context.Context, call builtin.Call, keys []string) (release func(), err error) {
	dir := r.engine.LockDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, builtin.Faultf(builtin.Failed, "locks in %s", dir).Because(err)
	}
	var held []*os.File
	release = func() {
		for _, f := range held {
			_ = f.Close() // closing gives the lock up, whatever else it says
		}
	}
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		f, err := r.lockFile(ctx, call, key)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, f)
	}
	return release, nil
}

func (r *run) lockFile(ctx context.Context, call builtin.Call, key string) (*os.File, error) {
	sum := sha256.Sum256([]byte(key)) // a key may hold what no file name may
	f, err := os.OpenFile(filepath.Join(r.engine.LockDir, hex.EncodeToString(sum[:8])+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, builtin.Faultf(builtin.Failed, "lock %s", key).Because(err)
	}
	for waited := time.Duration(0); ; waited += lockLook {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		fault := builtin.Faultf(builtin.Failed, "lock %s", key).Because(err)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			fault = builtin.Faultf(builtin.Busy, "lock %s", key).Saying(fmt.Sprintf("another run has held it for %s", r.engine.LockWait)).
				Hinting("nixmox runs shows what is running; --wait waits longer")
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || waited >= r.engine.LockWait {
			_ = f.Close()
			return nil, fault
		}
		if waited == 0 {
			e := r.callEvent(event.CallWaits, &call)
			e.Text = key
			r.emit(e)
		}
		// The machine's time, not the engine's: in the lab hours pass at once.
		select {
		case <-time.After(lockLook):
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		}
	}
}
