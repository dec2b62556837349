package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// BenchmarkSyncSession measures threads requests at 2 MB/s and 20 ms each way, with and
// without a large copy over the daemon's connection.
func BenchmarkSyncSession(b *testing.B) {
	f := setup(b)
	dir, to := f.tree(b, "beside")
	proxy, node := f.proxy(b)
	args := slices.Concat([]string{"sync", dir, "--to", to}, node)
	if out, err := f.command(b.Context(), userUID, args...).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	proxy.Rate(2 << 20)
	proxy.Delay(20 * time.Millisecond)
	s := f.serveNode(b, slices.Concat(node, []string{"--root", dir})...)
	c := s.dial(b)
	if _, err := c.Attach(short(b), dapclient.AttachOptions{}); err != nil {
		b.Fatal(err)
	}
	ask := func(long time.Duration) (took []time.Duration) {
		for end := time.Now().Add(long); time.Now().Before(end); {
			start := time.Now()
			if _, err := c.Request(short(b), "threads", nil); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		return took
	}
	var beside, alone []time.Duration
	n, copied := 0, 0.0 // MB/s
	for b.Loop() {
		alone = append(alone, ask(5*time.Second)...)
		start := time.Now()
		for range 40 {
			n++
			writeAsUser(b, filepath.Join(dir, fmt.Sprint("new", n)), noise(800<<10))
		}
		time.Sleep(time.Second) // until it is copied
		beside = append(beside, ask(10*time.Second)...)
		if st := f.statusOf(b, anyExit).Sync; st.State != "copying" {
			b.Fatalf("not all was asked while much was copied: %+v", st)
		}
		f.waitEqual(b, dir, to, "what was written")
		copied = 40 * 800 / 1024.0 / time.Since(start).Seconds()
	}
	report(b, "threads beside much that is copied, against alone", beside, alone)
	b.ReportMetric(copied, "copied-MB/s")
}
