//go:build linux

package worker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-delve/delve/pkg/goversion"
	"github.com/go-delve/delve/pkg/version"
	"github.com/go-delve/delve/service"
	dlvapi "github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/dap"
	"github.com/go-delve/delve/service/debugger"
	godap "github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
)

// backend serves a session: a debuggee, or a foreign dlv.
type backend interface {
	// open returns how to serve a stream: closing conn ends it, and serve returns when
	// nothing reads it any more.
	open(j supervisor.JoinRequest, p api.SessionProtocol) (conn io.Closer, serve func())
	// interrupt ends what keeps serve from returning after conn was closed. It may block.
	interrupt()
	// release releases the target. No session may be open.
	release() error
}

// session is one client's session on a backend.
type session struct {
	conn   io.Closer
	linger time.Duration
	done   chan struct{} // closed when nothing reads the stream any more
}

// startSession serves the stream. Neither protocol's session detaches at the end of
// the stream; finishSession does. end waits for the goroutine.
func startSession(b backend, j supervisor.JoinRequest, p supervisor.WorkerAttachParams) *session {
	s := &session{linger: p.Linger, done: make(chan struct{})}
	var serve func()
	s.conn, serve = b.open(j, p.Protocol)
	go func() {
		defer close(s.done)
		serve()
		s.conn.Close()
	}()
	return s
}

// open implements [backend].
func (d *debuggee) open(j supervisor.JoinRequest, p api.SessionProtocol) (io.Closer, func()) {
	conn := newStream(j, p)
	if p == api.JSONRPC {
		return conn, func() { serveRPC(conn, d) }
	}
	return conn, dap.NewSession(conn, dapConfig(d.config), d.Debugger).ServeDAPCodec
}

// interrupt halts the target while Delve serves a request: evaluating a call lets it
// run. A halt that arrives just before the target resumes is lost and blocks until the
// next stop, so end repeats it.
func (d *debuggee) interrupt() {
	if d.IsRunning() {
		d.Command(&dlvapi.DebuggerCommand{Name: dlvapi.Halt}, nil, nil, nil)
	}
}

// dapConfig makes Delve keep the debugger when a session ends (AcceptMulti, see
// service/dap/server.go, ServeDAPCodec).
func dapConfig(c debugger.Config) *dap.Config {
	return &dap.Config{
		Config:        &service.Config{AcceptMulti: true, APIVersion: 2, Debugger: c, Listener: noListener{}},
		StopTriggered: make(chan struct{}),
	}
}

// end closes the stream and returns when the session has ended.
func (s *session) end(b backend) {
	s.conn.Close()
	var halts sync.WaitGroup
	defer halts.Wait() // a halt after the detach would kill the target
	for {
		select {
		case <-s.done:
			return
		case <-time.After(endPause):
			halts.Go(b.interrupt)
		}
	}
}

// endPause is how long a request under way may take before it is interrupted.
const endPause = 50 * time.Millisecond

// noListener stands in for the listener whose address Delve wants to log.
type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return &net.UnixAddr{Net: "unix", Name: "dapbridge"} }

// Capabilities returns the body of Delve's answer to an initialize request, from a
// Delve session without a debugger.
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

// Debugger describes this program's Delve.
func Debugger() api.Debugger {
	v := version.DelveVersion
	return api.Debugger{
		Version:  fmt.Sprintf("v%s.%s.%s", v.Major, v.Minor, v.Patch),
		OldestGo: fmt.Sprintf("go%d.%d", goversion.MinSupportedVersionOfGoMajor, goversion.MinSupportedVersionOfGoMinor),
		NewestGo: fmt.Sprintf("go%d.%d", goversion.MaxSupportedVersionOfGoMajor, goversion.MaxSupportedVersionOfGoMinor),
	}
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
