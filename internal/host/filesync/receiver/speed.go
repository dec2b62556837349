package receiver

import (
	"sync/atomic"
	"time"
)

// speed judges how fast a line is, by how many bytes of files have arrived since a
// run of changes began.
type speed struct {
	slow  atomic.Bool // it stays so from run to run
	began time.Time
	told  int64 // bytes of which the node has said that they arrived
}

const (
	// slowLine is the bytes a second below which compressing pays for sure: that goes
	// ten times as fast.
	slowLine = 4 << 20
	// fastLine is the same for contents that are compressed, to a third as a rule.
	fastLine = 3 * slowLine
	// enough and longEnough are what a judgement takes: a busy machine stalls now and
	// then.
	enough     = 256 << 10
	longEnough = 300 * time.Millisecond
)

func (s *speed) begin() { s.began, s.told = time.Now(), 0 }

// arrived judges by what has arrived, n bytes more.
func (s *speed) arrived(n int64) {
	s.told += n
	took := time.Since(s.began)
	if s.told < enough || took < longEnough {
		return
	}
	rate := float64(s.told) / took.Seconds()
	if slow := s.slow.Load(); !slow && rate < slowLine || slow && rate > fastLine {
		s.slow.Store(!slow)
	}
}
