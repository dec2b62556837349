package receiver

import (
	"sync"
	"time"
)

// inFlight holds what has been sent in one run of changes and has not been acknowledged:
// the changes whose answers are outstanding, and the bytes of files, which are bounded by
// a window. The sender and the reader of answers use it concurrently.
type inFlight struct {
	changes chan *pendingChange

	mu          sync.Mutex
	room        sync.Cond // of mu: there may be room again
	stopped     bool      // the sender must not wait any more
	answered    bool      // nor before it has sent the current file
	sent, acked int64     // offsets in all bytes of the run: sent, and acknowledged
	marks       []mark    // of what is not acknowledged, in order
	window      *window
}

// mark is the time at which the bytes up to an offset of the run had been sent.
type mark struct {
	end int64
	at  time.Time
}

const maxChangesInFlight = 256

func newInFlight(w *window) *inFlight {
	w.startRun()
	f := &inFlight{changes: make(chan *pendingChange, maxChangesInFlight), window: w}
	f.room.L = &f.mu
	return f
}

// waitForRoom blocks until more may be sent. It first calls flush, since the receiver
// may be waiting for what is buffered.
func (f *inFlight) waitForRoom(flush func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent-f.acked <= f.window.size {
		return nil
	}
	f.mu.Unlock()
	err := flush()
	f.mu.Lock()
	f.window.startBlocking()
	defer f.window.stopBlocking()
	// A quarter must be free, so that the next packets are full.
	for err == nil && !f.stopped && !f.answered && f.sent-f.acked > f.window.size*3/4 {
		f.room.Wait()
	}
	return err
}

// addSent adds n sent bytes and returns the run's offset after them.
func (f *inFlight) addSent(n int) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > 0 {
		f.sent += int64(n)
		f.marks = append(f.marks, mark{f.sent, time.Now()})
	}
	return f.sent
}

// ackBytes acknowledges the next n bytes, but no more than were sent. It returns how many
// it acknowledged.
func (f *inFlight) ackBytes(n int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ack(min(f.acked+n, f.sent))
}

// ackUpTo acknowledges all bytes up to an offset of the run. It returns how many of
// them were not acknowledged before.
func (f *inFlight) ackUpTo(end int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ack(end)
}

func (f *inFlight) ack(end int64) int64 {
	n := end - f.acked
	if n <= 0 {
		return 0
	}
	f.acked = end
	var at time.Time
	for len(f.marks) > 0 && f.marks[0].end <= end {
		at, f.marks = f.marks[0].at, f.marks[1:]
	}
	if !at.IsZero() {
		f.window.update(n, time.Since(at))
	}
	f.room.Broadcast()
	return n
}

// waitUntilSent blocks until a change has been sent whose answer has been read. A
// hostile node may answer earlier; nothing would acknowledge the rest of the change,
// so the sender does not wait for room meanwhile.
func (f *inFlight) waitUntilSent(c *pendingChange) {
	select {
	case <-c.sent:
		return
	default:
	}
	f.mu.Lock()
	f.answered = true
	f.room.Broadcast()
	f.mu.Unlock()
	<-c.sent
	f.mu.Lock()
	f.answered = false
	f.mu.Unlock()
}

// stop ends all waiting for room.
func (f *inFlight) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.room.Broadcast()
}
