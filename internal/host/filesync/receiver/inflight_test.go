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

// direction is one direction of a simulated connection: it delivers what is written at
// a rate and after a delay. Write never blocks, as a socket's buffer and the queues of
// routers do not while they have room.
type direction struct {
	rate  float64 // bytes a second
	delay time.Duration
	out   io.Writer

	mu     sync.Mutex
	free   time.Time       // when all that was written will have left
	queued []time.Duration // how long each Write's bytes waited for those before
	bytes  int             // written
	pieces chan piece
}

type piece struct {
	data []byte
	at   time.Time // of delivery
}

// start delivers until pieces is closed.
func (d *direction) start(wg *sync.WaitGroup) {
	d.pieces = make(chan piece, 10_000)
	wg.Go(func() {
		for p := range d.pieces {
			time.Sleep(time.Until(p.at))
			if _, err := d.out.Write(p.data); err != nil {
				continue
			}
		}
	})
}

func (d *direction) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.free.Before(now) {
		d.free = now
	}
	d.bytes += len(b)
	d.queued = append(d.queued, d.free.Sub(now))
	d.free = d.free.Add(time.Duration(float64(len(b)) / d.rate * float64(time.Second)))
	d.pieces <- piece{append([]byte(nil), b...), d.free.Add(d.delay)}
	return len(b), nil
}

// queue returns how long a byte written now would wait for those before it.
func (d *direction) queue() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(0, time.Until(d.free))
}

// simulatedPair is a pair whose two ends are joined by a simulated connection.
type simulatedPair struct {
	*pair
	toNode *direction
	close  func()
}

// simulate joins a client and a receiver by a connection of a rate, in bytes a second,
// and a delay each way.
func simulate(t testing.TB, rate float64, delay time.Duration) simulatedPair {
	t.Helper()
	host, top := dirs(t)
	nodeIn, nodeFeed := io.Pipe()
	hostIn, hostFeed := io.Pipe()
	toNode := &direction{rate: rate, delay: delay, out: nodeFeed}
	toHost := &direction{rate: rate, delay: delay, out: hostFeed}
	var wg sync.WaitGroup
	toNode.start(&wg)
	toHost.start(&wg)
	wg.Go(func() {
		if err := receive.Serve(receive.Config{Top: top, Now: time.Unix(0, 0), In: nodeIn, Out: toHost}); err != nil {
			t.Error(err)
		}
	})
	client, err := Connect(hostIn, toNode, func() { hostIn.Close() })
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(host)
	if err != nil {
		t.Fatal(err)
	}
	return simulatedPair{
		pair: &pair{client: client, host: host, top: top, root: root}, toNode: toNode,
		close: func() {
			close(toNode.pieces)
			nodeFeed.Close()
			close(toHost.pieces)
			wg.Wait()
			root.Close()
		},
	}
}

// writeNoise writes files of incompressible data and returns the changes that put them.
func (s simulatedPair) writeNoise(t testing.TB, files, size int) []Change {
	t.Helper()
	noise := make([]byte, size)
	var changes []Change
	for i := range files {
		_, _ = rand.Read(noise)
		name := fmt.Sprint("f", i)
		writeMode(t, filepath.Join(s.host, name), string(noise), 0o644)
		changes = append(changes, s.put(t, name))
	}
	return changes
}

// TestWindow sends over connections of several kinds: other data on them waits little
// longer than queueTarget, and they are used in full.
func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		name        string
		rate        float64
		delay       time.Duration // each way
		files, size int
	}{
		{"many small files", 2 << 20, 20 * time.Millisecond, 600, 8 << 10},
		{"a large file", 2 << 20, 20 * time.Millisecond, 1, 6 << 20},
		{"long delay", 2 << 20, 150 * time.Millisecond, 1500, 8 << 10},
		{"fast", 12 << 20, 10 * time.Millisecond, 40, 500 << 10},
		{"slow, a large file", 250 << 10, 30 * time.Millisecond, 1, 3 << 20},
		{"slow, many small files", 250 << 10, 30 * time.Millisecond, 300, 8 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := simulate(t, tt.rate, tt.delay)
				changes := s.writeNoise(t, tt.files, tt.size)
				start := time.Now()
				for path, r := range s.apply(t, changes...) {
					if r.Err != nil {
						t.Errorf("%s: %v", path, r.Err)
					}
				}
				took := time.Since(start)
				s.close()
				ideal := time.Duration(float64(tt.files*tt.size) / tt.rate * float64(time.Second))
				if limit := ideal*5/4 + time.Second; took > limit {
					t.Errorf("took %s, want at most %s", took, limit)
				}
				var longest time.Duration // after the first third, in which the size is found
				for _, q := range s.toNode.queued[len(s.toNode.queued)/3:] {
					longest = max(longest, q)
				}
				limit := max(3*queueTarget+tt.delay, time.Duration(2*minWindow/tt.rate*float64(time.Second)))
				if longest > limit {
					t.Errorf("other data waits up to %s, want at most %s", longest, limit)
				}
				t.Logf("took %s, ideally %s; other data waited up to %s; final window %d", took, ideal, longest, s.client.window.size)
			})
		})
	}
}
