//go:build linux

package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// rpcSession serves one stream of Delve's JSON-RPC. Delve's own server
// (service/rpccommon, serveJSONCodec) owns its debugger and so cannot be used.
// Requests are served in order; those that wait for the target (Command, State,
// GetEvents) run in goroutines of their own. A halt is served at once, since it ends
// whatever blocks the others, and so is a State that must not wait.
type rpcSession struct {
	d      *debuggee
	conn   io.ReadWriteCloser
	calls  map[string]call
	queue  chan rpcRequest  // requests to be served in order
	events chan *proc.Event // for GetEvents
	closed chan struct{}    // closed when the client's stream has ended
	wg     sync.WaitGroup   // all goroutines except the reader's and those in halts
	halts  sync.WaitGroup   // halts that Delve has not taken yet

	writing sync.Mutex
	out     bytes.Buffer // the answer being written

	// starting is held while a command starts, and while the state of a halted target is
	// read: Delve checks whether the target runs before it locks it (service/debugger,
	// Debugger.State), and if a command started in between, the reader would wait for the
	// next stop.
	starting sync.Mutex

	mu           sync.Mutex
	resumes      map[chan struct{}]bool // one for each command under way that resumes the target
	pendingHalts int                    // number of halts that Delve has not taken yet
	haltedSince  bool                   // a halt was requested since the last command started
	haltTaken    sync.Cond              // signals that pendingHalts has decreased; its lock is mu
}

// call serves a request with its parameters.
type call func(params json.RawMessage) (any, error)

// rpcRequest is a request in net/rpc/jsonrpc's format.
type rpcRequest struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	ID     json.RawMessage `json:"id"`

	resumed chan struct{} // for a command that resumes the target: closed when it has ended
	now     bool          // for a State that must not wait
}

const (
	maxQueued   = 64
	maxBuffer   = 1 << 20 // bytes of the answer buffer that are kept for reuse
	maxEvents   = 100     // as in Delve (service/rpc2, eventBufferSize)
	haltTimeout = 30 * time.Second
)

// serveRPC serves conn until the stream ends. On return every request has been
// answered or dropped, all goroutines have ended, and the target is halted if a
// request had resumed it.
func serveRPC(conn io.ReadWriteCloser, d *debuggee) {
	s := &rpcSession{
		d: d, conn: conn,
		queue: make(chan rpcRequest, maxQueued), events: make(chan *proc.Event, maxEvents),
		closed: make(chan struct{}), resumes: map[chan struct{}]bool{},
	}
	s.haltTaken.L = &s.mu
	s.calls = s.methods()
	s.wg.Go(s.serveQueue)
	s.readRequests()
	close(s.closed)
	close(s.queue)
	ended := make(chan struct{})
	go func() { defer close(ended); s.wg.Wait() }()
	s.halt(ended, nil)
	s.halts.Wait()
}

func (s *rpcSession) readRequests() {
	dec := json.NewDecoder(s.conn)
	for {
		var r rpcRequest
		if err := dec.Decode(&r); err != nil {
			return
		}
		switch r.Method {
		case "RPCServer.Command":
			var c api.DebuggerCommand
			if decodeParams(r.Params, &c) == nil && c.Name == api.Halt {
				s.wg.Go(func() { s.answer(r, s.haltNow) })
				continue
			}
			if isResuming(c.Name) {
				r.resumed = s.addResume()
			}
		case "RPCServer.State":
			var in rpc2.StateIn
			r.now = decodeParams(r.Params, &in) == nil && in.NonBlocking
			if r.now && s.d.IsRunning() {
				s.answer(r, runningState)
				continue
			}
		}
		s.queue <- r
	}
}

// serveQueue serves the queued requests until the reader has ended.
func (s *rpcSession) serveQueue() {
	for r := range s.queue {
		select {
		case <-s.closed:
			s.removeResume(r.resumed)
			continue
		default:
		}
		switch {
		case r.Method == "RPCServer.Command":
			s.runCommand(r)
		case r.now:
			s.answer(r, s.readState)
		case r.Method == "RPCServer.State" || r.Method == "RPCServer.GetEvents":
			s.wg.Go(func() { s.answer(r, s.calls[r.Method]) })
		default:
			s.answer(r, s.calls[r.Method])
		}
	}
}

// runCommand starts a command and returns when the target runs or the command has
// ended.
func (s *rpcSession) runCommand(r rpcRequest) {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.waitForHalts() && r.resumed != nil {
		s.dropTrap()
	}
	running, ended := make(chan struct{}), make(chan struct{})
	s.wg.Go(func() {
		defer close(ended)
		s.answer(r, func(params json.RawMessage) (any, error) {
			defer s.removeResume(r.resumed) // before the answer, after which a halt must find nothing to end
			var c api.DebuggerCommand
			if err := decodeParams(params, &c); err != nil {
				return nil, err
			}
			var events func(*proc.Event)
			if c.WithEvents {
				events = s.queueEvent
			}
			state, err := s.d.Command(&c, running, s.closed, events)
			if err != nil {
				return nil, err
			}
			return rpc2.CommandOut{State: *state}, nil
		})
	})
	select {
	case <-running:
	case <-ended:
	}
}

// isResuming reports whether a command resumes the target.
func isResuming(command string) bool {
	switch command {
	case api.Halt, api.SwitchThread, api.SwitchGoroutine:
		return false
	}
	return true
}

// addResume registers a command that resumes the target, until removeResume.
func (s *rpcSession) addResume() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	s.resumes[c] = true
	return c
}

func (s *rpcSession) removeResume(resumed chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumes[resumed] {
		delete(s.resumes, resumed)
		close(resumed)
	}
}

// currentResume returns the channel that is closed when a command under way ends, nil
// if none resumes the target.
func (s *rpcSession) currentResume() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.resumes {
		return c
	}
	return nil
}

// queueEvent queues an event for GetEvents, or drops it if the queue is full.
func (s *rpcSession) queueEvent(e *proc.Event) {
	select {
	case s.events <- e:
	default:
	}
}

func (s *rpcSession) getEvents(json.RawMessage) (any, error) {
	var out rpc2.GetEventsOut
	select {
	case e := <-s.events:
		out.Events = append(out.Events, *api.ConvertEvent(e))
	case <-s.closed:
		return nil, errors.New("the session has ended")
	}
	for len(out.Events) < maxEvents {
		select {
		case e := <-s.events:
			out.Events = append(out.Events, *api.ConvertEvent(e))
		default:
			return out, nil
		}
	}
	return out, nil
}
