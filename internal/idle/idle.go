// Package idle bounds how long a reader may be silent.
package idle

import (
	"fmt"
	"io"
	"time"
)

// Reader returns a reader of what comes from r, which fails when nothing has
// come for the limit: a wire that goes dead without a word would otherwise keep
// us for as long as sshd takes to notice. The caller closes it. A read that is
// under way then is left behind, and ends with r or the process.
func Reader(r io.Reader, limit time.Duration) io.ReadCloser {
	out, in := io.Pipe()
	silence := time.AfterFunc(limit, func() { in.CloseWithError(fmt.Errorf("nothing came for %s", limit)) })
	silence.Stop()
	go func() {
		_, err := io.Copy(in, &timed{r, silence, limit})
		in.CloseWithError(err) // which, if nil, is an end of file
	}()
	return out
}

// timed lets a timer run while it reads, and at no other time.
type timed struct {
	r     io.Reader
	timer *time.Timer
	limit time.Duration
}

func (t *timed) Read(p []byte) (int, error) {
	t.timer.Reset(t.limit)
	defer t.timer.Stop()
	return t.r.Read(p)
}
