package idle

import (
	"sync"
	"time"
)

// heartbeats is how many are sent in one idle timeout: some may be late.
const heartbeats = 4

// StartHeartbeat calls send several times in each timeout until stop is called,
// which waits for a send in progress. A timeout below a millisecond means that
// nobody waits, and nothing is sent.
func StartHeartbeat(timeout time.Duration, send func()) (stop func()) {
	if timeout < time.Millisecond {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(timeout / heartbeats)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				send()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}
