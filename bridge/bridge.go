// Package bridge is the part of dapbridge that IDEs connect to: it accepts connections
// in the Debug Adapter Protocol and in Delve's JSON-RPC, gives one client at a time the
// debugger on the node, and relays its messages.
//
// Messages are relayed byte for byte, except for DAP's sequence numbers (the bridge
// sends messages of its own), the JSON strings that hold a path, and what the policy
// changes: frame.go, message.go and policy.go for DAP; rpcframe.go, rpcmessage.go and
// rpcpolicy.go for JSON-RPC. The node is not trusted: of its messages, only events and
// responses to pending requests are relayed. A [Dialer] reaches the node.
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
	// Capabilities returns the body of the debugger's response to initialize.
	Capabilities() json.RawMessage

	// Dial attaches the debugger to the target and returns a session in the
	// client's protocol. It blocks until the target is halted and ready for
	// requests; in DAP, the first one must be an attach with mode remote. If ctx is
	// done first, it leaves the target as it was.
	Dial(ctx context.Context, o DialOptions) (Session, error)
}

// Protocol is a client's protocol.
type Protocol int

// The protocols that one port serves.
const (
	DAP Protocol = iota // the Debug Adapter Protocol
	RPC                 // Delve's JSON-RPC, version 2
)

// Session is a debug session on the node: a stream of messages, and its target. One
// goroutine may Read while another one Writes; End may be called at any time and
// unblocks both.
type Session interface {
	io.ReadWriter

	// End makes the node clear the session's breakpoints, resume the target and
	// detach. It returns nil once that has happened, and an error if it may not
	// have. It may be called more than once.
	End(ctx context.Context) error

	// Target returns the debugged process.
	Target() TargetInfo

	// Map returns the path map between the host and the target's binary.
	Map() *pathmap.Map

	// Notify sets the function that shows the user a line. It is called by one
	// goroutine at a time and must not block.
	Notify(show func(line string))

	// Sources gives access to files that the host lacks. It returns nil if there is
	// no such access.
	Sources() SourceFiles
}

// Target names the debugged process.
type TargetInfo struct {
	Name string // the executable's base name
	PID  int    // on the node
	Note string // one line for the user, or ""
	// NoVariables says why no expression can be evaluated, in one line; "" if they can be.
	NoVariables string
}

// Config configures a [Server]. Only Dialer is required.
type Config struct {
	Dialer    Dialer
	CheckPeer func(net.Conn) error // an error refuses the connection; nil accepts all
	Takeover  bool                 // a new session ends the current one
	MaxBody   int64                // largest message in bytes; 0 means 256 MiB
	Log       *slog.Logger         // nil discards
}

// DefaultMaxBody is the default of Config.MaxBody.
const DefaultMaxBody = 256 << 20

// maxHeader bounds a message's header, in bytes.
const maxHeader = 8 << 10

// endTimeout bounds how long ending a session may take. It is longer than the agent's own
// deadline, after which the agent kills the worker.
const endTimeout = 90 * time.Second

// Server serves debug clients.
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

// Serve accepts connections on ln until ctx is done or ln is closed. Then it closes ln,
// ends the current session as if its IDE had disconnected, and returns once the target
// is released and every connection is closed. The error is nil if ctx is done.
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
		default: // probably out of file descriptors: keep serving the open connections
			pause = min(max(2*pause, 10*time.Millisecond), time.Second)
			s.cfg.Log.Warn("cannot accept a connection", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

// ServeConn serves one client on conn, without CheckPeer, and closes conn. When ctx is
// done, it ends the session as if the IDE had disconnected. It returns once the target
// is released.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	s.serveClient(ctx, conn, s.cfg.Log.With("peer", peerName(conn)))
}

// handle checks the peer of conn and serves the connection until it is closed.
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

// serveClient serves a client in the protocol that its first byte indicates, as Delve
// does (service/rpccommon, serveConnectionDemux): a JSON-RPC request starts with a
// brace, a DAP header does not.
func (s *Server) serveClient(ctx context.Context, conn net.Conn, log *slog.Logger) {
	defer conn.Close()
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	first := make([]byte, 1)
	_, err := io.ReadFull(conn, first)
	if unhook(); err != nil {
		return
	}
	prefixed := &prefixedConn{Conn: conn, prefix: first}
	if first[0] == '{' {
		newRPCClient(s, prefixed, log).run(ctx)
	} else {
		newDAPClient(s, prefixed, log).run(ctx)
	}
}

// prefixedConn is a connection whose first bytes, prefix, have already been read.
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

// SyscallConn implements [syscall.Conn] if the underlying connection does.
func (c *prefixedConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// peerName returns the address of conn's peer, for display.
func peerName(conn net.Conn) string {
	switch addr := conn.RemoteAddr(); {
	case addr == nil, addr.String() == "", addr.String() == "@": // an unnamed unix socket
		return "local"
	default:
		return addr.String()
	}
}
