package daemon

import (
	"context"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// syncAsks are who waits for a full comparison. The zero value is ready for use.
type syncAsks struct {
	mu      sync.Mutex
	waiting []chan<- syncAnswer
	came    chan struct{} // holds one when somebody waits; made when it is needed
	closed  bool
}

// syncAnswer is what became of a full comparison.
type syncAnswer struct {
	report SyncReport
	run    int // see SyncAnswer
	err    error
}

// errNotSyncing is what who waits is told when nothing is copied any more.
func errNotSyncing() error {
	return diag.Errorf(diag.SyncFailed, "dapbridge serve does not copy any more").WithHint("run it again: it then copies by itself")
}

// wait has everything compared, by what everything starts, and returns what that
// has come to. It may be called by several goroutines.
func (a *syncAsks) wait(ctx context.Context, everything func()) syncAnswer {
	answer := make(chan syncAnswer, 1)
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return syncAnswer{err: errNotSyncing()}
	}
	a.waiting = append(a.waiting, answer)
	a.mu.Unlock()
	everything()
	select {
	case a.come() <- struct{}{}:
	default:
	}
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
		return syncAnswer{err: ctx.Err()}
	}
}

// come receives when somebody has begun to wait.
func (a *syncAsks) come() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.came == nil {
		a.came = make(chan struct{}, 1)
	}
	return a.came
}

// take returns who waits. They are answered by what is begun after that.
func (a *syncAsks) take() []chan<- syncAnswer {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.waiting
	a.waiting = nil
	return taken
}

func (a *syncAsks) answer(waiting []chan<- syncAnswer, r syncAnswer) {
	for _, w := range waiting {
		w <- r // which has room for it
	}
}

// close answers who still waits, and who comes later.
func (a *syncAsks) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.answer(a.take(), syncAnswer{err: errNotSyncing()})
}
