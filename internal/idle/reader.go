package idle

import (
	"fmt"
	"io"
	"time"
)

// NewReader returns a reader of r that fails when a Read of r has returned nothing
// for the timeout: sshd may take hours to notice that a connection is dead. Time
// that the caller takes between two reads does not count. The caller must close the
// reader; a Read of r in progress then stays blocked until r ends or the process exits.
func NewReader(r io.Reader, timeout time.Duration) io.ReadCloser {
	out, in := io.Pipe()
	timer := time.AfterFunc(timeout, func() { in.CloseWithError(fmt.Errorf("nothing arrived for %s", timeout)) })
	timer.Stop()
	go func() {
		_, err := io.Copy(in, &timedReader{r, timer, timeout})
		in.CloseWithError(err) // nil is an end of file
	}()
	return out
}

// timedReader lets a timer run while it reads, and only then.
type timedReader struct {
	r       io.Reader
	timer   *time.Timer
	timeout time.Duration
}

func (t *timedReader) Read(p []byte) (int, error) {
	t.timer.Reset(t.timeout)
	defer t.timer.Stop()
	return t.r.Read(p)
}
