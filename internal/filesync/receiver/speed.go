package receiver

import (
	"sync/atomic"
	"time"
)

// speed judges how fast a line is, by how many bytes of files have arrived since a
// run of changes began. One goroutine calls sent, one arrived.
type speed struct {
	slow   atomic.Bool // once it is, it is for good
	began  time.Time
	passed int64 // bytes that were written to the line
	told   int64 // bytes of which the node has said that they arrived
}

const (
	// slowLine is the bytes a second below which compressing pays for sure: that goes
	// ten times as fast, and so does what a local node does.
	slowLine = 4 << 20
	// enough is how many bytes a judgement takes.
	enough = 512 << 10
	// underWay is how many bytes may be written and not have arrived: SSH's window
	// (sshd's is 2 MiB), and a little of pipes.
	underWay = 2<<20 + 256<<10
)

func (s *speed) begin() { s.began, s.passed, s.told = time.Now(), 0, 0 }

func (s *speed) sent(n int) {
	s.passed += int64(n)
	s.judge(s.passed - underWay)
}

func (s *speed) arrived(n int64) {
	s.told += n
	s.judge(s.told)
}

func (s *speed) judge(bytes int64) {
	if bytes >= enough && !s.slow.Load() && time.Since(s.began).Seconds() > float64(bytes)/slowLine {
		s.slow.Store(true)
	}
}
