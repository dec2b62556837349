package deploy

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/delta"
)

// Upload says how a build was uploaded. It is zero if the node had the build already.
type Upload struct {
	Sent  int64         `json:"sent"`            // bytes
	Delta bool          `json:"delta,omitempty"` // only the difference from the node's former build was sent
	Send  time.Duration `json:"send"`            // until the node had everything, in ns
}

// upload sends a build. Its methods may be called from several goroutines.
type upload struct {
	builder  *Builder
	built    *Artifact
	progress func(sent, done, total int64)

	mu    sync.Mutex
	now   Upload
	done  int64 // bytes of the build that have been packed
	start time.Time
}

// send writes the build to w. If the build with the SHA-256 former, which the node runs,
// was made on this host, it writes only the difference from that build.
func (u *upload) send(w io.Writer, former string) error {
	f, err := os.Open(u.built.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	u.mu.Lock()
	u.start = time.Now()
	u.mu.Unlock()
	var base *io.SectionReader
	if kept := u.builder.OpenKept(former); kept != nil {
		defer kept.Close()
		info, err := kept.Stat()
		if err != nil {
			return err
		}
		base = io.NewSectionReader(kept, 0, info.Size())
		u.mu.Lock()
		u.now.Delta = true
		u.mu.Unlock()
	}
	return delta.Write(sentCounter{u, w}, packedCounter{u, f}, base)
}

// finish records that the node has received everything.
func (u *upload) finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.start.IsZero() {
		u.now.Send = time.Since(u.start)
	}
}

func (u *upload) result() Upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now
}

// packedCounter counts the bytes of the build that are read.
type packedCounter struct {
	u *upload
	r io.Reader
}

func (c packedCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.u.mu.Lock()
	defer c.u.mu.Unlock()
	c.u.done += int64(n)
	return n, err
}

// sentCounter counts the bytes that are sent, and reports progress.
type sentCounter struct {
	u *upload
	w io.Writer
}

func (c sentCounter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.u.mu.Lock()
	defer c.u.mu.Unlock()
	c.u.now.Sent += int64(n)
	c.u.progress(c.u.now.Sent, c.u.done, c.u.built.Size)
	return n, err
}
