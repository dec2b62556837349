//go:build linux

package worker

import (
	"bufio"
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"

	godap "github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
)

// stream is a session's pair of descriptors as one connection. At most one goroutine at
// a time may read, and one may write; Close may be called at any time.
//
// Delve reads whole messages from it and, at its end, a last one of ours: a request to
// pause. Delve halts the target briefly to set a breakpoint or to print a logpoint's
// message, and would otherwise resume it after the end of the stream, while we work on
// it; after a pause it does not (service/dap/server.go, resumeOnce). From then on
// answers are dropped: nobody waits for them.
//
// Delve writes a message's header and body separately (go-dap, WriteBaseMessage); the
// stream writes them at once, which saves a packet.
type stream struct {
	joined  supervisor.JoinRequest
	closing sync.Once

	in         *bufio.Reader // nil for a stream whose bytes pass unchanged
	unread     []byte        // rest of the message being read
	inErr      error
	inputEnded atomic.Bool // the last request is being read

	unsent []byte // a header waiting for its body
}

// newStream returns the stream of a session. Only a DAP session's stream is read message
// by message: the worker itself ends a JSON-RPC session's commands.
func newStream(j supervisor.JoinRequest, p api.SessionProtocol) *stream {
	s := &stream{joined: j}
	if p != api.JSONRPC {
		s.in = bufio.NewReader(j.In)
	}
	return s
}

// lastRequest is the last message that Delve reads.
const lastRequest = `{"seq":2147483647,"type":"request","command":"pause","arguments":{"threadId":-1}}`

func (s *stream) Read(p []byte) (int, error) {
	if s.in == nil {
		return s.joined.In.Read(p)
	}
	for len(s.unread) == 0 {
		if s.inErr != nil {
			return 0, s.inErr
		}
		var body []byte
		if body, s.inErr = godap.ReadBaseMessage(s.in); s.inErr != nil {
			body = []byte(lastRequest)
			s.inputEnded.Store(true)
		}
		s.unread = frameMessage(body)
	}
	n := copy(p, s.unread)
	s.unread = s.unread[n:]
	return n, nil
}

func frameMessage(body []byte) []byte {
	return fmt.Appendf(nil, "Content-Length: %d\r\n\r\n%s", len(body), body)
}

func (s *stream) Write(p []byte) (int, error) {
	if s.in == nil {
		return s.joined.Out.Write(p)
	}
	if s.inputEnded.Load() {
		return len(p), nil
	}
	if len(s.unsent) == 0 && bytes.HasPrefix(p, []byte("Content-Length:")) && bytes.HasSuffix(p, []byte("\r\n\r\n")) {
		s.unsent = append(s.unsent, p...)
		return len(p), nil
	}
	s.unsent = append(s.unsent, p...)
	_, err := s.joined.Out.Write(s.unsent)
	s.unsent = s.unsent[:0]
	if cap(s.unsent) > 1<<20 {
		s.unsent = nil
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *stream) Close() (err error) {
	s.closing.Do(func() { err = s.joined.Close() })
	return err
}
