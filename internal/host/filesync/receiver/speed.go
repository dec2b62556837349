package receiver

import (
	"sync/atomic"
	"time"
)

// speedGauge decides whether a connection is slow, from the number of bytes of files that
// have arrived since a run of changes started.
type speedGauge struct {
	slow  atomic.Bool // kept from run to run
	start time.Time
	total int64 // bytes acknowledged by the node
}

const (
	// slowRate is the rate, in bytes a second, below which compression certainly pays off,
	// being ten times as fast.
	slowRate = 4 << 20
	// fastRate is the same for compressed content, which is usually a third as long.
	fastRate = 3 * slowRate
	// minBytes and minTime must have passed before the rate is judged: a busy machine
	// stalls now and then.
	minBytes = 256 << 10
	minTime  = 300 * time.Millisecond
)

func (s *speedGauge) startRun() { s.start, s.total = time.Now(), 0 }

// add counts n bytes that have arrived, and judges.
func (s *speedGauge) add(n int64) {
	s.total += n
	took := time.Since(s.start)
	if s.total < minBytes || took < minTime {
		return
	}
	rate := float64(s.total) / took.Seconds()
	if slow := s.slow.Load(); !slow && rate < slowRate || slow && rate > fastRate {
		s.slow.Store(!slow)
	}
}
