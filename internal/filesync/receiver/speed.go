package receiver

import (
	"sync/atomic"
	"time"
)

// speed judges how fast a line is, by how many bytes of files have arrived since a
// run of changes began.
type speed struct {
	slow   atomic.Bool // it stays so from run to run
	began  time.Time
	passed atomic.Int64 // bytes that were written to the line
	told   atomic.Int64 // bytes of which the node has said that they arrived
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
	// underWay is how many bytes may be written and not have arrived: SSH's window
	// (sshd's is 2 MiB), and a little of pipes.
	underWay = 2<<20 + 256<<10
)

func (s *speed) begin() {
	s.began = time.Now()
	s.passed.Store(0)
	s.told.Store(0)
}

func (s *speed) sent(n int) {
	s.passed.Add(int64(n))
	s.judge()
}

func (s *speed) arrived(n int64) {
	s.told.Add(n)
	s.judge()
}

// judge goes by what has arrived at least.
func (s *speed) judge() {
	bytes, took := max(s.told.Load(), s.passed.Load()-underWay), time.Since(s.began)
	if bytes < enough || took < longEnough {
		return
	}
	rate := float64(bytes) / took.Seconds()
	if slow := s.slow.Load(); !slow && rate < slowLine || slow && rate > fastLine {
		s.slow.Store(!slow)
	}
}
