package daemon

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/delta"
	"github.com/dapbridge/dapbridge/internal/host/deploy"
)

// Shipped says how a build got to the node. All is zero if it was there.
type Shipped struct {
	Sent  int64         `json:"sent"`            // bytes that went
	Delta bool          `json:"delta,omitempty"` // they were what differs from the build that was there
	Send  time.Duration `json:"send"`            // until the node had all, ns
}

// shipment sends a build. Others may look at it meanwhile.
type shipment struct {
	builder  *deploy.Builder
	built    *deploy.Artifact
	progress func(sent, done, total int64)

	mu    sync.Mutex
	now   Shipped
	done  int64 // bytes of the build that were packed
	start time.Time
}

// send sends the build to a node on which the former file stands, by its SHA-256:
// what differs from that, if it was built here.
func (s *shipment) send(w io.Writer, former string) error {
	f, err := os.Open(s.built.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	s.mu.Lock()
	s.start = time.Now()
	s.mu.Unlock()
	var there *io.SectionReader
	if kept := s.builder.OpenKept(former); kept != nil {
		defer kept.Close()
		info, err := kept.Stat()
		if err != nil {
			return err
		}
		there = io.NewSectionReader(kept, 0, info.Size())
		s.mu.Lock()
		s.now.Delta = true
		s.mu.Unlock()
	}
	return delta.Write(outOf{s, w}, into{s, f}, there)
}

// arrived says that the node has all.
func (s *shipment) arrived() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.start.IsZero() {
		s.now.Send = time.Since(s.start)
	}
}

func (s *shipment) shipped() Shipped {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// into counts what is packed.
type into struct {
	s *shipment
	r io.Reader
}

func (i into) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.s.done += int64(n)
	return n, err
}

// outOf counts what goes, and tells of it.
type outOf struct {
	s *shipment
	w io.Writer
}

func (o outOf) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	o.s.now.Sent += int64(n)
	o.s.progress(o.s.now.Sent, o.s.done, o.s.built.Size)
	return n, err
}
