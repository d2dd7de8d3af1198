package engine

import (
	"context"
	"errors"
	"sync"

	"nixmox/engine/builtin"
)

type parallelArgs struct {
	Items []builtin.Value  `name:"items" doc:"what to call the function for"`
	Fn    builtin.Callback `name:"fn" doc:"a function of one parameter"`
	Limit int              `name:"limit" default:"8" doc:"how many run at a time; 0 for as many as there may be"`
}

// The budget of branches of a run: how many may be alive, how deep they may
// nest. A playbook that hits these is no estate's, but a runaway.
const (
	maxBranches = 1024
	maxDepth    = 8
)

// parallel lets all branches finish, whatever becomes of the others; then
// the first error in the order of the items is raised. A stop condition goes
// before any fault, since the run cannot go on after it.
func parallel(ctx context.Context, a parallelArgs) ([]builtin.Value, error) {
	c, trunk := builtin.CallFrom(ctx), builtin.BranchFrom(ctx)
	limit := a.Limit
	if limit <= 0 || limit > maxBranches {
		limit = maxBranches
	}
	limit = min(limit, len(a.Items))
	if trunk.Depth >= maxDepth || c.Run.Branches.Add(int64(limit)) > maxBranches {
		stop := builtin.Stopf(builtin.Limit, "more than %d branches of parallel at a time, or more than %d deep", maxBranches, maxDepth)
		stop.At = c.At
		return nil, stop
	}
	defer c.Run.Branches.Add(int64(-limit))

	results := make([]builtin.Value, len(a.Items))
	errs := make([]error, len(a.Items))
	branches := make([]func(context.Context) (builtin.Value, error), len(a.Items))
	for i, item := range a.Items {
		branches[i] = a.Fn.Fork(trunk.Fork(c.Place, i+1), item)
	}
	slots := make(chan struct{}, max(limit, 1))
	var all sync.WaitGroup
	for i, branch := range branches {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			results[i], errs[i] = branch(ctx)
		})
	}
	all.Wait()
	return results, firstError(errs)
}

func firstError(errs []error) error {
	var first error
	for _, err := range errs {
		if _, ok := errors.AsType[*builtin.Stop](err); ok {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}
