package receiver

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkWindow compares the window with constant ones, over connections of several
// rates with a delay of 20 ms each way: the rate of the copy, and the round trip of a
// session's request, which waits behind what is in flight. A constant must do both, at
// 2 MB/s the session's 99th percentile and beyond that the copy's rate.
func BenchmarkWindow(b *testing.B) {
	const delay = 20 * time.Millisecond
	for _, conn := range []struct {
		name        string
		rate        float64
		files, size int
	}{
		{"2MBps", 2 << 20, 20, 800 << 10},
		{"12MBps", 12 << 20, 6000, 8 << 10}, // 100 Mbit/s
		{"100MBps", 100 << 20, 6000, 8 << 10},
	} {
		for _, size := range []int64{0, 128 << 10, 256 << 10, 384 << 10, 512 << 10, 1 << 20} {
			name := "adaptive"
			if size > 0 {
				name = fmt.Sprintf("%dKiB", size>>10)
			}
			b.Run(conn.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					s := simulate(b, conn.rate, delay)
					if size > 0 {
						s.client.window = window{min: size, max: size, size: size}
					}
					changes := s.writeNoise(b, conn.files, conn.size)
					var requests []time.Duration
					done := make(chan struct{})
					var wg sync.WaitGroup
					wg.Go(func() {
						tick := time.NewTicker(7 * time.Millisecond)
						defer tick.Stop()
						for {
							select {
							case <-tick.C:
								requests = append(requests, s.toNode.queue()+2*delay)
							case <-done:
								return
							}
						}
					})
					start := time.Now()
					s.apply(b, changes...)
					took := time.Since(start)
					close(done)
					wg.Wait()
					s.close()
					slices.Sort(requests)
					b.ReportMetric(float64(conn.files*conn.size)/took.Seconds()/(1<<20), "MB/s")
					b.ReportMetric(float64(requests[len(requests)/2].Milliseconds()), "median-ms")
					b.ReportMetric(float64(requests[len(requests)*99/100].Milliseconds()), "p99-ms")
					b.ReportMetric(0, "ns/op")
				}
			})
		}
	}
}
