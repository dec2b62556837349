package receiver

import (
	"sync/atomic"
	"time"
)

// speedGauge judges how fast a line is, by how many bytes of files have arrived since a
// run of changes began.
type speedGauge struct {
	slow  atomic.Bool // it stays so from run to run
	start time.Time
	total int64 // bytes of which the node has said that they arrived
}

const (
	// slowLine is the bytes a second below which compressing pays for sure: that goes
	// ten times as fast.
	slowRate = 4 << 20
	// fastLine is the same for contents that are compressed, to a third as a rule.
	fastRate = 3 * slowRate
	// enough and longEnough are what a judgement takes: a busy machine stalls now and
	// then.
	minBytes = 256 << 10
	minTime  = 300 * time.Millisecond
)

func (s *speedGauge) begin() { s.start, s.total = time.Now(), 0 }

// add judges by what has arrived, n bytes more.
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
