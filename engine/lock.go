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
)

type withLockArgs struct {
	Keys []string         `name:"keys" doc:"what to lock, such as guest:100"`
	Fn   builtin.Callback `name:"fn" doc:"a function without parameters"`
}

// lockWait is how long a lock is waited for, and lockLook how often it is
// looked at meanwhile: a file lock cannot be waited for with a deadline.
const (
	lockWait = 10 * time.Minute
	lockLook = 200 * time.Millisecond
)

type lockedKey struct{}

func withLock(ctx context.Context, a withLockArgs) (builtin.Value, error) {
	c := builtin.CallFrom(ctx)
	if ctx.Value(lockedKey{}) != nil {
		return nil, builtin.Faultf(builtin.Invalid, "with_lock %v", a.Keys).Because(errNested).Hinting("name all keys in the outer one")
	}
	if c.Run.Planned == nil { // a plan holds nobody up
		release, err := acquire(ctx, c.Run, a.Keys)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	return a.Fn.Call(context.WithValue(ctx, lockedKey{}, true))
}

// acquire takes the locks, sorted, so that two runs never wait for each
// other. A lock is a flock on a file, which dies with its process.
func acquire(ctx context.Context, run *builtin.Run, keys []string) (release func(), err error) {
	if err := os.MkdirAll(run.LockDir, 0o700); err != nil {
		return nil, builtin.Faultf(builtin.Failed, "locks in %s", run.LockDir).Because(err)
	}
	var held []*os.File
	release = func() {
		for _, f := range held {
			_ = f.Close() // closing gives the lock up, whatever else it says
		}
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	for _, key := range keys {
		f, err := lockFile(ctx, run, key)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, f)
	}
	return release, nil
}

func lockFile(ctx context.Context, run *builtin.Run, key string) (*os.File, error) {
	sum := sha256.Sum256([]byte(key)) // a key may hold what no file name may
	f, err := os.OpenFile(filepath.Join(run.LockDir, hex.EncodeToString(sum[:8])+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, builtin.Faultf(builtin.Failed, "lock %s", key).Because(err)
	}
	for waited := time.Duration(0); ; waited += lockLook {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || waited >= lockWait {
			_ = f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, builtin.Faultf(builtin.Busy, "lock %s", key).Saying(fmt.Sprintf("another run has held it for %s", lockWait))
			}
			return nil, builtin.Faultf(builtin.Failed, "lock %s", key).Because(err)
		}
		if err := run.Sleep(ctx, lockLook); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}
