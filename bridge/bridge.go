// Package bridge is the IDE's side of dapbridge: it accepts connections of the
// Debug Adapter Protocol and of Delve's JSON-RPC, lets one of them at a time
// have the debugger on the node, and relays its messages.
//
// Messages pass as the bytes they came in. Only DAP's numbers (the bridge
// speaks too), the JSON strings that hold a path, and what the policy must
// change are replaced (frame.go, message.go and policy.go; rpcvalue.go,
// rpcmessage.go and rpcpolicy.go). The node is not trusted: only events and
// responses to outstanding requests pass from it.
// How the node is reached is a [Dialer]'s business.
package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// Dialer reaches the debugger on the node.
type Dialer interface {
	// Capabilities is the body of the debugger's answer to initialize.
	Capabilities() json.RawMessage

	// Dial attaches the debugger to the target and returns the session that
	// the node serves in the client's protocol. It blocks until the target is
	// halted and ready for requests, of DAP an attach of mode remote. When ctx
	// ends it gives up and leaves the target as it was.
	Dial(ctx context.Context, w DialOptions) (Session, error)
}

// Protocol is what a client speaks.
type Protocol int

// The protocols that one port serves.
const (
	DAP Protocol = iota // the Debug Adapter Protocol
	RPC                 // Delve's JSON-RPC, version 2
)

// Session is a debug session on the node: the stream of its messages, and what
// is debugged. Read and Write may be called by one goroutine each at a time;
// End may be called at any time and ends both.
type Session interface {
	io.ReadWriter

	// End makes the node clear the session's breakpoints, let the target run
	// and detach from it, and returns when that holds, or why it can't be told.
	// It may be called more than once.
	End(ctx context.Context) error

	// Target says what is debugged.
	Target() Target

	// Map turns the host's paths into those of the target's binary and back.
	Map() *pathmap.Map

	// Tell has line called with each line that the session has to say to the
	// user, from one goroutine at a time. It must not wait.
	Notify(line func(string))

	// Sources gives the files that the host lacks; nil if it is not to be asked.
	Sources() Sources
}

// Target names the debugged process.
type Target struct {
	Name string // the executable's base name
	PID  int    // on the node
	Note string // what the user should know of it, one line; "" if nothing
}

// Config is what a [Server] needs. The zero value of the optional fields is
// useful.
type Config struct {
	Dialer    Dialer
	CheckPeer func(net.Conn) error // refuses a connection by an error; nil accepts all
	Takeover  bool                 // a new session ends the one under way
	MaxBody   int64                // largest message in bytes; 0 means 256 MiB
	Log       *slog.Logger         // nil discards
}

// DefaultMaxBody is the largest message that is relayed, in bytes.
const DefaultMaxBody = 256 << 20

// maxHeader bounds a message's header, in bytes.
const maxHeader = 8 << 10

// endTimeout bounds how long the end of a session may take. It is longer than
// the agent's own deadline, which ends with the worker's death.
const endTimeout = 90 * time.Second

// Server serves IDEs.
type Server struct {
	cfg     Config
	slot    slot
	clients sync.WaitGroup
}

// NewServer returns a Server for c.
func NewServer(c Config) *Server {
	if c.MaxBody <= 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: c}
}

// Serve accepts connections on ln until ctx ends. It then closes ln, ends the
// session under way as if its IDE had gone, and returns nil when the target is
// let go and every connection is closed. Another error of ln ends it too.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.clients.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for pause := time.Duration(0); ; {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.clients.Go(func() { s.handle(ctx, conn) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors, most likely: what is served goes on
			pause = min(max(2*pause, 10*time.Millisecond), time.Second)
			s.cfg.Log.Warn("accepting a connection", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

// ServeConn serves one client on conn, whoever it is, and closes it. When ctx
// ends it ends the session as if its IDE had gone. It returns when the target is
// let go.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	s.serveClient(ctx, conn, s.cfg.Log.With("peer", peerName(conn)))
}

// handle serves one connection to its end.
func (s *Server) handle(ctx context.Context, conn net.Conn) {
	log := s.cfg.Log.With("peer", peerName(conn))
	if s.cfg.CheckPeer != nil {
		if err := s.cfg.CheckPeer(conn); err != nil {
			log.Warn("connection refused", "error", err)
			conn.Close()
			return
		}
	}
	log.Debug("connected")
	s.serveClient(ctx, conn, log)
	log.Debug("closed")
}

// serveClient serves a client in the protocol that its first byte tells, as
// Delve does (service/rpccommon, serveConnectionDemux): a request of JSON-RPC
// starts with a brace, no header of DAP's does.
func (s *Server) serveClient(ctx context.Context, conn net.Conn, log *slog.Logger) {
	defer conn.Close()
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	first := make([]byte, 1)
	_, err := io.ReadFull(conn, first)
	if unhook(); err != nil {
		return
	}
	begun := &prefixedConn{Conn: conn, prefix: first}
	if first[0] == '{' {
		newRPCClient(s, begun, log).serve(ctx)
	} else {
		newClient(s, begun, log).serve(ctx)
	}
}

// begunConn is a connection whose first bytes have been read.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// SyscallConn implements [syscall.Conn], if the connection below does.
func (c *prefixedConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func peerName(conn net.Conn) string {
	switch addr := conn.RemoteAddr(); {
	case addr == nil, addr.String() == "", addr.String() == "@": // a unix socket without a name
		return "local"
	default:
		return addr.String()
	}
}
