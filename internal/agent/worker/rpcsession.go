//go:build linux

package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/service"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
)

// rpcSession serves one stream of Delve's JSON-RPC (service/rpccommon,
// serveJSONCodec, which owns its debugger and so can't be used). Requests are
// worked on in the order in which they came, those that wait for the target
// (Command, State, GetEvents) in goroutines of their own. A halt does not wait
// for its turn: whatever holds up the others, it ends. Nor does a State that must
// not wait.
type rpcSession struct {
	d      *debuggee
	conn   io.ReadWriteCloser
	calls  map[string]call
	queue  chan rpcRequest  // to be worked on
	events chan *proc.Event // for GetEvents
	closed chan struct{}    // closed when the client's end has been read
	wg     sync.WaitGroup   // everything but the reader and
	halts  sync.WaitGroup   // what waits for Delve to take a halt

	writing sync.Mutex
	out     bytes.Buffer // the answer that is being written

	// starting is held while a command begins, and while the state of a halted
	// target is read: Delve looks whether the target runs before it locks it
	// (service/debugger, Debugger.State), and a command in between would have the
	// reader wait for the next stop.
	starting sync.Mutex

	mu           sync.Mutex
	resumes      map[chan struct{}]bool // one for each command under way that lets the target run
	pendingHalts int                    // halts that Delve has not taken yet
	haltedSince  bool                   // some were asked for since the last command began
	haltTaken    sync.Cond              // of mu: asked is less
}

// call answers a request with its parameters.
type call func(params json.RawMessage) (any, error)

// rpcRequest is a request as net/rpc/jsonrpc has it.
type rpcRequest struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	ID     json.RawMessage `json:"id"`

	resumed chan struct{} // of a command that lets the target run: closed when it has ended
	now     bool          // of a State that must not wait
}

const (
	maxQueued   = 64
	maxBuffer   = 1 << 20 // of the buffer for answers, in bytes
	maxEvents   = 100     // as Delve (service/rpc2, eventBufferSize)
	haltTimeout = 30 * time.Second
)

// serveRPC serves conn until its end. On return every request has been
// answered or dropped, and the target is halted if one of them had it run.
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

// work works on the requests until the reader has ended.
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

// command starts a command and returns when the target runs or the command has
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
			defer s.removeResume(r.resumed) // before the answer, after which a halt has nothing to end
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

// resuming reports whether a command lets the target run.
func isResuming(command string) bool {
	switch command {
	case api.Halt, api.SwitchThread, api.SwitchGoroutine:
		return false
	}
	return true
}

// resume remembers a command that lets the target run until ended.
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

// underWay returns what closes when a command ends, nil if none lets the target
// run.
func (s *rpcSession) currentResume() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.resumes {
		return c
	}
	return nil
}

// halted answers a halt: it ends all commands until the state says that the
// target is halted. If it is already, Delve is asked for nothing, which would
// make the next command stop at once (service/api, Halt).
func (s *rpcSession) haltNow(json.RawMessage) (any, error) {
	deadline := time.NewTimer(haltTimeout)
	defer deadline.Stop()
	for {
		if resumed := s.currentResume(); resumed != nil && !s.halt(resumed, deadline.C) {
			return nil, fmt.Errorf("the target did not halt within %s", haltTimeout)
		}
		state, err := s.currentState()
		if err != nil {
			return nil, err
		}
		if !state.Running {
			return rpc2.CommandOut{State: *state}, nil
		}
		select { // a command that came meanwhile, or one that switches
		case <-deadline.C:
			return nil, fmt.Errorf("the target did not halt within %s", haltTimeout)
		case <-time.After(haltPause):
		}
	}
}

// currentState returns the state without waiting for a stop.
func (s *rpcSession) currentState() (*api.DebuggerState, error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	return s.d.State(true)
}

// halt halts the target, if it runs, until ended is closed, and reports whether
// that happened before the deadline. A halt that Delve takes just before a
// resume is lost (pkg/proc, TargetGroup.Continue) and blocks until the next
// stop: so it is asked for again, by another goroutine.
func (s *rpcSession) halt(ended <-chan struct{}, deadline <-chan time.Time) bool {
	for pause := endPause; ; pause = min(2*pause, time.Second) {
		s.requestHalt()
		select {
		case <-ended:
			return true
		case <-deadline:
			return false
		case <-time.After(pause):
		}
	}
}

// askToHalt has Delve halt the target, if it runs.
func (s *rpcSession) requestHalt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.d.IsRunning() {
		return
	}
	s.pendingHalts++
	s.haltedSince = true
	s.halts.Go(func() {
		s.d.Command(&api.DebuggerCommand{Name: api.Halt}, nil, nil, nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pendingHalts--
		s.haltTaken.Broadcast()
	})
}

// haltsTaken returns when no halt is left that would reach Delve while the command
// that begins next runs, and end it instead of the one before. It reports whether there
// were any since the last command.
func (s *rpcSession) waitForHalts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.pendingHalts > 0 {
		s.haltTaken.Wait()
	}
	late := s.haltedSince
	s.haltedSince = false
	return late
}

// dropTrap takes the SIGTRAP of a halt that came when the target had stopped already
// (pkg/proc/native, requestManualStop): a step off a breakpoint would take it for its
// own end, without an instruction executed, and stop there again. So it is taken by a
// step that nobody waits for.
func (s *rpcSession) dropTrap() {
	mask, err := procfs.ReadPendingSignals(s.d.pid)
	if err != nil || mask&(1<<(syscall.SIGTRAP-1)) == 0 || !s.d.isOnThread() {
		return
	}
	if _, err := s.d.Command(&api.DebuggerCommand{Name: api.StepInstruction}, nil, nil, nil); err != nil {
		s.d.log.Debug("taking the signal of a late halt", "error", err)
	}
}

// event keeps an event for GetEvents, and drops it if nobody asks.
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

// answer answers a request by f, which is nil for a method that is not served.
// The id is the client's and goes back as it came.
func (s *rpcSession) answer(r rpcRequest, f call) {
	result, err := invoke(r, f)
	if len(r.ID) == 0 {
		r.ID = []byte("null")
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	out := &s.out
	out.Reset()
	fmt.Fprintf(out, `{"id":%s,"result":`, r.ID)
	if err == nil {
		head := out.Len()
		if err = json.NewEncoder(out).Encode(result); err != nil {
			out.Truncate(head)
		} else {
			out.Truncate(out.Len() - 1) // the line's end
			out.WriteString(`,"error":null}`)
		}
	}
	if err != nil {
		problem, _ := json.Marshal(err.Error())
		fmt.Fprintf(out, `null,"error":%s}`, problem)
	}
	out.WriteByte('\n')
	s.conn.Write(out.Bytes()) // an error shows where the stream is read
	if out.Cap() > maxBuffer {
		s.out = bytes.Buffer{}
	}
}

// run calls f. Delve panics at what it does not understand.
func invoke(r rpcRequest, f call) (result any, err error) {
	if f == nil {
		return nil, fmt.Errorf("unknown method: %s", r.Method)
	}
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, fmt.Errorf("internal debugger error: %v", p)
		}
	}()
	return f(r.Params)
}

// decodeParams decodes the only parameter of a request, which may be missing
// (net/rpc/jsonrpc, ReadRequestBody).
func decodeParams(params json.RawMessage, in any) error {
	list := [1]any{in}
	if len(params) > 0 {
		if err := json.Unmarshal(params, &list); err != nil {
			return fmt.Errorf("malformed request body: %w", err)
		}
	}
	return nil
}

// direct makes a call of one of Delve's methods.
func wrapMethod[In, Out any](f func(In, *Out) error) call {
	return func(params json.RawMessage) (any, error) {
		var in In
		if err := decodeParams(params, &in); err != nil {
			return nil, err
		}
		out := new(Out)
		return out, f(in, out)
	}
}

// rpcConfig is for the methods that look at it: one client at a time is served.
func rpcConfig(d *debuggee) *service.Config {
	return &service.Config{APIVersion: 2, Debugger: d.config, Listener: noListener{}}
}

// RPCMethods returns the names of the methods that a JSON-RPC session serves.
func RPCMethods() (names []string) {
	for name := range (&rpcSession{d: &debuggee{}}).methods() {
		names = append(names, strings.TrimPrefix(name, "RPCServer."))
	}
	return names
}
