package srcsync

import (
	"context"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// scanRequests are callers that wait for a full scan. The zero value is ready for use. Its
// methods may be called from several goroutines.
type scanRequests struct {
	mu      sync.Mutex
	waiting []chan<- scanResult
	signal  chan struct{} // holds a value if a caller has begun to wait; made when needed
	closed  bool
}

// scanResult is the result of a full scan.
type scanResult struct {
	report Report
	run    int // its number, see RunRecord
	err    error
}

// ErrStopped returns the error for callers that wait on a Syncer that has stopped.
func ErrStopped() error {
	return diag.Errorf(diag.SyncFailed, "dapbridge serve has stopped copying").WithHint("run dapbridge sync again; without serve it copies by itself")
}

// wait calls request, which must request a full scan, and blocks until a full scan that
// starts later has ended.
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

// arrivals returns a channel that receives when a caller has begun to wait.
func (a *scanRequests) arrivals() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signal == nil {
		a.signal = make(chan struct{}, 1)
	}
	return a.signal
}

// take removes and returns the waiting callers. The scan whose result they get must start
// after that.
func (a *scanRequests) take() []chan<- scanResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.waiting
	a.waiting = nil
	return taken
}

// answer sends a result to callers that take returned.
func (a *scanRequests) answer(waiting []chan<- scanResult, r scanResult) {
	for _, w := range waiting {
		w <- r // never blocks: it is buffered
	}
}

// close sends ErrStopped to all waiting and later callers.
func (a *scanRequests) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.answer(a.take(), scanResult{err: ErrStopped()})
}
