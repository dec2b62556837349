package receiver

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
)

// line carries bytes at a rate after a delay, and never has who writes wait: as a
// socket's buffer and routers' queues do.
type line struct {
	rate  float64 // bytes a second
	delay time.Duration
	out   io.Writer

	mu   sync.Mutex
	free time.Time // when all that was written has been sent
	wait []time.Duration
	came chan piece
}

type piece struct {
	data []byte
	at   time.Time
}

// open carries what is written until the line is closed.
func (l *line) open(wg *sync.WaitGroup) {
	l.came = make(chan piece, 10_000)
	wg.Go(func() {
		for p := range l.came {
			time.Sleep(time.Until(p.at))
			if _, err := l.out.Write(p.data); err != nil {
				continue
			}
		}
	})
}

func (l *line) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.wait = append(l.wait, l.free.Sub(now))
	l.free = l.free.Add(time.Duration(float64(len(b)) / l.rate * float64(time.Second)))
	l.came <- piece{append([]byte(nil), b...), l.free.Add(l.delay)}
	return len(b), nil
}

// TestFlight sends over lines of several kinds: whatever else would go over them
// waits a little behind what is sent, and the line is made use of.
func TestFlight(t *testing.T) {
	for _, tt := range []struct {
		what        string
		rate        float64
		delay       time.Duration // each way
		files, size int
	}{
		{"many small files", 2 << 20, 20 * time.Millisecond, 600, 8 << 10},
		{"a large file", 2 << 20, 20 * time.Millisecond, 1, 6 << 20},
		{"a line that is far", 2 << 20, 150 * time.Millisecond, 1500, 8 << 10},
		{"a fast line", 12 << 20, 10 * time.Millisecond, 40, 500 << 10},
		{"a large file over a slow line", 250 << 10, 30 * time.Millisecond, 1, 3 << 20},
		{"a slow line", 250 << 10, 30 * time.Millisecond, 300, 8 << 10},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host, top := dirs(t)
				fromHost, toHost := io.Pipe()
				fromNode, toNode := io.Pipe()
				there := &line{rate: tt.rate, delay: tt.delay, out: toHost}
				back := &line{rate: tt.rate, delay: tt.delay, out: toNode}
				var wg sync.WaitGroup
				there.open(&wg)
				back.open(&wg)
				wg.Go(func() {
					if err := receive.Serve(receive.Config{Top: top, Now: time.Unix(0, 0), In: fromHost, Out: back}); err != nil {
						t.Error(err)
					}
				})
				client, err := Connect(fromNode, there, func() { fromNode.Close() })
				if err != nil {
					t.Fatal(err)
				}
				p := &pair{client: client, host: host, top: top}
				if p.root, err = os.OpenRoot(host); err != nil {
					t.Fatal(err)
				}
				defer p.root.Close()
				noise := make([]byte, tt.size)
				var changes []Change
				for i := range tt.files {
					_, _ = rand.Read(noise)
					name := fmt.Sprint("f", i)
					writeMode(t, filepath.Join(host, name), string(noise), 0o644)
					changes = append(changes, p.put(t, name))
				}
				began := time.Now()
				for path, r := range p.apply(t, changes...) {
					if r.Err != nil {
						t.Errorf("%s: %v", path, r.Err)
					}
				}
				took, least := time.Since(began), time.Duration(float64(tt.files*tt.size)/tt.rate*float64(time.Second))
				var worst time.Duration
				for _, w := range there.wait[len(there.wait)/3:] {
					worst = max(worst, w)
				}
				if worst > 3*queueTarget+tt.delay && worst > time.Duration(2*leastWindow/tt.rate*float64(time.Second)) {
					t.Errorf("what else is sent waits up to %s", worst)
				}
				if took > least*5/4+time.Second {
					t.Errorf("it took %s, for %s at least", took, least)
				}
				t.Logf("%s for %s at least, and the last two thirds waited up to %s; the window is %d", took, least, worst, client.window.size)
				close(there.came)
				toHost.Close()
				close(back.came)
				wg.Wait()
			})
		})
	}
}
