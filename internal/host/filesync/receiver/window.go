package receiver

import "time"

// window bounds the bytes in flight, so that the connection is used in full while other
// data on it, such as a debug session's requests, waits little longer than queueTarget.
// Its size is the measured rate of delivery times the shortest delivery time plus
// queueTarget, similar to BBR (draft-ietf-ccwg-bbr). The shortest delivery time is that
// of one run: if the latency of the connection grows meanwhile, the run does not use it
// in full.
//
// No constant size does the same: a window small enough for a session at 2 MB/s leaves
// most of a fast connection unused (docs/benchmarks.md).
type window struct {
	min, max, size int64

	shortest time.Duration // delivery time in this run; 0 before the first

	// A period is the time in which the rate is measured.
	periodStart    time.Time
	delivered      int64         // bytes in this period
	periodShortest time.Duration // delivery time in this period
	blockedSince   time.Time     // when the sender started to wait for room; zero if it does not wait
	blocked        time.Duration // how long it waited before, in this period
}

const (
	initialWindow = 256 << 10
	minWindow     = 64 << 10
	maxWindow     = 1 << 20 // more than the 1,000,000 bytes in flight at 100 Mbit/s and 80 ms
	queueTarget   = 50 * time.Millisecond
	minPeriod     = 25 * time.Millisecond
)

// startRun forgets everything but the size, which is the best guess for the next run.
func (w *window) startRun() { *w = window{min: w.min, max: w.max, size: w.size} }

// startBlocking notes that the sender waits for room, stopBlocking that it continues.
func (w *window) startBlocking() { w.blockedSince = time.Now() }

func (w *window) stopBlocking() {
	w.blocked += time.Since(w.blockedSince)
	w.blockedSince = time.Time{}
}

// update adapts the size after n bytes were acknowledged, which took that long. The size
// shrinks only if the sender was blocked for most of the period: otherwise the rate only
// says how fast files were read.
func (w *window) update(n int64, took time.Duration) {
	now := time.Now()
	if w.shortest == 0 {
		w.shortest, w.periodShortest, w.periodStart = took, took, now
		return
	}
	w.shortest, w.periodShortest = min(w.shortest, took), min(w.periodShortest, took)
	w.delivered += n
	period := now.Sub(w.periodStart)
	if period < max(w.shortest, minPeriod) {
		return
	}
	if !w.blockedSince.IsZero() {
		w.stopBlocking()
		w.startBlocking()
	}
	size := int64(float64(w.delivered) / period.Seconds() * (w.shortest + queueTarget).Seconds())
	mostlyBlocked := w.blocked > period/2
	if mostlyBlocked && w.periodShortest-w.shortest < queueTarget/4 { // no queue: the connection may take more
		size = max(size, w.size*5/4)
	}
	if mostlyBlocked || size > w.size {
		w.size = min(max(size, w.min), w.max)
	}
	w.periodStart, w.delivered, w.periodShortest, w.blocked = now, 0, took, 0
}
