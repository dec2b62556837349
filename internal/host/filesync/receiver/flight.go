package receiver

import (
	"cmp"
	"sync"
	"time"
)

// flight is what is on its way in a run of changes. Who sends waits while it holds
// more than the window.
type flight struct {
	changes chan *pendingChange

	mu           sync.Mutex
	less         sync.Cond // of mu: there may be room
	ended        bool      // nobody waits for room any more
	answered     bool      // nor before the file that is being sent has been
	sent, landed int64     // bytes of files, from the run's beginning
	marks        []mark    // what has not landed, in order
	window       *window
}

// mark is when a piece had been sent, up to which byte of the run.
type mark struct {
	end int64
	at  time.Time
}

const mostChanges = 256

func newFlight(w *window) *flight {
	w.begin()
	f := &flight{changes: make(chan *pendingChange, mostChanges), window: w}
	f.less.L = &f.mu
	return f
}

// room waits until more may be sent. flush sends what is buffered before, since the
// receiver may wait for that.
func (f *flight) room(flush func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent-f.landed <= f.window.size {
		return nil
	}
	f.mu.Unlock()
	err := flush()
	f.mu.Lock()
	f.window.full()
	defer f.window.open()
	for err == nil && !f.ended && !f.answered && f.sent-f.landed > f.window.size*3/4 { // so that the next packets are full ones
		f.less.Wait()
	}
	return err
}

// add counts bytes that were sent, and returns how many that makes.
func (f *flight) add(n int) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > 0 {
		f.sent += int64(n)
		f.marks = append(f.marks, mark{f.sent, time.Now()})
	}
	return f.sent
}

// landMore counts n more bytes that have arrived, of those that were sent, and returns
// how many those are.
func (f *flight) landMore(n int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.land(min(f.landed+n, f.sent))
}

// landTo is landMore for all up to a byte of the run.
func (f *flight) landTo(end int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.land(end)
}

func (f *flight) land(end int64) int64 {
	n := end - f.landed
	if n <= 0 {
		return 0
	}
	f.landed = end
	var at time.Time
	for len(f.marks) > 0 && f.marks[0].end <= end {
		at, f.marks = f.marks[0].at, f.marks[1:]
	}
	if !at.IsZero() {
		f.window.landed(n, time.Since(at))
	}
	f.less.Broadcast()
	return n
}

// await returns when a change has been sent, whose answer has come: from a hostile
// node it may come before, and what it then takes nothing would tell.
func (f *flight) await(s *pendingChange) {
	select {
	case <-s.sent:
		return
	default:
	}
	f.mu.Lock()
	f.answered = true
	f.less.Broadcast()
	f.mu.Unlock()
	<-s.sent
	f.mu.Lock()
	f.answered = false
	f.mu.Unlock()
}

// end has nobody wait any longer.
func (f *flight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.less.Broadcast()
}

// window is how much may be on its way: as much as the line takes up by itself and a
// queue of queueTarget's, so that whatever else goes the same way, a debug session's
// requests, does not wait for much longer, and the line is made use of. What the line takes
// up is what arrives in a time, times the least that it takes to arrive (as BBR has it,
// draft-ietf-ccwg-bbr). That least holds for the run: a line that becomes longer
// meanwhile is not made use of in full.
type window struct {
	size int64

	base   time.Duration // the least that bytes have taken in this run; 0 if none have come
	from   time.Time     // when the period began in which bytes are counted
	bytes  int64
	least  time.Duration // that bytes have taken in this period
	since  time.Time     // when who sends began to wait; zero if it does not
	waited time.Duration // how long it waited in this period before
}

const (
	firstWindow = 256 << 10
	leastWindow = 64 << 10
	mostWindow  = 1 << 20 // more than a line of 100 Mbit/s takes up in 80 ms
	queueTarget = 50 * time.Millisecond
	leastPeriod = 25 * time.Millisecond
)

func (w *window) begin() { *w = window{size: cmp.Or(w.size, firstWindow)} }

// full is called when who sends begins to wait, and open when that ends.
func (w *window) full() { w.since = time.Now() }

func (w *window) open() {
	w.waited += time.Since(w.since)
	w.since = time.Time{}
}

// landed learns from n bytes that took a time. Unless it was the window that held up
// who sends, they don't say that it should be smaller.
func (w *window) landed(n int64, took time.Duration) {
	now := time.Now()
	if w.base == 0 {
		w.base, w.least, w.from = took, took, now
		return
	}
	w.base, w.least = min(w.base, took), min(w.least, took)
	w.bytes += n
	period := now.Sub(w.from)
	if period < max(w.base, leastPeriod) {
		return
	}
	if !w.since.IsZero() {
		w.open()
		w.full()
	}
	size := int64(float64(w.bytes) / period.Seconds() * (w.base + queueTarget).Seconds())
	held := w.waited > period/2
	if held && w.least-w.base < queueTarget/4 { // there was no queue: the line may take more
		size = max(size, w.size*5/4)
	}
	if held || size > w.size {
		w.size = min(max(size, leastWindow), mostWindow)
	}
	w.from, w.bytes, w.least, w.waited = now, 0, took, 0
}
