package srcsync

import (
	"context"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// scanRequests are the callers that wait for a full scan. The zero value is ready for
// use.
type scanRequests struct {
	mu      sync.Mutex
	waiting []chan<- scanResult
	signal  chan struct{} // holds one when somebody waits; made when it is needed
	closed  bool
}

// scanResult is the result of a full scan.
type scanResult struct {
	report Report
	run    int // its number, see Run
	err    error
}

// ErrStopped is what those who wait get when nothing is copied any more.
func ErrStopped() error {
	return diag.Errorf(diag.SyncFailed, "dapbridge serve does not copy any more").WithHint("run it again: it then copies by itself")
}

// wait calls request, which asks for a full scan, and returns the result of one that
// starts later. It may be called from several goroutines.
func (a *scanRequests) wait(ctx context.Context, request func()) scanResult {
	answer := make(chan scanResult, 1)
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return scanResult{err: ErrStopped()}
	}
	a.waiting = append(a.waiting, answer)
	a.mu.Unlock()
	request()
	select {
	case a.arrivals() <- struct{}{}:
	default:
	}
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
		return scanResult{err: ctx.Err()}
	}
}

// arrivals receives when somebody has begun to wait.
func (a *scanRequests) arrivals() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signal == nil {
		a.signal = make(chan struct{}, 1)
	}
	return a.signal
}

// take returns the callers that wait. The scan that answers them starts after this.
func (a *scanRequests) take() []chan<- scanResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.waiting
	a.waiting = nil
	return taken
}

func (a *scanRequests) answer(waiting []chan<- scanResult, r scanResult) {
	for _, w := range waiting {
		w <- r // which has room for it
	}
}

// close answers those who still wait, and those who come later.
func (a *scanRequests) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.answer(a.take(), scanResult{err: ErrStopped()})
}
