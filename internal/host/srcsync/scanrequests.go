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
func (q *scanRequests) wait(ctx context.Context, request func()) scanResult {
	answer := make(chan scanResult, 1)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return scanResult{err: ErrStopped()}
	}
	q.waiting = append(q.waiting, answer)
	q.mu.Unlock()
	request()
	select {
	case q.arrivals() <- struct{}{}:
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
func (q *scanRequests) arrivals() chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.signal == nil {
		q.signal = make(chan struct{}, 1)
	}
	return q.signal
}

// take removes and returns the waiting callers. The scan whose result they get must start
// after that.
func (q *scanRequests) take() []chan<- scanResult {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.waiting
	q.waiting = nil
	return taken
}

// answer sends a result to callers that take returned.
func (q *scanRequests) answer(waiting []chan<- scanResult, r scanResult) {
	for _, w := range waiting {
		w <- r // never blocks: it is buffered
	}
}

// close sends ErrStopped to all waiting and later callers.
func (q *scanRequests) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.answer(q.take(), scanResult{err: ErrStopped()})
}
