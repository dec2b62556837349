//go:build linux

package worker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-delve/delve/service"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/dap"
	"github.com/go-delve/delve/service/debugger"
	godap "github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/agent"
)

// session is one DAP session of Delve's on a debuggee.
type session struct {
	conn   *stream
	linger time.Duration
	done   chan struct{} // closed when Delve has stopped reading the stream
}

// startSession lets Delve serve the stream. Delve's session neither halts nor
// detaches when the stream ends: that is finish's.
func startSession(d *debuggee, j agent.Joined, linger time.Duration) *session {
	s := &session{conn: &stream{joined: j}, linger: linger, done: make(chan struct{})}
	delve := dap.NewSession(s.conn, dapConfig(d.config), d.Debugger)
	go func() {
		defer close(s.done)
		delve.ServeDAPCodec()
		s.conn.Close()
	}()
	return s
}

// dapConfig makes Delve leave the debugger alone when a session ends
// (AcceptMulti, see service/dap/server.go, ServeDAPCodec).
func dapConfig(c debugger.Config) *dap.Config {
	return &dap.Config{
		Config:        &service.Config{AcceptMulti: true, APIVersion: 2, Debugger: c, Listener: noListener{}},
		StopTriggered: make(chan struct{}),
	}
}

// end closes the stream from our side and returns when Delve's session has
// ended. A request that Delve is working on may need the target halted first:
// an evaluated call runs it.
func (s *session) end(d *debuggee) {
	s.conn.Close()
	for {
		select {
		case <-s.done:
			return
		case <-time.After(endPause):
			if d.IsRunning() {
				d.Command(&api.DebuggerCommand{Name: api.Halt}, nil, nil, nil)
			}
		}
	}
}

// endPause is how long a request under way may take before the target is
// halted under it.
const endPause = 50 * time.Millisecond

// stream is a session's pair of descriptors as one connection. Delve writes a
// message's header and body by two calls (go-dap, WriteBaseMessage); the
// stream sends them as one, which spares the wire a packet.
type stream struct {
	joined  agent.Joined
	closing sync.Once
	pending []byte // a header waiting for its body. Delve writes from one goroutine at a time
}

func (s *stream) Read(p []byte) (int, error) { return s.joined.In.Read(p) }

func (s *stream) Write(p []byte) (int, error) {
	if len(s.pending) == 0 && bytes.HasPrefix(p, []byte("Content-Length:")) && bytes.HasSuffix(p, []byte("\r\n\r\n")) {
		s.pending = append(s.pending, p...)
		return len(p), nil
	}
	s.pending = append(s.pending, p...)
	_, err := s.joined.Out.Write(s.pending)
	s.pending = s.pending[:0]
	if cap(s.pending) > 1<<20 {
		s.pending = nil
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *stream) Close() (err error) {
	s.closing.Do(func() {
		err = errors.Join(s.joined.In.Close(), s.joined.Out.Close(), s.joined.Done.Close())
	})
	return err
}

// noListener stands where Delve wants to name the address it serves.
type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return &net.UnixAddr{Net: "unix", Name: "dapbridge"} }

// Capabilities returns the body of Delve's answer to an initialize request, by
// asking a Delve session that has no debugger.
func Capabilities() (json.RawMessage, error) {
	client, server := net.Pipe()
	delve := dap.NewSession(server, dapConfig(debugger.Config{}), nil)
	done := make(chan struct{})
	go func() { defer close(done); delve.ServeDAPCodec() }()
	defer func() { client.Close(); <-done }()

	req := &godap.InitializeRequest{Request: godap.Request{
		ProtocolMessage: godap.ProtocolMessage{Seq: 1, Type: "request"}, Command: "initialize",
	}}
	req.Arguments = godap.InitializeRequestArguments{AdapterID: "go", PathFormat: "path", LinesStartAt1: true, ColumnsStartAt1: true}
	if err := godap.WriteProtocolMessage(client, req); err != nil {
		return nil, err
	}
	return readBody(client)
}

func readBody(r io.Reader) (json.RawMessage, error) {
	raw, err := godap.ReadBaseMessage(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Success bool            `json:"success"`
		Body    json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	if !answer.Success {
		return nil, fmt.Errorf("initialize was refused: %s", raw)
	}
	return answer.Body, nil
}
